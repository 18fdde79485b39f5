"""What the API of deliveries asks of Postgres."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from services.domain import audit, deliveries
from services.domain.audit import Action, FieldChange
from services.domain.doorbell import RUNG_SECONDS
from services.domain.states import FINAL, DeliveryReason, DeliveryStatus
from services.platform import errors, ids
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.delivery.api")

# Of a subscription's deliveries so many are looked at for those in a state before all in that state are sorted.
NEWEST_LIMIT = 5_000
# Each needs somebody who retries, or ends, the same delivery in the same moment.
LOCK_TRIES = 5


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
    """A delivery as it is now, with its attempts where they were asked for."""

    id: UUID
    event_id: UUID
    subscription_id: UUID
    tenant_id: str
    event_type: str | None
    status: DeliveryStatus
    attempt_count: int
    created_at: datetime
    completed_at: datetime | None
    # While it is unfinished: when the dispatcher looks at it next, and when it fails.
    due_at: datetime | None
    expires_at: datetime | None
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
        if status is None or status is DeliveryStatus.DELIVERED:
            query = "select_subscription_deliveries" if status is None else "select_delivered"
            rows = await self._pool.fetch(SQL[query], subscription_id, before, limit)
            return [_delivery(row) for row in rows]
        # Of one snapshot: what leaves the state between the statements must not make the page look like the last.
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            found = await _find(connection, subscription_id, status, before, limit)
            if not found:
                return []
            rows = await connection.fetch(SQL["select_deliveries"], found, min(found), max(found))
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
        async with self._locked(tenant_id, delivery_id) as (connection, row, status):
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
            await connection.execute(SQL["retry_delivery"], delivery_id, hold_seconds, self._expiry_hours)
            await connection.execute(SQL["ask_for_probe"], row["subscription_id"], delivery_id)
            await _tell(connection, Action.RETRY_DELIVERY, row, before=status, after=DeliveryStatus.PENDING)
            return await self._read(connection, tenant_id, delivery_id), ringing, row["traceparent"]

    async def cancel(self, tenant_id: str, delivery_id: UUID) -> tuple[Delivery, bool]:
        """Cancel a waiting delivery, and return whether it was waiting; a cancelled one stays so.

        Conflict while it is in flight, or when it ended otherwise.
        """
        async with self._locked(tenant_id, delivery_id) as (connection, row, status):
            waiting = status not in FINAL
            if not waiting and status is not DeliveryStatus.CANCELLED:
                raise errors.Conflict(f"the delivery is {status}", reason=errors.ErrorReason.DELIVERY_FINISHED)
            if waiting:
                await deliveries.end_waiting(
                    connection, [delivery_id], status=DeliveryStatus.CANCELLED, reason=DeliveryReason.CANCELLED
                )
                await _tell(connection, Action.CANCEL_DELIVERY, row, before=status, after=DeliveryStatus.CANCELLED)
            return await self._read(connection, tenant_id, delivery_id), waiting

    @contextlib.asynccontextmanager
    async def _locked(
        self, tenant_id: str, delivery_id: UUID
    ) -> AsyncIterator[tuple[postgres.Connection, Any, DeliveryStatus]]:
        """Yield a transaction that has a delivery locked, with its row in history and its state.

        Conflict while it is in flight.
        """
        async with self._pool.acquire() as connection:
            for _ in range(LOCK_TRIES):
                async with connection.transaction():
                    found = await _lock(connection, tenant_id, delivery_id)
                    if found is not None:
                        yield connection, *found
                        return
        raise errors.Conflict("the delivery is being changed; try again", reason=errors.ErrorReason.DELIVERY_IN_FLIGHT)

    async def _read(self, connection: postgres.Connection, tenant_id: str, delivery_id: UUID) -> Delivery:
        row = await connection.fetchrow(SQL["select_delivery"], delivery_id, tenant_id)
        if row is None:
            raise _no_delivery(delivery_id)
        return _delivery(row, await connection.fetch(SQL["select_attempts"], delivery_id))


async def _find(
    connection: postgres.Connection, subscription_id: UUID, status: DeliveryStatus, before: UUID, limit: int
) -> list[UUID]:
    """Return the newest deliveries of a subscription in a state that few are in.

    Where many wait, the newest of them are among the newest of all; where few do, they are soon sorted.
    """
    arguments = subscription_id, before, status, limit
    if status in FINAL:
        return [row["id"] for row in await connection.fetch(SQL["find_unsuccessful"], *arguments)]
    row = await connection.fetchrow(SQL["find_newest_in"], *arguments, NEWEST_LIMIT)
    assert row is not None, "it counts"
    found: list[UUID] = row["found"]
    if len(found) == limit or row["passed"] < NEWEST_LIMIT:
        return found
    return [row["id"] for row in await connection.fetch(SQL["find_in_queue"], *arguments)]


async def _lock(
    connection: postgres.Connection, tenant_id: str, delivery_id: UUID
) -> tuple[Any, DeliveryStatus] | None:
    """Lock a delivery, in the queue first as everywhere; None if it came there after it was looked for."""
    queued = await connection.fetchrow(SQL["lock_queued"], delivery_id, tenant_id)
    row = await connection.fetchrow(SQL["lock_delivery"], delivery_id, tenant_id)
    if row is None:
        raise _no_delivery(delivery_id)
    status = DeliveryStatus(row["status"])
    if queued is None:
        if status is DeliveryStatus.PENDING and await connection.fetchval(SQL["is_queued"], delivery_id):
            return None
        return row, status
    if queued["in_flight"]:
        raise errors.Conflict(
            "a worker is sending this delivery; try again", reason=errors.ErrorReason.DELIVERY_IN_FLIGHT
        )
    return row, DeliveryStatus.SCHEDULED if queued["scheduled"] else DeliveryStatus.PENDING


async def _tell(
    connection: postgres.Connection, action: Action, row: Any, *, before: DeliveryStatus, after: DeliveryStatus
) -> None:
    change = FieldChange(field="status", before=before, after=after)
    entry = audit.Entry(action=action, tenant_id=row["tenant_id"], resource_id=str(row["id"]), changes=[change])
    await audit.record(connection, entry)


def _no_delivery(delivery_id: UUID) -> errors.NotFound:
    return errors.NotFound(f"delivery {delivery_id} not found")
