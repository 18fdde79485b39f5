"""Part of `neighbour`: lone events for one endpoint while a backlog waits for another.

The backlog is that of the scenario `backlog`, over one subscription. Its endpoint responds slowly at first, and then at
once.
"""

from collections.abc import Sequence

from dev.benchmarks import results, rig
from dev.benchmarks.bench import Bench, Table
from dev.benchmarks.measuring import meter
from dev.benchmarks.measuring.figures import LEAST_SAMPLES_OF_P99
from dev.benchmarks.results import Result
from dev.benchmarks.scenarios import backlog
from dev.harness.load.messages import Ask, Count

# Nothing else goes to their endpoint. All runs together have enough of them for a p99.
LONE_PER_SECOND = 20.0
# Behaviors of the endpoint that the backlog waits for, in order.
CASES = {"answers after 100 ms": "after-100", "answers at once": "ok"}
_TIMES = ("p50_ms", "p99_ms", "max_ms")


def measure(bench: Bench) -> Result:
    """Use a separate stack; times are the worse of both cases."""
    cases, runs = {}, []
    with rig.running(bench, "neighbour-waiting") as ready:
        lone = ready.subscribe(ready.targets())
        paths = [meter.webhook_path(subscription) for subscription in lone]
        ready.warm_up(paths)
        (held,) = backlog.waiting(ready, "of a neighbour", ready.other_targets(behaviour="after-100"), ready.other)
        seconds = 1.02 * LEAST_SAMPLES_OF_P99 / LONE_PER_SECOND / bench.options.runs
        load = ready.open(paths, LONE_PER_SECOND, seconds=max(bench.options.seconds, seconds))
        # The other deliveries keep waiting.
        group = meter.Group(subscriptions=lone, end_others=lambda: None)
        for case, behaviour in CASES.items():
            ready.stack.retarget(held, *ready.other_targets(behaviour=behaviour))
            mine = [ready.measure(case, load, group=group) for _ in range(bench.options.runs)]
            runs += mine
            found = results.of_loads(mine)["cases"][case]
            cases[case] = {
                **{f"lone_{key}": found[f"end_to_end_{key}"] for key in _TIMES},
                "lost": found["lost"],
                "left": bench.options.backlog - ready.other.ask(Ask(), Count).deliveries,
            }
    worst = {f"lone_{key}": max((found[f"lone_{key}"] or 0.0) for found in cases.values()) for key in _TIMES}
    return {"backlog": bench.options.backlog, **worst, "kinds": cases, **results.of_loads(runs)}


def tables(result: Result) -> Sequence[Table]:
    """Return a row for each case."""
    columns = ("the other endpoint", "lone p50 ms", "p99 ms", "max ms", "lost", "still waiting")
    rows = [
        [
            case,
            *(results.number(found[f"lone_{key}"]) for key in _TIMES),
            str(found["lost"]),
            f"{found['left']:,}",
        ]
        for case, found in result["kinds"].items()
    ]
    title = f"lone events while {result['backlog']:,} deliveries wait for another endpoint"
    return [Table(title=title, columns=columns, rows=rows)]
