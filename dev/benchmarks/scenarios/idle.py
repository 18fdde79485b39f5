"""`idle`: what each side of the run costs when there is nothing to do, and how long it takes to start."""

import time
from collections.abc import Mapping, Sequence

import msgspec

from dev.benchmarks import results, sides
from dev.benchmarks.bench import Bench, Table
from dev.benchmarks.measuring import cpu, figures
from dev.benchmarks.results import Chart, Result, Scenario
from dev.benchmarks.sides import Side

# Wait after the start until caches are filled and the first statements are planned.
SETTLE_SECONDS = 5.0
TICK_SECONDS = 0.1
# Sums in the tables: all processes with the stores, and without.
STACK, OWN = "stack", "own"


class Idle(msgspec.Struct, frozen=True, kw_only=True):
    """One run, by process and for the whole."""

    side: str
    # Percent of one core.
    cpu_percent: dict[str, float]
    # Counts shared pages once.
    memory_mb: dict[str, float]
    # Counts shared pages in each process.
    rss_mb: dict[str, float]
    # From the start of the processes, with the files they read in memory, until all are ready.
    start_seconds: float
    # At both stores.
    transactions_per_second: float
    redis_commands_per_second: float


def run(bench: Bench) -> Result:
    """Measure one side after the other."""
    found = [one for name in sides.names(bench) for one in _measured(bench, name)]
    medians = {name: figures.medians([one for one in found if one.side == name]) for name in sides.names(bench)}
    first = next(iter(medians.values()))
    return {
        "cpu_percent_of_a_core": first["cpu_percent"][STACK],
        "memory_mb": first["memory_mb"][STACK],
        "rss_mb": first["rss_mb"][STACK],
        "own_memory_mb": first["memory_mb"][OWN],
        "start_seconds": first["start_seconds"],
        "processes": first,
        "sides": medians,
        "runs": figures.plain(found),
    }


def _measured(bench: Bench, name: str) -> list[Idle]:
    """Send one webhook first, so that every process has worked once."""
    with sides.running(bench, "idle", name) as side:
        began = _restarted(side)
        one = msgspec.structs.replace(side.meter.closed(side.paths), requests=1, connections=1)
        side.meter.measure("one webhook", one)
        _wait(bench, "settling", min(SETTLE_SECONDS, bench.options.seconds))
        return [_window(bench, side, began) for _ in range(bench.options.runs)]


def _restarted(side: Side) -> float:
    """Restart the processes; return the seconds until all are ready. The supervisor looks ten times a second."""
    side.meter.system.stop()
    began = time.monotonic()
    side.meter.system.start()
    return time.monotonic() - began


def _window(bench: Bench, side: Side, start_seconds: float) -> Idle:
    system, ledger = side.meter.system, side.meter.ledger
    trees = system.trees()
    transactions, commands = ledger.transactions(), system.redis_commands()
    used, began = cpu.seconds(trees), time.monotonic()
    _wait(bench, f"idle {side.name}", bench.options.seconds)
    spent, seconds = cpu.difference(cpu.seconds(trees), used), time.monotonic() - began
    # Without what these questions themselves add.
    transactions, commands = ledger.transactions() - transactions - 1, system.redis_commands() - commands - 1
    memory = cpu.memory(trees)
    found = Idle(
        side=side.name,
        cpu_percent=_with_sums({name: 100 * value / seconds for name, value in spent.items()}),
        memory_mb=_with_sums({name: each.pss_mb for name, each in memory.items()}),
        rss_mb=_with_sums({name: each.rss_mb for name, each in memory.items()}),
        start_seconds=start_seconds,
        transactions_per_second=transactions / seconds,
        redis_commands_per_second=commands / seconds,
    )
    bench.screen.say(
        f"  idle {side.name}: {found.cpu_percent[STACK]:.1f} % of a core, {found.memory_mb[OWN]:,.0f} MiB of its own, "
        f"started in {start_seconds:.1f} s, {found.transactions_per_second:.1f} transactions/s, "
        f"{found.redis_commands_per_second:.1f} Redis commands/s"
    )
    return found


def _with_sums(values: Mapping[str, float]) -> dict[str, float]:
    return {**values, OWN: figures.own(values), STACK: sum(values.values())}


def _wait(bench: Bench, what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    with bench.screen.step(what, seconds) as tick:
        while time.monotonic() < deadline:
            time.sleep(TICK_SECONDS)
            tick()


def _tables(result: Result) -> Sequence[Table]:
    found = []
    for name, each in result["sides"].items():
        rows = [
            [process, *(results.number(each[key][process]) for key in ("cpu_percent", "memory_mb", "rss_mb"))]
            for process in each["cpu_percent"]
        ]
        found.append(
            Table(title=f"idle: {name}", columns=("process", "% of a core", "memory MiB", "RSS MiB"), rows=rows)
        )
    keys = ("start_seconds", "transactions_per_second", "redis_commands_per_second")
    rows = [
        [
            name,
            *(results.number(value) for value in (each["cpu_percent"][STACK], each["memory_mb"][OWN])),
            *(results.number(each[key]) for key in keys),
        ]
        for name, each in result["sides"].items()
    ]
    columns = ("side", "% of a core", "own memory MiB", "start s", "transactions/s", "Redis commands/s")
    return [*found, Table(title="idle", columns=columns, rows=rows)]


def _charts(result: Result) -> Sequence[Chart]:
    each = result["processes"]
    names = [name for name in each["cpu_percent"] if name not in (OWN, STACK)]
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
