"""What more than one service does to deliveries in Postgres, counts of them, and how new ones are handed over.

A delivery that has not ended has a row in `delivery_queue`, which alone says what its state is. The statement that
ends it deletes that row, and then updates `webhook_deliveries`, the history, so that the lock of a queue's row
protects the history's, too. Statements on history bound its ids (BETWEEN least AND greatest), for a generic plan does
not prune partitions by `= ANY`.

Where ingest and a worker are in one process, ingest hands a new delivery over: the worker keeps a slot for it, the
statement that stores it gives it a lease of that worker, and returns what a claim would. No doorbell is rung, and
nothing is claimed. The token never leaves the process: in a message it would be a right that a late or doubled one
could use again.
"""

import contextlib
import enum
import time
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from prometheus_client import Counter

from services.domain.states import DeliveryReason, DeliveryStatus
from services.platform.process.lifecycle import Process
from services.platform.stores import postgres, sql

# The signal for dispatchers: something is due that nobody rings for, or will be in so many seconds.
DUE = "due"
# The signal for workers: somebody waits for a test event to be sent.
ENDPOINT_TESTS = "endpoint_tests"
DELIVERIES_ENDED = Counter("webhook_deliveries_ended_total", "Deliveries that reached a final state.", ["status"])

SQL = sql.Queries("services.domain")


class Destination(enum.StrEnum):
    """How the deliveries of a subscription get to their receiver: `subscriptions.destination`."""

    # Workers send them to its target_url.
    HTTP = "http"
    # Its consumers pull them.
    PULL = "pull"


# The place before all of a subscription's deliveries in the queue: pending ones come first.
_FIRST = (False, datetime(1970, 1, 1, tzinfo=UTC))


async def mark_due(pool: postgres.Pool, delivery_ids: Sequence[UUID], *, token: UUID | None = None) -> set[UUID]:
    """Make deliveries due at once, so that the dispatcher rings for them; return those that are.

    They are pending or, with a token, leased under it: the caller owns that lease and sends nothing under it.
    """
    if not delivery_ids:
        return set()
    return {row["id"] for row in await pool.fetch(SQL["mark_due"], delivery_ids, token)}


async def end_waiting(
    connection: postgres.Connection,
    delivery_ids: Sequence[UUID],
    *,
    status: DeliveryStatus,
    reason: DeliveryReason,
    in_flight: bool = False,
) -> list[UUID]:
    """End deliveries that wait, or also those that are `in_flight`; return which did."""
    if not delivery_ids:
        return []
    least, greatest = min(delivery_ids), max(delivery_ids)
    rows = await connection.fetch(SQL["end_waiting"], delivery_ids, least, greatest, status, reason, in_flight)
    return [row["id"] for row in rows]


async def cancel_waiting(pool: postgres.Pool, subscription_id: UUID, *, limit: int) -> int:
    """Cancel the waiting deliveries of a deleted subscription, at most `limit` in a transaction; return how many.

    Each transaction goes on where the one before ended: while a snapshot is open Postgres keeps what was deleted, and
    would pass all of it again.
    """
    place = _FIRST
    total = 0

    async def cancel() -> tuple[list[UUID], tuple[bool, datetime] | None]:
        async with pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(SQL["lock_waiting"], subscription_id, *place, limit)
            found = [row["id"] for row in rows]
            await end_waiting(
                connection, found, status=DeliveryStatus.CANCELLED, reason=DeliveryReason.SUBSCRIPTION_DELETED
            )
        return found, (rows[-1]["scheduled"], rows[-1]["due_at"]) if rows else None

    while True:
        found, last = await postgres.repeat_rolled_back(cancel)
        # From here: what led to it is committed, so that the whole call cannot be repeated.
        DELIVERIES_ENDED.labels(DeliveryStatus.CANCELLED).inc(len(found))
        total += len(found)
        if last is None:
            return total
        place = last


# -- handing over --


class Content(Protocol):
    """What a delivery takes of its event."""

    @property
    def event_type(self) -> str | None:
        """The event's type, if it has one."""
        ...

    @property
    def content_type(self) -> str:
        """The payload's type."""
        ...

    @property
    def content_encoding(self) -> str | None:
        """None: the payload is not encoded."""
        ...

    @property
    def payload(self) -> bytes:
        """The bytes to deliver."""
        ...

    @property
    def traceparent(self) -> str | None:
        """Of the span in which the event is accepted, if it is traced."""
        ...

    @property
    def sender_context(self) -> str | None:
        """What its sender said of it besides the payload, as it is stored."""
        ...


class Leased(NamedTuple):
    """A delivery that was stored under a lease: the columns that a claim takes of its subscription, and its event."""

    row: Any
    content: Content


@dataclass(kw_only=True, slots=True)
class Lease:
    """A worker's slots for deliveries that are about to be stored."""

    worker: "NearWorker"
    token: UUID
    seconds: float
    # Each has a slot. Those that may not be sent when they are stored are stored without a lease.
    delivery_ids: Collection[UUID]
    # The rows that were stored under it, and the moment before that on the monotonic clock; of the last try.
    rows: Sequence[Any] = ()
    asked_at: float = 0.0

    def begin(self) -> None:
        """Note that a try to store begins; one before was rolled back."""
        self.rows, self.asked_at = (), time.monotonic()


class NearWorker(Protocol):
    """A worker of this process, as ingest sees it."""

    def reserve(self, wanted: Iterable[tuple[UUID, UUID]]) -> Lease | None:
        """Keep slots for deliveries, given as subscription and delivery, that have room; None if there is none.

        Each lease ends in `send` or `free`.
        """
        ...

    def send(self, lease: Lease, stored: Sequence[Leased]) -> bool:
        """Send what was committed under a lease, and free the other slots.

        False if the worker has stopped: nothing is sent under the lease then.
        """
        ...

    def free(self, lease: Lease) -> None:
        """Free the slots of a lease; nothing is sent under it."""
        ...


class Handover:
    """Where ingest finds the worker of its process, while there is one that takes deliveries."""

    def __init__(self) -> None:
        self.worker: NearWorker | None = None


@contextlib.asynccontextmanager
async def handover(process: Process) -> AsyncIterator[Handover]:
    """Yield the place where the roles of a process meet."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Handover]:
        yield Handover()

    async with process.whole.share(Handover, opened) as shared:
        yield shared
