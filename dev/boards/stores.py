"""Postgres and Redis as this service sees them, without exporters."""

from dev.boards.grafana import (
    BYTES,
    BYTES_PER_SECOND,
    PER_SECOND,
    SECONDS,
    SHARE,
    Board,
    Lines,
    Query,
    Stat,
    row,
)
from dev.boards.promql import (
    age,
    alike,
    increase,
    percentile,
    percentiles,
    rate,
    rate_alike,
    share,
    share_each,
    summed,
    total,
    whole,
)

SESSIONS = summed(alike("webhook_postgres_sessions", by="state"))
DEAD_ROWS = alike("webhook_postgres_dead_rows", by="table")
LOOKUPS = "webhook_subscription_cache_total"


def hits(metric: str, label: str, hit: str) -> str:
    """Return the share of lookups that were hits."""
    return share(rate_alike(metric, f'{label}="{hit}"'), summed(rate_alike(metric, by=label)))


NOW = row(
    "Now",
    [
        Stat(
            "Database size",
            "Size of the database. LOG_RETENTION_HOURS of traffic bounds it: leave a third of free space.",
            alike("webhook_postgres_database_bytes"),
            BYTES,
        ),
        Stat(
            "Connections in use",
            "Connections to this database as a share of the server's max_connections. Above 0.8 use PgBouncer, or "
            "lower POSTGRES_POOL_SIZE.",
            f"{SESSIONS} / {alike('webhook_postgres_max_sessions')}",
            SHARE,
            thresholds=[("orange", 0.6), ("red", 0.8)],
            max=1,
        ),
        Stat(
            "Commit time, p99",
            "Time of ingest's commits, including the wait for a connection. This is most of what a sender waits.",
            percentile(0.99, "webhook_ingest_commit_duration_seconds"),
            SECONDS,
            thresholds=[("orange", 0.1), ("red", 0.5)],
        ),
        Stat(
            "Redis memory",
            "Memory that Redis uses. It holds a few seconds of notifications and copies of subscriptions: tens of "
            "megabytes.",
            alike("webhook_redis_memory_bytes"),
            BYTES,
        ),
        Stat(
            "Stream messages",
            "Notifications that no worker has read yet. Ingest keeps at most 128; a constant number means that workers "
            "do not keep up.",
            alike("webhook_stream_messages"),
            thresholds=[("orange", 64), ("red", 256)],
        ),
        Stat(
            "Overdue partitions",
            "Days past their retention that could not be dropped. Should be 0: the log of analytics has the reason.",
            alike("webhook_retention_overdue_partitions"),
            thresholds=[("red", 1)],
        ),
    ],
)

POSTGRES = row(
    "Postgres activity",
    [
        Lines(
            "Commit time",
            "Time of ingest's commits, by percentile. It grows with the disk's flush time, and when all connections of "
            "the pool are in use.",
            percentiles("webhook_ingest_commit_duration_seconds"),
            SECONDS,
        ),
        Lines(
            "Connection pools",
            "Pool connections in use, by component, and all that are open. If they stay exhausted, POSTGRES_POOL_SIZE "
            "is too small or Postgres too slow.",
            [
                Query(total("webhook_postgres_connections", 'state="used"', by="component"), "{{component}}"),
                Query(total("webhook_postgres_connections"), "all open", "text"),
            ],
        ),
        Lines(
            "Connections to the database",
            "All connections, by state. Connections idle in a transaction hold locks and block VACUUM: there should be "
            "few, and only briefly.",
            Query(alike("webhook_postgres_sessions", by="state"), "{{state}}"),
            stacked=True,
        ),
    ],
    [
        Lines(
            "Transactions",
            "Committed and rolled-back transactions of the whole database.",
            Query(rate_alike("webhook_postgres_transactions_total", by="result"), "{{result}}"),
            PER_SECOND,
        ),
        Lines(
            "Buffer hit rate",
            "The share of blocks that Postgres found in its buffers. If it stays below 0.95, raise shared_buffers.",
            Query(hits("webhook_postgres_blocks_total", "source", "cache"), "in memory"),
            SHARE,
            max=1,
        ),
        Lines(
            "Write-ahead log",
            "What the server writes for durability and sends to replicas. It determines the load on disk and network.",
            Query(rate_alike("webhook_postgres_wal_bytes_total"), "written"),
            BYTES_PER_SECOND,
        ),
    ],
)

