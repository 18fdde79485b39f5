"""What more than one service does to deliveries in Postgres, and counts of them.

Statements by ids bound them (BETWEEN least AND greatest), for a generic plan does not prune partitions by
`= ANY`; and rows are found by one statement and changed by a second, for a join with found rows may be
planned as a scan of every partition.
"""

from collections.abc import Sequence
from uuid import UUID

from prometheus_client import Counter

from services.domain.states import DeliveryReason, DeliveryStatus
from services.platform.stores import postgres, sql

DELIVERIES_ENDED = Counter("webhook_deliveries_ended_total", "Deliveries that reached a final state.", ["status"])

SQL = sql.Queries("services.domain")


async def mark_due(pool: postgres.Pool, delivery_ids: Sequence[UUID]) -> None:
    """Make pending deliveries due at once, so that the dispatcher rings for them."""
    if delivery_ids:
        await pool.execute(SQL["mark_due"], delivery_ids, min(delivery_ids), max(delivery_ids))


async def end_waiting(
    connection: postgres.Connection, delivery_ids: Sequence[UUID], *, status: DeliveryStatus, reason: DeliveryReason
) -> None:
    """End deliveries that wait."""
    if delivery_ids:
        least, greatest = min(delivery_ids), max(delivery_ids)
        await connection.execute(SQL["end_waiting"], delivery_ids, least, greatest, status, reason)


async def cancel_waiting(pool: postgres.Pool, subscription_ids: Sequence[UUID], *, limit: int) -> int:
    """Cancel waiting deliveries of deleted subscriptions, at most `limit` of each and state; return how many."""

    async def cancel() -> list[UUID]:
        async with pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(SQL["lock_waiting"], subscription_ids, limit)
            found = [row["id"] for row in rows]
            await end_waiting(
                connection, found, status=DeliveryStatus.CANCELLED, reason=DeliveryReason.SUBSCRIPTION_DELETED
            )
        return found

    # From here: what led to it is committed, so that the whole call cannot be repeated.
    found = await postgres.repeat_rolled_back(cancel)
    DELIVERIES_ENDED.labels(DeliveryStatus.CANCELLED).inc(len(found))
    return len(found)
