-- insert_events --
-- Stores events ($1 to $5, $11, $12, $16 and $17) and, for those that are new, their deliveries ($6 to $10) in history and in the
-- queue, each left alone by the dispatcher for the seconds of $9; returns the ids of the new events. Where it is to look at
-- once, subscriptions get a turn unless they have one: those that are paused, disabled, or pulled from none.
-- Deliveries that a worker keeps a slot for ($13) are stored as a claim would leave them, under its token ($14) for $15
-- seconds, and returned with what sending them takes of their subscriptions; but those that may not be sent now, or only so
-- many a second, are stored like all others. Of each delivery without a slot no subscription is read.
-- An event that is there already came with an earlier try of the same call, and so did its deliveries; one that is new has
-- none, so that theirs conflict with nothing but a repetition in the same batch. Ids are taken in one order everywhere, so
-- that batches which repeat each other's events do not deadlock.
WITH stored AS (
    INSERT INTO webhook_events (id, tenant_id, event_type, content_type, payload, traceparent, content_encoding, addressed_to,
                                sender_context)
    SELECT *
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[], $11::text[], $12::text[], $16::uuid[],
                $17::json[])
        AS e (id, tenant_id, event_type, content_type, payload, traceparent, content_encoding, addressed_to, sender_context)
    ORDER BY e.id
    ON CONFLICT (id) DO NOTHING
    RETURNING id, tenant_id, event_type
), new AS MATERIALIZED (
    SELECT DISTINCT ON (d.id) d.id, d.event_id, d.subscription_id, d.hidden_seconds, stored.tenant_id, stored.event_type,
           s.id IS NOT NULL AND coalesce(h.breaker = 'closed', true) AS leased, h.failing_since IS NOT NULL AS failing,
           s.target_url, s.endpoint_version, s.sealed_secrets, s.timeout_seconds, s.retry_policy, s.sealed_headers,
           s.sealed_client_certificate, s.relay_headers,
           CASE WHEN s.template IS NOT NULL OR s.event_versions IS NOT NULL THEN s.version END AS template_version
    FROM unnest($6::uuid[], $7::uuid[], $8::uuid[], $9::float8[], $13::bool[])
        AS d (id, event_id, subscription_id, hidden_seconds, has_slot)
    JOIN stored ON stored.id = d.event_id
    LEFT JOIN LATERAL (
        SELECT * FROM subscriptions
        WHERE d.has_slot AND id = d.subscription_id AND status = 'active' AND deleted_at IS NULL
          AND rate_limit_per_second IS NULL OFFSET 0
    ) AS s ON true
    LEFT JOIN LATERAL (SELECT * FROM subscription_health WHERE d.has_slot AND subscription_id = s.id OFFSET 0) AS h ON true
    ORDER BY d.id
), delivered AS (
    INSERT INTO webhook_deliveries (id, event_id, subscription_id, tenant_id, event_type)
    SELECT id, event_id, subscription_id, tenant_id, event_type FROM new
), queued AS (
    INSERT INTO delivery_queue (delivery_id, event_id, subscription_id, tenant_id, due_at, expires_at, claim_token,
                                lease_until)
    SELECT id, event_id, subscription_id, tenant_id,
           now() + make_interval(secs => CASE WHEN leased THEN $15 ELSE hidden_seconds END),
           now() + make_interval(hours => $10), CASE WHEN leased THEN $14::uuid END,
           CASE WHEN leased THEN now() + make_interval(secs => $15) END
    FROM new
), due AS (
    INSERT INTO due_subscriptions (subscription_id, tenant_id, turn_at, due_from)
    SELECT n.subscription_id, n.tenant_id, now(), now()
    FROM (SELECT DISTINCT subscription_id, tenant_id FROM new WHERE hidden_seconds = 0 AND NOT leased) AS n
    CROSS JOIN LATERAL (SELECT status, destination FROM subscriptions WHERE id = n.subscription_id LIMIT 1) AS s
    WHERE s.status = 'active' AND s.destination = 'http' AND (
        SELECT d.due_from FROM due_subscriptions d WHERE d.subscription_id = n.subscription_id AND d.due_from <= now()
    ) IS NULL
    ORDER BY n.subscription_id
    ON CONFLICT (subscription_id) DO UPDATE
    SET turn_at = least(due_subscriptions.turn_at, excluded.turn_at),
        due_from = least(due_subscriptions.due_from, excluded.due_from)
    WHERE due_subscriptions.due_from > now()
)
SELECT id AS event_id, NULL::uuid AS id, NULL::uuid AS subscription_id, NULL::text AS tenant_id,
       NULL::timestamptz AS claimed_at, NULL::text AS target_url, NULL::integer AS endpoint_version,
       NULL::bytea AS sealed_secrets, NULL::float8 AS timeout_seconds, NULL::jsonb AS retry_policy,
       NULL::bytea AS sealed_headers, NULL::bytea AS sealed_client_certificate, NULL::bool AS relay_headers, NULL::bigint AS template_version,
       NULL::bool AS failing
