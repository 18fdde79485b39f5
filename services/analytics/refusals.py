"""Events that gateways refused: what a gateway adds, and what a caller asks for.

A gateway knows the tenant of a refused request, but not which subscriptions the tenant has: the store looks, so that no
made-up id gets a row.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from protos.webhook.v1 import analytics_pb2 as pb
from services.analytics import series
from services.analytics.store import Refusals
from services.platform import errors, ids
from services.platform.auth import identity
from services.platform.grpc import conversion

# Of one call of a gateway.
MOST_COUNTS = 1_000
# Of one count: far above what a gateway can refuse in the hour to which it belongs.
MOST_EVENTS = 10**12
DEFAULT_LIMIT, MOST_LISTED = 50, 200
_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Query:
    """A valid request."""

    subscription_ids: tuple[UUID, ...]
    # Whole hours.
    start: datetime
    end: datetime
    limit: int


def parse(request: pb.GetRefusalsRequest, now: datetime, retention: timedelta) -> Query:
    """Return what is asked for; InvalidArgument names the field at fault."""
    if request.limit and not 1 <= request.limit <= MOST_LISTED:
        raise errors.InvalidArgument.field("limit", f"must be between 1 and {MOST_LISTED}")
    start, end = series.period(request, now, oldest=retention, default=series.DEFAULT_RANGE)
    return Query(
        subscription_ids=series.subscriptions(request),
        start=series.floor(start, series.HOUR),
        end=series.ceil(end, series.HOUR),
        limit=request.limit or DEFAULT_LIMIT,
    )


def message(query: Query, events: int, found: list[Refusals]) -> pb.GetRefusalsResponse:
    """Return the response."""
    response = pb.GetRefusalsResponse(events=events)
    response.from_time.FromDatetime(query.start)
    response.to_time.FromDatetime(query.end)
    for one in found:
        count = response.counts.add(reason=one.reason, events=one.events)
        count.last_at.FromDatetime(one.last_at)
        if one.subscription_id is not None:
            count.subscription_id = str(one.subscription_id)
    return response


def added(request: pb.AddRefusalsRequest) -> list[Refusals]:
    """Return what a gateway adds; InvalidArgument names the field at fault."""
    if len(request.counts) > MOST_COUNTS:
        raise errors.InvalidArgument.field("counts", f"must be at most {MOST_COUNTS}")
    return [_added(count) for count in request.counts]


def _added(count: pb.RefusalCount) -> Refusals:
    if not _REASON.fullmatch(count.reason):
        raise errors.InvalidArgument.field("reason", "must be a reason code, such as SIGNATURE_MISMATCH")
    if not 1 <= count.events <= MOST_EVENTS:
        raise errors.InvalidArgument.field("events", f"must be between 1 and {MOST_EVENTS}")
    return Refusals(
        tenant_id=identity.tenant_of(count.tenant_id),
        subscription_id=ids.parse("subscription_id", count.subscription_id) if count.subscription_id else None,
        reason=count.reason,
        events=count.events,
        last_at=conversion.moment("last_at", count.last_at) if count.HasField("last_at") else datetime.now(UTC),
    )
