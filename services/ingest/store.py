"""Everything the ingest service asks of Postgres."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.common import deliveries, errors, postgres, sql
from services.ingest.subscriptions import Draft, Subscription

SQL = sql.Queries("services.ingest")
CANCEL_CHUNK = 5_000


@dataclass(frozen=True, kw_only=True, slots=True)
class NewEvent:
    """An event to store, and the subscriptions it goes to as (delivery id, subscription id)."""

    id: UUID
    tenant_id: str
    event_type: str | None
    content_type: str
    payload: bytes
    deliveries: Sequence[tuple[UUID, UUID]]


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredEvent:
    """An event as stored."""

    id: UUID
    tenant_id: str
    event_type: str | None
    content_type: str
    payload: bytes
    created_at: datetime


class Store:
    """Subscriptions and events. Every method raises what errors.STORE_AWAY lists when Postgres is away."""

    def __init__(self, pool: postgres.Pool, *, expiry_hours: int) -> None:
        self._pool = pool
        self._expiry_hours = expiry_hours

    async def create_partitions(self) -> None:
        """Makes the partitions that are needed now, so that an old database accepts."""
        await self._pool.fetchval(SQL["create_partitions"])

    async def create_subscription(self, subscription_id: UUID, tenant_id: str, draft: Draft) -> Subscription:
        """Stores a new subscription."""
        row = await self._pool.fetchrow(
            SQL["insert_subscription"],
            subscription_id,
            tenant_id,
            draft.target_url,
            draft.secret_key,
            draft.event_types,
            draft.description,
        )
        return Subscription.from_row(row)

    async def subscription(self, subscription_id: UUID) -> Subscription | None:
        """A live subscription of any tenant."""
        row = await self._pool.fetchrow(SQL["select_subscription"], subscription_id)
        return Subscription.from_row(row) if row else None

    async def subscriptions_page(self, tenant_id: str, before: UUID, limit: int) -> list[Subscription]:
        """Up to `limit` subscriptions with ids below `before`, newest first."""
        rows = await self._pool.fetch(SQL["select_subscriptions_page"], tenant_id, before, limit)
        return [Subscription.from_row(row) for row in rows]

    async def subscription_filters(self, tenant_id: str) -> list[tuple[UUID, list[str]]]:
        """What each live subscription of a tenant asked for."""
        rows = await self._pool.fetch(SQL["select_subscription_filters"], tenant_id)
        return [(row["id"], row["event_types"]) for row in rows]

    async def update_subscription(
        self, tenant_id: str, subscription_id: UUID, draft: Draft, *, set_secret: bool
    ) -> Subscription:
        """Replaces a subscription's fields, its secret only with `set_secret`; NotFound when there is none."""
        row = await self._pool.fetchrow(
            SQL["update_subscription"],
            tenant_id,
            subscription_id,
            draft.target_url,
            draft.event_types,
            draft.description,
            set_secret,
            draft.secret_key,
        )
        if row is None:
            raise no_subscription(subscription_id)
        return Subscription.from_row(row)

    async def delete_subscription(self, tenant_id: str, subscription_id: UUID) -> int:
        """Marks a subscription deleted and answers its new version; NotFound when there is none."""
        version = await self._pool.fetchval(SQL["delete_subscription"], tenant_id, subscription_id)
        if version is None:
            raise no_subscription(subscription_id)
        return int(version)

    async def cancel_waiting(self, subscription_id: UUID) -> int:
        """Cancels the waiting deliveries of a deleted subscription, chunk by chunk, and answers how many.

        What is left when this ends early, the dispatcher cancels.
        """
        total = 0
        while cancelled := await deliveries.cancel_waiting(self._pool, [subscription_id], limit=CANCEL_CHUNK):
            total += cancelled
        return total

    async def insert_events(
        self, events: Sequence[NewEvent], *, hidden_seconds: float
    ) -> list[errors.WebhookError | None]:
        """Commits events with their deliveries, in one statement; answers an error, or none, for each.

        Their deliveries are left alone by the dispatcher for `hidden_seconds`. An event id that another
        tenant used is a Conflict; one that this tenant used is taken for a repeated call.
        """
        rows_to_make = [(delivery, event.id, to) for event in events for delivery, to in event.deliveries]
        rows = await self._pool.fetch(
            SQL["insert_events"],
            [event.id for event in events],
            [event.tenant_id for event in events],
            [event.event_type for event in events],
            [event.content_type for event in events],
            [event.payload for event in events],
            [delivery for delivery, _, _ in rows_to_make],
            [event_id for _, event_id, _ in rows_to_make],
            [subscription for _, _, subscription in rows_to_make],
            hidden_seconds,
            self._expiry_hours,
        )
        if len(rows) == len(events):
            return [None] * len(events)
        new = {row["id"] for row in rows}
        return await self._check_repeated(events, new)

    async def _check_repeated(self, events: Sequence[NewEvent], new: set[UUID]) -> list[errors.WebhookError | None]:
        old = [event.id for event in events if event.id not in new]
        rows = await self._pool.fetch(SQL["select_event_tenants"], old, min(old), max(old))
        owners = {row["id"]: row["tenant_id"] for row in rows}
        return [
            None
            if event.id in new or owners.get(event.id) == event.tenant_id
            else errors.Conflict("event_id: is taken; make a new UUIDv7", reason="EVENT_ID_TAKEN")
            for event in events
        ]

    async def event(self, tenant_id: str, event_id: UUID) -> StoredEvent:
        """An event with its payload; NotFound when there is none or it is no longer retained."""
        row = await self._pool.fetchrow(SQL["select_event"], event_id, tenant_id)
        if row is None:
            raise errors.NotFound(f"no event {event_id}")
        return StoredEvent(
            id=row["id"],
            tenant_id=row["tenant_id"],
            event_type=row["event_type"],
            content_type=row["content_type"],
            payload=row["payload"],
            created_at=row["created_at"],
        )


def no_subscription(subscription_id: UUID) -> errors.NotFound:
    """The error for an unknown, deleted or foreign subscription."""
    return errors.NotFound(f"no subscription {subscription_id}")
