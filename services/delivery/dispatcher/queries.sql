-- walk_unfinished --
-- Walks the pairs of state and subscription that have unfinished deliveries, jumping from one to the next in the index.
WITH RECURSIVE walk AS (
    (SELECT status, subscription_id FROM webhook_deliveries
     WHERE status IN ('pending', 'scheduled', 'in_flight')
     ORDER BY status, subscription_id LIMIT 1)
    UNION ALL
    SELECT next.status, next.subscription_id
    FROM walk CROSS JOIN LATERAL (
        SELECT d.status, d.subscription_id FROM webhook_deliveries d
        WHERE d.status IN ('pending', 'scheduled', 'in_flight')
          AND (d.status, d.subscription_id) > (walk.status, walk.subscription_id)
        ORDER BY d.status, d.subscription_id LIMIT 1
    ) AS next
)
SELECT walk.status::text AS status, walk.subscription_id, s.deleted_at IS NOT NULL AS deleted
FROM walk LEFT JOIN subscriptions s ON s.id = walk.subscription_id

-- lock_due --
-- Locks what is due, at most $3 for each pair of state ($1) and subscription ($2).
SELECT due.id, turn.status = 'in_flight' AS leased, due.expires_at <= now() AS expired
FROM unnest($1::delivery_status[], $2::uuid[]) AS turn (status, subscription_id)
CROSS JOIN LATERAL (
    SELECT d.id, d.expires_at FROM webhook_deliveries d
    WHERE d.status = turn.status AND d.subscription_id = turn.subscription_id AND d.next_attempt_at <= now()
      AND d.status IN ('pending', 'scheduled', 'in_flight')
    ORDER BY d.next_attempt_at LIMIT $3
    FOR UPDATE SKIP LOCKED
) AS due

-- make_pending --
-- Takes due deliveries in hand: pending, and left alone for $4 seconds ($2 and $3: least and greatest id).
UPDATE webhook_deliveries
SET status = 'pending', next_attempt_at = now() + make_interval(secs => $4)
WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3 AND status IN ('pending', 'scheduled')

-- expire_leases --
-- Turns deliveries whose lease ran out back into due ones, or fails them after $4 times, and leaves an
-- interrupted attempt each ($2 and $3: least and greatest id, $5: seconds of a lease). Answers their state.
WITH expired AS (
    UPDATE webhook_deliveries
    SET status = CASE WHEN interrupted_count + 1 >= $4 THEN 'failed'::delivery_status ELSE 'pending' END,
        reason = CASE WHEN interrupted_count + 1 >= $4 THEN 'worker_lost' END,
        completed_at = CASE WHEN interrupted_count + 1 >= $4 THEN now() END,
        interrupted_count = interrupted_count + 1, claim_token = NULL, next_attempt_at = now()
    WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3 AND status = 'in_flight'
    RETURNING id, subscription_id, tenant_id, attempt_count, status
), recorded AS (
    INSERT INTO delivery_attempts
        (delivery_id, number, subscription_id, tenant_id, started_at, outcome, final, error_message)
    SELECT id, attempt_count, subscription_id, tenant_id, now() - make_interval(secs => $5), 'interrupted',
           status = 'failed', 'the worker was lost before it recorded an outcome'
    FROM expired
    ON CONFLICT (delivery_id, number) DO NOTHING
)
SELECT id, status::text AS status FROM expired

-- count_unfinished --
-- Counts unfinished deliveries, each state up to $1. Waiting ones of deleted subscriptions ($2) are held: none may be sent.
SELECT
    (SELECT count(*) FROM (SELECT 1 FROM webhook_deliveries d
                           WHERE d.status = 'pending' AND d.subscription_id <> ALL($2::uuid[]) LIMIT $1) AS x) AS pending,
    (SELECT count(*) FROM (SELECT 1 FROM webhook_deliveries d
                           WHERE d.status = 'scheduled' AND d.subscription_id <> ALL($2::uuid[]) LIMIT $1) AS x) AS scheduled,
    (SELECT count(*) FROM (SELECT 1 FROM webhook_deliveries d WHERE d.status = 'in_flight' LIMIT $1) AS x) AS in_flight,
    (SELECT count(*) FROM (SELECT 1 FROM webhook_deliveries d
                           WHERE d.status IN ('pending', 'scheduled') AND d.subscription_id = ANY($2::uuid[])
                           LIMIT $1) AS x) AS held_deleted

-- oldest_waiting --
-- How long the longest waiting pending delivery of the subscriptions $1 has waited, in seconds ($2: seconds a rung row is hidden).
SELECT coalesce(max(extract(epoch FROM now() - due.since)), 0)::float8
FROM unnest($1::uuid[]) AS turn (subscription_id)
CROSS JOIN LATERAL (
    SELECT CASE WHEN d.attempt_count = 0 THEN d.created_at
                ELSE least(d.next_attempt_at, now()) - make_interval(secs => $2) END AS since
    FROM webhook_deliveries d
    WHERE d.status = 'pending' AND d.subscription_id = turn.subscription_id
    ORDER BY d.next_attempt_at LIMIT 1
) AS due
