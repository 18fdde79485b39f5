"""Finds what became due, and gives its subscriptions turns, at a cost that grows with it and not with what waits.

Three cursors move over the queue. `sweep` follows the due times an eighth of a second behind the clock, so each
delivery is looked at when it becomes due, and then no more. `check` goes through the subscriptions, and finds whatever
the sweep missed: what was stored by a transaction that took long, or what was due when the list of due subscriptions
was lost. `expire` goes through the ids, which are in the order of age, and ends what has waited for too long.
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from services.delivery.dispatcher.starts import Starts
from services.delivery.dispatcher.store import DispatcherStore, Place
from services.domain.gates import Gates
from services.domain.states import Hold

SWEEP_SECONDS = 0.12
# Deliveries in one statement; more only where more are due at the same moment.
SWEEP_LIMIT = 5_000
# A transaction's rows are due since it began, and are seen when it has ended: most within this time,
OVERLAP_SECONDS = 0.5
# all within a statement's timeout, for which every so manieth sweep looks back.
LATE_SECONDS = 12.0
SWEEPS_PER_LATE = 16
# Who has not swept for longer leaves what became due before to those who did, and to the check.
STALE_SECONDS = 60.0

CHECK_LIMIT = 5_000
# A pass over a small queue begins so often, and takes no more than a twentieth of a core; but it begins at last after
CHECK_SECONDS = 2.0
CHECK_SHARE = 20
# so long, whatever it costs: nothing that is due is missed for longer than two passes that follow each other.
PASS_SECONDS = 15.0
# Deliveries behind one paused or failing endpoint are counted up to this.
COUNT_LIMIT = 100_000

EXPIRE_LIMIT = 2_000
# A pass for expired deliveries begins so often, and takes a fiftieth of the time of one connection at most.
EXPIRE_SECONDS = 10.0
EXPIRE_SHARE = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Leases:
    """Leases that ran out, and how many of their deliveries failed for it."""

    expired: int = 0
    failed: int = 0


class Sweeper:
    """The cursors of one process. Several processes find the same, and find it entered already."""

    def __init__(self, store: DispatcherStore, starts: Starts, gates: Gates) -> None:
        self._store = store
        self._starts = starts
        self._gates = gates
        # How far the sweep has come; None before the first one.
        self._swept_to: datetime | None = None
        # Whether more is due than one statement read, and what the next one reads.
        self._more = False
        self._limit = SWEEP_LIMIT
        self._sweep_at = self._swept_at = time.monotonic()
        self._sweeps = 0
        # The pass that is under way.
        self._place = Place()
        self._held_so_far: Counter[Hold] = Counter()
        self._pass_began = time.monotonic()
        self._pass_cost_seconds = 0.0
        self._last_pass_seconds = 0.0
        self._held: Mapping[Hold, int] = {}
        self._expired_to = UUID(int=0)
        self._expiry_began = time.monotonic()

    @property
    def held(self) -> Mapping[Hold, int]:
        """Due deliveries that their subscription or its breaker holds, by which, as the last pass found them."""
        return self._held

    # -- what became due --

    async def sweep(self, *, leases: bool = False, guard_seconds: float = 0.0) -> Leases:
        """Give what became due since the last sweep a turn, unless that was a moment ago; one statement's worth.

        With `leases` those that ran out expire; during the next `guard_seconds` none does.
        """
        now = time.monotonic()
        if now < self._sweep_at and not self._more:
            return Leases()
        self._sweep_at = now + SWEEP_SECONDS
        if now - self._swept_at > STALE_SECONDS:
            self._swept_to = None
        self._swept_at = now
        since = self._swept_to
        if since is not None and not self._more:
            self._sweeps += 1
            late = self._sweeps % SWEEPS_PER_LATE == 0
            since -= timedelta(seconds=LATE_SECONDS if late else OVERLAP_SECONDS)
        found = await self._store.sweep(since, limit=self._limit, overlap_seconds=LATE_SECONDS)
        for name, _, due_from in found.due:
            self._starts.lower(name, due_from)
        self._gates.close_for(await self._store.enter_due(found.due))
        expired = await self._settle_leases(found.claimed, guard_seconds) if leases else Leases()
        self._more = found.deliveries >= self._limit
        if not self._more:
            self._swept_to, self._limit = found.now, SWEEP_LIMIT
        elif found.last_due_at == since:  # all are due at one moment: it is passed only as a whole
            self._limit *= 4
        else:
            self._swept_to, self._limit = found.last_due_at, SWEEP_LIMIT
        return expired

    @property
    def has_more(self) -> bool:
        """Whether more became due than the last sweep read."""
        return self._more

    async def _settle_leases(self, delivery_ids: list[UUID], guard_seconds: float) -> Leases:
        """Look at deliveries in flight again when their lease ends; expire those that ended."""
        await self._store.keep_leases(delivery_ids, guard_seconds=guard_seconds)
        if guard_seconds > 0:
            return Leases()
        expired, failed = await self._store.expire_leases(delivery_ids)
        return Leases(expired=expired, failed=failed)

    # -- what was missed --

    async def check(self, *, leases: bool = False, guard_seconds: float = 0.0) -> tuple[float, Leases]:
        """Read the next part of the queue for what was missed; return the seconds until the next, and leases."""
        began = time.monotonic()
        found = await self._store.check_queue(self._place, limit=CHECK_LIMIT)
        for name, due_from in found.due:
            self._starts.lower(name, due_from)
        self._held_so_far.update(found.held)
        complete = found.deliveries < CHECK_LIMIT
        if not complete and found.place and (reason := found.last_held_by):
            # The rest of this subscription is not read: it is held, as is what was.
            room = COUNT_LIMIT - self._held_so_far[reason]
            if room > 0:
                number = await self._store.count_run(found.place, limit=room + found.last_deliveries)
                self._held_so_far[reason] += number - found.last_deliveries
        expired = await self._settle_leases(found.claimed, guard_seconds) if leases else Leases()
        took = time.monotonic() - began
        self._pass_cost_seconds += took
        if found.place is not None and not complete:
            self._place = found.place
            # Three times as much rest as work, unless a pass takes too long.
            seconds = max(self._last_pass_seconds, time.monotonic() - self._pass_began)
            return took * (3 if seconds < PASS_SECONDS / 3 else 0.2), expired
        return self._end_pass(), expired

    def _end_pass(self) -> float:
        """Begin again at the first subscription; return the seconds until then."""
        now = time.monotonic()
        self._held = {reason: min(number, COUNT_LIMIT) for reason, number in self._held_so_far.items()}
        self._last_pass_seconds = now - self._pass_began
        period = max(CHECK_SECONDS, min(PASS_SECONDS, CHECK_SHARE * self._pass_cost_seconds))
        pause = max(CHECK_SECONDS / 2, period - self._last_pass_seconds)
        self._place, self._held_so_far, self._pass_cost_seconds = Place(), Counter(), 0.0
        self._pass_began = now + pause
        return pause

    # -- what has waited for too long --

    async def expire(self) -> tuple[float, int]:
        """End what is past its expiry in the next part of the queue; the seconds until the next, and how many ended."""
        began = time.monotonic()
        expired, last = await self._store.find_expired(self._expired_to, limit=EXPIRE_LIMIT)
        ended = await self._store.end_expired(expired)
        now = time.monotonic()
        if last is not None:
            self._expired_to = last
            return EXPIRE_SHARE * (now - began), ended
        pause = max(EXPIRE_SHARE * (now - began), EXPIRE_SECONDS - (now - self._expiry_began))
        self._expired_to, self._expiry_began = UUID(int=0), now + pause
        return pause, ended
