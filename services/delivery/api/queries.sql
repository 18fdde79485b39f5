-- select_whole --
-- Reads deliveries of a tenant, or of all if it is null ($1 and $2; $3 and $4: least and greatest id), with what the last
-- attempt of one that is not delivered got. held_by: what keeps one from being sent though it is due; what held its
-- subscription at its last turn if it is not the subscription's state, or '' if that held nothing. probe_at: when an endpoint
-- whose breaker is open is tried again. traceparent: with $5, of its event, if that is traced and still retained.
-- event_version: of its event; one without a type has none.
SELECT d.*, CASE WHEN $5 THEN (SELECT e.traceparent FROM webhook_events e WHERE e.id = d.event_id) END AS traceparent,
       CASE WHEN d.event_type IS NOT NULL THEN (
           SELECT (e.sender_context ->> 'event_version')::int FROM webhook_events e WHERE e.id = d.event_id
       ) END AS event_version,
       coalesce(d.queued_status_code, u.last_status_code) AS last_status_code,
       coalesce(d.queued_error_kind, u.last_error_kind) AS last_error_kind,
       CASE WHEN s.status = 'active' AND h.breaker = 'open' THEN h.probe_at END AS probe_at,
       CASE WHEN d.status IN ('pending', 'scheduled') AND d.due_at <= now()
                 THEN coalesce(delivery_hold(s.status, s.destination, h.breaker, t.held_by), '') END AS held_by
FROM deliveries d
LEFT JOIN subscriptions s ON s.id = d.subscription_id
LEFT JOIN subscription_health h ON h.subscription_id = d.subscription_id
LEFT JOIN due_subscriptions t ON t.subscription_id = d.subscription_id
LEFT JOIN LATERAL (
    SELECT last_status_code, last_error_kind FROM unsuccessful_deliveries
    WHERE subscription_id = d.subscription_id AND status = d.history AND id = d.id AND id BETWEEN $3 AND $4 OFFSET 0
) AS u ON true
WHERE d.id = ANY($1::uuid[]) AND d.id BETWEEN $3 AND $4 AND ($2::text IS NULL OR d.tenant_id = $2)

-- select_attempts --
-- Reads the attempts of deliveries ($1; $2 and $3: least and greatest id), of each the oldest first.
SELECT delivery_id, number, started_at, duration_ms, status_code, outcome, error_message, response_body,
       details, actor
FROM delivery_attempts
WHERE delivery_id = ANY($1::uuid[]) AND delivery_id BETWEEN $2 AND $3
ORDER BY delivery_id, number

-- subscription_exists --
-- Whether a tenant has, or had, this subscription; any tenant if $2 is null.
SELECT EXISTS (SELECT FROM subscriptions WHERE id = $1 AND ($2::text IS NULL OR tenant_id = $2))

-- event_exists --
-- Whether a tenant has this event, scheduled or still retained; any tenant if $2 is null.
SELECT EXISTS (SELECT FROM webhook_events WHERE id = $1 AND ($2::text IS NULL OR tenant_id = $2))
    OR EXISTS (SELECT FROM scheduled_events WHERE id = $1 AND ($2::text IS NULL OR tenant_id = $2))

-- find_of_subscription --
-- Finds a page of a subscription's deliveries, newest first.
-- Ranges of (subscription_id, id) in place of subscription_id = $1 leave the generic plan no index but theirs: with few
-- subscriptions it would walk the primary key, past all rows of the others (one of 20, of 400,000 rows: 120 ms; 1 ms so).
SELECT id FROM webhook_deliveries
WHERE (subscription_id, id) >= ($1, '00000000-0000-0000-0000-000000000000'::uuid)
  AND (subscription_id, id) < ($1, $2) AND id < $2
ORDER BY subscription_id DESC, id DESC LIMIT $3

-- find_delivered --
-- The same of those that were delivered, which are the most.
SELECT id FROM webhook_deliveries
WHERE (subscription_id, id) >= ($1, '00000000-0000-0000-0000-000000000000'::uuid)
  AND (subscription_id, id) < ($1, $2) AND id < $2 AND status = 'delivered'
