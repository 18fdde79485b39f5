"""`growth`: ordinary traffic of a service with 10,000 subscriptions, 2 million finished deliveries, or large payloads.

Each kind of growth has its own stack, and slices run in turn with one that has not grown. Payloads have different sizes
on one stack. What an open snapshot does is the scenario `snapshot`, what waits is `backlog`.
"""

import contextlib
from collections.abc import Sequence
from uuid import UUID

import msgspec

from dev.benchmarks import results, rig, sides
from dev.benchmarks.bench import Bench, Table
from dev.benchmarks.measuring import meter
from dev.benchmarks.measuring.figures import LEAST_SAMPLES_OF_P99, Figures
from dev.benchmarks.results import Chart, Result, Scenario
from dev.benchmarks.rig import Rig
from dev.benchmarks.sides import Side
from dev.benchmarks.stack import SECRET
from services.platform import ids

PER_SECOND = 150.0
SMALL = "one subscription"
SUBSCRIPTIONS = 10_000
# At most, for a webhook to each of them.
SEEN_SECONDS = 60.0
# Of the receiver, which counts each apart.
STREAMS = 100
SIZES = {"1 KB": 1, "16 KB": 16, "64 KB": 64, "256 KB": 256}
PAYLOADS_PER_SECOND = 50.0


def run(bench: Bench) -> Result:
    """Grow first, then run slices in turn."""
    with contextlib.ExitStack() as cleanup:
        small = cleanup.enter_context(rig.running(bench, "growth-small"))
        many = cleanup.enter_context(rig.running(bench, "growth-subscriptions"))
        old = cleanup.enter_context(rig.running(bench, "growth-finished"))
        systems = [
            Side(name=SMALL, meter=small, paths=small.webhook_paths()),
            Side(name=f"{SUBSCRIPTIONS:,} subscriptions", meter=many, paths=_subscribed(many)),
            Side(name=f"{bench.options.finished:,} finished", meter=old, paths=_aged(old)),
        ]
        for side in systems:
            side.meter.warm_up(side.paths)
        # The first webhook of a subscription reads it from Postgres, and then it is in the process. A service that has
        # been running has seen all of them.
        seen = msgspec.structs.replace(
            many.closed(systems[1].paths, seconds=SEEN_SECONDS), requests=SUBSCRIPTIONS + meter.CONNECTIONS
        )
        many.measure("every subscription once", seen)
        grown = sides.in_turn(systems, bench.options.runs, lambda side, name: _slice(side, name, PER_SECOND))
        sizes = [Side(name=size, meter=small, paths=systems[0].paths) for size in SIZES]
        payloads = sides.in_turn(sizes, bench.options.runs, _of_size)
    runs = [one for of_side in (*grown.values(), *payloads.values()) for one in of_side]
    return {
        "lost": sum(one.lost for one in runs),
        "duplicates": sum(one.duplicates for one in runs),
        "ratios": {"rows": sides.compared(grown), "payloads": sides.compared(payloads)},
        **results.of_loads(runs),
    }


def _subscribed(ready: Rig) -> Sequence[str]:
    """Create the subscriptions while the processes are stopped; return the paths of all."""
    made = [ids.new() for _ in range(SUBSCRIPTIONS)]
    targets = ready.targets(STREAMS)
    _stopped(ready, [(subscription, targets[number % STREAMS]) for number, subscription in enumerate(made)])
    return [meter.webhook_path(subscription) for subscription in made]


def _aged(ready: Rig) -> Sequence[str]:
    """Create the finished deliveries while the processes are stopped; return the path of their subscription."""
    subscription = ids.new()
    _stopped(ready, [(subscription, ready.targets()[0])], finished=ready.bench.options.finished)
    return [meter.webhook_path(subscription)]


def _stopped(ready: Rig, subscriptions: Sequence[tuple[UUID, str]], *, finished: int = 0) -> None:
    ready.stack.stop()
    ready.store.insert_subscriptions(subscriptions, SECRET)
    if finished:
        ready.bench.screen.say(f"growth: writing {finished:,} finished deliveries")
        with ready.bench.screen.count("writing finished deliveries", finished) as made:
            ready.store.insert_finished(finished, subscriptions[0][0], on_made=made)
    ready.store.settle()
    ready.stack.start()


def _slice(side: Side, name: str, per_second: float, kilobytes: int = 1) -> Figures:
    """Run a slice that is long enough for all of them to have the samples of a p99."""
    options = side.meter.bench.options
    seconds = max(options.seconds, 1.02 * LEAST_SAMPLES_OF_P99 / per_second / options.runs)
    load = side.meter.open(side.paths, per_second, kilobytes * meter.KILOBYTE, seconds)
    return side.meter.measure(name if per_second == PER_SECOND else f"payload {name}", load)


def _of_size(side: Side, name: str) -> Figures:
    return _slice(side, name, PAYLOADS_PER_SECOND, SIZES[side.name])


def _tables(result: Result) -> Sequence[Table]:
    title = f"growth, at {PER_SECOND:g} and payloads at {PAYLOADS_PER_SECOND:g} a second"
    return [results.load_table(title, result["cases"]), *sides.tables("growth", result["ratios"])]


def _charts(result: Result) -> Sequence[Chart]:
    return [results.cpu_chart("growth-cpu", "CPU time of a webhook of a service that has grown", result["cases"])]


SCENARIO = Scenario(name="growth", what="a service that has grown", run=run, tables=_tables, charts=_charts)
