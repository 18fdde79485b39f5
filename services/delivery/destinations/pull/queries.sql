-- select_pulled --
-- Reads how the deliveries of a tenant's live subscription get to their receiver, when they are retried, and whether it is
-- deleted when nobody pulls.
SELECT destination, retry_policy, expires_after_idle_seconds IS NOT NULL AS expires FROM subscriptions
WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL

-- find_ready --
-- Which of the subscriptions $1 may be pulled from and have something due. Ranges of all three columns leave the generic plan
-- no other index.
SELECT w.id FROM unnest($1::uuid[]) AS w (id)
CROSS JOIN LATERAL (
    SELECT FROM subscriptions WHERE id = w.id AND status = 'active' AND deleted_at IS NULL OFFSET 0
) AS s
WHERE EXISTS (
    SELECT FROM delivery_queue q
    WHERE (q.subscription_id, q.scheduled, q.due_at) >= (w.id, false, '-infinity')
      AND (q.subscription_id, q.scheduled, q.due_at) <= (w.id, false, now()) AND q.claim_token IS NULL OFFSET 0
) OR EXISTS (
    SELECT FROM delivery_queue q
    WHERE (q.subscription_id, q.scheduled, q.due_at) >= (w.id, true, '-infinity')
      AND (q.subscription_id, q.scheduled, q.due_at) <= (w.id, true, now()) AND q.claim_token IS NULL OFFSET 0
)

-- pull --
-- Claims up to $2 due deliveries of subscription $1 under token $3 for $4 seconds, the longest due first, with all that its
-- consumer gets. Their payloads come to $5 bytes at most, or to a single one that is larger. Unlike one that a worker has, a
-- delivery that is pulled is due when its lease ends, which may be in an hour: so no other pull reads past it, and the
-- dispatcher looks at it then. It waits until the claim is on disk: nobody but its holder may report under a token.
WITH pending AS MATERIALIZED (
    SELECT q.delivery_id, q.event_id, q.due_at FROM delivery_queue q
    WHERE (q.subscription_id, q.scheduled, q.due_at) >= ($1, false, '-infinity')
      AND (q.subscription_id, q.scheduled, q.due_at) <= ($1, false, now()) AND q.claim_token IS NULL AND q.expires_at > now()
      AND EXISTS (SELECT FROM subscriptions WHERE id = $1 AND status = 'active' AND deleted_at IS NULL)
    ORDER BY q.subscription_id, q.scheduled, q.due_at LIMIT $2
    FOR UPDATE SKIP LOCKED
), retries AS MATERIALIZED (
    SELECT q.delivery_id, q.event_id, q.due_at FROM delivery_queue q
    WHERE (q.subscription_id, q.scheduled, q.due_at) >= ($1, true, '-infinity')
      AND (q.subscription_id, q.scheduled, q.due_at) <= ($1, true, now()) AND q.claim_token IS NULL AND q.expires_at > now()
      AND EXISTS (SELECT FROM subscriptions WHERE id = $1 AND status = 'active' AND deleted_at IS NULL)
    ORDER BY q.subscription_id, q.scheduled, q.due_at LIMIT $2
    FOR UPDATE SKIP LOCKED
), sized AS (
    SELECT d.delivery_id, row_number() OVER longest_due AS place, sum(e.bytes) OVER longest_due AS bytes
    FROM (SELECT * FROM pending UNION ALL SELECT * FROM retries) AS d
    LEFT JOIN LATERAL (SELECT octet_length(payload) AS bytes FROM webhook_events WHERE id = d.event_id OFFSET 0) AS e ON true
    WINDOW longest_due AS (ORDER BY d.due_at, d.delivery_id)
), claimed AS (
    UPDATE delivery_queue q
    SET claim_token = $3, lease_until = now() + make_interval(secs => $4), due_at = now() + make_interval(secs => $4),
        scheduled = false
    WHERE q.delivery_id = ANY(ARRAY(
              SELECT delivery_id FROM sized WHERE place = 1 OR place <= $2 AND coalesce(bytes, 0) <= $5
          ))
    RETURNING q.delivery_id AS id, q.event_id, q.subscription_id, q.tenant_id, q.attempt_count, q.failure_count,
              q.created_at, q.lease_until
)
SELECT c.*, now() AS claimed_at, s.sealed_secrets, s.sealed_headers, s.retry_policy, s.relay_headers,
       CASE WHEN s.template IS NOT NULL OR s.event_versions IS NOT NULL THEN s.version END AS template_version, e.event_type,
       e.content_type, e.content_encoding, e.traceparent, e.sender_context, octet_length(e.payload) AS payload_bytes,
       e.payload,
       e.id IS NOT NULL AND e.payload IS NULL AS erased
