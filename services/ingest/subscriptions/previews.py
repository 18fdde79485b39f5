"""What a template makes of an event that somebody shows: nothing is stored or sent, and no stored secret is used."""

from datetime import UTC, datetime

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain import events
from services.domain.templates import event as events_of_templates
from services.domain.templates import presets
from services.domain.templates import template as rules
from services.domain.templates.event import Event
from services.domain.templates.renderer import Renderer
from services.domain.templates.template import Template, TemplateFailed
from services.ingest.subscriptions import templates
from services.ingest.subscriptions.record import Subscription
from services.platform import errors, ids
from services.platform.grpc import conversion

# Of a secret that the request does not have.
HIDDEN = "***"


async def preview(
    request: pb.PreviewTemplateRequest, tenant_id: str, stored: Subscription | None, renderer: Renderer
) -> pb.PreviewTemplateResponse:
    """Return what the template makes, or why it fails. Raise InvalidArgument naming each field at fault."""
    template = _template(request, stored)
    event = _event(request, tenant_id)
    found = templates.violations(template) + templates.secret_violations(request.template_secrets)
    if found:
        raise errors.InvalidArgument.of(*found)
    try:
        if template.preset is not None:
            used = list(presets.PRESETS[template.preset].secrets)
        else:
            used = list(await renderer.check(template, tenant_id))
        known = {*used, *(stored.template_secret_names if stored else ())}
        secrets = {**dict.fromkeys(known, HIDDEN), **request.template_secrets}
        made = await renderer.render(template, event, secrets)
    except TemplateFailed as failed:
        error = f"{failed.message} near {failed.near!r}" if failed.near else failed.message
        return pb.PreviewTemplateResponse(error=error, line=failed.line)
    return pb.PreviewTemplateResponse(
        body=made.body, content_type=made.content_type, headers=made.headers, secret_names=used
    )


def _template(request: pb.PreviewTemplateRequest, stored: Subscription | None) -> Template:
    if request.HasField("template"):
        return templates.of_message(request.template)
    if stored is None or stored.template is None:
        raise errors.InvalidArgument.field("template", "is required unless subscription_id has one")
    return Template.of_text(stored.template)


def _event(request: pb.PreviewTemplateRequest, tenant_id: str) -> Event:
    """Return the event; InvalidArgument for what no event can be."""
    asked = request.event
    found = events.tag_violations("event.tags", asked.tags)
    if asked.event_type and not events.is_valid_type(asked.event_type):
        found.append(errors.Violation(field="event.event_type", description=events.TYPE_EXPECTED))
    if asked.content_type and not events.is_valid_text(asked.content_type):
        found.append(errors.Violation(field="event.content_type", description=events.TEXT_EXPECTED))
    if len(asked.payload) > rules.MAX_OUTPUT_BYTES:
        why = f"must be at most {rules.MAX_OUTPUT_BYTES} bytes"
        found.append(errors.Violation(field="event.payload", description=why))
    if found:
        raise errors.InvalidArgument.of(*found)
    moment = conversion.moment("event.time", asked.time) if asked.HasField("time") else datetime.now(UTC)
    try:
        payload = events_of_templates.decoded(asked.payload, asked.content_encoding)
    except TemplateFailed as failed:
        raise errors.InvalidArgument.field("event.content_encoding", str(failed)) from None
    return Event(
        id=str(ids.parse("event.id", asked.id) if asked.id else ids.new()),
        type=asked.event_type,
        time=events_of_templates.time_text(moment),
        content_type=asked.content_type or events.DEFAULT_CONTENT_TYPE,
        payload=payload,
        tags=dict(asked.tags),
        tenant_id=tenant_id,
        subscription_id=request.subscription_id or str(ids.new()),
        delivery_id=str(ids.new()),
    )
