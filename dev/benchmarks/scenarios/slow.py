"""`slow`: receivers that take 100 ms and 1 s, with one, two and four workers.

The load is an open loop a tenth above what the slots allow (slots divided by the receiver's time), or OPEN_SHARE of the
machine's maximum if that is less. `share_of_bound` is the reached share of the lower one.
"""

import os
from collections.abc import Sequence

from dev.benchmarks import results, rig
from dev.benchmarks.bench import Bench, Table
from dev.benchmarks.results import Chart, Result, Scenario

DELAYS_MS = (100, 1000)
WORKERS = (1, 2, 4)
ABOVE = 1.1
OPEN_SHARE = 0.9
# WORKER_CONCURRENCY's default.
SLOTS = 512
HEADLINE = "100 ms, 1 worker"


def run(bench: Bench) -> Result:
    """Workers are added while the stack is running."""
    runs, bounds = [], {}
    slots = int(os.environ.get("WORKER_CONCURRENCY", SLOTS))
    with rig.running(bench, "slow") as ready:
        maximum = rig.calibrated(ready, ready.webhook_paths())
        paths = {delay: ready.webhook_paths(behaviour=f"after-{delay}") for delay in DELAYS_MS}
        for workers in WORKERS:
            ready.stack.start(workers=workers)
            for delay in DELAYS_MS:
                case = f"{_delay(delay)}, {workers} worker{'s' if workers > 1 else ''}"
                by_slots = workers * slots / (delay / 1000)
                bounds[case] = min(by_slots, OPEN_SHARE * maximum)
                load = ready.open(paths[delay], min(ABOVE * by_slots, OPEN_SHARE * maximum))
                runs += [ready.measure(case, load) for _ in range(bench.options.runs)]
    found = results.of_loads(runs)
    for case, bound in bounds.items():
        found["cases"][case]["share_of_bound"] = round(found["cases"][case]["delivered_per_second"] / bound, 3)
    headline = found["cases"][HEADLINE]
    return {
        "delivered_per_second": headline["delivered_per_second"],
        "cpu_ms_per_webhook": headline["cpu_ms_per_webhook"],
        "share_of_bound": headline["share_of_bound"],
        "maximum_per_second": round(maximum, 1),
        **found,
    }


def _delay(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds // 1000} s"  # noqa: PLR2004 - ms of a s


def _tables(result: Result) -> Sequence[Table]:
    return [results.load_table("slow receivers", result["cases"])]


def _charts(result: Result) -> Sequence[Chart]:
    rates = {"accepted_per_second": "accepted", "delivered_per_second": "delivered"}
    return [results.rate_chart("slow-rates", "Webhooks a second to slow receivers", result["cases"], rates)]


SCENARIO = Scenario(name="slow", what="receivers that take their time", run=run, tables=_tables, charts=_charts)
