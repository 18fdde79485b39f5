r"""Cuts a payload's exact bytes out of a request body. A payload is checked, never parsed and written again.

The body is decoded with the payload as msgspec.Raw, which keeps the bytes and checks the syntax of what it
skips, but not that it is UTF-8, which is checked here. Two things msgspec does not do the way this service
needs them, both rare, are dealt with around it: it takes the last of duplicate keys, and it refuses lone
surrogate escapes ("\ud83d", as JavaScript writes a cut emoji), which RFC 8259 lets pass.
"""

import re
from typing import TypeVar

import msgspec

from services.common import errors
from services.gateway import problems, suggestions

JSON = "application/json"
_JSON_HEADER = JSON.encode()
OCTETS = "application/octet-stream"
MAX_CONTENT_TYPE_LENGTH = 255

_EVENT_TYPE = re.compile(r"[A-Za-z0-9._/:-]{1,128}")
EVENT_TYPE_EXPECTED = "must be 1 to 128 characters of A-Z a-z 0-9 . _ - / :"

_SPACE = rb"[ \t\r\n]*+"
_STRING = rb'"(?:[^"\\]|\\.)*+"'
_FIRST_KEY = re.compile(rb"%b\{%b(%b)%b:%b" % (_SPACE, _SPACE, _STRING, _SPACE, _SPACE), re.DOTALL)
# A member whose value is a string, and the key of the next.
_STRING_THEN_KEY = re.compile(
    rb"%b\{%b%b%b:%b%b%b,%b%b%b:%b"
    % (_SPACE, _SPACE, _STRING, _SPACE, _SPACE, _STRING, _SPACE, _SPACE, _STRING, _SPACE, _SPACE),
    re.DOTALL,
)
_END = re.compile(rb"%b\}%b" % (_SPACE, _SPACE))
_STRING_THEN_END = re.compile(
    rb"%b,%b%b%b:%b%b%b\}%b" % (_SPACE, _SPACE, _STRING, _SPACE, _SPACE, _STRING, _SPACE, _SPACE), re.DOTALL
)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")

Decoded = TypeVar("Decoded")


class Payload(msgspec.Struct, frozen=True):
    """What a body asks to deliver."""

    payload: bytes
    content_type: str
    # Whether it was the value of {"payload": …}, so that what was signed is more than the payload.
    enveloped: bool


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    payload: msgspec.Raw


class _EventEnvelope(msgspec.Struct, forbid_unknown_fields=True):
    event_type: str
    payload: msgspec.Raw


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_EVENT = msgspec.json.Decoder(_EventEnvelope)
_ANY = msgspec.json.Decoder(msgspec.Raw)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def webhook(body: bytes, content_type: bytes | None) -> Payload:
    """The payload of a webhook: the value of an object whose only key is "payload", else the body itself.

    A body without a Content-Type is application/json when it is that, and else application/octet-stream.
    Malformed when it is empty, declared as JSON and not JSON, or has "payload" twice.
    """
    if not body:
        raise problems.Malformed('the request has no body; an event without data is {"payload": null}')
    declared = _content_type(content_type) if content_type else None
    try:
        raw = _decode(_ENVELOPE, body).payload
    except msgspec.ValidationError:  # JSON as far as it was read, and something else than the envelope
        raw = None
    except problems.Malformed:
        if declared is None or not is_json(declared):
            return Payload(body, declared or OCTETS, enveloped=False)
        raise
    if raw is not None:
        return Payload(_cut(body, len(raw), _FIRST_KEY, _END), JSON, enveloped=True)
    if declared is not None and not is_json(declared):
        return Payload(body, declared, enveloped=False)
    try:
        _decode(_ANY, body)
    except problems.Malformed:
        if declared is None:
            return Payload(body, OCTETS, enveloped=False)
        raise
    return Payload(body, declared or JSON, enveloped=False)


