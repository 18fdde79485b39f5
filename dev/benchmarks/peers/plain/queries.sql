-- create_tables --
-- Creates the schema of the plain stack.
CREATE TABLE subscriptions (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    target_url text NOT NULL,
    secret     bytea NOT NULL
);
CREATE TABLE deliveries (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    subscription_id uuid NOT NULL REFERENCES subscriptions,
    payload         text NOT NULL,
    status          text NOT NULL DEFAULT 'pending',
    created_at      timestamptz NOT NULL DEFAULT now(),
    completed_at    timestamptz
);
CREATE INDEX deliveries_pending ON deliveries (created_at) WHERE status = 'pending';
CREATE TABLE attempts (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delivery_id uuid NOT NULL REFERENCES deliveries,
    number      integer NOT NULL,
    status_code integer,
    error       text,
    duration_ms integer NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX attempts_by_delivery ON attempts (delivery_id);
CREATE INDEX attempts_recorded ON attempts USING brin (recorded_at);

-- insert_subscription --
-- Creates a subscription to the target $1 with the secret $2 and returns its id.
INSERT INTO subscriptions (target_url, secret) VALUES ($1, $2) RETURNING id

-- unfinished --
-- Whether any delivery has not ended.
SELECT EXISTS (SELECT 1 FROM deliveries WHERE status = 'pending')

-- recorded --
-- Counts successful attempts recorded since $1, and of them those before $2, in Unix seconds.
SELECT count(*) AS recorded, count(*) FILTER (WHERE recorded_at < to_timestamp($2)) AS in_window
FROM attempts
WHERE recorded_at >= to_timestamp($1) AND status_code BETWEEN 200 AND 299

-- transactions --
-- Counts the transactions of this database that have ended.
SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()

-- analyze --
-- Brings the planner's statistics up to date.
ANALYZE deliveries, attempts
