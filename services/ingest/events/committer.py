"""Group commit: events that arrive while one commit is in flight share the next, and tenants share the commits.

What a call has of one tenant is cut into pieces. Small pieces of all tenants share commits. Large ones, and those of
tenants that held up others, go in commits of their tenant's own, beside the shared ones.
"""

import asyncio
import dataclasses
import enum
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

import asyncpg
import structlog

from services.domain.doorbell import MAX_WAITING_IDS, RUNG_SECONDS, Ringer, Rung
from services.ingest import metrics
from services.ingest.events import idempotency
from services.ingest.events.store import MAY_BE_STORED, Accepted, EventStore, NewEvent, Result
from services.ingest.settings import IngestSettings
from services.platform import errors
from services.platform.process.batching import Batcher, Bounds
from services.platform.process.bounds import BoundedCache
from services.platform.stores import postgres
from services.platform.stores.availability import is_store_away

log = structlog.get_logger(__name__)

# Events that share a commit.
MAX_EVENTS = 1_000
# Of a transaction; an event with more of them gets one of its own.
MAX_DELIVERIES = 1_000
# What a row takes besides its payload, for the bounds in bytes and for the shares of tenants.
EVENT_OVERHEAD_BYTES = 512
DELIVERY_OVERHEAD_BYTES = 1_024
# A piece is at most so large, unless a single event is; and goes in a shared commit if it is not larger than this.
PIECE_BYTES = 256 << 10
SHARED_BYTES = 64 << 10
# How long a shared commit waits for another request with one of its keys. One that waited for longer is done again
# tenant by tenant.
SHARED_KEY_WAIT_SECONDS = 0.05
# How long an event waits for another request with its key, when its group has waited for it already.
KEY_WAIT_AGAIN_SECONDS = 0.02
# How long, and how many of, the tenants that held up others are kept apart.
APART_SECONDS = 10.0
MAX_APART = 10_000


@dataclass(frozen=True, slots=True)
class _Failed:
    """An event has no result, because its commit failed with this."""

    error: Exception


class _Apart(enum.Enum):
    """An event has no result yet: it was not stored, and goes in a commit of its tenant's own."""

    APART = enum.auto()


_Outcome: TypeAlias = Result | _Failed | _Apart
_Piece: TypeAlias = Sequence[NewEvent]


