-- mark_due --
-- Makes deliveries ($1) due at once, for nobody will send them now: pending ones or, with a token ($2), those leased under
-- it. Those that were never attempted stand again where they arrived, which the dispatcher has passed: so it is told of their
-- subscriptions. Returns which are due.
WITH locked AS (
    SELECT delivery_id FROM delivery_queue
    WHERE delivery_id = ANY($1::uuid[]) AND claim_token IS NOT DISTINCT FROM $2::uuid AND scheduled IS NOT TRUE
    ORDER BY delivery_id
    FOR UPDATE
), due AS (
    UPDATE delivery_queue q
    SET due_at = CASE WHEN q.attempt_count = 0 THEN q.created_at ELSE now() END, claim_token = NULL, lease_until = NULL
    WHERE (SELECT count(*) FROM locked) > 0 AND q.delivery_id = ANY($1::uuid[])
      AND q.claim_token IS NOT DISTINCT FROM $2::uuid AND q.scheduled IS NOT TRUE
    RETURNING q.delivery_id, q.subscription_id, q.tenant_id, q.due_at
), told AS (
    INSERT INTO due_subscriptions (subscription_id, tenant_id, turn_at, due_from)
    SELECT subscription_id, min(tenant_id), now(), min(due_at) FROM due GROUP BY subscription_id ORDER BY subscription_id
    ON CONFLICT (subscription_id) DO UPDATE
    SET turn_at = excluded.turn_at, due_from = least(due_subscriptions.due_from, excluded.due_from)
)
SELECT delivery_id AS id FROM due

-- lock_waiting --
-- Locks the first $4 waiting deliveries of subscription $1, due or not, from the place ($2, $3) in its queue on: what was
-- deleted before it is not passed again. Ranges of all its columns leave the generic plan no other index.
SELECT delivery_id AS id, scheduled, due_at FROM delivery_queue
WHERE (subscription_id, scheduled, due_at) >= ($1, $2, $3)
  AND (subscription_id, scheduled, due_at) <= ($1, true, 'infinity') AND claim_token IS NULL
ORDER BY subscription_id, scheduled, due_at LIMIT $4
FOR UPDATE SKIP LOCKED

-- end_waiting --
-- Ends waiting deliveries ($1; $2 and $3: least and greatest id) as $4 for reason $5, notes those that failed, and returns
-- which ended. With $6 those that workers have in hand end, too: what becomes of their requests is recorded late.
WITH locked AS (
    SELECT delivery_id FROM delivery_queue
    WHERE delivery_id = ANY($1::uuid[]) AND (claim_token IS NULL OR $6::boolean)
    ORDER BY delivery_id
    FOR UPDATE
), ended AS (
    DELETE FROM delivery_queue q
    WHERE (SELECT count(*) FROM locked) > 0 AND q.delivery_id = ANY($1::uuid[]) AND (q.claim_token IS NULL OR $6::boolean)
    RETURNING q.delivery_id AS id, q.event_id, q.subscription_id, q.tenant_id, q.attempt_count, q.last_status_code,
              q.last_error_kind
), finished AS (
    UPDATE webhook_deliveries d
    SET status = $4::text::delivery_status, reason = $5, completed_at = now(), attempt_count = e.attempt_count
    FROM ended e
    WHERE d.id = e.id AND d.id BETWEEN $2 AND $3
), unsuccessful AS (
    INSERT INTO unsuccessful_deliveries (id, subscription_id, status, tenant_id, attempt_count, last_status_code,
                                         last_error_kind)
    SELECT id, subscription_id, $4::text::delivery_status, tenant_id, attempt_count, last_status_code, last_error_kind
    FROM ended
    ON CONFLICT DO NOTHING
), unattempted AS (
    INSERT INTO unattempted_ends (tenant_id, subscription_id, event_type, status, deliveries)
    SELECT e.tenant_id, e.subscription_id, d.event_type, $4::text::delivery_status, count(*)
    FROM ended e CROSS JOIN LATERAL (
        SELECT event_type FROM webhook_deliveries WHERE id = e.id AND id BETWEEN $2 AND $3 OFFSET 0
    ) AS d
    GROUP BY e.tenant_id, e.subscription_id, d.event_type
), exhausted AS (
    INSERT INTO operational_facts (tenant_id, subscription_id, event_type, reason, deliveries, last_delivery_id,
                                   last_event_id, last_attempts)
    SELECT e.tenant_id, e.subscription_id, 'delivery.exhausted', $5, count(*),
           (array_agg(e.id ORDER BY e.id DESC))[1], (array_agg(e.event_id ORDER BY e.id DESC))[1],
           (array_agg(e.attempt_count ORDER BY e.id DESC))[1]
    FROM ended e JOIN system_subscriptions y ON y.tenant_id = e.tenant_id AND y.id <> e.subscription_id
    WHERE $4::text = 'failed'
    GROUP BY e.tenant_id, e.subscription_id
)
SELECT id FROM ended

