-- insert_tenant --
-- Makes a tenant, unless there is or was one of this id.
INSERT INTO tenants (id, {columns}) VALUES ($1, {values}) ON CONFLICT (id) DO NOTHING RETURNING *

-- select_tenant --
-- Reads a tenant that is not deleted, with what it uses; those sums are null if they are older than $2 seconds.
SELECT t.*, s.measured_at, u.subscriptions, u.events_per_second, u.waiting_deliveries, u.stored_bytes,
       u.scheduled_events, u.scheduled_bytes,
       p.name AS portal_name, p.accent AS portal_accent, p.accent_dark AS portal_accent_dark,
       p.logo IS NOT NULL AS portal_has_logo
FROM tenants t
LEFT JOIN usage_state s ON s.measured_at > now() - make_interval(secs => $2)
LEFT JOIN tenant_usage u ON u.tenant_id = t.id AND s.measured_at IS NOT NULL
LEFT JOIN tenant_portals p ON p.tenant_id = t.id
WHERE t.id = $1 AND t.deleted_at IS NULL

-- update_tenant --
-- Replaces these columns of a locked tenant.
UPDATE tenants SET ({columns}) = ROW ({values}) WHERE id = $1

-- select_tenants_page --
-- Reads a page of the tenants that are not deleted, by id, with what they use; null if that is older than $3 seconds.
SELECT t.*, s.measured_at, u.subscriptions, u.events_per_second, u.waiting_deliveries, u.stored_bytes,
       u.scheduled_events, u.scheduled_bytes,
       p.name AS portal_name, p.accent AS portal_accent, p.accent_dark AS portal_accent_dark,
       p.logo IS NOT NULL AS portal_has_logo
FROM (SELECT * FROM tenants WHERE id > $1 AND deleted_at IS NULL ORDER BY id LIMIT $2) AS t
LEFT JOIN usage_state s ON s.measured_at > now() - make_interval(secs => $3)
LEFT JOIN tenant_usage u ON u.tenant_id = t.id AND s.measured_at IS NOT NULL
LEFT JOIN tenant_portals p ON p.tenant_id = t.id
ORDER BY t.id

-- lock_tenant --
-- Locks a tenant that is not deleted: nobody makes a subscription or a key of it meanwhile.
SELECT * FROM tenants WHERE id = $1 AND deleted_at IS NULL FOR UPDATE

-- is_in_use --
-- Whether a tenant has live subscriptions, events that are not expanded, or unfinished deliveries of deleted subscriptions:
-- looked for by subscription, as an index of the queue has them.
SELECT EXISTS (
    SELECT FROM subscriptions s
    WHERE s.tenant_id = $1
      AND (s.deleted_at IS NULL
           OR EXISTS (
               SELECT FROM unnest(ARRAY[false, true]) AS state (scheduled)
               CROSS JOIN LATERAL (
                   SELECT FROM delivery_queue q
                   WHERE q.subscription_id = s.id AND q.scheduled = state.scheduled
                   LIMIT 1
               ) AS unfinished
           ))
) OR EXISTS (SELECT FROM event_expansions WHERE tenant_id = $1)

-- mark_tenant_deleted --
-- Deletes a locked tenant and revokes its keys, and portal links; returns how many keys.
WITH marked AS (
    UPDATE tenants SET deleted_at = now() WHERE id = $1
), revoked AS (
    UPDATE api_keys SET revoked_at = now() WHERE tenant_id = $1 AND revoked_at IS NULL RETURNING 1
), ended AS (
    UPDATE portal_links SET revoked_at = now() WHERE tenant_id = $1 AND revoked_at IS NULL
)
SELECT count(*) FROM revoked

-- insert_key --
-- Makes a key, unless its tenant is unknown or deleted. The tenant is not deleted before this is committed.
INSERT INTO api_keys (id, tenant_id, key_hash, prefix, name, role, expires_at, requests_per_second, capabilities,
                      pull_subscription_ids)
