"""ETag and If-Match (RFC 9110, 8.8.3 and 13.1.1): a change that is made only to what the caller has seen."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Header
from pydantic import WithJsonSchema

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.platform import errors

_LIST = re.compile(r'(?:[ \t]*,)*[ \t]*(?:W/)?"[!#-~]*"[ \t]*(?:,[ \t]*(?:(?:W/)?"[!#-~]*"[ \t]*)?)*')
_STRONG = re.compile(r'(W/)?"([!#-~]*)"')

MAX_LENGTH = 1024

# A list, which may come in several lines.
IfMatch = Annotated[
    list[str] | None,
    # Generators know no headers that are lists.
    WithJsonSchema({"type": "string"}),
    Header(
        alias="If-Match",
        description=(
            "Change it only if its `ETag` is still this one; otherwise 412. Several may be listed; `*` means any. "
            "Absent: change it unconditionally."
        ),
    ),
]

# What an operation that returns a subscription says of its response.
DESCRIBED: dict[str, Any] = {
    "headers": {
        "ETag": {
            "description": "Changes with every change to the subscription, but not with its breaker.",
            "schema": {"type": "string"},
            "example": '"7"',
        }
    }
}


def of(message: pb.Subscription) -> str:
    """Return the ETag of a subscription."""
    return f'"{message.status.etag}"'


def wanted(lines: Sequence[str] | None) -> Sequence[str]:
    """Return the etags that a request accepts; none means any.

    Raise InvalidArgument when the header is malformed, Outdated when it names weak ones only, which never match.
    """
    if lines is None:
        return ()
    if_match = ", ".join(lines)
    if if_match.strip() == "*":
        return ()
    if len(if_match) > MAX_LENGTH or not _LIST.fullmatch(if_match):
        raise errors.InvalidArgument.field("If-Match", 'must be the ETag of a response, such as "7", or *')
    strong = [etag for weak, etag in _STRONG.findall(if_match) if not weak]
    if not strong:
        raise errors.Outdated("If-Match: a weak ETag never matches; send the ETag exactly as returned")
    return strong
