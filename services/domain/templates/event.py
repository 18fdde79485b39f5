"""What a template sees of an event, and of the delivery that it is rendered for."""

import json
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from services.domain.cloudevents import Attributes
from services.domain.templates import template
from services.domain.templates.template import TemplateFailed

# By Content-Encoding, the window bits of zlib.
_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
# A payload that is not JSON, and no text either, is seen with U+FFFD for what is not UTF-8.
_REPLACE = "replace"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is stored. `time` is when it was accepted, as RFC 3339 with milliseconds."""

    id: str
    type: str
    time: str
    content_type: str
    payload: bytes
    tags: Mapping[str, str] = {}
    tenant_id: str = ""
    subscription_id: str = ""
    delivery_id: str = ""
    # The attributes of a CloudEvent (services/domain/cloudevents.py); none of any other event.
    cloudevent: Attributes = {}
    # Of the payload; None: it has none.
    event_version: int | None = None

    @property
    def is_json(self) -> bool:
        """Whether the payload should be JSON."""
        return template.is_json(self.content_type)

    @property
    def data(self) -> Any:
        """The payload: decoded if it is JSON, otherwise its text."""
        if self.is_json:
            try:
                return _decoded(self.payload)
            except (ValueError, RecursionError):
                pass
        return self.payload.decode(errors=_REPLACE).removeprefix("\ufeff")

    def variables(self, secrets: Mapping[str, str]) -> dict[str, Any]:
        """Return the variables of a template."""
        return {
            "event": {
                "id": self.id,
                "type": self.type,
                "time": self.time,
                "content_type": self.content_type,
                "tags": dict(self.tags),
                "data": self.data,
                "cloudevent": dict(self.cloudevent),
            },
            "subscription": {"id": self.subscription_id},
            "delivery": {"id": self.delivery_id},
            "secrets": dict(secrets),
        }


def _decoded(text: bytes) -> Any:
    text = text.removeprefix(b"\xef\xbb\xbf")
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        # A half of a pair of surrogates, as JavaScript writes a cut emoji, is no text that could be sent on.
        whole = json.dumps(json.loads(text), ensure_ascii=False)
        return msgspec.json.decode(whole.encode(errors=_REPLACE))


def decoded(payload: bytes, content_encoding: str | None) -> bytes:
    """Return a payload without its Content-Encoding; TemplateFailed for one that cannot be undone."""
    if not content_encoding or content_encoding.lower() == "identity":
        return payload
    window = _WINDOWS.get(content_encoding.lower())
    if window is None:
        known = "gzip, deflate"
        raise TemplateFailed(f"the payload has Content-Encoding {content_encoding}; templates read {known}")
    decompressor = zlib.decompressobj(window)
    try:
        plain = decompressor.decompress(payload, template.MAX_OUTPUT_BYTES)
    except zlib.error:
        raise TemplateFailed(f"the payload is not {content_encoding}, which its Content-Encoding says") from None
    if decompressor.unconsumed_tail or not decompressor.eof:
        most = template.MAX_OUTPUT_BYTES
        raise TemplateFailed(f"the payload is cut, or has more than {most} bytes without its Content-Encoding")
    return plain


def time_text(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, as everywhere."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
