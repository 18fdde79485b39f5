"""What a run records - sends, requests, faults - and what the database contains at its end.

All times are seconds of this machine's monotonic clock.
"""

import asyncio
import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn
from uuid import UUID

import asyncpg
import msgspec

from dev.chaos.schedule import Kind


@dataclass(kw_only=True, slots=True)
class Send:
    """One event on its way into the service: its key, and the response to each try."""

    key: str
    # How many subscriptions want it, and how many others a filter keeps it from.
    endpoints: int
    kept_away: int = 0
    # Whether it goes to an endpoint where deliveries wait for each other.
    slow: bool = False
    # When it is due; None: at once.
    due_at: float | None = None
    # For each try: start, seconds until the response, status (0: no response).
    tries: list[tuple[float, float, int]] = field(default_factory=list)
    event_id: UUID | None = None

    @property
    def accepted(self) -> bool:
        """Return whether a try got 202."""
        return self.event_id is not None

    @property
    def answered_at(self) -> float:
        """Return the time of the last response."""
        begun_at, seconds, _ = self.tries[-1]
        return begun_at + seconds

    @property
    def ready_at(self) -> float:
        """Return when its deliveries could begin."""
        return self.answered_at if self.due_at is None else max(self.answered_at, self.due_at)


@dataclass(kw_only=True, slots=True)
class Request:
    """One request at the receiver. `status` is None if no response was started."""

    delivery_id: UUID
    key: str
    # A form of events.py.
    form: str
    begun_at: float
    # As its header says, and whether the body is valid by the schema of that.
    version: str | None = None
    fits: bool = True
    # Of the body.
    digest: bytes = b""
    status: int | None = None
    # When the last byte of the response was handed to the system; for a flood, the last byte that a worker reads.
    answered_at: float | None = None
    # By a consumer: answered once its result was recorded.
    pulled: bool = False

    @property
    def succeeded(self) -> bool:
        """Return whether it got a complete 2xx response."""
        return self.answered_at is not None and self.status is not None and 200 <= self.status < 300  # noqa: PLR2004


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A fault as it happened, from its start until the part was ready again."""

    kind: Kind
    subject: str
    began_at: float
    ended_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """A breaker that was not closed, as far as it was seen: from its opening until it closed or was seen last."""

    subscription_id: UUID
    began_at: float
    ended_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """A row of delivery_attempts."""

    number: int
    outcome: str
    status_code: int | None
    started_at: float
    recorded_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A row of webhook_deliveries with its attempts, or one of delivery_queue that history does not know."""

    id: UUID
    event_id: UUID
    subscription_id: UUID
    status: str
    reason: str | None
    attempts: Sequence[Attempt]
    # Whether it is in the queue.
    queued: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Everything that the verdict is based on."""

    sends: Sequence[Send]
    requests: Sequence[Request]
    spans: Sequence[Span]
    openings: Sequence[Opening]
    deliveries: Sequence[Delivery]
    # For every stored event, the key in its payload.
    event_keys: Mapping[UUID, str]
    # The subscriptions with a filter, those with a template, and those that are pinned to the older version.
    filtered: frozenset[UUID] = frozenset()
    templated: frozenset[UUID] = frozenset()
    pinned: frozenset[UUID] = frozenset()
    # How often the conversion to that changed.
    conversions: int = 0


# The longest time in which no delivery may end while some wait and none waits for a probe: leases that expire one after
# the other.
SETTLE_TIMEOUT_SECONDS = 240.0
POLL_SECONDS = 0.5
WATCH_SECONDS = 1.0
# The timeout of a query when nothing disturbs the database.
STATEMENT_TIMEOUT_SECONDS = 120.0
_UNFINISHED = """
SELECT (SELECT count(*) FROM webhook_deliveries d FULL JOIN delivery_queue q ON q.delivery_id = d.id
        WHERE d.status = 'pending' OR q.delivery_id IS NOT NULL)
     + (SELECT count(*) FROM event_expansions) + (SELECT count(*) FROM scheduled_events) AS unfinished,
       (SELECT greatest(0, extract(epoch FROM max(probe_at) - now()))::float8
        FROM subscription_health h WHERE h.breaker <> 'closed'
         AND EXISTS (SELECT FROM delivery_queue q WHERE q.subscription_id = h.subscription_id)) AS probe_seconds
