"""What is asked of Postgres about events that are not due yet: to find, cancel, and move them."""

import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
from asyncpg.transaction import Transaction

from services.domain import events, lookups
from services.domain.deliveries import Lease
from services.domain.lookups import Kind
from services.domain.notices import audit
from services.domain.notices.audit import Action, Entry
from services.ingest.events.records import ListedEvent, NewEvent, Result
from services.ingest.events.search import Filter
from services.ingest.events.store import EventStore, committing
from services.ingest.scheduled.rows import SQL, Scheduled
from services.platform import errors, ids
from services.platform.auth import identity
from services.platform.stores import postgres, sql
from services.platform.stores.walks import Found, Part, Span, Walker


@dataclass(frozen=True, kw_only=True, slots=True)
class First:
    """The first scheduled event that a look found."""

    # By Postgres' clock.
    now: datetime
    # None: there is none.
    id: UUID | None
    # Not above 0 if it is due.
    due_in_seconds: float | None


class Chunk:
    """Events that are due, while this process has them locked."""

    def __init__(
        self,
        store: EventStore,
        connection: postgres.Connection,
        transaction: Transaction,
        rows: Sequence[asyncpg.Record],
        limit: int,
    ) -> None:
        self._store = store
        self._connection = connection
        self._transaction = transaction
        self.committed = False
        self.due = [sql.record(Scheduled, row) for row in rows]
        # Whether there may be more.
        locked = rows[0]["locked"] if rows else 0
        self.is_full = locked == limit or locked > len(rows)

    async def insert(
        self, events: Sequence[NewEvent], /, *, hidden_seconds: float, lease: Lease | None
    ) -> list[Result]:
        """Make events of what was locked, with their deliveries, and commit."""
        try:
            with committing():
                await self._connection.execute(SQL["delete_moved"], [event.id for event in events])
                results = await self._store.insert_due(
                    self._connection, events, hidden_seconds=hidden_seconds, lease=lease
                )
                await self._transaction.commit()
        except asyncpg.TransactionRollbackError as error:
            # It is moved by the next look: in this transaction nothing can be repeated.
            raise errors.Unavailable("the database rolled scheduled events back; trying again") from error
        self.committed = True
        return results


class ScheduledStore:
    """Every method raises one of stores.availability.STORE_AWAY when Postgres is away."""

    def __init__(self, pool: postgres.Pool, store: EventStore) -> None:
        self._pool = pool
        self._store = store

    # -- for callers --

    async def search(
        self, tenant_id: str, wanted: Filter, span: Span, limit: int
    ) -> tuple[Sequence[ListedEvent], Found]:
        """Return the first `limit` scheduled events that are wanted, in the order in which they are due.

        For a portal link that is limited to some subscriptions, those that were sent to one of them.
        """
        limited = identity.limited_to()
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            walker = Walker(connection, SQL, tenant_id, span, limit)
            named = None
            if wanted.idempotency_keys or wanted.provider_ids:
                named = await lookups.keyed_events(
                    connection, tenant_id, keys=wanted.idempotency_keys, provider_ids=wanted.provider_ids
                )
            if named == []:
                return [], walker.page([Part((), None)])
            arguments = [
                [events.like_pattern(entry) for entry in wanted.event_types] or None,
                wanted.tags or None,
                named,
                None if limited is None else sorted(limited),
            ]
            found = walker.page([await walker.walk("find_scheduled", "scheduled", arguments)])
            rows = await connection.fetch(SQL["select_listed"], found.ids) if found.ids else []
        by_id = {row["id"]: sql.record(ListedEvent, row, deliver_at=ids.moment_of(row["id"])) for row in rows}
        return [by_id[name] for name in found.ids if name in by_id], found

    async def cancel(self, tenant_id: str, event_id: UUID) -> None:
        """Delete an event that is not due yet, unless it was cancelled before.

        NotFound for an unknown one; Conflict for one that is due, or never was scheduled.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            if await connection.fetchval(SQL["cancel"], event_id, tenant_id) is not None:
                entry = Entry(action=Action.CANCEL_EVENT, tenant_id=tenant_id, resource_id=str(event_id))
                await audit.record(connection, entry)
                return
            if await connection.fetchval(SQL["is_cancelled"], str(event_id), tenant_id):
                return
            if not await lookups.exists(connection, tenant_id, Kind.EVENT, event_id):
                raise await lookups.missing(connection, tenant_id, Kind.EVENT, event_id)
        raise errors.Conflict(
            "the event is not scheduled, or is due already; cancel its deliveries instead",
            reason=errors.ErrorReason.EVENT_NOT_SCHEDULED,
        )

    # -- for moving --

    async def first(self, since: UUID, aside: Collection[UUID]) -> First:
        """Return the first event from an id on, due or not, but for those that are set aside."""
        row = await self._pool.fetchrow(SQL["select_first"], since, list(aside))
        assert row is not None, "it is of no table"
        return sql.record(First, row)

    async def due_tenants(self, since: UUID, limit: int) -> list[str]:
        """Return tenants with events from an id on that are due."""
        return [row["tenant_id"] for row in await self._pool.fetch(SQL["select_due_tenants"], since, limit)]

    @contextlib.asynccontextmanager
    async def chunk(
        self, since: UUID, aside: Collection[UUID], *, tenant_id: str | None, limit: int, limit_bytes: int
    ) -> AsyncIterator[Chunk]:
        """Lock events that are due, of one tenant or of all; others skip them until the end of the context."""
        async with self._pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            chunk: Chunk | None = None
            try:
                arguments = since, limit, limit_bytes, list(aside)
                if tenant_id is None:
                    rows = await connection.fetch(SQL["lock_due"], *arguments)
                else:
                    rows = await connection.fetch(SQL["lock_due_of"], *arguments, tenant_id)
                chunk = Chunk(self._store, connection, transaction, rows, limit)
                yield chunk
            finally:
                if (chunk is None or not chunk.committed) and not connection.is_closed():
                    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError):
                        await transaction.rollback()

    async def create_partitions(self) -> None:
        """Create the partitions of the days on which events were due, if they are missing."""
        await self._store.create_partitions()

    async def delete_of_deleted(self, limit: int) -> int:
        """Delete events of tenants that are deleted, and return how many."""
        deleted: int = await self._pool.fetchval(SQL["delete_of_deleted"], limit)
        return deleted
