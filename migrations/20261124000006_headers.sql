ALTER TABLE subscriptions
    -- Names and values of the headers that its requests carry, encrypted (services/domain/secrets/vault.py), for the values may be
    -- credentials; null for none.
    ADD COLUMN sealed_headers bytea,
    -- The names alone, in alphabetical order.
    ADD COLUMN header_names text[] NOT NULL DEFAULT '{}';
