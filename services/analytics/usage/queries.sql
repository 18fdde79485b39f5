-- take_turn --
-- Locks the state of the sums until the transaction ends; no row when another copy has it.
SELECT extract(epoch FROM due_at - now())::float8 AS due_in_seconds FROM usage_state FOR UPDATE SKIP LOCKED

-- sum_up --
-- Sums up what each tenant has. The rate of its events is that since the sums before. Rows that are right already are not
-- written. Of scheduled events the changes are added to their sums, which are then no longer changes.
WITH state AS (
    SELECT extract(epoch FROM now() - measured_at)::float8 + 0.001 AS passed FROM usage_state
), changed AS (
    DELETE FROM scheduled_changes RETURNING *
), added AS (
    INSERT INTO scheduled_sums AS s (tenant_id, events, bytes)
    SELECT tenant_id, sum(events), sum(bytes) FROM changed GROUP BY tenant_id ORDER BY tenant_id
    ON CONFLICT (tenant_id) DO UPDATE SET events = s.events + excluded.events, bytes = s.bytes + excluded.bytes
), scheduled AS (
    SELECT tenant_id, sum(events) AS events, sum(bytes) AS bytes
    FROM (SELECT * FROM scheduled_sums UNION ALL SELECT * FROM changed) AS both_parts
    GROUP BY tenant_id HAVING sum(events) > 0
), fresh AS MATERIALIZED (
    SELECT tenant_id, sum(subscriptions)::bigint AS subscriptions, sum(waiting)::bigint AS waiting_deliveries,
           sum(bytes)::bigint AS stored_bytes, sum(events)::bigint AS events,
           sum(scheduled_events)::bigint AS scheduled_events, sum(scheduled_bytes)::bigint AS scheduled_bytes
    FROM (
        SELECT tenant_id, count(*) AS subscriptions, 0 AS waiting, 0 AS bytes, 0 AS events, 0 AS scheduled_events,
               0 AS scheduled_bytes
        FROM subscriptions WHERE deleted_at IS NULL GROUP BY tenant_id
        UNION ALL
        -- The table, and not an index of it, which begins with entries of what ended.
        SELECT tenant_id, 0, count(*), 0, 0, 0, 0 FROM delivery_queue GROUP BY tenant_id
        UNION ALL
        -- Those that are still to be made.
        SELECT tenant_id, 0, sum(greatest(targets - made, 0)), 0, 0, 0, 0 FROM event_expansions GROUP BY tenant_id
        UNION ALL
        SELECT tenant_id, 0, 0, sum(bytes), sum(events), 0, 0 FROM tenant_storage GROUP BY tenant_id
        UNION ALL
        SELECT tenant_id, 0, 0, 0, 0, events, bytes FROM scheduled
    ) AS parts
    GROUP BY tenant_id
), gone AS (
    DELETE FROM tenant_usage u WHERE NOT EXISTS (SELECT FROM fresh f WHERE f.tenant_id = u.tenant_id)
)
INSERT INTO tenant_usage AS u
    (tenant_id, subscriptions, waiting_deliveries, stored_bytes, events_per_second, events, scheduled_events,
     scheduled_bytes)
SELECT f.tenant_id, f.subscriptions, f.waiting_deliveries, f.stored_bytes,
       CASE WHEN state.passed IS NULL THEN 0 ELSE greatest(f.events - coalesce(old.events, 0), 0) / state.passed END,
       f.events, f.scheduled_events, f.scheduled_bytes
FROM fresh f CROSS JOIN state LEFT JOIN tenant_usage old ON old.tenant_id = f.tenant_id
ON CONFLICT (tenant_id) DO UPDATE
SET subscriptions = excluded.subscriptions, waiting_deliveries = excluded.waiting_deliveries,
    stored_bytes = excluded.stored_bytes, events_per_second = excluded.events_per_second, events = excluded.events,
    scheduled_events = excluded.scheduled_events, scheduled_bytes = excluded.scheduled_bytes
WHERE (u.subscriptions, u.waiting_deliveries, u.stored_bytes, u.events_per_second, u.events, u.scheduled_events,
       u.scheduled_bytes)
    IS DISTINCT FROM (excluded.subscriptions, excluded.waiting_deliveries, excluded.stored_bytes,
                      excluded.events_per_second, excluded.events, excluded.scheduled_events,
                      excluded.scheduled_bytes)

-- delete_dropped --
-- Forgets what was stored on days whose partition was dropped.
DELETE FROM tenant_storage
WHERE day IN (
    SELECT day FROM (SELECT DISTINCT day FROM tenant_storage) AS days
    WHERE day < (now() AT TIME ZONE 'UTC')::date - 1
      AND to_regclass('webhook_events_' || to_char(day, 'YYYYMMDD')) IS NULL
)

-- finish --
-- Notes when the sums were made, and when they are due again: in $1 seconds, but never so soon that making them takes more
-- than one part in $2 and 1 of the time.
UPDATE usage_state
SET measured_at = now(),
    due_at = greatest(now() + make_interval(secs => $1), clock_timestamp() + $2 * (clock_timestamp() - now()))
RETURNING extract(epoch FROM due_at - clock_timestamp())::float8

-- select_nearest --
-- Reads the $7 tenants nearest to each of their quotas, and how much of it they use ($1 to $6: those of a tenant that has
-- none of its own).
SELECT quota, tenant_id, used
FROM (
    SELECT q.quota, u.tenant_id, q.used,
           row_number() OVER (PARTITION BY q.quota ORDER BY q.used DESC, u.tenant_id) AS place
    FROM tenant_usage u
    JOIN tenants t ON t.id = u.tenant_id
    CROSS JOIN LATERAL (
        VALUES ('subscriptions', u.subscriptions / coalesce(t.max_subscriptions, $1)::float8),
               ('events_per_second', u.events_per_second / coalesce(t.max_events_per_second, $2)),
               ('waiting_deliveries', u.waiting_deliveries / coalesce(t.max_waiting_deliveries, $3)::float8),
               ('stored_bytes', u.stored_bytes / coalesce(t.max_stored_bytes, $4)::float8),
               ('scheduled_events', u.scheduled_events / coalesce(t.max_scheduled_events, $5)::float8),
               ('scheduled_bytes', u.scheduled_bytes / coalesce(t.max_scheduled_bytes, $6)::float8)
    ) AS q (quota, used)
    WHERE q.used > 0
) AS ranked
WHERE place <= $7
