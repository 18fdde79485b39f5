"""What is compared in one run: our shapes, an earlier version, and other stacks, each between its own ends of a load.

All of them are up, and their loads run in turn, slice by slice, so that a change of the machine reaches all of them.
The first one runs twice in each round. The second time is the control: the same system measured as if it were another.
If the two differ by more than NEAR, a difference between others of that size says nothing, and no ratio is given.
"""

import contextlib
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from dev.benchmarks import rig, stack
from dev.benchmarks.bench import PEERS, Bench, Table
from dev.benchmarks.measuring import figures, meter
from dev.benchmarks.measuring.figures import Figures
from dev.benchmarks.measuring.meter import Meter
from dev.benchmarks.peers.plain import stack as plain
from dev.harness.load.messages import Listening
from dev.harness.load.pipes import Helper

BEFORE, PLAIN = "before", "plain"
CONTROL = "control"
NEAR = 1.1
# What is compared: a key of the figures.
COMPARED = {"cpu": "CPU", "end_to_end_p50_ms": "p50", "end_to_end_p99_ms": "p99"}


@dataclass(frozen=True, kw_only=True)
class Side:
    """A running system, and the paths of its webhooks."""

    name: str
    meter: Meter
    paths: Sequence[str]


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one side as multiples of another's."""

    side: str
    to: str
    # By the key of the figure; None if there are too few samples, or if the control does not allow a statement.
    ratios: dict[str, float | None]
    # Of the same system to itself; None if there are too few samples.
    control: dict[str, float | None]


def names(bench: Bench) -> list[str]:
    """Return the sides that the options name."""
    options = bench.options
    return [*options.shapes, *([BEFORE] if options.before else []), *options.peers]


@contextlib.contextmanager
def running(bench: Bench, scenario: str, name: str) -> Iterator[Side]:
    """Yield one side, running."""
    if name in PEERS:
        with _plain(bench, scenario) as side:
            yield side
        return
    before = name == BEFORE
    checkout = bench.options.before if before else None
    shape = stack.FIVE if before else name
    with rig.running(bench, f"{scenario}-{name}", shape=shape, checkout=checkout) as ready:
        yield Side(name=name, meter=ready, paths=ready.webhook_paths())


@contextlib.contextmanager
def _plain(bench: Bench, scenario: str) -> Iterator[Side]:
    bench.screen.say(f"{scenario}-{PLAIN}: starting FastAPI and Celery")
    with contextlib.ExitStack() as cleanup:
        generator = cleanup.enter_context(Helper("generator", "dev.harness.load.generator"))
        receiver = cleanup.enter_context(Helper("receiver", "dev.harness.load.receiver"))
        port = receiver.hear(Listening, meter.ANSWER_SECONDS).port
        running_stack = cleanup.enter_context(
            plain.running(bench.folder / f"{scenario}-{PLAIN}", wal_mb=bench.options.wal_mb)
        )
        running_stack.start()
        ready = Meter(
            bench=bench,
            system=running_stack,
            ledger=cleanup.enter_context(running_stack.store()),
            generator=generator,
            receiver=receiver,
            receiver_url=f"http://127.0.0.1:{port}",
        )
        yield Side(name=PLAIN, meter=ready, paths=[meter.webhook_path(running_stack.subscribe(*ready.targets()))])


def in_turn(sides: Sequence[Side], rounds: int, measure: Callable[[Side, str], Figures]) -> dict[str, list[Figures]]:
    """Measure every side in every round, each round beginning with another one; return the runs by name."""
    order = [(side.name, side) for side in sides]
    if len(sides) > 1:
        order.append((CONTROL, sides[0]))
    runs: dict[str, list[Figures]] = {name: [] for name, _ in order}
    for number in range(rounds):
        at = number % len(order)
        for name, side in order[at:] + order[:at]:
            runs[name].append(measure(side, name))
    return runs


def compared(runs: Mapping[str, Sequence[Figures]]) -> list[dict[str, Any]]:
    """Compare our shapes with what they are to be compared with, as JSON; nothing if only one side was measured."""
    if CONTROL not in runs:
        return []
    measured = [name for name in runs if name != CONTROL]
    ours = [name for name in measured if name not in (BEFORE, *PEERS)]
    # Without others, the shapes are compared with the first of them.
    others = [name for name in measured if name not in ours] or ours[:1]
    control = _ratios(runs[CONTROL], runs[measured[0]])
    found = [
        Ratio(side=side, to=other, ratios=_told(_ratios(runs[side], runs[other]), control), control=control)
        for other in others
        for side in ours
        if side != other
    ]
    converted: list[dict[str, Any]] = msgspec.to_builtins(found)
    return converted


def can_tell(control: float | None) -> bool:
    """Return whether a system differs so little from itself that a difference between two says something."""
    return control is not None and 1 / NEAR <= control <= NEAR


def _told(ratios: Mapping[str, float | None], control: Mapping[str, float | None]) -> dict[str, float | None]:
    return {key: value if can_tell(control[key]) else None for key, value in ratios.items()}


def _ratios(runs: Sequence[Figures], others: Sequence[Figures]) -> dict[str, float | None]:
    """Return medians of the ratios of each round; that of p99 is of all samples together."""
    pairs = list(zip(runs, others, strict=True))
    cpu = [one.cpu_ms_per_webhook["stack"] / max(1e-9, other.cpu_ms_per_webhook["stack"]) for one, other in pairs]
    p50 = [one.end_to_end_p50_ms / max(1e-9, other.end_to_end_p50_ms) for one, other in pairs]
    p99, other_p99 = (figures.summary(each)["end_to_end_p99_ms"] for each in (runs, others))
    return {
        "cpu": round(statistics.median(cpu), 3),
        "end_to_end_p50_ms": round(statistics.median(p50), 3),
        "end_to_end_p99_ms": round(p99 / other_p99, 3) if p99 and other_p99 else None,
    }


def tables(title: str, ratios: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Table]:
    """Return a table with a row for each load and comparison; none if nothing was compared."""
    rows = [
        [f"{load}: {ratio['side']} to {ratio['to']}", *(_cell(ratio, key) for key in COMPARED)]
        for load, found in ratios.items()
        for ratio in found
    ]
    columns = ("load", *COMPARED.values())
    return [Table(title=f"{title}: ratios of interleaved slices", columns=columns, rows=rows)] if rows else []


def _cell(ratio: Mapping[str, Any], key: str) -> str:
    value, control = ratio["ratios"][key], ratio["control"][key]
    if value is not None:
        return f"{value:.2f}"
    return "too few samples" if control is None or can_tell(control) else f"cannot tell (control {control:.2f})"
