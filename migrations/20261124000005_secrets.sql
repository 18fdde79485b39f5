-- migrate:up

ALTER TABLE subscriptions
    -- The signing secrets, encrypted (services/common/vault.py). secret_key is 'whsec_sealed' beside them, null when
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

-- migrate:down

-- There is no way back for them: what was in the clear before is encrypted, under a key that the database does not have.
DO $$
BEGIN
    IF EXISTS (SELECT FROM subscriptions WHERE sealed_secrets IS NOT NULL) THEN
        RAISE EXCEPTION 'signing secrets are encrypted, and would be lost';
    END IF;
END
$$;

DROP TABLE encryption_canary;
DROP INDEX subscriptions_plain;
ALTER TABLE subscriptions
    DROP COLUMN sealed_secrets,
    DROP COLUMN ingest_token_hash;
