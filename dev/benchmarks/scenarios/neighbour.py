"""`neighbour`: the effect of bad endpoints, and of a million waiting deliveries, on healthy endpoints.

Every run starts with an open loop to healthy endpoints. Then, for each kind of bad endpoint, the same loop runs with as
much traffic again to endpoints of that kind. Ratios compare a case to the healthy endpoints without others in the same
run. The control sends the other half to more healthy endpoints, and shows the effect of twice the traffic.
"""

import contextlib
import itertools
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from dev.benchmarks import results, rig
from dev.benchmarks.bench import Bench, BenchmarkError, Table
from dev.benchmarks.measuring import meter
from dev.benchmarks.measuring.figures import Figures
from dev.benchmarks.results import Chart, Result, Scenario
from dev.benchmarks.rig import Rig
from dev.benchmarks.scenarios import waiting
from dev.harness.load.messages import Load

# Healthy endpoints, and bad ones of one kind at a time.
HEALTHY, BAD = 8, 4
# The share of the maximum for each half. The machine must be able to handle both halves and the retries. Otherwise, the
# load would slow down healthy endpoints, whatever the bad ones do. At half of the maximum, batches are small and the
# machine is four fifths busy: the control shows that a quarter each is too much.
SHARE = 0.2
ALONE = "healthy alone"
# The control.
TWICE = "twice the healthy"
# Behaviors of the load receiver; `refuse`: no process listens on the port; `dns`: the host has no address.
KINDS = ("hang", "drip", "endless-headers", "flood", "reset", "error", "refuse", "dns")
# Until bad endpoints release what they hold after their deletion: the worker's deadlines, and leases (60 s).
END_SECONDS = 90.0
POLL_SECONDS = 0.1
_TIMES = ("end_to_end_p50_ms", "end_to_end_p95_ms", "end_to_end_p99_ms")


def run(bench: Bench) -> Result:
    """Run all cases in every run, so that changes of the machine affect all of them."""
    runs: list[Figures] = []
    with rig.running(bench, "neighbour") as ready, _closed_port() as closed_port:
        healthy = ready.subscribe(ready.targets(HEALTHY))
        paths = [meter.webhook_path(subscription) for subscription in healthy]
        maximum = rig.calibrated(ready, paths)
        alone = ready.open(paths, SHARE * maximum)
        for _ in range(bench.options.runs):
            runs.append(ready.measure(ALONE, alone))
            runs.append(_beside(ready, TWICE, healthy, alone, ready.other_targets(BAD)))
            runs += [_beside(ready, kind, healthy, alone, _targets(ready, kind, closed_port)) for kind in KINDS]
    found = waiting.measure(bench)
    return {**summary(runs), "maximum_per_second": round(maximum, 1), "waiting": found, **results.of_loads(runs)}


def summary(runs: Sequence[Figures]) -> Result:
    """Summarize the runs of the cases; the first figures are the worst over the kinds."""
    kinds = {kind: _against_alone(kind, runs) for kind in KINDS}
    alone = results.of_loads(runs)["cases"][ALONE]
    return {
        "healthy_p99_ratio": max(found["healthy_p99_ratio"] for found in kinds.values()),
        "healthy_throughput_ratio": min(found["healthy_throughput_ratio"] for found in kinds.values()),
        "lost": sum(run.lost for run in runs),
        "duplicates": sum(run.duplicates for run in runs),
        "cpu_ms_per_webhook": alone["cpu_ms_per_webhook"],
        "kinds": kinds,
        "control": _against_alone(TWICE, runs),
    }