-- take_keys --
-- Takes idempotency keys that are free or past their time, in one order everywhere so that batches do not deadlock;
-- returns the objects whose key was taken. $7: hours that they are kept. $8: how long it waits for another transaction that
-- takes the same key. That is set before the first key is taken, for the rows are sorted, and undone after the last.
WITH taken AS (
    INSERT INTO idempotency_keys (tenant_id, route, key, object_id, request_hash, response, expires_at)
    SELECT k.tenant_id, k.route, k.key, k.object_id, k.request_hash, k.response, now() + make_interval(hours => $7)
    FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::bytea[], $6::bytea[])
        AS k (tenant_id, route, key, object_id, request_hash, response)
    CROSS JOIN set_config('lock_timeout', $8, true)
    ORDER BY k.tenant_id, k.route, k.key
    ON CONFLICT (tenant_id, route, key) DO UPDATE
    SET object_id = excluded.object_id, request_hash = excluded.request_hash, response = excluded.response,
        expires_at = excluded.expires_at
    WHERE idempotency_keys.expires_at <= now()
    RETURNING object_id
)
SELECT array_agg(object_id) AS won, set_config('lock_timeout', '0', true) FROM taken

-- give_back_keys --
-- Forgets keys whose object was refused after all.
DELETE FROM idempotency_keys i
USING unnest($1::text[], $2::text[], $3::text[]) AS k (tenant_id, route, key)
WHERE i.tenant_id = k.tenant_id AND i.route = k.route AND i.key = k.key

-- select_winners --
-- Reads what the calls that took these keys had sent, and were answered, unless that is past its time.
SELECT i.tenant_id, i.route, i.key, i.request_hash, i.response
FROM unnest($1::text[], $2::text[], $3::text[]) AS k (tenant_id, route, key)
JOIN idempotency_keys i ON i.tenant_id = k.tenant_id AND i.route = k.route AND i.key = k.key
WHERE i.expires_at > now()

