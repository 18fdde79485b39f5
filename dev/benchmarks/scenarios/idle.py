"""`idle`: CPU and memory of each process when there is nothing to do."""

import time
from collections.abc import Mapping, Sequence

import msgspec

from dev.benchmarks import cpu, figures, rig
from dev.benchmarks.bench import Bench, Table
from dev.benchmarks.results import Chart, Result, Scenario

# Wait after the start until caches are filled and the first statements are planned.
SETTLE_SECONDS = 5.0
TICK_SECONDS = 0.1


class Idle(msgspec.Struct, frozen=True, kw_only=True):
    """One run, by process and for the stack."""

    # Percent of one core.
    cpu_percent: dict[str, float]
    # Counts shared pages once.
    memory_mb: dict[str, float]
    # Counts shared pages in each process.
    rss_mb: dict[str, float]


def run(bench: Bench) -> Result:
    """Send one webhook first, so that every process has worked once."""
    found = []
    seconds = bench.options.seconds
    with rig.running(bench, "idle") as ready:
        one = msgspec.structs.replace(ready.closed(ready.webhook_paths()), requests=1, connections=1)
        ready.measure("one webhook", one)
        _wait(bench, "settling", min(SETTLE_SECONDS, seconds))
        for _ in range(bench.options.runs):
            trees = ready.stack.trees()
            used = cpu.seconds(trees)
            began = time.monotonic()
            _wait(bench, "idle", seconds)
            percent = 100 / (time.monotonic() - began)
            spent = cpu.difference(cpu.seconds(trees), used)
            memory = cpu.memory(trees)
            found.append(
                Idle(
                    cpu_percent=_with_stack({name: percent * value for name, value in spent.items()}),
                    memory_mb=_with_stack({name: each.pss_mb for name, each in memory.items()}),
                    rss_mb=_with_stack({name: each.rss_mb for name, each in memory.items()}),
                )
            )
    medians = figures.medians(found)
    return {
        "cpu_percent_of_a_core": medians["cpu_percent"]["stack"],
        "memory_mb": medians["memory_mb"]["stack"],
        "rss_mb": medians["rss_mb"]["stack"],
        "processes": medians,
        "runs": figures.plain(found),
    }


def _with_stack(values: Mapping[str, float]) -> dict[str, float]:
    return {**values, "stack": sum(values.values())}


def _wait(bench: Bench, what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    with bench.screen.step(what, seconds) as tick:
        while time.monotonic() < deadline:
            time.sleep(TICK_SECONDS)
            tick()


def _tables(result: Result) -> Sequence[Table]:
    each = result["processes"]
    rows = [
        [name, *(f"{each[key][name]:.1f}" for key in ("cpu_percent", "memory_mb", "rss_mb"))]
        for name in (*figures.STACK, "stack")
    ]
    return [Table(title="idle", columns=("process", "% of a core", "memory MiB", "RSS MiB"), rows=rows)]


def _charts(result: Result) -> Sequence[Chart]:
    each = result["processes"]
    names = list(figures.STACK)
    return [
        Chart(
            name=f"idle-{key}",
            title=title,
            unit=unit,
            categories=names,
            series={unit: [each[values][name] for name in names]},
        )
        for key, values, title, unit in (
            ("memory", "memory_mb", "Memory with nothing to do", "MiB"),
            ("cpu", "cpu_percent", "CPU time with nothing to do", "% of a core"),
        )
    ]


SCENARIO = Scenario(name="idle", what="nothing to do", run=run, tables=_tables, charts=_charts)