FROM stored
UNION ALL
SELECT event_id, id, subscription_id, tenant_id, now(), target_url, endpoint_version, sealed_secrets, timeout_seconds,
       retry_policy, sealed_headers, sealed_client_certificate, relay_headers, template_version, failing
FROM new WHERE leased

-- insert_expanding_events --
-- Stores events ($1 to $7, $9, $10) without deliveries, and for those that are new what expands them ($8: their targets, as far
-- as that is known); returns the ids of the new events.
WITH stored AS (
    INSERT INTO webhook_events (id, tenant_id, event_type, content_type, payload, traceparent, content_encoding,
                                sender_context, addressed_to)
    SELECT *
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::text[], $9::json[], $10::uuid[])
        AS e (id, tenant_id, event_type, content_type, payload, traceparent, content_encoding, sender_context, addressed_to)
    ORDER BY e.id
    ON CONFLICT (id) DO NOTHING
    RETURNING id, tenant_id, event_type, created_at, addressed_to
), expanding AS (
    INSERT INTO event_expansions (event_id, tenant_id, event_type, stored_at, targets, addressed_to)
    SELECT stored.id, stored.tenant_id, coalesce(stored.event_type, ''), stored.created_at, e.targets, stored.addressed_to
    FROM unnest($1::uuid[], $8::integer[]) AS e (id, targets)
    JOIN stored ON stored.id = e.id
    ORDER BY stored.id
)
SELECT id FROM stored

-- insert_tags --
-- Stores tags ($1 to $3: event, tenant, tag) of events that are new.
INSERT INTO event_tags (event_id, tenant_id, tag) SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[])

-- set_expiry --
-- Lets new deliveries ($1; $2 and $3: least and greatest id) expire $4 seconds from now, or with $5 from the time in their ids.
UPDATE delivery_queue
SET expires_at = CASE WHEN $5::boolean THEN moment_of(delivery_id) ELSE now() END + make_interval(secs => $4)
WHERE delivery_id = ANY($1::uuid[]) AND delivery_id BETWEEN $2 AND $3

-- set_accepted_at --
-- Notes when new events ($1; $2 and $3: least and greatest id) that were scheduled had been accepted ($4).
UPDATE webhook_events e SET accepted_at = a.accepted_at
FROM unnest($1::uuid[], $4::timestamptz[]) AS a (id, accepted_at)
WHERE e.id = a.id AND e.id = ANY($1::uuid[]) AND e.id BETWEEN $2 AND $3

-- set_expiry_of_expanding --
-- The same for those that new events ($1) are to get.
UPDATE event_expansions
SET expires_at = CASE WHEN $3::boolean THEN moment_of(event_id) ELSE now() END + make_interval(secs => $2)
WHERE event_id = ANY($1::uuid[])

-- select_expansions --
-- Reads up to $2 events that are not expanded, from id $1 on, with how many deliveries each is still to get.
SELECT event_id, tenant_id, greatest(targets - made, 0) AS unmade FROM event_expansions WHERE event_id >= $1 ORDER BY event_id LIMIT $2

-- lock_expansion --
-- Locks an event that is not expanded, unless another process is at it.
SELECT event_id, tenant_id, event_type, stored_at, expires_at, after_id, addressed_to
FROM event_expansions WHERE event_id = $1 FOR UPDATE SKIP LOCKED

-- select_targets --
-- Of the $5 subscriptions of tenant $1 that follow $2, up to $6 of those that were made no later than $3 and want an event
-- that these entries ($4) of event_types stand for, in the order of their ids, with their filters; and whether each may be
-- rung at once. The last row, if it is `beyond`, is the last of the $5: there may be more after it.
(
    SELECT s.id, s.status = 'active' AND s.rate_limit_per_second IS NULL AND s.destination = 'http' AS steady,
           CASE WHEN s.filter_stopped_at IS NULL THEN s.filter END AS filter, s.filter_on_error, false AS beyond
    FROM (
        SELECT id, kind, status, keep_when_disabled, rate_limit_per_second, destination, event_types, created_at, filter,
               filter_on_error, filter_stopped_at
        FROM subscriptions
        WHERE tenant_id = $1 AND id > $2 AND deleted_at IS NULL
        ORDER BY id LIMIT $5
    ) AS s
    WHERE s.kind = 'normal' AND (s.status <> 'disabled' OR s.keep_when_disabled) AND s.created_at <= $3
      AND (s.filter_stopped_at IS NULL OR s.filter_on_error = 'deliver')
      AND (s.event_types = '{}' OR s.event_types && $4::text[])
    ORDER BY s.id LIMIT $6
)
UNION ALL
(
    SELECT id, false, NULL, NULL, true FROM subscriptions
    WHERE tenant_id = $1 AND id > $2 AND deleted_at IS NULL
    ORDER BY id OFFSET $5 - 1 LIMIT 1
)

