-- unfinished --
-- Whether any delivery has not ended.
SELECT EXISTS (SELECT 1 FROM delivery_queue)

-- unfinished_of --
-- Whether any delivery to the subscriptions $1 has not ended; whatever waits for others is not looked at.
SELECT EXISTS (SELECT 1 FROM delivery_queue WHERE subscription_id = ANY($1::uuid[]))

-- recorded --
-- Counts successful attempts recorded since $1, and of them those before $2, in Unix seconds. With $3 only those of
-- these subscriptions.
SELECT count(*) AS recorded, count(*) FILTER (WHERE recorded_at < to_timestamp($2)) AS in_window
FROM delivery_attempts
WHERE recorded_at >= to_timestamp($1) AND outcome = 'success' AND ($3::uuid[] IS NULL OR subscription_id = ANY($3))

-- insert_subscriptions --
-- Makes subscriptions with the ids $1 and the targets $2, and the encrypted secrets $3.
INSERT INTO subscriptions (id, tenant_id, target_url, sealed_secrets)
SELECT s.id, 'default', s.target_url, s.sealed_secrets
FROM unnest($1::uuid[], $2::text[], $3::bytea[]) AS s (id, target_url, sealed_secrets)

-- insert_backlog --
-- Makes the events numbered $1 to $2 with a due delivery each, to the subscriptions $3 in turn. Payloads are $4, the
-- number and a moment of zero as dev/harness/load/payloads.py writes them, and $5. Ids as services/platform/ids.py makes
-- them: a delivery's begins with the first 64 bits of its event's.
WITH numbered AS MATERIALIZED (
    SELECT n, uuidv7() AS event_id FROM generate_series($1::int, $2::int) AS n
), stored AS (
    INSERT INTO webhook_events (id, tenant_id, content_type, payload)
    SELECT event_id, 'default', 'application/json',
           convert_to($4 || lpad(n::text, 10, '0') || ' ' || repeat('0', 20) || $5, 'UTF8')
    FROM numbered
), made AS (
    INSERT INTO webhook_deliveries (id, event_id, subscription_id, tenant_id)
    SELECT (left(event_id::text, 18) || '-8' || substr(md5(event_id::text), 1, 3) || '-' || substr(md5(event_id::text), 4, 12))::uuid,
           event_id, ($3::uuid[])[1 + n % array_length($3::uuid[], 1)], 'default'
    FROM numbered
    RETURNING id, event_id, subscription_id, tenant_id
)
INSERT INTO delivery_queue (delivery_id, event_id, subscription_id, tenant_id, due_at, expires_at)
SELECT id, event_id, subscription_id, tenant_id, now(), now() + interval '7 days' FROM made

-- insert_scheduled --
-- Makes $1 scheduled events of the type $4, due one after the other over $2 seconds, beginning in $3 seconds. Payloads are as in
-- insert_backlog.
INSERT INTO scheduled_events (id, tenant_id, event_type, content_type, payload, payload_bytes)
SELECT made.id, 'default', $4, 'application/json', made.payload, octet_length(made.payload)
FROM generate_series(1, $1::int) AS n
CROSS JOIN LATERAL (
    SELECT uuidv7(make_interval(secs => $3::float8 + n * $2::float8 / $1)) AS id,
           convert_to($5 || lpad(n::text, 10, '0') || ' ' || repeat('0', 20) || $6, 'UTF8') AS payload
) AS made

-- lateness --
-- How late the first attempts of deliveries of a type ($2) began that were due after $1, in ms, and how many were early.
SELECT count(*) AS attempted, count(*) FILTER (WHERE late < 0) AS early, max(late) AS max_ms,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY late) AS p50_ms,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY late) AS p99_ms
FROM (
    SELECT extract(epoch FROM min(a.started_at) - moment_of(a.delivery_id))::float8 * 1000 AS late
    FROM delivery_attempts a
    WHERE a.event_type = $2 AND moment_of(a.delivery_id) > to_timestamp($1)
    GROUP BY a.delivery_id
) AS firsts

-- insert_subscribers --
-- Makes $2 subscriptions of the tenant $1 to the event type $3, all with the target $4 and without a secret.
INSERT INTO subscriptions (id, tenant_id, target_url, event_types)
SELECT uuidv7(), $1, $4, ARRAY[$3::text] FROM generate_series(1, $2::int)