def event(body: bytes, content_type: bytes | None) -> tuple[str, bytes]:
    """The type and the payload of {"event_type", "payload"}, in either order and with nothing else.

    UnsupportedMediaType when something else than JSON is declared, Malformed when it is not JSON or has a key
    twice, InvalidArgument naming the fields that are unknown, missing or wrong.
    """
    if content_type and not is_json(_content_type(content_type)):
        raise problems.UnsupportedMediaType.field("Content-Type", "must be application/json")
    if not body:
        raise problems.Malformed('the request has no body; it takes {"event_type", "payload"}')
    try:
        decoded = _decode(_EVENT, body)
    except msgspec.ValidationError:
        raise _not_an_event(body) from None
    check_event_type("event_type", decoded.event_type)
    type_first = _key(body) == "event_type"
    before, after = (_STRING_THEN_KEY, _END) if type_first else (_FIRST_KEY, _STRING_THEN_END)
    return decoded.event_type, _cut(body, len(decoded.payload), before, after)


def is_json(content_type: str) -> bool:
    """Whether a content type is application/json or ends in +json."""
    if content_type == JSON:
        return True
    essence = content_type.partition(";")[0].strip().lower()
    return essence == JSON or (essence.endswith("+json") and "/" in essence)


def is_valid_json(body: bytes) -> bool:
    """Whether `body` is a JSON text in UTF-8."""
    try:
        _decode(_ANY, body)
    except problems.Malformed:
        return False
    return True


def check_event_type(field: str, text: str) -> None:
    """InvalidArgument unless `text` is a valid event type."""
    if not _EVENT_TYPE.fullmatch(text):
        raise errors.InvalidArgument.field(field, EVENT_TYPE_EXPECTED)


def _content_type(header: bytes) -> str:
    if header == _JSON_HEADER:
        return JSON
    text = header.decode("latin-1").strip()
    if not (text.isascii() and text.isprintable() and 0 < len(text) <= MAX_CONTENT_TYPE_LENGTH):
        expected = f"must be 1 to {MAX_CONTENT_TYPE_LENGTH} printable ASCII characters"
        raise errors.InvalidArgument.field("Content-Type", expected)
    return text


def _decode(decoder: "msgspec.json.Decoder[Decoded]", body: bytes) -> Decoded:
    """What the decoder makes of it; Malformed when it is not JSON, ValidationError when it is another shape.

    Raw values of what is returned have the right lengths, but their bytes may differ from the body's.
    """
    try:
        if not body.isascii():
            body.decode()
        return decoder.decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        # The same text with spaces for lone surrogates: as long, and JSON if and only if this one is.
        replaced = _SURROGATE.sub(rb"\\u0020", body)
        if replaced != body:
            return _decode(decoder, replaced)
        raise problems.Malformed(f"the body is not valid JSON: {error}") from None
    except UnicodeDecodeError as error:
        raise problems.Malformed(f"the body is not valid JSON: byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise problems.Malformed("the body is nested too deeply") from None


def _cut(body: bytes, size: int, before: "re.Pattern[bytes]", after: "re.Pattern[bytes]") -> bytes:
    """The `size` bytes that stand between `before` and `after`; Malformed when a key stands there twice.

    The body is known to be an object with the right keys. Were one there twice, the last value, whose size
    this is, could not reach from the first one's place to the end.
    """
    begin = before.match(body)
    if begin is None or not after.fullmatch(body, begin.end() + size):
        raise problems.Malformed("the body has a key twice")
    return body[begin.end() : begin.end() + size]


def _key(body: bytes) -> str | None:
    """The first key of an object."""
    first = _FIRST_KEY.match(body)
    return None if first is None else msgspec.json.decode(first[1], type=str)


def _not_an_event(body: bytes) -> errors.InvalidArgument:
    try:
        members = _decode(_MEMBERS, body)
    except msgspec.ValidationError:
        return errors.InvalidArgument.field("body", 'must be the object {"event_type", "payload"}')
    known = ("event_type", "payload")
    unknown = [name for name in members if name not in known]
    found = [
        *((name, suggestions.unknown(name, known)) for name in unknown[: errors.MAX_VIOLATIONS]),
        *((name, "is required") for name in known if name not in members),
    ]
    if not found:
        found = [("event_type", "must be a string")]
    violations = [errors.Violation(field=name, description=description) for name, description in found]
    return errors.InvalidArgument.of(*violations, more=max(0, len(unknown) - errors.MAX_VIOLATIONS))
