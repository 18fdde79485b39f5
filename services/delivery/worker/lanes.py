"""Lanes: a worker's state for each subscription, and which is next.

A lane bounds how many requests of a subscription are out. Two rules, of which the lower one counts:

- its limit, which adapts: good responses raise it, and one that is bad or slow halves it (additive increase,
  multiplicative decrease; until its first setback it grows with every good answer, as TCP begins);
- no more than three times as many as there are free slots: a busy subscription gets three quarters of the worker,
  two get three sevenths each, and however many there are, slots are left for those that need few. The last slot is not
  for an endpoint that is slow, so that any number of those that hang leave a way to the others.

What is over the bound waits in Postgres, except for what the endpoint takes in the next two seconds. Ids of an endpoint
that answers quickly count as waiting for this worker, which hears no more bells while there are too many of
them; those of a slow one, or of one that has stopped answering, do not: they hold up nobody.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from uuid import UUID

# Requests of a subscription for each free slot.
SHARE = 3
# A worker with fewer slots has none to spare.
MIN_SLOTS_TO_SPARE = 4
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
# Lanes where nothing happened are forgotten.
FORGET_SECONDS = 600.0


class Lane:
    """One subscription."""

    __slots__ = (
        "_halved_at",
        "_spares",
        "_threshold",
        "answer_seconds",
        "endpoint_version",
        "in_flight",
        "in_turn",
        "limit",
        "parked",
        "subscription_id",
        "used_at",
        "waiting",
    )

    def __init__(self, subscription_id: UUID, slots: int) -> None:
        self.subscription_id = subscription_id
        # Of this lane's endpoint; None until the first claim.
        self.endpoint_version: int | None = None
        # Ids that nobody claimed yet, in the order of their bells.
        self.waiting: dict[UUID, None] = {}
        # Being claimed, or claimed and not answered yet.
        self.in_flight = 0
        self.limit = float(min(FIRST_LIMIT, slots))
        self.in_turn = False
        # At its bound, and slow: what waits here waits for its endpoint and not for this worker.
        self.parked = False
        # When a request of it ended last, or the first of them began.
        self.used_at = time.monotonic()
        # The mean of late.
        self.answer_seconds = FIRST_ANSWER_SECONDS
        # Below it the limit grows with every good answer, above it with every round of them.
        self._threshold = float(slots)
        self._halved_at = 0.0
        # Whether it leaves the last slot to others while it is slow.
        self._spares = slots >= MIN_SLOTS_TO_SPARE

    def room(self, free_slots: int) -> int:
        """How many more requests may go out now."""
        by_share = -((self.in_flight - SHARE * free_slots) // (SHARE + 1))  # rounded up
        room = max(0, min(int(self.limit) - self.in_flight, by_share))
        if 0 < free_slots <= room and self._spares and self._answers_slowly():
            return free_slots - 1
        return room

    def at_bound(self, free_slots: int) -> bool:
        """Whether it is its own requests that leave no room, or its slowness, and not those of others."""
        return (self.in_flight > 0 or free_slots > 0) and not self.room(free_slots)

    @property
    def at_limit(self) -> bool:
        """Whether its endpoint has as many requests as it takes; another worker would help no more than this one."""
        return self.in_flight >= int(self.limit)

    def may_wait(self, now: float) -> int:
        """How many ids may wait here while the lane is at its bound."""
        return max(MIN_WAITING, int(self.limit * WAITING_SECONDS / max(0.001, self._seconds(now))))

    def is_slow(self, now: float) -> bool:
        """Whether its endpoint takes long to answer, or has stopped to."""
        return self._seconds(now) >= QUICK_SECONDS

    def _answers_slowly(self) -> bool:
        """Like is_slow, but that silence does not count where nothing was asked."""
        return self.answer_seconds >= QUICK_SECONDS or (self.in_flight > 0 and self.is_slow(time.monotonic()))

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


class Lanes:
    """All lanes, and the turns of those that have ids waiting and room."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._lanes: dict[UUID, Lane] = {}
        self._turns: deque[Lane] = deque()
        # Those at their bounds with ids waiting, those that were looked at longest ago first.
        self._blocked: dict[UUID, Lane] = {}
        self.in_flight = 0
        self.waiting = 0
        # Of those, ids that wait for this worker: all but those of parked lanes.
        self.ready = 0

    @property
    def free_slots(self) -> int:
        """How many more requests may go out in all."""
        return self._slots - self.in_flight

    def lane(self, subscription_id: UUID) -> Lane:
        """Return a subscription's lane; create it if missing."""
        lane = self._lanes.get(subscription_id)
        if lane is None:
            lane = self._lanes[subscription_id] = Lane(subscription_id, self._slots)
        return lane

    def add(self, subscription_id: UUID, delivery_ids: Iterable[UUID]) -> list[UUID]:
        """Take ids in, and return those that are too many for a lane at its bound."""
        lane = self.lane(subscription_id)
        before = len(lane.waiting)
        lane.waiting.update(dict.fromkeys(delivery_ids))
        self._count(lane, len(lane.waiting) - before)
        if lane.in_turn or not lane.waiting:
            return []
        if not lane.at_bound(self.free_slots):
            self._enter(lane)
            return []
        self._blocked[subscription_id] = lane
        return self._park(lane, time.monotonic())

    def park_stalled(self) -> Iterator[tuple[UUID, list[UUID]]]:
        """Look at the lanes at their bound again: the ids that are too many for those that have stopped answering."""
        now = time.monotonic()
        for lane in tuple(self._blocked.values()):
            if not lane.parked and (too_many := self._park(lane, now)):
                yield lane.subscription_id, too_many

    def next_batch(self, number: int) -> list[tuple[Lane, UUID]]:
        """Take up to `number` ids out, in turns, for requests that begin now."""
        batch: list[tuple[Lane, UUID]] = []
        now = time.monotonic()
        while self._turns and len(batch) < number and self.free_slots > 0:
            lane = self._turns.popleft()
            if not lane.in_flight:
                lane.used_at = now  # it is given time to answer from now on
            share = max(1, (number - len(batch)) // (len(self._turns) + 1))
            for _ in range(min(share, lane.room(self.free_slots), len(lane.waiting))):
                delivery_id = next(iter(lane.waiting))
                del lane.waiting[delivery_id]
                batch.append((lane, delivery_id))
                lane.in_flight += 1
                self.in_flight += 1
                self._count(lane, -1)
            if lane.waiting and not lane.at_bound(self.free_slots):
                self._turns.append(lane)
            else:
                lane.in_turn = False
                if lane.waiting:
                    self._blocked[lane.subscription_id] = lane
        return batch

    def done(self, lane: Lane) -> None:
        """One request of a lane is over, or was none after all."""
        lane.in_flight -= 1
        self.in_flight -= 1
        lane.used_at = time.monotonic()
        self._look_again(lane)
        if self._blocked:  # a slot is free again, perhaps for another one
            self._look_again(next(iter(self._blocked.values())))

    @property
    def can_claim(self) -> bool:
        """Whether a batch would have something in it."""
        return bool(self._turns) and self.free_slots > 0

    def discard(self, lane: Lane, delivery_id: UUID) -> None:
        """Forget an id that was rung for again while it was claimed."""
        if delivery_id in lane.waiting:
            del lane.waiting[delivery_id]
            self._count(lane, -1)

    def of_claim(self, lane: Lane, endpoint_version: int) -> tuple[Lane, list[UUID]]:
        """Return the lane of a claim that was made for `lane`, and the ids that are too many for it.

        It is another lane when the claim is for another endpoint: what was learned of one says nothing of the next.
        """
        lane.in_flight -= 1
        too_many = self.lead_to(lane.subscription_id, endpoint_version)
        current = self.lane(lane.subscription_id)
        current.in_flight += 1
        return current, too_many

    def lead_to(self, subscription_id: UUID, endpoint_version: int) -> list[UUID]:
        """Make the lane of a subscription one to this endpoint; return the ids that are too many for it.

        Requests to the endpoint before keep their slots, and no longer count against the bound.
        """
        lane = self.lane(subscription_id)
        if lane.endpoint_version is None:
            lane.endpoint_version = endpoint_version
        if lane.endpoint_version >= endpoint_version:
            return []
        waiting = self.empty(lane)
        del self._lanes[subscription_id]
        self.lane(subscription_id).endpoint_version = endpoint_version
        return self.add(subscription_id, waiting)

    @property
    def at_limit(self) -> list[UUID]:
        """The subscriptions whose endpoint has as many requests as it takes."""
        return [name for name, lane in self._lanes.items() if lane.in_flight and lane.at_limit]

    def empty(self, lane: Lane) -> list[UUID]:
        """Take out all that waits in a lane."""
        if lane.in_turn:
            lane.in_turn = False
            self._turns.remove(lane)
        self._blocked.pop(lane.subscription_id, None)
        return self._cut(lane, 0)

    def empty_all(self) -> list[UUID]:
        """Take out all that waits."""
        return [delivery_id for lane in self._lanes.values() for delivery_id in self.empty(lane)]

    def forget_idle(self) -> None:
        """Forget lanes that were not used for long."""
        since = time.monotonic() - FORGET_SECONDS
        for lane in tuple(self._lanes.values()):
            if lane.used_at < since and not lane.in_flight and not lane.waiting:
                del self._lanes[lane.subscription_id]

    def _look_again(self, lane: Lane) -> None:
        """Give a turn to a lane that is no longer at its bound."""
        if self._blocked.get(lane.subscription_id) is not lane:  # it has a turn, or led to an endpoint that is no more
            return
        del self._blocked[lane.subscription_id]
        if not lane.waiting:
            return
        if lane.at_bound(self.free_slots):
            self._blocked[lane.subscription_id] = lane
        else:
            self._enter(lane)

    def _park(self, lane: Lane, now: float) -> list[UUID]:
        """Return what exceeds the bound of a lane; a slow lane is parked."""
        if lane.is_slow(now) and not lane.parked:
            lane.parked = True
            self.ready -= len(lane.waiting)
        return self._cut(lane, lane.may_wait(now))

    def _cut(self, lane: Lane, length: int) -> list[UUID]:
        cut = []
        while len(lane.waiting) > length:
            cut.append(lane.waiting.popitem()[0])
        self._count(lane, -len(cut))
        return cut

    def _count(self, lane: Lane, number: int) -> None:
        self.waiting += number
        if not lane.parked:
            self.ready += number

    def _enter(self, lane: Lane) -> None:
        lane.in_turn = True
        self._turns.append(lane)
        self._blocked.pop(lane.subscription_id, None)
        if lane.parked:
            lane.parked = False
            self.ready += len(lane.waiting)
