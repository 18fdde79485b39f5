-- select_now --
-- Reads the time of the database.
SELECT now()

-- lock_jobs_of_tenant --
-- Lets one job of a tenant be created at a time, until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('webhook:jobs:' || $1::text, 0))

-- select_unfinished --
-- Reads how many jobs of tenant $1 have not ended, and one of those of kind $2 that touches one of the subscriptions $3; no
-- subscription stands for all.
SELECT count(*) AS unfinished,
       (array_agg(id) FILTER (WHERE kind = $2 AND (cardinality(subscriptions) = 0 OR cardinality($3::uuid[]) = 0
                                                   OR subscriptions && $3)))[1] AS conflicting
FROM jobs WHERE tenant_id = $1 AND status IN ('queued', 'running', 'paused')

-- insert_job --
-- Creates a job.
INSERT INTO jobs (id, tenant_id, kind, filter, subscriptions, rate_per_second, created_by, frozen_at, matched, matched_exact,
                  to_subscription_id, only_events)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
RETURNING *, now() AS now

-- insert_preview --
-- Keeps a preview for $8 seconds.
INSERT INTO job_previews (token_hash, tenant_id, kind, filter, frozen_at, matched, matched_exact, expires_at,
                          to_subscription_id, only_events)
VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8), $9, $10)
RETURNING expires_at

-- take_preview --
-- Takes a preview of tenant $2, so that its token starts one job.
DELETE FROM job_previews WHERE token_hash = $1 AND tenant_id = $2 AND expires_at > now()
RETURNING kind, filter, frozen_at, matched, matched_exact, to_subscription_id, only_events

-- forget_previews --
-- Removes up to $1 previews that have expired.
DELETE FROM job_previews
WHERE token_hash = ANY(ARRAY(SELECT token_hash FROM job_previews WHERE expires_at <= now() ORDER BY expires_at LIMIT $1))

-- forget_older_previews --
-- Removes the previews of tenant $1 but for the newest $2.
DELETE FROM job_previews
WHERE tenant_id = $1
  AND expires_at <= (SELECT expires_at FROM job_previews WHERE tenant_id = $1 ORDER BY expires_at DESC OFFSET $2 LIMIT 1)

-- forget_jobs --
-- Removes up to $3 jobs of tenant $1 that ended more than $2 days ago, and as many of those before its newest $4, once nothing
-- of theirs is waited for. Of the former it looks at none that was created since.
DELETE FROM jobs
WHERE id = ANY(ARRAY(
    SELECT id FROM jobs
    WHERE tenant_id = $1 AND id < uuid_of_day((now() - make_interval(days => $2))::date + 1)
      AND ended_at < now() - make_interval(days => $2)
    ORDER BY id LIMIT $3
) || ARRAY(
    SELECT id FROM jobs
    WHERE tenant_id = $1 AND id <= (SELECT id FROM jobs WHERE tenant_id = $1 ORDER BY id DESC OFFSET $4 LIMIT 1)
      AND ended_at IS NOT NULL AND NOT EXISTS (SELECT FROM job_chunks c WHERE c.job_id = jobs.id)
    ORDER BY id LIMIT $3
))

-- select_job --
-- Reads a job of a tenant.
SELECT *, now() AS now FROM jobs WHERE id = $1 AND tenant_id = $2

-- lock_job --
-- The same, to change it.
SELECT *, now() AS now FROM jobs WHERE id = $1 AND tenant_id = $2 FOR UPDATE

-- select_jobs --
-- Reads a page of a tenant's jobs, newest first; in any state if $3 is null.
SELECT *, now() AS now FROM jobs
WHERE tenant_id = $1 AND id < $2 AND ($3::text IS NULL OR status = $3)
ORDER BY id DESC LIMIT $4

-- select_all_jobs --
-- The same of all tenants.
SELECT *, now() AS now FROM jobs
WHERE id < $1 AND ($2::text IS NULL OR status = $2)
ORDER BY id DESC LIMIT $3

