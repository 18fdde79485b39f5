"""Accepted events as they are stored. accept/ has the routes that accept them."""

import base64
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import Field

from protos.webhook.v1 import ingest_pb2 as pb
from services.gateway.accept import envelope
from services.gateway.resources import models, ndjson
from services.gateway.web import backends, openapi
from services.gateway.web.routing import RoleRoute, is_json
from services.platform.grpc import conversion

router = APIRouter(prefix="/api/v1/events", tags=["events"], route_class=RoleRoute)


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An accepted event."""

    id: str
    event_type: str | None
    content_type: str
    created_at: str
    payload_bytes: int
    tags: dict[str, str]
    # The exact bytes if they are JSON, otherwise None, and payload_base64 is set.
    payload: msgspec.Raw | None
    payload_base64: str | None = None
    content_encoding: str | None = None
    expanding: bool = False
    payload_withheld: bool = False
    relayed_headers: dict[str, str] = {}
    cloudevent: dict[str, bool | int | str] = {}
    scheduled: bool = False
    deliver_at: str | None = None
    deliver_within_seconds: int | None = None
    event_version: int | None = None


_EXAMPLE = {
    "id": models.EXAMPLE_EVENT_ID,
    "event_type": "order.created",
    "content_type": "application/json",
    "created_at": models.EXAMPLE_TIME,
    "payload_bytes": 25,
    "tags": {"order": "42"},
    "payload": {"order": 42, "total": 9.90},
}
_SCHEMA = {
    "title": "Event",
    "description": "An accepted event.",
    "type": "object",
    "required": ["id", "event_type", "content_type", "created_at", "payload_bytes", "payload", "tags"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "event_type": {"type": ["string", "null"], "description": "null if the event has no type."},
        "event_version": {
            "type": "integer",
            "description": "The version of its type that the payload is of; absent if it has none.",
            "examples": [2],
        },
        "content_type": {"type": "string", "description": "Content-Type with which the payload is delivered."},
        "created_at": {
            "type": "string",
            "format": "date-time",
            "description": "When it was accepted; of an event that was scheduled, when it became due.",
        },
        "scheduled": {
            "type": "boolean",
            "description": "true while the event is scheduled: it is not due yet, and has no deliveries; otherwise "
            "absent.",
        },
        "deliver_at": {
            "type": "string",
            "format": "date-time",
            "description": "While it is scheduled: when it becomes due; otherwise absent.",
        },
        "deliver_within_seconds": {
            "type": "integer",
            "description": "While it is scheduled: for how long after that it may be delivered, if it has an expiry of "
            "its own; otherwise absent.",
        },
        "payload_bytes": {"type": "integer", "description": "Size of the payload in bytes."},
        "payload": {
            "description": "The exact bytes of the payload if its content type is JSON and it is valid; otherwise null."
        },
        "payload_base64": {
            "type": "string",
            "description": "The payload in base64 if it is not JSON; otherwise absent.",
        },
        "content_encoding": {
            "type": "string",
            "description": "Content-Encoding with which the payload is delivered; absent if it has none.",
            "examples": ["gzip"],
        },
        "expanding": {
            "type": "boolean",
            "description": "true while deliveries of the event are still being created; otherwise absent.",
        },
        "payload_withheld": {
            "type": "boolean",
            "description": "true if a portal link without the capability `payloads` leaves the payload out; otherwise "
            "absent.",
        },
        "relayed_headers": {
            "type": "object",
            "description": "The provider's own headers, kept because the subscription relays them; absent if there are "
            "none.",
            "additionalProperties": {"type": "string"},
        },
        "cloudevent": {
            "type": "object",
            "description": "The attributes of a CloudEvent, without `specversion`, `type`, and `datacontenttype`; "
            "absent if it is none.",
            "additionalProperties": {"type": ["string", "integer", "boolean"]},
        },
        "tags": {
            "type": "object",
            "description": "By what the event is found.",
            "additionalProperties": {"type": "string"},
        },
    },
}


class EventSummary(models.Answer):
    """An accepted event without its payload."""

    id: models.Uuid = Field(examples=[models.EXAMPLE_EVENT_ID])
    event_type: str | None = Field(description="null if the event has no type.", examples=["order.created"])
    content_type: str = Field(
        description="Content-Type with which the payload is delivered.", examples=["application/json"]
    )
    content_encoding: str | None = Field(
        description="Content-Encoding with which the payload is delivered; null if it has none.", examples=[None]
    )
    created_at: models.Timestamp
    payload_bytes: int = Field(description="Size of the payload in bytes.", examples=[25])
    expanding: bool = Field(description="Whether deliveries of the event are still being created.", examples=[False])
    scheduled: bool = Field(
        description="Whether the event is scheduled: it is not due yet, and has no deliveries.", examples=[False]
    )
    deliver_at: models.Timestamp | None = Field(
        description="While it is scheduled: when it becomes due; otherwise null.", examples=[None]
    )
    tags: dict[str, str] = Field(description="By what the event is found.", examples=[{"order": "42"}])
    erased_at: models.Timestamp | None = Field(description="When it was erased; null if it was not.", examples=[None])
    event_version: int | None = Field(
        description="The version of its type that the payload is of; null if it has none.", examples=[2]
    )


class EventsQuery(models.SearchQuery):
    """Which events are wanted."""

    scheduled: bool = Field(
        default=False,
        description=(
            "`true`: events that are scheduled, and no others. They are ordered by when they become due, which is also "
            "the time that `from` and `to` are about; `from` has no default."
        ),
    )


class FoundEvents(models.SearchPage):
    """A page of the events that were searched for, without payloads."""

    items: list[EventSummary]


@router.get(
    "",
    operation_id="list_events",
    summary="Search events",
    response_description="A page of events.",
    response_model=FoundEvents,
    responses={**openapi.problems(), 200: {"content": dict(ndjson.CONTENT)}},
)
async def list_events(query: Annotated[EventsQuery, Query()], services: backends.Injected) -> FoundEvents | Response:
    """Find events, newest first, without payloads.

    Give a parameter several times to find what has one of the values; different parameters must all match. Events are
    ordered by when they were accepted, so a cursor stays valid while others arrive.
    """
    query.check_period()
    request = pb.ListEventsRequest(
        filter=pb.EventFilter(
            event_type=query.event_type,
            idempotency_key=query.idempotency_key,
            provider_id=query.provider_id,
            tag=query.tag,
            from_time=conversion.stamp(query.from_),
            to_time=conversion.stamp(query.to),
            scheduled=query.scheduled,
        ),
        ascending=query.order == "oldest",
        page_size=query.limit,
        page_token=query.cursor,
    )
    if query.format == "ndjson":
        return await ndjson.respond(services, services.ingest.ListEvents, request, _summaries)
    answer = await services.call(services.ingest.ListEvents, request)
    items = [EventSummary(**found) for found in _summaries(answer)]
    return FoundEvents(items=items, **models.searched(answer))


def _summaries(answer: pb.ListEventsResponse) -> Iterator[Mapping[str, Any]]:
    for message in answer.events:
        found = models.values(message)
        found |= {name: found[name] or None for name in ("event_type", "content_encoding", "event_version")}
        found["scheduled"] = found["deliver_at"] is not None
        yield {name: found[name] for name in EventSummary.model_fields}


@router.get(
    "/{event_id}",
    operation_id="get_event",
    summary="Get an event",
    response_class=Response,
    responses={
        **openapi.problems(404, described={410: "The event was erased (`EVENT_ERASED`)."}),
        200: {
            "description": "The event.",
            "content": {"application/json": {"schema": _SCHEMA, "example": _EXAMPLE}},
        },
    },
)
async def get_event(event_id: models.EventId, services: backends.Injected) -> Response:
    """Get an event with the exact bytes of its payload.

    Returns 404 if it is no longer retained, and 410 if it was erased.
    """
    answer = await services.call(services.ingest.GetEvent, pb.GetEventRequest(event_id=event_id))
    return Response(msgspec.json.encode(_event(answer.event)), media_type="application/json")


class CancelledEvent(models.Answer):
    """An event that was scheduled, and is cancelled."""

    event_id: models.Uuid = Field(examples=[models.EXAMPLE_EVENT_ID])


@router.post(
    "/{event_id}/cancel",
    operation_id="cancel_event",
    summary="Cancel a scheduled event",
    response_description="The event, which is cancelled now.",
    responses=openapi.problems(
        404, described={409: "The event is due already, or never was scheduled (`EVENT_NOT_SCHEDULED`)."}
    ),
)
async def cancel_event(event_id: models.EventId, services: backends.Injected) -> CancelledEvent:
    """Cancel an event that is scheduled: it is deleted, and never delivered.

    A repeated request has the same response. Once the event is due, cancel its deliveries instead.
    """
    answer = await services.call(services.ingest.CancelEvent, pb.CancelEventRequest(event_id=event_id))
    return CancelledEvent(event_id=answer.event_id)


class Route(models.Answer):
    """Whether a subscription got the event, and why."""

    subscription_id: models.Uuid = Field(examples=[models.EXAMPLE_SUBSCRIPTION_ID])
    routed: bool = Field(description="Whether the subscription got the event.", examples=[False])
    reason: str = Field(
        description=(
            "Got it: `matched`, or `replayed` (a job sent it there later). Did not: `event_type` (it does not get "
            "events of this type), `filter` (its filter does not let the event through), `created_later`, "
            "`system` (it gets only operational events), `disabled` (and it keeps no events meanwhile), "
            "`expanding` (deliveries are still being created), `scheduled` (the event is not due yet), or `addressed` "
            "(the event was sent to another subscription, not to all that want its type). `changed_since`: it was "
            "changed after the event was accepted, and what it was before is not known."
        ),
        examples=["event_type"],
    )
    explanation: str = Field(
        description="The reason as a sentence, for people.",
        examples=["Its event_types do not include 'order.created'."],
    )
    delivery_id: models.Uuid | None = Field(description="The delivery; null if it did not get the event.")


class RoutePage(models.Answer):
    """A page of routes, those of the newest subscriptions first."""

    items: list[Route]
    next_cursor: models.NextCursor


class RoutesQuery(models.PageQuery):
    """The page and the filter of an event's routes."""

    subscription_id: models.Uuid | None = Field(
        None, description="Only the route of this subscription, which may be deleted."
    )


