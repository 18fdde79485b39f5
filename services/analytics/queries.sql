-- has_subscription --
-- Whether the tenant has, or had, this subscription; any tenant if $2 is null.
SELECT EXISTS (SELECT FROM subscriptions WHERE id = $1 AND ($2::text IS NULL OR tenant_id = $2))

-- select_stats --
-- Sums up a window of $3 that ends at the newest roll-up; a row without outcome when it is empty.
SELECT w.window_start, w.window_end, s.*
FROM (
    SELECT rolled_up_to AS window_end, date_bin('1 minute', rolled_up_to - $3::interval, 'epoch') AS window_start
    FROM rollup_state
) AS w
LEFT JOIN LATERAL (
    SELECT outcome, duration_bucket, sum(attempts)::bigint AS attempts, sum(final_attempts)::bigint AS final_attempts,
           sum(duration_ms_total)::bigint AS duration_ms_total
    FROM delivery_stats
    WHERE tenant_id = $1 AND subscription_id = $2 AND minute >= w.window_start AND minute <= w.window_end
    GROUP BY outcome, duration_bucket
) AS s ON true

-- select_stats_of_all --
-- The same over all tenants. Each tenant's rows are found by the index, which begins with the tenant.
SELECT w.window_start, w.window_end, s.*
FROM (
    SELECT rolled_up_to AS window_end, date_bin('1 minute', rolled_up_to - $2::interval, 'epoch') AS window_start
    FROM rollup_state
) AS w
LEFT JOIN LATERAL (
    SELECT outcome, duration_bucket, sum(attempts)::bigint AS attempts, sum(final_attempts)::bigint AS final_attempts,
           sum(duration_ms_total)::bigint AS duration_ms_total
    FROM delivery_stats
    WHERE tenant_id IN (SELECT id FROM tenants) AND subscription_id = $1
      AND minute >= w.window_start AND minute <= w.window_end
    GROUP BY outcome, duration_bucket
) AS s ON true

-- begin_rollup --
-- Settings of a roll-up's transaction. The newest minutes are not in the planner's statistics yet, so it takes them for
-- empty, reads whole tables and sorts (five times dearer): say that it is block range indices and hashing. And an end
-- when the process vanishes in the middle.
SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_seqscan', 'off', true),
       set_config('enable_sort', 'off', true), set_config('work_mem', '64MB', true),
       set_config('idle_in_transaction_session_timeout', '30s', true)

-- take_turn --
-- Locks the state of the roll-ups until the transaction ends; no row when another copy has it.
SELECT rolled_up_to, now() AS now, extract(epoch FROM due_at - now())::float8 AS due_in_seconds
FROM rollup_state
FOR UPDATE SKIP LOCKED

