-- insert_scheduled --
-- Stores events that are not due yet, each with its tags as a JSON array; returns the ids of those that are new.
INSERT INTO scheduled_events (id, tenant_id, event_type, content_type, content_encoding, payload, payload_bytes, traceparent,
                              addressed_to, deliver_within_seconds, tags, sender_context)
SELECT e.id, e.tenant_id, e.event_type, e.content_type, e.content_encoding, e.payload, octet_length(e.payload), e.traceparent,
       e.addressed_to, e.deliver_within_seconds,
       ARRAY(SELECT jsonb_array_elements_text(e.tags::jsonb)), e.sender_context
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::text[], $8::uuid[], $9::integer[],
            $10::text[], $11::json[])
    AS e (id, tenant_id, event_type, content_type, content_encoding, payload, traceparent, addressed_to,
          deliver_within_seconds, tags, sender_context)
ORDER BY e.id
ON CONFLICT (id) DO NOTHING
RETURNING id

-- select_taken --
-- Reads scheduled events whose ids were used again.
SELECT id, tenant_id, event_type, content_type, content_encoding, payload FROM scheduled_events WHERE id = ANY($1::uuid[])

-- select_first --
-- Reads the time, by this server's clock, and the first event from id $1 on, but for those that are set aside ($2): when it
-- is due, if there is one.
SELECT clock_timestamp() AS now, first.id, extract(epoch FROM moment_of(first.id) - clock_timestamp())::float8 AS due_in_seconds
FROM (VALUES (true)) AS one (single)
LEFT JOIN LATERAL (
    SELECT id FROM scheduled_events WHERE id >= $1 AND id <> ALL($2::uuid[]) ORDER BY id LIMIT 1
) AS first ON true

-- lock_due --
-- Locks up to $2 events from id $1 on that are due by this server's clock, unless another process is at them or they are set
-- aside ($4), and reads the first of them: as many as begin within $3 bytes of payloads. `locked` counts all of them.
WITH locked AS MATERIALIZED (
    SELECT id, payload_bytes FROM scheduled_events
    WHERE id >= $1 AND id < uuid_after(now()) AND id <> ALL($4::uuid[])
    ORDER BY id LIMIT $2
    FOR UPDATE SKIP LOCKED
), placed AS (
    SELECT id, sum(payload_bytes) OVER (ORDER BY id) - payload_bytes AS bytes_before FROM locked
)
SELECT s.*, (SELECT count(*) FROM locked) AS locked FROM scheduled_events s
WHERE s.id = ANY(ARRAY(SELECT id FROM placed WHERE bytes_before < $3))
ORDER BY s.id

-- lock_due_of --
-- The same for those of tenant $5.
WITH locked AS MATERIALIZED (
    SELECT id, payload_bytes FROM scheduled_events
    WHERE tenant_id = $5 AND id >= $1 AND id < uuid_after(now()) AND id <> ALL($4::uuid[])
    ORDER BY tenant_id, id LIMIT $2
    FOR UPDATE SKIP LOCKED
), placed AS (
    SELECT id, sum(payload_bytes) OVER (ORDER BY id) - payload_bytes AS bytes_before FROM locked
)
SELECT s.*, (SELECT count(*) FROM locked) AS locked FROM scheduled_events s
WHERE s.id = ANY(ARRAY(SELECT id FROM placed WHERE bytes_before < $3))
ORDER BY s.id

-- select_due_tenants --
-- Reads up to $2 tenants with events from id $1 on that are due: one look for each tenant that has scheduled events.
WITH RECURSIVE of_tenants AS (
    (SELECT tenant_id FROM scheduled_events ORDER BY tenant_id, id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT s.tenant_id FROM scheduled_events s WHERE s.tenant_id > t.tenant_id ORDER BY s.tenant_id, s.id LIMIT 1
    )
    FROM of_tenants t WHERE t.tenant_id IS NOT NULL
)
SELECT t.tenant_id FROM of_tenants t
WHERE t.tenant_id IS NOT NULL AND EXISTS (
    SELECT FROM scheduled_events s WHERE s.tenant_id = t.tenant_id AND s.id >= $1 AND s.id < uuid_after(now())
)
LIMIT $2

