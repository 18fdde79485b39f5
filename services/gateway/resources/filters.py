"""Filters, tried on events before they are saved."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter
from pydantic import ConfigDict, Field

from protos.webhook.v1 import ingest_pb2 as pb
from services.domain import events, limits
from services.gateway.resources import enums, models
from services.gateway.resources.subscriptions.models import EXAMPLE_FILTER
from services.gateway.web import backends, openapi
from services.gateway.web.routing import JsonRoute

router = APIRouter(prefix="/api/v1/filters", tags=["subscriptions"], route_class=JsonRoute)

MAX_EVENTS = 20
_EXAMPLE: dict[str, Any] = {
    "filter": EXAMPLE_FILTER,
    "event": {"event_type": "order.created", "payload": {"amount": 250, "country": "ES"}},
}


class TriedEvent(models.Request):
    """An event that is not stored."""

    event_type: str = Field("", max_length=events.MAX_TYPE_LENGTH, description="Its type.", examples=["order.created"])
    payload: Any = Field(description="Its payload.", examples=[{"amount": 250, "country": "DE"}])
    tags: dict[str, str] = Field(
        default_factory=dict, max_length=events.MAX_TAGS, description="Its tags.", examples=[{"order": "42"}]
    )


class FilterCheckBody(models.Request):
    """A filter, and the events that it is tried on: `event`, `event_ids`, or those of `subscription_id`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    filter: Annotated[str, Field(min_length=1, max_length=limits.MAX_FILTER_LENGTH)] = Field(
        description="Condition in CEL, as of a subscription.", examples=[EXAMPLE_FILTER]
    )
    event: TriedEvent | None = Field(None, description="An event that is not stored.")
    event_ids: list[models.Uuid] = Field(
        default_factory=list, max_length=MAX_EVENTS, description="Events that are stored, at most 20.", examples=[[]]
    )
    subscription_id: models.Uuid | None = Field(
        None,
        description="The latest events of the last 7 days that this subscription's `event_types` want.",
        examples=[None],
    )
    last: Annotated[int, Field(ge=1, le=MAX_EVENTS, strict=True)] = Field(
        MAX_EVENTS, description="How many of these.", examples=[10]
    )


class FilterResult(models.Answer):
    """What a filter says of an event."""

    event_id: models.Uuid | None = Field(description="null if the event is not stored.", examples=[None])
    verdict: enums.FilterVerdict = Field(
        description="`match`: it is true. `no_match`: it is false. `error`: `filter_on_error` decides.",
        examples=["no_match"],
    )
    explanation: str | None = Field(
        description="The first part of the filter that was false, or why it cannot be evaluated; otherwise null.",
        examples=["event.data.country in ['DE', 'FR']"],
    )


class FilterCheck(models.Answer):
    """What a filter says of each event."""

    results: list[FilterResult]
    warnings: list[str] = Field(
        description="What the filter asks for that the schemas of the event types in the catalog rule out.",
        examples=[["event.data.amuont does not exist, by the schema of order.created"]],
    )


@router.post(
    "/check",
    operation_id="check_filter",
    summary="Try a filter on events",
    response_description="What the filter says of each event.",
    responses=openapi.problems(*openapi.WITH_BODY, 404, described={410: "An event was erased (`EVENT_ERASED`)."}),
)
async def check_filter(body: FilterCheckBody, services: backends.Injected) -> FilterCheck:
    """Evaluate a filter on an event, on stored events, or on the latest events for a subscription.

    Nothing is stored. 422 names the line and the column of what is wrong with the filter.
    """
    request = pb.CheckFilterRequest(filter=body.filter, event_ids=body.event_ids)
    if body.event is not None:
        request.event.CopyFrom(
            pb.TriedEvent(
                event_type=body.event.event_type,
                payload=msgspec.json.encode(body.event.payload),
                tags=body.event.tags,
            )
        )
    if body.subscription_id is not None:
        request.latest.CopyFrom(pb.LatestEvents(subscription_id=body.subscription_id, last=body.last))
    answer = await services.call(services.ingest.CheckFilter, request)
    results = []
    for message in answer.results:
        found = models.values(message)
        results.append(FilterResult(**found | {name: found[name] or None for name in ("event_id", "explanation")}))
    return FilterCheck(results=results, warnings=list(answer.warnings))
