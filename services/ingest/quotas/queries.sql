-- select_limits --
-- Reads the quotas of the tenants that have some of their own, and which tenants use up a quota, by sums that are at most $3
-- seconds old. $1, $2, $4 and $5: the quotas of a tenant that has none of its own.
WITH exhausted AS (
    SELECT u.tenant_id, u.waiting_deliveries, u.stored_bytes, u.scheduled_events, u.scheduled_bytes
    FROM tenant_usage u
    JOIN tenants t ON t.id = u.tenant_id
    JOIN usage_state s ON s.measured_at > now() - make_interval(secs => $3)
    WHERE u.waiting_deliveries >= coalesce(t.max_waiting_deliveries, $1)
       OR u.stored_bytes >= coalesce(t.max_stored_bytes, $2)
       OR u.scheduled_events >= coalesce(t.max_scheduled_events, $4)
       OR u.scheduled_bytes >= coalesce(t.max_scheduled_bytes, $5)
), own AS (
    SELECT id, max_subscriptions, max_events_per_second, max_waiting_deliveries, max_stored_bytes, max_scheduled_events,
           max_scheduled_bytes
    FROM tenants
    WHERE num_nonnulls(max_subscriptions, max_events_per_second, max_waiting_deliveries, max_stored_bytes,
                       max_scheduled_events, max_scheduled_bytes) > 0
      AND deleted_at IS NULL
)
SELECT coalesce(own.id, exhausted.tenant_id) AS tenant_id, own.id IS NOT NULL AS has_own, own.max_subscriptions,
       own.max_events_per_second, own.max_waiting_deliveries, own.max_stored_bytes, own.max_scheduled_events,
       own.max_scheduled_bytes, exhausted.tenant_id IS NOT NULL AS is_exhausted, exhausted.waiting_deliveries,
       exhausted.stored_bytes, exhausted.scheduled_events, exhausted.scheduled_bytes
FROM own FULL JOIN exhausted ON exhausted.tenant_id = own.id

-- add_stored --
-- Adds events and their bytes ($3 and $4) to what tenants ($2) stored on a day ($1). Rows are locked in one order everywhere.
INSERT INTO tenant_storage AS s (day, tenant_id, events, bytes)
SELECT a.day, a.tenant_id, a.events, a.bytes
FROM unnest($1::date[], $2::text[], $3::bigint[], $4::bigint[]) AS a (day, tenant_id, events, bytes)
ORDER BY a.day, a.tenant_id
ON CONFLICT (day, tenant_id) DO UPDATE SET events = s.events + excluded.events, bytes = s.bytes + excluded.bytes

-- select_subscription_quota --
-- Reads how many subscriptions a tenant may have, $2 unless it has a quota of its own, and how many it has by sums that are
-- at most $3 seconds old; null without those.
SELECT coalesce(t.max_subscriptions, $2) AS quota,
       CASE WHEN s.measured_at IS NOT NULL THEN coalesce(u.subscriptions, 0) END AS known
FROM tenants t
LEFT JOIN usage_state s ON s.measured_at > now() - make_interval(secs => $3)
LEFT JOIN tenant_usage u ON u.tenant_id = t.id
WHERE t.id = $1

-- lock_subscription_quota --
-- Lets one transaction at a time count the subscriptions of a tenant and make another.
SELECT pg_advisory_xact_lock(hashtextextended('webhook:subscriptions:' || $1, 0))

-- count_subscriptions --
-- Counts the live subscriptions of a tenant, up to $2.
SELECT count(*) FROM (SELECT FROM subscriptions WHERE tenant_id = $1 AND deleted_at IS NULL LIMIT $2) AS found
