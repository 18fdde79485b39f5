-- insert_subscription --
-- Makes a subscription, unless its tenant is unknown or deleted. The tenant is not deleted before this is committed.
INSERT INTO subscriptions (id, tenant_id, target_url, secret_key, sealed_secrets, event_types, description,
                           keep_when_disabled, rate_limit_per_second, rate_limit_burst, timeout_seconds, retry_policy,
                           sealed_headers, header_names, verification, sealed_verification_secrets, kind,
                           signature_scheme, sealed_client_certificate, client_certificate)
SELECT $1, t.id, $3, CASE WHEN $4::bytea IS NOT NULL THEN 'whsec_sealed' END, $4, $5, $6, $7, $8, $9, $10, $11::jsonb, $12, $13,
       coalesce($14, 'auto'), $15, $16, $17, $18, $19::jsonb
FROM tenants t WHERE t.id = $2 AND t.deleted_at IS NULL
FOR KEY SHARE
RETURNING *

-- select_subscription --
-- Reads a live subscription.
SELECT * FROM subscriptions WHERE id = $1 AND deleted_at IS NULL

-- select_subscription_with_breaker --
-- Reads a tenant's live subscription and its breaker.
SELECT s.*, h.breaker, h.breaker_since, h.breaker_reason, h.probe_at, h.consecutive_failures
FROM subscriptions s LEFT JOIN subscription_health h ON h.subscription_id = s.id
WHERE s.tenant_id = $1 AND s.id = $2 AND s.deleted_at IS NULL

-- select_subscriptions_page --
-- Reads a page of a tenant's live subscriptions, newest first, with their breakers.
SELECT s.*, h.breaker, h.breaker_since, h.breaker_reason, h.probe_at, h.consecutive_failures
FROM subscriptions s LEFT JOIN subscription_health h ON h.subscription_id = s.id
WHERE s.tenant_id = $1 AND s.id < $2 AND s.deleted_at IS NULL
ORDER BY s.id DESC LIMIT $3

-- select_all_subscriptions_page --
-- Reads a page of the live subscriptions of all tenants, newest first, with their breakers.
SELECT s.*, h.breaker, h.breaker_since, h.breaker_reason, h.probe_at, h.consecutive_failures
FROM subscriptions s LEFT JOIN subscription_health h ON h.subscription_id = s.id
WHERE s.id < $1 AND s.deleted_at IS NULL
ORDER BY s.id DESC LIMIT $2

-- select_subscription_filters --
-- Reads what every live subscription of a tenant that takes events asked for, and whether it may be rung at once; but for
-- the system subscription. A tenant without any has one row with a null id; one that is unknown or deleted has none.
SELECT s.id, s.event_types, s.status = 'active' AND s.rate_limit_per_second IS NULL AS steady
FROM tenants t
LEFT JOIN subscriptions s
    ON s.tenant_id = t.id AND s.deleted_at IS NULL AND (s.status <> 'disabled' OR s.keep_when_disabled)
    AND s.kind = 'normal'
WHERE t.id = $1 AND t.deleted_at IS NULL

-- lock_subscription --
-- Locks a live subscription of a tenant; answers it, and the time.
SELECT *, now() AS now FROM subscriptions WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL FOR UPDATE

-- update_subscription --
-- Replaces a locked subscription's fields; the secrets only when $6 says so, the headers when $13 does, the verification
-- unless $16 is null, its secrets when $17 says so, the client certificate when $20 does. $19: the scheme of the secrets
-- that there are then. Answers it with its breaker.
WITH changed AS (
    UPDATE subscriptions
    SET target_url = $3, event_types = $4, description = $5,
        secret_key = CASE WHEN NOT $6 THEN secret_key WHEN $7::bytea IS NOT NULL THEN 'whsec_sealed' END,
        sealed_secrets = CASE WHEN $6 THEN $7 ELSE sealed_secrets END,
        keep_when_disabled = $8, rate_limit_per_second = $9, rate_limit_burst = $10, timeout_seconds = $11,
        retry_policy = $12::jsonb,
        sealed_headers = CASE WHEN $13 THEN $14 ELSE sealed_headers END,
        header_names = CASE WHEN $13 THEN $15 ELSE header_names END,
        verification = coalesce($16, verification),
        sealed_verification_secrets = CASE WHEN $17 THEN $18 ELSE sealed_verification_secrets END,
        signature_scheme = $19,
        sealed_client_certificate = CASE WHEN $20 THEN $21 ELSE sealed_client_certificate END,
        client_certificate = CASE WHEN $20 THEN $22::jsonb ELSE client_certificate END,
        version = version + 1, updated_at = now()
    WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL
    RETURNING *
)
SELECT s.*, h.breaker, h.breaker_since, h.breaker_reason, h.probe_at, h.consecutive_failures
FROM changed s LEFT JOIN subscription_health h ON h.subscription_id = s.id