class Committer:
    """Commits events, then rings for their deliveries, or has them expanded: `expand` gets tenant, id, and targets."""

    def __init__(
        self, store: EventStore, ringer: Ringer, settings: IngestSettings, expand: Callable[[str, UUID, int], None]
    ) -> None:
        self._store = store
        self._ringer = ringer
        self._expand = expand
        self._waiting_events = 0
        self._commits = 0
        bounds = Bounds(
            batch_items=MAX_EVENTS,
            waiting_items=settings.ingest_queue_events,
            waiting_bytes=settings.ingest_queue_bytes,
            concurrency=2,
            spare=2,
        )
        self._shared: Batcher[_Piece, list[_Outcome]] = Batcher("commits", self._commit_pieces, bounds)
        own = dataclasses.replace(bounds, mixed=False)
        self._apart: Batcher[_Piece, list[_Outcome]] = Batcher("commits", self._commit_pieces, own)
        self._kept_apart: BoundedCache[str, _Apart] = BoundedCache(MAX_APART, ttl_seconds=APART_SECONDS)

    async def commit(self, events: Sequence[NewEvent]) -> list[Result]:
        """Commit a call's events and return their results in order; Overloaded for those that may not wait.

        Raise what failed a commit; OutcomeUnknown when other events of the call were stored.
        """
        pieces = list(_pieces(events))
        self._waiting_events += len(events)
        metrics.WAITING.set(self._waiting_events)
        try:
            if len(pieces) == 1:
                made = [await self._commit_piece(pieces[0])]
            else:
                made = await asyncio.gather(*map(self._commit_piece, pieces))
        finally:
            self._waiting_events -= len(events)
            metrics.WAITING.set(self._waiting_events)
        outcomes = {
            id(event): outcome
            for piece, outcomes in zip(pieces, made, strict=True)
            for event, outcome in zip(piece, outcomes, strict=True)
        }
        return _results([outcomes[id(event)] for event in events])

    def committed(self) -> int:
        """Return how many commits there have been."""
        return self._commits

    async def drained(self) -> None:
        """Wait for the commits in flight."""
        await self._shared.drained()
        await self._apart.drained()

    async def _commit_piece(self, piece: _Piece) -> list[_Outcome]:
        """Return the outcome of each event."""
        size = _size(piece)
        if size > SHARED_BYTES or piece[0].tenant_id in self._kept_apart:
            return await self._submit(self._apart, piece, size)
        outcomes = await self._submit(self._shared, piece, size)
        again = [event for event, outcome in zip(piece, outcomes, strict=True) if outcome is _Apart.APART]
        if not again:
            return outcomes
        made = iter(await self._submit(self._apart, again, _size(again)))
        return [next(made) if outcome is _Apart.APART else outcome for outcome in outcomes]

    async def _submit(self, batcher: Batcher[_Piece, list[_Outcome]], piece: _Piece, size_bytes: int) -> list[_Outcome]:
        try:
            return await batcher.submit(piece, size_bytes, tenant=piece[0].tenant_id, weight=len(piece))
        except errors.Overloaded as refused:
            return [refused] * len(piece)

    async def _commit_pieces(self, pieces: list[_Piece]) -> list[list[_Outcome]]:
        # By identity: pieces of several calls may repeat an event's id.
        outcomes: dict[int, _Outcome] = {}
        away: _Failed | None = None
        for group in _groups([event for piece in pieces for event in piece]):
            # After one that failed the next would only wait for the store, too.
            made = [away] * len(group) if away else await self._commit(group)
            away = next((outcome for outcome in made if isinstance(outcome, _Failed)), None)
            outcomes |= zip(map(id, group), made, strict=True)
        return [[outcomes[id(event)] for event in piece] for piece in pieces]

    async def _commit(self, group: Sequence[NewEvent]) -> Sequence[_Outcome]:
        """Commit a group in one transaction. When an event fails that of one tenant, each gets one of its own."""
        tenant_id = group[0].tenant_id
        mixed = any(event.tenant_id != tenant_id for event in group)
        outcomes = await self._try(group, SHARED_KEY_WAIT_SECONDS if mixed else idempotency.WAIT_SECONDS)
        if not isinstance(outcomes, errors.WebhookError):
            return outcomes
        if mixed:
            return [_Apart.APART] * len(group)
        self._kept_apart.put(tenant_id, _Apart.APART)
        if len(group) == 1:
            return [outcomes]
        made: list[_Outcome] = []
        for event in group:
            alone = await self._try([event], KEY_WAIT_AGAIN_SECONDS)
            made += [alone] if isinstance(alone, errors.WebhookError) else alone
            if isinstance(made[-1], _Failed):
                break
        return [*made, *made[-1:] * (len(group) - len(made))]

    async def _try(self, group: Sequence[NewEvent], wait_seconds: float) -> Sequence[_Outcome] | errors.WebhookError:
        """Commit a group; return an error when nothing was stored because of one of its events."""
        try:
            return await self._insert(group, wait_seconds)
        except asyncpg.LockNotAvailableError:  # another request with one of the keys is still running
            return idempotency.in_use()
        except asyncpg.CheckViolationError as error:  # the tables check nothing but that there is a partition
            failed = errors.Unavailable("the database is not ready for today's events yet; try again")
            failed.__cause__ = error
            return [_Failed(failed)] * len(group)
        except Exception as error:
            if not isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError) or is_store_away(error):
                return [_Failed(error)] * len(group)
            if len(group) == 1:
                log.exception("an event cannot be stored", event_id=str(group[0].id))
            return errors.WebhookError("the event cannot be stored; the reason was logged")

    async def _insert(self, group: Sequence[NewEvent], wait_seconds: float) -> list[Result]:
        number = sum(len(event.deliveries) for event in group)
        open_to = {tenant_id: self._ringer.open_to(tenant_id) for tenant_id in {event.tenant_id for event in group}}
        ringing = any(open_to.values()) and number <= MAX_WAITING_IDS
        hidden_seconds = RUNG_SECONDS if ringing else 0
        if ringing and not all(open_to.values()):
            group = [event if open_to[event.tenant_id] else _unsteady(event) for event in group]
        started = time.perf_counter()
        if group[0].key is None:
            insert = functools.partial(self._store.insert_events, group, hidden_seconds=hidden_seconds)
        else:
            insert = functools.partial(
                self._store.insert_keyed_events, group, hidden_seconds=hidden_seconds, wait_seconds=wait_seconds
            )
        results = await postgres.repeat_rolled_back(insert)
        self._commits += 1
        metrics.COMMIT_SECONDS.observe(time.perf_counter() - started)
        metrics.COMMIT_EVENTS.observe(len(group))
        new = [
            event
            for event, result in zip(group, results, strict=True)
            if isinstance(result, Accepted) and not result.repeated
        ]
        metrics.DELIVERIES.inc(sum(len(event.deliveries) for event in new))
        for event in new:
            if event.targets:
                self._expand(event.tenant_id, event.id, event.targets)
        if ringing:
            # The dispatcher rings for what is held back or limited by a rate, and for those with enough in the stream.
            for event in new:
                self._ringer.ring(
                    (Rung(to, delivery_id) for delivery_id, to, steady in event.deliveries if steady),
                    tenant_id=event.tenant_id,
                )
        return results


