-- insert_subscription --
-- Makes a subscription with these columns, unless its tenant is unknown or deleted. The tenant is not deleted before this
-- is committed.
INSERT INTO subscriptions (id, tenant_id, {columns})
SELECT $1, t.id, {values}
FROM tenants t WHERE t.id = $2 AND t.deleted_at IS NULL
FOR KEY SHARE
RETURNING *

-- insert_test --
-- Has a test event ($1) of tenant $2 sent on behalf of $3, to the target of a subscription with these columns that is not
-- created, unless the tenant is unknown or deleted.
INSERT INTO endpoint_tests (id, subscription_id, tenant_id, actor, {columns})
SELECT $1, $1, t.id, $3, {values}
FROM tenants t WHERE t.id = $2 AND t.deleted_at IS NULL
RETURNING id

-- select_subscription --
-- Reads a live subscription.
SELECT * FROM subscriptions WHERE id = $1 AND deleted_at IS NULL

-- select_subscription_with_breaker --
-- Reads a tenant's live subscription and its breaker.
SELECT s.*, h.breaker, h.breaker_since, h.breaker_reason, h.probe_at, h.consecutive_failures,
       c.due_at AS check_due_at, c.error AS check_error
FROM subscriptions s LEFT JOIN subscription_health h ON h.subscription_id = s.id
LEFT JOIN endpoint_checks c ON c.subscription_id = s.id AND s.status = 'unverified'
WHERE s.tenant_id = $1 AND s.id = $2 AND s.deleted_at IS NULL

-- select_subscriptions_page --
-- Reads a page of a tenant's live subscriptions, newest first, with their breakers.
SELECT s.*, h.breaker, h.breaker_since, h.breaker_reason, h.probe_at, h.consecutive_failures,
       c.due_at AS check_due_at, c.error AS check_error
FROM subscriptions s LEFT JOIN subscription_health h ON h.subscription_id = s.id
LEFT JOIN endpoint_checks c ON c.subscription_id = s.id AND s.status = 'unverified'
WHERE s.tenant_id = $1 AND s.id < $2 AND s.deleted_at IS NULL
ORDER BY s.id DESC LIMIT $3

-- select_subscriptions_of --
-- Reads these live subscriptions of a tenant ($2), newest first, with their breakers.
SELECT s.*, h.breaker, h.breaker_since, h.breaker_reason, h.probe_at, h.consecutive_failures,
       c.due_at AS check_due_at, c.error AS check_error
FROM subscriptions s LEFT JOIN subscription_health h ON h.subscription_id = s.id
LEFT JOIN endpoint_checks c ON c.subscription_id = s.id AND s.status = 'unverified'
WHERE s.tenant_id = $1 AND s.id = ANY($2::uuid[]) AND s.deleted_at IS NULL
ORDER BY s.id DESC

-- select_named --
-- Finds the live subscription of a tenant with this name, if its id is below $3 and it has these pairs ($4).
SELECT id FROM subscriptions
WHERE tenant_id = $1 AND name = $2 AND deleted_at IS NULL AND id < $3 AND ($4::jsonb IS NULL OR metadata @> $4)

-- select_with_metadata --
-- Finds up to $4 that have these pairs ($5) among the next $3 live subscriptions of a tenant below $2. It needs no index
-- of metadata, which changes would pay for: other tenants' are not read, and of its own no more than these.
SELECT id
FROM (
    SELECT id, metadata FROM subscriptions
    WHERE tenant_id = $1 AND id < $2 AND deleted_at IS NULL
    ORDER BY id DESC LIMIT $3
) AS looked_at
WHERE metadata @> $5::jsonb
ORDER BY id DESC LIMIT $4

-- select_last_looked_at --
-- Finds the last of the next $3 live subscriptions of a tenant below $2; none if there are fewer.
SELECT id FROM subscriptions
WHERE tenant_id = $1 AND id < $2 AND deleted_at IS NULL
ORDER BY id DESC OFFSET $3::integer - 1 LIMIT 1

