"""What becomes of deliveries, told in Redis while somebody watches, and only then.

A stream of Redis is both the gate and the way: those who watch keep it from expiring, and a worker adds to it only if
it is there. What it holds lets a watcher who comes back go on where it was, for some seconds. Nothing depends on it:
what is told here is in Postgres.
"""

from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec

from services.domain.states import DeliveryStatus
from services.platform.stores.redis import Key, script
from services.platform.stores.redis_primary import PREFIX

STREAM = Key(f"{PREFIX}live")
FIELD = b"b"
# Without a watcher it is gone after this time.
OPEN_MILLISECONDS = 10_000
# Older entries are dropped. An entry has up to ENTRY_OUTCOMES, in about 100 bytes each.
MAX_ENTRIES = 150
ENTRY_OUTCOMES = 400


# An id as it is told, which encoding makes a text of, and as it is read: a process makes no object of each in between.
Id = TypeVar("Id", UUID, str)


class Told(msgspec.Struct, Generic[Id], frozen=True, array_like=True, gc=False):
    """What a worker recorded of a delivery."""

    tenant_id: str
    delivery_id: Id
    event_id: Id
    subscription_id: Id
    event_type: str
    status: DeliveryStatus
    attempt_count: int
    # Of its last attempt; "" if there was none.
    outcome: str
    status_code: int | None
    duration_ms: int | None
    # Unix time.
    recorded_at: float


class Batch(msgspec.Struct, Generic[Id], frozen=True, array_like=True, gc=False):
    """An entry of the stream."""

    told: list[Told[Id]]
    # By tenant, what was recorded besides, and is left out because it was too much.
    dropped: dict[str, int] = {}


@script
def open_stream(stream_key: Key, milliseconds: int) -> Any:
    """Keep the stream for milliseconds, and return the id of its last entry.

    One that was not there begins with an empty entry, so that there is always a place to go on from.

    if redis.call('EXISTS', stream_key) == 0 then
        redis.call('XADD', stream_key, '*', 'b', '')
    end
    redis.call('PEXPIRE', stream_key, milliseconds)
    return redis.call('XREVRANGE', stream_key, '+', '-', 'COUNT', 1)[1][1]
    """
