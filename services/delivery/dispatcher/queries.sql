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
SELECT walk.status::text AS state, walk.subscription_id, s.deleted_at IS NOT NULL AS deleted,
       s.status, s.rate_limit_per_second, s.rate_limit_burst, s.endpoint_version,
       coalesce(h.breaker, 'closed') AS breaker, coalesce(h.probe_at <= now(), false) AS probe_due,
       CASE WHEN h.breaker = 'open' THEN h.probe_delivery_id END AS probe_asked_for,
       CASE WHEN h.breaker = 'closed' AND h.openings > 0
            THEN extract(epoch FROM now() - h.breaker_since)::float8 END AS closed_seconds
FROM walk
LEFT JOIN subscriptions s ON s.id = walk.subscription_id
LEFT JOIN subscription_health h ON h.subscription_id = walk.subscription_id

-- survey --
-- Which of the subscriptions $1 have due deliveries, and how many are rung or in flight, each counted to $2.
SELECT turn.subscription_id,
       (SELECT count(*) FROM (SELECT 1 FROM webhook_deliveries d
                              WHERE d.status = 'pending' AND d.subscription_id = turn.subscription_id
                                AND d.next_attempt_at > now() LIMIT $2) AS rung)
       + (SELECT count(*) FROM (SELECT 1 FROM webhook_deliveries d
                                WHERE d.status = 'in_flight' AND d.subscription_id = turn.subscription_id
                                LIMIT $2) AS sent) AS outstanding
FROM unnest($1::uuid[]) AS turn (subscription_id)
WHERE EXISTS (SELECT FROM webhook_deliveries d
              WHERE d.status = 'pending' AND d.subscription_id = turn.subscription_id AND d.next_attempt_at <= now())
   OR EXISTS (SELECT FROM webhook_deliveries d
              WHERE d.status = 'scheduled' AND d.subscription_id = turn.subscription_id AND d.next_attempt_at <= now())

-- find_due --
-- Finds what is due, the longest due first, at most $2 for each of the subscriptions $1.
SELECT turn.subscription_id, due.id
FROM unnest($1::uuid[], $2::int[]) AS turn (subscription_id, number)
CROSS JOIN LATERAL (
    SELECT first.id FROM (
        (SELECT d.id, d.next_attempt_at FROM webhook_deliveries d
         WHERE d.status = 'pending' AND d.subscription_id = turn.subscription_id AND d.next_attempt_at <= now()
         ORDER BY d.next_attempt_at LIMIT turn.number)
        UNION ALL
        (SELECT d.id, d.next_attempt_at FROM webhook_deliveries d
         WHERE d.status = 'scheduled' AND d.subscription_id = turn.subscription_id AND d.next_attempt_at <= now()
         ORDER BY d.next_attempt_at LIMIT turn.number)
    ) AS first
    ORDER BY first.next_attempt_at LIMIT turn.number
) AS due

-- take_due --
-- Takes due deliveries ($1; $2 and $3: least and greatest id) in hand: pending, and not due for $4 seconds; those past
-- their expiry end failed, and are noted. SKIP LOCKED and the second look leave to others what they took first.
WITH free AS (
    SELECT id FROM webhook_deliveries
    WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3
      AND status IN ('pending', 'scheduled') AND next_attempt_at <= now()
    ORDER BY id
    FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE webhook_deliveries d
    SET status = CASE WHEN d.expires_at <= now() THEN 'failed'::delivery_status ELSE 'pending' END,
        reason = CASE WHEN d.expires_at <= now() THEN 'expired' END,
        completed_at = CASE WHEN d.expires_at <= now() THEN now() END,
        next_attempt_at = now() + make_interval(secs => $4)
    FROM free
    WHERE d.id = free.id AND d.id BETWEEN $2 AND $3
    RETURNING d.id, d.event_id, d.subscription_id, d.tenant_id, d.attempt_count, d.status, d.reason
), exhausted AS (
    INSERT INTO operational_facts (tenant_id, subscription_id, event_type, reason, deliveries, last_delivery_id,
                                   last_event_id, last_attempts)
    SELECT e.tenant_id, e.subscription_id, 'delivery.exhausted', (array_agg(e.reason ORDER BY e.id DESC))[1], count(*),
           (array_agg(e.id ORDER BY e.id DESC))[1], (array_agg(e.event_id ORDER BY e.id DESC))[1],
           (array_agg(e.attempt_count ORDER BY e.id DESC))[1]
    FROM taken e JOIN system_subscriptions y ON y.tenant_id = e.tenant_id AND y.id <> e.subscription_id
    WHERE e.status = 'failed'
    GROUP BY e.tenant_id, e.subscription_id
)
SELECT id, subscription_id, status = 'pending' AS pending FROM taken