-- select_all_subscriptions_page --
-- Reads a page of the live subscriptions of all tenants, newest first, with their breakers.
SELECT s.*, h.breaker, h.breaker_since, h.breaker_reason, h.probe_at, h.consecutive_failures,
       c.due_at AS check_due_at, c.error AS check_error
FROM subscriptions s LEFT JOIN subscription_health h ON h.subscription_id = s.id
LEFT JOIN endpoint_checks c ON c.subscription_id = s.id AND s.status = 'unverified'
WHERE s.id < $1 AND s.deleted_at IS NULL
ORDER BY s.id DESC LIMIT $2

-- select_filters_page --
-- Reads the filters of the next $3 live subscriptions of a tenant after $2, and the time. A tenant without any has one row
-- with a null id; one that is unknown or deleted has none.
SELECT f.*, now() AS now, pg_postmaster_start_time() AS server_started
FROM tenants t
LEFT JOIN LATERAL (
    SELECT * FROM subscription_filters WHERE tenant_id = t.id AND id > $2 AND live ORDER BY id LIMIT $3
) AS f ON true
WHERE t.id = $1 AND t.deleted_at IS NULL
ORDER BY f.id

-- select_changed_filters --
-- Reads the same of those that were written after $2, or at $2 with an id above $3, up to $4 in that order; deleted ones
-- are among them.
SELECT f.*, now() AS now, pg_postmaster_start_time() AS server_started
FROM tenants t
LEFT JOIN LATERAL (
    SELECT * FROM subscription_filters
    WHERE tenant_id = t.id AND (updated_at, id) > ($2, $3)
    ORDER BY updated_at, id LIMIT $4
) AS f ON true
WHERE t.id = $1 AND t.deleted_at IS NULL
ORDER BY f.updated_at, f.id

-- select_filters_of --
-- Reads the same of these subscriptions ($2); deleted ones are among them.
SELECT f.*, now() AS now, pg_postmaster_start_time() AS server_started
FROM tenants t LEFT JOIN subscription_filters f ON f.tenant_id = t.id AND f.id = ANY($2::uuid[])
WHERE t.id = $1 AND t.deleted_at IS NULL

-- select_targets_wanting --
-- Reads up to $3 subscriptions of a tenant that take events and have one of these entries ($2) or none, and whether they
-- may be rung at once. A tenant without any has one row with a null id; one that is unknown or deleted has none.
SELECT f.*
FROM tenants t
LEFT JOIN LATERAL (
    SELECT * FROM subscription_filters
    WHERE tenant_id = t.id AND live AND takes AND (event_types = '{}' OR event_types && $2::text[])
    LIMIT $3
) AS f ON true
WHERE t.id = $1 AND t.deleted_at IS NULL

-- lock_subscription --
-- Locks a live subscription of a tenant; returns it, and the time.
SELECT *, now() AS now FROM subscriptions WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL FOR UPDATE

-- update_subscription --
-- Replaces these columns of a locked subscription. Returns it with its breaker.
WITH changed AS (
    UPDATE subscriptions
    SET ({columns}) = ROW ({values}), version = version + 1, updated_at = statement_timestamp()
    WHERE id = $1
    RETURNING *
)
SELECT s.*, h.breaker, h.breaker_since, h.breaker_reason, h.probe_at, h.consecutive_failures,
       c.due_at AS check_due_at, c.error AS check_error
FROM changed s LEFT JOIN subscription_health h ON h.subscription_id = s.id
LEFT JOIN endpoint_checks c ON c.subscription_id = s.id AND s.status = 'unverified'

-- stop_filter --
-- Stops the filter of a live subscription of a tenant if it is this one ($3) and runs.
UPDATE subscriptions
SET filter_stopped_at = now(), version = version + 1, updated_at = statement_timestamp()
WHERE tenant_id = $1 AND id = $2 AND filter = $3 AND filter_stopped_at IS NULL AND deleted_at IS NULL
RETURNING *

