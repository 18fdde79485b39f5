"""The kinds of faults: what each may hit, how long it lasts, and what it may be the reason of.

Only a fault of the worker, or of what stands between a worker and the other two parties of a delivery, can keep a 2xx
from being recorded and so be the reason of a second request. Nothing that happens to Redis, to the dispatcher, to
accepting, or to Postgres as a whole explains a duplicate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

GATEWAYS = ("gateway",)
INGESTS = ("ingest-0", "ingest-1")
DELIVERIES = ("delivery-0", "delivery-1")
WORKERS = ("worker-0", "worker-1")
ANALYTICS = ("analytics",)
INSTANCES = (*INGESTS, *DELIVERIES, *ANALYTICS, *WORKERS, *GATEWAYS)
# Who has connections to the stores.
STORE_USERS = (*INGESTS, *DELIVERIES, *ANALYTICS, *WORKERS)

ENDPOINTS = ("a", "b", "c", "d")
ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of fault. `seconds` is the range of its length; its restart, where there is one, comes on top."""

    name: str
    subjects: Sequence[str]
    seconds: tuple[float, float]
    # Whether a second request after a 2xx may come of it.
    duplicates: bool = False
    # Only when it lasts at least this share of a lease.
    of_lease: float = 0.0
    # Whether it delays the recording of outcomes.
    delays_recording: bool = False
    # Whether a request that its worker gave up may arrive after it.
    delays_requests: bool = False
    # Whether a lease may run out by it.
    interrupts: bool = False

    @property
    def family(self) -> str:
        """What its name begins with."""
        return self.name.partition("-")[0]


def _processes() -> list[Kind]:
    found = []
    for role, subjects in {
        "gateway": GATEWAYS,
        "ingest": INGESTS,
        "delivery": DELIVERIES,
        "worker": WORKERS,
        "analytics": ANALYTICS,
    }.items():
        worker = role == "worker"
        explains = {"duplicates": worker, "interrupts": worker}
        found += [
            Kind(name=f"kill-{role}", subjects=subjects, seconds=(0, 0), **explains),
            Kind(name=f"stop-{role}", subjects=subjects, seconds=(2, 30) if worker else (2, 12), **explains),
            Kind(name=f"restart-{role}", subjects=subjects, seconds=(0, 0), **explains),
        ]
    return found


def _stores() -> list[Kind]:
    lost = {"delays_recording": True, "interrupts": True}
    return [
        Kind(name="redis-flush", subjects=["redis"], seconds=(0, 0)),
        Kind(name="redis-kill", subjects=["redis"], seconds=(0, 0)),
        Kind(name="redis-restart", subjects=["redis"], seconds=(0, 0)),
        Kind(name="redis-freeze", subjects=["redis"], seconds=(2, 12)),
        Kind(name="redis-away", subjects=["redis"], seconds=(5, 30)),
        Kind(name="postgres-crash", subjects=["postgres"], seconds=(0, 0), **lost),
        Kind(name="postgres-kill", subjects=["postgres"], seconds=(0, 0), **lost),
        Kind(name="postgres-restart", subjects=["postgres"], seconds=(0, 0), **lost),
        Kind(name="postgres-away", subjects=["postgres"], seconds=(3, 15), **lost),
    ]


def _links() -> list[Kind]:
    modes = {"refuse": (2, 8), "blackhole": (2, 10), "reset": (1, 3), "delay": (3, 8)}
    found = []
    for mode, seconds in modes.items():
        found += [
            Kind(name=f"cut-gateway-{mode}", subjects=[f"gateway>{name}" for name in STORE_USERS[:5]], seconds=seconds),
            Kind(name=f"cut-redis-{mode}", subjects=[f"{name}>redis" for name in STORE_USERS], seconds=seconds),
            Kind(
                name=f"cut-postgres-{mode}",
                subjects=[f"{name}>postgres" for name in STORE_USERS],
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


# What an endpoint does instead of answering 200 at once.
RECEIVER_MODES = ("errs", "hangs", "drips", "resets", "floods", "garbles", "lags")


def _receivers() -> list[Kind]:
    return [
        Kind(name=f"receiver-{mode}", subjects=[f"endpoint-{name}" for name in ENDPOINTS], seconds=(3, 10))
        for mode in RECEIVER_MODES
    ]


# Nobody asked for this one: the harness, and with it every proxy and the receiver, got too little CPU time.
STALL = Kind(
    name="harness-late",
    subjects=["harness"],
    seconds=(0, 0),
    duplicates=True,
    delays_recording=True,
    delays_requests=True,
    interrupts=True,
)

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        *_processes(),
        Kind(name="restart-all", subjects=[ALL], seconds=(0, 0), duplicates=True, interrupts=True),
        *_stores(),
        *_links(),
        *_receivers(),
    )
}


def chosen(names: Sequence[str]) -> list[Kind]:
    """The kinds whose name is, or begins with, one of these; all when there are none. ValueError for an unknown one."""
    if not names:
        return list(KINDS.values())
    for name in names:
        if not any(_matches(kind, name) for kind in KINDS):
            raise ValueError(f"no kind of fault is, or begins with, {name!r}; there are {', '.join(KINDS)}")
    return [kind for kind in KINDS.values() if any(_matches(kind.name, name) for name in names)]


def _matches(kind: str, name: str) -> bool:
    return kind == name or kind.startswith(name + "-")