ORDER BY subscription_id DESC, id DESC LIMIT $3

-- find_unsuccessful --
-- Finds a page of a subscription's deliveries that ended in state $3 (failed or cancelled), newest first.
SELECT id FROM unsuccessful_deliveries
WHERE subscription_id = $1 AND id < $2 AND status = $3::text::delivery_status
ORDER BY id DESC LIMIT $4

-- find_newest_in --
-- Finds a page of a subscription's unfinished deliveries in state $3 among its newest $5 deliveries of all states; how many
-- of them it has passed.
WITH newest AS (
    SELECT id, subscription_id FROM webhook_deliveries
    WHERE (subscription_id, id) >= ($1, '00000000-0000-0000-0000-000000000000'::uuid)
      AND (subscription_id, id) < ($1, $2) AND id < $2
    ORDER BY subscription_id DESC, id DESC LIMIT $5
)
SELECT count(*) AS passed,
       ARRAY(SELECT n.id FROM newest n JOIN delivery_queue q ON q.delivery_id = n.id
             WHERE CASE WHEN q.claim_token IS NOT NULL THEN 'in_flight' WHEN q.scheduled THEN 'scheduled' ELSE 'pending' END
                   = $3
             ORDER BY n.id DESC LIMIT $4) AS found
FROM newest

-- find_in_queue --
-- Finds them by sorting all that a subscription has in the queue.
WITH found AS MATERIALIZED (
    SELECT delivery_id, claim_token, scheduled FROM delivery_queue
    WHERE (subscription_id, scheduled) >= ($1, $3 = 'scheduled') AND (subscription_id, scheduled) <= ($1, $3 = 'scheduled')
)
SELECT delivery_id AS id FROM found
WHERE delivery_id < $2
  AND CASE WHEN claim_token IS NOT NULL THEN 'in_flight' WHEN scheduled THEN 'scheduled' ELSE 'pending' END = $3
ORDER BY delivery_id DESC LIMIT $4

-- find_of_event --
-- Finds a page of an event's deliveries, newest first; their ids lie from $2 to $3, for they begin with the event's.
SELECT id FROM deliveries
WHERE event_id = $1 AND id >= $2 AND id < $3 AND ($4::text IS NULL OR status = $4)
ORDER BY id DESC LIMIT $5

-- count_by --
-- Counts deliveries ($1; $2 and $3: least and greatest id) by what they have in common ($4).
SELECT coalesce(key, '') AS key, count(*) AS deliveries
FROM (
    SELECT CASE $4 WHEN 'subscription' THEN d.subscription_id::text
                   WHEN 'event-type' THEN d.event_type
                   WHEN 'status' THEN CASE WHEN q.claim_token IS NOT NULL THEN 'in_flight' WHEN q.scheduled THEN 'scheduled'
                                           ELSE d.status::text END
                   WHEN 'error-kind' THEN coalesce(q.last_error_kind, u.last_error_kind)
                   WHEN 'held-by' THEN CASE WHEN q.claim_token IS NULL AND q.due_at <= now() THEN (
                       SELECT delivery_hold(s.status, s.destination, h.breaker, t.held_by)
                       FROM subscriptions s
                       LEFT JOIN subscription_health h ON h.subscription_id = s.id
                       LEFT JOIN due_subscriptions t ON t.subscription_id = s.id
                       WHERE s.id = d.subscription_id
                   ) END
           END AS key
    FROM webhook_deliveries d
    LEFT JOIN LATERAL (SELECT * FROM delivery_queue WHERE delivery_id = d.id OFFSET 0) AS q ON true
    LEFT JOIN LATERAL (
        SELECT last_error_kind FROM unsuccessful_deliveries
        WHERE subscription_id = d.subscription_id AND status = d.status AND id = d.id AND id BETWEEN $2 AND $3 OFFSET 0
    ) AS u ON true
    WHERE d.id = ANY($1::uuid[]) AND d.id BETWEEN $2 AND $3
) AS keyed
GROUP BY key

