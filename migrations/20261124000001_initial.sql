-- The whole schema. Until 0.1.0 is tagged, edit this file; afterwards add a migration that only expands the schema.

CREATE TABLE tenants (
    id          text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    name        text NOT NULL,
    description text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- A deleted tenant keeps its row, so that its id is never given to another tenant, who would then own its events.
    deleted_at  timestamptz,
    -- Its own quotas. Null: that of the QUOTA_* settings.
    max_subscriptions      bigint CHECK (max_subscriptions BETWEEN 1 AND 10000000),
    max_events_per_second  double precision CHECK (max_events_per_second BETWEEN 0.01 AND 1000000),
    max_waiting_deliveries bigint CHECK (max_waiting_deliveries BETWEEN 1 AND 1000000000),
    max_stored_bytes       bigint CHECK (max_stored_bytes BETWEEN 1048576 AND 1125899906842624),
    max_scheduled_events   bigint CHECK (max_scheduled_events BETWEEN 1 AND 100000000),
    max_scheduled_bytes    bigint CHECK (max_scheduled_bytes BETWEEN 1048576 AND 1125899906842624),
    -- How many times the share of a tenant of weight 1 it gets of what all tenants share.
    weight                 integer NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 100),
    -- What becomes of events that do not match the schema of their type, where the type does not say.
    validation             text NOT NULL DEFAULT 'off' CHECK (validation IN ('off', 'warn', 'enforce')),
    -- Counts the changes to the tenant's event catalog, from which ingest processes know that there is one. 0: it has none.
    catalog_version        bigint NOT NULL DEFAULT 0
);
INSERT INTO tenants (id, name) VALUES ('default', 'Default');
-- Those with quotas of their own, which every ingest process reads again and again.
CREATE INDEX tenants_with_quotas ON tenants (id)
    WHERE num_nonnulls(max_subscriptions, max_events_per_second, max_waiting_deliveries, max_stored_bytes,
                       max_scheduled_events, max_scheduled_bytes) > 0;
-- Those with another weight than most, which every process that shares reads.
CREATE INDEX tenants_with_weights ON tenants (id) WHERE weight <> 1;
-- Those with an event catalog.
CREATE INDEX tenants_with_catalogs ON tenants (id) WHERE catalog_version > 0;

-- The event catalog. A tenant without event types has no rows here, and its events are not validated.
CREATE TABLE event_types (
    id          uuid PRIMARY KEY,
    tenant_id   text NOT NULL REFERENCES tenants (id),
    name        text NOT NULL CHECK (name ~ '^[A-Za-z0-9._/:-]{1,128}$'),
    description text NOT NULL DEFAULT '' CHECK (length(description) <= 1024),
    -- Null: that of the tenant.
    validation  text CHECK (validation IN ('off', 'warn', 'enforce')),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name)
);

CREATE TABLE event_type_versions (
    event_type_id uuid NOT NULL REFERENCES event_types (id) ON DELETE CASCADE,
    number        integer NOT NULL CHECK (number >= 1),
    status        text NOT NULL CHECK (status IN ('draft', 'live', 'deprecated')),
    -- JSON text as it was given: what a sender reads is what they wrote.
    schema        text NOT NULL CHECK (octet_length(schema) <= 65536),
    -- JSON text; empty: there is none.
    example       text NOT NULL DEFAULT '' CHECK (octet_length(example) <= 16384),
    -- A template that makes a payload of the version before of one of this version; empty: there is none.
    down_conversion text NOT NULL DEFAULT '' CHECK (octet_length(down_conversion) <= 16384),
    description   text NOT NULL DEFAULT '' CHECK (length(description) <= 1024),
    sunset_at     timestamptz CHECK (sunset_at IS NULL OR status = 'deprecated'),
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_type_id, number)
);

-- Events that did not match the schema of their type. Ingest processes add what they counted every few seconds.
CREATE TABLE invalid_events (
    event_type_id uuid PRIMARY KEY REFERENCES event_types (id) ON DELETE CASCADE,
    events        bigint NOT NULL,
    last_at       timestamptz NOT NULL DEFAULT now(),
    -- What was wrong with the last one.
    last_errors   text[] NOT NULL
) WITH (fillfactor = 50);

-- How the portal of a tenant looks. Apart, so that lists of tenants read no logos. Null: as the console does.
CREATE TABLE tenant_portals (
    tenant_id   text PRIMARY KEY REFERENCES tenants (id),
    name        text CHECK (length(name) <= 128),
    accent      text CHECK (accent ~ '^#[0-9a-f]{6}$'),
    accent_dark text CHECK (accent_dark ~ '^#[0-9a-f]{6}$'),
    -- PNG or WebP.
    logo        bytea CHECK (length(logo) <= 65536)
);

-- What a tenant stored, by the day of the events' partition. An ingest process adds what it has committed every few
-- seconds, so no event updates a row of its tenant.
CREATE TABLE tenant_storage (
    day       date NOT NULL,
    tenant_id text NOT NULL,
    events    bigint NOT NULL,
    -- Of payloads.
    bytes     bigint NOT NULL,
    PRIMARY KEY (day, tenant_id)
) WITH (fillfactor = 50);

