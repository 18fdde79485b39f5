"""The kinds of faults, and when each happens: a pure function of the seed, the kinds, the number, and the time."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dev.harness import plan

# A 2xx can remain unrecorded, and so cause a second request, only after a fault of the worker or of its connections to
# Postgres or the receiver. Faults of Redis, the dispatcher, accepting, or Postgres as a whole explain no duplicate,
# except that a crash of Postgres may undo a claim made just before it.


ROLES = ("gateway", "ingest", "delivery", "worker", "analytics")
# Processes of which two run, in whichever shape: what one leaves, the other has to take over.
DOUBLED = frozenset({"ingest", "delivery", "worker", "back", "service"})


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The processes of a run, as dev/harness/plan.py has them, and two copies of some: NAME-0 and NAME-1."""

    # By the name of a process, in the order in which they start.
    roles: Mapping[str, tuple[str, ...]]

    def copies(self, process: str) -> tuple[str, ...]:
        """Return the names of the copies of a process."""
        return (f"{process}-0", f"{process}-1") if process in DOUBLED else (process,)

    @property
    def instances(self) -> Mapping[str, tuple[str, ...]]:
        """Return the roles of every copy."""
        return {name: roles for process, roles in self.roles.items() for name in self.copies(process)}

    def having(self, *roles: str) -> tuple[str, ...]:
        """Return the copies that have one of these roles."""
        return tuple(name for name, own in self.instances.items() if {*roles} & {*own})

    @property
    def store_users(self) -> tuple[str, ...]:
        """Return the copies that connect to the stores."""
        return self.having("ingest", "delivery", "worker", "analytics")

    @property
    def calls(self) -> tuple[str, ...]:
        """Return who calls whom by gRPC, as FROM>TO."""
        servers = self.having(*plan.GRPC_ROLES)
        return tuple(f"{name}>{to}" for name in self.having("gateway") for to in servers if to != name)


