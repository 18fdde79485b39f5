-- migrate:up

ALTER TABLE subscriptions
    -- Whose signature what comes in must carry (services/ingest/verification/presets.py).
    ADD COLUMN verification text NOT NULL DEFAULT 'auto'
        CHECK (verification IN ('auto', 'required', 'github', 'stripe', 'shopify', 'slack', 'standard-webhooks', 'none')),
    -- The secrets to verify it with, encrypted (services/common/vault.py). Null: the signing secrets serve.
    ADD COLUMN sealed_verification_secrets bytea;

-- migrate:down

-- Versions before take what comes in unsigned, whatever was asked for.
DO $$
BEGIN
    IF EXISTS (SELECT FROM subscriptions WHERE verification NOT IN ('auto', 'none') AND deleted_at IS NULL) THEN
        RAISE EXCEPTION 'subscriptions ask for verified webhooks: set their verify to auto first';
    END IF;
END
$$;

ALTER TABLE subscriptions
    DROP COLUMN verification,
    DROP COLUMN sealed_verification_secrets;
