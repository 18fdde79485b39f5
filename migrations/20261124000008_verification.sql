ALTER TABLE subscriptions
    -- Whose signature what comes in must carry (services/ingest/subscriptions/verification.py).
    ADD COLUMN verification text NOT NULL DEFAULT 'auto'
        CHECK (verification IN ('auto', 'required', 'github', 'stripe', 'shopify', 'slack', 'standard-webhooks', 'none')),
    -- The secrets to verify it with, encrypted (services/domain/secrets/vault.py). Null: the signing secrets serve.
    ADD COLUMN sealed_verification_secrets bytea;