-- lock_queued --
-- Locks the rows of a tenant's unfinished deliveries ($1) in the queue.
SELECT delivery_id, claim_token IS NOT NULL AS in_flight, scheduled FROM delivery_queue
WHERE delivery_id = ANY($1::uuid[]) AND tenant_id = $2
ORDER BY delivery_id
FOR UPDATE

-- lock_deliveries --
-- Locks deliveries of a tenant ($1 and $2; $3 and $4: least and greatest id) in history, with what decides whether each can
-- be sent again. event: a list of its traceparent; null if the payload is not retained.
SELECT d.*, now() AS now, s.deleted_at IS NOT NULL AS subscription_deleted, s.status = 'disabled' AS subscription_disabled,
       s.status = 'active' AND s.rate_limit_per_second IS NULL AND s.destination = 'http'
           AND coalesce(h.breaker, 'closed') = 'closed' AS steady,
       coalesce(h.breaker = 'open' AND h.probe_delivery_id IS NULL, false) AS wants_probe,
       (SELECT ARRAY[e.traceparent] FROM webhook_events e WHERE e.id = d.event_id) AS event,
       (SELECT e.payload IS NULL FROM webhook_events e WHERE e.id = d.event_id) AS erased
FROM webhook_deliveries d
JOIN subscriptions s ON s.id = d.subscription_id
LEFT JOIN subscription_health h ON h.subscription_id = d.subscription_id
WHERE d.id = ANY($1::uuid[]) AND d.id BETWEEN $3 AND $4 AND d.tenant_id = $2
ORDER BY d.id
FOR UPDATE OF d

-- select_queued --
-- Which deliveries are in the queue, without a lock of their rows.
SELECT delivery_id FROM delivery_queue WHERE delivery_id = ANY($1::uuid[])

-- select_waiting --
-- Reads how many unfinished deliveries tenant $1 has, by sums that are at most $3 seconds old, and how many it may have, $2
-- unless it has a quota of its own; no row without those.
SELECT u.waiting_deliveries AS waiting, coalesce(t.max_waiting_deliveries, $2) AS quota
FROM tenant_usage u
JOIN tenants t ON t.id = u.tenant_id
JOIN usage_state s ON s.measured_at > now() - make_interval(secs => $3)
WHERE u.tenant_id = $1

-- retry_deliveries --
-- Makes locked deliveries ($1; $4 and $5: least and greatest id) pending and restarts their retry schedules; the dispatcher
-- ignores each for the seconds of $2, and they expire in $3 hours at the earliest. $6 asks for their next attempts. One that
-- has ended comes back to the queue, and is 'pending' in history again.
WITH asked AS MATERIALIZED (
    SELECT id, hold_seconds FROM unnest($1::uuid[], $2::float8[]) AS a (id, hold_seconds)
), queued AS (
    INSERT INTO delivery_queue AS q
        (delivery_id, event_id, subscription_id, tenant_id, created_at, due_at, expires_at, attempt_count,
         last_status_code, last_error_kind, actor)
    SELECT d.id, d.event_id, d.subscription_id, d.tenant_id, d.created_at, now() + make_interval(secs => a.hold_seconds),
           now() + make_interval(hours => $3), d.attempt_count, u.last_status_code, u.last_error_kind, $6
    FROM asked a JOIN webhook_deliveries d ON d.id = a.id
    LEFT JOIN LATERAL (
        SELECT last_status_code, last_error_kind FROM unsuccessful_deliveries
        WHERE subscription_id = d.subscription_id AND status = d.status AND id = d.id AND id BETWEEN $4 AND $5 OFFSET 0
    ) AS u ON true
    WHERE d.id BETWEEN $4 AND $5
    ORDER BY d.id
    ON CONFLICT (delivery_id) DO UPDATE
    SET due_at = excluded.due_at, scheduled = false, failure_count = 0, interrupted_count = 0, actor = excluded.actor,
        expires_at = greatest(q.expires_at, excluded.expires_at)
    WHERE q.claim_token IS NULL
    RETURNING delivery_id
)
UPDATE webhook_deliveries
SET status = 'pending', completed_at = NULL, reason = NULL
WHERE id = ANY($1::uuid[]) AND id BETWEEN $4 AND $5 AND status <> 'pending'

