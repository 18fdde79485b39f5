"""What the ingest path asks of Postgres about events."""

import contextlib
import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from services.domain import idempotency, lookups
from services.domain.deliveries import Lease, mark_due
from services.domain.lookups import Kind
from services.domain.tenants.scopes import visible_events
from services.ingest.events import search
from services.ingest.events.records import Accepted, ListedEvent, NewEvent, Result, StoredEvent
from services.ingest.events.search import Filter
from services.ingest.scheduled import rows as scheduled
from services.platform import clock, errors, ids
from services.platform.auth import identity
from services.platform.stores import postgres, sql
from services.platform.stores.availability import is_store_away
from services.platform.stores.walks import Found, Span

SQL = sql.Queries("services.ingest.events")
# Pages that are looked at for the events of a portal link that is limited to some subscriptions.
LIMITED_LOOKS = 20
ID_TAKEN = "event_id: is already used; generate a new UUIDv7"
MAY_BE_STORED = "the event may have been stored; retry with the same event_id or idempotency_key"


class EventStore:
    """Every method raises one of stores.availability.STORE_AWAY when Postgres is away."""

    def __init__(self, pool: postgres.Pool, *, expiry_hours: int, key_hours: int) -> None:
        self._pool = pool
        self._expiry_hours = expiry_hours
        self._key_hours = key_hours

    async def now(self) -> float:
        """Return the Unix time of Postgres' clock."""
        now: float = await self._pool.fetchval(SQL["select_now"], timeout=1)
        return now

    async def create_partitions(self) -> None:
        """Create the partitions that are needed now."""
        await self._pool.fetchval(SQL["create_partitions"])

    async def insert_events(
        self, events: Sequence[NewEvent], *, hidden_seconds: float, lease: Lease | None = None
    ) -> list[Result]:
        """Commit events without keys, with their deliveries, in one statement; return the results in order.

        Those with tags are committed in one transaction with them, and with the others beside them.
        All of them are to be expanded, or none. The dispatcher ignores steady deliveries for `hidden_seconds`:
        workers are notified. Those of `lease` are stored under it where they may be sent, and it gets their rows. An id
        that was used before is answered as it is stored when the event is the same, and else it is a Conflict.
        """
        async with self._pool.acquire() as connection:
            if lease is not None:
                lease.begin()
            with committing():
                async with contextlib.AsyncExitStack() as stack:
                    if any(event.tags or event.within_seconds for event in events):
                        await stack.enter_async_context(connection.transaction())
                    new = await self._insert(connection, events, hidden_seconds, lease)
            with committing(committed=bool(new)):
                return await self._results(connection, events, new)

    async def insert_keyed_events(
        self,
        events: Sequence[NewEvent],
        *,
        hidden_seconds: float,
        wait_seconds: float = idempotency.WAIT_SECONDS,
        lease: Lease | None = None,
    ) -> list[Result]:
        """Commit events with distinct idempotency keys in one transaction with the keys.

        An event whose key was used before is not stored; it gets the answer of the one that was. LockNotAvailableError
        when another transaction that takes one of the keys does not end within `wait_seconds`.
        """
        async with self._pool.acquire() as connection:
            if lease is not None:
                lease.begin()
            with committing():
                async with connection.transaction():
                    results = await self._insert_keyed(connection, events, hidden_seconds, wait_seconds, lease)
            lost = [event for event in events if event.id not in results]
            if lost:
                with committing(committed=True):
                    keys = [event.key for event in lost if event.key is not None]
                    answers = await idempotency.winners(connection, keys)
                    for event, answer in zip(lost, answers, strict=True):
                        repeated = await self._repeated(connection, answer) if isinstance(answer, bytes) else answer
                        results[event.id] = repeated
        return [results[event.id] for event in events]

    async def _insert_keyed(
        self,
        connection: postgres.Connection,
        events: Sequence[NewEvent],
        hidden_seconds: float,
        wait_seconds: float,
        lease: Lease | None,
    ) -> dict[UUID, Result]:
        """Return the results of the events whose keys were not used before."""
        keyed = [
            (event.id, event.key, msgspec.json.encode(event.accepted)) for event in events if event.key is not None
        ]
        won = await idempotency.take(connection, keyed, hours=self._key_hours, wait_seconds=wait_seconds)
        new = [event for event in events if event.id in won]
        inserted = await self._insert(connection, new, hidden_seconds, lease)
        answers = await self._results(connection, new, inserted)
        results = dict(zip((event.id for event in new), answers, strict=True))
        taken = [event.key for event in new if event.key and isinstance(results[event.id], errors.WebhookError)]
        if taken:
            await idempotency.give_back(connection, taken)
        return results

    async def give_back(self, delivery_ids: Sequence[UUID], lease: Lease) -> set[UUID]:
        """Make deliveries due that were stored under a lease, and that nobody sends; return those that are."""
        return await mark_due(self._pool, delivery_ids, token=lease.token)

    async def event(self, tenant_id: str, event_id: UUID) -> StoredEvent:
        """Return an event with its payload. Raise NotFound, also if it is no longer retained; Erased if it was."""
        row = await self._pool.fetchrow(SQL["select_event"], event_id, tenant_id)
        if row is None and (waiting := await scheduled.find(self._pool, tenant_id, event_id)):
            return StoredEvent(
                id=event_id,
                tenant_id=tenant_id,
                event_type=waiting.event_type,
                content_type=waiting.content_type,
                payload=waiting.payload,
                content_encoding=waiting.content_encoding,
                created_at=waiting.accepted_at,
                expanding=False,
                tags=waiting.tags,
                sender_context=waiting.sender_context,
                deliver_at=waiting.deliver_at,
                deliver_within_seconds=waiting.deliver_within_seconds,
            )
        if row is None:
            raise await lookups.missing(self._pool, tenant_id, Kind.EVENT, event_id)
        if row["payload"] is None:
            raise errors.Erased("the event was erased")
        return sql.record(StoredEvent, row, deliver_at=None, deliver_within_seconds=None)

    async def search(
        self, tenant_id: str, wanted: Filter, span: Span, limit: int
    ) -> tuple[Sequence[ListedEvent], Found]:
        """Return the first `limit` events that are wanted, without their payloads.

        For a portal link that is limited to some subscriptions, those of them that were sent there.
        """
        subscriptions = identity.limited_to()
        if subscriptions is None:
            return await self._search(tenant_id, wanted, span, limit)
        listed: list[ListedEvent] = []
        for _ in range(LIMITED_LOOKS):
            found, reached = await self._search(tenant_id, wanted, span, limit - len(listed))
            visible = await visible_events(self._pool, [event.id for event in found], subscriptions)
            listed += [event for event in found if event.id in visible]
            if reached.reached is None or reached.cut or len(listed) == limit:
                break
            span = span.beyond(reached.reached)
        return listed, dataclasses.replace(reached, cut=len(listed) < limit)

    async def _search(
        self, tenant_id: str, wanted: Filter, span: Span, limit: int
    ) -> tuple[Sequence[ListedEvent], Found]:
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            found = await search.find(connection, tenant_id, wanted, span, limit)
            if not found.ids:
                return [], found
            rows = await connection.fetch(SQL["select_listed"], found.ids, min(found.ids), max(found.ids))
        by_id = {row["id"]: sql.record(ListedEvent, row, deliver_at=None, deliver_within_seconds=None) for row in rows}
        return [by_id[name] for name in found.ids if name in by_id], found

    async def _repeated(self, connection: postgres.Connection, answer: bytes) -> Accepted:
        """Return the answer that was kept for a key, as it is now if the event was to be expanded."""
        first = msgspec.json.decode(answer, type=Accepted)
        if first.expanding:
            return await self._present(connection, first)
        return msgspec.structs.replace(first, repeated=True)

    async def _present(self, connection: postgres.Connection, first: Accepted) -> Accepted:
        """Return what a repeat is answered about an event with many deliveries."""
        row = await connection.fetchrow(SQL["select_made"], first.event_id, *ids.delivery_range(first.event_id))
        assert row is not None, "it is of no table"
        deliveries = 0 if row["expanding"] else row["deliveries"]
        return msgspec.structs.replace(first, expanding=row["expanding"], deliveries=deliveries, repeated=True)

    async def _insert(
        self, connection: postgres.Connection, events: Sequence[NewEvent], hidden_seconds: float, lease: Lease | None
    ) -> set[UUID]:
        """Store events, and return the ids of those that are new."""
        if not events:
            return set()
        if events[0].deliver_at is not None:
            return await scheduled.insert(connection, events, timeout_seconds=_timeout_seconds(events))
        if events[0].targets:
            new = await self._insert_expanding(connection, events)
        else:
            new = await self._insert_with_deliveries(connection, events, hidden_seconds, lease)
        tagged = [(event, tag) for event in events for tag in event.tags if event.id in new]
        if tagged:
            await connection.execute(
                SQL["insert_tags"],
                [event.id for event, _ in tagged],
                [event.tenant_id for event, _ in tagged],
                [tag for _, tag in tagged],
            )
        if any(event.within_seconds or event.was_scheduled for event in events):
            await self._set_expiry(connection, [event for event in events if event.id in new])
        return new

    async def insert_due(
        self,
        connection: postgres.Connection,
        events: Sequence[NewEvent],
        *,
        hidden_seconds: float,
        lease: Lease | None = None,
    ) -> list[Result]:
        """Store events that were scheduled, in the transaction of a connection that deletes their rows."""
        if lease is not None:
            lease.begin()
        few = [event for event in events if not event.targets]
        many = [event for event in events if event.targets]
        new = await self._insert(connection, few, hidden_seconds, lease)
        new |= await self._insert(connection, many, hidden_seconds, None)
        made = [event for event in events if event.id in new]
        names = [event.id for event in made]
        if names:
            accepted_at = [event.accepted_at for event in made]
            await connection.execute(SQL["set_accepted_at"], names, min(names), max(names), accepted_at)
        return [
            event.accepted if event.id in new else msgspec.structs.replace(event.accepted, repeated=True)
            for event in events
        ]

    async def _set_expiry(self, connection: postgres.Connection, events: Sequence[NewEvent]) -> None:
        """Give new deliveries the expiry of their event."""
        made: dict[tuple[int, bool], list[NewEvent]] = defaultdict(list)
        most_seconds = self._expiry_hours * 3600
        for event in events:
            if event.within_seconds or event.was_scheduled:
                seconds = min(event.within_seconds or most_seconds, most_seconds)
                made[seconds, event.was_scheduled].append(event)
        for (seconds, by_id), own in made.items():
            names = [delivery[0] for event in own for delivery in event.deliveries]
            if names:
                await connection.execute(SQL["set_expiry"], names, min(names), max(names), seconds, by_id)
            expanding = [event.id for event in own if event.targets]
            if expanding:
                await connection.execute(SQL["set_expiry_of_expanding"], expanding, seconds, by_id)

    async def _results(
        self, connection: postgres.Connection, events: Sequence[NewEvent], new: Collection[UUID]
    ) -> list[Result]:
        """Return the results of events of which these were stored."""
        if len(new) == len(events):
            return [event.accepted for event in events]
        if events[0].deliver_at is not None:
            rows = await scheduled.taken(connection, [event.id for event in events if event.id not in new])
            return [event.accepted if event.id in new else _same(event, rows.get(event.id)) for event in events]
        old = await self._answers(connection, [event for event in events if event.id not in new])
        return [event.accepted if event.id in new else old[event.id] for event in events]

    async def _insert_expanding(self, connection: postgres.Connection, events: Sequence[NewEvent]) -> set[UUID]:
        rows = await connection.fetch(
            SQL["insert_expanding_events"],
            [event.id for event in events],
            [event.tenant_id for event in events],
            [event.event_type for event in events],
            [event.content_type for event in events],
            [event.payload for event in events],
            [event.traceparent for event in events],
            [event.content_encoding for event in events],
            [event.targets for event in events],
            [event.sender_context for event in events],
            [event.addressed_to for event in events],
            timeout=_timeout_seconds(events),
        )
        return {row["id"] for row in rows}

    async def _insert_with_deliveries(
        self, connection: postgres.Connection, events: Sequence[NewEvent], hidden_seconds: float, lease: Lease | None
    ) -> set[UUID]:
        rows_to_make = [(delivery, event.id) for event in events for delivery in event.deliveries]
        with_slot = lease.delivery_ids if lease is not None else ()
        rows = await connection.fetch(
            SQL["insert_events"],
            [event.id for event in events],
            [event.tenant_id for event in events],
            [event.event_type for event in events],
            [event.content_type for event in events],
            [event.payload for event in events],
            [delivery[0] for delivery, _ in rows_to_make],
            [event_id for _, event_id in rows_to_make],
            [delivery[1] for delivery, _ in rows_to_make],
            [hidden_seconds if delivery[2] else 0.0 for delivery, _ in rows_to_make],
            self._expiry_hours,
            [event.traceparent for event in events],
            [event.content_encoding for event in events],
            [delivery[0] in with_slot for delivery, _ in rows_to_make],
            lease.token if lease is not None else None,
            lease.seconds if lease is not None else 0.0,
            [event.addressed_to for event in events],
            [event.sender_context for event in events],
            timeout=_timeout_seconds(events),
        )
        if lease is not None:
            lease.rows = [row for row in rows if row["id"] is not None]
        return {row["event_id"] for row in rows}

    async def _answers(self, connection: postgres.Connection, events: Sequence[NewEvent]) -> dict[UUID, Result]:
        """Return the results for events whose ids are taken: the stored event if it is the same, or Conflict."""
        old = [event.id for event in events]
        least, greatest = min(old), max(old)
        stored = {
            row["id"]: row
            for row in await connection.fetch(
                SQL["select_events"], old, least, greatest, timeout=_timeout_seconds(events)
            )
        }
        deliveries: dict[UUID, set[UUID]] = {event_id: set() for event_id in old}
        first, last = ids.delivery_range(least)[0], ids.delivery_range(greatest)[1]
        few = [event.id for event in events if not event.targets]
        for row in await connection.fetch(SQL["select_deliveries"], few, first, last):
            deliveries[row["event_id"]].add(row["id"])
        many = {row["event_id"] for row in await connection.fetch(SQL["select_expanding"], old)}
        many |= {event.id for event in events if event.targets}
        answers: dict[UUID, Result] = {}
        for event in events:
            answer = _answer(event, stored.get(event.id), deliveries[event.id])
            if event.id in many and isinstance(answer, Accepted):
                answer = await self._present(connection, msgspec.structs.replace(answer, delivery_id=None))
            answers[event.id] = answer
        return answers


