-- claim --
-- Claims pending deliveries ($1; $2 and $3: least and greatest id) under token $4 for $5 seconds, with all that sending
-- them takes; payloads over $6 bytes are left out. $7 and $8 bound the ids of their events. SKIP LOCKED keeps
-- overlapping doorbells from waiting for each other.
WITH free AS (
    SELECT id FROM webhook_deliveries
    WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3 AND status = 'pending'
    ORDER BY id
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE webhook_deliveries d
    SET status = 'in_flight', claim_token = $4,
        next_attempt_at = now() + make_interval(secs => $5)
    FROM free
    WHERE d.id = free.id AND d.id BETWEEN $2 AND $3
    RETURNING d.id, d.event_id, d.subscription_id, d.tenant_id, d.event_type, d.attempt_count, d.failure_count,
              d.created_at, d.expires_at <= now() AS expired
)
SELECT c.*, now() AS claimed_at, s.target_url, s.endpoint_version, s.sealed_secrets, s.deleted_at IS NOT NULL AS deleted,
       s.timeout_seconds, s.retry_policy, s.sealed_headers, s.sealed_client_certificate,
       CASE WHEN s.status <> 'active' THEN s.status
            WHEN h.breaker = 'open' OR h.breaker = 'half_open' AND h.probe_delivery_id IS DISTINCT FROM c.id
            THEN 'breaker_open' END AS held_by,
       coalesce(h.breaker = 'half_open' AND h.probe_delivery_id = c.id, false) AS probe,
       h.failing_since IS NOT NULL AS failing,
       e.content_type, e.content_encoding, e.traceparent, octet_length(e.payload) AS payload_bytes,
       CASE WHEN octet_length(e.payload) <= $6 THEN e.payload END AS payload
FROM claimed c
JOIN subscriptions s ON s.id = c.subscription_id
LEFT JOIN subscription_health h ON h.subscription_id = c.subscription_id
LEFT JOIN webhook_events e ON e.id = c.event_id AND e.id BETWEEN $7 AND $8

-- select_payload --
-- Reads a payload that was too large to come with its claim.
SELECT payload FROM webhook_events WHERE id = $1

-- renew --
-- Renews the leases of claims that are still held ($1 ids, $2 tokens, $3 and $4: least and greatest id) for $5 seconds.
WITH locked AS (
    SELECT id FROM webhook_deliveries
    WHERE id = ANY($1::uuid[]) AND id BETWEEN $3 AND $4 AND status = 'in_flight'
    ORDER BY id
    FOR UPDATE
)
UPDATE webhook_deliveries d
SET next_attempt_at = now() + make_interval(secs => $5)
FROM unnest($1::uuid[], $2::uuid[]) AS held (id, claim_token)
WHERE (SELECT count(*) FROM locked) > 0 AND d.id = held.id AND d.id = ANY($1::uuid[]) AND d.id BETWEEN $3 AND $4
  AND d.status = 'in_flight' AND d.claim_token = held.claim_token
RETURNING d.id