-- What each tenant has, as it was a few seconds ago: sums that one copy of analytics makes for all other processes. A
-- tenant that has nothing has no row.
CREATE TABLE tenant_usage (
    tenant_id          text PRIMARY KEY,
    subscriptions      bigint NOT NULL,
    waiting_deliveries bigint NOT NULL,
    stored_bytes       bigint NOT NULL,
    events_per_second  double precision NOT NULL,
    -- Of the retained days, from which the rate is computed.
    events             bigint NOT NULL,
    -- Those that are not due yet, and the bytes of their payloads.
    scheduled_events   bigint NOT NULL DEFAULT 0,
    scheduled_bytes    bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- When the sums were computed. The copy that computes them locks the only row, so that one copy works at a time.
CREATE TABLE usage_state (
    single      boolean PRIMARY KEY DEFAULT true CHECK (single),
    -- Null: never.
    measured_at timestamptz,
    due_at      timestamptz NOT NULL DEFAULT now()
);
INSERT INTO usage_state DEFAULT VALUES;

-- Who may call the API.
CREATE TABLE api_keys (
    id                  uuid PRIMARY KEY,
    tenant_id           text NOT NULL REFERENCES tenants (id),
    -- SHA-256 of the key, which is shown once and not stored. A key has 256 random bits, so a slow hash would add nothing.
    key_hash            bytea NOT NULL UNIQUE CHECK (length(key_hash) = 32),
    -- The first characters of the key, by which people tell their keys apart.
    prefix              text NOT NULL,
    name                text NOT NULL,
    role                text NOT NULL CHECK (role IN ('admin', 'write', 'ingest', 'read', 'pull')),
    created_at          timestamptz NOT NULL DEFAULT now(),
    -- Null: it does not expire.
    expires_at          timestamptz,
    revoked_at          timestamptz,
    -- Accurate to about a minute: written in the background.
    last_used_at        timestamptz,
    -- Null: API_KEY_REQUESTS_PER_SECOND.
    requests_per_second double precision CHECK (requests_per_second BETWEEN 0.001 AND 100000),
    -- What it may do besides what its role allows.
    capabilities        text[] NOT NULL DEFAULT '{}' CHECK (capabilities <@ ARRAY['erase']),
    -- Of a key with the role 'pull': the only subscriptions that it pulls from. Empty: all of its tenant.
    pull_subscription_ids    uuid[] NOT NULL DEFAULT '{}' CHECK (role = 'pull' OR pull_subscription_ids = '{}'),
    -- Of a member, who signs in by OpenID Connect: 'sub' of the ID token. Its key_hash is of no key.
    oidc_subject             text CHECK (length(oidc_subject) BETWEEN 1 AND 255)
);
CREATE INDEX api_keys_by_tenant ON api_keys (tenant_id, id);
CREATE INDEX api_keys_by_subject ON api_keys (oidc_subject) WHERE oidc_subject IS NOT NULL;

-- People who signed in at the console with a key. A session can do what its key can, and ends with it.
CREATE TABLE sessions (
    id         uuid PRIMARY KEY,
    tenant_id  text NOT NULL REFERENCES tenants (id),
    -- SHA-256 of the token in the browser's cookie.
    token_hash bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    -- SHA-256 of the key: as in api_keys, or of BOOTSTRAP_ADMIN_KEY, which is in no table.
    key_hash   bytea NOT NULL CHECK (length(key_hash) = 32),
    -- By which people tell their sessions apart.
    user_agent text NOT NULL DEFAULT '' CHECK (length(user_agent) <= 256),
    -- SHA-256 of the state of a sign-in by OpenID Connect, which is used once; null for others.
    state_hash bytea UNIQUE CHECK (length(state_hash) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX sessions_by_tenant ON sessions (tenant_id, id);
CREATE INDEX sessions_by_key ON sessions (key_hash, id);

-- Addresses at which customers see and steer what is theirs. A link is exchanged once, for a token, and ends with the key that
-- it was made with.
CREATE TABLE portal_links (
    id            uuid PRIMARY KEY,
    tenant_id     text NOT NULL REFERENCES tenants (id),
    -- SHA-256 of the secret in the address, and of the token that it was exchanged for; null until then.
    secret_hash   bytea NOT NULL CHECK (length(secret_hash) = 32),
    token_hash    bytea UNIQUE CHECK (length(token_hash) = 32),
    -- SHA-256 of the key that made it, as in sessions; where no key was needed, of the word "anonymous".
    key_hash      bytea NOT NULL CHECK (length(key_hash) = 32),
    capabilities  text[] NOT NULL
                  CHECK (capabilities <@ ARRAY['view', 'manage', 'secrets', 'test', 'recover', 'payloads']),
    -- Null: all of the tenant.
    subscriptions uuid[] CHECK (cardinality(subscriptions) BETWEEN 1 AND 50),
    -- Of the pages that may frame it; null: none.
    origin        text CHECK (length(origin) <= 256),
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    revoked_at    timestamptz
);
CREATE INDEX portal_links_by_tenant ON portal_links (tenant_id, id);
CREATE INDEX portal_links_by_expiry ON portal_links (expires_at);
CREATE INDEX portal_links_by_key ON portal_links (key_hash);

CREATE TABLE subscriptions (
    id          uuid PRIMARY KEY,
    tenant_id   text NOT NULL REFERENCES tenants (id),
    -- 'system': it receives the operational webhooks about the other subscriptions of its tenant, and nothing else.
    kind        text NOT NULL DEFAULT 'normal' CHECK (kind IN ('normal', 'system')),
    description text NOT NULL DEFAULT '',
    -- By what its owner finds it. Null: it has no name, or no metadata.
    name        text CHECK (name ~ '^[a-z0-9._-]{1,64}$'),
    metadata    jsonb CHECK (jsonb_typeof(metadata) = 'object'),
    -- Incremented by every change, so that a cache never replaces a newer copy by an older one.
    version     bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- When the row was written, as of the statement: a cache that looks for changes goes back no further than the rest of
    -- a transaction takes after it.
    updated_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at  timestamptz,

    -- Deliveries are sent only while it is active.
    status             text NOT NULL DEFAULT 'active'
        CHECK (status IN ('active', 'paused', 'disabled', 'unverified')),
    -- Why it is disabled: 'manual', 'gone' (the receiver returned 410) or 'failing' (every attempt failed for days).
    status_reason      text,
    status_since       timestamptz NOT NULL DEFAULT now(),
    -- Whether events are stored for it while it is disabled.
    keep_when_disabled boolean NOT NULL DEFAULT true,

    -- Whether workers send its deliveries to target_url, or its consumers pull them. It never changes.
    destination      text NOT NULL DEFAULT 'http' CHECK (destination IN ('http', 'pull')),
    -- Of one that is pulled from: it is deleted when nobody has pulled for so long. Null: it stays.
    expires_after_idle_seconds integer CHECK (expires_after_idle_seconds BETWEEN 60 AND 31622400)
        CHECK (expires_after_idle_seconds IS NULL OR destination = 'pull'),
    -- Empty if it is pulled from.
    target_url       text NOT NULL CHECK ((target_url = '') = (destination = 'pull')),
    -- Incremented when target_url changes, because what was learned about one endpoint says nothing about the next.
    endpoint_version integer NOT NULL DEFAULT 1,
    event_types      text[] NOT NULL DEFAULT '{}',
    -- What else an event has to be, as an expression in CEL (services/domain/filters/). Null: any.
    filter           text CHECK (length(filter) BETWEEN 1 AND 2048),
    -- What becomes of an event that it cannot be evaluated for.
    filter_on_error  text NOT NULL DEFAULT 'deliver' CHECK (filter_on_error IN ('deliver', 'skip')),
    -- When it was stopped because it is too slow; every event counts as one of those since. Null: it was not.
    filter_stopped_at timestamptz,
    -- Whether this target has answered a challenge. One that has not gets nothing if ENDPOINT_VERIFICATION is on.
    verified         boolean NOT NULL DEFAULT false,

    -- Null: no limit.
    rate_limit_per_second double precision CHECK (rate_limit_per_second BETWEEN 0.001 AND 100000),
    -- Null: as many as the rate allows in one second, at least 1.
    rate_limit_burst      integer CHECK (rate_limit_burst BETWEEN 1 AND 1000000),
    -- Null: DELIVERY_TIMEOUT_SECONDS.
    timeout_seconds       double precision CHECK (timeout_seconds BETWEEN 1 AND 30),
    -- Null: RETRY_LIMIT and the other RETRY_* settings. Otherwise as services/domain/retry_policy.py reads it.
    retry_policy          jsonb CHECK (NOT retry_policy @? '$.** ? (@ < 0 || @ > 31622400)'),

    -- Columns named sealed_* are encrypted (services/domain/secrets/vault.py).

    -- How deliveries are signed: the scheme of the newest secret and of the next generated one.
    signature_scheme text NOT NULL DEFAULT 'hmac-sha256' CHECK (signature_scheme IN ('hmac-sha256', 'ed25519')),
    -- The signing secrets, each with its scheme and its end. Null: deliveries are not signed.
    sealed_secrets   bytea,

    -- The headers added to each request, whose values may be credentials. Null: none.
    sealed_headers bytea,
    -- Their names, in alphabetical order.
    header_names   text[] NOT NULL DEFAULT '{}',

    -- The certificates and the private key for mutual TLS with the receiver. Null: none.
    sealed_client_certificate bytea,
    -- What the API shows of it: subject, issuer, serial_number, not_before, not_after, sha256_fingerprint.
    client_certificate        jsonb,

    -- Which signature an event sent to the subscription's own URL must carry (services/ingest/events/verification.py).
    verification                text NOT NULL DEFAULT 'auto'
        CHECK (verification IN ('auto', 'required', 'github', 'stripe', 'shopify', 'slack', 'standard-webhooks', 'none')),
    -- The secrets to verify it with. Null: the signing secrets are used.
    sealed_verification_secrets bytea,
    -- SHA-256 of the token in the subscription's own URL. Null: it has none.
    ingest_token_hash           bytea,
    -- What is sent in place of the payload (services/domain/templates/template.py). Null: the payload.
    template                    jsonb CHECK (jsonb_typeof(template) = 'object'),
    -- What templates know as secrets. Null: none. And their names, in alphabetical order.
    sealed_template_secrets     bytea,
    template_secret_names       text[] NOT NULL DEFAULT '{}',
    -- The versions that it gets of events, by their types. Null: it gets them as they are.
    event_versions              jsonb CHECK (jsonb_typeof(event_versions) = 'object'),
    -- Where in a payload that is sent to it each tag is. Null: it looks for none.
    tag_paths                   jsonb CHECK (jsonb_typeof(tag_paths) = 'object'),
    -- Whether the provider's own headers are kept with what comes in, and sent with its deliveries.
    relay_headers               boolean NOT NULL DEFAULT false
);
CREATE INDEX subscriptions_live ON subscriptions (tenant_id, id) WHERE deleted_at IS NULL;
-- For caches that look for what changed since they looked last.
CREATE INDEX subscriptions_changed ON subscriptions (tenant_id, updated_at, id);
-- A tenant has at most one system subscription.
CREATE UNIQUE INDEX subscriptions_system ON subscriptions (tenant_id) WHERE kind = 'system' AND deleted_at IS NULL;
CREATE UNIQUE INDEX subscriptions_named ON subscriptions (tenant_id, name)
    WHERE name IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX subscriptions_expiring ON subscriptions (id)
    WHERE expires_after_idle_seconds IS NOT NULL AND deleted_at IS NULL;

-- When somebody pulled last from subscriptions that expire, accurate to about ten seconds.
CREATE TABLE subscription_pulls (
    subscription_id uuid PRIMARY KEY,
    pulled_at       timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- The checks of targets: a row for each subscription that is 'unverified', and perhaps for one that was.
CREATE TABLE endpoint_checks (
    subscription_id uuid PRIMARY KEY,
    tenant_id       text NOT NULL,
    -- When a worker sends the next challenge, or takes the last one for lost. Null: when somebody asks for it.
    due_at          timestamptz DEFAULT now(),
    -- Challenges since somebody asked for the check, and why the last one was not answered.
    sent            integer NOT NULL DEFAULT 0,
    error           text
);
CREATE INDEX endpoint_checks_by_tenant ON endpoint_checks (tenant_id, due_at) WHERE due_at IS NOT NULL;

-- Test events that somebody asked for: a row each until a worker has sent it and the caller has its answer, and for the rest
-- of a minute, in which it counts for the rate. They are no deliveries, and none of their attempts is in delivery_attempts.
CREATE TABLE endpoint_tests (
    -- The webhook-id of the request.
    id              uuid PRIMARY KEY,
    -- The same as id if it is a test of a subscription that is not created: then the columns from target_url on are what
    -- one would have.
    subscription_id uuid NOT NULL,
    tenant_id       text NOT NULL,
    -- Who asked for it, as in audit_entries, and when.
    actor           text NOT NULL,
    asked_at        timestamptz NOT NULL DEFAULT now(),
    -- When a worker took it in hand. Null: none has.
    taken_at        timestamptz,
    -- The attempt, as in delivery_attempts. Null until it has ended.
    started_at      timestamptz,
    duration_ms     integer,
    status_code     smallint,
    outcome         text,
    error_message   text,
    response_body   text,
    details         text,
    -- As in subscriptions. What is sealed is forgotten when the attempt has ended.
    target_url                text,
    timeout_seconds           double precision,
    template                  jsonb,
    sealed_secrets            bytea,
    sealed_headers            bytea,
    sealed_client_certificate bytea,
    sealed_template_secrets   bytea,
    CHECK ((subscription_id = id) = (target_url IS NOT NULL))
);
CREATE INDEX endpoint_tests_by_tenant ON endpoint_tests (tenant_id, asked_at);
-- For workers, which take the oldest of all tenants and delete those that count no more.
CREATE INDEX endpoint_tests_by_time ON endpoint_tests (asked_at);

-- What decides whether a subscription gets an event, and whether workers may be notified of its delivery at once.
CREATE VIEW subscription_filters AS
    SELECT tenant_id, id, version, updated_at, event_types, deleted_at IS NULL AS live,
           kind = 'normal' AND (status <> 'disabled' OR keep_when_disabled)
               AND (filter_stopped_at IS NULL OR filter_on_error = 'deliver') AS takes,
           status = 'active' AND rate_limit_per_second IS NULL AND destination = 'http' AS steady,
           -- What it uses beyond the plain way of an event: the bits of Flag (services/domain/subscriptions.py).
           CASE WHEN filter IS NULL OR filter_stopped_at IS NOT NULL THEN 0 ELSE 1 END AS flags,
           CASE WHEN filter_stopped_at IS NULL THEN filter END AS filter, filter_on_error
    FROM subscriptions;

-- Where the operational webhooks of a tenant are sent.
CREATE VIEW system_subscriptions AS
    SELECT tenant_id, id FROM subscriptions WHERE kind = 'system' AND deleted_at IS NULL;

-- A value encrypted with the configured ENCRYPTION_KEYS: a process with other keys cannot open it, and does not start.
CREATE TABLE encryption_canary (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    sealed bytea NOT NULL
);

-- Calls that carried an Idempotency-Key, and the response they got. Written in the transaction that creates the object.
CREATE TABLE idempotency_keys (
    tenant_id    text NOT NULL,
    -- Where the call was sent, such as "events" or "ingest/<subscription id>".
    route        text NOT NULL,
    key          text NOT NULL,
    -- The event or subscription that the call created.
    object_id    uuid NOT NULL,
    expires_at   timestamptz NOT NULL,
    -- Empty once the event that the call created is erased: no request is compared with it any more.
    request_hash bytea NOT NULL,
    response     bytea NOT NULL,
    -- In this order, so that a key is found whatever its route is.
    PRIMARY KEY (tenant_id, key, route)
);
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);
-- For erasing an event. Ids come in the order of time, so that an insert touches the last page.
CREATE INDEX idempotency_keys_by_object ON idempotency_keys (object_id);

-- The next five tables are partitioned by ranges of UUIDv7, one range per UTC day. The first 64 bits of a delivery's id
-- are those of its event's id, so an event, its tags, its deliveries and their attempts are in partitions of the same day.
-- There are no foreign keys between them, because retention drops whole partitions.

CREATE TABLE webhook_events (
    id               uuid NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    tenant_id        text NOT NULL,
    event_type       text,
    content_type     text NOT NULL,
    -- Null: the payload is not encoded.
    content_encoding text,
    -- Stored without compression: a payload is written once and read once, so compressing it costs more than it saves.
    -- Null: it was erased.
    payload          bytea STORAGE EXTERNAL,
    -- The W3C trace context that all attempts of a traced event continue. Null: the event is not traced.
    traceparent      text,
    -- When all that was kept of it was erased: the payload is the first to go.
    erased_at        timestamptz,
    -- The only subscription that it was sent to. Null: it goes to all that want its type.
    addressed_to     uuid,
    -- What its sender said of it besides the payload (services/domain/sender_context.py). Null: nothing that is kept, or
    -- it was erased.
    sender_context   json,
    -- When it was accepted, if it was scheduled. Null: as created_at.
    accepted_at      timestamptz,
    -- The payload as subscriptions get it that are pinned to earlier versions, by their numbers
    -- (services/delivery/destinations/conversions.py). Null: it was not converted, or it was erased.
    converted        bytea,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);

-- By what events are found that their senders have named so. An event without tags has no row.
CREATE TABLE event_tags (
    event_id  uuid NOT NULL,
    tenant_id text NOT NULL,
    -- Such as 'order=42': no key has a '=', and none of an event is there twice.
    tag       text NOT NULL,
    PRIMARY KEY (event_id, tag)
) PARTITION BY RANGE (event_id);
CREATE INDEX event_tags_by_tag ON event_tags (tenant_id, tag, event_id);

-- Events that go to more subscriptions than deliveries are created with them, or whose filters take longer than accepting may: a row each until the last delivery exists.
CREATE TABLE event_expansions (
    event_id   uuid PRIMARY KEY,
    tenant_id  text NOT NULL,
    -- Empty: it has none, and was sent to one subscription.
    event_type text NOT NULL,
    -- The only subscription that it was sent to, whose filter has to be evaluated. Null: it goes to all that want its type.
    addressed_to uuid,
    -- When the event was stored: it goes to subscriptions created no later, and from here its deliveries expire.
    stored_at  timestamptz NOT NULL,
    -- The last subscription that was looked at. They are looked at in the order of their ids.
    after_id   uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    -- When they expire. Null: DELIVERY_EXPIRY_HOURS after stored_at.
    expires_at timestamptz,
    -- How many deliveries there will be, as far as the accepting process knew, and how many there are.
    targets    integer NOT NULL,
    made       integer NOT NULL DEFAULT 0
    -- Updated in place with each chunk.
) WITH (fillfactor = 50);
CREATE INDEX event_expansions_by_tenant ON event_expansions (tenant_id);

-- Events that are not due yet: a row each until it becomes an event with deliveries, or is cancelled. It is no partition of
-- a day, so that no partition has to exist before its day, and what was moved leaves nothing behind that a day would keep.
CREATE TABLE scheduled_events (
    -- A UUIDv7 of the millisecond in which it is due: the primary key is the order in which events become due, and the event
    -- belongs to the partition of that day.
    id               uuid PRIMARY KEY,
    accepted_at      timestamptz NOT NULL DEFAULT now(),
    tenant_id        text NOT NULL,
    event_type       text,
    content_type     text NOT NULL,
    content_encoding text,
    -- As in webhook_events.
    payload          bytea STORAGE EXTERNAL NOT NULL,
    payload_bytes    integer NOT NULL,
    -- As in event_tags.
    tags             text[] NOT NULL DEFAULT '{}',
    traceparent      text,
    addressed_to     uuid,
    sender_context   json,
    -- For how long after it is due it may be delivered. Null: DELIVERY_EXPIRY_HOURS.
    deliver_within_seconds integer CHECK (deliver_within_seconds BETWEEN 1 AND 2592000)
) WITH (
    -- Rows are deleted in the order of the index: what is dead at its beginning is to be gone soon.
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_insert_threshold = -1,
    autovacuum_analyze_threshold = 1000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off
);
CREATE INDEX scheduled_events_by_tenant ON scheduled_events (tenant_id, id);

-- How many each tenant has, and the bytes of their payloads: sums that are never counted again, and the changes that are not
-- added to them yet. A change is a row, so that events of a tenant do not wait for each other.
CREATE TABLE scheduled_sums (
    tenant_id text PRIMARY KEY,
    events    bigint NOT NULL,
    bytes     bigint NOT NULL
);
CREATE TABLE scheduled_changes (
    tenant_id text NOT NULL,
    events    bigint NOT NULL,
    bytes     bigint NOT NULL
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0);

CREATE FUNCTION note_scheduled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO scheduled_changes (tenant_id, events, bytes)
    SELECT tenant_id, count(*), sum(payload_bytes) FROM new_rows GROUP BY tenant_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER scheduled_events_note AFTER INSERT ON scheduled_events
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_scheduled();

CREATE FUNCTION note_unscheduled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO scheduled_changes (tenant_id, events, bytes)
    SELECT tenant_id, -count(*), -sum(payload_bytes) FROM old_rows GROUP BY tenant_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER scheduled_events_unnote AFTER DELETE ON scheduled_events
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION note_unscheduled();

-- What history knows of a delivery: 'pending' until it ends. While it is, delivery_queue alone says more.
CREATE TYPE delivery_status AS ENUM ('pending', 'delivered', 'failed', 'cancelled');

-- The history: a row is inserted with its event, and updated once, when the delivery ends. Neither index has a column that
-- changes, and pages have room for the second version of each row (create_partitions), so the update is in place.
CREATE TABLE webhook_deliveries (
    id              uuid NOT NULL,
    event_id        uuid NOT NULL,
    subscription_id uuid NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    completed_at    timestamptz,
    status          delivery_status NOT NULL DEFAULT 'pending',
    -- The rows in delivery_attempts, once the delivery has ended; until then delivery_queue counts them.
    attempt_count   integer NOT NULL DEFAULT 0,
    tenant_id       text NOT NULL,
    event_type      text,
    reason          text,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE INDEX webhook_deliveries_by_subscription ON webhook_deliveries (subscription_id, id);

-- The deliveries that ended failed or cancelled, which are few and looked for: an index of history by status would make
-- every delivery's end an insert into it.
CREATE TABLE unsuccessful_deliveries (
    id               uuid NOT NULL,
    subscription_id  uuid NOT NULL,
    status           delivery_status NOT NULL CHECK (status IN ('failed', 'cancelled')),
    attempt_count    integer NOT NULL,
    -- What the queue had of the last attempt when the delivery ended.
    last_status_code smallint,
    last_error_kind  text,
    tenant_id        text NOT NULL,
    -- When it ended: its day is kept for RECOVERY_HOURS after the last failure.
    ended_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (subscription_id, status, id)
) PARTITION BY RANGE (id);
-- Rows are appended as deliveries end, so a block range index finds the latest at no cost per row.
CREATE INDEX unsuccessful_deliveries_by_end ON unsuccessful_deliveries USING brin (ended_at);
CREATE INDEX unsuccessful_deliveries_by_tenant ON unsuccessful_deliveries (tenant_id, status, id);

-- What is unfinished: a row if and only if the delivery is 'pending' in webhook_deliveries. It is the only truth about the
-- state, the attempts and the due time of its delivery, and is deleted by the statement that ends it. A delivery is in
-- flight if its row has a claim_token, otherwise scheduled or pending (services/domain/states.py lists the transitions).
-- Rows are locked in the order of their ids, and before those of webhook_deliveries.
CREATE TABLE delivery_queue (
    delivery_id       uuid PRIMARY KEY,
    event_id          uuid NOT NULL,
    subscription_id   uuid NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT now(),
    expires_at        timestamptz NOT NULL,
    -- When the dispatcher looks at this row next. A claim does not move it.
    due_at            timestamptz NOT NULL,
    -- The claim that owns the row while it is in flight, and until when it does. No index has them: a claim is in place.
    claim_token       uuid,
    lease_until       timestamptz,
    -- Attempts so far. An attempt gets its number from it, in the order in which attempts are recorded.
    attempt_count     integer NOT NULL DEFAULT 0,
    -- Attempts that count toward RETRY_LIMIT, since creation or the last manual retry.
    failure_count     integer NOT NULL DEFAULT 0,
    -- Leases that expired, since creation or the last manual retry.
    interrupted_count integer NOT NULL DEFAULT 0,
    -- Whether it waits for its retry time.
    scheduled         boolean NOT NULL DEFAULT false,
    -- The last attempt: the status code of the response, null without one, and the kind of its error. Null before the first.
    last_status_code  smallint,
    tenant_id         text NOT NULL,
    last_error_kind   text,
    -- Who asked for its next attempt, as in audit_entries. Null: nobody, it is the service's own.
    actor             text,
    CHECK ((claim_token IS NULL) = (lease_until IS NULL))
) WITH (
    -- Room for the version that a claim writes, so that claims are in place even while a snapshot keeps old versions.
    fillfactor = 45,
    -- Rows live for moments: vacuum as often as the server looks, at full speed, and without the exclusive lock that
    -- giving pages back takes.
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_insert_threshold = -1,
    autovacuum_analyze_threshold = 1000, autovacuum_analyze_scale_factor = 0, autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = off
);
CREATE INDEX delivery_queue_by_subscription ON delivery_queue (subscription_id, scheduled, due_at);
CREATE INDEX delivery_queue_by_due ON delivery_queue (due_at);

-- The dispatcher's list: subscriptions with something due that may be sent, and when the dispatcher looks at them next. A row
-- is written when something becomes due and there is none yet, and deleted when nothing is due any more. A paused or disabled
-- subscription has none; one with an open breaker is looked at when a probe may be sent. What is missing here is found by
-- the dispatcher's passes over delivery_queue. Rows are locked after those of every other table, in the order of their ids.
CREATE TABLE due_subscriptions (
    subscription_id uuid PRIMARY KEY,
    tenant_id       text NOT NULL,
    turn_at         timestamptz NOT NULL,
    -- What it has due is not due earlier, so that index entries of deliveries that ended before are not read again.
    due_from        timestamptz NOT NULL,
    -- Why its due deliveries were held at its last turn ('rate_limit', 'concurrency', 'recovering'); null if they were not.
    held_by         text
) WITH (
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_insert_threshold = -1,
    autovacuum_analyze_threshold = 1000, autovacuum_analyze_scale_factor = 0, autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = off
);
CREATE INDEX due_subscriptions_by_turn ON due_subscriptions (turn_at);
CREATE INDEX due_subscriptions_by_tenant ON due_subscriptions (tenant_id, turn_at);
CREATE INDEX due_subscriptions_held ON due_subscriptions (subscription_id) WHERE held_by IS NOT NULL;

-- Give subscriptions a turn when what decides whether they may have one has changed, in the transaction of that change.
-- They are locked in one order, which triggers for each row would not do.
CREATE FUNCTION give_turns_of_subscriptions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO due_subscriptions (subscription_id, tenant_id, turn_at, due_from)
    SELECT n.id, n.tenant_id, now(), 'epoch'
    FROM new_rows n JOIN old_rows o ON o.id = n.id
    WHERE (n.status, n.deleted_at, n.endpoint_version, n.rate_limit_per_second, n.rate_limit_burst)
          IS DISTINCT FROM
          (o.status, o.deleted_at, o.endpoint_version, o.rate_limit_per_second, o.rate_limit_burst)
      AND (n.status = 'active' OR n.deleted_at IS NOT NULL)
    ORDER BY n.id
    ON CONFLICT (subscription_id) DO UPDATE SET turn_at = excluded.turn_at, due_from = excluded.due_from;
    RETURN NULL;
END
$$;
CREATE TRIGGER subscriptions_give_turns AFTER UPDATE ON subscriptions
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION give_turns_of_subscriptions();

-- Deliveries as they are now: what the queue says, and history where it says nothing.
CREATE VIEW deliveries AS
    SELECT d.id, d.event_id, d.subscription_id, d.tenant_id, d.event_type, d.created_at, d.completed_at, d.reason,
           CASE WHEN q.claim_token IS NOT NULL THEN 'in_flight' WHEN q.scheduled THEN 'scheduled' ELSE d.status::text END
               AS status,
           coalesce(q.attempt_count, d.attempt_count) AS attempt_count,
           q.due_at, q.expires_at, q.claim_token, q.lease_until, q.failure_count, q.interrupted_count,
           q.delivery_id IS NOT NULL AS queued, d.status AS history,
           q.last_status_code AS queued_status_code, q.last_error_kind AS queued_error_kind
    FROM webhook_deliveries d
    -- A look-up for each delivery: a plain join may be planned as a pass over the whole queue while that is short.
    LEFT JOIN LATERAL (SELECT * FROM delivery_queue WHERE delivery_id = d.id OFFSET 0) AS q ON true;

CREATE TABLE delivery_attempts (
    delivery_id     uuid NOT NULL,
    subscription_id uuid NOT NULL,
    started_at      timestamptz NOT NULL,
    recorded_at     timestamptz NOT NULL DEFAULT now(),
    -- The claim under which the attempt was made.
    claim_token     uuid NOT NULL,
    number          integer NOT NULL,
    duration_ms     integer,
    -- Which request of the claim it is: 1, or 2 for the immediate repeat when a reused connection turns out to be closed.
    request         smallint NOT NULL,
    status_code     smallint,
    -- Whether this attempt ended its delivery.
    final           boolean NOT NULL,
    -- 'success', or the kind of error.
    outcome         text NOT NULL,
    tenant_id       text NOT NULL,
    -- Of its event, for the statistics.
    event_type      text,
    error_message   text,
    response_body   text,
    -- Headers, address and phases (services/delivery/destinations/details.py). Null: they are not recorded.
    details         text,
    -- Who asked for it, as in audit_entries. Null: nobody, it is the service's own.
    actor           text,
    PRIMARY KEY (delivery_id, claim_token, request)
) PARTITION BY RANGE (delivery_id);
-- Attempts are appended in the order of recorded_at, so a block range index finds the last minutes at no cost per row.
-- A roll-up reads the whole index of every partition: smaller ranges would make that slow on a full day, and would fill
-- faster than autosummarize (256 requests a minute) processes them.
CREATE INDEX delivery_attempts_recorded ON delivery_attempts USING brin (recorded_at) WITH (pages_per_range = 128, autosummarize = on);

-- The smallest UUIDv7 of a UTC day: a bound between partitions.
CREATE FUNCTION uuid_of_day(day date) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM day)::bigint) * 1000), 12, '0') || repeat('0', 20))::uuid
$$;

