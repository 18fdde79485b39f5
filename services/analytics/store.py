"""The statements of the analytics service. Nothing else here runs SQL."""

import contextlib
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import asyncpg

from services.analytics.statistics import BOUNDS_MS, Bucket
from services.platform import ids
from services.platform.settings import PostgresSettings
from services.platform.stores import postgres, sql
from services.platform.stores.postgres import Connection, Pool

MINUTE = timedelta(minutes=1)
# Stands for all subscriptions of a tenant in delivery_stats.
ALL_SUBSCRIPTIONS = UUID(int=0)
# And for all types of events, and for those of a tenant that are not among its largest.
ALL_TYPES = "*"
OTHER_TYPES = "other"
# How many types of a tenant get rows of their own: the largest of each minute, and of each hour.
MOST_TYPES = 200
# Rows of a tenant's hours, and of its minutes, that are read to find its largest subscriptions or types: the newest.
RANKED_ROWS = 20_000
# Rows of refused events of a tenant that are summed up: the newest.
REFUSAL_ROWS = 200_000
# Roll-ups and detaching a partition may outlast the pool's ten seconds.
LONG_STATEMENT_TIMEOUT_SECONDS = 60.0
CONNECT_TIMEOUT_SECONDS = 5.0

_queries = sql.Queries("services.analytics")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is known of a window."""

    start: datetime
    end: datetime
    buckets: tuple[Bucket, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell(Bucket):
    """A bucket of a step of a series, of a subscription or an event type."""

    subscription_id: UUID
    event_type: str
    start: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusals:
    """Events that were refused by one reason."""

    # None: of all tenants.
    tenant_id: str | None
    # None: for no subscription that the tenant has or had.
    subscription_id: UUID | None
    reason: str
    events: int
    last_at: datetime


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far statistics go."""

    minutes_to: datetime
    # A whole hour: those before it are summed up.
    hours_to: datetime


class Turn:
    """A roll-up of this process, while it holds the lock: a transaction that others do not see before its end."""

    def __init__(self, connection: Connection, state: asyncpg.Record) -> None:
        self._connection = connection
        # Where the statistics end, and the transaction's time.
        self.rolled_up_to: datetime = state["rolled_up_to"]
        self.now: datetime = state["now"]
        # Not above 0 when a roll-up is due.
        self.due_in_seconds: float = state["due_in_seconds"]

    async def add(self, begin: datetime, until: datetime) -> int:
        """Add what was recorded from `begin` to before `until` to its minutes; return how many rows changed."""
        return await self._write(begin, until, adds=True)

    async def replace(self, start: datetime, end: datetime, until: datetime) -> int:
        """Make the whole minutes from `start` to before `end` right where they are not; return how many rows changed.

        They are to have what was recorded before `until`.
        """
        end = min(end, until)
        wrong = await self._connection.fetch(
            _queries["select_wrong_minutes"], *_counted(start, end), timeout=LONG_STATEMENT_TIMEOUT_SECONDS
        )
        if not wrong:
            return 0
        minutes = [row["minute"] for row in wrong]
        return await self._write(min(minutes), min(end, max(minutes) + MINUTE), adds=False)

    async def _write(self, begin: datetime, end: datetime, *, adds: bool) -> int:
        changed: int = await self._connection.fetchval(
            _queries["write_stats"], *_counted(begin, end), adds, MOST_TYPES, timeout=LONG_STATEMENT_TIMEOUT_SECONDS
        )
        return changed

    async def finish(self, until: datetime, interval_seconds: float) -> float:
        """Note that statistics go to `until`; return in how many seconds the next roll-up is due."""
        due: float = await self._connection.fetchval(_queries["finish_rollup"], until, interval_seconds)
        return due


def _counted(begin: datetime, end: datetime) -> Sequence[object]:
    """Return the parameters that say what is counted: all that was recorded from `begin` to before `end`."""
    first = begin.astimezone(UTC).replace(second=0, microsecond=0)
    minutes = [first + number * MINUTE for number in range(math.ceil((end - first) / MINUTE))]
    least = [ids.least_at(max(minute, begin)) for minute in minutes]
    return (begin, end, BOUNDS_MS, minutes, least, [ids.least_at(min(minute + MINUTE, end)) for minute in minutes])