-- record --
-- Records what claims that are still held make of their deliveries ($1 to $7), and their attempts ($8 to $18). A delivery
-- is changed only by the holder of its claim token. $3: its state; $4: seconds until the dispatcher checks it;
-- $5: failures to add; $6: reason; $7: attempts made. A retry that would come after the delivery expires makes it failed
-- instead. $9: the request of its claim that an attempt is; its number continues those of the delivery.
-- $19 and $20: least and greatest id. Rows are locked in one order everywhere, so that batches do not deadlock; they are
-- counted in place of a join with them, which would be planned as a product.
-- What failed for good is noted for the tenant's system subscription, if there is one.
-- Returns the deliveries that were changed and their new state.
WITH outcome AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::delivery_status[], $4::float8[], $5::int[], $6::text[], $7::int[])
        AS o (id, claim_token, status, delay_seconds, failures, reason, attempts)
), locked AS (
    SELECT id FROM webhook_deliveries
    WHERE id = ANY($1::uuid[]) AND id BETWEEN $19 AND $20 AND status = 'in_flight'
    ORDER BY id
    FOR UPDATE
), changed AS (
    UPDATE webhook_deliveries d
    SET status = CASE WHEN o.status = 'scheduled' AND now() + make_interval(secs => o.delay_seconds) >= d.expires_at
                      THEN 'failed' ELSE o.status END,
        reason = CASE WHEN o.status = 'scheduled' AND now() + make_interval(secs => o.delay_seconds) >= d.expires_at
                      THEN 'expired' ELSE o.reason END,
        completed_at = CASE WHEN o.status IN ('delivered', 'failed', 'cancelled')
                              OR o.status = 'scheduled' AND now() + make_interval(secs => o.delay_seconds) >= d.expires_at
                            THEN now() END,
        next_attempt_at = now() + make_interval(secs => o.delay_seconds),
        claim_token = NULL,
        failure_count = d.failure_count + o.failures,
        attempt_count = d.attempt_count + o.attempts
    FROM outcome o
    WHERE (SELECT count(*) FROM locked) > 0 AND d.id = o.id AND d.id = ANY($1::uuid[]) AND d.id BETWEEN $19 AND $20
      AND d.status = 'in_flight' AND d.claim_token = o.claim_token
    RETURNING d.id, d.status, d.reason, d.event_id, d.subscription_id, d.tenant_id, d.attempt_count,
              o.claim_token, o.attempts
), exhausted AS (
    INSERT INTO operational_facts (tenant_id, subscription_id, event_type, reason, last_error, deliveries,
                                   last_delivery_id, last_event_id, last_attempts)
    SELECT e.tenant_id, e.subscription_id, 'delivery.exhausted', (array_agg(e.reason ORDER BY e.id DESC))[1],
           (array_agg(a.error_message ORDER BY e.id DESC))[1], count(*), (array_agg(e.id ORDER BY e.id DESC))[1],
           (array_agg(e.event_id ORDER BY e.id DESC))[1], (array_agg(e.attempt_count ORDER BY e.id DESC))[1]
    FROM changed e
    JOIN system_subscriptions y ON y.tenant_id = e.tenant_id AND y.id <> e.subscription_id
    LEFT JOIN unnest($8::uuid[], $16::text[], $18::bool[]) AS a (delivery_id, error_message, is_last)
        ON a.delivery_id = e.id AND a.is_last
    WHERE e.status = 'failed'
    GROUP BY e.tenant_id, e.subscription_id
), recorded AS (
    INSERT INTO delivery_attempts (delivery_id, claim_token, request, number, subscription_id, tenant_id, started_at,
                                   duration_ms, status_code, outcome, error_message, response_body, final)
    SELECT a.delivery_id, changed.claim_token, a.request, changed.attempt_count - changed.attempts + a.request,
           a.subscription_id, a.tenant_id, a.started_at, a.duration_ms, a.status_code, a.outcome, a.error_message,
           a.response_body, a.is_last AND changed.status IN ('delivered', 'failed', 'cancelled')
    FROM unnest($8::uuid[], $9::smallint[], $10::uuid[], $11::text[], $12::timestamptz[], $13::int[],
                $14::smallint[], $15::text[], $16::text[], $17::text[], $18::bool[])
        AS a (delivery_id, request, subscription_id, tenant_id, started_at, duration_ms,
              status_code, outcome, error_message, response_body, is_last)
    JOIN changed ON changed.id = a.delivery_id
)
SELECT id, status::text AS status FROM changed

-- lock_late --
-- Locks the deliveries of claims that were lost ($1; $2 and $3: least and greatest id), in the order of every batch.
SELECT id, status::text AS status, attempt_count FROM webhook_deliveries
WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3
ORDER BY id
FOR UPDATE