-- replace_stats --
-- Recomputes the minutes from $1 to before $2 from their attempts ($3: duration bounds) and returns how many rows changed.
-- Rows that are right already are not written.
WITH counted AS MATERIALIZED (
    SELECT tenant_id, subscription_id, date_bin('1 minute', recorded_at, 'epoch') AS minute, outcome,
           coalesce(width_bucket(duration_ms, $3::integer[]), -1)::smallint AS duration_bucket,
           count(*) AS attempts, count(*) FILTER (WHERE final) AS final_attempts,
           coalesce(sum(duration_ms), 0)::bigint AS duration_ms_total
    FROM delivery_attempts
    WHERE recorded_at >= $1 AND recorded_at < $2
    GROUP BY 1, 2, 3, 4, 5
), fresh AS MATERIALIZED (
    SELECT * FROM counted
    UNION ALL
    SELECT tenant_id, '00000000-0000-0000-0000-000000000000', minute, outcome, duration_bucket,
           sum(attempts)::bigint, sum(final_attempts)::bigint, sum(duration_ms_total)::bigint
    FROM counted
    GROUP BY tenant_id, minute, outcome, duration_bucket
), stored AS MATERIALIZED (
    SELECT tenant_id, subscription_id, minute, outcome, duration_bucket, attempts, final_attempts, duration_ms_total
    FROM delivery_stats
    WHERE minute >= $1 AND minute < $2
), written AS (
    INSERT INTO delivery_stats AS s
        (tenant_id, subscription_id, minute, outcome, duration_bucket, attempts, final_attempts, duration_ms_total)
    SELECT * FROM (SELECT * FROM fresh EXCEPT ALL SELECT * FROM stored) AS changed
    ON CONFLICT (tenant_id, subscription_id, minute, outcome, duration_bucket) DO UPDATE
    SET attempts = excluded.attempts, final_attempts = excluded.final_attempts,
        duration_ms_total = excluded.duration_ms_total
    RETURNING 1
), gone AS (
    DELETE FROM delivery_stats AS s
    USING (
        SELECT tenant_id, subscription_id, minute, outcome, duration_bucket FROM stored
        EXCEPT ALL
        SELECT tenant_id, subscription_id, minute, outcome, duration_bucket FROM fresh
    ) AS g
    WHERE s.tenant_id = g.tenant_id AND s.subscription_id = g.subscription_id AND s.minute = g.minute
      AND s.outcome = g.outcome AND s.duration_bucket = g.duration_bucket
    RETURNING 1
)
SELECT (SELECT count(*) FROM written) + (SELECT count(*) FROM gone)

-- finish_rollup --
-- Notes how far statistics go and when the next roll-up is due: $2 seconds after this one began, but never so soon
-- that roll-ups take more than a fifth of the time.
UPDATE rollup_state
SET rolled_up_to = $1,
    due_at = greatest(now() + make_interval(secs => $2), clock_timestamp() + 4 * (clock_timestamp() - now()))
RETURNING extract(epoch FROM due_at - clock_timestamp())::float8

-- delete_old_stats --
-- Deletes up to $2 rows of minutes more than $1 ago.
DELETE FROM delivery_stats
WHERE ctid = ANY (ARRAY(SELECT ctid FROM delivery_stats WHERE minute < now() - $1::interval ORDER BY minute LIMIT $2))

-- delete_old_audit_entries --
-- Deletes up to $2 entries of the audit log that are older than $1, the oldest first; returns how many.
SELECT delete_old_audit_entries($1, $2)

-- create_partitions --
-- Makes the partitions that are needed now.
SELECT create_current_partitions()

-- begin_retention --
-- Settings of each transaction of a pass: how long it waits for locks ($1); and a day's partition must be found by
-- index, whatever its statistics say, and the others left out.
SELECT set_config('lock_timeout', $1, true), set_config('enable_seqscan', 'off', true),
       set_config('plan_cache_mode', 'force_custom_plan', true)

-- try_lock_retention --
-- Whether this transaction is now the one that retains; the lock ends with it.
SELECT pg_try_advisory_xact_lock(hashtext('webhook:retention'))

-- keep_lock --
-- Settings of that transaction: it idles for as long as the pass takes, and the server notices within three minutes when
-- the other side is gone.
SELECT set_config('idle_in_transaction_session_timeout', '0', true), set_config('tcp_keepalives_idle', '60', true),
       set_config('tcp_keepalives_interval', '10', true)

