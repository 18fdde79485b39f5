CREATE TABLE tenants (
    id         text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    name       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO tenants (id, name) VALUES ('default', 'Default');

CREATE TABLE subscriptions (
    id          uuid PRIMARY KEY,
    tenant_id   text NOT NULL REFERENCES tenants (id),
    target_url  text NOT NULL,
    secret_key  text,
    event_types text[] NOT NULL DEFAULT '{}',
    description text NOT NULL DEFAULT '',
    -- Counts the changes, so that a cache never replaces a newer copy by an older one.
    version     bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at  timestamptz
);
CREATE INDEX subscriptions_live ON subscriptions (tenant_id, id) WHERE deleted_at IS NULL;

-- The three tables below are partitioned by UUIDv7 ranges of a UTC day each. A delivery's id begins
-- with the first 64 bits of its event's, so an event, its deliveries and their attempts share a day.
-- No foreign keys between them: retention drops whole partitions.

CREATE TABLE webhook_events (
    id           uuid NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    tenant_id    text NOT NULL,
    event_type   text,
    content_type text NOT NULL,
    -- Null: the payload is not encoded.
    content_encoding text,
    payload      bytea NOT NULL,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
-- Payloads are written once and read once: compressing them would cost more than it saves.
ALTER TABLE webhook_events ALTER COLUMN payload SET STORAGE EXTERNAL;

CREATE TYPE delivery_status AS ENUM ('pending', 'scheduled', 'in_flight', 'delivered', 'failed', 'cancelled');

CREATE TABLE webhook_deliveries (
    id                uuid NOT NULL,
    event_id          uuid NOT NULL,
    subscription_id   uuid NOT NULL,
    -- When the dispatcher looks at this row next; meaningless once the delivery ended.
    next_attempt_at   timestamptz NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT now(),
    expires_at        timestamptz NOT NULL,
    completed_at      timestamptz,
    -- Identifies the claim that owns the row while it is in flight.
    claim_token       uuid,
    status            delivery_status NOT NULL DEFAULT 'pending',
    -- Attempts in delivery_attempts. They are numbered by it, in the order in which they are recorded.
    attempt_count     integer NOT NULL DEFAULT 0,
    -- Attempts that count toward RETRY_LIMIT, since the beginning or the last manual retry.
    failure_count     integer NOT NULL DEFAULT 0,
    -- Leases that ran out, since the beginning or the last manual retry.
    interrupted_count integer NOT NULL DEFAULT 0,
    tenant_id         text NOT NULL,
    event_type        text,
    reason            text,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE INDEX webhook_deliveries_by_subscription ON webhook_deliveries (subscription_id, id);
-- What the dispatcher walks: state by state, one subscription after the other, each in the order of being due.
-- A state's rows stand together, so that they can be counted without passing those of another.
CREATE INDEX webhook_deliveries_unfinished ON webhook_deliveries (status, subscription_id, next_attempt_at)
    WHERE status IN ('pending', 'scheduled', 'in_flight');

CREATE TABLE delivery_attempts (
    delivery_id     uuid NOT NULL,
    subscription_id uuid NOT NULL,
    started_at      timestamptz NOT NULL,
    recorded_at     timestamptz NOT NULL DEFAULT now(),
    -- The claim that the attempt was made under, and which request of that claim it is: 1, or 2 for the one that follows
    -- at once when a kept connection turns out to be dead.
    claim_token     uuid NOT NULL,
    number          integer NOT NULL,
    duration_ms     integer,
    request         smallint NOT NULL,
    status_code     smallint,
    -- Whether this attempt ended its delivery.
    final           boolean NOT NULL,
    -- 'success', or the kind of the error.
    outcome         text NOT NULL,
    tenant_id       text NOT NULL,
    error_message   text,
    response_body   text,
    PRIMARY KEY (delivery_id, claim_token, request)
) PARTITION BY RANGE (delivery_id);
-- Attempts are appended in the order of recorded_at: a block range index finds the last minutes at no cost per row.
-- A roll-up reads the index of every partition whole: smaller ranges would make that dear on a full day, and fill
-- faster than autosummarize (256 requests a minute) takes them.
CREATE INDEX delivery_attempts_recorded ON delivery_attempts USING brin (recorded_at) WITH (pages_per_range = 128, autosummarize = on);

-- Attempts of a minute (by recorded_at), of one subscription, outcome and duration bucket. Recomputed, never added to.
CREATE TABLE delivery_stats (
    minute            timestamptz NOT NULL,
    -- The nil UUID stands for all subscriptions of the tenant: its statistics cost no more than those of one.
    subscription_id   uuid NOT NULL,
    tenant_id         text NOT NULL,
    outcome           text NOT NULL,
    -- Index into the duration bounds of services/analytics; -1 where no duration is known.
    duration_bucket   smallint NOT NULL,
    attempts          bigint NOT NULL,
    final_attempts    bigint NOT NULL,
    duration_ms_total bigint NOT NULL,
    PRIMARY KEY (tenant_id, subscription_id, minute, outcome, duration_bucket)
    -- The rows of the minute that goes on are updated every few seconds: with room in their pages the indexes stay as
    -- they are (measured: all updates in place instead of half, and half the size).
) WITH (fillfactor = 50);
-- What a roll-up replaces and retention deletes.
CREATE INDEX delivery_stats_by_minute ON delivery_stats (minute);

-- How far delivery_stats goes. A roll-up locks the one row, so that copies take turns.
CREATE TABLE rollup_state (
    single       boolean PRIMARY KEY DEFAULT true CHECK (single),
    rolled_up_to timestamptz NOT NULL DEFAULT now(),
    -- No copy begins the next roll-up before.
    due_at       timestamptz NOT NULL DEFAULT now()
);
INSERT INTO rollup_state DEFAULT VALUES;

-- The smallest UUIDv7 of a UTC day: a bound between partitions.
CREATE FUNCTION uuid_of_day(day date) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM day)::bigint) * 1000), 12, '0') || repeat('0', 20))::uuid
$$;

-- Makes the missing partitions of the days from first_day to last_day and answers how many it made.
-- Safe to call from many processes at once. A table is attached, not created in place: attaching does not block writers.
CREATE FUNCTION create_partitions(first_day date, last_day date) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    parent   text;
    day      date;
    child    text;
    made     integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('webhook:create_partitions'));
    FOR day IN SELECT generate_series(first_day, last_day, interval '1 day')::date LOOP
        FOREACH parent IN ARRAY ARRAY['webhook_events', 'webhook_deliveries', 'delivery_attempts'] LOOP
            child := parent || '_' || to_char(day, 'YYYYMMDD');
            IF to_regclass(child) IS NULL THEN
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent);
                EXECUTE format('ALTER TABLE %I SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05)', child);
                EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                               parent, child, uuid_of_day(day), uuid_of_day(day + 1));
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;

-- Makes what is needed now: yesterday (clocks differ) to seven days ahead, by the UTC calendar.
CREATE FUNCTION create_current_partitions() RETURNS integer LANGUAGE sql AS $$
    SELECT create_partitions((now() AT TIME ZONE 'UTC')::date - 1, (now() AT TIME ZONE 'UTC')::date + 7)
$$;

-- With the rights of the schema's owner, so that services may call it that log in as a lesser role. What it calls is
-- looked for in this schema, and last in what a session can make for itself.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION create_current_partitions() SECURITY DEFINER SET search_path = %I, pg_temp',
                   current_schema());
END
$$;
REVOKE EXECUTE ON FUNCTION create_current_partitions() FROM PUBLIC;

SELECT create_current_partitions();
