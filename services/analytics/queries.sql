-- select_missing_subscriptions --
-- Which of the subscriptions $1 the tenant does not have, and never had; any tenant if $2 is null.
SELECT asked.id FROM unnest($1::uuid[]) AS asked (id)
WHERE NOT EXISTS (SELECT FROM subscriptions s WHERE s.id = asked.id AND ($2::text IS NULL OR s.tenant_id = $2))
ORDER BY asked.id

-- select_stats --
-- Sums up a window of $3 that ends at the newest roll-up; a row without outcome when it is empty.
SELECT w.window_start, w.window_end, s.*
FROM (
    SELECT rolled_up_to AS window_end, date_bin('1 minute', rolled_up_to - $3::interval, 'epoch') AS window_start
    FROM rollup_state
) AS w
LEFT JOIN LATERAL (
    SELECT outcome, duration_bucket, sum(attempts)::bigint AS attempts, sum(deliveries)::bigint AS deliveries,
           sum(events)::bigint AS events, sum(duration_ms_total)::bigint AS duration_ms_total
    FROM delivery_stats
    WHERE tenant_id = ANY($1::text[]) AND subscription_id = $2 AND event_type = '*'
      AND minute >= w.window_start AND minute <= w.window_end
    GROUP BY outcome, duration_bucket
) AS s ON true

-- select_tenants --
-- All tenants, with those that were deleted: the index of delivery_stats begins with the tenant.
SELECT array_agg(id) FROM tenants

-- select_progress --
-- How far statistics by minute and by hour go.
SELECT r.rolled_up_to AS minutes_to, h.rolled_up_to AS hours_to FROM rollup_state r CROSS JOIN hourly_state h

-- select_minutes --
-- Sums up the minutes from $4 to before $5 in steps of $6, for subscriptions ($2; the nil UUID: all) and event types ($3;
-- '*': all) of tenants ($1).
SELECT subscription_id, event_type, date_bin($6::interval, minute, 'epoch') AS start, outcome, duration_bucket,
       sum(attempts)::bigint AS attempts, sum(deliveries)::bigint AS deliveries, sum(events)::bigint AS events,
       sum(duration_ms_total)::bigint AS duration_ms_total
FROM delivery_stats
WHERE tenant_id = ANY($1::text[]) AND subscription_id = ANY($2::uuid[]) AND event_type = ANY($3::text[])
  AND minute >= $4 AND minute < $5
GROUP BY 1, 2, 3, 4, 5

-- select_hours --
-- The same of whole hours that are over.
SELECT h.subscription_id, h.event_type, date_bin($6::interval, h.hour, 'epoch') AS start, u.outcome, u.duration_bucket,
       sum(u.attempts)::bigint AS attempts, sum(u.deliveries)::bigint AS deliveries, sum(u.events)::bigint AS events,
       sum(u.duration_ms_total)::bigint AS duration_ms_total
FROM hourly_stats h
CROSS JOIN LATERAL unnest(h.outcome, h.duration_bucket, h.attempts, h.deliveries, h.events, h.duration_ms_total)
    AS u (outcome, duration_bucket, attempts, deliveries, events, duration_ms_total)
WHERE h.tenant_id = ANY($1::text[]) AND h.subscription_id = ANY($2::uuid[]) AND h.event_type = ANY($3::text[])
  AND h.hour >= $4 AND h.hour < $5
GROUP BY 1, 2, 3, 4, 5

