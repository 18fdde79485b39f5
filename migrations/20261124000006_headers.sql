-- migrate:up

ALTER TABLE subscriptions
    -- Names and values of the headers that its requests carry, as services/common/custom_headers.py reads them; null for
    -- none. The values may be credentials.
    ADD COLUMN headers bytea,
    -- The names alone, in alphabetical order.
    ADD COLUMN header_names text[] NOT NULL DEFAULT '{}';

-- migrate:down

ALTER TABLE subscriptions
    DROP COLUMN headers,
    DROP COLUMN header_names;
