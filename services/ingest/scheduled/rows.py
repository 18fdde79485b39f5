"""Rows of scheduled_events, in the transactions of those who store and move events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from services.ingest.events.records import NewEvent
from services.platform import ids
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.ingest.scheduled")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheduled:
    """An event that is not due yet."""

    id: UUID
    tenant_id: str
    accepted_at: datetime
    event_type: str | None
    content_type: str
    content_encoding: str | None
    payload: bytes
    # As they are stored, such as "order=42".
    tags: Sequence[str]
    # Its only subscription; None: it goes to all that want its type.
    addressed_to: UUID | None
    deliver_within_seconds: int | None
    traceparent: str | None
    sender_context: str | None

    @property
    def deliver_at(self) -> datetime:
        """When it is due."""
        return ids.moment_of(self.id)


async def insert(connection: postgres.Connection, events: Sequence[NewEvent], *, timeout_seconds: float) -> set[UUID]:
    """Store events that are not due yet, and return the ids of those that are new."""
    rows = await connection.fetch(
        SQL["insert_scheduled"],
        [event.id for event in events],
        [event.tenant_id for event in events],
        [event.event_type for event in events],
        [event.content_type for event in events],
        [event.content_encoding for event in events],
        [event.payload for event in events],
        [event.traceparent for event in events],
        [event.addressed_to for event in events],
        [event.within_seconds for event in events],
        [msgspec.json.encode(event.tags).decode() for event in events],
        [event.sender_context for event in events],
        timeout=timeout_seconds,
    )
    return {row["id"] for row in rows}


async def taken(connection: postgres.Connection, event_ids: Sequence[UUID]) -> dict[UUID, Any]:
    """Return the rows of events whose ids were used again."""
    return {row["id"]: row for row in await connection.fetch(SQL["select_taken"], event_ids)}


async def find(connection: postgres.Connection | postgres.Pool, tenant_id: str, event_id: UUID) -> Scheduled | None:
    """Return an event of a tenant that is not due yet, or that nobody has moved; None if there is none."""
    row = await connection.fetchrow(SQL["select_scheduled"], event_id, tenant_id)
    return None if row is None else sql.record(Scheduled, row)
