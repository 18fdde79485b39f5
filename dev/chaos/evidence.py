"""Reads from Postgres what became of everything."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from uuid import UUID

import asyncpg
import msgspec

from dev.chaos.records import Attempt, Delivery

# The longest way to an end: leases that run out one after the other, and retries up to their limit.
SETTLE_TIMEOUT_SECONDS = 240.0
POLL_SECONDS = 0.5
# Of a database that is left alone.
STATEMENT_TIMEOUT_SECONDS = 120.0

_UNFINISHED = """
SELECT count(*) FROM webhook_deliveries WHERE status IN ('pending', 'scheduled', 'in_flight')
"""
_KEYS = """
SELECT id, substring(payload FROM 1 FOR 64) AS head FROM webhook_events
"""
_DELIVERIES = """
SELECT id, event_id, status::text AS status, reason FROM webhook_deliveries
"""
_ATTEMPTS = """
SELECT delivery_id, number, outcome, status_code,
       extract(epoch FROM started_at)::float8 AS started_at, extract(epoch FROM recorded_at)::float8 AS recorded_at
FROM delivery_attempts ORDER BY delivery_id, number
"""


async def settle(database_url: str, progress: Callable[[int], None]) -> int:
    """Waits until every delivery has ended; answers how many have not after four minutes."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_SECONDS
    connection = await asyncpg.connect(database_url)
    try:
        while True:
            unfinished = int(await connection.fetchval(_UNFINISHED))
            progress(unfinished)
            if not unfinished or time.monotonic() > deadline:
                return unfinished
            await asyncio.sleep(POLL_SECONDS)
    finally:
        await connection.close()


async def read(database_url: str) -> tuple[list[Delivery], dict[UUID, str]]:
    """All deliveries with their attempts, and of each event the key in its payload."""
    # The database's clock is this machine's.
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
    """The key from the beginning of a payload, {"key":"…","filling": …."""
    return str(msgspec.json.decode(head.split(b",", 1)[0] + b"}")["key"])
