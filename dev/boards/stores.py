"""Postgres and Redis as this service sees them, with no exporter of theirs."""

from dev.boards import promql
from dev.boards.grafana import BYTES, BYTES_PER_SECOND, PER_SECOND, SECONDS, SHARE, Board, Lines, Query, Row, Stat

SESSIONS = promql.summed(promql.alike("webhook_postgres_sessions", by="state"))
LOOKUPS = "webhook_subscription_cache_total"


def hits(metric: str, label: str, hit: str) -> str:
    """Return the share of lookups that were hits."""
    return promql.share(
        promql.rate_alike(metric, f'{label}="{hit}"'), promql.summed(promql.rate_alike(metric, by=label))
    )


NOW = Row(
    title="Now",
    lines=[
        [
            Stat(
                title="Database size",
                text="Size of the database. LOG_RETENTION_HOURS of traffic bounds it: leave a third of free space.",
                unit=BYTES,
                queries=[Query(expr=promql.alike("webhook_postgres_database_bytes"))],
            ),
            Stat(
                title="Connections in use",
                text=(
                    "Connections to this database as a share of the server's max_connections. Above 0.8 use PgBouncer, "
                    "or lower POSTGRES_POOL_SIZE."
                ),
                unit=SHARE,
                queries=[Query(expr=f"{SESSIONS} / {promql.alike('webhook_postgres_max_sessions')}")],
                thresholds=[("orange", 0.6), ("red", 0.8)],
                max=1,
            ),
            Stat(
                title="Commit time, p99",
                text=(
                    "Time of ingest's commits, including the wait for a connection. This is most of what a sender "
                    "waits."
                ),
                unit=SECONDS,
                queries=[Query(expr=promql.percentile(0.99, "webhook_ingest_commit_duration_seconds"))],
                thresholds=[("orange", 0.1), ("red", 0.5)],
            ),
            Stat(
                title="Redis memory",
                text=(
                    "Memory that Redis uses. It holds a few seconds of notifications and copies of subscriptions: tens "
                    "of megabytes."
                ),
                unit=BYTES,
                queries=[Query(expr=promql.alike("webhook_redis_memory_bytes"))],
            ),
            Stat(
                title="Stream messages",
                text=(
                    "Notifications that no worker has read yet. Ingest keeps at most 128; a constant number means that "
                    "workers do not keep up."
                ),
                queries=[Query(expr=promql.alike("webhook_stream_messages"))],
                thresholds=[("orange", 64), ("red", 256)],
            ),
            Stat(
                title="Overdue partitions",
                text=(
                    "Days past their retention that could not be dropped. Should be 0: the log of analytics has the "
                    "reason."
                ),
                queries=[Query(expr=promql.alike("webhook_retention_overdue_partitions"))],
                thresholds=[("red", 1)],
            ),
        ]
    ],
)

POSTGRES = Row(
    title="Postgres activity",
    lines=[
        [
            Lines(
                title="Commit time",
                text=(
                    "Time of ingest's commits, by percentile. It grows with the disk's flush time, and when all "
                    "connections of the pool are in use."
                ),
                unit=SECONDS,
                queries=promql.percentiles("webhook_ingest_commit_duration_seconds"),
            ),
            Lines(
                title="Connection pools",
                text=(
                    "Pool connections in use, by component, and all that are open. If they stay exhausted, "
                    "POSTGRES_POOL_SIZE is too small or Postgres too slow."
                ),
                queries=[
                    Query(
                        expr=promql.total("webhook_postgres_connections", 'state="used"', by="component"),
                        legend="{{component}}",
                    ),
                    Query(expr=promql.total("webhook_postgres_connections"), legend="all open", color="text"),
                ],
            ),
            Lines(
                title="Connections to the database",
                text=(
                    "All connections, by state. Connections idle in a transaction hold locks and block VACUUM: there "
                    "should be few, and only briefly."
                ),
                queries=[
                    Query(expr=promql.alike("webhook_postgres_sessions", by="state"), legend="{{state}}"),
                ],
                stacked=True,
            ),
        ],
        [
            Lines(
                title="Transactions",
                text="Committed and rolled-back transactions of the whole database.",
                unit=PER_SECOND,
                queries=[
                    Query(
                        expr=promql.rate_alike("webhook_postgres_transactions_total", by="result"), legend="{{result}}"
                    )
                ],
            ),
            Lines(
                title="Buffer hit rate",
                text=(
                    "The share of blocks that Postgres found in its buffers. If it stays below 0.95, raise "
                    "shared_buffers."
                ),
                unit=SHARE,
                queries=[Query(expr=hits("webhook_postgres_blocks_total", "source", "cache"), legend="in memory")],
                max=1,
            ),
            Lines(
                title="Write-ahead log",
                text=(
                    "What the server writes for durability and sends to replicas. It determines the load on disk and "
                    "network."
                ),
                unit=BYTES_PER_SECOND,
                queries=[Query(expr=promql.rate_alike("webhook_postgres_wal_bytes_total"), legend="written")],
            ),
        ],
    ],
)