def _unsteady(event: NewEvent) -> NewEvent:
    """Return an event whose deliveries are all left to the dispatcher."""
    deliveries = [(delivery_id, subscription_id, False) for delivery_id, subscription_id, _ in event.deliveries]
    return dataclasses.replace(event, deliveries=deliveries)


def _results(outcomes: Sequence[_Outcome]) -> list[Result]:
    """Return the results if each event has one. Raise what failed; OutcomeUnknown if results are lost by that."""
    results = [outcome for outcome in outcomes if isinstance(outcome, Accepted | errors.WebhookError)]
    failed = [outcome.error for outcome in outcomes if isinstance(outcome, _Failed)]
    if not failed:
        return results
    error = next((error for error in failed if isinstance(error, errors.OutcomeUnknown)), failed[0])
    stored = any(isinstance(result, Accepted) for result in results)
    if stored and isinstance(errors.classify(error), errors.Unavailable):
        raise errors.OutcomeUnknown(MAY_BE_STORED) from error
    raise error


def _size(piece: _Piece) -> int:
    return sum(
        len(event.payload) + EVENT_OVERHEAD_BYTES + DELIVERY_OVERHEAD_BYTES * len(event.deliveries) for event in piece
    )


def _pieces(events: Iterable[NewEvent]) -> Iterator[_Piece]:
    """Cut a call's events into pieces, each of one tenant and at most PIECE_BYTES, or of a single event."""
    open_pieces: dict[str, list[NewEvent]] = {}
    sizes: dict[str, int] = {}
    for event in events:
        tenant_id, size = event.tenant_id, _size([event])
        piece = open_pieces.get(tenant_id)
        if piece is None or sizes[tenant_id] + size > PIECE_BYTES:
            if piece is not None:
                yield piece
            piece = open_pieces[tenant_id] = []
            sizes[tenant_id] = 0
        piece.append(event)
        sizes[tenant_id] += size
    yield from open_pieces.values()


def _groups(events: Sequence[NewEvent]) -> Iterator[list[NewEvent]]:
    """Events by the transactions they go in: those without idempotency keys, then those with; those to expand apart.

    A repeated event id or key goes into a later transaction, where it finds the first.
    """
    group: list[NewEvent] = []
    names: set[object] = set()
    deliveries = 0
    for event in sorted(events, key=_kind):
        own = {event.id} if event.key is None else {event.id, event.key.scope}
        full = deliveries + len(event.deliveries) > MAX_DELIVERIES
        if group and (full or own & names or _kind(group[0]) != _kind(event)):
            yield group
            group, names, deliveries = [], set(), 0
        group.append(event)
        names |= own
        deliveries += len(event.deliveries)
    if group:
        yield group


def _kind(event: NewEvent) -> tuple[bool, bool]:
    return event.key is not None, event.targets > 0
