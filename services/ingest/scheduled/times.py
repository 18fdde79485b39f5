"""When an event becomes due, and for how long it may be delivered: what an item says, and the id that follows from it.

A scheduled event has an id of the millisecond in which it is due, so that it belongs to the partition of that day. The
id follows from the item's own: a repeated call makes the same one.
"""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from protos.webhook.v1 import ingest_pb2
from services.domain import limits
from services.platform import errors, ids

_NANOS = 1_000_000_000
_NANOS_PER_MILLISECOND = 1_000_000
DELIVER_AT_EXPECTED = f"must be at most {limits.DELAY_SECONDS.most:,} seconds (30 days) ahead"


class Due(NamedTuple):
    """What becomes of an event: at once, or later."""

    # Of the event: that of the item, or the one that follows from it.
    event_id: UUID
    # None: at once.
    at: datetime | None
    # For how long after that it may be delivered. None: as long as any other.
    within_seconds: int | None


def due(item: ingest_pb2.IngestItem, event_id: UUID) -> Due:
    """Return when the event of an item is due; InvalidArgument, which names the field, for what it may not be."""
    within = item.deliver_within_seconds
    if not (within or item.delay_seconds or item.HasField("deliver_at")):  # most are so
        return Due(event_id, None, None)
    if within and (found := limits.DELIVER_WITHIN_SECONDS.violations("deliver_within_seconds", within)):
        raise errors.InvalidArgument.of(*found)
    accepted_ms = ids.milliseconds(event_id)
    due_ms = accepted_ms
    if item.HasField("deliver_at"):
        if item.delay_seconds:
            raise errors.InvalidArgument.field("delay_seconds", "cannot be combined with deliver_at")
        due_ms = _deliver_at(item, accepted_ms)
    elif item.delay_seconds:
        if found := limits.DELAY_SECONDS.violations("delay_seconds", item.delay_seconds):
            raise errors.InvalidArgument.of(*found)
        due_ms += item.delay_seconds * 1000
    if due_ms <= accepted_ms:
        return Due(event_id, None, within or None)
    later = ids.at_millisecond(event_id, due_ms)
    return Due(later, ids.moment_of(later), within or None)


def _deliver_at(item: ingest_pb2.IngestItem, accepted_ms: int) -> int:
    """Return the millisecond that does not begin before an item's deliver_at."""
    seconds, nanos = item.deliver_at.seconds, item.deliver_at.nanos
    if not 0 <= nanos < _NANOS:
        raise errors.InvalidArgument.field("deliver_at", "must be a valid timestamp")
    due_ms = seconds * 1000 - (-nanos // _NANOS_PER_MILLISECOND)
    if due_ms - accepted_ms > limits.DELAY_SECONDS.most * 1000:
        raise errors.InvalidArgument.field("deliver_at", DELIVER_AT_EXPECTED)
    return due_ms


def described(item: ingest_pb2.IngestItem) -> list[bytes]:
    """Return what is part of the request that an idempotency key stands for; nothing for an item without times."""
    if not (item.HasField("deliver_at") or item.delay_seconds or item.deliver_within_seconds):
        return []
    at = f"{item.deliver_at.seconds}.{item.deliver_at.nanos}" if item.HasField("deliver_at") else ""
    return [f"due {at} {item.delay_seconds} {item.deliver_within_seconds}".encode()]
