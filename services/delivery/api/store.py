"""What the API of deliveries asks of Postgres."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from services.domain import audit
from services.domain.audit import Action, FieldChange
from services.domain.doorbell import RUNG_SECONDS
from services.domain.states import FINAL, DeliveryStatus
from services.platform import errors, ids
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.delivery.api")


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """A row of delivery_attempts."""

    number: int
    started_at: datetime
    duration_ms: int | None
    status_code: int | None
    outcome: str
    error_message: str | None
    response_body: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A row of webhook_deliveries, with its attempts where they were asked for."""

    id: UUID
    event_id: UUID
    subscription_id: UUID
    tenant_id: str
    event_type: str | None
    status: DeliveryStatus
    attempt_count: int
    created_at: datetime
    next_attempt_at: datetime
    completed_at: datetime | None
    expires_at: datetime
    reason: str | None
    attempts: Sequence[Attempt] = field(default=())
    # What keeps it from being sent though it is due; '' if that is not its subscription's state. Of a single one.
    held_by: str | None = None


def _delivery(row: Any, attempts: Sequence[Any] = ()) -> Delivery:
    return sql.record(
        Delivery,
        row,
        status=DeliveryStatus(row["status"]),
        held_by=row.get("held_by"),
        attempts=[sql.record(Attempt, attempt) for attempt in attempts],
    )


class DeliveryStore:
    """Deliveries of a tenant. Every method raises what stores.availability.STORE_AWAY lists when Postgres is away."""

    def __init__(self, pool: postgres.Pool, *, expiry_hours: int, retention_hours: int) -> None:
        self._pool = pool
        self._expiry_hours = expiry_hours
        self._retention = timedelta(hours=retention_hours)

    async def delivery(self, tenant_id: str, delivery_id: UUID) -> Delivery:
        """One delivery with its attempts; NotFound when there is none."""
        async with self._pool.acquire() as connection:
            return await self._read(connection, tenant_id, delivery_id)

    async def of_subscription(
        self, tenant_id: str | None, subscription_id: UUID, *, status: DeliveryStatus | None, before: UUID, limit: int
    ) -> list[Delivery]:
        """Up to `limit` deliveries with ids below `before`, newest first; NotFound for an unknown subscription."""
        if not await self._pool.fetchval(SQL["subscription_exists"], subscription_id, tenant_id):
            raise errors.NotFound(f"subscription {subscription_id} not found")
        rows = await self._pool.fetch(SQL["select_subscription_deliveries"], subscription_id, before, status, limit)
        return [_delivery(row) for row in rows]

    async def of_event(
        self, tenant_id: str | None, event_id: UUID, *, status: DeliveryStatus | None, before: UUID, limit: int
    ) -> list[Delivery]:
        """Up to `limit` deliveries with ids below `before`, newest first; NotFound for an unknown event."""
        if not await self._pool.fetchval(SQL["event_exists"], event_id, tenant_id):
            raise errors.NotFound(f"event {event_id} not found")
        least, greatest = ids.delivery_range(event_id)
        above = min(before, UUID(int=greatest.int + 1))
        rows = await self._pool.fetch(SQL["select_event_deliveries"], event_id, least, above, status, limit)
        return [_delivery(row) for row in rows]

    async def retry(
        self, tenant_id: str, delivery_id: UUID, *, may_ring: Callable[[UUID], bool]
    ) -> tuple[Delivery, bool, str | None]:
        """Make a delivery pending, whatever it was; return whether to ring for it, and the trace of its event.

        `may_ring` says it of its subscription; if not, or when something holds it back, it is the dispatcher's.

        Conflict while it is in flight or when its subscription is deleted or disabled; Gone without its payload, or
        past the retention of its day.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            row = await self._lock(connection, tenant_id, delivery_id)
            if row["subscription_deleted"]:
                raise errors.Conflict(
                    "the subscription of this delivery is deleted", reason=errors.ErrorReason.SUBSCRIPTION_DELETED
                )
            if row["subscription_disabled"]:
                message = "the subscription of this delivery is disabled; enable it first"
                raise errors.Conflict(message, reason=errors.ErrorReason.SUBSCRIPTION_DISABLED)
            if not row["payload_retained"]:
                raise errors.Gone("the payload of this delivery is no longer retained")
            if row["now"] >= ids.end_of_day(delivery_id) + self._retention:
                # Retention only waits for other deliveries of the day: a retry would keep all of it for days more.
                raise errors.Gone("this delivery is older than LOG_RETENTION_HOURS and is about to be removed")
            ringing = row["steady"] and may_ring(row["subscription_id"])
            hold_seconds = RUNG_SECONDS if ringing else 0
            await connection.fetchrow(SQL["retry_delivery"], delivery_id, hold_seconds, self._expiry_hours)
            await connection.execute(SQL["ask_for_probe"], row["subscription_id"], delivery_id)
            await _tell(connection, Action.RETRY_DELIVERY, row, after=DeliveryStatus.PENDING)
            return await self._read(connection, tenant_id, delivery_id), ringing, row["traceparent"]

    async def cancel(self, tenant_id: str, delivery_id: UUID) -> tuple[Delivery, bool]:
        """Cancel a waiting delivery, and return whether it was waiting; a cancelled one stays so.

        Conflict while it is in flight, or when it ended otherwise.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            row = await self._lock(connection, tenant_id, delivery_id)
            waiting = row["status"] not in FINAL
            if not waiting and row["status"] != DeliveryStatus.CANCELLED:
                raise errors.Conflict(f"the delivery is {row['status']}", reason=errors.ErrorReason.DELIVERY_FINISHED)
            if waiting:
                await connection.execute(SQL["cancel_delivery"], delivery_id)
                await _tell(connection, Action.CANCEL_DELIVERY, row, after=DeliveryStatus.CANCELLED)
            return await self._read(connection, tenant_id, delivery_id), waiting

    async def _lock(self, connection: postgres.Connection, tenant_id: str, delivery_id: UUID) -> Any:
        row = await connection.fetchrow(SQL["lock_delivery"], delivery_id, tenant_id)
        if row is None:
            raise _no_delivery(delivery_id)
        if row["status"] == DeliveryStatus.IN_FLIGHT:
            raise errors.Conflict(
                "a worker is sending this delivery; try again", reason=errors.ErrorReason.DELIVERY_IN_FLIGHT
            )
        return row

    async def _read(self, connection: postgres.Connection, tenant_id: str, delivery_id: UUID) -> Delivery:
        row = await connection.fetchrow(SQL["select_delivery"], delivery_id, tenant_id)
        if row is None:
            raise _no_delivery(delivery_id)
        return _delivery(row, await connection.fetch(SQL["select_attempts"], delivery_id))


async def _tell(connection: postgres.Connection, action: Action, before: Any, *, after: DeliveryStatus) -> None:
    change = FieldChange(field="status", before=before["status"], after=after)
    entry = audit.Entry(action=action, tenant_id=before["tenant_id"], resource_id=str(before["id"]), changes=[change])
    await audit.record(connection, entry)


def _no_delivery(delivery_id: UUID) -> errors.NotFound:
    return errors.NotFound(f"delivery {delivery_id} not found")