SIZES = Row(
    title="Tables",
    lines=[
        [
            Lines(
                title="Table size",
                text=(
                    "Including indexes and TOAST, with all partitions. Events contain the payloads; they are dropped "
                    "by day."
                ),
                unit=BYTES,
                queries=[Query(expr=promql.alike("webhook_postgres_table_bytes", by="table"), legend="{{table}}")],
                stacked=True,
            ),
            Lines(
                title="Largest partition",
                text=(
                    "The fullest day of each table. Multiplied by the days of LOG_RETENTION_HOURS, it is what the disk "
                    "must hold."
                ),
                unit=BYTES,
                queries=[
                    Query(expr=promql.alike("webhook_postgres_largest_partition_bytes", by="table"), legend="{{table}}")
                ],
            ),
            Lines(
                title="Partitions",
                text=(
                    "Days that are kept, from the oldest to seven days ahead. All three tables have the same number; "
                    "unfinished deliveries can keep more than retention asks for."
                ),
                queries=[Query(expr=promql.alike("webhook_postgres_partitions", by="table"), legend="{{table}}")],
            ),
        ],
        [
            Lines(
                title="Dead rows",
                text=(
                    "The share of rows that VACUUM has not removed yet. Around 0.05 is normal; if it keeps growing, "
                    "autovacuum does not keep up or a transaction stays open."
                ),
                unit=SHARE,
                queries=[
                    Query(
                        expr=promql.share(
                            promql.alike("webhook_postgres_dead_rows", by="table"),
                            f"({promql.alike('webhook_postgres_live_rows', by='table')} + "
                            f"{promql.alike('webhook_postgres_dead_rows', by='table')})",
                        ),
                        legend="{{table}}",
                    )
                ],
                max=1,
            ),
            Lines(
                title="Oldest transaction",
                text=(
                    "Age of the oldest open transaction. Minutes mean a backup or a forgotten session: VACUUM waits "
                    "for it."
                ),
                unit=SECONDS,
                queries=[Query(expr=promql.alike("webhook_postgres_oldest_transaction_seconds"), legend="oldest")],
                thresholds=[("red", 300)],
            ),
            Lines(
                title="Retention",
                text=(
                    "Partitions past their retention: kept because of unfinished deliveries or recent attempts, or "
                    "overdue, and those dropped in five minutes."
                ),
                queries=[
                    Query(expr=promql.alike("webhook_retention_held_partitions"), legend="suspended", color="orange"),
                    Query(expr=promql.alike("webhook_retention_overdue_partitions"), legend="overdue", color="red"),
                    Query(
                        expr=promql.whole(promql.increase("webhook_retention_partitions_dropped_total", interval="5m")),
                        legend="dropped",
                        color="green",
                    ),
                ],
            ),
        ],
        [
            Lines(
                title="Rollup duration",
                text=(
                    "Time to update the statistics. It grows with the attempts per minute, and takes at most a fifth "
                    "of the time."
                ),
                unit=SECONDS,
                queries=promql.percentiles("webhook_rollup_duration_seconds"),
            ),
            Lines(
                title="Age of statistics",
                text=(
                    "How far the statistics lag behind. Above a minute, analytics is not running or does not keep up."
                ),
                unit=SECONDS,
                queries=[Query(expr=promql.age("webhook_rollup_last_success_timestamp_seconds"), legend="statistics")],
                thresholds=[("red", 60)],
            ),
            Lines(
                title="Since the last retention pass",
                text=(
                    "Age of the newest pass that succeeded. A pass runs every five minutes; without one the disk fills."
                ),
                unit=SECONDS,
                queries=[
                    Query(expr=promql.age("webhook_retention_last_success_timestamp_seconds"), legend="last pass")
                ],
                thresholds=[("red", 3_600)],
            ),
        ],
    ],
)