-- The smallest UUIDv7 that is not due at a moment: the first of the next millisecond.
CREATE FUNCTION uuid_after(moment timestamptz) RETURNS uuid LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM moment) * 1000)::bigint + 1), 12, '0') || repeat('0', 20))::uuid
$$;
-- When a UUIDv7 was made; of an event that was scheduled, when it is due.
CREATE FUNCTION moment_of(id uuid) RETURNS timestamptz LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT to_timestamp(('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint / 1000.0)
$$;

-- The least and the greatest id that the deliveries of an event can have. Events that one process accepts in a millisecond
-- may share them. Of any other id that begins so they are the same.
CREATE FUNCTION least_delivery_id(id uuid) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (left(id::text, 18) || '-0000-000000000000')::uuid
$$;
CREATE FUNCTION greatest_delivery_id(id uuid) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (left(id::text, 18) || '-ffff-ffffffffffff')::uuid
$$;

-- Create the missing partitions of the days from first_day to last_day and return how many were created. Many processes
-- may call it at once. A table is created and then attached, because attaching does not block writers.
CREATE FUNCTION create_partitions(first_day date, last_day date) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    parent   text;
    day      date;
    child    text;
    made     integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('webhook:create_partitions'));
    FOR day IN SELECT generate_series(first_day, last_day, interval '1 day')::date LOOP
        FOREACH parent IN ARRAY ARRAY['webhook_events', 'event_tags', 'webhook_deliveries', 'unsuccessful_deliveries',
                                      'delivery_attempts'] LOOP
            child := parent || '_' || to_char(day, 'YYYYMMDD');
            IF to_regclass(child) IS NULL THEN
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent);
                EXECUTE format('ALTER TABLE %I SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05)', child);
                IF parent = 'webhook_deliveries' THEN
                    -- INCLUDING ALL copies no fillfactor. Room for the version that each row gets when its delivery ends.
                    EXECUTE format('ALTER TABLE %I SET (fillfactor = 48)', child);
                END IF;
                EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                               parent, child, uuid_of_day(day), uuid_of_day(day + 1));
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;

