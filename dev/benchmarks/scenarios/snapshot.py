"""`snapshot`: what an open snapshot, such as a backup's, does to ordinary traffic.

While it is open Postgres keeps every version of every row. An open loop runs in windows of the same length: first
without the snapshot, and then for two minutes, or as many windows as that takes, while it is open. Each window has its
figures, so that a cost that grows shows as such. The windows without it are also the control: if they differ from each
other by more than what `sides` calls near, the run cannot tell.
"""

import math
from collections.abc import Sequence

from dev.benchmarks import results, rig, sides
from dev.benchmarks.bench import Bench, Table
from dev.benchmarks.results import Chart, Result, Scenario

PER_SECOND = 1_150.0
OPEN_SECONDS = 120.0
WITHOUT = "without"


def run(bench: Bench) -> Result:
    """Run the windows once; `--runs` is the number of those without the snapshot, two at least."""
    seconds = bench.options.seconds
    with rig.running(bench, "snapshot") as ready:
        paths = ready.webhook_paths(count=8)
        ready.warm_up(paths)
        load = ready.open(paths, PER_SECOND)
        without = [ready.measure(WITHOUT, load) for _ in range(max(2, bench.options.runs))]
        with ready.store.snapshot():
            beside = [
                ready.measure(f"open for {(number + 1) * seconds:g} s", load)
                for number in range(math.ceil(OPEN_SECONDS / seconds))
            ]
    found = results.of_loads([*without, *beside])
    base = found["cases"][WITHOUT]
    ratios = {
        case: {
            "cpu_ratio": round(median["cpu_ms_per_webhook"]["stack"] / base["cpu_ms_per_webhook"]["stack"], 3),
            "end_to_end_p50_ratio": round(median["end_to_end_p50_ms"] / base["end_to_end_p50_ms"], 3),
        }
        for case, median in found["cases"].items()
    }
    costs = [one.cpu_ms_per_webhook["stack"] for one in without]
    opened = [ratio for case, ratio in ratios.items() if case != WITHOUT]
    return {
        "last_cpu_ratio": opened[-1]["cpu_ratio"],
        "cpu_ratio": max(ratio["cpu_ratio"] for ratio in opened),
        "end_to_end_p50_ratio": max(ratio["end_to_end_p50_ratio"] for ratio in opened),
        # The most that windows without the snapshot differ.
        "control": round(max(costs) / min(costs), 3),
        "lost": sum(one.lost for one in (*without, *beside)),
        "ratios": ratios,
        **found,
    }


def _tables(result: Result) -> Sequence[Table]:
    rows = [
        [
            case,
            f"{found['cpu_ms_per_webhook']['stack']:.3f}",
            f"{found['cpu_ms_per_webhook']['postgres']:.3f}",
            f"{result['ratios'][case]['cpu_ratio']:.2f}",
            *(results.number(found[f"end_to_end_{key}_ms"]) for key in ("p50", "p99")),
        ]
        for case, found in result["cases"].items()
    ]
    columns = ("snapshot", "CPU ms", "of it Postgres", "to without", "end to end p50 ms", "p99 ms")
    says = "" if sides.can_tell(result["control"]) else f"; cannot tell (control {result['control']:.2f})"
    title = f"{PER_SECOND:,.0f} webhooks a second beside an open snapshot{says}"
    return [Table(title=title, columns=columns, rows=rows)]


def _charts(result: Result) -> Sequence[Chart]:
    return [results.cpu_chart("snapshot-cpu", "CPU time of a webhook beside an open snapshot", result["cases"])]


SCENARIO = Scenario(name="snapshot", what="an open snapshot", run=run, tables=_tables, charts=_charts)
