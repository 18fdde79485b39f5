ALTER TABLE subscriptions
    -- The signing secrets, encrypted (services/domain/secrets/vault.py). secret_key is 'whsec_sealed' beside them, null when
    -- there is none, and else a plain secret that a version before this one wrote: ingest encrypts it soon.
    ADD COLUMN sealed_secrets bytea,
    -- SHA-256 of the token in the subscription's own ingest URL. Null: it has none.
    ADD COLUMN ingest_token_hash bytea;

-- Whose secret is not encrypted yet: empty, but while versions before this one run.
CREATE INDEX subscriptions_plain ON subscriptions (id) WHERE secret_key <> 'whsec_sealed';

-- A value encrypted under the keys that are in use.
CREATE TABLE encryption_canary (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    sealed bytea NOT NULL
);