-- select_due_partitions --
-- Tables whose day ended more than $1 ago, attached or not, in the order in which they must go, with the statements
-- that act on them (names quoted by the server). $2 is how long after its day an unfinished delivery may hold one.
WITH tables AS MATERIALIZED (  -- so that no other table's name is read as a date
    SELECT p.parent::regclass AS parent, p.step, c.oid::regclass AS partition, c.relname::text AS name
    FROM unnest(ARRAY['webhook_deliveries', 'unsuccessful_deliveries', 'delivery_attempts', 'webhook_events'])
        WITH ORDINALITY AS p (parent, step)
    JOIN pg_class AS parent ON parent.oid = p.parent::regclass
    JOIN pg_class AS c
      ON c.relnamespace = parent.relnamespace AND c.relkind = 'r' AND c.relname ~ ('^' || p.parent || '_[0-9]{8}$')
), dated AS (
    SELECT *, to_date(right(name, 8), 'YYYYMMDD') AS day FROM tables
)
SELECT d.name, d.day,
       i.inhrelid IS NOT NULL AS attached,
       coalesce(i.inhdetachpending, false) AS detaching,
       (d.day + 1)::timestamp AT TIME ZONE 'UTC' <= now() - $2::interval AS past_expiry,
       format('ALTER TABLE %s DETACH PARTITION %s CONCURRENTLY', d.parent, d.partition) AS detach,
       format('ALTER TABLE %s DETACH PARTITION %s FINALIZE', d.parent, d.partition) AS finalize,
       format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)', d.parent, d.partition,
              uuid_of_day(d.day), uuid_of_day(d.day + 1)) AS attach,
       CASE WHEN d.parent = 'webhook_deliveries'::regclass THEN
           format('SELECT EXISTS (SELECT FROM delivery_queue WHERE delivery_id >= %L AND delivery_id < %L)'
                  ' OR EXISTS (SELECT FROM event_expansions WHERE event_id >= %L AND event_id < %L)',
                  uuid_of_day(d.day), uuid_of_day(d.day + 1), uuid_of_day(d.day), uuid_of_day(d.day + 1))
       END AS has_unfinished,
       format('DROP TABLE IF EXISTS %s', d.partition) AS drop
FROM dated AS d
LEFT JOIN pg_inherits AS i ON i.inhrelid = d.partition
WHERE (d.day + 1)::timestamp AT TIME ZONE 'UTC' <= now() - $1::interval
ORDER BY d.day, d.step

-- day_is_in_use --
-- Whether a day's partitions are needed: by an unfinished delivery, by one that failed less than $3 ago and may be retried, by
-- an event that is to get more deliveries, or by a roll-up that has yet to settle its attempts.
SELECT EXISTS (
    SELECT FROM delivery_queue
    WHERE delivery_id >= uuid_of_day($1) AND delivery_id < uuid_of_day($1 + 1)
) OR EXISTS (
    SELECT FROM unsuccessful_deliveries
    WHERE id >= uuid_of_day($1) AND id < uuid_of_day($1 + 1) AND status = 'failed' AND ended_at > now() - $3::interval
) OR EXISTS (
    SELECT FROM event_expansions WHERE event_id >= uuid_of_day($1) AND event_id < uuid_of_day($1 + 1)
) OR EXISTS (
    SELECT FROM delivery_attempts
    WHERE delivery_id >= uuid_of_day($1) AND delivery_id < uuid_of_day($1 + 1) AND recorded_at > now() - $2::interval
)

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

-- check_queue --
-- Compares the $2 deliveries of history whose ids follow $1 with the queue, both of one snapshot: those that are pending and
-- not in it, and those that are in it and not pending. Goes to $3, above all ids, when fewer are left.
WITH passed AS MATERIALIZED (
    SELECT id, status FROM webhook_deliveries WHERE id > $1 ORDER BY id LIMIT $2
), last AS MATERIALIZED (
    SELECT CASE WHEN (SELECT count(*) FROM passed) < $2 THEN $3::uuid
                ELSE (SELECT id FROM passed ORDER BY id DESC LIMIT 1) END AS id
), queued AS MATERIALIZED (
    SELECT delivery_id FROM delivery_queue WHERE delivery_id > $1 AND delivery_id <= (SELECT id FROM last)
), compared AS (
    SELECT coalesce(p.id, q.delivery_id) AS id, q.delivery_id IS NULL AS missing
    FROM passed p FULL JOIN queued q ON q.delivery_id = p.id
    WHERE coalesce(p.status = 'pending', false) <> (q.delivery_id IS NOT NULL)
)
SELECT (SELECT id FROM last) AS last, count(*) FILTER (WHERE missing) AS missing,
       count(*) FILTER (WHERE NOT missing) AS orphaned,
       coalesce((array_agg(id ORDER BY id))[1:10], '{}') AS examples
FROM compared
