ALTER TABLE tenants
    ADD COLUMN description text NOT NULL DEFAULT '',
    -- A deleted tenant stays as a mark: its id is never given to another one, whose the old events would then be.
    ADD COLUMN deleted_at timestamptz;

-- Whoever may call. Of a key there is its digest alone: it is shown once, and cannot be got back.
CREATE TABLE api_keys (
    id                  uuid PRIMARY KEY,
    tenant_id           text NOT NULL REFERENCES tenants (id),
    -- SHA-256 of the whole key. A key has 256 random bits, which nobody guesses, so a slow hash would only cost time.
    key_hash            bytea NOT NULL UNIQUE CHECK (length(key_hash) = 32),
    -- The key's first characters, by which people tell their keys apart.
    prefix              text NOT NULL,
    name                text NOT NULL,
    role                text NOT NULL CHECK (role IN ('admin', 'write', 'ingest', 'read')),
    created_at          timestamptz NOT NULL DEFAULT now(),
    -- Null: it does not expire.
    expires_at          timestamptz,
    revoked_at          timestamptz,
    -- To about a minute; written in the background.
    last_used_at        timestamptz,
    -- Null: API_KEY_REQUESTS_PER_SECOND.
    requests_per_second double precision CHECK (requests_per_second >= 0.001)
);
CREATE INDEX api_keys_by_tenant ON api_keys (tenant_id, id);
