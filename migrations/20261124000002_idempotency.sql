-- What a caller sent with an Idempotency-Key, and what it was answered. Written in the transaction that makes the object,
-- and only for calls that carry a key.
CREATE TABLE idempotency_keys (
    tenant_id    text NOT NULL,
    -- Where the call went, such as "events" or "ingest/<subscription id>".
    route        text NOT NULL,
    key          text NOT NULL,
    -- The event or the subscription that the call made.
    object_id    uuid NOT NULL,
    expires_at   timestamptz NOT NULL,
    request_hash bytea NOT NULL,
    response     bytea NOT NULL,
    PRIMARY KEY (tenant_id, route, key)
);
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);
