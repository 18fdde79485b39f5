"""CloudEvents 1.0: what their attributes may be, as they are taken in and sent, and as headers.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md, and its HTTP binding.

An event keeps the attributes that no column has: all but `specversion`, `type`, and `datacontenttype`.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TypeAlias
from urllib.parse import quote, unquote_to_bytes

from services.domain import events
from services.platform import errors

# A Boolean, an Integer, or, of every other type, its text.
Value: TypeAlias = bool | int | str
Attributes: TypeAlias = Mapping[str, Value]

SPECVERSION = "1.0"
# The type of an event that has none, because CloudEvents require one.
UNTYPED = "webhook.event"
PREFIX = "ce-"
MAX_ATTRIBUTES = 40
MAX_NAME_LENGTH = 64
MAX_VALUE_LENGTH = 1024
# Of all names and values of an event together.
MAX_BYTES = 4096
# An extension: the version of the event's type, as event_version of other events.
EVENT_VERSION = "eventversion"
# Those that are kept apart from the others.
COLUMNS = frozenset({"specversion", "type", "datacontenttype", EVENT_VERSION})
REQUIRED = ("id", "source")
NAME = re.compile(rf"[a-z0-9]{{1,{MAX_NAME_LENGTH}}}")
NAME_EXPECTED = f"must be 1 to {MAX_NAME_LENGTH} characters of a-z 0-9"
_LEAST_INTEGER, _GREATEST_INTEGER = -(1 << 31), (1 << 31) - 1
# What a String must not contain: control characters, surrogates, and code points that are no characters.
_NO_CHARACTERS = "".join(chr(plane << 16 | end) for plane in range(17) for end in (0xFFFE, 0xFFFF))
_FORBIDDEN = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_NO_CHARACTERS}]")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,12})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.")
_SPACES = re.compile(r"\s")
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(rb"\\(.)")
# Printable, but for the space, the double quote, and the percent sign (HTTP binding, 3.1.3.2).
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


def violations(attributes: Attributes, named: Callable[[str], str] = str) -> list[errors.Violation]:
    """Return what is wrong with attributes but those of COLUMNS; `named` gives the field of an attribute."""
    if len(attributes) > MAX_ATTRIBUTES:  # of which no others are looked at
        return [errors.Violation(field="attributes", description=f"must have at most {MAX_ATTRIBUTES} entries")]
    found = [
        errors.Violation(field=named(name[:MAX_NAME_LENGTH]), description=why)
        for name, value in attributes.items()
        if (why := _why_not(name, value))
    ]
    found += [
        errors.Violation(field=named(name), description="is required") for name in REQUIRED if name not in attributes
    ]
    if not found and sum(len(name) + len(text(value).encode()) for name, value in attributes.items()) > MAX_BYTES:
        found.append(errors.Violation(field="attributes", description=f"must total at most {MAX_BYTES} bytes"))
    return found


def _why_not(name: str, value: Value) -> str | None:
    if not NAME.fullmatch(name):
        return f"is not a valid name of an attribute: it {NAME_EXPECTED}"
    if isinstance(value, str):
        return _why_no_string(value) or (_CORE[name](value) if name in _CORE else None)
    if name in _CORE:
        return "must be a string"
    in_range = isinstance(value, bool) or _LEAST_INTEGER <= value <= _GREATEST_INTEGER
    return None if in_range else f"must be {_LEAST_INTEGER} to {_GREATEST_INTEGER}"


def _why_no_string(value: str) -> str | None:
    if len(value) > MAX_VALUE_LENGTH:
        return f"must be at most {MAX_VALUE_LENGTH} characters"
    return "must not contain control characters" if _FORBIDDEN.search(value) else None


def _why_no_text(value: str) -> str | None:
    return None if value else "must not be empty"


def _why_no_reference(value: str) -> str | None:
    return "must be a URI or a path, without spaces" if not value or _SPACES.search(value) else None


def _why_no_uri(value: str) -> str | None:
    return None if _SCHEME.match(value) and not _SPACES.search(value) else "must be a URI with a scheme"


def _why_no_time(value: str) -> str | None:
    if _TIME.fullmatch(value):
        try:
            datetime.fromisoformat(value[:19].upper())
        except ValueError:
            pass
        else:
            return None
    return "must be an RFC 3339 time, such as 2026-03-14T15:09:26Z"


_CORE: Mapping[str, Callable[[str], str | None]] = {
    "id": _why_no_text,
    "source": _why_no_reference,
    "subject": _why_no_text,
    "time": _why_no_time,
    "dataschema": _why_no_uri,
}


def key(source: str, identifier: str) -> str:
    """Return the idempotency key of an event, by which searches find it: both, or their digest if they do not fit.

    No source has a space, so that no two events have the same.
    """
    both = f"{source} {identifier}"
    return both if events.is_valid_text(both) else f"sha256 {hashlib.sha256(both.encode()).hexdigest()}"


def text(value: Value) -> str:
    """Return an attribute's value as a String."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def header_value(value: Value) -> str:
    """Return an attribute's value as a header has it: printable ASCII."""
    return quote(text(value), safe=_PLAIN)


def from_header(value: bytes) -> str:
    """Return the value of an attribute in a header. ValueError if it is not UTF-8 once it is decoded."""
    unquoted = _QUOTED.sub(lambda found: _ESCAPED.sub(rb"\1", found[1]), value.strip(b" \t"))
    return unquote_to_bytes(unquoted).decode()


def headers(attributes: Attributes, event_type: str) -> Iterator[tuple[str, str]]:
    """Yield the headers of the binary content mode, without Content-Type, which is `datacontenttype`."""
    yield "ce-specversion", SPECVERSION
    yield "ce-type", header_value(event_type)
    for name, value in attributes.items():
        yield PREFIX + name, header_value(value)


def outgoing(
    attributes: Attributes, *, event_id: str, tenant_id: str, time: str, event_version: int | None = None
) -> Attributes:
    """Return the attributes that an event is sent with: its own if it came as a CloudEvent, and the data's version.

    Any other is identified by its tenant, as the source, and its id.
    """
    sent = attributes or {"id": event_id, "source": f"/tenants/{quote(tenant_id or 'default', safe='')}", "time": time}
    return sent if event_version is None else {**sent, EVENT_VERSION: event_version}


def converted(attributes: Attributes) -> Attributes:
    """Return the attributes of an event whose data was converted, so that `dataschema` is not about it any more."""
    return {name: value for name, value in attributes.items() if name != "dataschema"}
