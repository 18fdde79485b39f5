-- The outbox: run this in the database of your application, PostgreSQL 14 or later, in the schema that comes first in the
-- search path. It can be run again. docs/guides/outbox.md explains how to use it.
--
-- webhook_publish() adds a row in the transaction that calls it. Once that is committed, the role relay of the webhook
-- service makes an event of the row and deletes it. Rows that the service refuses stay, with failed_at and error.

CREATE TABLE IF NOT EXISTS webhook_outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_type text,
    payload bytea NOT NULL,
    content_type text NOT NULL DEFAULT 'application/json',
    content_encoding text,
    tags jsonb NOT NULL DEFAULT '{}',
    subscription_id uuid,
    tenant_id text,
    idempotency_key text NOT NULL DEFAULT CAST(gen_random_uuid() AS text),
    traceparent text,
    event_version integer,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts integer NOT NULL DEFAULT 0,
    claimed_until timestamptz,
    token uuid,
    error text,
    failed_at timestamptz,
    CONSTRAINT webhook_outbox_has_target CHECK (event_type IS NOT NULL OR subscription_id IS NOT NULL),
    CONSTRAINT webhook_outbox_event_type CHECK (event_type ~ '^[A-Za-z0-9._/:-]{1,128}$'),
    CONSTRAINT webhook_outbox_content_type CHECK (content_type ~ '^[ -~]{1,255}$'),
    CONSTRAINT webhook_outbox_content_encoding CHECK (content_encoding ~ '^[!-~]([ -~]{0,62}[!-~])?$'),
    CONSTRAINT webhook_outbox_tenant_id CHECK (tenant_id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    CONSTRAINT webhook_outbox_idempotency_key CHECK (idempotency_key ~ '^[ -~]{1,255}$'),
    CONSTRAINT webhook_outbox_event_version CHECK (
        event_version IS NULL OR event_type IS NOT NULL AND event_version BETWEEN 1 AND 1000000
    ),
    CONSTRAINT webhook_outbox_tags CHECK (
        jsonb_typeof(tags) = 'object'
        AND jsonb_array_length(jsonb_path_query_array(tags, '$.*')) <= 5
        AND NOT jsonb_path_exists(tags, '$.* ? (@.type() != "string")')
        AND NOT jsonb_path_exists(tags, '$.* ? (!(@ like_regex "^\\S(.{0,253}\\S)?$"))')
        AND NOT jsonb_path_exists(tags, '$.keyvalue() ? (!(@.key like_regex "^[A-Za-z0-9._-]{1,64}$"))')
    )
) WITH (
    -- Room in each page for the version that a claim writes, which then needs no entry in an index.
    fillfactor = 70,
    -- A busy outbox is small, and consists of dead rows soon: they are removed while they are few.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0,
    toast.autovacuum_vacuum_threshold = 1000,
    toast.autovacuum_vacuum_cost_delay = 0
);

COMMENT ON TABLE webhook_outbox IS 'Events for the webhook service, written by webhook_publish(), deleted by its relay.';
COMMENT ON COLUMN webhook_outbox.payload IS 'The bytes to deliver.';
COMMENT ON COLUMN webhook_outbox.subscription_id IS 'Only to this subscription; NULL sends it to all that want its type.';
COMMENT ON COLUMN webhook_outbox.tenant_id IS 'NULL is the tenant that the relay is configured for.';
COMMENT ON COLUMN webhook_outbox.event_version IS 'The version of its type; NULL is the current one of the catalog.';
COMMENT ON COLUMN webhook_outbox.attempts IS 'How often a relay claimed it.';
COMMENT ON COLUMN webhook_outbox.claimed_until IS 'No relay claims it before.';
COMMENT ON COLUMN webhook_outbox.token IS 'Of the relay that claimed it.';
COMMENT ON COLUMN webhook_outbox.error IS 'Why it is not accepted yet, or was refused.';
COMMENT ON COLUMN webhook_outbox.failed_at IS 'When the service refused it. Set to NULL once it is mended, to send it again.';

