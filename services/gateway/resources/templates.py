"""Templates: what one makes of an event, before a subscription has it."""

from typing import Any

import msgspec
from fastapi import APIRouter
from pydantic import ConfigDict, Field

from protos.webhook.v1 import ingest_pb2
from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain import events
from services.domain.templates import template
from services.gateway.resources import models
from services.gateway.resources.subscriptions import parts
from services.gateway.resources.subscriptions.models import TemplateSecrets
from services.gateway.web import backends, openapi
from services.gateway.web.routing import JsonRoute
from services.platform import errors
from services.platform.auth import roles
from services.platform.auth.roles import PortalCapability

router = APIRouter(
    prefix="/api/v1/templates",
    tags=["subscriptions"],
    route_class=JsonRoute,
    strict_content_type=False,  # a body without a Content-Type is JSON
)

_EVENT_EXAMPLE: dict[str, Any] = {"event_type": "order.created", "payload": {"order": 42, "total": 9.90}}
_EXAMPLE: dict[str, Any] = {"template": parts.TEMPLATE_EXAMPLE, "event": _EVENT_EXAMPLE}
_ONE_EVENT = "give an event or an event_id, and not both"


class TemplateEvent(models.Request):
    """An event that is made up."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EVENT_EXAMPLE]})

    event_type: str | None = Field(None, description="Absent or null: it has no type.", examples=["order.created"])
    content_type: str = Field(
        "application/json", min_length=1, max_length=events.MAX_TEXT_LENGTH, description="Type of the payload."
    )
    payload: Any = Field(
        description="JSON; a string if `content_type` is not JSON.", examples=[_EVENT_EXAMPLE["payload"]]
    )
    tags: dict[str, str] | None = Field(None, max_length=events.MAX_TAGS, description="Absent or null: none.")


class TemplatePreviewBody(models.Request):
    """A template, and the event to try it with."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [_EXAMPLE, {"template": {"preset": "slack"}, "event_id": models.EXAMPLE_EVENT_ID}]
        }
    )

    template: parts.TemplateBody | None = Field(
        None, description="Absent or null: the template of the subscription `subscription_id`."
    )
    template_secrets: TemplateSecrets | None = Field(
        None,
        description=("Values of secrets. For those that are absent, and for the stored ones, the output has `***`."),
        json_schema_extra={"writeOnly": True},
    )
    event: TemplateEvent | None = Field(None, description="An event; or give `event_id`.")
    event_id: models.Uuid | None = Field(None, description="A stored event.", examples=[None])
    subscription_id: models.Uuid | None = Field(
        None,
        description="The subscription whose template is tried if there is no `template`.",
        examples=[None],
    )


class TemplatePreview(models.Answer):
    """What would be sent, or why nothing would be."""

    body: str | None = Field(
        description="What would be sent; null if the template failed.", examples=['{"text": "Order 42: 9.9 €"}']
    )
    content_type: str | None = Field(
        description="Its Content-Type; null if the template failed.", examples=["application/json"]
    )
    headers: dict[str, str] = Field(description="Headers that the template adds.", examples=[{}])
    error: str | None = Field(description="Why the template failed; null if it did not.", examples=[None])
    line: int | None = Field(
        description="The line of the source where it failed; null if that is not known.", examples=[None]
    )
    secret_names: list[str] = Field(description="Names of the secrets that the template uses.", examples=[[]])


@router.post(
    "/preview",
    operation_id="preview_template",
    summary="Preview a template",
    response_description="What would be sent, or why nothing would be.",
    responses=openapi.problems(*openapi.WITH_BODY, 404, described={410: "The event was erased (`EVENT_ERASED`)."}),
)
async def preview_template(body: TemplatePreviewBody, services: backends.Injected) -> TemplatePreview:
    """Render a template from an event, without storing or sending anything.

    A template that fails is a response with `error`, not an error. Stored secrets are never used.
    """
    request = pb.PreviewTemplateRequest(
        template=None if body.template is None else pb.Template(**body.template.model_dump(exclude_none=True)),
        template_secrets=body.template_secrets,
        event=await _event(body, services),
        subscription_id=body.subscription_id or "",
    )
    answer = await services.call(services.subscriptions.PreviewTemplate, request)
    failed = bool(answer.error)
    return TemplatePreview(
        body=None if failed else answer.body.decode(errors="replace"),
        content_type=answer.content_type or None,
        headers=dict(answer.headers),
        error=answer.error or None,
        line=answer.line if answer.HasField("line") else None,
        secret_names=list(answer.secret_names),
    )


async def _event(body: TemplatePreviewBody, services: backends.Backends) -> pb.TemplateEvent:
    """Return the event of a request: its own, or the stored one, whose payload the caller may see."""
    if (body.event is None) is (body.event_id is None):
        raise errors.InvalidArgument.field("event", _ONE_EVENT)
    if body.event is not None:
        return pb.TemplateEvent(
            event_type=body.event.event_type or "",
            content_type=body.event.content_type,
            payload=_payload(body.event),
            tags=body.event.tags or {},
        )
    answer = await services.call(services.ingest.GetEvent, ingest_pb2.GetEventRequest(event_id=body.event_id or ""))
    stored = answer.event
    if stored.payload_withheld:
        raise roles.missing(PortalCapability.PAYLOADS)
    return pb.TemplateEvent(
        id=stored.id,
        event_type=stored.event_type,
        content_type=stored.content_type,
        content_encoding=stored.content_encoding,
        payload=stored.payload,
        tags=stored.tags,
        time=stored.created_at,
    )


def _payload(event: TemplateEvent) -> bytes:
    if template.is_json(event.content_type):
        return msgspec.json.encode(event.payload)
    if not isinstance(event.payload, str):
        raise errors.InvalidArgument.field("event.payload", "must be a string if content_type is not JSON")
    return event.payload.encode(errors="replace")