REDIS = Row(
    title="Redis",
    lines=[
        [
            Lines(
                title="Memory",
                text=(
                    "What Redis uses, and its maxmemory; 0 means no limit. Redis needs no persistence and may be lost "
                    "at any time."
                ),
                unit=BYTES,
                queries=[
                    Query(expr=promql.alike("webhook_redis_memory_bytes"), legend="used", color="blue"),
                    Query(expr=promql.alike("webhook_redis_max_memory_bytes"), legend="maxmemory", color="text"),
                ],
            ),
            Lines(
                title="Round trip",
                text=(
                    "Time of a small command, sent by each delivery process every 2 s. Commands time out after 0.25 s, "
                    "and work continues without Redis."
                ),
                unit=SECONDS,
                queries=promql.percentiles("webhook_redis_round_trip_seconds"),
            ),
            Lines(
                title="Commands",
                text="Commands that Redis executed, for all clients.",
                unit=PER_SECOND,
                queries=[Query(expr=promql.rate_alike("webhook_redis_commands_total"), legend="commands")],
            ),
        ],
        [
            Lines(
                title="Clients",
                text="Connections to Redis, from all clients.",
                queries=[Query(expr=promql.alike("webhook_redis_clients"), legend="clients")],
            ),
            Lines(
                title="Evicted keys",
                text=(
                    "Keys evicted because memory was full. Should be 0: raise maxmemory, or give the service its own "
                    "Redis. Nothing is lost, but Postgres gets more load."
                ),
                unit=PER_SECOND,
                queries=[Query(expr=promql.rate_alike("webhook_redis_evicted_keys_total"), legend="evicted")],
                thresholds=[("red", 1)],
            ),
            Lines(
                title="Key hit rate",
                text="The share of all key lookups that found a key.",
                unit=SHARE,
                queries=[Query(expr=hits("webhook_redis_lookups_total", "result", "hit"), legend="found")],
                max=1,
            ),
        ],
        [
            Lines(
                title="Notifications",
                text=(
                    "Notifications to workers that were sent, and that failed. Failures mean that Redis is unavailable "
                    "or full; workers then poll Postgres."
                ),
                unit=PER_SECOND,
                queries=[
                    Query(expr=promql.rate("webhook_doorbells_rung_total", by="result"), legend="{{result}}"),
                ],
            ),
            Lines(
                title="How workers find work",
                text="Deliveries found through a notification, and by polling Postgres while Redis is unavailable.",
                unit=PER_SECOND,
                queries=[Query(expr=promql.rate("webhook_worker_ids_total", by="source"), legend="{{source}}")],
                stacked=True,
            ),
            Lines(
                title="Subscription cache hits",
                text=(
                    "The share of lookups in ingest that each level answered: the process, then Redis, then Postgres. "
                    "The process should answer nearly all."
                ),
                unit=SHARE,
                queries=[
                    Query(
                        expr=promql.share_each(
                            promql.rate(LOOKUPS, 'result="hit"', by="level"), promql.rate(LOOKUPS, 'level="process"')
                        ),
                        legend="{{level}}",
                    )
                ],
                max=1,
            ),
        ],
    ],
)

BOARD = Board(
    name="stores",
    title="Webhooks / Stores",
    text="Postgres and Redis as this service sees them.",
    rows=[NOW, POSTGRES, SIZES, REDIS],
)