-- rank_subscriptions --
-- The $5 subscriptions of tenants ($1) with the most attempts, and ends of deliveries, in the hours from $2 to before $3
-- and the minutes from $3 to before $4. Of more than $6 rows of a tenant's hours, and of its minutes, the newest rank. Ranges of
-- (tenant_id, minute) leave the plan no index but that of the tenant's: others' rows are not passed.
SELECT subscription_id::text AS name
FROM (
    SELECT s.subscription_id, s.attempts + s.deliveries AS volume
    FROM unnest($1::text[]) AS tenant (id) CROSS JOIN LATERAL (
        SELECT subscription_id, attempts, deliveries FROM delivery_stats
        WHERE (tenant_id, minute) >= (tenant.id, $3) AND (tenant_id, minute) < (tenant.id, $4) AND event_type = '*'
        ORDER BY tenant_id DESC, minute DESC LIMIT $6
    ) AS s
    UNION ALL
    SELECT h.subscription_id, u.attempts + u.deliveries
    FROM unnest($1::text[]) AS tenant (id) CROSS JOIN LATERAL (
        SELECT subscription_id, attempts, deliveries FROM hourly_stats
        WHERE (tenant_id, hour) >= (tenant.id, $2) AND (tenant_id, hour) < (tenant.id, $3) AND event_type = '*'
        ORDER BY tenant_id DESC, hour DESC LIMIT $6
    ) AS h
    CROSS JOIN LATERAL unnest(h.attempts, h.deliveries) AS u (attempts, deliveries)
) AS counted
WHERE subscription_id <> '00000000-0000-0000-0000-000000000000'
GROUP BY subscription_id
ORDER BY sum(volume) DESC, subscription_id
LIMIT $5

-- rank_event_types --
-- The same of event types: those with the most attempts, ends of deliveries, and accepted events.
SELECT event_type AS name
FROM (
    SELECT s.event_type, s.attempts + s.deliveries + s.events AS volume
    FROM unnest($1::text[]) AS tenant (id) CROSS JOIN LATERAL (
        SELECT event_type, attempts, deliveries, events FROM delivery_stats
        WHERE (tenant_id, minute) >= (tenant.id, $3) AND (tenant_id, minute) < (tenant.id, $4) AND event_type <> '*'
        ORDER BY tenant_id DESC, minute DESC LIMIT $6
    ) AS s
    UNION ALL
    SELECT h.event_type, u.attempts + u.deliveries + u.events
    FROM unnest($1::text[]) AS tenant (id) CROSS JOIN LATERAL (
        SELECT event_type, attempts, deliveries, events FROM hourly_stats
        WHERE (tenant_id, hour) >= (tenant.id, $2) AND (tenant_id, hour) < (tenant.id, $3) AND event_type <> '*'
        ORDER BY tenant_id DESC, hour DESC LIMIT $6
    ) AS h
    CROSS JOIN LATERAL unnest(h.attempts, h.deliveries, h.events) AS u (attempts, deliveries, events)
) AS counted
WHERE event_type <> 'other'
GROUP BY event_type
ORDER BY sum(volume) DESC, event_type
LIMIT $5

-- add_refusals --
-- Adds refused events to their hours: $1 tenants, $2 subscriptions (null: none), $3 reasons, $4 numbers, $5 when the last was
-- refused, which is not after now. Gateways do not know which subscriptions there are: of those that the tenant never had, which
-- anybody can make up, all are one. In the order of the key, so that gateways wait for each other and never deadlock.
INSERT INTO refusals AS r (hour, tenant_id, subscription_id, reason, events, last_at)
SELECT date_trunc('hour', least(c.last_at, now()), 'UTC') AS hour, t.id,
       coalesce(s.id, '00000000-0000-0000-0000-000000000000') AS subscription_id, c.reason, sum(c.events)::bigint,
       max(least(c.last_at, now()))
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::timestamptz[])
    AS c (tenant_id, subscription_id, reason, events, last_at)
JOIN tenants t ON t.id = c.tenant_id
LEFT JOIN subscriptions s ON s.id = c.subscription_id AND s.tenant_id = c.tenant_id
GROUP BY 1, 2, 3, 4
ORDER BY 2, 1, 3, 4
ON CONFLICT (tenant_id, hour, subscription_id, reason) DO UPDATE
SET events = r.events + excluded.events, last_at = greatest(r.last_at, excluded.last_at)