SELECT $1, t.id, $3, $4, $5, $6, $7, $8, $9, $10
FROM tenants t WHERE t.id = $2 AND t.deleted_at IS NULL
FOR KEY SHARE
RETURNING *

-- select_keys_page --
-- Reads a page of keys, newest first; of tenant $1 unless it is null.
SELECT * FROM api_keys WHERE id < $2 AND ($1::text IS NULL OR tenant_id = $1) ORDER BY id DESC LIMIT $3

-- revoke_key --
-- Revokes a key; one that is revoked stays so since then. Answers whether it was.
WITH before AS (
    SELECT id, revoked_at FROM api_keys WHERE id = $1 FOR UPDATE
)
UPDATE api_keys k SET revoked_at = coalesce(k.revoked_at, now())
FROM before WHERE k.id = before.id
RETURNING k.*, before.revoked_at IS NOT NULL AS was_revoked

-- insert_member --
-- Makes a member, unless there is one, or the tenant is unknown or deleted. It is not deleted before this is committed.
INSERT INTO api_keys (id, tenant_id, key_hash, prefix, name, role, oidc_subject)
SELECT $1, t.id, $3, $4, $5, $6, $7
FROM tenants t WHERE t.id = $2 AND t.deleted_at IS NULL
FOR KEY SHARE
ON CONFLICT (key_hash) DO NOTHING
RETURNING *

-- lock_member --
-- Reads a member by the digest, until the end of the transaction.
SELECT * FROM api_keys WHERE key_hash = $1 FOR UPDATE

-- update_member --
-- Changes a member to what the issuer says now.
UPDATE api_keys SET name = $2, role = $3 WHERE id = $1

-- end_member --
-- Ends the sessions and portal links of the member with this digest.
WITH links AS (
    UPDATE portal_links SET revoked_at = now() WHERE key_hash = $1 AND revoked_at IS NULL AND expires_at > now()
)
UPDATE sessions SET revoked_at = now() WHERE key_hash = $1 AND revoked_at IS NULL AND expires_at > now()

-- end_other_memberships --
-- Ends the sessions and portal links of the person ($1) in other tenants than that of the member $2.
WITH others AS (
    SELECT key_hash FROM api_keys WHERE oidc_subject = $1 AND id <> $2
), links AS (
    UPDATE portal_links SET revoked_at = now()
    WHERE key_hash IN (SELECT key_hash FROM others) AND revoked_at IS NULL AND expires_at > now()
)
UPDATE sessions SET revoked_at = now()
WHERE key_hash IN (SELECT key_hash FROM others) AND revoked_at IS NULL AND expires_at > now()

-- insert_session --
-- Starts a session of the key with this digest, for $6 seconds; by OIDC with the state $7.
INSERT INTO sessions (id, tenant_id, token_hash, key_hash, user_agent, expires_at, state_hash)
VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6), $7)

-- delete_older_sessions --
-- Deletes the sessions of a key beyond the newest $2.
DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE key_hash = $1 ORDER BY id DESC OFFSET $2)

-- select_session_by_id --
-- Reads a session with its key, whose columns are null if it is in no table.
SELECT s.*, k.id AS key_id, k.name AS key_name, k.role
FROM sessions s LEFT JOIN api_keys k ON k.key_hash = s.key_hash
WHERE s.id = $1

-- select_session_by_token --
-- Reads a session with the same columns, by the digest of its token.
SELECT s.*, k.id AS key_id, k.name AS key_name, k.role
FROM sessions s LEFT JOIN api_keys k ON k.key_hash = s.key_hash
WHERE s.token_hash = $1

-- select_sessions_page --
-- Reads a page of sessions that have not expired, newest first, with the same columns; of tenant $1 unless it is null.
SELECT s.*, k.id AS key_id, k.name AS key_name, k.role
FROM sessions s LEFT JOIN api_keys k ON k.key_hash = s.key_hash
WHERE s.id < $2 AND ($1::text IS NULL OR s.tenant_id = $1) AND s.expires_at > now()
ORDER BY s.id DESC LIMIT $3

