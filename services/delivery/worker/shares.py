"""Shares of what is scarce: who may take how much of it, so that there is always some left for the next one.

One rule everywhere: what one holds is no more than so many times what stays free (the dynamic thresholds of Choudhury
and Hahne, 1998). One alone may take seven eighths, two get seven fifteenths each, and so on: nothing has to be known of
how many there are, what one leaves the others get, and a newcomer finds something free at once. A tenant may have its
weight times as much for what stays free, and so gets that many times what one of weight 1 gets.

Endpoints that are slow, or of which nothing is known yet, leave a part of everything to those that answer quickly.
"""

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.delivery.worker.lane import Lane

# What one may hold for each that stays free.
TIMES = 7
# How well an endpoint is known; the worse, the more it leaves to the others.
QUICK, UNKNOWN, SLOW = range(3)
# Of what is shared, an unknown endpoint leaves 1/32, and a slow one 1/16; of a few slots there is nothing to spare.
_SPARED_SHIFTS = {UNKNOWN: 5, SLOW: 4}
MIN_TO_SPARE = 4


def share(free: int, taken: int, weight: int = 1) -> int:
    """Return how many more one that has taken so many may take; the first is there as long as anything is free."""
    times = TIMES * weight
    if not taken:
        return max(0, min(1, free), times * free // (times + 1))
    return max(0, (times * free - taken) // (times + 1))


def spared(total: int, level: int) -> int:
    """Return what an endpoint of this level leaves to quicker ones."""
    if level == QUICK or total < MIN_TO_SPARE:
        return 0
    return max(1, total >> _SPARED_SHIFTS[level])


class Bound:
    """A number of requests that many share, with what each level of endpoints leaves of it."""

    __slots__ = ("half", "total", "usable")

    def __init__(self, total: int) -> None:
        self.total = total
        # Below it nobody has to be asked twice.
        self.half = total // 2
        # By level.
        self.usable = tuple(total - spared(total, level) for level in (QUICK, UNKNOWN, SLOW))


class Tenant:
    """What a worker has out for one tenant, and whose turn it is within it."""

    __slots__ = ("blocked", "in_flight", "tenant_id", "turns")

    def __init__(self, tenant_id: str) -> None:
        self.tenant_id = tenant_id
        self.in_flight = 0
        # Lanes that have ids waiting and had room when they were looked at.
        self.turns: OrderedDict[Lane, None] = OrderedDict()
        # Flows with lanes that have ids waiting and no room, those that were looked at longest ago first.
        self.blocked: OrderedDict[Flow, None] = OrderedDict()


class Host:
    """What a worker has out to one host and port."""

    __slots__ = ("blocked", "in_flight")

    def __init__(self) -> None:
        self.in_flight = 0
        # As of a tenant; None until there is one, for most hosts have none, ever.
        self.blocked: OrderedDict[Flow, None] | None = None


class Flow:
    """What a worker has out from one tenant to one host."""

    __slots__ = ("blocked", "host", "in_flight", "lanes", "tenant")

    def __init__(self, tenant: Tenant, host: Host | None) -> None:
        self.tenant = tenant
        self.host = host
        self.in_flight = 0
        # How many lanes are in it.
        self.lanes = 0
        self.blocked: OrderedDict[Lane, None] | None = None
