"""A lane: what a worker knows of a subscription, and how many requests of it may be out.

Its limit adapts: good responses raise it, and one that is bad or slow halves it (additive increase, multiplicative
decrease; until its first setback it grows with every good answer, as TCP begins).
"""

import time
from uuid import UUID

from services.delivery.worker.shares import QUICK, SLOW, UNKNOWN, Flow, Tenant

# Requests of a subscription for each free slot.
SHARE = 3
# Requests of a subscription that nothing is known of.
FIRST_LIMIT = 32
# Ids of a lane at its bound: what it takes within so many seconds may wait here, and a few.
WAITING_SECONDS = 2.0
MIN_WAITING = 8
# How long an answer of an endpoint takes that nothing is known of.
FIRST_ANSWER_SECONDS = 0.1
# The weight of the latest answer in the mean.
LATEST = 0.1
# An endpoint is slow if its responses take longer, or it has sent none for so long.
QUICK_SECONDS = 0.25
# A good answer that took longer counts as a bad one for the limit.
SLOW_SECONDS = 2.0


class Lane:
    """One subscription."""

    __slots__ = (
        "_halved_at",
        "_threshold",
        "answer_seconds",
        "blocked",
        "endpoint_version",
        "flow",
        "in_flight",
        "in_turn",
        "limit",
        "parked",
        "subscription_id",
        "unplaced",
        "used_at",
        "waiting",
    )

    def __init__(self, subscription_id: UUID, slots: int, flow: Flow | None = None) -> None:
        self.subscription_id = subscription_id
        # Whose it is and where it goes.
        self.flow = flow or Flow(Tenant(""), None)
        # Of this lane's endpoint; None until the first claim.
        self.endpoint_version: int | None = None
        # Ids that nobody claimed yet, in the order of their bells.
        self.waiting: dict[UUID, None] = {}
        # Being claimed, or claimed and not answered yet.
        self.in_flight = 0
        # Of those, how many went out before it was known whose they are.
        self.unplaced = 0
        self.limit = float(min(FIRST_LIMIT, slots))
        self.in_turn = False
        # It has ids waiting, and no room.
        self.blocked = False
        # Blocked, and slow or for want of a share: what waits here does not wait for this worker.
        self.parked = False
        # When a request of it ended last, or the first of them began.
        self.used_at = time.monotonic()
        # The mean of late.
        self.answer_seconds = FIRST_ANSWER_SECONDS
        # Below it the limit grows with every good answer, above it with every round of them.
        self._threshold = float(slots)
        self._halved_at = 0.0

    def room(self, free_slots: int) -> int:
        """How many more requests may go out now, by its limit and the slots that are free."""
        return max(0, min(int(self.limit) - self.in_flight, share_of_lane(free_slots, self.in_flight, SHARE)))

    def at_bound(self, free_slots: int) -> bool:
        """Whether it is its own requests that leave no room, and not those of others."""
        return (self.in_flight > 0 or free_slots > 0) and not self.room(free_slots)

    @property
    def level(self) -> int:
        """How well its endpoint is known to answer. Silence does not count where nothing was asked."""
        if self.answer_seconds >= QUICK_SECONDS or (self.in_flight > 0 and self.is_slow(time.monotonic())):
            return SLOW
        return UNKNOWN if self.answer_seconds == FIRST_ANSWER_SECONDS else QUICK

    @property
    def at_limit(self) -> bool:
        """Whether its endpoint has as many requests as it takes; another worker would help no more than this one."""
        return self.in_flight >= int(self.limit)

    def may_wait(self, now: float, requests: float | None = None) -> int:
        """How many ids may wait here while the lane has no room, and has so many requests at a time (its limit)."""
        at_once = self.limit if requests is None else requests
        return max(MIN_WAITING, int(at_once * WAITING_SECONDS / max(0.001, self._seconds(now))))

    def is_slow(self, now: float) -> bool:
        """Whether its endpoint takes long to answer, or has stopped to."""
        return self._seconds(now) >= QUICK_SECONDS

    def _seconds(self, now: float) -> float:
        return max(self.answer_seconds, now - self.used_at)

    def succeeded(self, seconds: float, started_at: float, slots: int) -> None:
        """Learn from a 2xx that took so long; `started_at` is on the monotonic clock."""
        if seconds >= SLOW_SECONDS:
            self.failed(seconds, started_at)
            return
        self._took(seconds)
        if 2 * (self.in_flight + 1) >= self.limit:  # it was one of them; with fewer nothing is known of more
            step = 1.0 if self.limit < self._threshold else 1.0 / self.limit
            self.limit = min(float(slots), self.limit + step)

    def failed(self, seconds: float, started_at: float) -> None:
        """Learn from an answer that is none, or says that the endpoint has trouble."""
        self._took(seconds)
        if started_at >= self._halved_at:  # once for all that was out together
            self._threshold = self.limit = max(1.0, self.limit / 2)
            self._halved_at = time.monotonic()

    def _took(self, seconds: float) -> None:
        known = self.answer_seconds != FIRST_ANSWER_SECONDS
        self.answer_seconds += (LATEST if known else 1.0) * (seconds - self.answer_seconds)

    def restart(self, slots: int) -> None:
        """Start again from one request at a time."""
        self.limit, self._threshold = 1.0, float(slots)


def share_of_lane(free: int, taken: int, times: int) -> int:
    """Return how many more a lane may take; rounded up, unlike that of a tenant, so that few slots are used, too."""
    return max(0, -((taken - times * free) // (times + 1)))
