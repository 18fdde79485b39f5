-- select_whole --
-- Reads deliveries of a tenant ($1 and $2; $3 and $4: least and greatest id). held_by: what keeps one from being sent though
-- it is due; what held its subscription at its last turn if it is not the subscription's state, or '' if that held nothing.
-- traceparent: of its event, if that is traced and still retained.
SELECT d.*, (SELECT e.traceparent FROM webhook_events e WHERE e.id = d.event_id) AS traceparent,
       CASE WHEN d.status IN ('pending', 'scheduled') AND d.due_at <= now()
            THEN CASE WHEN s.status <> 'active' THEN s.status WHEN h.breaker <> 'closed' THEN 'breaker_open'
                      ELSE coalesce(t.held_by, '') END
       END AS held_by
FROM deliveries d
LEFT JOIN subscriptions s ON s.id = d.subscription_id
LEFT JOIN subscription_health h ON h.subscription_id = d.subscription_id
LEFT JOIN due_subscriptions t ON t.subscription_id = d.subscription_id
WHERE d.id = ANY($1::uuid[]) AND d.id BETWEEN $3 AND $4 AND d.tenant_id = $2

-- select_attempts --
-- Reads the attempts of deliveries ($1; $2 and $3: least and greatest id), of each the oldest first.
SELECT delivery_id, number, started_at, duration_ms, status_code, outcome, error_message, response_body,
       details, actor
FROM delivery_attempts
WHERE delivery_id = ANY($1::uuid[]) AND delivery_id BETWEEN $2 AND $3
ORDER BY delivery_id, number

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
-- Locks the rows of a tenant's unfinished deliveries ($1) in the queue.
SELECT delivery_id, claim_token IS NOT NULL AS in_flight, scheduled FROM delivery_queue
WHERE delivery_id = ANY($1::uuid[]) AND tenant_id = $2
ORDER BY delivery_id
FOR UPDATE

-- lock_deliveries --
-- Locks deliveries of a tenant ($1 and $2; $3 and $4: least and greatest id) in history, with what decides whether each can
-- be sent again. event: a list of its traceparent; null if the payload is not retained.
SELECT d.*, now() AS now, s.deleted_at IS NOT NULL AS subscription_deleted, s.status = 'disabled' AS subscription_disabled,
       s.status = 'active' AND s.rate_limit_per_second IS NULL AND coalesce(h.breaker, 'closed') = 'closed' AS steady,
       coalesce(h.breaker = 'open' AND h.probe_delivery_id IS NULL, false) AS wants_probe,
       (SELECT ARRAY[e.traceparent] FROM webhook_events e WHERE e.id = d.event_id) AS event
FROM webhook_deliveries d
JOIN subscriptions s ON s.id = d.subscription_id
LEFT JOIN subscription_health h ON h.subscription_id = d.subscription_id
WHERE d.id = ANY($1::uuid[]) AND d.id BETWEEN $3 AND $4 AND d.tenant_id = $2
ORDER BY d.id
FOR UPDATE OF d

-- select_queued --
-- Which deliveries are in the queue, without a lock of their rows.
SELECT delivery_id FROM delivery_queue WHERE delivery_id = ANY($1::uuid[])

-- select_waiting --
-- Reads how many unfinished deliveries tenant $1 has, by sums that are at most $3 seconds old, and how many it may have, $2
-- unless it has a quota of its own; no row without those.
SELECT u.waiting_deliveries AS waiting, coalesce(t.max_waiting_deliveries, $2) AS quota
FROM tenant_usage u
JOIN tenants t ON t.id = u.tenant_id
JOIN usage_state s ON s.measured_at > now() - make_interval(secs => $3)
WHERE u.tenant_id = $1