-- Create the partitions that are needed now: from yesterday (clocks differ) to seven days ahead, in UTC, and those of days on
-- which events were due that nobody has moved since.
CREATE FUNCTION create_current_partitions() RETURNS integer LANGUAGE sql AS $$
    SELECT create_partitions((now() AT TIME ZONE 'UTC')::date - 1, (now() AT TIME ZONE 'UTC')::date + 7)
         + coalesce((SELECT sum(create_partitions(day, day)) FROM (
               SELECT DISTINCT (moment_of(id) AT TIME ZONE 'UTC')::date AS day
               FROM scheduled_events WHERE id < uuid_of_day((now() AT TIME ZONE 'UTC')::date - 1)
           ) AS overdue), 0)::integer
$$;

-- It runs with the rights of the schema's owner, so that services with a restricted role may call it. Names in it are
-- looked up in this schema first, and among a session's temporary objects last.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION create_current_partitions() SECURITY DEFINER SET search_path = %I, pg_temp',
                   current_schema());
END
$$;
REVOKE EXECUTE ON FUNCTION create_current_partitions() FROM PUBLIC;

SELECT create_current_partitions();

-- What the attempts say about an endpoint. Written when something changes, at most once a second by each worker; an
-- endpoint that never failed has no row.
CREATE TABLE subscription_health (
    subscription_id      uuid PRIMARY KEY,
    breaker              text NOT NULL DEFAULT 'closed' CHECK (breaker IN ('closed', 'open', 'half_open')),
    -- When the breaker entered this state, and why it opened.
    breaker_since        timestamptz NOT NULL DEFAULT now(),
    breaker_reason       text,
    -- Open: when a probe may be sent. Half open: which delivery the probe is, and when it is considered lost.
    probe_at             timestamptz,
    probe_delivery_id    uuid,
    -- How often it opened in a row: each time the cool-down gets longer.
    openings             integer NOT NULL DEFAULT 0,
    -- Failed attempts of all workers since the last success, and when the first of them was recorded.
    consecutive_failures integer NOT NULL DEFAULT 0,
    failing_since        timestamptz
    -- Updated in place: only the primary key is indexed, and every page has room for new row versions.
) WITH (fillfactor = 50);

