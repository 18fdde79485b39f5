"""What the dispatcher asks of Postgres. Safe in any number of copies: rows are locked, and locked ones skipped."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from services.common import deliveries, postgres, sql

SQL = sql.Queries("services.delivery.dispatcher")

# Leases of one delivery that may run out before it ends: no poison goes round for ever.
MAX_INTERRUPTIONS = 10
CANCEL_LIMIT = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """The subscriptions with unfinished deliveries, by state."""

    pending: list[UUID] = field(default_factory=list)
    scheduled: list[UUID] = field(default_factory=list)
    in_flight: list[UUID] = field(default_factory=list)
    # Waiting, but their subscription is gone.
    deleted: list[UUID] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What a turn took in hand, and what it ended."""

    ids: list[UUID]
    expired: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Depths:
    """Unfinished deliveries by state; each count ends at the limit that was asked for."""

    pending: int
    scheduled: int
    in_flight: int
    held_deleted: int


class Store:
    """Turns among subscriptions."""

    def __init__(self, pool: postgres.Pool, *, lease_seconds: float) -> None:
        self._pool = pool
        self._lease_seconds = lease_seconds

    async def walk(self) -> Walk:
        """Who has unfinished deliveries. Its cost grows with the subscriptions that do, not with the deliveries."""
        found = Walk()
        for row in await self._pool.fetch(SQL["walk_unfinished"]):
            waiting = row["status"] != "in_flight"
            group = found.deleted if row["deleted"] and waiting else getattr(found, row["status"])
            group.append(row["subscription_id"])
        return found

    async def cancel_deleted(self, subscription_ids: Sequence[UUID]) -> int:
        """Cancels waiting deliveries of deleted subscriptions, due or not; answers how many."""
        return await deliveries.cancel_waiting(self._pool, list(set(subscription_ids)), limit=CANCEL_LIMIT)

    async def take(self, walk: Walk, *, per_subscription: int, hold_seconds: float) -> Taken:
        """Gives each subscription a turn: its due deliveries become pending, and those past their expiry failed.

        What is taken is left alone for `hold_seconds`: the caller sees to it that a worker hears of it.
        """
        states = ["pending"] * len(walk.pending) + ["scheduled"] * len(walk.scheduled)
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(SQL["lock_due"], states, walk.pending + walk.scheduled, per_subscription)
            taken = [row["id"] for row in rows if not row["expired"]]
            expired = [row["id"] for row in rows if row["expired"]]
            if taken:
                await connection.execute(SQL["make_pending"], taken, min(taken), max(taken), hold_seconds)
            await deliveries.end_waiting(connection, expired, status="failed", reason="expired")
        return Taken(ids=taken, expired=len(expired))

    async def expire_leases(self, subscription_ids: Sequence[UUID], *, per_subscription: int) -> tuple[int, int]:
        """Makes deliveries due again whose lease ran out; answers how many leases, and how many ended failed."""
        states = ["in_flight"] * len(subscription_ids)
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(SQL["lock_due"], states, subscription_ids, per_subscription)
            leased = [row["id"] for row in rows]
            if not leased:
                return 0, 0
            least, greatest = min(leased), max(leased)
            ended = await connection.fetch(
                SQL["expire_leases"], leased, least, greatest, MAX_INTERRUPTIONS, self._lease_seconds
            )
        return len(leased), sum(row["status"] == "failed" for row in ended)

    async def depths(self, deleted: Sequence[UUID], *, limit: int) -> Depths:
        """Counts what is unfinished; `deleted` are the subscriptions that hold what waits for them."""
        (row,) = await self._pool.fetch(SQL["count_unfinished"], limit, deleted)
        return Depths(**row)

    async def oldest_waiting_seconds(self, subscription_ids: Sequence[UUID], *, hold_seconds: float) -> float:
        """How long the longest waiting pending delivery has waited."""
        return float(await self._pool.fetchval(SQL["oldest_waiting"], subscription_ids, hold_seconds))