SHAPES: Mapping[str, Shape] = {name: Shape(roles=roles) for name, roles in plan.SHAPES.items()}
ENDPOINTS = ("a", "b", "c", "d")
ALL = "all"
# The assumed length of a fault without its own length, such as a restart.
RESTART_SECONDS = 4.0


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of fault. `seconds` is the range of its length; the time for a restart is added, if there is one."""

    name: str
    subjects: Sequence[str]
    seconds: tuple[float, float]
    # Whether it can cause a second request after a 2xx.
    duplicates: bool = False
    # It can do so only if it lasts at least this share of a lease.
    of_lease: float = 0.0
    # Whether it can undo a claim that was not on disk yet, so that another worker claims the delivery again.
    undoes_claims: bool = False
    # Whether it delays the recording of outcomes.
    delays_recording: bool = False
    # Whether a request that its worker gave up can arrive after it.
    delays_requests: bool = False
    # Whether a lease can expire because of it.
    interrupts: bool = False
    # How long the restart that belongs to it is reckoned to take.
    restart_seconds: float = RESTART_SECONDS
    # Whether it hits a process of ours.
    of_process: bool = False

    @property
    def family(self) -> str:
        """Return the first part of its name."""
        return self.name.partition("-")[0]


def _processes(shape: Shape) -> list[Kind]:
    found = []
    for process, roles in sorted(shape.roles.items(), key=lambda each: min(map(ROLES.index, each[1]))):
        worker, subjects = "worker" in roles, shape.copies(process)
        explains = {"duplicates": worker, "interrupts": worker, "of_process": True}
        found += [
            Kind(name=f"kill-{process}", subjects=subjects, seconds=(0, 0), **explains),
            Kind(name=f"stop-{process}", subjects=subjects, seconds=(2, 30) if worker else (2, 12), **explains),
            Kind(name=f"restart-{process}", subjects=subjects, seconds=(0, 0), **explains),
        ]
    everything = Kind(
        name="restart-all",
        subjects=[ALL],
        seconds=(0, 0),
        duplicates=True,
        interrupts=True,
        restart_seconds=RESTART_SECONDS * len(shape.instances),
        of_process=True,
    )
    return [*found, everything]


def _stores() -> list[Kind]:
    lost = {"delays_recording": True, "interrupts": True}
    return [
        Kind(name="redis-flush", subjects=["redis"], seconds=(0, 0)),
        Kind(name="redis-kill", subjects=["redis"], seconds=(0, 0)),
        Kind(name="redis-restart", subjects=["redis"], seconds=(0, 0)),
        Kind(name="redis-freeze", subjects=["redis"], seconds=(2, 12)),
        Kind(name="redis-away", subjects=["redis"], seconds=(5, 30)),
        Kind(name="postgres-crash", subjects=["postgres"], seconds=(0, 0), undoes_claims=True, **lost),
        Kind(name="postgres-kill", subjects=["postgres"], seconds=(0, 0), undoes_claims=True, **lost),
        Kind(name="postgres-restart", subjects=["postgres"], seconds=(0, 0), **lost),
        Kind(name="postgres-away", subjects=["postgres"], seconds=(3, 15), **lost),
    ]


def _links(shape: Shape) -> list[Kind]:
    modes = {"refuse": (2, 8), "blackhole": (2, 10), "reset": (1, 3), "delay": (3, 8)}
    found = []
    for mode, seconds in modes.items():
        found += [
            Kind(name=f"cut-gateway-{mode}", subjects=shape.calls, seconds=seconds),
            Kind(name=f"cut-redis-{mode}", subjects=[f"{name}>redis" for name in shape.store_users], seconds=seconds),
            Kind(
                name=f"cut-postgres-{mode}",
                subjects=[f"{name}>postgres" for name in shape.store_users],
                seconds=seconds,
                duplicates=True,
                of_lease=1 / 3,
                delays_recording=True,
                interrupts=True,
            ),
            Kind(
                name=f"cut-receiver-{mode}",
                subjects=["workers>receiver"],
                seconds=seconds,
                duplicates=True,
                delays_requests=mode in {"blackhole", "delay"},
            ),
        ]
    return found


# What an endpoint does instead of returning 200 at once.
RECEIVER_MODES = ("errs", "hangs", "drips", "resets", "floods", "garbles", "lags")


def _receivers() -> list[Kind]:
    return [
        Kind(name=f"receiver-{mode}", subjects=[f"endpoint-{name}" for name in ENDPOINTS], seconds=(3, 10))
        for mode in RECEIVER_MODES
    ]


# Not scheduled: the harness, and with it every proxy and the receiver, got too little CPU time.
STALL = Kind(
    name="harness-late",
    subjects=["harness"],
    seconds=(0, 0),
    duplicates=True,
    delays_recording=True,
    delays_requests=True,
    interrupts=True,
)


def kinds(shape: Shape) -> dict[str, Kind]:
    """Return every kind of fault that this shape can have, by name."""
    found = (*_processes(shape), *_stores(), *_links(shape), *_receivers())
    return {kind.name: kind for kind in found}


def chosen(names: Sequence[str], shape: Shape) -> list[Kind]:
    """Return the kinds whose name is or begins with one of these; all if empty. ValueError for an unknown one."""
    every = kinds(shape)
    if not names:
        return list(every.values())
    for name in names:
        if not any(_matches(kind, name) for kind in every):
            raise ValueError(f"no kind of fault is, or begins with, {name!r}; there are {', '.join(every)}")
    return [kind for kind in every.values() if any(_matches(kind.name, name) for name in names)]


def _matches(kind: str, name: str) -> bool:
    return kind == name or kind.startswith(name + "-")


# Time for the stack to get going before the first fault.
FIRST_SECONDS = 3.0
MAX_OVERLAPPING = 3


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One scheduled fault. `at_seconds` counts from the start of the load."""

    kind: Kind
    subject: str
    at_seconds: float
    seconds: float

    @property
    def reckoned_end(self) -> float:
        """Return when it should be over, including the restart."""
        return self.at_seconds + self.seconds + self.kind.restart_seconds

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.at_seconds:7.1f} s  {self.kind.name} of {self.subject}{lasting}"


def make(seed: int, kinds: Sequence[Kind], count: int, duration_seconds: float) -> list[Fault]:
    """Return `count` faults in order of time, spread over the duration, at most three of them at once.

    Families take turns, and so do the kinds of a family, so that even a short run includes some of each.
    """
    # The seed only reproduces a run; it is not a secret.
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
    """Return when the last fault should be over: the load should last at least as long."""
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
    """Return the fault, later if necessary: no two faults hit a subject at the same time, and few overlap."""
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
    if ALL in {fault.subject, other.subject}:
        return fault.kind.of_process and other.kind.of_process
    return fault.subject == other.subject