-- As for subscriptions: the next turn is when a probe may be sent, or now.
CREATE FUNCTION give_turns_of_breakers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO due_subscriptions (subscription_id, tenant_id, turn_at, due_from)
    SELECT s.id, s.tenant_id, greatest(now(), CASE WHEN n.breaker <> 'closed' THEN n.probe_at END), 'epoch'
    FROM new_rows n
    JOIN old_rows o ON o.subscription_id = n.subscription_id
    JOIN subscriptions s ON s.id = n.subscription_id
    WHERE (n.breaker, n.probe_at) IS DISTINCT FROM (o.breaker, o.probe_at)
    ORDER BY s.id
    ON CONFLICT (subscription_id) DO UPDATE SET turn_at = excluded.turn_at, due_from = excluded.due_from;
    RETURN NULL;
END
$$;
CREATE TRIGGER subscription_health_give_turns AFTER UPDATE ON subscription_health
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION give_turns_of_breakers();

-- What is done to many deliveries at once: a row for each job, which every delivery process may go on with. A chunk of it is
-- one transaction that locks this row: the lock is the lease, and a process that dies gives it back.
CREATE TABLE jobs (
    id              uuid PRIMARY KEY,
    tenant_id       text NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('retry', 'replay', 'cancel', 'erase')),
    status          text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')),
    -- A DeliveryFilter as JSON; and the subscriptions that it touches, empty for all of the tenant.
    filter          jsonb NOT NULL,
    subscriptions   uuid[] NOT NULL,
    -- Of a replay: who gets the new deliveries. Null: the subscription of each.
    to_subscription_id uuid,
    -- Of a replay that walks through events: those that to_subscription_id has no delivery of, or all that it wants. Null: it
    -- walks through deliveries.
    only_events     text CHECK (only_events IN ('missing', 'all')),
    rate_per_second integer NOT NULL CHECK (rate_per_second BETWEEN 1 AND 10000),
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    -- Deliveries that were accepted, or that ended, after this are not part of it.
    frozen_at       timestamptz NOT NULL,
    started_at      timestamptz,
    -- When the last chunk was done, and when the next may begin.
    moved_at        timestamptz,
    due_at          timestamptz NOT NULL DEFAULT now(),
    ended_at        timestamptz,
    -- It has looked at all deliveries up to this one; one that walks through events, at those of the event in_event.
    at_delivery     uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    -- It has looked at all events up to this one. Null in_event: it is between two events.
    at_event        uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    in_event        uuid,
    chunks          integer NOT NULL DEFAULT 0,
    matched         bigint NOT NULL,
    matched_exact   boolean NOT NULL,
    done            bigint NOT NULL DEFAULT 0,
    skipped         bigint NOT NULL DEFAULT 0,
    gone            bigint NOT NULL DEFAULT 0,
    -- Of what is done, what has ended since.
    delivered       bigint NOT NULL DEFAULT 0,
    failed          bigint NOT NULL DEFAULT 0,
    error           text,
    -- From when on, and from how many deliveries that it had looked at, its pace is measured; and the same for later on. Null
    -- while it does nothing.
    window_at        timestamptz,
    window_from      bigint,
    next_window_at   timestamptz,
    next_window_from bigint
) WITH (fillfactor = 50);
CREATE INDEX jobs_by_tenant ON jobs (tenant_id, id);
-- Those that have not ended, which are few.
CREATE INDEX jobs_unfinished ON jobs (due_at) WHERE status IN ('queued', 'running', 'paused');