-- delete_moved --
-- Deletes locked events that become events now.
DELETE FROM scheduled_events WHERE id = ANY($1::uuid[])

-- delete_of_deleted --
-- Deletes up to $1 events of tenants that are deleted; returns how many.
WITH gone AS (
    DELETE FROM scheduled_events
    WHERE id = ANY(ARRAY(
        SELECT s.id FROM tenants t CROSS JOIN LATERAL (
            SELECT id FROM scheduled_events WHERE tenant_id = t.id ORDER BY tenant_id, id LIMIT $1
        ) AS s
        WHERE t.deleted_at IS NOT NULL
          AND t.id IN (SELECT tenant_id FROM scheduled_sums WHERE events > 0 UNION SELECT tenant_id FROM scheduled_changes)
        LIMIT $1
    ))
    RETURNING 1
)
SELECT count(*) FROM gone

-- select_scheduled --
-- Reads one event that is not due yet, with its payload.
SELECT id, tenant_id, accepted_at, event_type, content_type, content_encoding, payload, tags, addressed_to,
       deliver_within_seconds, traceparent, sender_context
FROM scheduled_events WHERE id = $1 AND tenant_id = $2

-- cancel --
-- Deletes an event that is not due yet.
DELETE FROM scheduled_events WHERE id = $1 AND tenant_id = $2 AND id >= uuid_after(now()) RETURNING id

-- is_cancelled --
-- Whether an event of tenant $2 ($1) was cancelled.
SELECT EXISTS (SELECT FROM audit_entries WHERE resource_id = $1 AND tenant_id = $2 AND action = 'event.cancel')

-- find_scheduled --
-- Finds, among the first $4 events of a walk between the ids $2 and $3, up to $5 of tenant $1 whose type is like one of $6;
-- null stands for any.
WITH walked AS MATERIALIZED ({walk}), cut AS MATERIALIZED (
    SELECT id FROM walked WHERE place = $4
), reached AS MATERIALIZED (
    SELECT coalesce((SELECT id FROM cut ORDER BY id {direction} LIMIT 1), {end}::uuid) AS id
)
SELECT (SELECT count(*) FROM walked) AS rows_read, (SELECT count(*) FROM cut) AS sources_left,
       (SELECT id FROM reached) AS last, ARRAY(
    SELECT w.id FROM walked w
    WHERE w.id {within} (SELECT id FROM reached)
      AND ($6::text[] IS NULL OR w.event_type LIKE ANY($6))
      AND ($7::text[] IS NULL OR w.tags && $7)
      AND ($8::uuid[] IS NULL OR w.id = ANY($8))
      AND ($9::uuid[] IS NULL OR w.addressed_to = ANY($9))
    ORDER BY w.id {direction} LIMIT $5
) AS found

-- scheduled --
-- Walks the scheduled events of a tenant ($1).
SELECT *, row_number() OVER (ORDER BY id {direction}) AS place FROM (
    SELECT id, event_type, tags, addressed_to FROM scheduled_events
    WHERE tenant_id = $1 AND id > $2 AND id < $3
    ORDER BY tenant_id {direction}, id {direction} LIMIT $4
) AS e

-- select_listed --
-- Reads scheduled events ($1) without their payloads.
SELECT id, tenant_id, event_type, content_type, content_encoding, accepted_at AS created_at, payload_bytes,
       NULL::timestamptz AS erased_at, (sender_context ->> 'event_version')::int AS event_version, false AS expanding, tags,
       deliver_within_seconds
FROM scheduled_events WHERE id = ANY($1::uuid[])
