"""Moving: a scheduled event that is due becomes an event with deliveries, exactly once.

Events are due in the order of their ids. A chunk of them is locked, matched with the subscriptions as they are now,
stored as events, and deleted, all in one transaction; other processes skip what is locked. So any number of processes
move each event exactly once, and one that dies leaves nothing that another does not move. Postgres' clock decides what
is due, so that no event is early.

Looking costs nothing while nothing is due: a look reads the first row from a remembered id on, and so passes no more of
what was deleted than that of the last seconds. A process lowers that id for what it stores itself; all rows are looked
at now and then, for what another process stored late and did not live to move.

While more is due than a chunk has, tenants take turns, of which each has as many as its weight.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NoReturn
from uuid import UUID

import asyncpg
import structlog

from services.ingest import metrics
from services.ingest.events.committer import Committer
from services.ingest.events.records import NewEvent
from services.ingest.events.targets import Matcher
from services.ingest.quotas.guard import Guard
from services.ingest.scheduled.rows import Scheduled
from services.ingest.scheduled.store import Chunk, ScheduledStore
from services.platform import errors, ids
from services.platform.clock import Clock
from services.platform.process import background
from services.platform.process.shares import WeightOf, same_weight
from services.platform.stores.availability import is_store_away
from services.platform.stores.signals import Signals

log = structlog.get_logger(__name__)

# The signal that an event was scheduled.
SCHEDULED = "scheduled"
# Of a chunk: events, bytes of their payloads, and deliveries that are made with them.
CHUNK_EVENTS = 250
CHUNK_BYTES = 4 << 20
CHUNK_DELIVERIES = 1_000
# The least time between chunks that are not full.
PACE_SECONDS = 0.02
# How often it looks while events wait, and while none does; and again when others are at what is due.
LOOK_SECONDS = 1.0
EMPTY_SECONDS = 60.0
BUSY_SECONDS = 0.05
# How far back a look goes, and how often one goes all the way.
RECENT = timedelta(seconds=5)
ALL_SECONDS = 30.0
# Others are told of what is due this soon: until then they look anyway.
TOLD_SECONDS = 60.0
# How long tenants take turns before they are looked for again, and how many may.
TURNS_SECONDS = 0.5
MAX_TENANTS = 10_000
# An event that cannot be moved is tried again after this; so many are remembered.
SET_ASIDE_SECONDS = 10.0
MAX_ASIDE = 1_000
# How long a process that stops waits for a chunk.
LEFT_SECONDS = 2.0
# Rows of deleted tenants that are deleted in one statement.
DELETED_ROWS = 1_000
_BEFORE_ALL = UUID(int=0)


class Mover:
    """Moves events that are due: those that this process accepted, and those of all others."""

    def __init__(
        self,
        store: ScheduledStore,
        matcher: Matcher,
        committer: Committer,
        guard: Guard,
        heard: Signals,
        clock: Clock,
        weight_of: WeightOf = same_weight,
    ) -> None:
        self._store = store
        self._matcher = matcher
        self._committer = committer
        self._guard = guard
        self._signals = heard
        self._clock = clock
        self._weight_of = weight_of
        self._alarm = heard.alarm(SCHEDULED)
        # No event that is due has a lower id, as far as this process knows.
        self._since = _BEFORE_ALL
        # On time.monotonic(): when all are looked at next, when the last chunk began, when turns were given.
        self._look_at_all_at = 0.0
        self._moved_at = self._turns_at = 0.0
        # While more is due than a chunk has: when each tenant has its next turn, in chunks of a tenant of weight 1.
        self._turns: dict[str, float] = {}
        self._served = 0.0
        # Until when an event is left alone, because it could not be moved; and how many are moved one by one.
        self._aside: dict[UUID, float] = {}
        self._singly = 0
        # Whether those for what is due were made since something was moved.
        self._has_partitions = False

    def note(self, event_ids: Iterable[UUID]) -> None:
        """Note events that this process has scheduled."""
        first = min(event_ids, default=None)
        if first is None:
            return
        self._since = min(self._since, first)
        due_in_seconds = max(0.0, ids.seconds(first) - self._clock.now())
        self._alarm.set(due_in_seconds)
        if due_in_seconds < TOLD_SECONDS:
            self._signals.wake(SCHEDULED, due_in_seconds)

    async def run(self) -> NoReturn:
        """Move what is due until cancelled."""
        await background.repeat(self._whole_step, interval_seconds=LOOK_SECONDS, wake=self._alarm, quiet=True)

    async def _whole_step(self) -> float:
        """Take a step to its end, even if it is cancelled: what is committed is then rung for, too."""
        task = asyncio.create_task(self.step(), name="scheduled_events_step")
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            _, late = await asyncio.wait([task], timeout=LEFT_SECONDS)
            for one in late:
                one.cancel()
            raise

    async def step(self) -> float:
        """Look, move a chunk if something is due, and return the seconds until the next look."""
        began_at = time.monotonic()
        if self._turns and began_at - self._turns_at < TURNS_SECONDS:
            await self._take_turn()
            return 0.0
        self._turns.clear()
        self._aside = {event_id: until for event_id, until in self._aside.items() if until > began_at}
        everything = began_at >= self._look_at_all_at
        since = _BEFORE_ALL if everything else self._since
        # What is stored from here on, and noted, lowers it again.
        self._since = UUID(int=(1 << 128) - 1)
        first = None
        try:
            first = await self._store.first(since, self._aside)
        finally:
            self._remember(since if first is None else first.id, None if first is None else first.now)
        if everything:
            self._look_at_all_at = began_at + ALL_SECONDS
        if first.id is None or first.due_in_seconds is None:
            metrics.OVERDUE_SECONDS.set(0)
            return EMPTY_SECONDS if self._signals.listening else self._signals.pace(LOOK_SECONDS)
        if everything and await self._store.delete_of_deleted(DELETED_ROWS) == DELETED_ROWS:
            self._look_at_all_at = 0.0
        metrics.OVERDUE_SECONDS.set(max(0.0, -first.due_in_seconds))
        if first.due_in_seconds > 0:
            return min(first.due_in_seconds, self._signals.pace(LOOK_SECONDS))
        rest_seconds = self._moved_at + PACE_SECONDS - began_at
        if rest_seconds > 0 and first.due_in_seconds > -PACE_SECONDS:
            return rest_seconds
        moved, is_full = await self._move(first.id)
        if is_full:
            await self._give_turns(first.id)
        return 0.0 if moved else BUSY_SECONDS

    def _remember(self, first: UUID | None, now: datetime | None) -> None:
        """Remember from where on the next look goes: not above what is still there, nor what is stored just now."""
        recent = None if now is None else ids.least_at(now - RECENT)
        self._since = min(one for one in (self._since, first, recent) if one is not None)

    async def _give_turns(self, since: UUID) -> None:
        """Let tenants take turns, for more is due than a chunk has."""
        tenants = await self._store.due_tenants(since, MAX_TENANTS)
        self._turns = dict.fromkeys(tenants, self._served)
        self._turns_at = time.monotonic()

    async def _take_turn(self) -> None:
        tenant_id = min(self._turns, key=self._turns.__getitem__)
        self._served = self._turns[tenant_id]
        self._turns[tenant_id] += 1 / self._weight_of(tenant_id)
        _, is_full = await self._move(self._since, tenant_id)
        if not is_full:
            del self._turns[tenant_id]

    async def _move(self, since: UUID, tenant_id: str | None = None) -> tuple[int, bool]:
        """Move a chunk; return how many events it had, and whether there may be more."""
        self._moved_at = time.monotonic()
        limit = 1 if self._singly else CHUNK_EVENTS
        self._singly = max(0, self._singly - 1)
        tried: list[UUID] = []
        try:
            async with self._store.chunk(
                since, self._aside, tenant_id=tenant_id, limit=limit, limit_bytes=CHUNK_BYTES
            ) as chunk:
                tried = [event.id for event in chunk.due]
                events = await self._events(chunk)
                if not events:
                    return 0, False
                await self._committer.store(events, chunk.insert)
        except Exception as error:
            if is_store_away(error):
                raise
            if isinstance(error, asyncpg.CheckViolationError) and not self._has_partitions:
                # Perhaps there is none for the day on which an event was due.
                await self._store.create_partitions()
                self._has_partitions = True
            else:
                self._set_aside(tried, error)
            return 0, False
        self._has_partitions = False
        self._count(events)
        return len(events), chunk.is_full or len(events) < len(chunk.due)

    def _set_aside(self, tried: Sequence[UUID], error: Exception) -> None:
        """Leave alone an event that cannot be moved; of several, find out which it is."""
        if len(tried) == 1 and len(self._aside) < MAX_ASIDE:
            log.error("a scheduled event cannot be moved; trying again", event_id=str(tried[0]), exc_info=error)
            self._aside[tried[0]] = time.monotonic() + SET_ASIDE_SECONDS
        else:
            log.warning("scheduled events cannot be moved together; moving them one by one", error=repr(error))
            self._singly = max(1, len(tried))

    async def _events(self, chunk: Chunk) -> list[NewEvent]:
        """Return the first events of a chunk, as many as may be stored together."""
        events: list[NewEvent] = []
        deliveries = 0
        for due in chunk.due:
            event = await self._event(due)
            deliveries += len(event.deliveries)
            if events and deliveries > CHUNK_DELIVERIES:
                break
            events.append(event)
        return events

    async def _event(self, due: Scheduled) -> NewEvent:
        """Return the event that one becomes, with its deliveries to the subscriptions as they are now."""
        try:
            deliveries, more = await self._matcher.deliveries(due)
        except errors.InvalidArgument:  # its tenant was deleted a moment ago
            deliveries, more = [], 0
        return NewEvent(
            id=due.id,
            tenant_id=due.tenant_id,
            event_type=due.event_type,
            content_type=due.content_type,
            payload=due.payload,
            deliveries=deliveries,
            targets=more,
            content_encoding=due.content_encoding,
            tags=due.tags,
            traceparent=due.traceparent,
            addressed_to=due.addressed_to,
            sender_context=due.sender_context,
            within_seconds=due.deliver_within_seconds,
            accepted_at=due.accepted_at,
        )

    def _count(self, events: Iterable[NewEvent]) -> None:
        now = self._clock.now()
        moved = list(events)
        self._guard.note(moved)
        metrics.DUE.inc(len(moved))
        for event in moved:
            metrics.LATENESS_SECONDS.observe(max(0.0, now - ids.seconds(event.id)))
        wanted = sum(bool(event.deliveries or event.targets) for event in moved)
        metrics.ACCEPTED.inc(wanted)
        metrics.FILTERED.inc(len(moved) - wanted)