class StatsStore:
    """What the roll-ups write and callers read, and how rows that are no partition's come to their end."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def missing_subscriptions(self, tenant_id: str | None, subscription_ids: Sequence[UUID]) -> list[UUID]:
        """Return which of the subscriptions the tenant, or any for None, does not have and never had."""
        rows = await self._pool.fetch(_queries["select_missing_subscriptions"], subscription_ids, tenant_id)
        return [row["id"] for row in rows]

    async def tenants(self, tenant_id: str | None) -> Sequence[str]:
        """Return the tenants to read: the one, or all for None."""
        if tenant_id is not None:
            return (tenant_id,)
        found: list[str] = await self._pool.fetchval(_queries["select_tenants"])
        return found

    async def stats(
        self, tenant_id: str | None, window: timedelta, subscription_id: UUID = ALL_SUBSCRIPTIONS
    ) -> Answer:
        """Return the buckets of the minutes that `window`, back from the newest roll-up, touches.

        They are those of all tenants for None.
        """
        rows = await self._pool.fetch(_queries["select_stats"], await self.tenants(tenant_id), subscription_id, window)
        buckets = tuple(sql.record(Bucket, row) for row in rows if row["outcome"] is not None)
        return Answer(start=rows[0]["window_start"], end=rows[0]["window_end"], buckets=buckets)

    async def progress(self) -> Progress:
        """Return how far statistics go."""
        row = await self._pool.fetchrow(_queries["select_progress"])
        assert row is not None, "both have one row"
        return Progress(**dict(row))

    async def cells(
        self,
        tenants: Sequence[str],
        subscription_ids: Sequence[UUID],
        event_types: Sequence[str],
        start: datetime,
        end: datetime,
        step: timedelta,
        *,
        hours: bool,
    ) -> list[Cell]:
        """Return what happened from `start` to before `end`, by step, from hours or from minutes."""
        query = _queries["select_hours" if hours else "select_minutes"]
        rows = await self._pool.fetch(query, tenants, subscription_ids, event_types, start, end, step)
        return [Cell(**dict(row)) for row in rows]

    async def largest(
        self, tenants: Sequence[str], start: datetime, middle: datetime, end: datetime, limit: int, *, by_type: bool
    ) -> list[str]:
        """Return the largest subscriptions or event types in the hours before `middle`, and the minutes after it.

        Of a tenant with very many of them only the newest hours and minutes count.
        """
        query = _queries["rank_event_types" if by_type else "rank_subscriptions"]
        rows = await self._pool.fetch(query, tenants, start, middle, end, limit, RANKED_ROWS)
        return [row["name"] for row in rows]

    async def roll_up_hour(self, settle: timedelta) -> datetime | None:
        """Sum up the next hour and return it; None if its minutes have not settled, or another copy is at it."""
        async with self._pool.acquire() as connection, connection.transaction(isolation="read_committed"):
            await connection.fetchrow(_queries["begin_rollup"])
            hour: datetime | None = await connection.fetchval(_queries["take_hour"], settle)
            if hour is not None:
                await connection.execute(
                    _queries["roll_up_hour"], hour, MOST_TYPES, timeout=LONG_STATEMENT_TIMEOUT_SECONDS
                )
                await connection.execute(_queries["finish_hour"], hour)
            return hour

    async def add_refusals(self, refusals: Sequence[Refusals]) -> None:
        """Add refused events to their hours; those of tenants that do not exist are left out."""
        await self._pool.execute(
            _queries["add_refusals"],
            [one.tenant_id for one in refusals],
            [one.subscription_id for one in refusals],
            [one.reason for one in refusals],
            [one.events for one in refusals],
            [one.last_at for one in refusals],
        )

    async def refusals(
        self,
        tenant_id: str | None,
        subscription_ids: Sequence[UUID],
        start: datetime,
        end: datetime,
        limit: int,
        *,
        most_rows: int = REFUSAL_ROWS,
    ) -> tuple[int, list[Refusals]]:
        """Return how many events were refused in the hours from `start` to before `end`, and the largest counts.

        They are those of all tenants for None, and for all subscriptions, and none, if none are given.
        """
        tenants = await self.tenants(tenant_id)
        query = _queries["select_refusals"]
        rows = await self._pool.fetch(query, tenants, subscription_ids, start, end, limit, most_rows)
        counts = [
            Refusals(
                tenant_id=tenant_id,
                subscription_id=None if row["subscription_id"] == ALL_SUBSCRIPTIONS else row["subscription_id"],
                reason=row["reason"],
                events=row["events"],
                last_at=row["last_at"],
            )
            for row in rows
        ]
        return (rows[0]["all_events"] if rows else 0), counts

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn | None]:
        """Yield the turn to roll up, committed at the end of the context; None while another copy has it.

        READ COMMITTED makes it exact: the statements after the lock see everything that the previous copy
        committed.
        """
        async with self._pool.acquire() as connection, connection.transaction(isolation="read_committed"):
            await connection.fetchrow(_queries["begin_rollup"])
            state = await connection.fetchrow(_queries["take_turn"])
            yield Turn(connection, state) if state is not None else None

    async def delete_old_audit_entries(self, age: timedelta, limit: int) -> int:
        """Delete up to `limit` entries of the audit log that are older than `age`; return how many it deleted."""
        deleted: int = await self._pool.fetchval(_queries["delete_old_audit_entries"], age, limit)
        return deleted

    async def delete_old(self, age: timedelta, limit: int) -> int:
        """Delete up to `limit` rows of minutes that are older than `age`; return how many it deleted."""
        return await self._delete("delete_old_stats", age, limit)

    async def delete_old_hours(self, age: timedelta, limit: int) -> int:
        """Delete up to `limit` rows of hours that are older than `age`; return how many it deleted."""
        return await self._delete("delete_old_hours", age, limit)

    async def delete_old_refusals(self, age: timedelta, limit: int) -> int:
        """Delete up to `limit` rows of refused events that are older than `age`; return how many it deleted."""
        return await self._delete("delete_old_refusals", age, limit)

    async def delete_old_ends(self, age: timedelta, limit: int) -> int:
        """Delete up to `limit` ends of deliveries `age` before the newest roll-up; return how many it deleted."""
        return await self._delete("delete_old_ends", age, limit)

    async def _delete(self, query: str, age: timedelta, limit: int) -> int:
        status = await self._pool.execute(_queries[query], age, limit)
        return int(status.removeprefix("DELETE "))


@dataclass(frozen=True, kw_only=True)
class Partition:
    """A day's table of deliveries, attempts or events, and the statements that act on it."""

    name: str
    day: date
    attached: bool
    # Its detaching was interrupted and must be finished first.
    detaching: bool
    # Past DELIVERY_EXPIRY_HOURS: no delivery should hold it any more.
    past_expiry: bool
    detach: str
    finalize: str
    attach: str
    # None but for deliveries.
    has_unfinished: str | None
    drop: str


