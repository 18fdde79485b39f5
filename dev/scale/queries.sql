-- make_partitions --
-- Makes the partitions of the days since $1.
SELECT create_partitions(($1::timestamptz AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date + 1)

-- insert_tenants --
-- Makes tenants.
INSERT INTO tenants (id, name) SELECT id, id FROM unnest($1::text[]) AS id ON CONFLICT DO NOTHING

-- insert_subscriptions --
-- Makes subscriptions ($1) of tenants ($2) with the target $3; those of $4 are paused.
INSERT INTO subscriptions (id, tenant_id, target_url, event_types, status)
SELECT s.id, s.tenant_id, $3, '{scale.none}', CASE WHEN s.id = ANY($4::uuid[]) THEN 'paused' ELSE 'active' END
FROM unnest($1::uuid[], $2::text[]) AS s (id, tenant_id)

-- insert_deliveries --
-- Makes the deliveries numbered $1 to $2 of $3, which were accepted one after the other from $4 on, for $5 seconds, each with an
-- event of its own. Four fifths are of tenant 'default' and its subscriptions $6, the first of which get the most; the others
-- of the subscriptions $7 of the tenants $8. The first subscription was down from the middle on, for a sixteenth of the time.
-- The fourth one is paused, with what was accepted in the last sixteenth. One event in a hundred has an idempotency key, and
-- one a provider's id. One in ten has two tags: one that no other has, and one of a thousand.
WITH numbered AS MATERIALIZED (
    SELECT n, n::float8 / $3 AS part, md5('event' || n) AS event_bits, md5('delivery' || n) AS delivery_bits,
           lpad(to_hex((extract(epoch FROM $4::timestamptz) * 1000)::bigint + ($5::float8 * 1000 * n / $3)::bigint), 12, '0')
               AS moment,
           -- Three numbers from 0 to 1 that go around at different paces.
           (n * 2654435761 % 1000003) / 1000003.0::float8 AS a, (n * 40503 % 999983) / 999983.0::float8 AS b,
           (n * 245489 % 1000033) / 1000033.0::float8 AS c
    FROM generate_series($1::bigint, $2::bigint) AS n
), made AS MATERIALIZED (
    SELECT n, part, b, c,
           (moment || '7' || left(event_bits, 3) || '8' || substr(event_bits, 4, 15))::uuid AS event_id,
           (moment || '7' || left(event_bits, 3) || '8' || left(delivery_bits, 15))::uuid AS id,
           CASE WHEN a < 0.8 THEN 'default' ELSE ($8::text[])[1 + n % cardinality($8::text[])] END AS tenant_id,
           CASE WHEN a < 0.8 THEN ($6::uuid[])[1 + floor(cardinality($6::uuid[]) * (a / 0.8) ^ 2)::int]
                ELSE ($7::uuid[])[1 + n % cardinality($7::uuid[])] END AS subscription_id,
           $4::timestamptz + make_interval(secs => $5::float8 * n / $3) AS created_at,
           CASE WHEN n % 100003 = 7 THEN 'rare.type' WHEN c < 0.4 THEN 'order.created' WHEN c < 0.6 THEN 'order.item.added'
                WHEN c < 0.9 THEN 'invoice.sent' ELSE 'customer.updated' END AS event_type
    FROM numbered
), settled AS MATERIALIZED (
    SELECT *, CASE WHEN subscription_id = ($6::uuid[])[1] AND part > 0.5 AND part <= 0.5625 THEN 'failed'
                   WHEN subscription_id = ($6::uuid[])[4] AND part > 0.9375 THEN 'pending'
                   WHEN b < 0.002 THEN 'scheduled' WHEN b < 0.0021 THEN 'in_flight' WHEN b < 0.02 THEN 'failed'
                   WHEN b < 0.025 THEN 'cancelled' ELSE 'delivered' END AS status,
           CASE WHEN c < 0.5 THEN 503 WHEN c < 0.7 THEN 429 END AS status_code,
           CASE WHEN c < 0.5 THEN 'http_5xx' WHEN c < 0.7 THEN 'http_4xx' WHEN c < 0.9 THEN 'timeout' ELSE 'connect' END
               AS error_kind
    FROM made
), stored AS (
    INSERT INTO webhook_events (id, created_at, tenant_id, event_type, content_type, payload)
    SELECT event_id, created_at, tenant_id, event_type, 'application/json', convert_to('{"n": ' || n || '}', 'UTF8')
    FROM settled
), history AS (
    INSERT INTO webhook_deliveries (id, event_id, subscription_id, created_at, completed_at, status, attempt_count, tenant_id,
                                    event_type, reason)
    SELECT id, event_id, subscription_id, created_at,
           CASE WHEN status IN ('delivered', 'failed', 'cancelled') THEN created_at + interval '1 second' END,
           CASE WHEN status IN ('scheduled', 'in_flight') THEN 'pending' ELSE status END::delivery_status,
           CASE status WHEN 'delivered' THEN CASE WHEN b > 0.9 THEN 3 ELSE 1 END WHEN 'failed' THEN 1 + n % 12 ELSE 0 END,
           tenant_id, event_type,
           CASE status WHEN 'failed' THEN CASE WHEN b < 0.018 THEN 'retries_exhausted' ELSE 'expired' END
                       WHEN 'cancelled' THEN 'cancelled' END
    FROM settled
), unsuccessful AS (
    INSERT INTO unsuccessful_deliveries (id, subscription_id, status, attempt_count, last_status_code, last_error_kind,
                                         tenant_id, ended_at)
    SELECT id, subscription_id, status::delivery_status, CASE status WHEN 'failed' THEN 1 + n % 12 ELSE 0 END,
           CASE status WHEN 'failed' THEN status_code END, CASE status WHEN 'failed' THEN error_kind END, tenant_id,
           created_at + interval '1 second'
    FROM settled WHERE status IN ('failed', 'cancelled')
), queued AS (
    INSERT INTO delivery_queue (delivery_id, event_id, subscription_id, created_at, expires_at, due_at, claim_token,
                                lease_until, attempt_count, failure_count, scheduled, last_status_code, tenant_id,
                                last_error_kind)
    SELECT id, event_id, subscription_id, created_at, now() + interval '7 days',
           CASE status WHEN 'pending' THEN created_at ELSE now() + interval '2 hours' + make_interval(mins => (n % 1000)::int) END,
           CASE status WHEN 'in_flight' THEN id END, CASE status WHEN 'in_flight' THEN now() + interval '1 day' END,
           CASE status WHEN 'scheduled' THEN 1 + n % 5 ELSE 0 END, CASE status WHEN 'scheduled' THEN 1 + n % 5 ELSE 0 END,
           status = 'scheduled', CASE status WHEN 'scheduled' THEN status_code END, tenant_id,
           CASE status WHEN 'scheduled' THEN error_kind END
    FROM settled WHERE status IN ('pending', 'scheduled', 'in_flight')
), tagged AS (
    INSERT INTO event_tags (event_id, tenant_id, tag)
    SELECT event_id, tenant_id, tag
    FROM settled CROSS JOIN LATERAL unnest(ARRAY['order=' || n, 'customer=' || n / 10 % 1000]) AS tag
    WHERE n % 10 = 0
)
INSERT INTO idempotency_keys (tenant_id, route, key, object_id, expires_at, request_hash, response)
SELECT tenant_id, CASE n % 100 WHEN 0 THEN 'events' ELSE 'ingest/' || subscription_id || '/provider' END,
       CASE n % 100 WHEN 0 THEN 'key-' ELSE 'evt_' END || n, event_id, now() + interval '1 day', '', ''
FROM settled WHERE n % 100 IN (0, 50)

-- analyze --
-- Marks pages as visible to all and updates the statistics of the planner, as autovacuum does by itself.
VACUUM (ANALYZE) webhook_events, event_tags, webhook_deliveries, unsuccessful_deliveries, delivery_queue, idempotency_keys, subscriptions