-- set_job_status --
-- Puts a locked job into state $2. One that goes on does so at once, and does not catch up.
UPDATE jobs
SET status = $2, error = NULL, due_at = now(), moved_at = CASE WHEN moved_at IS NOT NULL THEN now() END,
    ended_at = CASE WHEN $2 = 'cancelled' THEN now() END, window_at = NULL, window_from = NULL, next_window_at = NULL,
    next_window_from = NULL
WHERE id = $1
RETURNING *, now() AS now

-- lock_due_job --
-- Locks the job that is due and had its last chunk longest ago, unless another process has it. Jobs take turns: in the order of
-- due_at, those whose rate nobody can keep up with would come before all others.
SELECT *, now() AS now FROM jobs
WHERE status IN ('queued', 'running') AND due_at <= now()
ORDER BY moved_at NULLS FIRST, due_at LIMIT 1
FOR UPDATE SKIP LOCKED

-- move_job --
-- Records a chunk of a locked job: the place up to which it has looked ($2), what was done ($3 to $5: done, skipped, gone), its
-- state ($6) and error ($7), what it has matched ($8, and $9: whether this is exact), and the seconds that what was done takes
-- at its rate ($10), of which it catches up for at most a second. Its pace is measured from a time on that is $11 seconds ago
-- or longer, once it has worked for so long.
UPDATE jobs
SET at_delivery = $2, done = done + $3, skipped = skipped + $4, gone = gone + $5, status = $6, error = $7, matched = $8,
    matched_exact = $9, chunks = chunks + 1, started_at = coalesce(started_at, now()), moved_at = clock_timestamp(),
    due_at = greatest(due_at, now() - interval '1 second') + make_interval(secs => $10),
    ended_at = CASE WHEN $6 IN ('succeeded', 'failed') THEN clock_timestamp() END,
    window_at = CASE WHEN w.turns THEN coalesce(next_window_at, clock_timestamp()) ELSE window_at END,
    window_from = CASE WHEN w.turns THEN coalesce(next_window_from, w.looked_at) ELSE window_from END,
    next_window_at = CASE WHEN w.turns THEN clock_timestamp() ELSE next_window_at END,
    next_window_from = CASE WHEN w.turns THEN w.looked_at ELSE next_window_from END
FROM (
    SELECT id, next_window_at IS NULL OR next_window_at < now() - make_interval(secs => $11) AS turns,
           done + skipped + gone + $3 + $4 + $5 AS looked_at
    FROM jobs WHERE id = $1
) AS w
WHERE jobs.id = w.id

-- put_off_job --
-- Lets a job wait for $2 seconds and says why.
UPDATE jobs SET due_at = now() + make_interval(secs => $2), error = $3 WHERE id = $1 AND status IN ('queued', 'running')

-- insert_chunk --
-- Keeps what a chunk of a job has retried, to see what becomes of it.
INSERT INTO job_chunks (job_id, number, delivery_ids, look_at) VALUES ($1, $2, $3, now() + make_interval(secs => $4))

-- lock_chunk --
-- Locks the chunk that is to be looked at longest, unless another process has it.
SELECT job_id, number, delivery_ids, made_at FROM job_chunks
WHERE look_at <= now()
ORDER BY look_at LIMIT 1
FOR UPDATE SKIP LOCKED

-- select_outcomes --
-- Reads how many of deliveries ($1; $2 and $3: least and greatest id) were delivered, and which have not ended.
SELECT count(*) FILTER (WHERE status = 'delivered') AS delivered,
       coalesce(array_agg(id ORDER BY id) FILTER (WHERE status = 'pending'), '{}') AS waiting
FROM webhook_deliveries
WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3

-- keep_chunk --
-- Keeps what has not ended of a chunk ($3), and looks again after a quarter of its age, between $4 and $5 seconds.
UPDATE job_chunks
SET delivery_ids = $3,
    look_at = now() + least(greatest((now() - made_at) / 4, make_interval(secs => $4)), make_interval(secs => $5))
WHERE job_id = $1 AND number = $2

-- delete_chunk --
-- Forgets a chunk of which all has ended.
DELETE FROM job_chunks WHERE job_id = $1 AND number = $2

-- add_results --
-- Adds what has ended of a job: $2 delivered, $3 otherwise.
UPDATE jobs SET delivered = delivered + $2, failed = failed + $3 WHERE id = $1

