"""The gauges and counters of Postgres."""

from services.analytics.gauges import metrics
from services.analytics.gauges.store import Store
from services.platform.process.metrics import Growth

STATES = ("active", "idle", "idle_in_transaction", "other")


async def measure(store: Store, growth: Growth) -> None:
    """Looks once. Totals of the server count from the first look of this process."""
    for table in await store.tables():
        metrics.TABLE_BYTES.labels(table.name).set(table.bytes)
        metrics.LIVE_ROWS.labels(table.name).set(table.live_rows)
        metrics.DEAD_ROWS.labels(table.name).set(table.dead_rows)
        if table.largest_bytes is not None:
            metrics.PARTITIONS.labels(table.name).set(table.partitions)
            metrics.LARGEST_PARTITION_BYTES.labels(table.name).set(table.largest_bytes)
    server = await store.server()
    metrics.DATABASE_BYTES.set(server.database_bytes)
    metrics.MAX_SESSIONS.set(server.max_sessions)
    metrics.BLOCKS.labels("cache").inc(growth.of("cache", server.cache))
    metrics.BLOCKS.labels("disk").inc(growth.of("disk", server.disk))
    metrics.TRANSACTIONS.labels("committed").inc(growth.of("committed", server.committed))
    metrics.TRANSACTIONS.labels("rolled_back").inc(growth.of("rolled_back", server.rolled_back))
    metrics.WAL_BYTES.inc(growth.of("wal_bytes", server.wal_bytes))
    sessions = await store.sessions()
    for state in STATES:
        metrics.SESSIONS.labels(state).set(sessions.by_state.get(state, 0))
    metrics.OLDEST_TRANSACTION.set(sessions.oldest_transaction_seconds)
