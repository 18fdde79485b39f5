-- select_key --
-- Finds a key by its digest: whose it is, what it may do, and whether it has come to its end.
SELECT id, tenant_id, role, requests_per_second, capabilities, pull_subscription_ids,
       revoked_at IS NOT NULL AS revoked, coalesce(expires_at <= now(), false) AS expired
FROM api_keys WHERE key_hash = $1

-- select_key_by_id --
-- Finds a key by its id, with the same columns.
SELECT id, tenant_id, role, requests_per_second, capabilities, pull_subscription_ids,
       revoked_at IS NOT NULL AS revoked, coalesce(expires_at <= now(), false) AS expired
FROM api_keys WHERE id = $1

-- select_session --
-- Finds a session by the digest of its token, with the same columns of its key; id is null if its key is in no table. A
-- session ends with its key.
SELECT k.id, k.tenant_id, k.role, k.requests_per_second, k.capabilities, k.pull_subscription_ids, s.key_hash,
       s.revoked_at IS NOT NULL OR k.revoked_at IS NOT NULL AS revoked,
       s.expires_at <= now() OR coalesce(k.expires_at <= now(), false) AS expired
FROM sessions s LEFT JOIN api_keys k ON k.key_hash = s.key_hash
WHERE s.token_hash = $1

-- note_used --
-- Notes that keys were used just now.
UPDATE api_keys SET last_used_at = now() WHERE id = ANY($1::uuid[])

-- select_portal_link --
-- Finds a portal link by the digest of its token, or by its id once it was exchanged. key_id is null if the key that it was
-- made with is in no table.
SELECT l.id, l.tenant_id, l.capabilities, l.subscriptions, l.key_hash, k.id AS key_id, k.requests_per_second,
       l.revoked_at IS NOT NULL OR k.revoked_at IS NOT NULL AS revoked,
       l.expires_at <= now() OR coalesce(k.expires_at <= now(), false) AS expired
FROM portal_links l LEFT JOIN api_keys k ON k.key_hash = l.key_hash
WHERE l.token_hash IS NOT NULL
  AND l.id = coalesce($2::uuid, (SELECT id FROM portal_links WHERE token_hash = $1::bytea))
