"""What more than one service does to deliveries in Postgres, and counts of them.

A delivery that has not ended has a row in `delivery_queue`, which alone says what its state is. The statement that
ends it deletes that row, and then updates `webhook_deliveries`, the history, so that the lock of a queue's row
protects the history's, too. Statements on history bound its ids (BETWEEN least AND greatest), for a generic plan does
not prune partitions by `= ANY`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from prometheus_client import Counter

from services.domain.states import DeliveryReason, DeliveryStatus
from services.platform.stores import postgres, sql

# The signal for dispatchers: something is due that nobody rings for, or will be in so many seconds.
DUE = "due"
DELIVERIES_ENDED = Counter("webhook_deliveries_ended_total", "Deliveries that reached a final state.", ["status"])

SQL = sql.Queries("services.domain")

# The place before all of a subscription's deliveries in the queue: pending ones come first.
_FIRST = (False, datetime(1970, 1, 1, tzinfo=UTC))


async def mark_due(pool: postgres.Pool, delivery_ids: Sequence[UUID]) -> None:
    """Make pending deliveries due at once, so that the dispatcher rings for them."""
    if delivery_ids:
        await pool.execute(SQL["mark_due"], delivery_ids)


async def end_waiting(
    connection: postgres.Connection, delivery_ids: Sequence[UUID], *, status: DeliveryStatus, reason: DeliveryReason
) -> list[UUID]:
    """End deliveries that wait; return which did."""
    if not delivery_ids:
        return []
    least, greatest = min(delivery_ids), max(delivery_ids)
    rows = await connection.fetch(SQL["end_waiting"], delivery_ids, least, greatest, status, reason)
    return [row["id"] for row in rows]


async def cancel_waiting(pool: postgres.Pool, subscription_id: UUID, *, limit: int) -> int:
    """Cancel the waiting deliveries of a deleted subscription, at most `limit` in a transaction; return how many.

    Each transaction goes on where the one before ended: while a snapshot is open Postgres keeps what was deleted, and
    would pass all of it again.
    """
    place = _FIRST
    total = 0

    async def cancel() -> tuple[list[UUID], tuple[bool, datetime] | None]:
        async with pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(SQL["lock_waiting"], subscription_id, *place, limit)
            found = [row["id"] for row in rows]
            await end_waiting(
                connection, found, status=DeliveryStatus.CANCELLED, reason=DeliveryReason.SUBSCRIPTION_DELETED
            )
        return found, (rows[-1]["scheduled"], rows[-1]["due_at"]) if rows else None

    while True:
        found, last = await postgres.repeat_rolled_back(cancel)
        # From here: what led to it is committed, so that the whole call cannot be repeated.
        DELIVERIES_ENDED.labels(DeliveryStatus.CANCELLED).inc(len(found))
        total += len(found)
        if last is None:
            return total
        place = last