-- unlist --
-- Takes deliveries ($1 to $3: ids, subscriptions, and how they had ended; $4 and $5: least and greatest id) that are pending
-- again out of the list of those that failed or were cancelled.
DELETE FROM unsuccessful_deliveries u
USING unnest($1::uuid[], $2::uuid[], $3::text[]) AS ended (id, subscription_id, status)
WHERE u.subscription_id = ended.subscription_id AND u.status = ended.status::delivery_status AND u.id = ended.id
  AND u.id BETWEEN $4 AND $5

-- ask_for_probes --
-- Ends the cool-downs of subscriptions' open breakers ($1), and asks for a delivery of each ($2) to be the probe, unless
-- another one is asked for already. The dispatcher begins it, as it does every probe.
WITH locked AS (
    SELECT subscription_id FROM subscription_health
    WHERE subscription_id = ANY($1::uuid[])
    ORDER BY subscription_id
    FOR UPDATE
)
UPDATE subscription_health h
SET probe_at = now(), probe_delivery_id = a.delivery_id
FROM unnest($1::uuid[], $2::uuid[]) AS a (subscription_id, delivery_id)
WHERE (SELECT count(*) FROM locked) > 0 AND h.subscription_id = a.subscription_id AND h.breaker = 'open'
  AND h.probe_delivery_id IS NULL

-- select_status --
-- Reads the status of a tenant's live subscription, and how its deliveries get to their receiver.
SELECT status, destination FROM subscriptions WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL

-- insert_test --
-- Asks on behalf of $4 for a test event ($1) to be sent to subscription $2 of tenant $3.
INSERT INTO endpoint_tests (id, subscription_id, tenant_id, actor) VALUES ($1, $2, $3, $4)

-- select_test --
-- Reads what became of a test event.
SELECT taken_at IS NOT NULL AS taken, 1 AS number, started_at, duration_ms, status_code, outcome, error_message,
       response_body, details, actor
FROM endpoint_tests WHERE id = $1

-- has_test --
-- Finds a test event $2 of a subscription that tenant $1 has not created.
SELECT true FROM endpoint_tests WHERE tenant_id = $1 AND id = $2 AND subscription_id = id

-- withdraw_test --
-- Takes back a test event that no worker has taken in hand.
DELETE FROM endpoint_tests WHERE id = $1 AND taken_at IS NULL RETURNING true

-- find_unknown_subscription --
-- Finds one of the subscriptions $2 that tenant $1 neither has nor had.
SELECT id FROM unnest($2::uuid[]) AS asked (id)
WHERE NOT EXISTS (SELECT FROM subscriptions s WHERE s.id = asked.id AND s.tenant_id = $1)
LIMIT 1

-- select_owners --
-- Reads up to $2 of the subscriptions that a tenant has, or had.
SELECT id FROM subscriptions WHERE tenant_id = $1 LIMIT $2

-- find_in_history --
-- Finds, among the first $4 deliveries of each source of a walk through history between the ids $2 and $3, up to $5 of tenant
-- $1 that ended with status $6, whose type is like one of $7, that had $8 attempts or more, of subscriptions $9; null stands
-- for any. Of one that is unfinished the queue knows the attempts. OFFSET 0 has a row looked up for each that is passed, in
-- place of reading all to look them up in memory.
WITH walked AS MATERIALIZED ({walk}), cut AS MATERIALIZED (
    SELECT id FROM walked WHERE place = $4
), reached AS MATERIALIZED (
    SELECT coalesce((SELECT id FROM cut ORDER BY id {direction} LIMIT 1), {end}::uuid) AS id
)
SELECT (SELECT count(*) FROM walked) AS rows_read, (SELECT count(*) FROM cut) AS sources_left,
       (SELECT id FROM reached) AS last, ARRAY(
    SELECT w.id FROM walked w
    WHERE w.tenant_id = $1 AND w.id {within} (SELECT id FROM reached)
      AND ($9::uuid[] IS NULL OR w.subscription_id = ANY($9))
      AND ($6::text IS NULL OR w.status = $6::text::delivery_status)
      AND ($7::text[] IS NULL OR w.event_type LIKE ANY($7))
      AND ($8::integer = 0 OR w.attempt_count >= $8 OR w.status = 'pending' AND EXISTS (
          SELECT FROM delivery_queue q WHERE q.delivery_id = w.id AND q.attempt_count >= $8 OFFSET 0
      ))
    ORDER BY w.id {direction} LIMIT $5
) AS found

