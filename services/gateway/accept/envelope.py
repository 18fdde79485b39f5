"""Cut a payload's exact bytes out of a request body. A payload is checked, but never parsed and serialized again."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec

from services.domain import event_versions, events, limits
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
_NO_TAGS: Mapping[str, str] = {}
OCTETS = "application/octet-stream"

Decoded = TypeVar("Decoded")


class Payload(msgspec.Struct, frozen=True):
    """The payload that a body asks to deliver."""

    payload: bytes
    content_type: str
    # Whether it was the value of {"payload": …}, so that what was signed is more than the payload.
    enveloped: bool


class Times(NamedTuple):
    """When an event becomes due, and for how long it may be delivered; null and 0 for what is not stated."""

    deliver_at: datetime | None = None
    delay_seconds: int = 0
    deliver_within_seconds: int = 0


class PublishedEvent(NamedTuple):
    """An event for every subscription to its type."""

    event_type: str
    payload: bytes
    tags: Mapping[str, str]
    # Only of one in a batch. Empty: it has none.
    idempotency_key: str = ""
    # None: it states none.
    times: Times | None = None
    # 0: it states none.
    event_version: int = 0


# As many as a call to ingest takes.
MAX_EVENTS = 1_000
# Of a larger batch that is refused the members are not looked at: there may be a million of them.
MAX_EXPLAINED_BYTES = 64 << 10


class _TaggedEnvelope(msgspec.Struct, forbid_unknown_fields=True):
    event_type: msgspec.Raw
    payload: msgspec.Raw
    event_version: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    tags: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    deliver_at: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    delay_seconds: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    deliver_within_seconds: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _BatchedEnvelope(_TaggedEnvelope, forbid_unknown_fields=True):
    idempotency_key: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


# An array that is refused at its first element too many, however many follow: a list would be decoded to its end.
_OPTIONAL: Any = msgspec.Raw | msgspec.UnsetType
Elements = msgspec.defstruct(
    "Elements",
    [(f"at_{place}", _OPTIONAL, msgspec.UNSET) for place in range(MAX_EVENTS)],
    array_like=True,
    forbid_unknown_fields=True,
)
_BatchEnvelope = msgspec.defstruct("_BatchEnvelope", [("events", Elements)], forbid_unknown_fields=True)


class _EventEnvelope(msgspec.Struct, forbid_unknown_fields=True):
    event_type: str
    payload: msgspec.Raw
    event_version: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    tags: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    deliver_at: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    delay_seconds: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    deliver_within_seconds: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def is_plain(self) -> bool:
        """Whether it has nothing but a type and a payload."""
        return (
            self.event_version is msgspec.UNSET
            and self.tags is msgspec.UNSET
            and self.deliver_at is msgspec.UNSET
            and self.delay_seconds is msgspec.UNSET
            and self.deliver_within_seconds is msgspec.UNSET
        )


_EVENT = msgspec.json.Decoder(_EventEnvelope)
_TAGGED = msgspec.json.Decoder(_TaggedEnvelope)
_TAGS = msgspec.json.Decoder(dict[str, str] | None)
_BATCHED = msgspec.json.Decoder(_BatchedEnvelope)
_BATCH = msgspec.json.Decoder(_BatchEnvelope)
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


def event(body: bytes, content_type: bytes | None) -> PublishedEvent:
    """Return the event of {"event_type", "payload"}, in any order, with "tags" and times if there are any.

    Raise UnsupportedMediaType if another type than JSON is declared, Malformed if it is not JSON or repeats a key, and
    InvalidArgument naming the fields that are unknown, missing or wrong.
    """
    _check_json(body, content_type, '{"event_type", "payload"}')
    try:
        decoded = _decode(_EVENT, body)
    except msgspec.ValidationError:
        raise _not_an_event(body, "body", _EventEnvelope) from None
    events.check_type("event_type", decoded.event_type)
    try:
        if not decoded.is_plain:
            exact = _members(body, _decode(_TAGGED, body))
            tags = _tags(exact["tags"]) if "tags" in exact else _NO_TAGS
            times, version = _times(exact), _event_version(exact)
            return PublishedEvent(decoded.event_type, exact["payload"], tags, times=times, event_version=version)
        type_first = _key(body) == "event_type"
        before, after = (STRING_THEN_KEY, END) if type_first else (FIRST_KEY, STRING_THEN_END)
        return PublishedEvent(decoded.event_type, json_text.cut(body, len(decoded.payload), before, after), _NO_TAGS)
    except RepeatedKey as error:
        raise _malformed(error) from None


def batch(body: bytes, content_type: bytes | None) -> list[bytes]:
    """Return the exact bytes of each event in {"events": […]}, which `batched` reads.

    Raise as `event` does.
    """
    _check_json(body, content_type, '{"events": [{"event_type", "payload"}]}')
    try:
        decoded = _decode(_BATCH, body)
    except msgspec.ValidationError:
        raise _not_a_batch(body) from None
    (listed,) = msgspec.structs.astuple(decoded)
    values = [value for value in msgspec.structs.astuple(listed) if value is not msgspec.UNSET]
    if not values:
        raise errors.InvalidArgument.field("events", _EVENTS_EXPECTED)
    try:
        return json_text.elements(body, values)
    except RepeatedKey as error:
        raise _malformed(error) from None


def batched(text: bytes) -> PublishedEvent:
    """Return an event of a batch. Raise Malformed if it repeats a key, InvalidArgument naming the fields at fault."""
    try:
        decoded = _decode(_BATCHED, text)
    except msgspec.ValidationError:
        raise _not_an_event(text, "event", _BatchedEnvelope) from None
    try:
        exact = _members(text, decoded)
    except RepeatedKey as error:
        raise problems.Malformed(f"the event {error}") from None
    event_type = _string("event_type", decoded.event_type)
    events.check_type("event_type", event_type)
    key = ""
    if decoded.idempotency_key is not msgspec.UNSET and bytes(decoded.idempotency_key) != b"null":
        key = _string("idempotency_key", decoded.idempotency_key)
        if not events.is_valid_text(key):
            raise errors.InvalidArgument.field("idempotency_key", events.TEXT_EXPECTED)
    tags = _tags(exact["tags"]) if "tags" in exact else _NO_TAGS
    return PublishedEvent(event_type, exact["payload"], tags, key, _times(exact), _event_version(exact))


def is_valid_json(body: bytes) -> bool:
    """Return whether `body` is a JSON text in UTF-8."""
    try:
        json_text.decode(_ANY, body)
    except NotJson:
        return False
    return True


def _members(text: bytes, decoded: msgspec.Struct) -> dict[str, bytes]:
    values = msgspec.structs.asdict(decoded)
    return json_text.members(text, {name: value for name, value in values.items() if value is not msgspec.UNSET})


def _tags(value: bytes) -> Mapping[str, str]:
    try:
        tags = _TAGS.decode(value) or _NO_TAGS
    except (msgspec.MsgspecError, UnicodeError):
        raise errors.InvalidArgument.field("tags", 'must be an object of strings, such as {"order": "42"}') from None
    if violations := events.tag_violations("tags", tags):
        raise errors.InvalidArgument.of(*violations)
    return tags


_MOMENT = msgspec.json.Decoder(Annotated[datetime, msgspec.Meta(tz=True)] | None)
_MOMENT_EXPECTED = "must be a time with its offset, such as 2026-01-30T12:00:00Z"
_NUMBER = msgspec.json.Decoder(int | None)


def _times(exact: Mapping[str, bytes]) -> Times | None:
    moment = None
    if "deliver_at" in exact:
        try:
            moment = _MOMENT.decode(exact["deliver_at"])
            moment = moment and moment.astimezone(UTC)
        except (msgspec.MsgspecError, UnicodeError, OverflowError):  # in UTC it may be of no year from 1 to 9999
            raise errors.InvalidArgument.field("deliver_at", _MOMENT_EXPECTED) from None
    delay_seconds = _seconds(exact, "delay_seconds", limits.DELAY_SECONDS)
    within_seconds = _seconds(exact, "deliver_within_seconds", limits.DELIVER_WITHIN_SECONDS)
    if moment is None and not delay_seconds and not within_seconds:
        return None
    return Times(moment, delay_seconds, within_seconds)


def _event_version(exact: Mapping[str, bytes]) -> int:
    return _number(exact, "event_version", event_versions.NUMBER, "must be a whole number")


def _seconds(exact: Mapping[str, bytes], field: str, allowed: limits.Range) -> int:
    return _number(exact, field, allowed, "must be a whole number of seconds")


def _number(exact: Mapping[str, bytes], field: str, allowed: limits.Range, expected: str) -> int:
    if field not in exact:
        return 0
    try:
        value = _NUMBER.decode(exact[field])
    except (msgspec.MsgspecError, UnicodeError):
        raise errors.InvalidArgument.field(field, expected) from None
    if found := allowed.violations(field, value):
        raise errors.InvalidArgument.of(*found)
    return value or 0


def _content_type(header: bytes) -> str:
    if header == _JSON_HEADER:
        return JSON
    text = header.decode("latin-1").strip()
    if not events.is_valid_text(text):
        raise errors.InvalidArgument.field("Content-Type", events.TEXT_EXPECTED)
    return text


def _check_json(body: bytes, content_type: bytes | None, expected: str) -> None:
    if content_type and not is_json(_content_type(content_type)):
        raise problems.UnsupportedMediaType.field("Content-Type", "must be application/json")
    if not body:
        raise problems.Malformed(f"the request has no body; send {expected}")


def _string(field: str, value: msgspec.Raw) -> str:
    try:
        return msgspec.json.decode(value, type=str)
    except (msgspec.MsgspecError, UnicodeError):
        raise errors.InvalidArgument.field(field, "must be a string") from None


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


_EVENTS_EXPECTED = f"must be an array of 1 to {MAX_EVENTS} events"


def _not_a_batch(body: bytes) -> errors.InvalidArgument:
    if len(body) > MAX_EXPLAINED_BYTES:
        return errors.InvalidArgument.field("body", f'must be {{"events": […]}} with 1 to {MAX_EVENTS} events')
    found = _member_violations(body, "body", ("events",), ("events",))
    return found or errors.InvalidArgument.field("events", _EVENTS_EXPECTED)


def _not_an_event(body: bytes, whole: str, kind: type[msgspec.Struct]) -> errors.InvalidArgument:
    """Return what is wrong with the members of an event, which is `whole` of what was sent."""
    found = _member_violations(body, whole, kind.__struct_fields__, ("event_type", "payload"))
    return found or errors.InvalidArgument.field("event_type", "must be a string")


def _member_violations(
    body: bytes, whole: str, known: Sequence[str], required: Sequence[str]
) -> errors.InvalidArgument | None:
    try:
        members = _decode(_MEMBERS, body)
    except msgspec.ValidationError:
        names = ", ".join(f'"{name}"' for name in required)
        return errors.InvalidArgument.field(whole, f"must be the object {{{names}}}")
    unknown = [name for name in members if name not in known]
    found = [
        *((name, problems.unknown_field(name, known)) for name in unknown[: errors.MAX_VIOLATIONS]),
        *((name, "is required") for name in required if name not in members),
    ]
    if not found:
        return None
    violations = [errors.Violation(field=name, description=description) for name, description in found]
    return errors.InvalidArgument.of(*violations, more=max(0, len(unknown) - errors.MAX_VIOLATIONS))