-- select_addressed_target --
-- Reads the same of the one subscription ($2) of tenant $1 that an event was sent to; nothing if it takes none now.
SELECT id, steady, filter, filter_on_error, false AS beyond FROM subscription_filters
WHERE tenant_id = $1 AND id = $2 AND live AND takes

-- select_filtered_event --
-- Reads what filters are about of an event ($1).
SELECT e.event_type, e.content_type, e.content_encoding, e.payload,
       ARRAY(SELECT tag FROM event_tags t WHERE t.event_id = e.id) AS tags
FROM webhook_events e WHERE e.id = $1

-- insert_expanded --
-- Makes deliveries ($1 and $2: ids and subscriptions; $3: for how many seconds the dispatcher leaves each alone) of event $4
-- of tenant $5 and type $6 that expire at $7, but for those that exist; returns the ids of those that it made.
WITH made AS (
    INSERT INTO webhook_deliveries (id, event_id, subscription_id, tenant_id, event_type)
    SELECT d.id, $4, d.subscription_id, $5, $6
    FROM unnest($1::uuid[], $2::uuid[]) AS d (id, subscription_id)
    ORDER BY d.id
    ON CONFLICT (id) DO NOTHING
    RETURNING id, event_id, subscription_id, tenant_id
), queued AS (
    INSERT INTO delivery_queue (delivery_id, event_id, subscription_id, tenant_id, due_at, expires_at)
    SELECT m.id, m.event_id, m.subscription_id, m.tenant_id, now() + make_interval(secs => d.hidden_seconds), $7
    FROM made m JOIN unnest($1::uuid[], $3::float8[]) AS d (id, hidden_seconds) ON d.id = m.id
    ORDER BY m.id
)
SELECT id FROM made

-- move_expansion --
-- Notes that a locked event has $3 deliveries more, for the subscriptions up to $2.
UPDATE event_expansions SET after_id = $2, made = made + $3 WHERE event_id = $1

-- finish_expansion --
-- Notes that a locked event has all its deliveries.
DELETE FROM event_expansions WHERE event_id = $1

-- select_expanding --
-- Which of the events $1 are to get more deliveries.
SELECT event_id FROM event_expansions WHERE event_id = ANY($1::uuid[])

-- select_made --
-- Counts the deliveries of event $1 ($2 and $3: the least and the greatest id that those can have), and says whether it is
-- to get more.
SELECT EXISTS (SELECT FROM event_expansions WHERE event_id = $1) AS expanding,
       (SELECT count(*) FROM webhook_deliveries WHERE event_id = $1 AND id BETWEEN $2 AND $3) AS deliveries

-- select_events --
-- Reads events whose ids were used again ($2 and $3: the least and the greatest id, so that it prunes).
SELECT id, tenant_id, event_type, content_type, content_encoding, payload FROM webhook_events
WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3

-- select_deliveries --
-- Reads the deliveries of events ($2 and $3: the least and the greatest id that those can have).
SELECT id, event_id FROM webhook_deliveries WHERE event_id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3

-- select_event --
-- Reads one event with its payload and its tags, and whether it is still to get deliveries.
SELECT e.*, EXISTS (SELECT FROM event_expansions x WHERE x.event_id = e.id) AS expanding,
       ARRAY(SELECT tag FROM event_tags t WHERE t.event_id = e.id ORDER BY tag) AS tags
FROM webhook_events e WHERE e.id = $1 AND e.tenant_id = $2

-- select_accepted --
-- Reads what decides where an event ($1) of tenant $2 went.
SELECT e.id, e.event_type, e.created_at, e.addressed_to,
       EXISTS (SELECT FROM event_expansions x WHERE x.event_id = e.id) AS expanding
FROM webhook_events e WHERE e.id = $1 AND e.tenant_id = $2