SIZES = row(
    "Tables",
    [
        Lines(
            "Table size",
            "Including indexes and TOAST, with all partitions. Events contain the payloads; they are dropped by day.",
            Query(alike("webhook_postgres_table_bytes", by="table"), "{{table}}"),
            BYTES,
            stacked=True,
        ),
        Lines(
            "Largest partition",
            "The fullest day of each table. Multiplied by the days of LOG_RETENTION_HOURS, it is what the disk must "
            "hold.",
            Query(alike("webhook_postgres_largest_partition_bytes", by="table"), "{{table}}"),
            BYTES,
        ),
        Lines(
            "Partitions",
            "Days that are kept, from the oldest to seven days ahead. All three tables have the same number; "
            "unfinished deliveries can keep more than retention asks for.",
            Query(alike("webhook_postgres_partitions", by="table"), "{{table}}"),
        ),
    ],
    [
        Lines(
            "Dead rows",
            "The share of rows that VACUUM has not removed yet. Around 0.05 is normal; if it keeps growing, autovacuum "
            "does not keep up or a transaction stays open.",
            Query(
                share(
                    DEAD_ROWS,
                    f"({alike('webhook_postgres_live_rows', by='table')} + {DEAD_ROWS})",
                ),
                "{{table}}",
            ),
            SHARE,
            max=1,
        ),
        Lines(
            "Oldest transaction",
            "Age of the oldest open transaction. Minutes mean a backup or a forgotten session: VACUUM waits for it.",
            Query(alike("webhook_postgres_oldest_transaction_seconds"), "oldest"),
            SECONDS,
            thresholds=[("red", 300)],
        ),
        Lines(
            "Retention",
            "Partitions past their retention: kept because of unfinished deliveries or recent attempts, or overdue, "
            "and those dropped in five minutes.",
            [
                Query(alike("webhook_retention_held_partitions"), "held", "orange"),
                Query(alike("webhook_retention_overdue_partitions"), "overdue", "red"),
                Query(whole(increase("webhook_retention_partitions_dropped_total", interval="5m")), "dropped", "green"),
            ],
        ),
    ],
    [
        Lines(
            "Rollup duration",
            "Time to update the statistics. It grows with the attempts per minute, and takes at most a fifth of the "
            "time.",
            percentiles("webhook_rollup_duration_seconds"),
            SECONDS,
        ),
        Lines(
            "Age of statistics",
            "How far the statistics lag behind. Above a minute, analytics is not running or does not keep up.",
            Query(age("webhook_rollup_last_success_timestamp_seconds"), "statistics"),
            SECONDS,
            thresholds=[("red", 60)],
        ),
        Lines(
            "Since the last retention pass",
            "Age of the newest pass that succeeded. A pass runs every five minutes; without one the disk fills.",
            Query(age("webhook_retention_last_success_timestamp_seconds"), "last pass"),
            SECONDS,
            thresholds=[("red", 3_600)],
        ),
    ],
)

REDIS = row(
    "Redis",
    [
        Lines(
            "Memory",
            "What Redis uses, and its maxmemory; 0 means no limit. Redis needs no persistence and may be lost at any "
            "time.",
            [
                Query(alike("webhook_redis_memory_bytes"), "used", "blue"),
                Query(alike("webhook_redis_max_memory_bytes"), "maxmemory", "text"),
            ],
            BYTES,
        ),
        Lines(
            "Round trip",
            "Time of a small command, sent by each delivery process every 2 s. Commands time out after 0.25 s, and "
            "work continues without Redis.",
            percentiles("webhook_redis_round_trip_seconds"),
            SECONDS,
        ),
        Lines(
            "Commands",
            "Commands that Redis executed, for all clients.",
            Query(rate_alike("webhook_redis_commands_total"), "commands"),
            PER_SECOND,
        ),
    ],
    [
        Lines(
            "Clients",
            "Connections to Redis, from all clients.",
            Query(alike("webhook_redis_clients"), "clients"),
        ),
        Lines(
            "Evicted keys",
            "Keys evicted because memory was full. Should be 0: raise maxmemory, or give the service its own Redis. "
            "Nothing is lost, but Postgres gets more load.",
            Query(rate_alike("webhook_redis_evicted_keys_total"), "evicted"),
            PER_SECOND,
            thresholds=[("red", 1)],
        ),
        Lines(
            "Key hit rate",
            "The share of all key lookups that found a key.",
            Query(hits("webhook_redis_lookups_total", "result", "hit"), "found"),
            SHARE,
            max=1,
        ),
    ],
    [
        Lines(
            "Notifications",
            "Notifications to workers that were sent, and that failed. Failures mean that Redis is unavailable or "
            "full; workers then poll Postgres.",
            Query(rate("webhook_doorbells_rung_total", by="result"), "{{result}}"),
            PER_SECOND,
        ),
        Lines(
            "How workers find work",
            "Deliveries found through a notification, and by polling Postgres while Redis is unavailable.",
            Query(rate("webhook_worker_ids_total", by="source"), "{{source}}"),
            PER_SECOND,
            stacked=True,
        ),
        Lines(
            "Subscription cache hits",
            "The share of lookups in ingest that each level answered: the process, then Redis, then Postgres. The "
            "process should answer nearly all.",
            Query(share_each(rate(LOOKUPS, 'result="hit"', by="level"), rate(LOOKUPS, 'level="process"')), "{{level}}"),
            SHARE,
            max=1,
        ),
    ],
)

BOARD = Board(
    "stores", "Webhooks / Stores", "Postgres and Redis as this service sees them.", [NOW, POSTGRES, SIZES, REDIS]
)
