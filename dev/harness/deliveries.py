"""Create deliveries in any state, as the services write them: in the queue and in history."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from services.domain.states import FINAL
from services.platform import ids

if TYPE_CHECKING:
    from services.platform.stores.postgres import Connection, Pool

_HISTORY = """
INSERT INTO webhook_deliveries (id, event_id, subscription_id, tenant_id, event_type)
SELECT id, event_id, $3, $4, $5 FROM unnest($1::uuid[], $2::uuid[]) AS d (id, event_id)
"""
_QUEUE = """
INSERT INTO delivery_queue (delivery_id, event_id, subscription_id, tenant_id, created_at, attempt_count, scheduled,
                            due_at, expires_at, claim_token, lease_until)
SELECT id, event_id, subscription_id, tenant_id, created_at, attempt_count, $2,
       now() + $3::interval, now() + $4::interval, $5, CASE WHEN $5::uuid IS NOT NULL THEN now() + $3::interval END
FROM webhook_deliveries WHERE id = ANY($1::uuid[])
"""
_END = """
UPDATE webhook_deliveries SET status = $2::text::delivery_status, reason = $3, completed_at = now()
WHERE id = ANY($1::uuid[])
"""
# As if they had just been stored, except for their attempts.
_RESET = """
WITH queued AS (DELETE FROM delivery_queue WHERE delivery_id = ANY($1::uuid[]) RETURNING delivery_id, attempt_count)
UPDATE webhook_deliveries d
SET status = 'pending', reason = NULL, completed_at = NULL, attempt_count = coalesce(q.attempt_count, d.attempt_count)
FROM unnest($1::uuid[]) AS i (id) LEFT JOIN queued q ON q.delivery_id = i.id
WHERE d.id = i.id
"""
_FORGET = """
DELETE FROM unsuccessful_deliveries WHERE id = ANY($1::uuid[])
"""
_UNSUCCESSFUL = """
INSERT INTO unsuccessful_deliveries (id, subscription_id, status, tenant_id, attempt_count)
SELECT id, subscription_id, status, tenant_id, attempt_count FROM webhook_deliveries
WHERE id = ANY($1::uuid[]) AND status IN ('failed', 'cancelled')
"""


async def insert(
    pool: "Pool",
    deliveries: Sequence[tuple[UUID, UUID]],
    *,
    subscription_id: UUID,
    tenant_id: str = "default",
    event_type: str | None = None,
    status: str = "pending",
    due_in: float = 0.0,
    expires_in: float = 3600.0,
) -> None:
    """Create deliveries in a state; each has its event's id."""
    delivery_ids, event_ids = [pair[0] for pair in deliveries], [pair[1] for pair in deliveries]
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(_HISTORY, delivery_ids, event_ids, subscription_id, tenant_id, event_type)
        await _put(connection, delivery_ids, status, due_in=due_in, expires_in=expires_in)


async def put(
    pool: "Pool",
    *delivery_ids: UUID,
    status: str,
    reason: str | None = None,
    due_in: float = 0.0,
    expires_in: float = 3600.0,
    token: UUID | None = None,
) -> None:
    """Move deliveries to a state, whatever state they had; leases of those in flight end when they are due."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(_RESET, delivery_ids)
        await connection.execute(_FORGET, delivery_ids)
        await _put(connection, delivery_ids, status, reason, due_in=due_in, expires_in=expires_in, token=token)


async def _put(
    connection: "Connection",
    delivery_ids: Sequence[UUID],
    status: str,
    reason: str | None = None,
    *,
    due_in: float,
    expires_in: float,
    token: UUID | None = None,
) -> None:
    if status in FINAL:
        await connection.execute(_END, delivery_ids, status, reason)
        await connection.execute(_UNSUCCESSFUL, delivery_ids)
    else:
        token = (token or ids.new()) if status == "in_flight" else None
        due, expires = timedelta(seconds=due_in), timedelta(seconds=expires_in)
        await connection.execute(_QUEUE, delivery_ids, status == "scheduled", due, expires, token)