-- insert_waiting_subscriptions --
-- Makes $2 paused subscriptions of the tenant $1, each with a delivery that has been due since it was made.
WITH made AS (
    INSERT INTO subscriptions (id, tenant_id, target_url, status)
    SELECT uuidv7(), $1, 'http://127.0.0.1:9/', 'paused' FROM generate_series(1, $2::int)
    RETURNING id
), numbered AS MATERIALIZED (
    SELECT uuidv7() AS event_id, made.id AS subscription_id FROM made
), stored AS (
    INSERT INTO webhook_events (id, tenant_id, content_type, payload)
    SELECT event_id, $1, 'application/json', '{}' FROM numbered
), delivered AS (
    INSERT INTO webhook_deliveries (id, event_id, subscription_id, tenant_id)
    SELECT (left(event_id::text, 18) || '-8' || substr(md5(event_id::text), 1, 3) || '-' || substr(md5(event_id::text), 4, 12))::uuid,
           event_id, subscription_id, $1
    FROM numbered
    RETURNING id, event_id, subscription_id
)
INSERT INTO delivery_queue (delivery_id, event_id, subscription_id, tenant_id, due_at, expires_at)
SELECT id, event_id, subscription_id, $1, now(), now() + interval '7 days' FROM delivered

-- insert_delivered --
-- Makes $3 delivered deliveries of the tenant $1 to the subscription $2, for retries by hand; returns their ids. Payloads
-- are made like those of insert_backlog.
WITH numbered AS MATERIALIZED (
    SELECT uuidv7() AS event_id FROM generate_series(1, $3::int)
), stored AS (
    INSERT INTO webhook_events (id, tenant_id, content_type, payload)
    SELECT event_id, $1, 'application/json', convert_to($4 || repeat('0', 10) || ' ' || repeat('0', 20) || $5, 'UTF8')
    FROM numbered
)
INSERT INTO webhook_deliveries (id, event_id, subscription_id, tenant_id, status, completed_at)
SELECT (left(event_id::text, 18) || '-8' || substr(md5(event_id::text), 1, 3) || '-' || substr(md5(event_id::text), 4, 12))::uuid,
       event_id, $2, $1, 'delivered', now()
FROM numbered
RETURNING id

-- insert_finished --
-- Makes $1 delivered deliveries of the default tenant to the subscription $2, with an attempt each, as a service has them
-- that has been running for long. Payloads are small: what counts is the number of rows.
WITH numbered AS MATERIALIZED (
    SELECT uuidv7() AS event_id FROM generate_series(1, $1::int)
), identified AS MATERIALIZED (
    SELECT event_id,
           (left(event_id::text, 18) || '-8' || substr(md5(event_id::text), 1, 3) || '-' || substr(md5(event_id::text), 4, 12))::uuid AS id
    FROM numbered
), stored AS (
    INSERT INTO webhook_events (id, tenant_id, content_type, payload)
    SELECT event_id, 'default', 'application/json', '{}' FROM numbered
), attempted AS (
    INSERT INTO delivery_attempts (delivery_id, subscription_id, started_at, recorded_at, claim_token, number, duration_ms,
                                   request, status_code, final, outcome, tenant_id)
    SELECT id, $2, now() - interval '1 hour', now() - interval '1 hour', gen_random_uuid(), 1, 5, 1, 200, true, 'success', 'default'
    FROM identified
)
INSERT INTO webhook_deliveries (id, event_id, subscription_id, tenant_id, status, completed_at, attempt_count)
SELECT id, event_id, $2, 'default', 'delivered', now(), 1 FROM identified

-- transactions --
-- Counts the transactions of this database that have ended.
SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()

-- limit_rates --
-- Gives the subscriptions $1 a rate limit of $2 a second.
UPDATE subscriptions SET rate_limit_per_second = $2, version = version + 1, updated_at = now() WHERE id = ANY($1::uuid[])

-- analyze --
-- Brings the planner's statistics up to date, as autovacuum does by itself within seconds.
ANALYZE webhook_events, webhook_deliveries, delivery_queue, delivery_attempts