-- select_refusals --
-- Sums up the refused events of tenants ($1) for subscriptions ($2; empty: all) in the hours from $3 to before $4: the $5 largest
-- counts, and the number of all events. Of more than $6 rows of a tenant, for any subscription, the newest count. Ranges as in
-- rank_subscriptions.
SELECT subscription_id, reason, sum(events)::bigint AS events, max(last_at) AS last_at,
       (sum(sum(events)) OVER ())::bigint AS all_events
FROM unnest($1::text[]) AS tenant (id) CROSS JOIN LATERAL (
    SELECT subscription_id, reason, events, last_at FROM refusals
    WHERE (tenant_id, hour) >= (tenant.id, $3) AND (tenant_id, hour) < (tenant.id, $4)
    ORDER BY tenant_id DESC, hour DESC LIMIT $6
) AS counted
WHERE cardinality($2::uuid[]) = 0 OR subscription_id = ANY($2)
GROUP BY 1, 2
ORDER BY 3 DESC, 4 DESC, 1, 2
LIMIT $5

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

-- select_wrong_minutes --
-- Compares the sums of the minutes from $1 to before $2 with their rows, counted as below, and returns the minutes that differ,
-- and those with types that share a row: which are the largest is known when the minute is over.
WITH counted AS (
    SELECT tenant_id, date_bin('1 minute', recorded_at, 'epoch') AS minute, outcome,
           coalesce(width_bucket(duration_ms, $3::integer[]), -1)::smallint AS duration_bucket,
           count(*) AS attempts, count(*) FILTER (WHERE final) AS deliveries, 0::bigint AS events,
           coalesce(sum(duration_ms), 0)::bigint AS duration_ms_total
    FROM delivery_attempts
    WHERE recorded_at >= $1 AND recorded_at < $2
    GROUP BY 1, 2, 3, 4
    UNION ALL
    SELECT tenant_id, date_bin('1 minute', ended_at, 'epoch'), status::text, -1::smallint, 0, sum(deliveries), 0, 0
    FROM unattempted_ends
    WHERE ended_at >= $1 AND ended_at < $2
    GROUP BY 1, 2, 3
    UNION ALL
    SELECT e.tenant_id, m.minute, 'accepted', -1::smallint, 0, 0, e.events, 0
    FROM unnest($4::timestamptz[], $5::uuid[], $6::uuid[]) AS m (minute, least, beyond)
    CROSS JOIN LATERAL (
        SELECT tenant_id, count(*) AS events FROM webhook_events WHERE id >= m.least AND id < m.beyond
        GROUP BY 1 OFFSET 0
    ) AS e
), fresh AS MATERIALIZED (
    SELECT tenant_id, minute, outcome, duration_bucket, sum(attempts)::bigint AS attempts,
           sum(deliveries)::bigint AS deliveries, sum(events)::bigint AS events,
           sum(duration_ms_total)::bigint AS duration_ms_total
    FROM counted
    GROUP BY 1, 2, 3, 4
), summed AS MATERIALIZED (
    SELECT tenant_id, event_type, minute, outcome, duration_bucket, attempts, deliveries, events, duration_ms_total
    FROM delivery_stats
    WHERE minute >= $1 AND minute < $2 AND subscription_id = '00000000-0000-0000-0000-000000000000'
), stored AS (
    SELECT tenant_id, minute, outcome, duration_bucket, attempts, deliveries, events, duration_ms_total
    FROM summed WHERE event_type = '*'
)
SELECT minute FROM (SELECT * FROM fresh EXCEPT ALL SELECT * FROM stored) AS changed
UNION
SELECT minute FROM (SELECT * FROM stored EXCEPT ALL SELECT * FROM fresh) AS gone
UNION
SELECT minute FROM summed WHERE event_type = 'other'