-- select_attempts_of_claims --
-- Reads the attempts of deliveries ($1; $2 and $3: least and greatest id) that were recorded under the claims $4.
SELECT delivery_id, claim_token, request, number, outcome, final FROM delivery_attempts
WHERE delivery_id = ANY($1::uuid[]) AND delivery_id BETWEEN $2 AND $3 AND claim_token = ANY($4::uuid[])

-- record_late --
-- Records attempts of claims that were lost: new ones, and the true outcome of those that were taken for interrupted.
INSERT INTO delivery_attempts (delivery_id, claim_token, request, number, subscription_id, tenant_id, started_at,
                               duration_ms, status_code, outcome, error_message, response_body, final)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::int[], $5::uuid[], $6::text[], $7::timestamptz[],
                     $8::int[], $9::smallint[], $10::text[], $11::text[], $12::text[], $13::bool[])
ON CONFLICT (delivery_id, claim_token, request) DO UPDATE
SET started_at = excluded.started_at, recorded_at = now(), duration_ms = excluded.duration_ms,
    status_code = excluded.status_code, outcome = excluded.outcome, error_message = excluded.error_message,
    response_body = excluded.response_body, final = excluded.final

-- settle_late --
-- Counts late attempts ($2) of locked deliveries ($1; $4 and $5: least and greatest id), and ends as delivered those that
-- one of them delivered ($3).
UPDATE webhook_deliveries d
SET attempt_count = d.attempt_count + late.attempts,
    status = CASE WHEN late.delivered THEN 'delivered' ELSE d.status END,
    completed_at = CASE WHEN late.delivered THEN now() ELSE d.completed_at END,
    claim_token = CASE WHEN late.delivered THEN NULL ELSE d.claim_token END,
    reason = CASE WHEN late.delivered THEN NULL ELSE d.reason END
FROM unnest($1::uuid[], $2::int[], $3::bool[]) AS late (id, attempts, delivered)
WHERE d.id = late.id AND d.id = ANY($1::uuid[]) AND d.id BETWEEN $4 AND $5

-- lock_endpoints --
-- Locks those of the subscriptions $1 that are there and whose endpoint is still the one of version $2: what was seen of an
-- earlier one does not count. None of them changes before the transaction ends.
SELECT s.id
FROM subscriptions s
JOIN unnest($1::uuid[], $2::int[]) AS seen (id, endpoint_version)
  ON seen.id = s.id AND seen.endpoint_version = s.endpoint_version
WHERE s.deleted_at IS NULL
ORDER BY s.id
FOR SHARE OF s

-- select_endpoint_versions --
-- Reads which endpoint subscriptions ($1) have now.
SELECT id, endpoint_version FROM subscriptions WHERE id = ANY($1::uuid[])

-- insert_health --
-- Makes rows for locked subscriptions ($1) that had none.
INSERT INTO subscription_health (subscription_id)
SELECT id FROM unnest($1::uuid[]) AS seen (id)
ORDER BY id
ON CONFLICT (subscription_id) DO NOTHING

-- lock_health --
-- Locks the rows of subscriptions ($1), in one order everywhere.
SELECT subscription_id, breaker FROM subscription_health
WHERE subscription_id = ANY($1::uuid[])
ORDER BY subscription_id
FOR UPDATE

