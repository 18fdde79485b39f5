"""The ids of objects, and of requests.

Those of objects are UUIDv7 (RFC 9562): they order by time, and a look-up by id touches one partition. A request has one
in its answer, in its problem document, in every log line about it, and in the metadata of the gRPC calls that it makes:
the caller's own X-Request-Id when it is short and printable, else a new one.
"""

import contextvars
import hashlib
import random
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import uuid_utils.compat

from services.platform import errors

_VERSION = 7
_MILLISECONDS_SHIFT = 80
_DAY_SECONDS = 86_400
_DAY_MILLISECONDS = _DAY_SECONDS * 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_LAST_MILLISECOND = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
MAX_CLOCK_DIFFERENCE_SECONDS = 300


def new() -> UUID:
    """Create a UUIDv7."""
    return uuid_utils.compat.uuid7()


def parse(field: str, text: str) -> UUID:
    """Parse a UUID in the canonical form; InvalidArgument naming `field` otherwise."""
    try:
        parsed = UUID(text)
    except ValueError:
        parsed = None
    if parsed is None or str(parsed) != text.lower():
        raise errors.InvalidArgument.field(field, "must be a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057")
    return parsed


def seconds(value: UUID) -> float:
    """Return the Unix time in seconds of a UUIDv7."""
    return (value.int >> _MILLISECONDS_SHIFT) / 1000


def moment_of(value: UUID) -> datetime:
    """Return the time of a UUIDv7."""
    return _EPOCH + timedelta(milliseconds=value.int >> _MILLISECONDS_SHIFT)


def milliseconds(value: UUID) -> int:
    """Return the Unix time of a UUIDv7 in milliseconds."""
    return value.int >> _MILLISECONDS_SHIFT


def at_millisecond(value: UUID, moment_ms: int) -> UUID:
    """Return the same UUIDv7 as if it had been created in that millisecond of Unix time."""
    return UUID(int=moment_ms << _MILLISECONDS_SHIFT | value.int & (1 << _MILLISECONDS_SHIFT) - 1)


def day(value: UUID) -> int:
    """Return the UTC day that a UUIDv7 belongs to, counted from 1970."""
    return (value.int >> _MILLISECONDS_SHIFT) // _DAY_MILLISECONDS


def end_of_day(value: UUID) -> datetime:
    """Return the end of the UTC day that a UUIDv7 belongs to, from which its retention counts."""
    return datetime.fromtimestamp(seconds(value) // _DAY_SECONDS * _DAY_SECONDS + _DAY_SECONDS, UTC)


def least_at(moment: datetime) -> UUID:
    """Return the least UUIDv7 of this moment, rounded up to the millisecond; before 1970, the very first.

    The last millisecond that a time can have is not rounded up.
    """
    milliseconds = min(-((_EPOCH - moment) // _MILLISECOND), _LAST_MILLISECOND)
    return UUID(int=max(milliseconds, 0) << _MILLISECONDS_SHIFT)


def before_millisecond(value: UUID) -> UUID:
    """Return the last id before all of the millisecond of a UUIDv7; no object has it."""
    return UUID(int=max((value.int >> _MILLISECONDS_SHIFT << _MILLISECONDS_SHIFT) - 1, 0))


def after_millisecond(value: UUID) -> UUID:
    """Return the first id after all of the millisecond of a UUIDv7; no object has it."""
    return UUID(int=(value.int >> _MILLISECONDS_SHIFT) + 1 << _MILLISECONDS_SHIFT)


def shifted(value: UUID, later_seconds: float) -> UUID:
    """Return the same UUIDv7 as if it had been created that much later."""
    return UUID(int=value.int + (round(later_seconds * 1000) << _MILLISECONDS_SHIFT))


def check_fresh(field: str, value: UUID, now: float) -> None:
    """InvalidArgument unless `value` is a UUIDv7 within 5 minutes of this Unix time."""
    if value.version != _VERSION or abs(seconds(value) - now) > MAX_CLOCK_DIFFERENCE_SECONDS:
        raise errors.InvalidArgument.field(field, "must be a UUIDv7 made within 5 minutes of the service's clock")


def of_delivery(event_id: UUID, subscription_id: UUID) -> UUID:
    """Return the id of an event's delivery to a subscription: always the same, so a repeated insert is a no-op.

    The first 64 bits (time, version, 12 random bits) are the event's, so the deliveries of an event are
    neighbors in the primary key and need no extra index; the rest is a hash of both ids.
    """
    digest = hashlib.blake2b(event_id.bytes + subscription_id.bytes, digest_size=8).digest()
    tail = bytes(((digest[0] & 0x3F) | 0x80,)) + digest[1:]
    return UUID(bytes=event_id.bytes[:8] + tail)


def of_replay(event_id: UUID, subscription_id: UUID, job_id: UUID) -> UUID:
    """Return the id of the delivery that a job makes of an event: always the same, and no other's."""
    digest = hashlib.blake2b(event_id.bytes + subscription_id.bytes + job_id.bytes, digest_size=8).digest()
    tail = bytes(((digest[0] & 0x3F) | 0x80,)) + digest[1:]
    return UUID(bytes=event_id.bytes[:8] + tail)


def delivery_range(event_id: UUID) -> tuple[UUID, UUID]:
    """Return the least and the greatest id that a delivery of this event can have.

    Events that one process creates in a millisecond share them: within a millisecond ids count up from a random number.
    """
    head = event_id.bytes[:8]
    return UUID(bytes=head + b"\x00" * 8), UUID(bytes=head + b"\xff" * 8)


REQUEST_ID_HEADER = "x-request-id"
MAX_REQUEST_ID_LENGTH = 128

# The id of the request that this code works for; None outside of one.
CURRENT_REQUEST_ID: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)

# No space and nothing that could break a line of a log.
_SANE = re.compile(f"[!-~]{{1,{MAX_REQUEST_ID_LENGTH}}}")


def new_request_id() -> str:
    """Return a new id. It has to be unique, not secret, and costs each request a quarter of a microsecond."""
    return f"{random.getrandbits(128):032x}"


def sane_request_id(value: str | bytes | None) -> str | None:
    """Return the id that a caller sent, or None if it is too long or has other characters than visible ASCII."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return value if value is not None and _SANE.fullmatch(value) else None