-- select_next --
-- Reads in how many seconds a chunk of a job is due, or is to be looked at; null if there is none.
SELECT extract(epoch FROM least(
    (SELECT min(due_at) FROM jobs WHERE status IN ('queued', 'running')),
    (SELECT min(look_at) FROM job_chunks)
) - now())::float8

-- subscription_takes --
-- Whether tenant $2 has subscription $1, to which deliveries can be replayed.
SELECT EXISTS (SELECT FROM subscriptions WHERE id = $1 AND tenant_id = $2 AND deleted_at IS NULL AND kind = 'normal')

-- select_to_replay --
-- Reads deliveries of tenant $4 ($1; $2 and $3: least and greatest id) that were accepted by $5, with the subscription that
-- gets each again: $6, unless that is null. It must not be disabled or deleted. What is older than $7 is about to be removed,
-- unless it failed less than $8 ago.
SELECT d.id, d.event_id, s.id AS subscription_id, d.event_type, s.status = 'disabled' OR s.deleted_at IS NOT NULL AS blocked,
       (d.id >= $7 OR d.status = 'failed' AND d.completed_at > now() - $8::interval)
       AND EXISTS (SELECT FROM webhook_events e WHERE e.id = d.event_id AND e.payload IS NOT NULL) AS retained
FROM webhook_deliveries d
JOIN subscriptions s ON s.id = coalesce($6::uuid, d.subscription_id)
WHERE d.id = ANY($1::uuid[]) AND d.id BETWEEN $2 AND $3 AND d.tenant_id = $4 AND d.created_at <= $5
ORDER BY d.id

-- insert_replayed --
-- Stores new deliveries of a tenant ($5) of events that exist ($1 to $4: delivery, event, subscription, event type), which
-- expire in $6 hours, and whose first attempts $7 asks for; returns them.
WITH new AS (
    INSERT INTO webhook_deliveries (id, event_id, subscription_id, tenant_id, event_type)
    SELECT id, event_id, subscription_id, $5, event_type
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[]) AS d (id, event_id, subscription_id, event_type)
    ORDER BY id
    ON CONFLICT (id) DO NOTHING
    RETURNING id, event_id, subscription_id, tenant_id
), queued AS (
    INSERT INTO delivery_queue (delivery_id, event_id, subscription_id, tenant_id, due_at, expires_at, actor)
    SELECT id, event_id, subscription_id, tenant_id, now(), now() + make_interval(hours => $6), $7 FROM new
)
SELECT id FROM new

-- describe --
-- Counts deliveries ($1; $2 and $3: least and greatest id) by reason: how many there are, have no payload or are older than $4
-- and did not fail less than $6 ago, or cannot be sent, to subscription $5 if it is not null, and when the first and the last were accepted.
SELECT coalesce(d.reason, '') AS reason, count(*) AS deliveries, min(d.created_at) AS oldest_at, max(d.created_at) AS newest_at,
       count(*) FILTER (WHERE b.blocked) AS blocked, count(*) FILTER (WHERE NOT b.blocked AND g.gone) AS gone
FROM webhook_deliveries d
CROSS JOIN LATERAL (
    SELECT coalesce(bool_or(s.deleted_at IS NOT NULL OR s.status = 'disabled'), true) AS blocked
    FROM subscriptions s WHERE s.id = coalesce($5::uuid, d.subscription_id)
) AS b
CROSS JOIN LATERAL (
    SELECT d.id < $4 AND NOT (d.status = 'failed' AND d.completed_at > now() - $6::interval)
           OR NOT EXISTS (SELECT FROM webhook_events e WHERE e.id = d.event_id AND e.payload IS NOT NULL) AS gone
) AS g
WHERE d.id = ANY($1::uuid[]) AND d.id BETWEEN $2 AND $3
GROUP BY 1

-- select_samples --
-- Reads deliveries ($1; $2 and $3: least and greatest id).
SELECT id AS delivery_id, subscription_id, event_id, event_type, reason, created_at FROM webhook_deliveries
WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3
ORDER BY id

