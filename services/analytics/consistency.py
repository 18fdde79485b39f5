"""The check that exactly the unfinished deliveries of history are in the queue, at a bounded cost.

Statements that end a delivery, or bring it back, change both in one transaction, so nothing should ever be found: a
delivery that is pending in history and not in the queue would never be sent. The check goes round the whole history, a
chunk at a time, first through the last hour.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from prometheus_client import Counter

from services.platform import ids
from services.platform.process import background
from services.platform.stores import sql
from services.platform.stores.postgres import Pool

log = structlog.get_logger(__name__)

# So many deliveries are as many as two cores send in that time, and take about 30 ms.
INTERVAL_SECONDS = 15.0
CHUNK = 20_000
_FIRST = UUID(int=0)
_LAST = UUID(int=2**128 - 1)
_queries = sql.Queries("services.analytics")

MISMATCHES = Counter(
    "webhook_queue_mismatches_total", "Deliveries whose row in the queue did not agree with history.", ["kind"]
)
for _kind in ("missing", "orphaned"):
    MISMATCHES.labels(_kind)


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What a chunk came to."""

    last: UUID
    # Pending in history and not in the queue, and in the queue though they are not; at most ten are named.
    missing: int
    orphaned: int
    examples: list[UUID]


class ConsistencyStore:
    """Reads history and the queue in the order of ids. It locks no row."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def check(self, after: UUID, limit: int) -> Checked:
        """Compare the `limit` deliveries that follow this id with the queue; `last` is the greatest id at the end."""
        row = await self._pool.fetchrow(_queries["check_queue"], after, limit, _LAST)
        assert row is not None, "it counts"
        return Checked(**dict(row))


class Check:
    """Goes round and round."""

    def __init__(self, store: ConsistencyStore, *, begin: timedelta = timedelta(hours=1), chunk: int = CHUNK) -> None:
        self._store = store
        self._after = ids.least_at(datetime.now(UTC) - begin)
        self._chunk = chunk

    async def step(self) -> None:
        """Check the next chunk; what is found is counted in every round."""
        found = await self._store.check(self._after, self._chunk)
        self._after = _FIRST if found.last == _LAST else found.last
        MISMATCHES.labels("missing").inc(found.missing)
        MISMATCHES.labels("orphaned").inc(found.orphaned)
        if found.examples:
            log.error(
                "the queue does not agree with the history of deliveries",
                missing=found.missing,
                orphaned=found.orphaned,
                delivery_ids=[str(delivery_id) for delivery_id in found.examples],
            )

    async def run(self) -> None:
        """Check until cancelled."""
        await background.repeat(self.step, interval_seconds=INTERVAL_SECONDS, quiet=True)
