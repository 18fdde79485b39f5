-- select_tables --
-- The tables $1 of this schema, with what their partitions come to; a partition that is detached counts as well. A
-- table that vanishes meanwhile has no size.
WITH named AS (
    SELECT regexp_replace(c.relname, '_[0-9]{8}$', '') AS name, c.relname ~ '_[0-9]{8}$' AS partition,
           coalesce(pg_total_relation_size(c.oid), 0) AS bytes, s.n_live_tup, s.n_dead_tup
    FROM pg_class c
    LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
    WHERE c.relkind = 'r' AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'subscriptions'::regclass)
      AND regexp_replace(c.relname, '_[0-9]{8}$', '') = ANY($1::text[])
)
SELECT name, count(*) FILTER (WHERE partition) AS partitions, sum(bytes)::float8 AS bytes,
       max(bytes) FILTER (WHERE partition)::float8 AS largest_bytes,
       coalesce(sum(n_live_tup), 0)::float8 AS live_rows, coalesce(sum(n_dead_tup), 0)::float8 AS dead_rows
FROM named
GROUP BY name

-- select_server --
-- Size and totals of this database, and the write-ahead log of the server since its statistics began.
SELECT pg_database_size(d.datname)::float8 AS database_bytes, d.blks_hit::float8 AS cache, d.blks_read::float8 AS disk,
       d.xact_commit::float8 AS committed, d.xact_rollback::float8 AS rolled_back,
       w.wal_bytes::float8 AS wal_bytes,
       current_setting('max_connections')::int AS max_sessions
FROM pg_stat_database d
CROSS JOIN pg_stat_wal w
WHERE d.datname = current_database()

-- count_sessions --
-- Connections to this database by state, and the age of the oldest transaction. Of other users neither is seen without
-- pg_read_all_stats: they count as "other".
SELECT CASE WHEN state IN ('active', 'idle') THEN state
            WHEN state LIKE 'idle in transaction%' THEN 'idle_in_transaction'
            ELSE 'other' END AS state,
       count(*) AS number,
       coalesce(max(extract(epoch FROM now() - xact_start)), 0)::float8 AS oldest_transaction_seconds
FROM pg_stat_activity
WHERE datname = current_database() AND coalesce(backend_type, 'client backend') = 'client backend'
GROUP BY 1

-- select_top --
-- Of the newest minutes of statistics the $1 subscriptions with the most failed attempts, and the $1 whose attempts took
-- the most time.
WITH recent AS MATERIALIZED (
    SELECT tenant_id, subscription_id, sum(attempts)::float8 AS attempts,
           coalesce(sum(attempts) FILTER (WHERE outcome <> 'success'), 0)::float8 AS failed_attempts,
           sum(duration_ms_total)::float8 / 1000 AS seconds
    FROM delivery_stats
    WHERE minute > now() - interval '5 minutes' AND minute <= now()
      AND subscription_id <> '00000000-0000-0000-0000-000000000000'
    GROUP BY tenant_id, subscription_id
)
(SELECT 'failed' AS ranking, * FROM recent WHERE failed_attempts > 0 ORDER BY failed_attempts DESC, subscription_id LIMIT $1)
UNION ALL
(SELECT 'busy' AS ranking, * FROM recent WHERE seconds > 0 ORDER BY seconds DESC, subscription_id LIMIT $1)

-- select_failing --
-- The $1 subscriptions with a breaker that is not closed which have failed for longest.
SELECT s.tenant_id, h.subscription_id,
       extract(epoch FROM now() - coalesce(h.failing_since, h.breaker_since))::float8 AS seconds
FROM subscription_health h
JOIN subscriptions s ON s.id = h.subscription_id AND s.deleted_at IS NULL
WHERE h.breaker <> 'closed'
ORDER BY coalesce(h.failing_since, h.breaker_since), h.subscription_id
LIMIT $1