-- measure_jobs --
-- Counts the jobs that have not ended by kind and state, and reads for how many seconds the one of each that has stood still
-- longest did nothing though it could.
SELECT kind, status, count(*) AS jobs,
       max(CASE WHEN status <> 'paused'
                THEN extract(epoch FROM now() - coalesce(moved_at, created_at)) ELSE 0 END)::float8 AS still_seconds
FROM jobs WHERE status IN ('queued', 'running', 'paused')
GROUP BY kind, status

-- find_erasable --
-- Finds, among the first $4 events of a walk between the ids $2 and $3, up to $5 of tenant $1 that are not erased, whose type is
-- like one of $6 (null stands for any), and that were accepted by $7.
WITH walked AS MATERIALIZED ({walk}), cut AS MATERIALIZED (
    SELECT id FROM walked WHERE place = $4
), reached AS MATERIALIZED (
    SELECT coalesce((SELECT id FROM cut ORDER BY id {direction} LIMIT 1), {end}::uuid) AS id
)
SELECT (SELECT count(*) FROM walked) AS rows_read, (SELECT count(*) FROM cut) AS sources_left,
       (SELECT id FROM reached) AS last, ARRAY(
    SELECT w.id FROM walked w
    WHERE w.tenant_id = $1 AND w.id {within} (SELECT id FROM reached) AND w.erased_at IS NULL AND w.created_at <= $7
      AND ($6::text[] IS NULL OR w.event_type LIKE ANY($6))
    ORDER BY w.id {direction} LIMIT $5
) AS found

-- events --
-- Walks the events of all tenants.
SELECT *, row_number() OVER (ORDER BY id {direction}) AS place FROM (
    SELECT id, tenant_id, event_type, coalesce(accepted_at, created_at) AS created_at, erased_at FROM webhook_events
    WHERE id > $2 AND id < $3
    ORDER BY id {direction} LIMIT $4
) AS e

-- named_events --
-- Walks certain ones ($8), of which some may not be there any more.
SELECT named.id, e.tenant_id, e.event_type, e.created_at, e.erased_at, named.place
FROM (
    SELECT id, row_number() OVER (ORDER BY id {direction}) AS place
    FROM (
        SELECT id FROM unnest($8::uuid[]) AS asked (id) WHERE id > $2 AND id < $3 ORDER BY id {direction} LIMIT $4
    ) AS next
) AS named
LEFT JOIN LATERAL (
    SELECT tenant_id, event_type, coalesce(accepted_at, created_at) AS created_at, erased_at FROM webhook_events
    WHERE id = named.id OFFSET 0
) AS e ON true