FROM claimed c
CROSS JOIN LATERAL (SELECT * FROM subscriptions WHERE id = c.subscription_id OFFSET 0) AS s
LEFT JOIN LATERAL (SELECT * FROM webhook_events WHERE id = c.event_id OFFSET 0) AS e ON true

-- extend --
-- Lets leases of subscription $1 ($2 and $3: deliveries and tokens) last for the seconds of $4 from now on; returns until
-- when each does. IS TRUE keeps the plan from reading all that waits for the subscription.
WITH locked AS (
    SELECT delivery_id FROM delivery_queue
    WHERE delivery_id = ANY($2::uuid[]) AND claim_token IS NOT NULL
    ORDER BY delivery_id
    FOR UPDATE
)
UPDATE delivery_queue q
SET lease_until = now() + make_interval(secs => held.seconds), due_at = now() + make_interval(secs => held.seconds)
FROM unnest($2::uuid[], $3::uuid[], $4::float8[]) AS held (id, claim_token, seconds)
WHERE (SELECT count(*) FROM locked) > 0 AND q.delivery_id = held.id AND q.delivery_id = ANY($2::uuid[])
  AND q.claim_token = held.claim_token AND (q.subscription_id = $1) IS TRUE
RETURNING q.delivery_id AS id, q.lease_until

-- select_held --
-- Which of the deliveries $1 are still leased under their tokens ($2).
SELECT r.id FROM unnest($1::uuid[], $2::uuid[]) AS r (id, claim_token)
CROSS JOIN LATERAL (SELECT claim_token FROM delivery_queue WHERE delivery_id = r.id OFFSET 0) AS q
WHERE q.claim_token = r.claim_token

-- select_leased --
-- Reads deliveries of subscription $1 ($2), whether each is leased under its token ($3), and if not what is recorded under it.
SELECT d.id, d.event_id, d.subscription_id, d.tenant_id, d.event_type, d.created_at, now() AS now, d.attempt_count AS ended_count,
       r.claim_token, coalesce(q.claim_token = r.claim_token, false) AS held, q.attempt_count, q.failure_count, a.outcome
FROM unnest($2::uuid[], $3::uuid[]) AS r (id, claim_token)
CROSS JOIN LATERAL (SELECT * FROM webhook_deliveries WHERE id = r.id AND subscription_id = $1 OFFSET 0) AS d
LEFT JOIN LATERAL (SELECT * FROM delivery_queue WHERE delivery_id = r.id OFFSET 0) AS q ON true
LEFT JOIN LATERAL (
    SELECT outcome FROM delivery_attempts
    WHERE delivery_id = r.id AND claim_token = r.claim_token AND request = 1
      AND q.claim_token IS DISTINCT FROM r.claim_token OFFSET 0
) AS a ON true

-- note_pulled --
-- Notes that somebody pulls from subscriptions ($1).
INSERT INTO subscription_pulls (subscription_id) SELECT id FROM unnest($1::uuid[]) AS pulled (id) ORDER BY id
ON CONFLICT (subscription_id) DO UPDATE SET pulled_at = now()

-- lock_idle --
-- Locks up to $1 subscriptions that nobody has pulled from, or changed, for as long as they say.
SELECT s.id, s.tenant_id, s.expires_after_idle_seconds
FROM subscriptions s LEFT JOIN subscription_pulls p ON p.subscription_id = s.id
WHERE s.expires_after_idle_seconds IS NOT NULL AND s.deleted_at IS NULL
  AND greatest(s.updated_at, p.pulled_at) < now() - make_interval(secs => s.expires_after_idle_seconds)
ORDER BY s.id LIMIT $1
FOR UPDATE OF s SKIP LOCKED