"""
_NOT_CLOSED = """
SELECT subscription_id, extract(epoch FROM breaker_since)::float8 AS since
FROM subscription_health WHERE breaker <> 'closed'
"""
_KEYS = """
SELECT id, substring(payload FROM 1 FOR 64) AS head FROM webhook_events
"""
_DELIVERIES = """
SELECT coalesce(d.id, q.delivery_id) AS id, coalesce(d.event_id, q.event_id) AS event_id,
       coalesce(d.subscription_id, q.subscription_id) AS subscription_id,
       coalesce(d.status::text, 'unknown') AS status, d.reason, q.delivery_id IS NOT NULL AS queued
FROM webhook_deliveries d FULL JOIN delivery_queue q ON q.delivery_id = d.id
"""
_ATTEMPTS = """
SELECT delivery_id, number, outcome, status_code,
       extract(epoch FROM started_at)::float8 AS started_at, extract(epoch FROM recorded_at)::float8 AS recorded_at
FROM delivery_attempts ORDER BY delivery_id, number
"""


async def settle(database_url: str, progress: Callable[[int], None]) -> int:
    """Wait until every delivery has ended; return how many have not when none ended for four minutes.

    These count from the next probe while a breaker is open.
    """
    least, deadline = math.inf, 0.0
    connection = await asyncpg.connect(database_url)
    try:
        while True:
            unfinished, probe_seconds = (await connection.fetch(_UNFINISHED))[0]
            progress(unfinished)
            if unfinished < least or probe_seconds:
                least = min(least, unfinished)
                deadline = time.monotonic() + (probe_seconds or 0.0) + SETTLE_TIMEOUT_SECONDS
            if not unfinished or time.monotonic() > deadline:
                return int(unfinished)
            await asyncio.sleep(POLL_SECONDS)
    finally:
        await connection.close()


@dataclass(kw_only=True)
class Breakers:
    """Records when breakers are not closed."""

    # Those that closed, and by subscription those that have not.
    closed: list[Opening] = field(default_factory=list)
    _latest: dict[UUID, Opening] = field(default_factory=dict)

    @property
    def openings(self) -> Sequence[Opening]:
        """Return all of them."""
        return [*self.closed, *self._latest.values()]

    async def watch(self, database_url: str) -> NoReturn:
        """Look each second until cancelled, as far as Postgres is there to be asked."""
        while True:
            with contextlib.suppress(Exception):  # whatever asyncpg makes of a Postgres that is killed
                connection = await asyncpg.connect(database_url, timeout=WATCH_SECONDS, command_timeout=WATCH_SECONDS)
                try:
                    while True:
                        self._see(await connection.fetch(_NOT_CLOSED), time.monotonic())
                        await asyncio.sleep(WATCH_SECONDS)
                finally:
                    connection.terminate()
            await asyncio.sleep(WATCH_SECONDS)

    def _see(self, rows: Sequence[asyncpg.Record], now: float) -> None:
        # The database uses this machine's clock.
        offset = time.time() - now
        seen = {
            name: Opening(
                subscription_id=name,
                began_at=self._latest[name].began_at if name in self._latest else since - offset,
                ended_at=now,
            )
            for name, since in rows
        }
        gone = self._latest.keys() - seen.keys()
        self.closed += [replace(self._latest[name], ended_at=now) for name in gone]
        self._latest = seen


async def read(database_url: str) -> tuple[list[Delivery], dict[UUID, str]]:
    """Return all deliveries with their attempts, and for each event the key in its payload."""
    # The database uses this machine's clock.
    offset = time.time() - time.monotonic()
    connection = await asyncpg.connect(database_url, command_timeout=STATEMENT_TIMEOUT_SECONDS)
    try:
        attempts: defaultdict[UUID, list[Attempt]] = defaultdict(list)
        for row in await connection.fetch(_ATTEMPTS):
            attempts[row["delivery_id"]].append(
                Attempt(
                    number=row["number"],
                    outcome=row["outcome"],
                    status_code=row["status_code"],
                    started_at=row["started_at"] - offset,
                    recorded_at=row["recorded_at"] - offset,
                )
            )
        deliveries = [
            Delivery(**row, attempts=attempts.get(row["id"], ())) for row in await connection.fetch(_DELIVERIES)
        ]
        keys = {row["id"]: _key(row["head"]) for row in await connection.fetch(_KEYS)}
    finally:
        await connection.close()
    return deliveries, keys


def _key(head: bytes) -> str:
    """Return the key from the beginning of a payload, {"key":"…","filling": …."""
    return str(msgspec.json.decode(head.split(b",", 1)[0] + b"}")["key"])
