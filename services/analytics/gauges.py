"""Gauges of Postgres and of the subscriptions that stand out, and the loop that measures them at a bounded cost."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from prometheus_client import Counter, Gauge

from services.platform.process import background
from services.platform.process.metrics import Growth
from services.platform.stores import sql
from services.platform.stores.postgres import Connection, Pool

INTERVAL_SECONDS = 15.0
# Looking takes no more than a twentieth of the time, however many tables or busy subscriptions there are.
PAUSE_FACTOR = 19.0
# Those that grow. All others are small, and part of the database's size.
TABLES = (
    "webhook_events",
    "event_tags",
    "webhook_deliveries",
    "unsuccessful_deliveries",
    "delivery_attempts",
    "delivery_queue",
    "delivery_stats",
    "hourly_stats",
    "refusals",
    "idempotency_keys",
    "subscriptions",
    "subscription_health",
)
_queries = sql.Queries("services.analytics")
STATES = ("active", "idle", "idle_in_transaction", "other")

# Of all metrics only these name subscriptions.
SUBSCRIPTION = ("tenant", "subscription")
DATABASE_BYTES = Gauge("webhook_postgres_database_bytes", "Size of the database.")
TABLE_BYTES = Gauge(
    "webhook_postgres_table_bytes", "Size of a table, with its partitions, indexes, and TOAST.", ["table"]
)
LARGEST_PARTITION_BYTES = Gauge(
    "webhook_postgres_largest_partition_bytes", "Size of a table's largest partition, which is one day.", ["table"]
)
PARTITIONS = Gauge("webhook_postgres_partitions", "Partitions of a table, including those of coming days.", ["table"])
LIVE_ROWS = Gauge("webhook_postgres_live_rows", "Rows of a table, by the server's estimate.", ["table"])
DEAD_ROWS = Gauge("webhook_postgres_dead_rows", "Dead rows of a table that VACUUM has not removed yet.", ["table"])
SESSIONS = Gauge("webhook_postgres_sessions", "Connections to this database, from all clients.", ["state"])
MAX_SESSIONS = Gauge("webhook_postgres_max_sessions", "max_connections of the server, for all databases.")
OLDEST_TRANSACTION = Gauge("webhook_postgres_oldest_transaction_seconds", "Age of the oldest open transaction.")
BLOCKS = Counter("webhook_postgres_blocks_total", "Blocks that statements read, by where they were found.", ["source"])
TRANSACTIONS = Counter("webhook_postgres_transactions_total", "Ended transactions, by outcome.", ["result"])
WAL_BYTES = Counter("webhook_postgres_wal_bytes_total", "Write-ahead log written by the whole server.")
TOP_FAILED_ATTEMPTS = Gauge(
    "webhook_top_subscription_failed_attempts",
    "Failed attempts in 5 minutes, of the subscriptions with the most.",
    SUBSCRIPTION,
)
TOP_ATTEMPTS = Gauge(
    "webhook_top_subscription_attempts",
    "All attempts in 5 minutes, of the subscriptions with the most failures.",
    SUBSCRIPTION,
)
TOP_ATTEMPT_SECONDS = Gauge(
    "webhook_top_subscription_attempt_seconds",
    "Total duration of attempts in 5 minutes, of the subscriptions with the most.",
    SUBSCRIPTION,
)
TOP_FAILING_SECONDS = Gauge(
    "webhook_top_subscription_failing_seconds",
    "How long an endpoint has been failing: the longest among those with a breaker that is not closed.",
    SUBSCRIPTION,
)

_BY_LABEL = (
    *(TABLE_BYTES, LARGEST_PARTITION_BYTES, PARTITIONS, LIVE_ROWS, DEAD_ROWS, SESSIONS),
    *(TOP_FAILED_ATTEMPTS, TOP_ATTEMPTS, TOP_ATTEMPT_SECONDS, TOP_FAILING_SECONDS),
)


def forget() -> None:
    """Report nothing, where another process measures from now on: the maximum over all copies is what counts."""
    for gauge in _BY_LABEL:
        gauge.clear()
    for gauge in (DATABASE_BYTES, MAX_SESSIONS, OLDEST_TRANSACTION):
        gauge.set(0)


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


class GaugeStore:
    """What the gauges ask of Postgres. It locks no row, and reads no table of deliveries."""

    def __init__(self, pool: Pool | Connection) -> None:
        self._pool = pool

    async def tables(self) -> list[Table]:
        """Return the tables that grow. Reads the file sizes of each partition."""
        rows = await self._pool.fetch(_queries["select_tables"], TABLES)
        return [Table(**dict(row)) for row in rows]

    async def server(self) -> Server:
        """Sizes and totals of this database."""
        row = await self._pool.fetchrow(_queries["select_server"])
        assert row is not None, "the connected database exists"
        return Server(**dict(row))

    async def sessions(self) -> Sessions:
        """Who is connected to this database."""
        rows = await self._pool.fetch(_queries["count_sessions"])
        return Sessions(
            by_state={row["state"]: row["number"] for row in rows},
            oldest_transaction_seconds=max((row["oldest_transaction_seconds"] for row in rows), default=0.0),
        )

    async def top(self, limit: int) -> Top:
        """Return the subscriptions with the most failures and the most time, at most `limit` of each."""
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


async def measure_server(store: GaugeStore, growth: Growth) -> None:
    """Look once. Totals of the server count from the first look of this process."""
    for table in await store.tables():
        TABLE_BYTES.labels(table.name).set(table.bytes)
        LIVE_ROWS.labels(table.name).set(table.live_rows)
        DEAD_ROWS.labels(table.name).set(table.dead_rows)
        if table.largest_bytes is not None:
            PARTITIONS.labels(table.name).set(table.partitions)
            LARGEST_PARTITION_BYTES.labels(table.name).set(table.largest_bytes)
    server = await store.server()
    DATABASE_BYTES.set(server.database_bytes)
    MAX_SESSIONS.set(server.max_sessions)
    BLOCKS.labels("cache").inc(growth.of("cache", server.cache))
    BLOCKS.labels("disk").inc(growth.of("disk", server.disk))
    TRANSACTIONS.labels("committed").inc(growth.of("committed", server.committed))
    TRANSACTIONS.labels("rolled_back").inc(growth.of("rolled_back", server.rolled_back))
    WAL_BYTES.inc(growth.of("wal_bytes", server.wal_bytes))
    sessions = await store.sessions()
    for state in STATES:
        SESSIONS.labels(state).set(sessions.by_state.get(state, 0))
    OLDEST_TRANSACTION.set(sessions.oldest_transaction_seconds)


# The gauges of the subscriptions that stand out: at most `limit` series each, and none of what no longer does.


async def measure_top(store: GaugeStore, limit: int) -> None:
    """Look once."""
    top = await store.top(limit)
    failing = await store.failing(limit)
    _replace(TOP_FAILED_ATTEMPTS, {name: recent.failed_attempts for name, recent in top.failed.items()})
    _replace(TOP_ATTEMPTS, {name: recent.attempts for name, recent in top.failed.items()})
    _replace(TOP_ATTEMPT_SECONDS, {name: recent.seconds for name, recent in top.busy.items()})
    _replace(TOP_FAILING_SECONDS, failing)


def _replace(gauge: Gauge, values: Mapping[Name, float]) -> None:
    """Set all series at once: nobody scrapes in between, for nothing is awaited."""
    gauge.clear()
    for name, value in values.items():
        gauge.labels(name.tenant_id, str(name.subscription_id)).set(value)


async def keep(pool: Pool, *, top_subscriptions: int) -> None:
    """Measure until cancelled; while Postgres is away the gauges keep their values. At 0 no subscription is named."""
    growth = Growth()

    async def step() -> float:
        started = time.monotonic()
        async with pool.acquire() as connection, connection.transaction():
            store = GaugeStore(connection)
            await measure_server(store, growth)
            if top_subscriptions:
                await measure_top(store, top_subscriptions)
        return max(INTERVAL_SECONDS, PAUSE_FACTOR * (time.monotonic() - started))

    await background.repeat(step, interval_seconds=INTERVAL_SECONDS, quiet=True)
