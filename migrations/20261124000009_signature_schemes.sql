ALTER TABLE subscriptions
    -- How its deliveries are signed: the scheme of its newest secret, and of the next that is made. Of each secret the
    -- scheme stands with it in sealed_secrets.
    ADD COLUMN signature_scheme text NOT NULL DEFAULT 'hmac-sha256'
        CHECK (signature_scheme IN ('hmac-sha256', 'ed25519'));
