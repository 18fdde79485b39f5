ALTER TABLE subscriptions
    -- What its requests show to a receiver that asks who connects: certificates and private key, encrypted
    -- (services/domain/secrets/vault.py); null for nothing.
    ADD COLUMN sealed_client_certificate bytea,
    -- What is told of it: subject, issuer, serial_number, not_before, not_after, sha256_fingerprint.
    ADD COLUMN client_certificate jsonb;
