"""Cut a payload's exact bytes out of a request body. A payload is checked, but never parsed and serialized again."""

from typing import TypeVar

import msgspec

from services.domain import events
from services.gateway.web import problems
from services.gateway.web.routing import JSON, is_json
from services.platform import errors
from services.platform.http import json_text
from services.platform.http.json_text import (
    END,
    FIRST_KEY,
    STRING_THEN_END,
    STRING_THEN_KEY,
    NotJson,
    RepeatedKey,
    TooDeep,
)

_JSON_HEADER = JSON.encode()
OCTETS = "application/octet-stream"

Decoded = TypeVar("Decoded")


class Payload(msgspec.Struct, frozen=True):
    """The payload that a body asks to deliver."""

    payload: bytes
    content_type: str
    # Whether it was the value of {"payload": …}, so that what was signed is more than the payload.
    enveloped: bool


class _EventEnvelope(msgspec.Struct, forbid_unknown_fields=True):
    event_type: str
    payload: msgspec.Raw


_EVENT = msgspec.json.Decoder(_EventEnvelope)
_ANY = msgspec.json.Decoder(msgspec.Raw)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def webhook(body: bytes, content_type: bytes | None, *, encoded: bool = False) -> Payload:
    """Return the payload of a webhook: the value of an object whose only key is "payload", else the body itself.

    A body without a Content-Type is application/json if it is valid JSON, else application/octet-stream. A body that is
    empty, begins with a byte order mark, is `encoded` (compressed), or is nested too deeply to be checked is the
    payload itself. Raise Malformed if it is declared as JSON and is not JSON, or repeats "payload".
    """
    declared = _content_type(content_type) if content_type else None
    if encoded or not body:
        return Payload(body, declared or OCTETS, enveloped=False)
    marked = body.startswith(json_text.BOM)
    try:
        payload = None if marked else json_text.enveloped_payload(body)
        if payload is not None:
            return Payload(payload, JSON, enveloped=True)
        if declared is None or is_json(declared):
            json_text.decode(_ANY, body.removeprefix(json_text.BOM))
    except RepeatedKey as error:
        raise _malformed(error) from None
    except TooDeep as error:
        # Its syntax cannot be checked, so it is kept unchecked. The value of an envelope cannot be cut out either.
        if not marked and _key(body) == "payload":
            raise _malformed(error) from None
        return Payload(body, declared or OCTETS, enveloped=False)
    except NotJson as error:
        if declared is not None and is_json(declared):
            raise _malformed(error) from None
        return Payload(body, declared or OCTETS, enveloped=False)
    return Payload(body, declared or JSON, enveloped=False)


def event(body: bytes, content_type: bytes | None) -> tuple[str, bytes]:
    """Return the type and the payload of {"event_type", "payload"}, in either order and with nothing else.

    Raise UnsupportedMediaType if another type than JSON is declared, Malformed if it is not JSON or repeats a key, and
    InvalidArgument naming the fields that are unknown, missing or wrong.
    """
    if content_type and not is_json(_content_type(content_type)):
        raise problems.UnsupportedMediaType.field("Content-Type", "must be application/json")
    if not body:
        raise problems.Malformed('the request has no body; send {"event_type", "payload"}')
    try:
        decoded = _decode(_EVENT, body)
    except msgspec.ValidationError:
        raise _not_an_event(body) from None
    events.check_type("event_type", decoded.event_type)
    type_first = _key(body) == "event_type"
    before, after = (STRING_THEN_KEY, END) if type_first else (FIRST_KEY, STRING_THEN_END)
    try:
        return decoded.event_type, json_text.cut(body, len(decoded.payload), before, after)
    except RepeatedKey as error:
        raise _malformed(error) from None


def is_valid_json(body: bytes) -> bool:
    """Return whether `body` is a JSON text in UTF-8."""
    try:
        json_text.decode(_ANY, body)
    except NotJson:
        return False
    return True


def _content_type(header: bytes) -> str:
    if header == _JSON_HEADER:
        return JSON
    text = header.decode("latin-1").strip()
    if not events.is_valid_text(text):
        raise errors.InvalidArgument.field("Content-Type", events.TEXT_EXPECTED)
    return text


def _decode(decoder: "msgspec.json.Decoder[Decoded]", body: bytes) -> Decoded:
    """Decode the body; Malformed when it is not JSON, ValidationError when it has another shape."""
    try:
        return json_text.decode(decoder, body)
    except NotJson as error:
        raise _malformed(error) from None


def _key(body: bytes) -> str | None:
    first = FIRST_KEY.match(body)
    return None if first is None else json_text.string(msgspec.Raw(first[1]))


def _malformed(error: NotJson) -> problems.Malformed:
    return problems.Malformed(f"the body {error}")


def _not_an_event(body: bytes) -> errors.InvalidArgument:
    try:
        members = _decode(_MEMBERS, body)
    except msgspec.ValidationError:
        return errors.InvalidArgument.field("body", 'must be the object {"event_type", "payload"}')
    known = ("event_type", "payload")
    unknown = [name for name in members if name not in known]
    found = [
        *((name, problems.unknown_field(name, known)) for name in unknown[: errors.MAX_VIOLATIONS]),
        *((name, "is required") for name in known if name not in members),
    ]
    if not found:
        found = [("event_type", "must be a string")]
    violations = [errors.Violation(field=name, description=description) for name, description in found]
    return errors.InvalidArgument.of(*violations, more=max(0, len(unknown) - errors.MAX_VIOLATIONS))