-- tagged_events --
-- Walks those of a tenant ($1) that have one of the tags $8. Those that have several are there once.
SELECT *, row_number() OVER (ORDER BY id {direction}) AS place FROM (
    SELECT found.event_id AS id, e.tenant_id, e.event_type, coalesce(e.accepted_at, e.created_at) AS created_at, e.erased_at
    FROM (
        SELECT DISTINCT t.event_id
        FROM unnest($8::text[]) AS wanted (tag)
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

-- describe_events --
-- Reads when the first and the last of events ($1; $2 and $3: least and greatest id) were accepted.
SELECT min(created_at) AS oldest_at, max(created_at) AS newest_at FROM webhook_events
WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3

-- select_event_samples --
-- Reads events ($1; $2 and $3: least and greatest id), as samples of deliveries.
SELECT NULL::uuid AS delivery_id, NULL::uuid AS subscription_id, id AS event_id, event_type, NULL::text AS reason, created_at
FROM webhook_events
WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3
ORDER BY id

-- count_deliveries --
-- Counts the deliveries of each of the events $1, whose ids lie between $2 and $3, up to $4, and says which is to get more. In
-- this order.
SELECT e.id, EXISTS (SELECT FROM event_expansions x WHERE x.event_id = e.id) AS expanding,
       (SELECT count(*) FROM (
           SELECT FROM webhook_deliveries WHERE id BETWEEN e.least AND e.most AND event_id = e.id LIMIT $4
       ) AS few) AS deliveries
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) WITH ORDINALITY AS e (id, least, most, place)
ORDER BY e.place

-- erase_scheduled --
-- Deletes up to $8 scheduled events of tenant $1 that were accepted by $2, at $6 or later and before $7, are of types like $3,
-- have one of the tags $4, and are among $5; null stands for any. Returns their ids.
DELETE FROM scheduled_events
WHERE id = ANY(ARRAY(
    SELECT id FROM scheduled_events
    WHERE tenant_id = $1 AND accepted_at <= $2 AND ($3::text[] IS NULL OR event_type LIKE ANY($3))
      AND ($4::text[] IS NULL OR tags && $4) AND ($5::uuid[] IS NULL OR id = ANY($5))
      AND ($6::timestamptz IS NULL OR accepted_at >= $6) AND ($7::timestamptz IS NULL OR accepted_at < $7)
    ORDER BY tenant_id, id LIMIT $8
))
RETURNING id

-- erase_payloads --
-- Removes the payloads of events ($1; $2 and $3: least and greatest id), which get no more deliveries, with what their senders
-- said of them; returns how many bytes the payloads had. It waits for transactions that are making deliveries of one of them.
WITH before AS MATERIALIZED (
    SELECT id, octet_length(payload) AS bytes FROM webhook_events
    WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3 AND payload IS NOT NULL
    ORDER BY id
    FOR UPDATE
), expanding AS (
    DELETE FROM event_expansions WHERE event_id = ANY($1::uuid[])
), erased AS (
    UPDATE webhook_events SET payload = NULL, sender_context = NULL, converted = NULL
    WHERE id = ANY(ARRAY(SELECT id FROM before)) AND id BETWEEN $2 AND $3
)
SELECT id, bytes FROM before

-- find_of_events --
-- Finds the deliveries of events ($1, whose ids lie between $2 and $3) beyond $4, up to $5 of each.
SELECT d.id
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS e (id, least, most)
CROSS JOIN LATERAL (
    SELECT id FROM webhook_deliveries
    WHERE id BETWEEN e.least AND e.most AND id > $4 AND event_id = e.id
    ORDER BY id LIMIT $5
) AS d
ORDER BY d.id

-- lock_queue --
-- Locks the rows of deliveries ($1) in the queue, leased or not.
SELECT delivery_id FROM delivery_queue WHERE delivery_id = ANY($1::uuid[]) ORDER BY delivery_id FOR UPDATE

-- lock_history --
-- Locks deliveries ($1; $2 and $3: least and greatest id), so that nobody records a late attempt of them meanwhile.
SELECT id FROM webhook_deliveries WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3 ORDER BY id FOR UPDATE

-- erase_attempts --
-- Removes what was sent and answered from the attempts of deliveries ($1; $2 and $3: least and greatest id).
UPDATE delivery_attempts SET error_message = NULL, response_body = NULL, details = NULL
WHERE delivery_id = ANY($1::uuid[]) AND delivery_id BETWEEN $2 AND $3
  AND num_nonnulls(error_message, response_body, details) > 0

-- erase_hashes --
-- Removes the hashes of the requests that brought events ($1).
UPDATE idempotency_keys SET request_hash = '' WHERE object_id = ANY($1::uuid[]) AND request_hash <> ''

-- erase_findings --
-- Removes what was wrong with the last invalid event of each type of tenant $1 that is like one of $2, or of all if that is
-- null: it names members of a payload.
UPDATE invalid_events SET last_errors = '{}'
WHERE event_type_id = ANY(ARRAY(
    SELECT i.event_type_id FROM invalid_events i JOIN event_types t ON t.id = i.event_type_id
    WHERE t.tenant_id = $1 AND ($2::text[] IS NULL OR t.name LIKE ANY($2)) AND i.last_errors <> '{}'
    ORDER BY i.event_type_id
    FOR UPDATE OF i
))

-- erase_tags --
-- Removes the tags of events ($1; $2 and $3: least and greatest id), which may be of their payloads.
DELETE FROM event_tags WHERE event_id = ANY($1::uuid[]) AND event_id BETWEEN $2 AND $3

-- finish_erasing --
-- Notes that all that was kept of events ($1; $2 and $3: least and greatest id) is erased.
UPDATE webhook_events SET erased_at = now() WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3 AND erased_at IS NULL

-- release_bytes --
-- Takes bytes ($3) that a tenant ($1) no longer stores off the sums of days ($2), which are locked in the order of all.
WITH sums AS MATERIALIZED (
    SELECT day FROM tenant_storage WHERE tenant_id = $1 AND day = ANY($2::date[]) ORDER BY day FOR UPDATE
)
UPDATE tenant_storage s SET bytes = greatest(s.bytes - a.bytes, 0)
FROM unnest($2::date[], $3::bigint[]) AS a (day, bytes)
WHERE (SELECT count(*) FROM sums) > 0 AND s.tenant_id = $1 AND s.day = a.day

-- move_in_events --
-- Records the place of a locked job that walks through events: it is done with those up to $2, and with the deliveries of $3,
-- unless that is null, up to $4.
UPDATE jobs SET at_event = $2, in_event = $3, at_delivery = $4 WHERE id = $1

-- select_wanting --
-- Reads what subscription $1 of tenant $2 wants, and whether nothing is sent to it.
SELECT event_types, status = 'disabled' OR deleted_at IS NOT NULL AS blocked, filter_on_error,
       CASE WHEN filter_stopped_at IS NULL THEN filter END AS filter, filter_stopped_at IS NOT NULL AS filter_stopped
FROM subscriptions WHERE id = $1 AND tenant_id = $2

-- select_to_filter --
-- Reads what filters are about of an event ($1) that has its payload.
SELECT e.event_type, e.content_type, e.content_encoding, e.payload,
       ARRAY(SELECT tag FROM event_tags t WHERE t.event_id = e.id) AS tags
FROM webhook_events e WHERE e.id = $1 AND e.payload IS NOT NULL

-- find_wanted --
-- Finds, among the first $4 events of a walk between the ids $2 and $3, up to $5 of tenant $1 that subscription $8 wants: that
-- have no type, or one like one of $6, and one like one of $10 (null stands for any), that were not sent to another one alone,
-- that were accepted by $7, whose payload is there, and whose deliveries are not still being made. With $9, only those that
-- it has no delivery of.
WITH walked AS MATERIALIZED ({walk}), cut AS MATERIALIZED (
    SELECT id FROM walked WHERE place = $4
), reached AS MATERIALIZED (
    SELECT coalesce((SELECT id FROM cut ORDER BY id {direction} LIMIT 1), {end}::uuid) AS id
)
SELECT (SELECT count(*) FROM walked) AS rows_read, (SELECT count(*) FROM cut) AS sources_left,
       (SELECT id FROM reached) AS last, ARRAY(
    SELECT w.id FROM walked w
    WHERE w.tenant_id = $1 AND w.id {within} (SELECT id FROM reached)
      AND w.retained AND w.created_at <= $7 AND (w.addressed_to IS NULL OR w.addressed_to = $8)
      AND ($6::text[] IS NULL OR w.event_type IS NULL OR w.event_type LIKE ANY($6))
      AND ($10::text[] IS NULL OR w.event_type LIKE ANY($10))
      AND NOT EXISTS (SELECT FROM event_expansions x WHERE x.event_id = w.id OFFSET 0)
      AND NOT ($9 AND EXISTS (
          SELECT FROM webhook_deliveries d
          WHERE d.subscription_id = $8 AND d.event_id = w.id
            AND d.id BETWEEN (left(w.id::text, 18) || '-0000-000000000000')::uuid
                         AND (left(w.id::text, 18) || '-ffff-ffffffffffff')::uuid
          OFFSET 0
      ))
    ORDER BY w.id {direction} LIMIT $5
) AS found

-- events_to_send --
-- Walks the events of all tenants.
SELECT *, row_number() OVER (ORDER BY id {direction}) AS place FROM (
    SELECT id, tenant_id, event_type, created_at, addressed_to, payload IS NOT NULL AS retained FROM webhook_events
    WHERE id > $2 AND id < $3
    ORDER BY id {direction} LIMIT $4
) AS e

-- select_event_types --
-- Reads the types of events ($1; $2 and $3: least and greatest id).
SELECT id, event_type FROM webhook_events WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3 ORDER BY id