-- What relays look for, without the rows that were refused; and those.
CREATE INDEX IF NOT EXISTS webhook_outbox_waiting ON webhook_outbox (id) WHERE failed_at IS NULL;
CREATE INDEX IF NOT EXISTS webhook_outbox_failed ON webhook_outbox (id) WHERE failed_at IS NOT NULL;

-- Publish an event, and return the id of its row. The payload is delivered as these bytes.
CREATE OR REPLACE FUNCTION webhook_publish(
    event_type text,
    payload bytea,
    tags jsonb DEFAULT '{}',
    idempotency_key text DEFAULT NULL,
    content_type text DEFAULT 'application/json',
    content_encoding text DEFAULT NULL,
    subscription_id uuid DEFAULT NULL,
    tenant_id text DEFAULT NULL,
    traceparent text DEFAULT NULL,
    event_version integer DEFAULT NULL
) RETURNS bigint LANGUAGE sql VOLATILE BEGIN ATOMIC
    INSERT INTO webhook_outbox (
        event_type, payload, content_type, content_encoding, tags, subscription_id, tenant_id, idempotency_key, traceparent,
        event_version
    ) VALUES (
        webhook_publish.event_type,
        webhook_publish.payload,
        webhook_publish.content_type,
        webhook_publish.content_encoding,
        (SELECT coalesce(jsonb_object_agg(each.key, each.value), '{}') FROM jsonb_each_text(webhook_publish.tags) AS each),
        webhook_publish.subscription_id,
        webhook_publish.tenant_id,
        coalesce(webhook_publish.idempotency_key, CAST(gen_random_uuid() AS text)),
        webhook_publish.traceparent,
        webhook_publish.event_version
    ) RETURNING id;
END;

-- The same for text, which is delivered as UTF-8.
CREATE OR REPLACE FUNCTION webhook_publish(
    event_type text,
    payload text,
    tags jsonb DEFAULT '{}',
    idempotency_key text DEFAULT NULL,
    content_type text DEFAULT 'application/json',
    content_encoding text DEFAULT NULL,
    subscription_id uuid DEFAULT NULL,
    tenant_id text DEFAULT NULL,
    traceparent text DEFAULT NULL,
    event_version integer DEFAULT NULL
) RETURNS bigint LANGUAGE sql VOLATILE BEGIN ATOMIC
    SELECT webhook_publish(
        event_type, convert_to(payload, 'UTF8'), tags, idempotency_key, content_type, content_encoding, subscription_id,
        tenant_id, traceparent, event_version
    );
END;

-- The same for json, such as row_to_json() returns, whose text is delivered as it is.
CREATE OR REPLACE FUNCTION webhook_publish(
    event_type text,
    payload json,
    tags jsonb DEFAULT '{}',
    idempotency_key text DEFAULT NULL,
    content_type text DEFAULT 'application/json',
    content_encoding text DEFAULT NULL,
    subscription_id uuid DEFAULT NULL,
    tenant_id text DEFAULT NULL,
    traceparent text DEFAULT NULL,
    event_version integer DEFAULT NULL
) RETURNS bigint LANGUAGE sql VOLATILE BEGIN ATOMIC
    SELECT webhook_publish(
        event_type, convert_to(CAST(payload AS text), 'UTF8'), tags, idempotency_key, content_type, content_encoding,
        subscription_id, tenant_id, traceparent, event_version
    );
END;

-- The same for jsonb, which is delivered as PostgreSQL writes it.
CREATE OR REPLACE FUNCTION webhook_publish(
    event_type text,
    payload jsonb,
    tags jsonb DEFAULT '{}',
    idempotency_key text DEFAULT NULL,
    content_type text DEFAULT 'application/json',
    content_encoding text DEFAULT NULL,
    subscription_id uuid DEFAULT NULL,
    tenant_id text DEFAULT NULL,
    traceparent text DEFAULT NULL,
    event_version integer DEFAULT NULL
) RETURNS bigint LANGUAGE sql VOLATILE BEGIN ATOMIC
    SELECT webhook_publish(
        event_type, convert_to(CAST(payload AS text), 'UTF8'), tags, idempotency_key, content_type, content_encoding,
        subscription_id, tenant_id, traceparent, event_version
    );
END;