-- select_routes --
-- Reads the $6 newest live subscriptions of tenant $1 before $5, with the deliveries of event $2 to each ($3 and $4: the least
-- and the greatest id that those can have): the first one, and replays.
SELECT s.id, s.kind, s.status, s.keep_when_disabled, s.event_types, s.created_at, s.updated_at AS changed_at,
       s.filter, s.filter_on_error, s.filter_stopped_at IS NOT NULL AS filter_stopped,
       false AS deleted, d.ids AS delivery_ids
FROM (
    SELECT * FROM subscriptions
    WHERE tenant_id = $1 AND id < $5 AND deleted_at IS NULL
    ORDER BY id DESC LIMIT $6
) AS s
CROSS JOIN LATERAL (
    SELECT ARRAY(
        SELECT id FROM webhook_deliveries WHERE subscription_id = s.id AND event_id = $2 AND id BETWEEN $3 AND $4 LIMIT 100
    ) AS ids
) AS d
ORDER BY s.id DESC

-- select_route --
-- Reads the same of one subscription ($5), which may be deleted.
SELECT s.id, s.kind, s.status, s.keep_when_disabled, s.event_types, s.created_at, s.updated_at AS changed_at,
       s.filter, s.filter_on_error, s.filter_stopped_at IS NOT NULL AS filter_stopped,
       s.deleted_at IS NOT NULL AS deleted, d.ids AS delivery_ids
FROM subscriptions s
CROSS JOIN LATERAL (
    SELECT ARRAY(
        SELECT id FROM webhook_deliveries WHERE subscription_id = s.id AND event_id = $2 AND id BETWEEN $3 AND $4 LIMIT 100
    ) AS ids
) AS d
WHERE s.tenant_id = $1 AND s.id = $5

-- find_events --
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
    WHERE w.tenant_id = $1 AND w.id {within} (SELECT id FROM reached)
      AND ($6::text[] IS NULL OR w.event_type LIKE ANY($6))
    ORDER BY w.id {direction} LIMIT $5
) AS found

-- events --
-- Walks the events of all tenants.
SELECT *, row_number() OVER (ORDER BY id {direction}) AS place FROM (
    SELECT id, tenant_id, event_type FROM webhook_events
    WHERE id > $2 AND id < $3
    ORDER BY id {direction} LIMIT $4
) AS e

-- named_events --
-- Walks certain ones ($7), of which some may not be there any more.
SELECT named.id, e.tenant_id, e.event_type, named.place
FROM (
    SELECT id, row_number() OVER (ORDER BY id {direction}) AS place
    FROM (
        SELECT id FROM unnest($7::uuid[]) AS asked (id) WHERE id > $2 AND id < $3 ORDER BY id {direction} LIMIT $4
    ) AS next
) AS named
LEFT JOIN LATERAL (SELECT tenant_id, event_type FROM webhook_events WHERE id = named.id OFFSET 0) AS e ON true

-- tagged_events --
-- Walks those of a tenant ($1) that have one of the tags $7. Those that have several are there once.
SELECT *, row_number() OVER (ORDER BY id {direction}) AS place FROM (
    SELECT found.event_id AS id, e.tenant_id, e.event_type
    FROM (
        SELECT DISTINCT t.event_id
        FROM unnest($7::text[]) AS wanted (tag)
        CROSS JOIN LATERAL (
            SELECT event_id FROM event_tags
            WHERE tenant_id = $1 AND tag = wanted.tag AND event_id > $2 AND event_id < $3
            ORDER BY event_id {direction} LIMIT $4
        ) AS t
        ORDER BY t.event_id {direction} LIMIT $4
    ) AS found
    LEFT JOIN LATERAL (SELECT * FROM webhook_events WHERE id = found.event_id OFFSET 0) AS e ON true
    ORDER BY found.event_id {direction}
) AS tagged

-- select_listed --
-- Reads events ($1; $2 and $3: least and greatest id) without their payloads.
SELECT e.id, e.tenant_id, e.event_type, e.content_type, e.content_encoding, e.created_at,
       coalesce(octet_length(e.payload), 0) AS payload_bytes, e.erased_at,
       (e.sender_context ->> 'event_version')::int AS event_version,
       EXISTS (SELECT FROM event_expansions x WHERE x.event_id = e.id OFFSET 0) AS expanding,
       ARRAY(SELECT tag FROM event_tags t WHERE t.event_id = e.id AND t.event_id BETWEEN $2 AND $3 ORDER BY tag) AS tags
FROM webhook_events e
WHERE e.id = ANY($1::uuid[]) AND e.id BETWEEN $2 AND $3

-- create_partitions --
-- Makes the partitions that are needed now.
SELECT create_current_partitions()

-- select_now --
-- The Unix time of this server's clock, which counts.
SELECT extract(epoch FROM clock_timestamp())::float