-- write_stats --
-- Counts what was recorded from $1 to before $2: attempts ($3: duration bounds), ends of deliveries, and accepted events by the
-- time in their ids ($4 to $6: minutes, and the least id of each and the one before which it ends). It is added to its minutes
-- ($7), or replaces what they have, and then rows that are right already are not written. Only the $8 largest event types of a
-- tenant's minute get rows, where it is added to those that have rows first; the others share one. Returns how many rows changed.
WITH counted AS MATERIALIZED (
    SELECT tenant_id, subscription_id, coalesce(event_type, '') AS event_type,
           date_bin('1 minute', recorded_at, 'epoch') AS minute, outcome,
           coalesce(width_bucket(duration_ms, $3::integer[]), -1)::smallint AS duration_bucket,
           count(*) AS attempts, count(*) FILTER (WHERE final) AS deliveries, 0::bigint AS events,
           coalesce(sum(duration_ms), 0)::bigint AS duration_ms_total
    FROM delivery_attempts
    WHERE recorded_at >= $1 AND recorded_at < $2
    GROUP BY 1, 2, 3, 4, 5, 6
    UNION ALL
    SELECT tenant_id, subscription_id, coalesce(event_type, ''), date_bin('1 minute', ended_at, 'epoch'), status::text,
           -1::smallint, 0, sum(deliveries), 0, 0
    FROM unattempted_ends
    WHERE ended_at >= $1 AND ended_at < $2
    GROUP BY 1, 2, 3, 4, 5
    UNION ALL
    SELECT e.tenant_id, '00000000-0000-0000-0000-000000000000', e.event_type, m.minute, 'accepted', -1::smallint, 0, 0,
           e.events, 0
    FROM unnest($4::timestamptz[], $5::uuid[], $6::uuid[]) AS m (minute, least, beyond)
    CROSS JOIN LATERAL (
        SELECT tenant_id, coalesce(event_type, '') AS event_type, count(*) AS events
        FROM webhook_events WHERE id >= m.least AND id < m.beyond
        GROUP BY 1, 2 OFFSET 0
    ) AS e
), typed AS MATERIALIZED (
    SELECT tenant_id, event_type, minute, outcome, duration_bucket, sum(attempts)::bigint AS attempts,
           sum(deliveries)::bigint AS deliveries, sum(events)::bigint AS events,
           sum(duration_ms_total)::bigint AS duration_ms_total
    FROM counted
    GROUP BY 1, 2, 3, 4, 5
), ranked AS MATERIALIZED (
    SELECT tenant_id, event_type, minute,
           row_number() OVER (PARTITION BY tenant_id, minute
                              ORDER BY bool_or(has_row) DESC, sum(volume) DESC, event_type) AS place
    FROM (
        SELECT tenant_id, event_type, minute, attempts + deliveries + events AS volume, false AS has_row FROM typed
        UNION ALL
        SELECT s.tenant_id, s.event_type, s.minute, 0, true
        FROM (SELECT DISTINCT tenant_id, minute FROM typed) AS t CROSS JOIN LATERAL (
            SELECT DISTINCT tenant_id, event_type, minute FROM delivery_stats
            WHERE tenant_id = t.tenant_id AND minute = t.minute AND event_type <> '*'
        ) AS s
        WHERE $7
    ) AS candidates
    WHERE event_type <> 'other'
    GROUP BY 1, 2, 3
), fresh AS MATERIALIZED (
    SELECT tenant_id, subscription_id, '*' AS event_type, minute, outcome, duration_bucket,
           sum(attempts)::bigint AS attempts, sum(deliveries)::bigint AS deliveries, sum(events)::bigint AS events,
           sum(duration_ms_total)::bigint AS duration_ms_total
    FROM counted
    WHERE subscription_id <> '00000000-0000-0000-0000-000000000000'
    GROUP BY 1, 2, 3, 4, 5, 6
    UNION ALL
    SELECT tenant_id, '00000000-0000-0000-0000-000000000000', '*', minute, outcome, duration_bucket,
           sum(attempts)::bigint, sum(deliveries)::bigint, sum(events)::bigint, sum(duration_ms_total)::bigint
    FROM typed
    GROUP BY 1, 4, 5, 6
    UNION ALL
    SELECT t.tenant_id, '00000000-0000-0000-0000-000000000000',
           CASE WHEN r.place <= $8 THEN t.event_type ELSE 'other' END, t.minute, t.outcome, t.duration_bucket,
           sum(t.attempts)::bigint, sum(t.deliveries)::bigint, sum(t.events)::bigint, sum(t.duration_ms_total)::bigint
    FROM typed t
    LEFT JOIN ranked r ON r.tenant_id = t.tenant_id AND r.event_type = t.event_type AND r.minute = t.minute
    GROUP BY 1, 3, 4, 5, 6
), stored AS MATERIALIZED (
    SELECT tenant_id, subscription_id, event_type, minute, outcome, duration_bucket, attempts, deliveries, events,
           duration_ms_total
    FROM delivery_stats
    WHERE minute >= $1 AND minute < $2 AND NOT $7
), written AS (
    INSERT INTO delivery_stats AS s
        (tenant_id, subscription_id, event_type, minute, outcome, duration_bucket, attempts, deliveries, events,
         duration_ms_total)
    SELECT * FROM (SELECT * FROM fresh EXCEPT ALL SELECT * FROM stored) AS changed
    ON CONFLICT (tenant_id, subscription_id, event_type, minute, outcome, duration_bucket) DO UPDATE
    SET attempts = excluded.attempts + CASE WHEN $7 THEN s.attempts ELSE 0 END,
        deliveries = excluded.deliveries + CASE WHEN $7 THEN s.deliveries ELSE 0 END,
        events = excluded.events + CASE WHEN $7 THEN s.events ELSE 0 END,
        duration_ms_total = excluded.duration_ms_total + CASE WHEN $7 THEN s.duration_ms_total ELSE 0 END
    RETURNING 1
), gone AS (
    DELETE FROM delivery_stats AS s
    USING (
        SELECT tenant_id, subscription_id, event_type, minute, outcome, duration_bucket FROM stored
        EXCEPT ALL
        SELECT tenant_id, subscription_id, event_type, minute, outcome, duration_bucket FROM fresh
    ) AS g
    WHERE s.tenant_id = g.tenant_id AND s.subscription_id = g.subscription_id AND s.event_type = g.event_type
      AND s.minute = g.minute AND s.outcome = g.outcome AND s.duration_bucket = g.duration_bucket
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

-- take_hour --
-- Locks how far hourly_stats goes until the transaction ends, if the minutes of the next hour settled ($1 after its end);
-- no row when they have not, or another copy has it.
SELECT h.rolled_up_to AS hour
FROM hourly_state h CROSS JOIN rollup_state r
WHERE r.rolled_up_to >= h.rolled_up_to + interval '1 hour' + $1::interval
FOR UPDATE OF h SKIP LOCKED

-- roll_up_hour --
-- Sums up the minutes of the hour that begins at $1. Of event types, a tenant's $2 largest get rows; the others share one.
WITH summed AS MATERIALIZED (
    SELECT tenant_id, subscription_id, event_type, outcome, duration_bucket, sum(attempts)::bigint AS attempts,
           sum(deliveries)::bigint AS deliveries, sum(events)::bigint AS events,
           sum(duration_ms_total)::bigint AS duration_ms_total
    FROM delivery_stats
    WHERE minute >= $1 AND minute < $1::timestamptz + interval '1 hour'
    GROUP BY 1, 2, 3, 4, 5
), ranked AS MATERIALIZED (
    SELECT tenant_id, event_type,
           row_number() OVER (PARTITION BY tenant_id ORDER BY sum(attempts + deliveries + events) DESC, event_type) AS place
    FROM summed
    WHERE event_type NOT IN ('*', 'other')
    GROUP BY 1, 2
), named AS (
    SELECT s.tenant_id, s.subscription_id,
           CASE WHEN s.event_type = '*' OR r.place <= $2 THEN s.event_type ELSE 'other' END AS event_type,
           s.outcome, s.duration_bucket, sum(s.attempts)::int AS attempts, sum(s.deliveries)::int AS deliveries,
           sum(s.events)::int AS events, sum(s.duration_ms_total)::bigint AS duration_ms_total
    FROM summed s LEFT JOIN ranked r ON r.tenant_id = s.tenant_id AND r.event_type = s.event_type
    GROUP BY 1, 2, 3, 4, 5
)
INSERT INTO hourly_stats (hour, tenant_id, subscription_id, event_type, outcome, duration_bucket, attempts, deliveries,
                          events, duration_ms_total)
SELECT $1, tenant_id, subscription_id, event_type, array_agg(outcome), array_agg(duration_bucket), array_agg(attempts),
       array_agg(deliveries), array_agg(events), array_agg(duration_ms_total)
FROM named
GROUP BY tenant_id, subscription_id, event_type
ON CONFLICT DO NOTHING

-- finish_hour --
-- Notes that hourly_stats has the hour that begins at $1.
UPDATE hourly_state SET rolled_up_to = $1::timestamptz + interval '1 hour'

-- delete_old_hours --
-- Deletes up to $2 rows of hours more than $1 ago.
DELETE FROM hourly_stats
WHERE ctid = ANY (ARRAY(SELECT ctid FROM hourly_stats WHERE hour < now() - $1::interval ORDER BY hour LIMIT $2))

-- delete_old_refusals --
-- The same of refused events.
DELETE FROM refusals
WHERE ctid = ANY (ARRAY(SELECT ctid FROM refusals WHERE hour < now() - $1::interval ORDER BY hour LIMIT $2))

-- delete_old_ends --
-- Deletes up to $2 ends of deliveries whose minutes settled: more than $1 before the newest roll-up.
DELETE FROM unattempted_ends
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM unattempted_ends
    WHERE ended_at < (SELECT rolled_up_to FROM rollup_state) - $1::interval ORDER BY ended_at LIMIT $2
))

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
    FROM unnest(ARRAY['webhook_deliveries', 'unsuccessful_deliveries', 'delivery_attempts', 'event_tags', 'webhook_events'])
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
           format('SELECT EXISTS (SELECT FROM delivery_queue WHERE delivery_id >= %1$L AND delivery_id < %2$L)'
                  ' OR EXISTS (SELECT FROM event_expansions WHERE event_id >= %1$L AND event_id < %2$L)'
                  ' OR EXISTS (SELECT FROM scheduled_events WHERE id >= %1$L AND id < %2$L)',
                  uuid_of_day(d.day), uuid_of_day(d.day + 1))
       END AS has_unfinished,
       format('DROP TABLE IF EXISTS %s', d.partition) AS drop
