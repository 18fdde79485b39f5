"""Postgres and Redis as this service sees them, with no exporter of theirs."""

from dev.boards import promql
from dev.boards.grafana import BYTES, BYTES_PER_SECOND, PER_SECOND, SECONDS, SHARE, Board, Lines, Query, Row, Stat

SESSIONS = promql.summed(promql.alike("webhook_postgres_sessions", by="state"))
LOOKUPS = "webhook_subscription_cache_total"


def hits(metric: str, label: str, hit: str) -> str:
    """The share of look-ups that were hits."""
    return promql.share(
        promql.rate_alike(metric, f'{label}="{hit}"'), promql.summed(promql.rate_alike(metric, by=label))
    )


NOW = Row(
    title="Now",
    lines=[
        [
            Stat(
                title="Database",
                text="Size of the database. It is bounded by LOG_RETENTION_HOURS of traffic: leave room for a third "
                "more.",
                unit=BYTES,
                queries=[Query(expr=promql.alike("webhook_postgres_database_bytes"))],
            ),
            Stat(
                title="Connections in use",
                text="Connections to this database as a share of the server's max_connections. Above 0.8 put PgBouncer "
                "before it, or lower POSTGRES_POOL_SIZE.",
                unit=SHARE,
                queries=[Query(expr=f"{SESSIONS} / {promql.alike('webhook_postgres_max_sessions')}")],
                thresholds=[("orange", 0.6), ("red", 0.8)],
                max=1,
            ),
            Stat(
                title="A commit, p99",
                text="Time of ingest's commits, the wait for a connection included. This is most of what a sender "
                "waits.",
                unit=SECONDS,
                queries=[Query(expr=promql.percentile(0.99, "webhook_ingest_commit_duration_seconds"))],
                thresholds=[("orange", 0.1), ("red", 0.5)],
            ),
            Stat(
                title="Redis memory",
                text="Memory that Redis uses. It holds a few seconds of bells and copies of subscriptions: tens of "
                "megabytes.",
                unit=BYTES,
                queries=[Query(expr=promql.alike("webhook_redis_memory_bytes"))],
            ),
            Stat(
                title="Stream messages",
                text="Bells that wait to be heard. 128 at most are rung by ingest; a number that stays there means "
                "that workers do not keep up.",
                queries=[Query(expr=promql.alike("webhook_stream_messages"))],
                thresholds=[("orange", 64), ("red", 256)],
            ),
            Stat(
                title="Overdue partitions",
                text="Days past their retention that could not be dropped. Should be 0: the log of analytics says why.",
                queries=[Query(expr=promql.alike("webhook_retention_overdue_partitions"))],
                thresholds=[("red", 1)],
            ),
        ]
    ],
)

