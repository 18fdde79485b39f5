"""Why each subscription got an event, or did not.

Which subscriptions an event goes to is decided when it is accepted. Of an event for a single one that is stored; of
others nothing is about those that did not get it. So the answer is found again: from the event's deliveries, and from
the subscriptions as they are now. Of one that was changed after the event was accepted, only what it would get now is
known.
"""

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.domain.events import WILDCARD, TypeFilter, tags_of
from services.domain.filters.evaluation import Evaluation
from services.domain.filters.expression import OnError, Verdict, compiled, parts
from services.domain.states import SubscriptionState
from services.ingest.scheduled import rows as scheduled
from services.ingest.subscriptions.record import Kind
from services.ingest.subscriptions.store import no_subscription
from services.platform import errors, ids
from services.platform.auth import identity
from services.platform.auth.roles import PortalCapability
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.ingest.events")


# What evaluating the filters of a page may take.
FILTERS_SECONDS = 0.05
_ADDRESSED = "The event was sent to another subscription, not to all that want its type."
_UNREAD = "The event was sent to this subscription, but its type could not be read, and event_types are limited."
_UNKNOWN = (
    "With its settings of now it would get the event. It may have been created or changed in the moment in which the"
    " event was accepted."
)


class RouteReason(enum.StrEnum):
    """What decided whether a subscription got an event."""

    # Got it: its event_types include the event's type, or it gets the tenant's operational events.
    MATCHED = "matched"
    # Did not get it when it was accepted; a job sent it there later.
    REPLAYED = "replayed"
    # Does not get events of this type.
    EVENT_TYPE = "event_type"
    # Its filter does not let the event through.
    FILTER = "filter"
    # Was created after the event.
    CREATED_LATER = "created_later"
    # Gets only operational events.
    SYSTEM = "system"
    # Is disabled, without keep_when_disabled.
    DISABLED = "disabled"
    # The event is not due yet: its subscriptions are matched when it is.
    SCHEDULED = "scheduled"
    # The deliveries of the event are still being created.
    EXPANDING = "expanding"
    # The event was sent to another subscription, not to all that want its type.
    ADDRESSED = "addressed"
    # Was changed after the event was accepted, and what it was before is not known.
    CHANGED_SINCE = "changed_since"


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """Whether a subscription got an event, and why."""

    subscription_id: UUID
    routed: bool
    reason: RouteReason
    # A sentence for people.
    explanation: str
    # None: it did not get the event.
    delivery_id: UUID | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Accepted:
    """What is known of the event."""

    id: UUID
    event_type: str | None
    created_at: datetime
    # Its only subscription; None: it goes to all that want its type.
    addressed_to: UUID | None
    expanding: bool
    # Whether it is not due yet.
    scheduled: bool = False


class RoutingStore:
    """Events, their deliveries and the subscriptions of a tenant. Every method raises STORE_AWAY without Postgres."""

    def __init__(self, pool: postgres.Pool) -> None:
        self._pool = pool

    async def routes(self, tenant_id: str, event_id: UUID, *, before: UUID, limit: int) -> list[Route]:
        """Return the routes of up to `limit` subscriptions with ids below `before`, newest first.

        NotFound for an event that is unknown or no longer retained. Deleted subscriptions are left out.
        """
        event = await self._event(tenant_id, event_id)
        bounds = ids.delivery_range(event_id)
        rows = await self._pool.fetch(SQL["select_routes"], tenant_id, event_id, *bounds, before, limit)
        return await self._routes(event, rows)

    async def routes_of(
        self, tenant_id: str, event_id: UUID, subscription_ids: Collection[UUID], *, before: UUID
    ) -> list[Route]:
        """Return the routes of those of some subscriptions that exist and have ids below `before`, newest first."""
        event = await self._event(tenant_id, event_id)
        bounds = ids.delivery_range(event_id)
        wanted = sorted((one for one in subscription_ids if one < before), reverse=True)
        rows = [
            row
            for one in wanted
            for row in await self._pool.fetch(SQL["select_route"], tenant_id, event_id, *bounds, one)
            if not row["deleted"]
        ]
        return await self._routes(event, rows)

    async def route(self, tenant_id: str, event_id: UUID, subscription_id: UUID) -> Route:
        """Return the route of one subscription, which may be deleted; NotFound for an unknown one."""
        event = await self._event(tenant_id, event_id)
        bounds = ids.delivery_range(event_id)
        rows = await self._pool.fetch(SQL["select_route"], tenant_id, event_id, *bounds, subscription_id)
        for route in await self._routes(event, rows):
            return route
        raise no_subscription(subscription_id)

    async def _event(self, tenant_id: str, event_id: UUID) -> _Accepted:
        row = await self._pool.fetchrow(SQL["select_accepted"], event_id, tenant_id)
        if row is not None:
            return sql.record(_Accepted, row, scheduled=False)
        waiting = await scheduled.find(self._pool, tenant_id, event_id)
        if waiting is None:
            raise errors.NotFound(f"event {event_id} not found")
        return _Accepted(
            id=event_id,
            event_type=waiting.event_type,
            created_at=waiting.deliver_at,
            addressed_to=waiting.addressed_to,
            expanding=False,
            scheduled=True,
        )

    async def _routes(self, event: _Accepted, rows: Sequence[Any]) -> list[Route]:
        filtered = None
        if any(row["filter"] is not None and row["kind"] == Kind.NORMAL for row in rows):
            filtered = await self._filtered(event.id)
        return [_route(event, row, filtered) for row in rows]

    async def _filtered(self, event_id: UUID) -> Evaluation | None:
        """Return what evaluates filters on an event; None if the caller may not see its payload, or it was erased."""
        if not identity.has(PortalCapability.PAYLOADS):
            return None
        row = await self._pool.fetchrow(SQL["select_filtered_event"], event_id)
        if row is None or row["payload"] is None:
            return None
        return Evaluation(
            event_id=event_id,
            event_type=row["event_type"],
            content_type=row["content_type"],
            content_encoding=row["content_encoding"],
            tags=tags_of(row["tags"]),
            payload=row["payload"],
            seconds=FILTERS_SECONDS,
        )