-- revoke_session --
-- Ends a session; returns its id unless it had ended.
UPDATE sessions SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING id

-- delete_expired_sessions --
-- Deletes up to $2 sessions that have expired, among those with ids below $1.
DELETE FROM sessions WHERE id IN (
    SELECT id FROM sessions WHERE id < $1 AND expires_at <= now() ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
)

-- insert_portal_link --
-- Makes a portal link, for $9 seconds, by the key with the id $4, or with the digest $5 if it is in no table; unless the
-- tenant or the key is unknown. The tenant is not deleted before this is committed.
INSERT INTO portal_links (id, tenant_id, secret_hash, key_hash, capabilities, subscriptions, origin, expires_at)
SELECT $1, t.id, $3, k.key_hash, $6, $7, $8, now() + make_interval(secs => $9)
FROM (SELECT id FROM tenants WHERE id = $2 AND deleted_at IS NULL FOR KEY SHARE) AS t
CROSS JOIN (
    SELECT $5::bytea AS key_hash WHERE $5 IS NOT NULL
    UNION ALL SELECT key_hash FROM api_keys WHERE id = $4::uuid
) AS k
RETURNING *

-- find_foreign_subscription --
-- Finds one of the subscriptions $2 that the tenant does not have; null if it has them all.
SELECT min(wanted::text)::uuid FROM unnest($2::uuid[]) AS wanted
WHERE NOT EXISTS (SELECT FROM subscriptions s WHERE s.id = wanted AND s.tenant_id = $1 AND s.deleted_at IS NULL)

-- select_portal_link_by_id --
-- Reads a portal link, also one that has ended.
SELECT * FROM portal_links WHERE id = $1

-- exchange_portal_link --
-- Gives a portal link ($1) its token ($3) if it has none yet, has not ended, and the secret ($2) is its own.
UPDATE portal_links SET token_hash = $3
WHERE id = $1 AND secret_hash = $2 AND token_hash IS NULL AND revoked_at IS NULL AND expires_at > now()
RETURNING *

-- revoke_portal_link --
-- Ends a portal link of a tenant ($2), which was made by the key $3 unless that is null; returns it, and whether it had ended.
WITH before AS (
    SELECT id, revoked_at FROM portal_links
    WHERE id = $1 AND tenant_id = $2
      AND ($3::uuid IS NULL OR key_hash = (SELECT key_hash FROM api_keys WHERE id = $3::uuid))
    FOR UPDATE
)
UPDATE portal_links l SET revoked_at = coalesce(l.revoked_at, now())
FROM before WHERE l.id = before.id
RETURNING l.*, before.revoked_at IS NOT NULL AS was_revoked

-- delete_expired_portal_links --
-- Deletes up to $2 portal links that expired $1 seconds ago: until then their page says so.
DELETE FROM portal_links WHERE id IN (
    SELECT id FROM portal_links WHERE expires_at <= now() - make_interval(secs => $1)
    ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
)

-- insert_tenant_portal --
-- Makes the row of a tenant's portal, unless it is there.
INSERT INTO tenant_portals (tenant_id) VALUES ($1) ON CONFLICT DO NOTHING

-- select_tenant_portal --
-- Reads it.
SELECT * FROM tenant_portals WHERE tenant_id = $1

-- update_tenant_portal --
-- Replaces these columns of it.
UPDATE tenant_portals SET ({columns}) = ROW ({values}) WHERE tenant_id = $1

-- select_look_of_link --
-- Reads how the portal of a link's tenant looks, and its logo if $2.
SELECT p.name AS portal_name, p.accent AS portal_accent, p.accent_dark AS portal_accent_dark,
       p.logo IS NOT NULL AS portal_has_logo, CASE WHEN $2::boolean THEN p.logo END AS logo
FROM portal_links l JOIN tenant_portals p ON p.tenant_id = l.tenant_id
WHERE l.id = $1
