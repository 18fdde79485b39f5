"""Finds the events that a subscription wants, or those of them that it has no delivery of, to be replayed to it.

An event that was sent to another subscription alone is never among them.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from protos.webhook.v1 import deliveries_pb2
from services.delivery.api.filters import Filter
from services.domain import events
from services.platform import errors
from services.platform.stores import postgres, sql
from services.platform.stores.walks import Found, Span, Walker

SQL = sql.Queries("services.delivery.jobs")

_FIELDS = frozenset(("event_type", "from_time", "to_time"))


class Only(StrEnum):
    """Which of the events that a subscription wants: `jobs.only_events`."""

    MISSING = "missing"
    ALL = "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanting:
    """A subscription, and whether it takes anything now."""

    subscription_id: UUID
    event_types: list[str]
    blocked: bool


def check(message: deliveries_pb2.DeliveryFilter, wanted: Filter) -> None:
    """InvalidArgument unless a filter is about events, and bounded."""
    for field, _ in message.ListFields():
        if field.name not in _FIELDS:
            description = "cannot be combined with only, which is about events"
            raise errors.InvalidArgument.field(f"filter.{field.name}", description)
    if wanted.from_time is None:
        raise errors.InvalidArgument.field("filter.from", "is required with only")


async def wanting(connection: postgres.Connection, tenant_id: str, subscription_id: UUID) -> Wanting:
    """Return what a subscription wants now."""
    row = await connection.fetchrow(SQL["select_wanting"], subscription_id, tenant_id)
    if row is None:
        return Wanting(subscription_id=subscription_id, event_types=[], blocked=True)
    return Wanting(subscription_id=subscription_id, event_types=row["event_types"], blocked=row["blocked"])


async def find(
    connection: postgres.Connection,
    tenant_id: str,
    wanted: Filter,
    by: Wanting,
    only: Only,
    *,
    frozen_at: datetime,
    after: UUID,
    limit: int,
) -> Found:
    """Return the first `limit` events beyond `after` that were accepted by `frozen_at`, and can be sent."""
    # What comes in meanwhile is not passed.
    span = Span.of(wanted, ascending=True).beyond(after).until(frozen_at)
    own, asked = (
        [events.like_pattern(entry) for entry in entries] or None for entries in (by.event_types, wanted.event_types)
    )
    walker = Walker(connection, SQL, tenant_id, span, limit)
    arguments = [own, frozen_at, by.subscription_id, only is Only.MISSING, asked]
    return walker.page([await walker.walk("find_wanted", "events_to_send", arguments)])