@contextlib.contextmanager
def committing(*, committed: bool = False) -> Iterator[None]:
    """Turn the loss of Postgres into OutcomeUnknown, unless Postgres itself says that it stored nothing.

    Losing it before, while waiting for a connection, is a plain Unavailable.
    """
    try:
        yield
    except Exception as error:
        if is_store_away(error) and (committed or not _rolled_back(error)):
            raise errors.OutcomeUnknown(MAY_BE_STORED) from error
        raise


def _rolled_back(error: Exception) -> bool:
    """Return whether Postgres itself says that it stored nothing. One that crashes says so even after a commit."""
    lost = asyncpg.PostgresConnectionError | asyncpg.CrashShutdownError | asyncpg.StatementCompletionUnknownError
    return isinstance(error, asyncpg.PostgresError) and not isinstance(error, lost)


def _timeout_seconds(events: Sequence[NewEvent]) -> float:
    size_bytes = sum(len(event.payload) for event in events)
    return postgres.STATEMENT_TIMEOUT_SECONDS + clock.extra_seconds(size_bytes)


def _is_same(event: NewEvent, row: Any) -> bool:
    # One that was erased is known by the rest.
    return row is not None and all(
        row[name] == getattr(event, name) or (name == "payload" and row[name] is None)
        for name in ("tenant_id", "event_type", "content_type", "content_encoding", "payload")
    )


def _same(event: NewEvent, row: Any) -> Result:
    """Return the result for a scheduled event whose id is taken: the stored one if it is the same, or Conflict."""
    if _is_same(event, row):
        return msgspec.structs.replace(event.accepted, repeated=True)
    return errors.Conflict(ID_TAKEN, reason=errors.ErrorReason.EVENT_ID_TAKEN)


def _answer(event: NewEvent, row: Any, deliveries: set[UUID]) -> Result:
    # Filters may have changed since, but an event for one subscription is not the same event for another one.
    elsewhere = event.deliveries and deliveries and deliveries.isdisjoint(made for made, _, _ in event.deliveries)
    if not _is_same(event, row) or elsewhere:
        return errors.Conflict(ID_TAKEN, reason=errors.ErrorReason.EVENT_ID_TAKEN)
    only = next(iter(deliveries)) if len(deliveries) == 1 else None
    return Accepted(
        event_id=event.id,
        delivery_id=only,
        deliveries=len(deliveries),
        empty_answer=event.empty_answer,
        repeated=True,
    )
