"""Finds the events that a subscription wants, or those of them that it has no delivery of, to be replayed to it.

What it wants is said by its event types and by its filter as they are now. An event that was sent to another
subscription alone is never among them.
"""

import dataclasses
import time
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from protos.webhook.v1 import deliveries_pb2
from services.delivery.api.filters import Filter
from services.domain import events
from services.domain.filters import expression
from services.domain.filters.evaluation import Evaluation
from services.domain.filters.expression import OnError
from services.platform import errors
from services.platform.stores import postgres, sql
from services.platform.stores.walks import Found, Span, Walker

SQL = sql.Queries("services.delivery.jobs")

# What evaluating filters may take of a look at events: then it ends there, and the next one goes on.
FILTERING_SECONDS = 0.25
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
    # None: it has none, or one that was stopped because it is slow.
    filter: str | None = None
    filter_on_error: OnError = OnError.DELIVER
    filter_stopped: bool = False


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
    return Wanting(
        subscription_id=subscription_id,
        event_types=row["event_types"],
        blocked=row["blocked"],
        filter=row["filter"],
        filter_on_error=OnError(row["filter_on_error"]),
        filter_stopped=row["filter_stopped"],
    )


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
    found = walker.page([await walker.walk("find_wanted", "events_to_send", arguments)])
    return await _filtered(connection, by, found) if by.filter is not None or by.filter_stopped else found


async def _filtered(connection: postgres.Connection, by: Wanting, found: Found) -> Found:
    """Return those of the events that pass the filter, as far as it is evaluated within FILTERING_SECONDS."""
    if by.filter is None:
        return found if by.filter_on_error is OnError.DELIVER else dataclasses.replace(found, ids=())
    filter_ = expression.compiled(by.filter)
    ends_at = time.monotonic() + FILTERING_SECONDS
    passed: list[UUID] = []
    for event_id in found.ids:
        # One at a time, because payloads may be large.
        row = await connection.fetchrow(SQL["select_to_filter"], event_id)
        if row is not None:
            evaluation = Evaluation(
                event_id=event_id,
                event_type=row["event_type"],
                content_type=row["content_type"],
                content_encoding=row["content_encoding"],
                tags=events.tags_of(row["tags"]),
                payload=row["payload"],
            )
            if evaluation.passes(by.subscription_id, filter_, by.filter_on_error):
                passed.append(event_id)
        if time.monotonic() > ends_at and event_id != found.ids[-1]:
            return dataclasses.replace(found, ids=passed, reached=event_id, cut=True)
    return dataclasses.replace(found, ids=passed)
