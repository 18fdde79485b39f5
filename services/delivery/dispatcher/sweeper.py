"""Finds what became due, and gives its subscriptions turns, at a cost that grows with it and not with what waits.

Three cursors move over the queue. `sweep` follows the due times an eighth of a second behind the clock, so each
delivery is looked at when it becomes due, and then no more. `check` goes through the subscriptions, and finds whatever
the sweep missed: what was stored by a transaction that took long, or what was due when the list of due subscriptions
was lost. `expire` goes through the ids, which are in the order of age, and ends what has waited for too long.
"""

import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from services.delivery.dispatcher.starts import Starts
from services.delivery.dispatcher.store import DispatcherStore, Place, Swept
from services.domain.gates import Gates
from services.domain.states import Hold

SWEEP_SECONDS = 0.12
# Deliveries in one statement, which are to be so few that others hardly wait for it.
SWEEP_LIMIT = 1_000
# A transaction's rows are due since it began, and are seen when it has ended: most within this time,
OVERLAP_SECONDS = 0.05
# nearly all within the first of these times, and all within a statement's timeout. So a sweep looks back so far every
# few seconds, and each of these two takes a tenth of the time at most: a backlog would be read again and again.
LATE_SECONDS = 0.5
LATE_INTERVAL_SECONDS = 0.4
LATEST_SECONDS = 12.0
LATEST_INTERVAL_SECONDS = 2.0
LOOK_BACK_SHARE = 10
# More than these that are due at one moment are left to the check, and so is everything when sweeps are so far behind.
MOMENT_LIMIT = 20_000
BEHIND_SECONDS = 20.0
# Who has not swept for longer leaves what became due before to those who did, and to the check.
STALE_SECONDS = 60.0

CHECK_LIMIT = 2_000
# A pass over a small queue begins so often, rarely where the last one found nothing due, and takes no more than a
# twentieth of a core; but it begins at last after
CHECK_SECONDS = 2.0
QUIET_CHECK_SECONDS = 10.0
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


class _LookBack:
    """When a sweep begins again so far back, and since when one does."""

    def __init__(self, seconds: float, interval_seconds: float) -> None:
        self.seconds = seconds
        self._interval_seconds = interval_seconds
        self.began_at = time.monotonic()
        self.at = self.began_at + interval_seconds

    def end(self) -> None:
        """Note that all of it was read."""
        took = time.monotonic() - self.began_at
        self.at = self.began_at + max(self._interval_seconds, LOOK_BACK_SHARE * took)


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
        # Until the next delivery becomes due, as far as the last sweep saw: 0 where it found some.
        self.next_seconds = 0.0
        self._limit = SWEEP_LIMIT
        self._sweep_at = self._swept_at = time.monotonic()
        self._looks_back = (
            _LookBack(LATEST_SECONDS, LATEST_INTERVAL_SECONDS),
            _LookBack(LATE_SECONDS, LATE_INTERVAL_SECONDS),
        )
        # The one that is under way.
        self._look_back: _LookBack | None = None
        # The pass that is under way.
        self._place = Place()
        self._held_so_far: Counter[Hold] = Counter()
        self._pass_began = time.monotonic()
        self._pass_cost_seconds = 0.0
        self._last_pass_seconds = 0.0
        # Whether the one under way found something due, held or not; and whether the last part of one found what may be
        # sent.
        self._found_due = self.found_due = False
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
        found = await self._store.sweep(self._since(now), limit=self._limit, overlap_seconds=LATEST_SECONDS)
        for name, due_from in found.listed:
            self._starts.lower(name, due_from)
        self._gates.close_for(found.open_seconds)
        expired = await self._settle_leases(found.claimed, guard_seconds) if leases else Leases()
        self._move(found)
        seconds = math.inf if found.next_seconds is None else found.next_seconds
        self.next_seconds = 0.0 if found.deliveries else seconds
        return expired

    def _since(self, now: float) -> datetime | None:
        """Return where a sweep begins: it goes on where the last one ended, and looks back once that read all."""
        if self._swept_to is None or self._more:
            return self._swept_to
        self._look_back = next((look for look in self._looks_back if now >= look.at), None)
        if self._look_back is None:
            return self._swept_to - timedelta(seconds=OVERLAP_SECONDS)
        self._look_back.began_at = now
        return self._swept_to - timedelta(seconds=self._look_back.seconds)

    def _move(self, found: Swept) -> None:
        """Take in how far a sweep came."""
        self._more = found.deliveries >= self._limit
        if self._more and found.last_due_at is not None:
            moment = found.last_due_at
            if moment != self._swept_to:
                self._limit = SWEEP_LIMIT
            elif self._limit == SWEEP_LIMIT:  # all are due at one moment, of which a statement is to read all
                self._limit = MOMENT_LIMIT
            else:
                moment, self._limit = moment + timedelta(microseconds=1), SWEEP_LIMIT
            behind = found.now - moment > timedelta(seconds=BEHIND_SECONDS)
            self._swept_to = found.now if behind else moment
            return
        self._swept_to, self._limit = found.now, SWEEP_LIMIT
        if self._look_back is not None:
            self._look_back.end()
            self._look_back = None

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
        self.found_due = bool(found.due)
        self._found_due |= bool(found.due or found.held or found.claimed)
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
        least_seconds = CHECK_SECONDS if self._found_due else QUIET_CHECK_SECONDS
        period = max(least_seconds, min(PASS_SECONDS, CHECK_SHARE * self._pass_cost_seconds))
        pause = max(CHECK_SECONDS / 2, period - self._last_pass_seconds)
        self._place, self._held_so_far, self._pass_cost_seconds, self._found_due = Place(), Counter(), 0.0, False
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