-- What jobs have retried, a row for each chunk until all of it has ended: from these a job's results are counted.
CREATE TABLE job_chunks (
    job_id       uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number       integer NOT NULL,
    made_at      timestamptz NOT NULL DEFAULT now(),
    -- Those that had not ended when they were looked at last, and when that is done again.
    delivery_ids uuid[] NOT NULL,
    look_at      timestamptz NOT NULL,
    PRIMARY KEY (job_id, number)
);
CREATE INDEX job_chunks_by_look ON job_chunks (look_at);

-- Previews of jobs, until they are started or expire.
CREATE TABLE job_previews (
    -- SHA-256 of the token, which is shown once.
    token_hash    bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    tenant_id     text NOT NULL,
    kind          text NOT NULL,
    filter        jsonb NOT NULL,
    to_subscription_id uuid,
    only_events   text,
    frozen_at     timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    matched       bigint NOT NULL,
    matched_exact boolean NOT NULL
);
CREATE INDEX job_previews_by_expiry ON job_previews (expires_at);
CREATE INDEX job_previews_by_tenant ON job_previews (tenant_id, expires_at);

-- The running workers. While Redis is away, each allows itself its share of every rate limit.
CREATE TABLE workers (
    id      uuid PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT now()
);

-- What a few processes do for all: who does it, in which of its places, and until when. One that stops looking loses its.
CREATE TABLE duties (
    duty       text NOT NULL,
    place      integer NOT NULL,
    holder     uuid NOT NULL,
    held_until timestamptz NOT NULL,
    PRIMARY KEY (duty, place)
);

