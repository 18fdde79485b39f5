"""The loop that keeps the gauges of Postgres and of the subscriptions that stand out, at a bounded cost."""

import asyncio
import time
from collections.abc import Mapping

import structlog
from prometheus_client import Counter, Gauge

from services.analytics.gauges.store import Name, Store
from services.platform import errors
from services.platform.process.metrics import Growth

# Metrics of Postgres as a whole, and the only ones that name subscriptions; listed in docs/reference/metrics.md.


SUBSCRIPTION = ("tenant", "subscription")


DATABASE_BYTES = Gauge("webhook_postgres_database_bytes", "Size of the database.")


TABLE_BYTES = Gauge("webhook_postgres_table_bytes", "Size of a table: its partitions, indexes and TOAST.", ["table"])


LARGEST_PARTITION_BYTES = Gauge(
    "webhook_postgres_largest_partition_bytes", "Size of a table's largest partition: its fullest day.", ["table"]
)


PARTITIONS = Gauge("webhook_postgres_partitions", "Partitions of a table, with those of days to come.", ["table"])


LIVE_ROWS = Gauge("webhook_postgres_live_rows", "Rows of a table, by the server's estimate.", ["table"])


DEAD_ROWS = Gauge("webhook_postgres_dead_rows", "Rows of a table that VACUUM has yet to remove.", ["table"])


SESSIONS = Gauge("webhook_postgres_sessions", "Connections to this database, of everybody.", ["state"])


MAX_SESSIONS = Gauge("webhook_postgres_max_sessions", "max_connections of the server, all databases together.")


OLDEST_TRANSACTION = Gauge("webhook_postgres_oldest_transaction_seconds", "Age of the oldest open transaction.")


BLOCKS = Counter("webhook_postgres_blocks_total", "Blocks that statements wanted, by where they were.", ["source"])


TRANSACTIONS = Counter("webhook_postgres_transactions_total", "Transactions that ended, by how.", ["result"])


WAL_BYTES = Counter("webhook_postgres_wal_bytes_total", "Write-ahead log written, of the whole server.")


TOP_FAILED_ATTEMPTS = Gauge(
    "webhook_top_subscription_failed_attempts", "Failed attempts of 5 minutes; where most failed.", SUBSCRIPTION
)


TOP_ATTEMPTS = Gauge(
    "webhook_top_subscription_attempts", "All attempts of 5 minutes, of those where most failed.", SUBSCRIPTION
)


TOP_ATTEMPT_SECONDS = Gauge(
    "webhook_top_subscription_attempt_seconds",
    "Time of attempts of 5 minutes; where they took most.",
    SUBSCRIPTION,
)


TOP_FAILING_SECONDS = Gauge(
    "webhook_top_subscription_failing_seconds",
    "How long an endpoint has only failed; the longest of those with a breaker that is not closed.",
    SUBSCRIPTION,
)


# The gauges and counters of Postgres.


STATES = ("active", "idle", "idle_in_transaction", "other")


async def measure_server(store: Store, growth: Growth) -> None:
    """Looks once. Totals of the server count from the first look of this process."""
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


async def measure_top(store: Store, limit: int) -> None:
    """Looks once."""
    top = await store.top(limit)
    failing = await store.failing(limit)
    _replace(TOP_FAILED_ATTEMPTS, {name: recent.failed_attempts for name, recent in top.failed.items()})
    _replace(TOP_ATTEMPTS, {name: recent.attempts for name, recent in top.failed.items()})
    _replace(TOP_ATTEMPT_SECONDS, {name: recent.seconds for name, recent in top.busy.items()})
    _replace(TOP_FAILING_SECONDS, failing)


def _replace(gauge: Gauge, values: Mapping[Name, float]) -> None:
    """Sets all series at once: nobody scrapes in between, for nothing is awaited."""
    gauge.clear()
    for name, value in values.items():
        gauge.labels(name.tenant_id, str(name.subscription_id)).set(value)


# The loop that keeps the gauges, at a bounded cost.


log = structlog.get_logger(__name__)


INTERVAL_SECONDS = 15.0
# Looking takes no more than a twentieth of the time, however many tables or busy subscriptions there are.
PAUSE_FACTOR = 19.0


async def keep(store: Store, *, top_subscriptions: int) -> None:
    """Measures for ever; while Postgres is away the gauges keep their last value. At 0 no subscription is named."""
    growth = Growth()
    while True:
        started = time.monotonic()
        try:
            await measure_server(store, growth)
            if top_subscriptions:
                await measure_top(store, top_subscriptions)
        except Exception as error:
            if errors.classify(error) is None:
                log.exception("Postgres cannot be measured")
        await asyncio.sleep(max(INTERVAL_SECONDS, PAUSE_FACTOR * (time.monotonic() - started)))
