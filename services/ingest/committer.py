"""Group commit of events: what arrives while one commit is in flight goes into the next."""

import time
from collections.abc import Sequence

import asyncpg
import structlog

from services.common import errors
from services.common.batching import Batcher, Bounds
from services.common.doorbell import MAX_WAITING_IDS, RUNG_SECONDS, Ringer
from services.ingest import metrics
from services.ingest.settings import IngestSettings
from services.ingest.store import NewEvent, Store

log = structlog.get_logger(__name__)

Outcome = errors.WebhookError | None
# Calls whose events share a commit.
CALLS_PER_COMMIT = 8
# An event with more deliveries gets a transaction of its own, so that its neighbours do not wait for it.
LARGE_FAN_OUT = 1_000
# What a row takes besides its payload, for the bound in bytes.
EVENT_OVERHEAD_BYTES = 512


class Committer:
    """Commits events, and rings for their deliveries once they are committed."""

    def __init__(self, store: Store, ringer: Ringer, settings: IngestSettings) -> None:
        self._store = store
        self._ringer = ringer
        self._waiting_events = 0
        self._max_waiting_events = settings.ingest_queue_events
        self._batcher: Batcher[Sequence[NewEvent], list[Outcome]] = Batcher(
            "commits",
            self._commit_calls,
            Bounds(
                batch_items=CALLS_PER_COMMIT,
                waiting_items=settings.ingest_queue_events,
                waiting_bytes=settings.ingest_queue_bytes,
                concurrency=2,
            ),
        )

    async def commit(self, events: Sequence[NewEvent]) -> list[Outcome]:
        """Commits a call's events; answers an error, or none, for each. Overloaded when too many wait."""
        if not events:
            return []
        if self._waiting_events and self._waiting_events + len(events) > self._max_waiting_events:
            raise errors.Overloaded("too many events wait to be committed; try again")
        self._waiting_events += len(events)
        metrics.WAITING.set(self._waiting_events)
        try:
            size = sum(len(event.payload) + EVENT_OVERHEAD_BYTES for event in events)
            return await self._batcher.submit(events, size)
        finally:
            self._waiting_events -= len(events)
            metrics.WAITING.set(self._waiting_events)

    async def drained(self) -> None:
        """Waits for the commits in flight."""
        await self._batcher.drained()

    async def _commit_calls(self, calls: list[Sequence[NewEvent]]) -> list[list[Outcome]]:
        events = [event for call in calls for event in call]
        small = [event for event in events if len(event.deliveries) <= LARGE_FAN_OUT]
        outcomes = dict(zip((event.id for event in small), await self._commit(small), strict=True)) if small else {}
        for event in events:
            if len(event.deliveries) > LARGE_FAN_OUT:
                outcomes[event.id] = (await self._commit([event]))[0]
        return [[outcomes[event.id] for event in call] for call in calls]

    async def _commit(self, events: Sequence[NewEvent]) -> list[Outcome]:
        """One transaction; when the data of one event fails it, each event gets one of its own."""
        try:
            return await self._insert(events)
        except errors.STORE_AWAY:
            raise
        except asyncpg.PostgresError:
            if len(events) == 1:
                log.exception("an event cannot be stored", event_id=str(events[0].id))
                return [errors.WebhookError("the event cannot be stored; the reason was logged")]
        return [(await self._commit([event]))[0] for event in events]

    async def _insert(self, events: Sequence[NewEvent]) -> list[Outcome]:
        delivery_ids = [delivery for event in events for delivery, _ in event.deliveries]
        ringing = self._ringer.open and len(delivery_ids) <= MAX_WAITING_IDS
        started = time.perf_counter()
        outcomes = await self._store.insert_events(events, hidden_seconds=RUNG_SECONDS if ringing else 0)
        metrics.COMMIT_SECONDS.observe(time.perf_counter() - started)
        metrics.COMMIT_EVENTS.observe(len(events))
        metrics.DELIVERIES.inc(len(delivery_ids))
        if ringing:
            self._ringer.ring(delivery_ids)
        return outcomes