-- begin_endpoint --
-- Counts another endpoint of a locked subscription, and forgets what is known of the one before: its breaker and its
-- failures. What workers still learn of that one no longer counts.
WITH forgotten AS (
    DELETE FROM subscription_health WHERE subscription_id = $1
)
UPDATE subscriptions SET endpoint_version = endpoint_version + 1 WHERE id = $1

-- set_secrets --
-- Gives a locked subscription other secrets, the newest of scheme $3.
UPDATE subscriptions
SET secret_key = 'whsec_sealed', sealed_secrets = $2, signature_scheme = $3, version = version + 1, updated_at = now()
WHERE id = $1

-- set_ingest_token --
-- Gives a live subscription of a tenant another ingest token, or none.
UPDATE subscriptions
SET ingest_token_hash = $3, version = version + 1, updated_at = now()
WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL
RETURNING *

-- lock_plain_secrets --
-- Locks up to $1 subscriptions whose secret a version before this one wrote.
SELECT id, secret_key FROM subscriptions WHERE secret_key <> 'whsec_sealed' LIMIT $1 FOR UPDATE SKIP LOCKED

-- lock_sealed_secrets --
-- Locks the next $2 subscriptions after $1 that keep something secret.
SELECT id, secret_key, sealed_secrets, sealed_headers, sealed_verification_secrets, sealed_client_certificate
FROM subscriptions
WHERE id > $1
  AND (secret_key IS NOT NULL OR sealed_headers IS NOT NULL OR sealed_verification_secrets IS NOT NULL
       OR sealed_client_certificate IS NOT NULL)
ORDER BY id LIMIT $2 FOR UPDATE

-- seal_secrets --
-- Stores the secrets of locked subscriptions ($1) as they were, encrypted ($2).
UPDATE subscriptions s
SET secret_key = 'whsec_sealed', sealed_secrets = i.sealed_secrets
FROM unnest($1::uuid[], $2::bytea[]) AS i (id, sealed_secrets)
WHERE s.id = i.id

-- seal_headers --
-- Stores the headers of locked subscriptions ($1) as they were, encrypted ($2).
UPDATE subscriptions s
SET sealed_headers = i.sealed_headers
FROM unnest($1::uuid[], $2::bytea[]) AS i (id, sealed_headers)
WHERE s.id = i.id

-- seal_verification_secrets --
-- Stores the verification secrets of locked subscriptions ($1) as they were, encrypted ($2).
UPDATE subscriptions s
SET sealed_verification_secrets = i.sealed_verification_secrets
FROM unnest($1::uuid[], $2::bytea[]) AS i (id, sealed_verification_secrets)
WHERE s.id = i.id

-- seal_client_certificates --
-- Stores the client certificates of locked subscriptions ($1) as they were, encrypted ($2).
UPDATE subscriptions s
SET sealed_client_certificate = i.sealed_client_certificate
FROM unnest($1::uuid[], $2::bytea[]) AS i (id, sealed_client_certificate)
WHERE s.id = i.id

-- update_canary --
-- Encrypts anew the value by which processes know their keys.
UPDATE encryption_canary SET sealed = $1

-- lock_status --
-- Locks a live subscription of a tenant; answers its status.
SELECT status FROM subscriptions WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL FOR UPDATE