FROM dated AS d
LEFT JOIN pg_inherits AS i ON i.inhrelid = d.partition
WHERE (d.day + 1)::timestamp AT TIME ZONE 'UTC' <= now() - $1::interval
ORDER BY d.day, d.step

-- day_is_in_use --
-- Whether a day's partitions are needed: by an unfinished delivery, by one that failed less than $3 ago and may be retried, by
-- an event that is to get more deliveries or was due on it and is not moved yet, or by a roll-up that has yet to settle its attempts.
SELECT EXISTS (
    SELECT FROM delivery_queue
    WHERE delivery_id >= uuid_of_day($1) AND delivery_id < uuid_of_day($1 + 1)
) OR EXISTS (
    SELECT FROM unsuccessful_deliveries
    WHERE id >= uuid_of_day($1) AND id < uuid_of_day($1 + 1) AND status = 'failed' AND ended_at > now() - $3::interval
) OR EXISTS (
    SELECT FROM event_expansions WHERE event_id >= uuid_of_day($1) AND event_id < uuid_of_day($1 + 1)
) OR EXISTS (
    SELECT FROM scheduled_events WHERE id >= uuid_of_day($1) AND id < uuid_of_day($1 + 1)
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
    WHERE minute > now() - interval '5 minutes' AND minute <= now() AND event_type = '*'
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
