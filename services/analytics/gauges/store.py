"""What the gauges ask of Postgres. Nothing of it locks a row, or reads a table of deliveries."""

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from services.platform.stores import sql
from services.platform.stores.postgres import Pool

# Those that grow. All others are small, and part of the database's size.
TABLES = (
    "webhook_events",
    "webhook_deliveries",
    "delivery_attempts",
    "delivery_stats",
    "idempotency_keys",
    "subscriptions",
    "subscription_health",
)

_queries = sql.Queries("services.analytics.gauges")


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table with all its partitions; sizes with indexes and TOAST."""

    name: str
    partitions: int
    bytes: float
    # None where there are no partitions.
    largest_bytes: float | None
    # By the estimates of the server's statistics.
    live_rows: float
    dead_rows: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """Sizes, and totals that only grow until the server's statistics are reset."""

    database_bytes: float
    # Blocks found in the server's memory, and read from elsewhere.
    cache: float
    disk: float
    committed: float
    rolled_back: float
    wal_bytes: float
    max_sessions: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Sessions:
    """Connections by state."""

    by_state: dict[str, int]
    oldest_transaction_seconds: float


class Name(NamedTuple):
    """A subscription and whose it is."""

    tenant_id: str
    subscription_id: UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class Recent:
    """Attempts of a subscription within the last five minutes."""

    attempts: float
    failed_attempts: float
    # What they took together.
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Top:
    """Subscriptions that stand out, each ranking with its highest first."""

    failed: dict[Name, Recent]
    busy: dict[Name, Recent]


class Store:
    """Reads alone, over the process's pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def tables(self) -> list[Table]:
        """The tables that grow. Looks at the files of each partition."""
        rows = await self._pool.fetch(_queries["select_tables"], TABLES)
        return [Table(**dict(row)) for row in rows]

    async def server(self) -> Server:
        """Sizes and totals of this database."""
        row = await self._pool.fetchrow(_queries["select_server"])
        assert row is not None, "the database that is asked is there"
        return Server(**dict(row))

    async def sessions(self) -> Sessions:
        """Who is connected to this database."""
        rows = await self._pool.fetch(_queries["count_sessions"])
        return Sessions(
            by_state={row["state"]: row["number"] for row in rows},
            oldest_transaction_seconds=max((row["oldest_transaction_seconds"] for row in rows), default=0.0),
        )

    async def top(self, limit: int) -> Top:
        """The subscriptions with the most failures, and with the most time; at most `limit` of each."""
        found = Top(failed={}, busy={})
        for row in await self._pool.fetch(_queries["select_top"], limit):
            ranking = found.failed if row["ranking"] == "failed" else found.busy
            ranking[Name(row["tenant_id"], row["subscription_id"])] = Recent(
                attempts=row["attempts"], failed_attempts=row["failed_attempts"], seconds=row["seconds"]
            )
        return found

    async def failing(self, limit: int) -> dict[Name, float]:
        """For how many seconds those with a breaker that is not closed have failed; the `limit` longest."""
        rows = await self._pool.fetch(_queries["select_failing"], limit)
        return {Name(row["tenant_id"], row["subscription_id"]): row["seconds"] for row in rows}