class PartitionStore:
    """Partitions, over connections of its own: see `partitions`."""

    def __init__(self, connection: Connection, lock: Connection, *, lock_timeout_seconds: float) -> None:
        self._connection = connection
        self._lock = lock
        self._lock_timeout_seconds = lock_timeout_seconds

    async def create(self) -> int:
        """Make the partitions that are needed now; return how many were missing."""
        async with self._transaction():
            made: int = await self._connection.fetchval(_queries["create_partitions"])
        return made

    @contextlib.asynccontextmanager
    async def lock(self) -> AsyncIterator[bool]:
        """Whether no other process drops partitions, which holds until the context ends."""
        async with self._lock.transaction():
            locked: bool = await self._lock.fetchval(_queries["try_lock_retention"])
            # Last, and by a simple query: it closes the portal of the one before, whose snapshot detaching waits for.
            await self._lock.execute(_queries["keep_lock"])
            yield locked

    async def due(self, retention: timedelta, expiry: timedelta) -> list[Partition]:
        """Return the partitions that ended more than `retention` ago: by day; deliveries first, and events last."""
        async with self._transaction():
            rows = await self._connection.fetch(_queries["select_due_partitions"], retention, expiry)
        return [sql.record(Partition, row) for row in rows]

    async def day_is_in_use(self, day: date, settle: timedelta, recovery: timedelta) -> bool:
        """Whether a delivery of the day is unfinished or failed less than `recovery` ago, or an attempt is fresh.

        Attempts are fresh until they were recorded `settle` ago.
        """
        async with self._transaction():
            used: bool = await self._connection.fetchval(_queries["day_is_in_use"], day, settle, recovery)
        return used

    async def has_unfinished(self, partition: Partition) -> bool:
        """Whether the queue has a delivery of the day of a partition of deliveries, attached or not."""
        if partition.has_unfinished is None:
            return False
        async with self._transaction():
            found: bool = await self._connection.fetchval(partition.has_unfinished)
        return found

    async def detach(self, partition: Partition) -> None:
        """Take the partition out of its parent, or finishes what was interrupted; TimeoutError when others use it."""
        if partition.attached:
            statement = partition.finalize if partition.detaching else partition.detach
            # Postgres refuses it in a transaction, so that its wait for locks is bounded from here, by cancelling it.
            await self._connection.execute(statement, timeout=self._lock_timeout_seconds)

    async def attach(self, partition: Partition) -> None:
        """Put a detached partition back."""
        async with self._transaction():
            await self._connection.execute(partition.attach)

    async def drop(self, partition: Partition) -> None:
        """Drop a detached partition."""
        async with self._transaction():
            await self._connection.execute(partition.drop)

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        async with self._connection.transaction():
            await self._connection.fetchrow(_queries["begin_retention"], f"{self._lock_timeout_seconds}s")
            yield


@contextlib.asynccontextmanager
async def partitions(settings: PostgresSettings, *, lock_timeout_seconds: float) -> AsyncIterator[PartitionStore]:
    """Two connections for one pass of retention: for its statements, and for the transaction that holds its lock.

    The lock is a transaction's, not a session's, so that it holds behind a pooler; and of a connection of its own,
    for detaching concurrently is refused inside a transaction. That one touches no table, so nothing waits for it.
    """
    async with _connection(settings) as connection, _connection(settings) as lock:
        yield PartitionStore(connection, lock, lock_timeout_seconds=lock_timeout_seconds)


def _connection(settings: PostgresSettings) -> contextlib.AbstractAsyncContextManager[Connection]:
    return postgres.connection(
        settings,
        "analytics-retention",
        timeout_seconds=CONNECT_TIMEOUT_SECONDS,
        statement_timeout_seconds=LONG_STATEMENT_TIMEOUT_SECONDS,
    )