-- The processes of the service, for operators who look. Each writes its row now and then; what a crash of Postgres loses is
-- written again within a minute, so nothing of it goes into the write-ahead log.
CREATE UNLOGGED TABLE processes (
    id         uuid PRIMARY KEY,
    roles      text[] NOT NULL,
    -- The host or the pod, and the number of the process there.
    instance   text NOT NULL,
    pid        integer NOT NULL,
    version    text NOT NULL,
    started_at timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL DEFAULT now(),
    -- Requests that a worker may have in flight, and those that it has. Null without the role worker.
    slots      integer,
    busy_slots integer
) WITH (fillfactor = 50);

-- Deliveries that ended without a last attempt, for the statistics: cancelled, expired while they waited, or not to be sent.
-- A row for each subscription and event type that a statement ended deliveries of; a roll-up that has settled its minute
-- is the last to read it.
CREATE TABLE unattempted_ends (
    ended_at        timestamptz NOT NULL DEFAULT now(),
    tenant_id       text NOT NULL,
    subscription_id uuid NOT NULL,
    event_type      text,
    status          delivery_status NOT NULL CHECK (status IN ('failed', 'cancelled')),
    deliveries      integer NOT NULL
);
CREATE INDEX unattempted_ends_by_time ON unattempted_ends (ended_at);

