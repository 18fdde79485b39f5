-- select_delivery --
-- Reads one delivery of a tenant. held_by: what keeps it from being sent though it is due, or '' if it is not its
-- subscription's state.
SELECT d.*, CASE WHEN d.status IN ('pending', 'scheduled') AND d.due_at <= now()
                 THEN CASE WHEN s.status <> 'active' THEN s.status WHEN h.breaker <> 'closed' THEN 'breaker_open' ELSE '' END
            END AS held_by
FROM deliveries d
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
-- Reads a page of a subscription's deliveries, newest first.
-- Ranges of (subscription_id, id) in place of subscription_id = $1 leave the generic plan no index but theirs: with few
-- subscriptions it would walk the primary key, past all rows of the others (one of 20, of 400,000 rows: 120 ms; 1 ms so).
SELECT * FROM deliveries
WHERE (subscription_id, id) >= ($1, '00000000-0000-0000-0000-000000000000'::uuid)
  AND (subscription_id, id) < ($1, $2) AND id < $2
ORDER BY subscription_id DESC, id DESC LIMIT $3

-- select_delivered --
-- The same of those that were delivered, which are the most.
SELECT d.*, NULL::timestamptz AS due_at, NULL::timestamptz AS expires_at FROM webhook_deliveries d
WHERE (subscription_id, id) >= ($1, '00000000-0000-0000-0000-000000000000'::uuid)
  AND (subscription_id, id) < ($1, $2) AND id < $2 AND status = 'delivered'
ORDER BY subscription_id DESC, id DESC LIMIT $3

-- find_unsuccessful --
-- Finds a page of a subscription's deliveries that ended in state $3 (failed or cancelled), newest first.
SELECT id FROM unsuccessful_deliveries
WHERE subscription_id = $1 AND id < $2 AND status = $3::text::delivery_status
ORDER BY id DESC LIMIT $4

-- find_newest_in --
-- Finds a page of a subscription's unfinished deliveries in state $3 among its newest $5 deliveries of all states; how many
-- of them it has passed.
WITH newest AS (
    SELECT id, subscription_id FROM webhook_deliveries
    WHERE (subscription_id, id) >= ($1, '00000000-0000-0000-0000-000000000000'::uuid)
      AND (subscription_id, id) < ($1, $2) AND id < $2
    ORDER BY subscription_id DESC, id DESC LIMIT $5
)
SELECT count(*) AS passed,
       ARRAY(SELECT n.id FROM newest n JOIN delivery_queue q ON q.delivery_id = n.id
             WHERE CASE WHEN q.claim_token IS NOT NULL THEN 'in_flight' WHEN q.scheduled THEN 'scheduled' ELSE 'pending' END
                   = $3
             ORDER BY n.id DESC LIMIT $4) AS found
FROM newest

-- find_in_queue --
-- Finds them by sorting all that a subscription has in the queue.
WITH found AS MATERIALIZED (
    SELECT delivery_id, claim_token, scheduled FROM delivery_queue
    WHERE (subscription_id, scheduled) >= ($1, $3 = 'scheduled') AND (subscription_id, scheduled) <= ($1, $3 = 'scheduled')
)
SELECT delivery_id AS id FROM found
WHERE delivery_id < $2
  AND CASE WHEN claim_token IS NOT NULL THEN 'in_flight' WHEN scheduled THEN 'scheduled' ELSE 'pending' END = $3
ORDER BY delivery_id DESC LIMIT $4

-- select_deliveries --
-- Reads deliveries that were found ($1; $2 and $3: least and greatest id), newest first.
SELECT * FROM deliveries
WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3
ORDER BY id DESC

-- select_event_deliveries --
-- Reads a page of an event's deliveries, newest first; their ids lie from $2 to $3, for they begin with the event's.
SELECT * FROM deliveries
WHERE event_id = $1 AND id >= $2 AND id < $3 AND ($4::text IS NULL OR status = $4)
ORDER BY id DESC LIMIT $5

-- lock_queued --
-- Locks the row of a tenant's unfinished delivery in the queue.
SELECT claim_token IS NOT NULL AS in_flight, scheduled FROM delivery_queue
WHERE delivery_id = $1 AND tenant_id = $2
FOR UPDATE

-- lock_delivery --
-- Locks one delivery of a tenant in history, with what decides whether it can be sent again.
SELECT d.*, now() AS now, s.deleted_at IS NOT NULL AS subscription_deleted, s.status = 'disabled' AS subscription_disabled,
       s.status = 'active' AND s.rate_limit_per_second IS NULL AND coalesce(h.breaker, 'closed') = 'closed' AS steady,
       EXISTS (SELECT FROM webhook_events e WHERE e.id = d.event_id) AS payload_retained,
       (SELECT e.traceparent FROM webhook_events e WHERE e.id = d.event_id) AS traceparent
FROM webhook_deliveries d
JOIN subscriptions s ON s.id = d.subscription_id
LEFT JOIN subscription_health h ON h.subscription_id = d.subscription_id
WHERE d.id = $1 AND d.tenant_id = $2
FOR UPDATE OF d

-- is_queued --
-- Whether a delivery is in the queue, without a lock of its row.
SELECT EXISTS (SELECT FROM delivery_queue WHERE delivery_id = $1)

-- retry_delivery --
-- Makes a locked delivery pending and restarts its retry schedule; the dispatcher ignores it for $2 seconds, and it expires
-- in $3 hours at the earliest. One that has ended comes back to the queue, and is 'pending' in history again.
WITH queued AS (
    INSERT INTO delivery_queue AS q
        (delivery_id, event_id, subscription_id, tenant_id, created_at, due_at, expires_at, attempt_count)
    SELECT id, event_id, subscription_id, tenant_id, created_at, now() + make_interval(secs => $2),
           now() + make_interval(hours => $3), attempt_count
    FROM webhook_deliveries WHERE id = $1
    ON CONFLICT (delivery_id) DO UPDATE
    SET due_at = excluded.due_at, scheduled = false, failure_count = 0, interrupted_count = 0,
        expires_at = greatest(q.expires_at, excluded.expires_at)
    WHERE q.claim_token IS NULL
    RETURNING delivery_id
), listed AS (
    DELETE FROM unsuccessful_deliveries u
    USING webhook_deliveries d
    WHERE d.id = $1 AND u.id = $1 AND u.subscription_id = d.subscription_id AND u.status = d.status
)
UPDATE webhook_deliveries
SET status = 'pending', completed_at = NULL, reason = NULL
WHERE id = $1 AND status <> 'pending'

-- ask_for_probe --
-- Ends the cool-down of a subscription's open breaker ($1), and asks for this delivery ($2) to be the probe, unless another
-- one is asked for already. The dispatcher begins it, as it does every probe.
UPDATE subscription_health
SET probe_at = now(), probe_delivery_id = $2
WHERE subscription_id = $1 AND breaker = 'open' AND probe_delivery_id IS NULL
