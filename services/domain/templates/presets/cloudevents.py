"""CloudEvents 1.0 in structured mode over HTTP (github.com/cloudevents/spec)."""

import base64
from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from services.domain.templates import template
from services.domain.templates.event import Event
from services.domain.templates.template import Rendered

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
# An event without a type has this one, because CloudEvents require a type.
UNTYPED = "webhook.event"


def render(event: Event, _secrets: Mapping[str, str]) -> Rendered:
    """Return an event that is identified by its `source`, the tenant, and its `id`. Its data is not changed."""
    document: dict[str, object] = {
        "specversion": "1.0",
        "id": event.id,
        "source": f"/tenants/{quote(event.tenant_id or 'default', safe='')}",
        "type": event.type or UNTYPED,
        "time": event.time,
        "datacontenttype": event.content_type,
        **_data(event),
    }
    return Rendered(body=msgspec.json.encode(document), content_type=CONTENT_TYPE)


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