-- begin_probes --
-- Half opens the breakers of subscriptions ($1) whose cool-down is over, each for one delivery ($2), and for $3 seconds.
-- Those that somebody else holds locked are his.
WITH due AS (
    SELECT subscription_id FROM subscription_health
    WHERE subscription_id = ANY($1::uuid[]) AND breaker IN ('open', 'half_open') AND probe_at <= now()
    ORDER BY subscription_id
    FOR UPDATE SKIP LOCKED
)
UPDATE subscription_health h
SET breaker = 'half_open', breaker_since = CASE WHEN h.breaker = 'half_open' THEN h.breaker_since ELSE now() END,
    probe_at = now() + make_interval(secs => $3), probe_delivery_id = probe.delivery_id
FROM unnest($1::uuid[], $2::uuid[]) AS probe (subscription_id, delivery_id)
JOIN due ON due.subscription_id = probe.subscription_id
WHERE h.subscription_id = probe.subscription_id
RETURNING h.subscription_id

-- give_up_probes --
-- Makes half open breakers ($1) ready for another probe at once.
WITH locked AS (
    SELECT subscription_id FROM subscription_health
    WHERE subscription_id = ANY($1::uuid[]) AND breaker = 'half_open'
    ORDER BY subscription_id
    FOR UPDATE
)
UPDATE subscription_health h
SET probe_at = now(), probe_delivery_id = NULL
FROM locked
WHERE h.subscription_id = locked.subscription_id

-- find_expired --
-- Locks those of the $2 longest waiting deliveries of each of the subscriptions $1 that are past their expiry.
SELECT expired.id
FROM unnest($1::uuid[]) AS turn (subscription_id)
CROSS JOIN unnest(ARRAY['pending', 'scheduled']::delivery_status[]) AS state (status)
CROSS JOIN LATERAL (
    SELECT first.id FROM (
        SELECT d.id, d.expires_at FROM webhook_deliveries d
        WHERE d.status = state.status AND d.subscription_id = turn.subscription_id
          AND d.status IN ('pending', 'scheduled', 'in_flight')
        ORDER BY d.next_attempt_at LIMIT $2
        FOR UPDATE SKIP LOCKED
    ) AS first
    WHERE first.expires_at <= now()
) AS expired

-- lock_leases --
-- Locks leases that ran out, at most $2 for each of the subscriptions $1.
SELECT due.id, due.claim_token
FROM unnest($1::uuid[]) AS turn (subscription_id)
CROSS JOIN LATERAL (
    SELECT d.id, d.claim_token FROM webhook_deliveries d
    WHERE d.status = 'in_flight' AND d.subscription_id = turn.subscription_id AND d.next_attempt_at <= now()
    ORDER BY d.next_attempt_at LIMIT $2
    FOR UPDATE SKIP LOCKED
) AS due