-- record_health --
-- Adds what a worker saw ($1 to $7: subscription, successes, failures, failures after the last success, what became of
-- the probe, why there were too many failures, the last error) to locked rows, and moves their breakers. $8: failures in
-- a row that open one; $9 and $10: the first cool-down and the longest, in seconds. A breaker that was closed for less
-- than the longest cool-down goes on where it was, so that one that flaps is opened for longer each time.
WITH seen AS (
    SELECT h.subscription_id, i.failures > 0 AND i.unbroken = i.failures AND i.successes = 0 AS only_failures,
           i.unbroken, i.last_error,
           CASE WHEN i.successes > 0 THEN i.unbroken ELSE h.consecutive_failures + i.failures END AS in_a_row,
           CASE WHEN i.probe = 'success' THEN 'closed'
                WHEN i.probe = 'failure' AND h.breaker = 'half_open' THEN 'open'
                WHEN h.breaker = 'closed' AND i.too_many IS NOT NULL THEN 'open'
                WHEN h.breaker = 'closed' AND i.unbroken > 0
                     AND CASE WHEN i.successes > 0 THEN i.unbroken ELSE h.consecutive_failures + i.failures END >= $8
                THEN 'open'
                ELSE h.breaker END AS breaker,
           i.too_many,
           CASE WHEN h.breaker = 'closed' AND h.breaker_since < now() - make_interval(secs => $10) THEN 1
                ELSE h.openings + 1 END AS openings
    FROM unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::text[], $6::text[], $7::text[])
        AS i (subscription_id, successes, failures, unbroken, probe, too_many, last_error)
    JOIN subscription_health h ON h.subscription_id = i.subscription_id
)
UPDATE subscription_health h
SET breaker = seen.breaker,
    breaker_since = CASE WHEN seen.breaker = h.breaker THEN h.breaker_since ELSE now() END,
    breaker_reason = CASE WHEN seen.breaker = h.breaker THEN h.breaker_reason
                          WHEN seen.breaker = 'open'
                          THEN coalesce(seen.too_many, CASE WHEN h.breaker = 'half_open' THEN 'the probe failed'
                                                            ELSE seen.in_a_row || ' failures in a row' END)
                               || '; the last: ' || seen.last_error END,
    openings = CASE WHEN seen.breaker = 'open' AND h.breaker <> 'open' THEN seen.openings ELSE h.openings END,
    probe_at = CASE WHEN seen.breaker = h.breaker THEN h.probe_at
                    WHEN seen.breaker = 'open'
                    THEN now() + make_interval(secs => least($10, $9 * 2 ^ least(30, seen.openings - 1))
                                                       * (0.9 + 0.2 * random())) END,
    probe_delivery_id = CASE WHEN seen.breaker = h.breaker THEN h.probe_delivery_id END,
    consecutive_failures = seen.in_a_row,
    failing_since = CASE WHEN seen.unbroken = 0 THEN NULL
                         WHEN seen.only_failures THEN coalesce(h.failing_since, now()) ELSE now() END
FROM seen
WHERE h.subscription_id = seen.subscription_id
RETURNING h.subscription_id, h.breaker, h.breaker_reason, h.probe_at, h.consecutive_failures,
    now() - h.failing_since AS failing_for

-- disable --
-- Disables subscriptions ($1) for the reasons $2, unless they are, or their endpoint is no longer the one of version $3;
-- returns those that were disabled by this call, and what they were before. They are locked in one order everywhere.
WITH before AS (
    SELECT s.id, s.status
    FROM subscriptions s
    JOIN unnest($1::uuid[], $3::int[]) AS seen (id, endpoint_version)
      ON seen.id = s.id AND seen.endpoint_version = s.endpoint_version
    WHERE s.status <> 'disabled' AND s.deleted_at IS NULL
    ORDER BY s.id
    FOR UPDATE OF s
)
UPDATE subscriptions s
SET status = 'disabled', status_reason = i.reason, status_since = now(), version = version + 1,
    updated_at = statement_timestamp()
FROM unnest($1::uuid[], $2::text[]) AS i (subscription_id, reason) JOIN before ON before.id = i.subscription_id
WHERE s.id = i.subscription_id
RETURNING s.id, s.tenant_id, s.version, s.status_reason, before.status AS status_before

-- keep_worker --
-- Says that a worker is there.
INSERT INTO workers (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET seen_at = now()

-- remove_worker --
-- Says that a worker is gone.
DELETE FROM workers WHERE id = $1