-- retry_deliveries --
-- Makes locked deliveries ($1; $4 and $5: least and greatest id) pending and restarts their retry schedules; the dispatcher
-- ignores each for the seconds of $2, and they expire in $3 hours at the earliest. $6 asks for their next attempts. One that
-- has ended comes back to the queue, and is 'pending' in history again.
WITH asked AS MATERIALIZED (
    SELECT id, hold_seconds FROM unnest($1::uuid[], $2::float8[]) AS a (id, hold_seconds)
), queued AS (
    INSERT INTO delivery_queue AS q
        (delivery_id, event_id, subscription_id, tenant_id, created_at, due_at, expires_at, attempt_count, actor)
    SELECT d.id, d.event_id, d.subscription_id, d.tenant_id, d.created_at, now() + make_interval(secs => a.hold_seconds),
           now() + make_interval(hours => $3), d.attempt_count, $6
    FROM asked a JOIN webhook_deliveries d ON d.id = a.id
    WHERE d.id BETWEEN $4 AND $5
    ORDER BY d.id
    ON CONFLICT (delivery_id) DO UPDATE
    SET due_at = excluded.due_at, scheduled = false, failure_count = 0, interrupted_count = 0, actor = excluded.actor,
        expires_at = greatest(q.expires_at, excluded.expires_at)
    WHERE q.claim_token IS NULL
    RETURNING delivery_id
)
UPDATE webhook_deliveries
SET status = 'pending', completed_at = NULL, reason = NULL
WHERE id = ANY($1::uuid[]) AND id BETWEEN $4 AND $5 AND status <> 'pending'

-- unlist --
-- Takes deliveries ($1 to $3: ids, subscriptions, and how they had ended; $4 and $5: least and greatest id) that are pending
-- again out of the list of those that failed or were cancelled.
DELETE FROM unsuccessful_deliveries u
USING unnest($1::uuid[], $2::uuid[], $3::text[]) AS ended (id, subscription_id, status)
WHERE u.subscription_id = ended.subscription_id AND u.status = ended.status::delivery_status AND u.id = ended.id
  AND u.id BETWEEN $4 AND $5

-- ask_for_probes --
-- Ends the cool-downs of subscriptions' open breakers ($1), and asks for a delivery of each ($2) to be the probe, unless
-- another one is asked for already. The dispatcher begins it, as it does every probe.
WITH locked AS (
    SELECT subscription_id FROM subscription_health
    WHERE subscription_id = ANY($1::uuid[])
    ORDER BY subscription_id
    FOR UPDATE
)
UPDATE subscription_health h
SET probe_at = now(), probe_delivery_id = a.delivery_id
FROM unnest($1::uuid[], $2::uuid[]) AS a (subscription_id, delivery_id)
WHERE (SELECT count(*) FROM locked) > 0 AND h.subscription_id = a.subscription_id AND h.breaker = 'open'
  AND h.probe_delivery_id IS NULL

-- select_status --
-- Reads the status of a tenant's live subscription.
SELECT status FROM subscriptions WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL

-- lock_tests --
-- Lets others ask for test events of tenant $1 after this transaction, so that they are counted.
SELECT pg_advisory_xact_lock(hashtext('webhook:endpoint_tests'), hashtext($1))

-- count_tests --
-- Counts the test events of subscription $2 of tenant $1 within $3 seconds, and those of the tenant that are not answered;
-- how long it is until the first of them counts no more.
SELECT count(*) FILTER (WHERE subscription_id = $2) AS of_subscription,
       count(*) FILTER (WHERE outcome IS NULL) AS unanswered,
       extract(epoch FROM min(asked_at) FILTER (WHERE subscription_id = $2) + make_interval(secs => $3) - now())::float8
           AS wait_seconds
FROM endpoint_tests WHERE tenant_id = $1 AND asked_at > now() - make_interval(secs => $3)

-- insert_test --
-- Asks on behalf of $4 for a test event ($1) to be sent to subscription $2 of tenant $3.
INSERT INTO endpoint_tests (id, subscription_id, tenant_id, actor) VALUES ($1, $2, $3, $4)

-- select_test --
-- Reads what became of a test event.
SELECT taken_at IS NOT NULL AS taken, 1 AS number, started_at, duration_ms, status_code, outcome, error_message,
       response_body, details, actor
FROM endpoint_tests WHERE id = $1

-- withdraw_test --
-- Takes back a test event that no worker has taken in hand.
DELETE FROM endpoint_tests WHERE id = $1 AND taken_at IS NULL RETURNING true
