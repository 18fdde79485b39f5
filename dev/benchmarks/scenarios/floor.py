"""`floor`: the least work on the same machine, and the maximum rate of the generator and the receiver.

Requests are answered by the load receiver, which is a bare socket without a web framework or server; rows of 1 KB are
committed in batches of 64 to a table with only a primary key; a POST is prebuilt bytes on a kept connection. It shows
what the machine can do at most. Nothing is compared with it: a service that does only this is no service. The first and
the last part are one load, which is also the ceiling: generator and receiver without a service in between.
"""

from collections.abc import Sequence

import msgspec

from dev.benchmarks import stack
from dev.benchmarks.bench import Bench, Table
from dev.benchmarks.floor.insert import Insert, Inserted
from dev.benchmarks.measuring import cpu, figures, meter
from dev.benchmarks.results import Chart, Result, Scenario
from dev.harness.load.messages import Count, Forget, Listening, Load, Message, Sent
from dev.harness.load.pipes import Helper

# The floor is stable, and measured in every run.
MAX_SECONDS = 5.0
_PARTS = ("accept_cpu_ms", "insert_client_cpu_ms", "insert_postgres_cpu_ms", "post_cpu_ms")


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """One run, with CPU milliseconds for each request, row, or POST."""

    accept_cpu_ms: float
    insert_client_cpu_ms: float
    insert_postgres_cpu_ms: float
    post_cpu_ms: float
    # The sum of these: the floor.
    cpu_ms_per_webhook: float
    rows_per_second: float
    # Generator to receiver without the service.
    ceiling_per_second: float


def run(bench: Bench) -> Result:
    """Measure both parts in every run."""
    found = []
    with (
        stack.running(bench.folder / "floor", wal_mb=bench.options.wal_mb) as stores,
        Helper("generator", "dev.harness.load.generator") as generator,
        Helper("receiver", "dev.harness.load.receiver") as receiver,
        Helper("inserter", "dev.benchmarks.floor.insert") as inserter,
    ):
        sink = receiver.hear(Listening, meter.ANSWER_SECONDS).port
        seconds = min(MAX_SECONDS, bench.options.seconds)
        for _ in range(bench.options.runs):
            inserts = Insert(database_url=stores.database_url, seconds=seconds, payload_bytes=meter.KILOBYTE)
            trees = {"client": [inserter.pid], "postgres": stores.trees()["postgres"]}
            inserted, insert_spent = _measured(bench, "floor: insert", inserter, inserts, Inserted, trees)
            trees = {"generator": [generator.pid], "receiver": [receiver.pid]}
            sent, spent = _measured(bench, "floor: POST, the ceiling", generator, _load(sink, seconds), Sent, trees)
            receiver.ask(Forget(), Count)
            posts = sent.accepted.count(1)
            parts = {
                "accept_cpu_ms": 1e3 * spent["receiver"] / posts,
                "insert_client_cpu_ms": 1e3 * insert_spent["client"] / inserted.rows,
                "insert_postgres_cpu_ms": 1e3 * insert_spent["postgres"] / inserted.rows,
                "post_cpu_ms": 1e3 * spent["generator"] / posts,
            }
            found.append(
                Floor(
                    **parts,
                    cpu_ms_per_webhook=sum(parts.values()),
                    rows_per_second=inserted.rows / inserted.seconds,
                    ceiling_per_second=posts / seconds,
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
        found = helper.hear(answer, command.seconds + meter.ANSWER_SECONDS, on_tick=tick)
    return found, cpu.difference(cpu.seconds(trees), used)


def _load(port: int, seconds: float) -> Load:
    return Load(
        port=port, paths=("/ok/0",), payload_bytes=meter.KILOBYTE, seconds=seconds, connections=meter.CONNECTIONS
    )


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
            ],
        ),
    ]


def _charts(result: Result) -> Sequence[Chart]:
    series = {key.removesuffix("_cpu_ms").replace("_", ", "): [result[key]] for key in _PARTS}
    title = "The least work for a webhook"
    return [
        Chart(
            name="floor-cpu", title=title, unit="CPU ms per webhook", categories=["floor"], series=series, stacked=True
        )
    ]


SCENARIO = Scenario(name="floor", what="the least that has to be done", run=run, tables=_tables, charts=_charts)