-- history --
-- Walks the history of all tenants.
SELECT *, row_number() OVER (ORDER BY id {direction}) AS place FROM (
    SELECT id, subscription_id, tenant_id, status, event_type, attempt_count FROM webhook_deliveries
    WHERE id > $2 AND id < $3
    ORDER BY id {direction} LIMIT $4
) AS d

-- history_of_subscriptions --
-- Walks that of subscriptions ($10), each by its index, which the ranges of (subscription_id, id) leave no choice about. With
-- both bounds of id, too, the generic plan takes them for narrow and walks the primary key (5 million rows a day: 18 s).
SELECT d.* FROM unnest($10::uuid[]) AS owner (id)
CROSS JOIN LATERAL (
    SELECT *, row_number() OVER (ORDER BY subscription_id {direction}, id {direction}) AS place FROM (
        SELECT id, subscription_id, tenant_id, status, event_type, attempt_count FROM webhook_deliveries
        WHERE (subscription_id, id) > (owner.id, $2) AND (subscription_id, id) < (owner.id, $3) AND id > $2
        ORDER BY subscription_id {direction}, id {direction} LIMIT $4
    ) AS own
) AS d

-- history_of_events --
-- Walks that of events ($10). The ids of their deliveries are in ranges, from one of $11 to the one of $12 that belongs to it,
-- with those of other events of the same millisecond. The ranges do not overlap: they are read one after the other until
-- there are $4.
SELECT *, row_number() OVER (ORDER BY id {direction}) AS place FROM (
    SELECT d.*
    FROM (SELECT * FROM unnest($11::uuid[], $12::uuid[]) AS r (least, most) ORDER BY least {direction}) AS range
    CROSS JOIN LATERAL (
        SELECT id, subscription_id, tenant_id, status, event_type, attempt_count FROM webhook_deliveries
        WHERE id BETWEEN range.least AND range.most AND id > $2 AND id < $3 AND event_id = ANY($10::uuid[])
        ORDER BY id {direction} LIMIT $4
    ) AS d
    LIMIT $4
) AS listed

-- tagged --
-- Finds the first $4 of a tenant's events with one of the tags in the last parameter: between which ids their deliveries can
-- be, and how many of the events share that range. It is part of the next walk, and of those of the other places.
SELECT least_delivery_id(t.event_id) AS least, greatest_delivery_id(t.event_id) AS greatest, count(*)::integer AS events
FROM (
    SELECT DISTINCT named.event_id
    FROM unnest({last}::text[]) AS wanted (tag)
    CROSS JOIN LATERAL (
        SELECT event_id FROM event_tags
        WHERE tenant_id = $1 AND tag = wanted.tag
          AND event_id >= least_delivery_id($2) AND greatest_delivery_id(event_id) > $2
          AND event_id <= greatest_delivery_id($3) AND least_delivery_id(event_id) < $3
        ORDER BY event_id {direction} LIMIT $4
    ) AS named
    ORDER BY named.event_id {direction} LIMIT $4
) AS t
GROUP BY least, greatest
ORDER BY least {direction}

