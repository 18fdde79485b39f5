"""Request ids: one per HTTP request, in its answer, in its problem document, and in every log line about it.

A caller's own X-Request-Id is kept when it is short and printable; else one is made. It is passed on to the services in
the metadata of gRPC calls under the same name.
"""

import contextvars
import random
import re

HEADER = "x-request-id"
MAX_LENGTH = 128

# The id of the request that this code works for; None outside of one.
CURRENT: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)

# No space and nothing that could break a line of a log.
_SANE = re.compile(f"[!-~]{{1,{MAX_LENGTH}}}")


def new() -> str:
    """Return a new id. It has to be unique, not secret, and costs each request a quarter of a microsecond."""
    return f"{random.getrandbits(128):032x}"


def sane(value: str | bytes | None) -> str | None:
    """Return the id that a caller sent, or None if it is too long or has other characters than visible ASCII."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return value if value is not None and _SANE.fullmatch(value) else None