-- set_status --
-- Gives a locked subscription a status, and a reason for it.
UPDATE subscriptions
SET status = $2, status_reason = $3, status_since = now(), version = version + 1, updated_at = now()
WHERE id = $1

-- reset_health --
-- Closes a subscription's breaker and forgets its failures.
UPDATE subscription_health
SET breaker = 'closed', breaker_since = now(), breaker_reason = NULL, probe_at = NULL, probe_delivery_id = NULL,
    openings = 0, consecutive_failures = 0, failing_since = NULL
WHERE subscription_id = $1

-- delete_subscription --
-- Marks a subscription deleted, and forgets what it kept secret, its ingest token and what its endpoint did.
WITH forgotten AS (
    DELETE FROM subscription_health h USING subscriptions s
    WHERE h.subscription_id = $2 AND s.id = $2 AND s.tenant_id = $1
)
UPDATE subscriptions
SET deleted_at = now(), updated_at = now(), version = version + 1, secret_key = NULL, sealed_secrets = NULL,
    ingest_token_hash = NULL, sealed_headers = NULL, sealed_verification_secrets = NULL, sealed_client_certificate = NULL,
    client_certificate = NULL
WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL
RETURNING version

-- insert_events --
-- Stores events ($1 to $5, $11 and $12) and, for those that are new, their deliveries ($6 to $10), each left alone by the
-- dispatcher for the seconds of $9; returns the ids of the new events.
-- An event that is there already came with an earlier try of the same call, and so did its deliveries. Ids are taken in one
-- order everywhere, so that batches which repeat each other's events do not deadlock.
WITH stored AS (
    INSERT INTO webhook_events (id, tenant_id, event_type, content_type, payload, traceparent, content_encoding)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[], $11::text[], $12::text[])
        AS e (id, tenant_id, event_type, content_type, payload, traceparent, content_encoding)
    ORDER BY e.id
    ON CONFLICT (id) DO NOTHING
    RETURNING id, tenant_id, event_type
), delivered AS (
    INSERT INTO webhook_deliveries (id, event_id, subscription_id, tenant_id, event_type, next_attempt_at, expires_at)
    SELECT d.id, d.event_id, d.subscription_id, stored.tenant_id, stored.event_type,
           now() + make_interval(secs => d.hidden_seconds), now() + make_interval(hours => $10)
    FROM unnest($6::uuid[], $7::uuid[], $8::uuid[], $9::float8[])
        AS d (id, event_id, subscription_id, hidden_seconds)
    JOIN stored ON stored.id = d.event_id
    ORDER BY d.id
    ON CONFLICT (id) DO NOTHING
)
SELECT id FROM stored

-- select_events --
-- Reads events whose ids were used again ($2 and $3: the least and the greatest id, so that it prunes).
SELECT id, tenant_id, event_type, content_type, content_encoding, payload FROM webhook_events
WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3

-- select_deliveries --
-- Reads the deliveries of events ($2 and $3: the least and the greatest id that those can have).
SELECT id, event_id FROM webhook_deliveries WHERE event_id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3

-- select_event --
-- Reads one event with its payload.
SELECT * FROM webhook_events WHERE id = $1 AND tenant_id = $2

-- create_partitions --
-- Makes the partitions that are needed now.
SELECT create_current_partitions()

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
-- Reads what the calls that took these keys had sent, and were answered.
SELECT i.tenant_id, i.route, i.key, i.request_hash, i.response
FROM unnest($1::text[], $2::text[], $3::text[]) AS k (tenant_id, route, key)
JOIN idempotency_keys i ON i.tenant_id = k.tenant_id AND i.route = k.route AND i.key = k.key

-- delete_expired_keys --
-- Deletes up to $1 keys that are past their time; answers how many.
WITH deleted AS (
    DELETE FROM idempotency_keys
    WHERE (tenant_id, route, key) IN (
        SELECT tenant_id, route, key FROM idempotency_keys WHERE expires_at <= now() LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    RETURNING 1
)
SELECT count(*) FROM deleted

-- select_now --
-- The Unix time of this server's clock, which counts.
SELECT extract(epoch FROM clock_timestamp())::float