-- history_of_tags --
-- Walks that of a tenant's events with one of the tags in the last parameter: through the ids that their deliveries can have,
-- and at the end of each range past a row without a tenant for each of its events, so that those without deliveries are passed
-- as well.
SELECT *, row_number() OVER (ORDER BY id {direction}) AS place FROM (
    SELECT d.id, d.subscription_id, d.tenant_id, d.status, d.event_type, d.attempt_count
    FROM ({tagged}) AS near
    CROSS JOIN LATERAL (
        (
            SELECT id, subscription_id, tenant_id, status, event_type, attempt_count FROM webhook_deliveries h
            WHERE id BETWEEN near.least AND near.greatest AND id > $2 AND id < $3
              AND EXISTS (SELECT FROM event_tags WHERE event_id = h.event_id AND tag = ANY({last}::text[]) OFFSET 0)
            ORDER BY id {direction} LIMIT $4
        )
        UNION ALL
        SELECT CASE '{direction}' WHEN 'ASC' THEN near.greatest ELSE near.least END, NULL, NULL, NULL, NULL, NULL FROM generate_series(1, near.events)
    ) AS d
    ORDER BY near.least {direction}, d.id {direction} LIMIT $4
) AS tagged

-- find_unsuccessful_like --
-- Finds, among the first $4 deliveries of each source of a walk through those that failed or were cancelled, between the ids $2
-- and $3, up to $5 of tenant $1 that ended for one of the reasons $7, whose type is like one of $8, whose last attempt got one
-- of the status codes $9 or ended with one of the errors $10, that had $11 attempts or more, of subscriptions $12; null stands
-- for any. $6: the states.
WITH walked AS MATERIALIZED ({walk}), cut AS MATERIALIZED (
    SELECT id FROM walked WHERE place = $4
), reached AS MATERIALIZED (
    SELECT coalesce((SELECT id FROM cut ORDER BY id {direction} LIMIT 1), {end}::uuid) AS id
)
SELECT (SELECT count(*) FROM walked) AS rows_read, (SELECT count(*) FROM cut) AS sources_left,
       (SELECT id FROM reached) AS last, ARRAY(
    SELECT w.id FROM walked w
    WHERE w.tenant_id = $1 AND w.id {within} (SELECT id FROM reached)
      AND w.attempt_count >= $11::integer AND ($12::uuid[] IS NULL OR w.subscription_id = ANY($12))
      AND ($9::integer[] IS NULL OR w.last_status_code = ANY($9)) AND ($10::text[] IS NULL OR w.last_error_kind = ANY($10))
      AND ($7::text[] IS NULL AND $8::text[] IS NULL OR EXISTS (
          SELECT FROM webhook_deliveries d
          WHERE d.id = w.id AND ($7::text[] IS NULL OR d.reason = ANY($7))
            AND ($8::text[] IS NULL OR d.event_type LIKE ANY($8)) OFFSET 0
      ))
    ORDER BY w.id {direction} LIMIT $5
) AS found

-- unsuccessful --
-- Walks those of a tenant ($1).
SELECT u.* FROM unnest($6::text[]) AS asked (status)
CROSS JOIN LATERAL (
    SELECT *, row_number() OVER (ORDER BY id {direction}) AS place FROM (
        SELECT id, subscription_id, tenant_id, attempt_count, last_status_code, last_error_kind
        FROM unsuccessful_deliveries
        WHERE tenant_id = $1 AND status = asked.status::delivery_status AND id > $2 AND id < $3
        ORDER BY id {direction} LIMIT $4
    ) AS own
) AS u

-- unsuccessful_of_subscriptions --
-- Walks those of subscriptions ($12).
SELECT u.* FROM unnest($6::text[]) AS asked (status) CROSS JOIN unnest($12::uuid[]) AS owner (id)
CROSS JOIN LATERAL (
    SELECT *, row_number() OVER (ORDER BY id {direction}) AS place FROM (
        SELECT id, subscription_id, tenant_id, attempt_count, last_status_code, last_error_kind
        FROM unsuccessful_deliveries
        WHERE subscription_id = owner.id AND status = asked.status::delivery_status AND id > $2 AND id < $3
        ORDER BY id {direction} LIMIT $4
    ) AS own
) AS u

