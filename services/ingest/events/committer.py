"""Group commit: events that arrive while one commit is in flight share the next."""

import contextlib
import functools
import time
from collections.abc import Iterator, Sequence, Sized

import asyncpg
import structlog

from services.domain.doorbell import MAX_WAITING_IDS, RUNG_SECONDS, Ringer, Rung
from services.ingest import metrics
from services.ingest.events import idempotency
from services.ingest.events.store import MAY_BE_STORED, Accepted, EventStore, NewEvent, Result
from services.ingest.settings import IngestSettings
from services.platform import errors
from services.platform.process.batching import Batcher, Bounds
from services.platform.stores import postgres
from services.platform.stores.availability import is_store_away

log = structlog.get_logger(__name__)

# Calls whose events share a commit.
CALLS_PER_COMMIT = 8
# Of a transaction; an event with more of them gets one of its own.
MAX_DELIVERIES = 1_000
# How long an event waits for another request with its key, when its group has waited for it already.
KEY_WAIT_AGAIN_SECONDS = 0.02
# What a row takes besides its payload, for the bound in bytes.
EVENT_OVERHEAD_BYTES = 512


class Committer:
    """Commits events, then rings for their deliveries."""

    def __init__(self, store: EventStore, ringer: Ringer, settings: IngestSettings) -> None:
        self._store = store
        self._ringer = ringer
        self._waiting_events = 0
        self._max_waiting_events = settings.ingest_queue_events
        bounds = Bounds(
            batch_items=CALLS_PER_COMMIT,
            waiting_items=settings.ingest_queue_events,
            waiting_bytes=settings.ingest_queue_bytes,
            concurrency=2,
        )
        self._large_bytes = bounds.batch_bytes
        self._small: Batcher[Sequence[NewEvent], list[Result]] = Batcher("commits", self._commit_calls, bounds)
        # Apart, so that nothing small waits for a commit that takes seconds.
        self._large: Batcher[Sequence[NewEvent], list[Result]] = Batcher("commits", self._commit_calls, bounds)

    async def commit(self, events: Sequence[NewEvent]) -> list[Result]:
        """Commit a call's events and return their results in order. Raises Overloaded when too many wait."""
        if not events:
            return []
        if self._waiting_events and self._waiting_events + len(events) > self._max_waiting_events:
            raise errors.Overloaded("too many events are waiting to be committed; try again")
        self._waiting_events += len(events)
        metrics.WAITING.set(self._waiting_events)
        try:
            size = sum(len(event.payload) + EVENT_OVERHEAD_BYTES for event in events)
            batcher = self._small if size <= self._large_bytes else self._large
            return await batcher.submit(events, size)
        finally:
            self._waiting_events -= len(events)
            metrics.WAITING.set(self._waiting_events)

    async def drained(self) -> None:
        """Wait for the commits in flight."""
        await self._small.drained()
        await self._large.drained()

    async def _commit_calls(self, calls: list[Sequence[NewEvent]]) -> list[list[Result]]:
        # By identity: calls that wait together may repeat an event's id.
        results: dict[int, Result] = {}
        for group in _groups([event for call in calls for event in call]):
            with _after(results):
                results |= zip(map(id, group), await self._commit(group), strict=True)
        return [[results[id(event)] for event in call] for call in calls]

    async def _commit(
        self, group: Sequence[NewEvent], *, wait_seconds: float = idempotency.WAIT_SECONDS
    ) -> list[Result]:
        """Commit a group in one transaction; when one event fails it, each event gets a transaction of its own."""
        try:
            return await self._insert(group, wait_seconds)
        except asyncpg.LockNotAvailableError:  # another request with one of the keys is still running
            if len(group) == 1:
                return [idempotency.in_use()]
            wait_seconds = KEY_WAIT_AGAIN_SECONDS
        except asyncpg.CheckViolationError as error:  # the tables check nothing but that there is a partition
            raise errors.Unavailable("the database is not ready for today's events yet; try again") from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if is_store_away(error):
                raise
            if len(group) == 1:
                log.exception("an event cannot be stored", event_id=str(group[0].id))
                return [errors.WebhookError("the event cannot be stored; the reason was logged")]
        results: list[Result] = []
        for event in group:
            with _after(results):
                results += await self._commit([event], wait_seconds=wait_seconds)
        return results

    async def _insert(self, group: Sequence[NewEvent], wait_seconds: float) -> list[Result]:
        number = sum(len(event.deliveries) for event in group)
        ringing = self._ringer.open and number <= MAX_WAITING_IDS
        hidden_seconds = RUNG_SECONDS if ringing else 0
        started = time.perf_counter()
        if group[0].key is None:
            insert = functools.partial(self._store.insert_events, group, hidden_seconds=hidden_seconds)
        else:
            insert = functools.partial(
                self._store.insert_keyed_events, group, hidden_seconds=hidden_seconds, wait_seconds=wait_seconds
            )
        results = await postgres.repeat_rolled_back(insert)
        metrics.COMMIT_SECONDS.observe(time.perf_counter() - started)
        metrics.COMMIT_EVENTS.observe(len(group))
        made = [
            delivery
            for event, result in zip(group, results, strict=True)
            if isinstance(result, Accepted) and not result.repeated
            for delivery in event.deliveries
        ]
        metrics.DELIVERIES.inc(len(made))
        if ringing:
            # The dispatcher rings for what is held back or limited by a rate.
            self._ringer.ring(
                Rung(subscription_id, delivery_id) for delivery_id, subscription_id, steady in made if steady
            )
        return results


@contextlib.contextmanager
def _after(results: Sized) -> Iterator[None]:
    """Turn a failure that comes after results, which are lost with it, into OutcomeUnknown."""
    try:
        yield
    except Exception as error:
        if results and isinstance(errors.classify(error), errors.Unavailable):
            raise errors.OutcomeUnknown(MAY_BE_STORED) from error
        raise


def _groups(events: Sequence[NewEvent]) -> Iterator[list[NewEvent]]:
    """Events by the transactions they go in: those without idempotency keys, then those with.

    A repeated event id or key goes into a later transaction, where it finds the first.
    """
    group: list[NewEvent] = []
    names: set[object] = set()
    deliveries = 0
    for event in sorted(events, key=lambda event: event.key is not None):
        own = {event.id} if event.key is None else {event.id, event.key.scope}
        full = deliveries + len(event.deliveries) > MAX_DELIVERIES
        if group and (full or own & names or (group[0].key is None) != (event.key is None)):
            yield group
            group, names, deliveries = [], set(), 0
        group.append(event)
        names |= own
        deliveries += len(event.deliveries)
    if group:
        yield group