def _route(event: _Accepted, row: Any, filtered: Evaluation | None) -> Route:
    made = row["delivery_ids"]
    first = ids.of_delivery(event.id, row["id"])
    if first in made:
        reason, explanation = _got(event, row)
    elif made:
        reason, explanation = RouteReason.REPLAYED, "A job sent the event to the subscription later."
    else:
        reason, explanation = _missed(event, row, filtered)
    return Route(
        subscription_id=row["id"],
        routed=bool(made),
        reason=reason,
        explanation=explanation,
        delivery_id=first if first in made else next(iter(made), None),
    )


def _got(event: _Accepted, row: Any) -> tuple[RouteReason, str]:
    if row["kind"] == Kind.SYSTEM:
        return RouteReason.MATCHED, "The subscription gets the operational events of its tenant."
    if _wants(event, row):
        return RouteReason.MATCHED, _why_wanted(event, row)
    return RouteReason.CHANGED_SINCE, "It got the event by the settings that it had then, which were changed since."


def _missed(event: _Accepted, row: Any, filtered: Evaluation | None) -> tuple[RouteReason, str]:
    if never := _why_never(event, row):
        return never
    why_not = _why_not_wanted(event, row) or _why_filtered(row, filtered)
    if row["changed_at"] > event.created_at:
        return RouteReason.CHANGED_SINCE, _what_changed(row, why_not)
    if why_not:
        return why_not
    if event.expanding:
        return RouteReason.EXPANDING, "The deliveries of the event are still being created."
    if event.addressed_to is not None:
        return RouteReason.EVENT_TYPE, _UNREAD
    return RouteReason.CHANGED_SINCE, _UNKNOWN


def _why_never(event: _Accepted, row: Any) -> tuple[RouteReason, str] | None:
    """Return why a subscription did not get the event whatever its settings were."""
    if row["kind"] == Kind.SYSTEM:
        return RouteReason.SYSTEM, "A system subscription gets only operational events."
    if event.addressed_to not in (None, row["id"]):
        return RouteReason.ADDRESSED, _ADDRESSED
    if event.scheduled:
        at = event.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return RouteReason.SCHEDULED, f"The event is scheduled for {at}. Its subscriptions are matched then."
    if row["created_at"] > event.created_at:
        return RouteReason.CREATED_LATER, "The subscription was created after the event was accepted."
    return None


def _what_changed(row: Any, why_not: tuple[RouteReason, str] | None) -> str:
    if row["deleted"]:
        return "The subscription was deleted after the event was accepted, and what it was then is not known."
    now = f"Now it would not get it: {why_not[1]}" if why_not else "With its settings of now it would get it."
    return f"The subscription was changed after the event was accepted, which it did not get. {now}"


def _wants(event: _Accepted, row: Any) -> bool:
    return TypeFilter(row["event_types"]).wants(event.event_type or "")


def _why_wanted(event: _Accepted, row: Any) -> str:
    if not row["event_types"]:
        return "The subscription gets events of all types."
    if event.event_type is None:
        return "The event has no type, and so passes every filter."
    for entry in row["event_types"]:
        if TypeFilter([entry]).wants(event.event_type):
            covers = f", which covers {event.event_type!r}" if entry.endswith(WILDCARD) else ""
            return f"Its event_types include {entry!r}{covers}."
    raise AssertionError("it wants the type")


def _why_filtered(row: Any, filtered: Evaluation | None) -> tuple[RouteReason, str] | None:
    """Return which part of a filter is not true for the event; None if it lets the event through."""
    text = row["filter"]
    if text is None:
        return None
    skips = row["filter_on_error"] == OnError.SKIP
    why: str | None = None
    if row["filter_stopped"]:
        why = "Its filter was stopped because it is too slow, and filter_on_error is skip." if skips else None
    elif filtered is None:
        why = "It has a filter, which decides by a payload that is not shown or not there."
    elif filtered.end() > FILTERS_SECONDS:
        why = "It has a filter, which was not evaluated, because the others took long."
    else:
        verdict, error = filtered.evaluate(compiled(text))
        if verdict is Verdict.NO_MATCH:
            why = f"Its filter was false: {false_part(text, filtered)}."
        elif verdict is Verdict.ERROR and skips:
            why = f"Its filter cannot be evaluated ({error}), and filter_on_error is skip."
    return None if why is None else (RouteReason.FILTER, why)


def false_part(text: str, event: Evaluation) -> str:
    """Return the first part of a filter that is false for an event."""
    found = (part for part in parts(text) if event.evaluate(compiled(part))[0] is Verdict.NO_MATCH)
    return next(found, text)


def _why_not_wanted(event: _Accepted, row: Any) -> tuple[RouteReason, str] | None:
    if not _wants(event, row):
        return RouteReason.EVENT_TYPE, f"Its event_types do not include {event.event_type!r}."
    if row["status"] == SubscriptionState.DISABLED and not row["keep_when_disabled"]:
        return RouteReason.DISABLED, "The subscription is disabled, and keeps no events meanwhile."
    return None