-- delete_expired_keys --
-- Deletes up to $1 expired keys; returns how many.
WITH deleted AS (
    DELETE FROM idempotency_keys
    WHERE (tenant_id, route, key) IN (
        SELECT tenant_id, route, key FROM idempotency_keys WHERE expires_at <= now() LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    RETURNING 1
)
SELECT count(*) FROM deleted

-- select_keyed_events --
-- Reads up to $4 events of tenant $1 that were accepted under one of the idempotency keys $2, or have one of them as their
-- provider's id ($3). A key is unique only within a route, such as that of a subscription.
SELECT found.object_id FROM unnest($2::text[]) AS asked (key)
CROSS JOIN LATERAL (
    SELECT object_id FROM idempotency_keys
    WHERE tenant_id = $1 AND key = asked.key AND expires_at > now() AND $3 = (route LIKE '%/provider')
      AND (route IN ('events', 'cloudevents') OR route LIKE 'ingest/%')
    LIMIT $4
) AS found
LIMIT $4

-- select_tagged --
-- Reads which of the events $1 ($2 and $3: least and greatest id) have one of the tags $4.
SELECT DISTINCT event_id FROM event_tags WHERE event_id = ANY($1::uuid[]) AND event_id BETWEEN $2 AND $3 AND tag = ANY($4::text[])

-- select_kind --
-- Reads what tenant $2 has, or had, under the id $1; any tenant if it is null.
SELECT CASE WHEN EXISTS (SELECT FROM subscriptions WHERE id = $1 AND ($2::text IS NULL OR tenant_id = $2))
            THEN 'subscription'
            WHEN EXISTS (SELECT FROM webhook_events WHERE id = $1 AND ($2::text IS NULL OR tenant_id = $2))
              OR EXISTS (SELECT FROM scheduled_events WHERE id = $1 AND ($2::text IS NULL OR tenant_id = $2)) THEN 'event'
            WHEN EXISTS (SELECT FROM webhook_deliveries WHERE id = $1 AND ($2::text IS NULL OR tenant_id = $2))
            THEN 'delivery' END

-- insert_canary --
-- Leaves the encrypted value by which processes know whether their keys are the right ones, unless there is one.
INSERT INTO encryption_canary (sealed) VALUES ($1) ON CONFLICT DO NOTHING

-- select_canary --
-- Reads it.
SELECT sealed FROM encryption_canary

-- select_visible_events --
-- Finds which of the events $1 were sent to one of the subscriptions $4, or are scheduled for one: by the ids that their deliveries can have ($2 and $3:
-- the least and the greatest of each; $5 and $6: of all).
SELECT e.id AS event_id
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS e (id, least, most)
WHERE EXISTS (
    SELECT FROM unnest($4::uuid[]) AS s (id)
    CROSS JOIN LATERAL (
        SELECT FROM webhook_deliveries d
        WHERE d.subscription_id = s.id AND d.id BETWEEN e.least AND e.most AND d.id BETWEEN $5 AND $6 AND d.event_id = e.id
        LIMIT 1
    ) AS sent
) OR EXISTS (SELECT FROM scheduled_events w WHERE w.id = e.id AND w.addressed_to = ANY($4))

-- select_owners_of --
-- Reads whose the deliveries $1 are ($2 and $3: least and greatest id).
SELECT id, subscription_id FROM webhook_deliveries WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3

-- delete_subscriptions --
-- Marks locked subscriptions ($1) deleted, and forgets what they kept secret, their ingest tokens, what their endpoints did,
-- their checks, and who pulled from them.
WITH forgotten AS (
    DELETE FROM subscription_health WHERE subscription_id = ANY($1::uuid[])
), unchecked AS (
    DELETE FROM endpoint_checks WHERE subscription_id = ANY($1::uuid[])
), unpulled AS (
    DELETE FROM subscription_pulls WHERE subscription_id = ANY($1::uuid[])
)
UPDATE subscriptions
SET deleted_at = now(), updated_at = statement_timestamp(), version = version + 1, sealed_secrets = NULL,
    ingest_token_hash = NULL, sealed_headers = NULL, sealed_verification_secrets = NULL, sealed_client_certificate = NULL,
    client_certificate = NULL, sealed_template_secrets = NULL
WHERE id = ANY($1::uuid[]) AND deleted_at IS NULL
RETURNING id, version

-- lock_tests --
-- Lets others ask for test events of tenant $1 after this transaction, so that they are counted.
SELECT pg_advisory_xact_lock(hashtext('webhook:endpoint_tests'), hashtext($1))

-- count_tests --
-- Counts the test events of subscription $2 of tenant $1 within $3 seconds (null: of those that are not created), and those of
-- the tenant that are not answered; how long it is until the first of them counts no more.
SELECT count(*) FILTER (WHERE like_it) AS like_it, count(*) FILTER (WHERE outcome IS NULL) AS unanswered,
       extract(epoch FROM min(asked_at) FILTER (WHERE like_it) + make_interval(secs => $3) - now())::float8 AS wait_seconds
FROM (
    SELECT CASE WHEN $2::uuid IS NULL THEN subscription_id = id ELSE subscription_id = $2 END AS like_it, outcome, asked_at
    FROM endpoint_tests WHERE tenant_id = $1 AND asked_at > now() - make_interval(secs => $3)
) AS asked