-- expire_leases --
-- Turns deliveries whose lease ran out ($1, held under the claims $6) back into due ones, or fails them after $4 times, and
-- leaves an interrupted attempt of the claim each ($2 and $3: least and greatest id, $5: seconds of a lease); those that
-- failed are noted. Returns their state.
WITH expired AS (
    UPDATE webhook_deliveries d
    SET status = CASE WHEN d.interrupted_count + 1 >= $4 THEN 'failed'::delivery_status ELSE 'pending' END,
        reason = CASE WHEN d.interrupted_count + 1 >= $4 THEN 'worker_lost' END,
        completed_at = CASE WHEN d.interrupted_count + 1 >= $4 THEN now() END,
        interrupted_count = d.interrupted_count + 1, attempt_count = d.attempt_count + 1, claim_token = NULL,
        next_attempt_at = now()
    FROM unnest($1::uuid[], $6::uuid[]) AS lost (id, claim_token)
    WHERE d.id = lost.id AND d.id = ANY($1::uuid[]) AND d.id BETWEEN $2 AND $3 AND d.status = 'in_flight'
    RETURNING d.id, d.event_id, d.subscription_id, d.tenant_id, d.attempt_count, d.status, d.reason, lost.claim_token
), exhausted AS (
    INSERT INTO operational_facts (tenant_id, subscription_id, event_type, reason, last_error, deliveries,
                                   last_delivery_id, last_event_id, last_attempts)
    SELECT e.tenant_id, e.subscription_id, 'delivery.exhausted', (array_agg(e.reason ORDER BY e.id DESC))[1],
           'the worker was lost before it recorded an outcome', count(*), (array_agg(e.id ORDER BY e.id DESC))[1],
           (array_agg(e.event_id ORDER BY e.id DESC))[1], (array_agg(e.attempt_count ORDER BY e.id DESC))[1]
    FROM expired e
    JOIN system_subscriptions y ON y.tenant_id = e.tenant_id AND y.id <> e.subscription_id
    WHERE e.status = 'failed'
    GROUP BY e.tenant_id, e.subscription_id
), recorded AS (
    INSERT INTO delivery_attempts (delivery_id, claim_token, request, number, subscription_id, tenant_id, started_at,
                                   outcome, final, error_message)
    SELECT id, claim_token, 1, attempt_count, subscription_id, tenant_id, now() - make_interval(secs => $5),
           'interrupted', status = 'failed', 'the worker was lost before it recorded an outcome'
    FROM expired
)
SELECT id, status::text AS status FROM expired

-- count_waiting --
-- Counts the deliveries of the subscriptions $2 in state $1 ('pending' or 'scheduled'), up to $3, and passes no others:
-- what a subscription that is not asked for has in the same state costs nothing.
SELECT count(*) FROM (
    SELECT 1 FROM unnest($2::uuid[]) AS turn (subscription_id)
    CROSS JOIN LATERAL (
        SELECT 1 FROM webhook_deliveries d
        WHERE d.status = $1::text::delivery_status AND d.subscription_id = turn.subscription_id
          AND d.status IN ('pending', 'scheduled', 'in_flight')
        LIMIT $3
    ) AS waiting
    LIMIT $3
) AS x

-- count_in_flight --
-- Counts the deliveries under a lease, up to $1.
SELECT count(*) FROM (SELECT 1 FROM webhook_deliveries d WHERE d.status = 'in_flight' LIMIT $1) AS x

-- count_held --
-- Counts the waiting deliveries of the subscriptions $1, up to $2.
SELECT count(*) FROM (
    SELECT 1 FROM unnest($1::uuid[]) AS turn (subscription_id)
    CROSS JOIN unnest(ARRAY['pending', 'scheduled']::delivery_status[]) AS state (status)
    CROSS JOIN LATERAL (
        SELECT 1 FROM webhook_deliveries d
        WHERE d.status = state.status AND d.subscription_id = turn.subscription_id
          AND d.status IN ('pending', 'scheduled', 'in_flight') AND d.next_attempt_at <= now()
        LIMIT $2
    ) AS held
    LIMIT $2
) AS x

-- count_breakers --
-- Counts the breakers that are not closed.
SELECT breaker, count(*) AS number FROM subscription_health h
JOIN subscriptions s ON s.id = h.subscription_id AND s.deleted_at IS NULL
WHERE breaker <> 'closed'
GROUP BY breaker

-- count_workers --
-- Counts the workers there are.
SELECT count(*) FROM workers WHERE seen_at > now() - interval '15 seconds'

-- forget_workers --
-- Removes workers that died without a word.
DELETE FROM workers WHERE seen_at < now() - interval '10 minutes'

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
