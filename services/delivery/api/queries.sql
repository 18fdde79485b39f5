-- select_delivery --
-- Reads one delivery of a tenant. held_by: what keeps it from being sent though it is due, or '' if it is not its
-- subscription's state.
SELECT d.*, CASE WHEN d.status IN ('pending', 'scheduled') AND d.next_attempt_at <= now()
                 THEN CASE WHEN s.status <> 'active' THEN s.status WHEN h.breaker <> 'closed' THEN 'breaker_open' ELSE '' END
            END AS held_by
FROM webhook_deliveries d
LEFT JOIN subscriptions s ON s.id = d.subscription_id
LEFT JOIN subscription_health h ON h.subscription_id = d.subscription_id
WHERE d.id = $1 AND d.tenant_id = $2

-- select_attempts --
-- Reads a delivery's attempts, oldest first.
SELECT * FROM delivery_attempts WHERE delivery_id = $1 ORDER BY number

-- subscription_exists --
-- Whether a tenant has, or had, this subscription; any tenant if $2 is null.
SELECT EXISTS (SELECT FROM subscriptions WHERE id = $1 AND ($2::text IS NULL OR tenant_id = $2))

-- event_exists --
-- Whether a tenant has this event, and it is still retained; any tenant if $2 is null.
SELECT EXISTS (SELECT FROM webhook_events WHERE id = $1 AND ($2::text IS NULL OR tenant_id = $2))

-- select_subscription_deliveries --
-- Reads a page of a subscription's deliveries, newest first; in state $3 unless it is null.
-- Ranges of (subscription_id, id) in place of subscription_id = $1 leave the generic plan no index but theirs: with few
-- subscriptions it would walk the primary key, past all rows of the others (one of 20, of 400,000 rows: 120 ms; 1 ms so).
SELECT * FROM webhook_deliveries
WHERE (subscription_id, id) >= ($1, '00000000-0000-0000-0000-000000000000'::uuid)
  AND (subscription_id, id) < ($1, $2) AND id < $2 AND ($3::text IS NULL OR status::text = $3)
ORDER BY subscription_id DESC, id DESC LIMIT $4

-- select_event_deliveries --
-- Reads a page of an event's deliveries, newest first; their ids lie from $2 to $3, for they begin with the event's.
SELECT * FROM webhook_deliveries
WHERE event_id = $1 AND id >= $2 AND id < $3 AND ($4::text IS NULL OR status::text = $4)
ORDER BY id DESC LIMIT $5

-- lock_delivery --
-- Locks one delivery of a tenant, with what decides whether it can be sent again.
SELECT d.*, now() AS now, s.deleted_at IS NOT NULL AS subscription_deleted, s.status = 'disabled' AS subscription_disabled,
       s.status = 'active' AND s.rate_limit_per_second IS NULL AND coalesce(h.breaker, 'closed') = 'closed' AS steady,
       EXISTS (SELECT FROM webhook_events e WHERE e.id = d.event_id) AS payload_retained,
       (SELECT e.traceparent FROM webhook_events e WHERE e.id = d.event_id) AS traceparent
FROM webhook_deliveries d
JOIN subscriptions s ON s.id = d.subscription_id
LEFT JOIN subscription_health h ON h.subscription_id = d.subscription_id
WHERE d.id = $1 AND d.tenant_id = $2
FOR UPDATE OF d

-- retry_delivery --
-- Makes a locked delivery pending and restarts its retry schedule; the dispatcher ignores it for $2 seconds.
UPDATE webhook_deliveries
SET status = 'pending', next_attempt_at = now() + make_interval(secs => $2), completed_at = NULL, reason = NULL,
    failure_count = 0, interrupted_count = 0,
    expires_at = greatest(expires_at, now() + make_interval(hours => $3))
WHERE id = $1 AND status <> 'in_flight'
RETURNING *

-- ask_for_probe --
-- Ends the cool-down of a subscription's open breaker ($1), and asks for this delivery ($2) to be the probe, unless another
-- one is asked for already. The dispatcher begins it, as it does every probe.
UPDATE subscription_health
SET probe_at = now(), probe_delivery_id = $2
WHERE subscription_id = $1 AND breaker = 'open' AND probe_delivery_id IS NULL

-- cancel_delivery --
-- Cancels a locked delivery.
UPDATE webhook_deliveries
SET status = 'cancelled', completed_at = now(), reason = 'cancelled'
WHERE id = $1 AND status IN ('pending', 'scheduled')
RETURNING *
