"""Headers that a subscription adds to its requests: which there may be.

Their values may be credentials, and are treated as such: nobody gets to read them but the receiver.
"""

import re
from collections.abc import Mapping

from services.platform import errors

MAX_HEADERS = 20
MAX_NAME_LENGTH = 64
MAX_VALUE_LENGTH = 1024
# As they are sent: with a colon, a space, and the end of the line.
MAX_BYTES = 4096
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_VALUE = re.compile(r"[!-~](?:[ -~]{0,1022}[!-~])?")
# How a request is carried is the sender's to say (RFC 9110, 7.6.1), and what it is, ours.
_CARRIAGE = frozenset(
    {
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings"),
        *("host", "expect", "content-length", "content-encoding", "accept-encoding"),
    }
)
_OURS = frozenset({"content-type", "user-agent", "x-event-type", "traceparent", "tracestate"})
_NOT_ALPHANUMERIC = re.compile(r"[^0-9a-z]")
_PREFIXES = ("proxy-", "webhook-", "x-webhook-", "x-hub-signature")


def violations(field: str, values: Mapping[str, str]) -> list[errors.Violation]:
    """Return what is wrong with these values, by name. No value is repeated."""
    if len(values) > MAX_HEADERS:
        return [errors.Violation(field=field, description=f"must have at most {MAX_HEADERS} headers")]
    found = []
    seen: set[str] = set()
    for name, value in values.items():
        lower = name.lower()
        if not _NAME.fullmatch(name):
            why = f"{name[:MAX_NAME_LENGTH]!r} must be a name of 1 to {MAX_NAME_LENGTH} characters of an HTTP token"
            found.append(errors.Violation(field=field, description=why))
        elif _is_ours(lower):
            why = "is set by this service; '-', '_' and other punctuation count as the same"
            found.append(errors.Violation(field=f"{field}.{name}", description=why))
        elif lower in seen:
            found.append(
                errors.Violation(field=f"{field}.{name}", description="appears more than once, in different case")
            )
        elif not _VALUE.fullmatch(value):
            why = f"must be 1 to {MAX_VALUE_LENGTH} printable ASCII characters, with no space around them"
            found.append(errors.Violation(field=f"{field}.{name}", description=why))
        seen.add(lower)
    if not found and sum(len(name) + len(value) + 4 for name, value in values.items()) > MAX_BYTES:
        found.append(errors.Violation(field=field, description=f"must have at most {MAX_BYTES} bytes in all"))
    return found


def _is_ours(lower: str) -> bool:
    """Return whether a receiver can take the header for one that this service sets.

    CGI, and what follows it (WSGI, PHP, Rack), writes a name in capitals with an underscore for a hyphen, and some
    servers for other punctuation: `webhook_id` then replaces `webhook-id`, or is joined to it.
    """
    plain = _NOT_ALPHANUMERIC.sub("-", lower)
    return plain in _CARRIAGE or plain in _OURS or plain.startswith(_PREFIXES)
