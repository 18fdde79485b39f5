"""`floor`: the unavoidable work on the same machine, and the maximum rate of the generator and the receiver.

A raw ASGI application that returns 202; rows of 1 KB committed in batches of 64 to a table with only a primary key; a
POST with prebuilt bytes on a kept connection. No service in Python can use less than the sum of their CPU times, so
every other result is also given as a multiple of it. The last part is also the ceiling: generator and receiver without
a service in between.
"""

from collections.abc import Callable, Sequence

import msgspec

from dev.benchmarks import cpu, figures, rig, stack
from dev.benchmarks.bench import Bench, Table
from dev.benchmarks.floor.insert import Insert, Inserted
from dev.benchmarks.results import Chart, Result, Scenario
from dev.harness.load.messages import Listening, Load, Message, Sent
from dev.harness.load.pipes import Helper

# The floor is stable, and measured in every run.
MAX_SECONDS = 5.0
ANSWER_SECONDS = 30.0
_PARTS = ("accept_cpu_ms", "insert_client_cpu_ms", "insert_postgres_cpu_ms", "post_cpu_ms")


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """One run, with CPU milliseconds for each request, row, or POST."""

    accept_cpu_ms: float
    insert_client_cpu_ms: float
    insert_postgres_cpu_ms: float
    post_cpu_ms: float
    # The sum of these: the floor.
    cpu_ms_per_webhook: float
    accepts_per_second: float
    rows_per_second: float
    # Generator to receiver without the service, and the CPU time of each.
    ceiling_per_second: float
    generator_cpu_ms: float
    receiver_cpu_ms: float


def measure(bench: Bench, runs: int) -> Result:
    """Measure the floor this many times."""
    found = []
    with (
        stack.running(bench.folder / "floor") as stores,
        Helper("generator", "dev.harness.load.generator") as generator,
        Helper("receiver", "dev.harness.load.receiver") as receiver,
        Helper("acceptor", "dev.benchmarks.floor.accept") as acceptor,
        Helper("inserter", "dev.benchmarks.floor.insert") as inserter,
    ):
        sink, accept = (helper.hear(Listening, ANSWER_SECONDS).port for helper in (receiver, acceptor))
        seconds = min(MAX_SECONDS, bench.options.seconds)
        for _ in range(runs):
            sent, spent = _measured(
                bench, "floor: 202", generator, _load(accept, seconds), Sent, {"acceptor": [acceptor.pid]}
            )
            accepts = sent.accepted.count(1)
            inserts = Insert(database_url=stores.database_url, seconds=seconds, payload_bytes=rig.KILOBYTE)
            trees = {"client": [inserter.pid], "postgres": stores.trees()["postgres"]}
            inserted, insert_spent = _measured(bench, "floor: insert", inserter, inserts, Inserted, trees)
            trees = {"generator": [generator.pid], "receiver": [receiver.pid]}
            posted, post_spent = _measured(
                bench, "floor: POST, the ceiling", generator, _load(sink, seconds), Sent, trees
            )
            posts = posted.accepted.count(1)
            parts = {
                "accept_cpu_ms": 1e3 * spent["acceptor"] / accepts,
                "insert_client_cpu_ms": 1e3 * insert_spent["client"] / inserted.rows,
                "insert_postgres_cpu_ms": 1e3 * insert_spent["postgres"] / inserted.rows,
                "post_cpu_ms": 1e3 * post_spent["generator"] / posts,
            }
            found.append(
                Floor(
                    **parts,
                    cpu_ms_per_webhook=sum(parts.values()),
                    accepts_per_second=accepts / seconds,
                    rows_per_second=inserted.rows / inserted.seconds,
                    ceiling_per_second=posts / seconds,
                    generator_cpu_ms=1e3 * post_spent["generator"] / posts,
                    receiver_cpu_ms=1e3 * post_spent["receiver"] / posts,
                )
            )
    medians = figures.medians(found)
    bench.screen.say(
        f"floor: {medians['cpu_ms_per_webhook']:.3f} CPU ms per webhook; "
        f"generator to receiver alone {medians['ceiling_per_second']:,.0f}/s"
    )
    return {**medians, "runs": figures.plain(found)}


def _measured(
    bench: Bench,
    what: str,
    helper: Helper,
    command: Load | Insert,
    answer: type[Message],
    trees: cpu.Trees,
) -> tuple[Message, dict[str, float]]:
    """Return a command's result, and the CPU seconds that the processes used for it."""
    used = cpu.seconds(trees)
    helper.tell(command)
    with bench.screen.step(what, command.seconds) as tick:
        found = helper.hear(answer, command.seconds + ANSWER_SECONDS, on_tick=tick)
    return found, cpu.difference(cpu.seconds(trees), used)


def _load(port: int, seconds: float) -> Load:
    return Load(port=port, paths=("/ok/0",), payload_bytes=rig.KILOBYTE, seconds=seconds, connections=rig.CONNECTIONS)


def _tables(result: Result) -> Sequence[Table]:
    names = {key: key.removesuffix("_cpu_ms").replace("_", ", ") for key in _PARTS}
    rows = [[names[key], f"{result[key]:.4f}"] for key in _PARTS]
    return [
        Table(
            title="floor: CPU ms per webhook",
            columns=("part", "CPU ms"),
            rows=[*rows, ["together", f"{result['cpu_ms_per_webhook']:.4f}"]],
        ),
        Table(
            title="ceiling: generator to receiver alone",
            columns=("what", "value"),
            rows=[
                ["requests/s", f"{result['ceiling_per_second']:,.0f}"],
                ["generator, CPU ms", f"{result['generator_cpu_ms']:.4f}"],
                ["receiver, CPU ms", f"{result['receiver_cpu_ms']:.4f}"],
            ],
        ),
    ]


def _charts(result: Result) -> Sequence[Chart]:
    series = {key.removesuffix("_cpu_ms").replace("_", ", "): [result[key]] for key in _PARTS}
    title = "What no service in Python can do without"
    return [
        Chart(
            name="floor-cpu", title=title, unit="CPU ms per webhook", categories=["floor"], series=series, stacked=True
        )
    ]


_run: Callable[[Bench], Result] = lambda bench: measure(bench, bench.options.runs)  # noqa: E731 - one expression

SCENARIO = Scenario(name="floor", what="the least that any service has to do", run=_run, tables=_tables, charts=_charts)
