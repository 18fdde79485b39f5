"""CloudEvents 1.0 over HTTP (github.com/cloudevents/spec), in structured and in binary mode."""

import base64
from collections.abc import Mapping

import msgspec

from services.domain import cloudevents
from services.domain.cloudevents import Attributes
from services.domain.templates import template
from services.domain.templates.event import Event
from services.domain.templates.template import Rendered

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"


def render(event: Event, _secrets: Mapping[str, str]) -> Rendered:
    """Return an event as a JSON document. Data is not changed."""
    document: dict[str, object] = {
        "specversion": cloudevents.SPECVERSION,
        "type": event.type or cloudevents.UNTYPED,
        **_attributes(event),
        "datacontenttype": event.content_type,
        **_data(event),
    }
    return Rendered(body=msgspec.json.encode(document), content_type=CONTENT_TYPE)


def render_binary(event: Event, _secrets: Mapping[str, str]) -> Rendered:
    """Return an event whose body is the data, and whose headers are the attributes."""
    headers = dict(cloudevents.headers(_attributes(event), event.type or cloudevents.UNTYPED))
    return Rendered(body=event.payload, content_type=event.content_type, headers=headers)


def _attributes(event: Event) -> Attributes:
    return cloudevents.outgoing(
        event.cloudevent,
        event_id=event.id,
        tenant_id=event.tenant_id,
        time=event.time,
        event_version=event.event_version,
    )


def _data(event: Event) -> dict[str, object]:
    """Return the payload: as it is if it is JSON, as text, or in base64 if it is neither."""
    if template.is_json(event.content_type):
        payload = event.payload.removeprefix(b"\xef\xbb\xbf")
        try:
            payload.decode()
            msgspec.json.decode(payload)
        except (ValueError, RecursionError):
            pass
        else:
            return {"data": msgspec.Raw(payload)}
    elif template.media_type(event.content_type).startswith("text/"):
        try:
            return {"data": event.payload.decode()}
        except UnicodeDecodeError:
            pass
    return {"data_base64": base64.b64encode(event.payload).decode()}