-- What happened in a minute, by subscription or event type, outcome and duration bucket: attempts (by recorded_at), ends of
-- deliveries, accepted events (by the time in their ids). Recomputed from their rows; what stays here is never added to.
CREATE TABLE delivery_stats (
    minute            timestamptz NOT NULL,
    -- The nil UUID is the sum over all subscriptions of the tenant, so that it costs no more to read than one.
    subscription_id   uuid NOT NULL,
    tenant_id         text NOT NULL,
    -- '*' is the sum over all types. Only the sum over all subscriptions is also kept by type: the 200 largest of a tenant in
    -- this minute, and 'other'. '' is that of events without a type.
    event_type        text NOT NULL DEFAULT '*',
    -- How attempts ended; 'failed' or 'cancelled' for deliveries that ended without one, 'accepted' for events.
    outcome           text NOT NULL,
    -- Index into the duration bounds of services/analytics; -1 if the duration is unknown.
    duration_bucket   smallint NOT NULL,
    attempts          bigint NOT NULL DEFAULT 0,
    -- Deliveries that ended so.
    deliveries        bigint NOT NULL DEFAULT 0,
    events            bigint NOT NULL DEFAULT 0,
    duration_ms_total bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, subscription_id, event_type, minute, outcome, duration_bucket)
    -- The rows of the current minute are updated every few seconds. With free space in the pages the indexes stay
    -- unchanged (measured: all updates in place instead of half of them, and half the size).
) WITH (fillfactor = 50);
-- For what a roll-up replaces and retention deletes.
CREATE INDEX delivery_stats_by_minute ON delivery_stats (minute);
-- For the largest subscriptions, and the largest types, of a tenant: each row is in one of them.
CREATE INDEX delivery_stats_of_subscriptions ON delivery_stats (tenant_id, minute) WHERE event_type = '*';
CREATE INDEX delivery_stats_of_types ON delivery_stats (tenant_id, minute) WHERE event_type <> '*';

-- The same for each hour that is over and settled, kept for much longer: a row holds what delivery_stats has in many, one
-- element of each array for each outcome and duration bucket.
CREATE TABLE hourly_stats (
    hour              timestamptz NOT NULL,
    subscription_id   uuid NOT NULL,
    tenant_id         text NOT NULL,
    -- Its 200 largest types are those of the hour.
    event_type        text NOT NULL,
    outcome           text[] NOT NULL,
    duration_bucket   smallint[] NOT NULL,
    attempts          integer[] NOT NULL,
    deliveries        integer[] NOT NULL,
    events            integer[] NOT NULL,
    duration_ms_total bigint[] NOT NULL,
    PRIMARY KEY (tenant_id, subscription_id, event_type, hour)
);
-- For what retention deletes.
CREATE INDEX hourly_stats_by_hour ON hourly_stats (hour);
-- As those of delivery_stats.
CREATE INDEX hourly_stats_of_subscriptions ON hourly_stats (tenant_id, hour) WHERE event_type = '*';
CREATE INDEX hourly_stats_of_types ON hourly_stats (tenant_id, hour) WHERE event_type <> '*';

-- How far delivery_stats is complete. A roll-up locks the only row, so that one copy works at a time.
CREATE TABLE rollup_state (
    single       boolean PRIMARY KEY DEFAULT true CHECK (single),
    rolled_up_to timestamptz NOT NULL DEFAULT now(),
    -- When the next roll-up may begin, in any copy.
    due_at       timestamptz NOT NULL DEFAULT now()
);
INSERT INTO rollup_state DEFAULT VALUES;

-- The same for hourly_stats: it has the hours before this one. A row of its own, so that minutes do not wait for an hour.
CREATE TABLE hourly_state (
    single       boolean PRIMARY KEY DEFAULT true CHECK (single),
    rolled_up_to timestamptz NOT NULL DEFAULT date_trunc('hour', now(), 'UTC')
);
INSERT INTO hourly_state DEFAULT VALUES;

-- What to tell a tenant's system subscription: written in the transaction of the change, read and deleted by the delivery
-- service, which makes an event of it. Rows live for moments, and only for tenants with a system subscription.
CREATE TABLE operational_facts (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    happened_at      timestamptz NOT NULL DEFAULT now(),
    tenant_id        text NOT NULL,
    -- The subscription that the event is about.
    subscription_id  uuid NOT NULL,
    event_type       text NOT NULL,
    reason           text,
    last_error       text,
    -- Only for delivery.exhausted: how many deliveries ended in one statement, and the last of them.
    deliveries       integer,
    last_delivery_id uuid,
    last_event_id    uuid,
    last_attempts    integer
);

-- By subscription: deliveries that failed for good and were not reported yet, and when the last report was made. A row is
-- deleted when it has nothing to report and its last report is old enough.
CREATE TABLE exhausted_deliveries (
    subscription_id  uuid PRIMARY KEY,
    tenant_id        text NOT NULL,
    told_at          timestamptz,
    deliveries       bigint NOT NULL,
    first_at         timestamptz,
    last_at          timestamptz,
    reason           text,
    last_error       text,
    last_delivery_id uuid,
    last_event_id    uuid,
    last_attempts    integer
);

-- Who changed what, and when: one row per change, written in the transaction of the change.
CREATE TABLE audit_entries (
    -- A UUIDv7; id and created_at come from the clock of the process that wrote it, so order by id is order by time.
    id              uuid PRIMARY KEY,
    created_at      timestamptz NOT NULL,
    -- The tenant of the changed object. There are no foreign keys: an entry outlives the objects it names.
    tenant_id       text NOT NULL,
    -- The id of an API key, 'bootstrap', 'anonymous' or 'system'.
    actor           text NOT NULL,
    -- As they were at that time; null if the actor is not in api_keys.
    actor_name      text,
    actor_role      text,
    actor_tenant_id text,
    -- Such as 'subscription.update', with the type of the resource.
    action          text NOT NULL,
    resource_type   text NOT NULL,
    resource_id     text NOT NULL,
    -- A list of objects: "field", and "before" and "after" unless the value is secret.
    changes         jsonb NOT NULL DEFAULT '[]',
    -- How many other objects the change affected; null if the action affects no others.
    affected        bigint
);
CREATE INDEX audit_entries_by_tenant ON audit_entries (tenant_id, id);
CREATE INDEX audit_entries_by_actor ON audit_entries (actor, id);
CREATE INDEX audit_entries_by_resource ON audit_entries (resource_id, id);

-- Entries can be inserted and read, not changed. REVOKE would not stop the owner of the table, and the services may run as
-- the owner. The trigger does: to get around it someone must alter the table, which no other role can.
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('webhook.audit_retention', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_entries is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_entries_append_only BEFORE UPDATE OR DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_entries_no_truncate BEFORE TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

-- Delete up to `most` entries older than `age`, the oldest first, and return how many. This is the only way to delete
-- entries. The setting is changed in the body, because only a superuser may name a setting of no extension in
-- CREATE FUNCTION ... SET.
CREATE FUNCTION delete_old_audit_entries(age interval, most integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    deleted bigint;
BEGIN
    PERFORM set_config('webhook.audit_retention', 'on', true);
    DELETE FROM audit_entries
    WHERE id = ANY (ARRAY(SELECT id FROM audit_entries ORDER BY id LIMIT most)) AND created_at < now() - age;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    PERFORM set_config('webhook.audit_retention', '', true);
    RETURN deleted;
END
$$;
REVOKE EXECUTE ON FUNCTION delete_old_audit_entries(interval, integer) FROM PUBLIC;
