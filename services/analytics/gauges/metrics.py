"""Metrics of Postgres as a whole, and the only ones that name subscriptions; listed in docs/metrics.md."""

from prometheus_client import Counter, Gauge

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