-- unsuccessful_of_events --
-- Walks those of events ($13) in one state, by the ranges ($14 and $15) that the ids of their deliveries are in, as
-- history_of_events does.
SELECT *, row_number() OVER (ORDER BY id {direction}) AS place FROM (
    SELECT u.*
    FROM (SELECT * FROM unnest($14::uuid[], $15::uuid[]) AS r (least, most) ORDER BY least {direction}) AS range
    CROSS JOIN LATERAL (
        SELECT id, subscription_id, tenant_id, attempt_count, last_status_code, last_error_kind
        FROM unsuccessful_deliveries listed
        WHERE tenant_id = $1 AND status = ($6::text[])[1]::delivery_status AND id BETWEEN range.least AND range.most
          AND id > $2 AND id < $3
          AND EXISTS (SELECT FROM webhook_deliveries d WHERE d.id = listed.id AND d.event_id = ANY($13::uuid[]) OFFSET 0)
        ORDER BY id {direction} LIMIT $4
    ) AS u
    LIMIT $4
) AS listed

-- unsuccessful_of_tags --
-- Walks those of a tenant's events with one of the tags in the last parameter, as history_of_tags does.
SELECT *, row_number() OVER (ORDER BY id {direction}) AS place FROM (
    SELECT u.id, u.subscription_id, u.tenant_id, u.attempt_count, u.last_status_code, u.last_error_kind
    FROM ({tagged}) AS near
    CROSS JOIN LATERAL (
        (
            SELECT ended.id, ended.subscription_id, ended.tenant_id, ended.attempt_count, ended.last_status_code,
                   ended.last_error_kind
            FROM unnest($6::text[]) AS asked (status)
            CROSS JOIN LATERAL (
                SELECT * FROM unsuccessful_deliveries listed
                WHERE tenant_id = $1 AND status = asked.status::delivery_status AND id BETWEEN near.least AND near.greatest
                  AND id > $2 AND id < $3
                  AND EXISTS (
                      SELECT FROM webhook_deliveries d JOIN event_tags t ON t.event_id = d.event_id AND t.tag = ANY({last}::text[])
                      WHERE d.id = listed.id OFFSET 0
                  )
                ORDER BY id {direction} LIMIT $4
            ) AS ended
            ORDER BY ended.id {direction} LIMIT $4
        )
        UNION ALL
        SELECT CASE '{direction}' WHEN 'ASC' THEN near.greatest ELSE near.least END, NULL, NULL, NULL, NULL, NULL FROM generate_series(1, near.events)
    ) AS u
    ORDER BY near.least {direction}, u.id {direction} LIMIT $4
) AS tagged

-- find_unfinished --
-- Finds, among the first $4 deliveries of a walk through the queue, up to $5 between the ids $2 and $3 of tenant $1 that are
-- in one of the states $6, whose type is like one of $7, whose last attempt got one of the status codes $8 or ended with one of
-- the errors $9, that had $10 attempts or more, and that one of $11 keeps from being sent though they are due; of subscriptions
-- $12. Null stands for any.
WITH walked AS MATERIALIZED ({walk}), cut AS MATERIALIZED (
    SELECT delivery_id AS id FROM walked WHERE place = $4
), reached AS MATERIALIZED (
    SELECT coalesce((SELECT id FROM cut ORDER BY id {direction} LIMIT 1), {end}::uuid) AS id
)
SELECT (SELECT count(*) FROM walked) AS rows_read, (SELECT count(*) FROM cut) AS sources_left,
       (SELECT id FROM reached) AS last, ARRAY(
    SELECT w.delivery_id FROM walked w
    WHERE w.tenant_id = $1 AND w.delivery_id > $2 AND w.delivery_id < $3
      AND w.delivery_id {within} (SELECT id FROM reached) AND w.attempt_count >= $10::integer
      AND ($12::uuid[] IS NULL OR w.subscription_id = ANY($12))
      AND CASE WHEN w.claim_token IS NOT NULL THEN 'in_flight' WHEN w.scheduled THEN 'scheduled' ELSE 'pending' END
          = ANY($6::text[])
      AND ($8::integer[] IS NULL OR w.last_status_code = ANY($8)) AND ($9::text[] IS NULL OR w.last_error_kind = ANY($9))
      AND ($7::text[] IS NULL OR EXISTS (
          SELECT FROM webhook_deliveries d WHERE d.id = w.delivery_id AND d.event_type LIKE ANY($7) OFFSET 0
      ))
      AND ($11::text[] IS NULL OR w.claim_token IS NULL AND w.due_at <= now() AND EXISTS (
          SELECT FROM subscriptions s
          LEFT JOIN subscription_health h ON h.subscription_id = s.id
          LEFT JOIN due_subscriptions t ON t.subscription_id = s.id
          WHERE s.id = w.subscription_id AND delivery_hold(s.status, s.destination, h.breaker, t.held_by) = ANY($11)
          OFFSET 0
      ))
    ORDER BY w.delivery_id {direction} LIMIT $5
) AS found