def _against_alone(case: str, runs: Sequence[Figures]) -> dict[str, Any]:
    """Return medians, and medians of the ratios to the healthy endpoints without others in the same run."""
    mine, alone = ([run for run in runs if run.case == name] for name in (case, ALONE))
    pairs = list(zip(mine, alone, strict=True))
    ratios = {
        "healthy_p99_ratio": [one.end_to_end_p99_ms / without.end_to_end_p99_ms for one, without in pairs],
        "healthy_throughput_ratio": [one.delivered_per_second / without.delivered_per_second for one, without in pairs],
    }
    medians = results.of_loads(mine)["cases"][case]
    return {
        **{key: round(statistics.median(values), 3) for key, values in ratios.items()},
        **{f"healthy_{key.removeprefix('end_to_end_')}": medians[key] for key in _TIMES},
        "healthy_delivered_per_second": medians["delivered_per_second"],
        "cpu_ms_per_webhook": medians["cpu_ms_per_webhook"],
        "lost": medians["lost"],
        "duplicates": medians["duplicates"],
    }


def _beside(ready: Rig, case: str, healthy: Sequence[UUID], alone: Load, targets: Sequence[str]) -> Figures:
    """Run the healthy loop with as much again to other subscriptions, which are created now and deleted afterwards."""
    assert alone.rate is not None
    others = ready.subscribe(targets)
    # Run once, for the first caller.
    end = contextlib.ExitStack()
    end.callback(ready.stack.unsubscribe, others)
    turns = zip(alone.paths, itertools.cycle(map(meter.webhook_path, others)), strict=False)
    load = ready.open([path for turn in turns for path in turn], 2 * alone.rate)
    found = ready.measure(case, load, group=meter.Group(subscriptions=healthy, end_others=end.close))
    end.close()
    deadline = time.monotonic() + END_SECONDS
    while ready.store.unfinished():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{case}: deliveries of deleted subscriptions did not end within {END_SECONDS:g} s")
        time.sleep(POLL_SECONDS)
    return found


def _targets(ready: Rig, kind: str, closed_port: int) -> list[str]:
    """Return targets of bad endpoints of a kind."""
    match kind:
        case "refuse":
            return [f"http://127.0.0.1:{closed_port}/{number}" for number in range(BAD)]
        case "dns":
            return [f"http://nobody-{number}.invalid/" for number in range(BAD)]
    return ready.other_targets(BAD, kind)


@contextlib.contextmanager
def _closed_port() -> Iterator[int]:
    """Yield a port that is bound but not listening, so that no one else can listen there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def _tables(result: Result) -> Sequence[Table]:
    columns = ("the other half goes to", "p99 ratio", "delivered ratio", "p50 ms", "p99 ms", "CPU ms", "lost")
    rows = [_row(case, found) for case, found in ({TWICE: result["control"]} | result["kinds"]).items()]
    title = f"healthy endpoints beside others, to healthy alone; the maximum is {result['maximum_per_second']:,.0f}/s"
    return [
        results.load_table("neighbours: of healthy endpoints", result["cases"]),
        Table(title=title, columns=columns, rows=rows),
        *waiting.tables(result["waiting"]),
    ]


def _row(case: str, found: dict[str, Any]) -> list[str]:
    return [
        case,
        f"{found['healthy_p99_ratio']:,.2f}",
        f"{found['healthy_throughput_ratio']:.2f}",
        *(results.number(found[f"healthy_{key}_ms"]) for key in ("p50", "p99")),
        f"{found['cpu_ms_per_webhook']['stack']:.3f}",
        str(found["lost"]),
    ]


def _charts(result: Result) -> Sequence[Chart]:
    cases = result["cases"]
    names = list(cases)
    times = {key.removesuffix("_ms").replace("_", " "): [found[key] for found in cases.values()] for key in _TIMES}
    title = "End to end of healthy endpoints, by what the other half of the traffic goes to"
    return [
        Chart(name="neighbour-times", title=title, unit="ms", categories=names, series=times),
        results.rate_chart(
            "neighbour-rates",
            "Webhooks a second to healthy endpoints, by what the other half of the traffic goes to",
            cases,
            {"accepted_per_second": "accepted", "delivered_per_second": "delivered"},
        ),
        results.cpu_chart("neighbour-cpu", "CPU time of a webhook beside bad endpoints", cases),
    ]


SCENARIO = Scenario(name="neighbour", what="healthy endpoints beside bad ones", run=run, tables=_tables, charts=_charts)
