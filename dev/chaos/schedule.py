"""When which fault comes: a pure function of the seed, the kinds, the number and the time there is."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dev.chaos.kinds import ALL, INSTANCES, Kind

# Before the first one the stack gets going.
FIRST_SECONDS = 3.0
MAX_OVERLAPPING = 3
# What a fault without a length of its own is reckoned to take: the restart of a process.
RESTART_SECONDS = 4.0
ROLLING_SECONDS = RESTART_SECONDS * len(INSTANCES)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault to come. `at_seconds` is from the beginning of the load."""

    kind: Kind
    subject: str
    at_seconds: float
    seconds: float

    @property
    def reckoned_end(self) -> float:
        """When it should be over, its restart included."""
        restart = ROLLING_SECONDS if self.subject == ALL else RESTART_SECONDS
        return self.at_seconds + self.seconds + restart

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.at_seconds:7.1f} s  {self.kind.name} of {self.subject}{lasting}"


def make(seed: int, kinds: Sequence[Kind], count: int, duration_seconds: float) -> list[Fault]:
    """`count` faults in the order of their times, spread over the duration, at most three of them at once.

    Families take turns, and the kinds of a family, so that even a short run sees something of each.
    """
    # The seed decides what happens, nothing secret.
    rng = random.Random(seed)  # noqa: S311
    order = _in_turns(rng, kinds)
    faults: list[Fault] = []
    spacing = max(0.0, duration_seconds - FIRST_SECONDS) / max(1, count)
    for number in range(count):
        kind = next(order)
        at = FIRST_SECONDS + spacing * (number + rng.random() * 0.5)
        drawn = Fault(kind=kind, subject=rng.choice(kind.subjects), at_seconds=at, seconds=rng.uniform(*kind.seconds))
        faults.append(_placed(drawn, faults))
    return sorted(faults, key=lambda fault: fault.at_seconds)


def end_seconds(faults: Sequence[Fault]) -> float:
    """When the last of them should be over: for so long there should be a load."""
    return max((fault.reckoned_end for fault in faults), default=0.0)


def _in_turns(rng: random.Random, kinds: Sequence[Kind]) -> Iterator[Kind]:
    families: dict[str, list[Kind]] = {}
    for kind in rng.sample(list(kinds), len(kinds)):
        families.setdefault(kind.family, []).append(kind)
    turn = 0
    while True:
        for members in families.values():
            yield members[turn % len(members)]
        turn += 1


def _placed(fault: Fault, others: Sequence[Fault]) -> Fault:
    """The same, later if need be: no two faults hit one subject at a time, and few overlap."""
    while True:
        on = [
            other for other in others if other.at_seconds < fault.reckoned_end and fault.at_seconds < other.reckoned_end
        ]
        clashing = [other for other in on if _clash(fault, other)]
        if not clashing and len(on) < MAX_OVERLAPPING:
            return fault
        later = min(other.reckoned_end for other in clashing or on) + 0.1
        fault = Fault(kind=fault.kind, subject=fault.subject, at_seconds=later, seconds=fault.seconds)


def _clash(fault: Fault, other: Fault) -> bool:
    processes = {*INSTANCES, ALL}
    if ALL in {fault.subject, other.subject}:
        return {fault.subject, other.subject} <= processes
    return fault.subject == other.subject