-- queue --
-- Walks the queue of all tenants.
SELECT *, row_number() OVER (ORDER BY delivery_id {direction}) AS place FROM (
    SELECT delivery_id, subscription_id, tenant_id, claim_token, scheduled, due_at, attempt_count, last_status_code,
           last_error_kind
    FROM delivery_queue
    WHERE delivery_id > $2 AND delivery_id < $3
    ORDER BY delivery_id {direction} LIMIT $4
) AS q

-- queue_of_subscriptions --
-- Reads that of subscriptions ($13) in no order, which tells something only if it is less than $4.
SELECT q.delivery_id, q.subscription_id, q.tenant_id, q.claim_token, q.scheduled, q.due_at, q.attempt_count,
       q.last_status_code, q.last_error_kind, 0 AS place
FROM unnest($13::uuid[]) AS owner (id)
CROSS JOIN LATERAL (
    SELECT * FROM delivery_queue
    WHERE (subscription_id, scheduled) >= (owner.id, false) AND (subscription_id, scheduled) <= (owner.id, true)
    LIMIT $4
) AS q
LIMIT $4

-- queue_of_events --
-- Walks that of events ($13), by the ranges ($14 and $15) that the ids of their deliveries are in, as history_of_events does.
SELECT *, row_number() OVER (ORDER BY delivery_id {direction}) AS place FROM (
    SELECT q.*
    FROM (SELECT * FROM unnest($14::uuid[], $15::uuid[]) AS r (least, most) ORDER BY least {direction}) AS range
    CROSS JOIN LATERAL (
        SELECT delivery_id, subscription_id, tenant_id, claim_token, scheduled, due_at, attempt_count, last_status_code,
               last_error_kind
        FROM delivery_queue
        WHERE delivery_id BETWEEN range.least AND range.most AND delivery_id > $2 AND delivery_id < $3
          AND event_id = ANY($13::uuid[])
        ORDER BY delivery_id {direction} LIMIT $4
    ) AS q
    LIMIT $4
) AS listed

-- queue_of_tags --
-- Walks that of a tenant's events with one of the tags in the last parameter, as history_of_tags does.
SELECT *, row_number() OVER (ORDER BY delivery_id {direction}) AS place FROM (
    SELECT q.delivery_id, q.subscription_id, q.tenant_id, q.claim_token, q.scheduled, q.due_at, q.attempt_count,
           q.last_status_code, q.last_error_kind
    FROM ({tagged}) AS near
    CROSS JOIN LATERAL (
        (
            SELECT delivery_id, subscription_id, tenant_id, claim_token, scheduled, due_at, attempt_count, last_status_code,
                   last_error_kind
            FROM delivery_queue waiting
            WHERE delivery_id BETWEEN near.least AND near.greatest AND delivery_id > $2 AND delivery_id < $3
              AND EXISTS (SELECT FROM event_tags WHERE event_id = waiting.event_id AND tag = ANY({last}::text[]) OFFSET 0)
            ORDER BY delivery_id {direction} LIMIT $4
        )
        UNION ALL
        SELECT CASE '{direction}' WHEN 'ASC' THEN near.greatest ELSE near.least END, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM generate_series(1, near.events)
    ) AS q
    ORDER BY near.least {direction}, q.delivery_id {direction} LIMIT $4
) AS tagged
