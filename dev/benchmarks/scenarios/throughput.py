"""`throughput`: webhooks of 1 KB and 5 KB to the receiver, as fast as they are accepted, and at a steady rate below."""

import statistics
from collections.abc import Sequence

from dev.benchmarks import results, rig
from dev.benchmarks.bench import Bench, Table
from dev.benchmarks.measuring import meter
from dev.benchmarks.results import Chart, Result, Scenario

SIZES = {"1 KB": meter.KILOBYTE, "5 KB": 5 * meter.KILOBYTE}
# The share of the closed loop's sustained rate at which no queue grows.
OPEN_SHARE = 0.9
HEADLINE = "1 KB closed"


def run(bench: Bench) -> Result:
    """Run all cases in every run, so that changes of the machine affect all of them."""
    runs = []
    with rig.running(bench, "throughput") as ready:
        paths = ready.webhook_paths()
        ready.warm_up(paths)
        rates: dict[str, list[float]] = {size: [] for size in SIZES}
        for _ in range(bench.options.runs):
            for size, payload_bytes in SIZES.items():
                closed = ready.measure(f"{size} closed", ready.closed(paths, payload_bytes))
                rates[size].append(meter.sustained(closed))
                # At least one a second: on a very busy machine, nothing may be delivered while a short load lasts.
                rate = max(1.0, OPEN_SHARE * statistics.median(rates[size]))
                opened = ready.measure(f"{size} open", ready.open(paths, rate, payload_bytes))
                runs += [closed, opened]
    return results.headlined(runs, HEADLINE)


def _tables(result: Result) -> Sequence[Table]:
    title = "throughput"
    return [results.load_table(title, result["cases"]), results.cpu_table(title, result["cases"])]


def _charts(result: Result) -> Sequence[Chart]:
    rates = {"accepted_per_second": "accepted", "delivered_per_second": "delivered", "recorded_per_second": "recorded"}
    return [
        results.cpu_chart("throughput-cpu", "CPU time of a webhook, by process", result["cases"]),
        results.rate_chart("throughput-rates", "Webhooks a second", result["cases"], rates),
    ]


SCENARIO = Scenario(name="throughput", what="accept, commit, deliver, record", run=run, tables=_tables, charts=_charts)
