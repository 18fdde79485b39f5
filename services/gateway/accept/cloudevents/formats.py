"""The three content modes in which CloudEvents come: binary, structured, and batches.

Data keeps its exact bytes, where it is not in base64.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from services.domain import cloudevents, event_versions, events
from services.domain.cloudevents import Value
from services.gateway.accept import envelope
from services.gateway.web import problems, routing
from services.platform import errors
from services.platform.http import json_text
from services.platform.http.json_text import NotJson, RepeatedKey

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
_PREFIX = cloudevents.PREFIX.encode()
_DATA, _DATA_BASE64, _CONTENT_TYPE = "data", "data_base64", "datacontenttype"
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ELEMENTS = msgspec.json.Decoder(envelope.Elements)
_SCALAR: "msgspec.json.Decoder[Value]" = msgspec.json.Decoder(bool | int | str)


class CloudEvent(NamedTuple):
    """A CloudEvent, in whichever mode it came."""

    event_type: str
    content_type: str
    payload: bytes
    # All but those that have a place of their own, and the version of the specification.
    attributes: Mapping[str, Value]
    # 0: it states none.
    event_version: int = 0


def media_type(header: bytes | None) -> str:
    """Return the media type of a Content-Type header, without parameters."""
    return (header or b"").partition(b";")[0].strip().lower().decode("latin-1")


def binary(pairs: Iterable[tuple[bytes, bytes]], content_type: bytes | None, body: bytes) -> CloudEvent:
    """Return the event of headers and a body. Raise WebhookError naming the headers at fault."""
    attributes = _of_headers(pairs)
    if not attributes:
        expected = f"must be {STRUCTURED} or {BATCH}, or the request must have ce-* headers"
        raise problems.UnsupportedMediaType.field("Content-Type", expected)
    if _CONTENT_TYPE in attributes:
        raise errors.InvalidArgument.field(_header(_CONTENT_TYPE), "must be absent: Content-Type has it")
    declared = (content_type or b"").decode("latin-1").strip()
    if declared and not events.is_valid_text(declared):
        raise errors.InvalidArgument.field("Content-Type", events.TEXT_EXPECTED)
    is_other = body and not envelope.is_valid_json(body.removeprefix(json_text.BOM))
    if is_other and not declared:
        declared = envelope.OCTETS
    elif is_other and routing.is_json(declared):
        raise problems.Malformed("the body is not valid JSON, which Content-Type declares")
    return _checked(attributes, declared or routing.JSON, body, _header)


def _of_headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, Value]:
    attributes: dict[str, Value] = {}
    wrong: list[errors.Violation] = []
    for name, value in pairs:
        if not name.startswith(_PREFIX):
            continue
        attribute = name[len(_PREFIX) :].decode("latin-1")
        if attribute in attributes:
            raise problems.RepeatedHeader.field(_header(attribute), "must not appear more than once")
        try:
            attributes[attribute] = cloudevents.from_header(value)
        except ValueError:
            attributes[attribute] = ""
            wrong.append(errors.Violation(field=_header(attribute), description="must be percent-encoded UTF-8"))
    if wrong:
        raise errors.InvalidArgument.of(*wrong)
    return attributes


def structured(text: bytes) -> CloudEvent:
    """Return the event of a JSON object. Raise WebhookError naming the members at fault."""
    members = _members(text)
    attributes: dict[str, Value] = {}
    wrong: list[errors.Violation] = []
    for name, value in members.items():
        if name in (_DATA, _DATA_BASE64):
            continue
        found = _scalar(value)
        if found is not None:
            attributes[name] = found
        elif value != b"null":  # which means that it is not there
            expected = "must be a string, a boolean, or an integer"
            wrong.append(errors.Violation(field=name[: cloudevents.MAX_NAME_LENGTH], description=expected))
    if wrong:
        raise errors.InvalidArgument.of(*wrong)
    content_type = attributes.pop(_CONTENT_TYPE, routing.JSON)
    if not isinstance(content_type, str) or not events.is_valid_text(content_type):
        raise errors.InvalidArgument.field(_CONTENT_TYPE, events.TEXT_EXPECTED)
    return _checked(attributes, content_type, _data(members, content_type), str)


def batch(body: bytes) -> list[bytes]:
    """Return the exact bytes of each event of a JSON array, which `structured` reads."""
    if not body:
        raise problems.Malformed("the request has no body; send a JSON array of CloudEvents")
    try:
        decoded = json_text.decode(_ELEMENTS, body)
    except NotJson as error:
        raise problems.Malformed(f"the body {error}") from None
    except msgspec.ValidationError:
        expected = f"must be an array of at most {envelope.MAX_EVENTS} CloudEvents"
        raise errors.InvalidArgument.field("body", expected) from None
    values = [value for value in msgspec.structs.astuple(decoded) if value is not msgspec.UNSET]
    return json_text.elements(b'{"events":%b}' % body, values)


def _header(attribute: str) -> str:
    return cloudevents.PREFIX + attribute


def _members(text: bytes) -> Mapping[str, bytes]:
    if not text:
        raise problems.Malformed("the request has no body; send a CloudEvent as a JSON object")
    try:
        decoded = json_text.decode(_MEMBERS, text)
        if not decoded:
            return {}
        if len(decoded) > cloudevents.MAX_ATTRIBUTES + len(cloudevents.COLUMNS) + 1:
            raise errors.InvalidArgument.field("attributes", f"must be at most {cloudevents.MAX_ATTRIBUTES}")
        return json_text.members(text, decoded)
    except RepeatedKey:
        raise problems.Malformed("the CloudEvent has an attribute twice") from None
    except NotJson as error:
        raise problems.Malformed(f"the CloudEvent {error}") from None
    except msgspec.ValidationError:
        raise errors.InvalidArgument.field("body", "must be a CloudEvent: a JSON object") from None


def _scalar(value: bytes) -> Value | None:
    try:
        return json_text.decode(_SCALAR, value)
    except (NotJson, msgspec.ValidationError):
        return None


def _data(members: Mapping[str, bytes], content_type: str) -> bytes:
    """Return the data: the exact bytes of a JSON value, the text of a string if it is no JSON, or decoded bytes."""
    given, encoded = members.get(_DATA), members.get(_DATA_BASE64)
    if encoded is not None and encoded != b"null":
        if given is not None:
            raise errors.InvalidArgument.field(_DATA_BASE64, "cannot be combined with data")
        found = _scalar(encoded)
        try:
            return base64.b64decode(found if isinstance(found, str) else "!", validate=True)
        except (binascii.Error, ValueError):
            raise errors.InvalidArgument.field(_DATA_BASE64, "must be a string in base64") from None
    if given is None:
        return b""
    if routing.is_json(content_type):
        return given
    found = _scalar(given)
    if not isinstance(found, str):
        raise errors.InvalidArgument.field(_DATA, f"must be a string if datacontenttype is {content_type}")
    return found.encode(errors="replace")


def _checked(
    attributes: dict[str, Value], content_type: str, payload: bytes, field: Callable[[str], str]
) -> CloudEvent:
    """Return the event of all its attributes; raise InvalidArgument. `field` gives what an attribute came in."""
    version, event_type = attributes.pop("specversion", None), attributes.pop("type", None)
    stated = attributes.pop(cloudevents.EVENT_VERSION, None)
    event_version = 0 if stated is None else event_versions.number(stated)
    found = []
    if version != cloudevents.SPECVERSION:
        why = "is required" if version is None else f'must be "{cloudevents.SPECVERSION}"'
        found.append(errors.Violation(field=field("specversion"), description=why))
    if not isinstance(event_type, str) or not events.is_valid_type(event_type):
        why = "is required" if event_type is None else events.TYPE_EXPECTED
        found.append(errors.Violation(field=field("type"), description=why))
    if event_version is None:
        found.append(
            errors.Violation(field=field(cloudevents.EVENT_VERSION), description=event_versions.NUMBER_EXPECTED)
        )
    found += cloudevents.violations(attributes, field)
    if found:
        raise errors.InvalidArgument.of(*found)
    assert isinstance(event_type, str), "it was checked"
    return CloudEvent(event_type, content_type, payload, attributes, event_version or 0)