@router.get(
    "/{event_id}/routing",
    operation_id="list_event_routes",
    summary="Explain which subscriptions got an event",
    response_description="A page of subscriptions, each with the reason.",
    responses=openapi.problems(404),
)
async def list_event_routes(
    event_id: models.EventId, query: Annotated[RoutesQuery, Query()], services: backends.Injected
) -> RoutePage:
    """List the subscriptions that are not deleted, with why each got the event or did not.

    The reasons are found again from the event's deliveries and from the subscriptions as they are now.
    """
    request = pb.ListEventRoutesRequest(
        event_id=event_id,
        subscription_id=query.subscription_id or "",
        page_size=query.limit,
        page_token=query.cursor,
    )
    answer = await services.call(services.ingest.ListEventRoutes, request)
    return RoutePage(
        items=[
            Route(**models.values(message) | {"delivery_id": message.delivery_id or None}) for message in answer.routes
        ],
        next_cursor=answer.next_page_token or None,
    )


def _event(message: pb.Event) -> Event:
    payload = message.payload
    encoded = bool(message.content_encoding)
    inline = not encoded and is_json(message.content_type) and envelope.is_valid_json(payload)
    return Event(
        id=message.id,
        event_type=message.event_type or None,
        content_type=message.content_type,
        created_at=models.timestamp(message.created_at),
        payload_bytes=message.payload_bytes or len(payload),
        payload=msgspec.Raw(payload) if inline else None,
        payload_withheld=message.payload_withheld,
        payload_base64=None if inline or message.payload_withheld else base64.b64encode(payload).decode(),
        content_encoding=message.content_encoding or None,
        expanding=message.expanding,
        scheduled=message.HasField("deliver_at"),
        deliver_at=models.timestamp(message.deliver_at) if message.HasField("deliver_at") else None,
        deliver_within_seconds=message.deliver_within_seconds or None,
        event_version=message.event_version or None,
        tags=dict(message.tags),
        relayed_headers=dict(message.relayed_headers),
        cloudevent={
            name: getattr(value, value.WhichOneof("value") or "text") for name, value in message.cloudevent.items()
        },
    )