-- begin_endpoint --
-- Counts another endpoint of a locked subscription, and forgets what is known of the one before: its breaker and its
-- failures. What workers still learn of that one no longer counts.
WITH forgotten AS (
    DELETE FROM subscription_health WHERE subscription_id = $1
)
UPDATE subscriptions SET endpoint_version = endpoint_version + 1, verified = false WHERE id = $1

-- set_secrets --
-- Gives a locked subscription other secrets, the newest of scheme $3.
UPDATE subscriptions
SET sealed_secrets = $2, signature_scheme = $3, version = version + 1, updated_at = statement_timestamp()
WHERE id = $1

-- set_ingest_token --
-- Gives a live subscription of a tenant another ingest token, or none.
UPDATE subscriptions
SET ingest_token_hash = $3, version = version + 1, updated_at = statement_timestamp()
WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL
RETURNING *

-- lock_sealed_secrets --
-- Locks the next $2 subscriptions after $1 that keep something secret.
SELECT id, sealed_secrets, sealed_headers, sealed_verification_secrets, sealed_client_certificate, sealed_template_secrets
FROM subscriptions
WHERE id > $1
  AND (sealed_secrets IS NOT NULL OR sealed_headers IS NOT NULL OR sealed_verification_secrets IS NOT NULL
       OR sealed_client_certificate IS NOT NULL OR sealed_template_secrets IS NOT NULL)
ORDER BY id LIMIT $2 FOR UPDATE

-- reseal --
-- Stores what locked subscriptions ($1) keep secret, encrypted under another key; null keeps what is stored. It is the only
-- statement that leaves version and updated_at alone: what they mean to callers and to caches is the same as before.
UPDATE subscriptions s
SET sealed_secrets = coalesce(i.sealed_secrets, s.sealed_secrets),
    sealed_headers = coalesce(i.sealed_headers, s.sealed_headers),
    sealed_verification_secrets = coalesce(i.sealed_verification_secrets, s.sealed_verification_secrets),
    sealed_client_certificate = coalesce(i.sealed_client_certificate, s.sealed_client_certificate),
    sealed_template_secrets = coalesce(i.sealed_template_secrets, s.sealed_template_secrets)
FROM unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bytea[])
    AS i (id, sealed_secrets, sealed_headers, sealed_verification_secrets, sealed_client_certificate,
          sealed_template_secrets)
WHERE s.id = i.id

-- update_canary --
-- Re-encrypts the value by which processes check their keys.
UPDATE encryption_canary SET sealed = $1

-- ask_for_check --
-- Has a worker check the target of an unverified subscription ($1, of tenant $2) now.
INSERT INTO endpoint_checks AS c (subscription_id, tenant_id) VALUES ($1, $2)
ON CONFLICT (subscription_id) DO UPDATE SET due_at = now(), sent = 0, error = NULL

-- lock_status --
-- Locks a live subscription of a tenant; returns its status, and whether its target was verified.
SELECT status, verified FROM subscriptions WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL FOR UPDATE

-- set_status --
-- Gives a locked subscription a status, and a reason for it. A disabled one has to be enabled before it can be paused.
UPDATE subscriptions
SET status = $2, status_reason = $3, status_since = now(), version = version + 1,
    updated_at = statement_timestamp()
WHERE id = $1 AND NOT (status = 'disabled' AND $2 = 'paused')

-- reset_health --
-- Closes a subscription's breaker and forgets its failures.
UPDATE subscription_health
SET breaker = 'closed', breaker_since = now(), breaker_reason = NULL, probe_at = NULL, probe_delivery_id = NULL,
    openings = 0, consecutive_failures = 0, failing_since = NULL
WHERE subscription_id = $1
