-- migrate:up

ALTER TABLE subscriptions
    -- How its deliveries are signed: the scheme of its newest secret, and of the next that is made. Of each secret the
    -- scheme stands with it in sealed_secrets.
    ADD COLUMN signature_scheme text NOT NULL DEFAULT 'hmac-sha256'
        CHECK (signature_scheme IN ('hmac-sha256', 'ed25519'));

-- migrate:down

-- Versions before take a private key for a secret of HMAC, and would sign with it what nobody can verify.
DO $$
BEGIN
    IF EXISTS (SELECT FROM subscriptions WHERE signature_scheme <> 'hmac-sha256' AND deleted_at IS NULL) THEN
        RAISE EXCEPTION 'subscriptions are signed with Ed25519: rotate them to hmac-sha256 first';
    END IF;
END
$$;

ALTER TABLE subscriptions
    DROP COLUMN signature_scheme;
