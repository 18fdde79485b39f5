"""The event catalog as an OpenAPI document, which generators and documentation pages of consumers read."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from pydantic import Field

from protos.webhook.v1 import catalog_pb2 as pb
from services.domain.events import TypeFilter, type_violations
from services.gateway.resources import enums, models
from services.gateway.web import backends, openapi
from services.gateway.web.routing import JsonRoute
from services.platform import errors

router = APIRouter(prefix="/api/v1/event-types", tags=["catalog"], route_class=JsonRoute)

# A page of the catalog has at most so many schemas of 64 KiB.
PAGE_SIZE = 20
# Of all schemas and examples together.
MAX_BYTES = 4 << 20
_EXAMPLE: dict[str, Any] = {
    "invoice.paid": {
        "post": {
            "summary": "invoice.paid, version 1",
            "description": "A customer has paid an invoice.",
            "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
            "responses": {"2XX": {"description": "The event is received."}},
        }
    }
}


class ExportInfo(models.Answer):
    """What the document is about."""

    title: str = Field(examples=["Events"])
    version: str = Field(examples=["1.0.0"])


class EventTypeExport(models.Answer):
    """An OpenAPI 3.1 document with a webhook for each event type."""

    openapi: str = Field(description="The version of OpenAPI.", examples=["3.1.0"])
    info: ExportInfo
    webhooks: dict[str, Any] = Field(
        description="By the name of the event type, the request that a receiver gets.", examples=[_EXAMPLE]
    )


class ExportQuery(models.Request):
    """What to export."""

    format: enums.ExportFormat = Field("openapi", description="`openapi`: the `webhooks` of OpenAPI 3.1.")
    event_type: list[str] = Field(
        default_factory=list,
        max_length=100,
        description="Only these event types; `invoice.*` means every type that begins with `invoice.`. Default: all.",
        examples=[["invoice.*"]],
    )


@router.get(
    "/export",
    operation_id="export_event_types",
    summary="Export the catalog",
    response_description="The document.",
    responses=openapi.problems(),
)
async def export_event_types(query: Annotated[ExportQuery, Query()], services: backends.Injected) -> EventTypeExport:
    """Describe the current version of each event type as consumers' generators and documentation pages read it.

    Event types that have only drafts are left out. 422 if the schemas have more than 4 MiB together: then ask for fewer
    with `event_type`.
    """
    if found := type_violations("event_type", query.event_type):
        raise errors.InvalidArgument.of(*found)
    wanted = TypeFilter(query.event_type)
    webhooks: dict[str, Any] = {}
    left, cursor = MAX_BYTES, ""
    while True:
        request = pb.ListEventTypesRequest(page_size=PAGE_SIZE, page_token=cursor)
        page = await services.call(services.catalog.ListEventTypes, request)
        for one in page.event_types:
            if not one.current_version or not wanted.wants(one.name):
                continue
            spec = await _current(one, services)
            left -= len(spec.schema) + len(spec.example)
            if left < 0:
                expected = f"must select fewer event types: their schemas have more than {MAX_BYTES} bytes together"
                raise errors.InvalidArgument.field("event_type", expected)
            webhooks[one.name] = {"post": _operation(one, spec)}
        cursor = page.next_page_token
        if not cursor:
            return EventTypeExport(openapi="3.1.0", info=ExportInfo(title="Events", version="1.0.0"), webhooks=webhooks)


async def _current(event_type: pb.EventType, services: backends.Backends) -> pb.EventTypeVersionSpec:
    """Return the current version, which may not be the newest: that may be a draft."""
    if event_type.latest.number == event_type.current_version:
        return event_type.latest.spec
    request = pb.GetEventTypeVersionRequest(event_type_id=event_type.id, number=event_type.current_version)
    return (await services.call(services.catalog.GetEventTypeVersion, request)).version.spec


def _operation(event_type: pb.EventType, spec: pb.EventTypeVersionSpec) -> dict[str, Any]:
    schema = msgspec.json.decode(spec.schema)
    if isinstance(schema, dict):
        # With an id it is a document of its own, so that its references lead to places within it.
        schema.setdefault("$id", f"urn:event-type:{event_type.id}:{event_type.current_version}")
    content: dict[str, Any] = {"schema": schema}
    if spec.example:
        content["example"] = msgspec.json.decode(spec.example)
    made: dict[str, Any] = {
        "summary": f"{event_type.name}, version {event_type.current_version}",
        "description": event_type.description,
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {"2XX": {"description": "The event is received."}},
    }
    if spec.status == pb.EVENT_TYPE_STATUS_DEPRECATED:
        made["deprecated"] = True
    return made