POSTGRES = Row(
    title="Postgres at work",
    lines=[
        [
            Lines(
                title="A commit",
                text="Time of ingest's commits, by percentile. It grows with the disk's time to flush, and with a pool "
                "whose connections are all in use.",
                unit=SECONDS,
                queries=promql.percentiles("webhook_ingest_commit_duration_seconds"),
            ),
            Lines(
                title="Pools",
                text="Connections of the processes' pools that are in use, by component, and all that are open. Used "
                "up for long: POSTGRES_POOL_SIZE is too small, or Postgres too slow.",
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
                text="Of everybody, by state. Those idle in a transaction hold locks and keep VACUUM from its work: "
                "there should be few, for moments.",
                queries=[
                    Query(expr=promql.alike("webhook_postgres_sessions", by="state"), legend="{{state}}"),
                ],
                stacked=True,
            ),
        ],
        [
            Lines(
                title="Transactions",
                text="Transactions of the whole database that were committed, and rolled back.",
                unit=PER_SECOND,
                queries=[
                    Query(
                        expr=promql.rate_alike("webhook_postgres_transactions_total", by="result"), legend="{{result}}"
                    )
                ],
            ),
            Lines(
                title="Found in memory",
                text="The share of blocks that Postgres found in its buffers. Below 0.95 for long give it more "
                "shared_buffers.",
                unit=SHARE,
                queries=[Query(expr=hits("webhook_postgres_blocks_total", "source", "cache"), legend="in memory")],
                max=1,
            ),
            Lines(
                title="Write-ahead log",
                text="What the server writes for durability, and sends to replicas. It decides what disk and network "
                "must carry.",
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
                title="Size of tables",
                text="With indexes and TOAST, partitions together. Events carry the payloads; they go with their day.",
                unit=BYTES,
                queries=[Query(expr=promql.alike("webhook_postgres_table_bytes", by="table"), legend="{{table}}")],
                stacked=True,
            ),
            Lines(
                title="Largest partition",
                text="The fullest day of each table: times the days of LOG_RETENTION_HOURS it is what the disk must "
                "hold.",
                unit=BYTES,
                queries=[
                    Query(expr=promql.alike("webhook_postgres_largest_partition_bytes", by="table"), legend="{{table}}")
                ],
            ),
            Lines(
                title="Partitions",
                text="Days that are kept, from the oldest to seven days ahead. All three tables have as many; more "
                "than retention asks for are held by unfinished deliveries.",
                queries=[Query(expr=promql.alike("webhook_postgres_partitions", by="table"), legend="{{table}}")],
            ),
        ],
        [
            Lines(
                title="Dead rows",
                text="The share of rows that VACUUM has yet to remove. Around 0.05 is as set; growing without end it "
                "means that autovacuum does not keep up, or that a transaction stays open.",
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
                text="How long the oldest transaction has been open. Minutes are a backup or a session that somebody "
                "forgot: VACUUM waits for it.",
                unit=SECONDS,
                queries=[Query(expr=promql.alike("webhook_postgres_oldest_transaction_seconds"), legend="oldest")],
                thresholds=[("red", 300)],
            ),
            Lines(
                title="Retention",
                text="Partitions past their retention: held by unfinished deliveries or fresh attempts, or overdue, "
                "and those dropped within five minutes.",
                queries=[
                    Query(expr=promql.alike("webhook_retention_held_partitions"), legend="held", color="orange"),
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
                title="A roll-up",
                text="Time to bring statistics up to date. It grows with the attempts of a minute, and takes a fifth "
                "of the time at most.",
                unit=SECONDS,
                queries=promql.percentiles("webhook_rollup_duration_seconds"),
            ),
            Lines(
                title="Age of statistics",
                text="How far statistics are behind. Above a minute analytics does not run, or does not keep up.",
                unit=SECONDS,
                queries=[Query(expr=promql.age("webhook_rollup_last_success_timestamp_seconds"), legend="statistics")],
                thresholds=[("red", 60)],
            ),
            Lines(
                title="Since the last retention",
                text="Age of the newest pass that ended without an error. Passes come every five minutes; when none "
                "does, the disk fills.",
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
                text="What Redis uses, and its maxmemory; 0 is no bound. It needs no persistence and may be lost at "
                "any moment.",
                unit=BYTES,
                queries=[
                    Query(expr=promql.alike("webhook_redis_memory_bytes"), legend="used", color="blue"),
                    Query(expr=promql.alike("webhook_redis_max_memory_bytes"), legend="maxmemory", color="text"),
                ],
            ),
            Lines(
                title="A round trip",
                text="Time of a small command, asked by each delivery process every 2 s. Commands are given up after "
                "0.25 s, and work goes on without Redis.",
                unit=SECONDS,
                queries=promql.percentiles("webhook_redis_round_trip_seconds"),
            ),
            Lines(
                title="Commands",
                text="What Redis ran, for everybody.",
                unit=PER_SECOND,
                queries=[Query(expr=promql.rate_alike("webhook_redis_commands_total"), legend="commands")],
            ),
        ],
        [
            Lines(
                title="Clients",
                text="Connections to Redis, of everybody.",
                queries=[Query(expr=promql.alike("webhook_redis_clients"), legend="clients")],
            ),
            Lines(
                title="Evicted keys",
                text="Keys dropped for want of memory. Should be 0: raise maxmemory, or give the service a Redis of "
                "its own. Nothing is lost, but more is asked of Postgres.",
                unit=PER_SECOND,
                queries=[Query(expr=promql.rate_alike("webhook_redis_evicted_keys_total"), legend="evicted")],
                thresholds=[("red", 1)],
            ),
            Lines(
                title="Found in Redis",
                text="The share of all look-ups of keys that found one.",
                unit=SHARE,
                queries=[Query(expr=hits("webhook_redis_lookups_total", "result", "hit"), legend="found")],
                max=1,
            ),
        ],
        [
            Lines(
                title="Bells",
                text="Messages to the stream that were rung, and that failed. Failing ones mean that Redis is away or "
                "full; workers then look into Postgres themselves.",
                unit=PER_SECOND,
                queries=[
                    Query(expr=promql.rate("webhook_doorbells_rung_total", by="result"), legend="{{result}}"),
                ],
            ),
            Lines(
                title="How workers hear of work",
                text="Ids heard of by a bell, and found in Postgres while Redis is away.",
                unit=PER_SECOND,
                queries=[Query(expr=promql.rate("webhook_worker_ids_total", by="source"), legend="{{source}}")],
                stacked=True,
            ),
            Lines(
                title="Subscriptions found by level",
                text="The share of look-ups on ingest's path that each level answered: the process, then Redis, then "
                "Postgres. The process should answer nearly all.",
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
