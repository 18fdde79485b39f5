-- claim --
-- Claims pending deliveries ($1) under token $2 for $3 seconds, with all that sending them takes; payloads over $4 bytes are
-- left out. $5 and $6 bound the ids of their events. It writes no column that is indexed. SKIP LOCKED keeps overlapping
-- doorbells from waiting for each other. Every row is found by an array of ids or by a lateral look-up: a join could be
-- planned as a product while the tables are small. It does not wait until the claim is on disk: one that a crash of Postgres
-- undoes leaves a pending delivery, and attempts made under it are recorded as those of any claim that was lost.
WITH free AS (
    SELECT delivery_id FROM delivery_queue
    WHERE delivery_id = ANY($1::uuid[]) AND claim_token IS NULL AND scheduled IS NOT TRUE
    ORDER BY delivery_id
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE delivery_queue q
    SET claim_token = $2, lease_until = now() + make_interval(secs => $3)
    WHERE q.delivery_id = ANY(ARRAY(SELECT delivery_id FROM free))
      AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
    RETURNING q.delivery_id AS id, q.event_id, q.subscription_id, q.tenant_id, q.attempt_count, q.failure_count,
              q.created_at, q.expires_at <= now() AS expired
)
SELECT c.*, now() AS claimed_at, s.target_url, s.endpoint_version, s.sealed_secrets, s.deleted_at IS NOT NULL AS deleted,
       s.timeout_seconds, s.retry_policy, s.sealed_headers, s.sealed_client_certificate, s.relay_headers,
       CASE WHEN s.template IS NOT NULL OR s.event_versions IS NOT NULL THEN s.version END AS template_version,
       CASE WHEN s.status <> 'active' THEN s.status WHEN s.destination = 'pull' THEN 'pull'
            WHEN h.breaker = 'open' OR h.breaker = 'half_open' AND h.probe_delivery_id IS DISTINCT FROM c.id
            THEN 'breaker_open' END AS held_by,
       coalesce(h.breaker = 'half_open' AND h.probe_delivery_id = c.id, false) AS probe,
       h.failing_since IS NOT NULL AS failing,
       e.event_type, e.content_type, e.content_encoding, e.traceparent, e.sender_context,
       octet_length(e.payload) AS payload_bytes,
       CASE WHEN octet_length(e.payload) <= $4 THEN e.payload END AS payload,
       e.id IS NOT NULL AND e.payload IS NULL AS erased
FROM claimed c
CROSS JOIN LATERAL (SELECT * FROM subscriptions WHERE id = c.subscription_id OFFSET 0) AS s
LEFT JOIN LATERAL (SELECT * FROM subscription_health WHERE subscription_id = c.subscription_id OFFSET 0) AS h ON true
LEFT JOIN LATERAL (SELECT * FROM webhook_events WHERE id = c.event_id AND id BETWEEN $5 AND $6 OFFSET 0) AS e ON true

-- select_payload --
-- Reads a payload that was too large to come with its claim.
SELECT payload FROM webhook_events WHERE id = $1

-- renew --
-- Renews the leases of claims that are still held ($1 ids, $2 tokens) for $3 seconds. As with claims, a crash may undo it.
WITH locked AS (
    SELECT delivery_id FROM delivery_queue
    WHERE delivery_id = ANY($1::uuid[]) AND claim_token IS NOT NULL
    ORDER BY delivery_id
    FOR UPDATE
)
UPDATE delivery_queue q
SET lease_until = now() + make_interval(secs => $3)
FROM unnest($1::uuid[], $2::uuid[]) AS held (id, claim_token)
WHERE (SELECT count(*) FROM locked) > 0 AND q.delivery_id = held.id AND q.delivery_id = ANY($1::uuid[])
  AND q.claim_token = held.claim_token AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
RETURNING q.delivery_id AS id

-- record --
-- Records what claims that are still held make of their deliveries ($1 to $7), and their attempts ($8 to $18, $21, $22). A
-- delivery is changed only by the holder of its claim token. $3: its state; $4: seconds until the dispatcher checks it;
-- $5: failures to add; $6: reason; $7: attempts made. A retry that would come after the delivery expires makes it failed
-- instead. $9: the request of its claim that an attempt is; its number continues those of the delivery.
-- Rows are locked in one order everywhere, so that batches do not deadlock: $1 is in the order of the ids. What ends leaves
-- the queue, and only then history is written ($19 and $20: least and greatest id). Rows are found by lateral look-ups and by
-- arrays of ids, in which the place of a row tells what it gets: a join could be planned as a product while the tables are
-- small. What failed for good is noted for the tenant's system subscription, if there is one. A retry gives its subscription
-- a turn when it is due, unless there is one before; what takes its old place in the queue, which the dispatcher has passed,
-- gives one now. What is not delivered keeps the outcome of its last attempt: the attempts of a delivery are neighbors in $8.
-- Returns the deliveries that were changed and their new state.
WITH changed AS (
    SELECT o.id, q.event_id, q.subscription_id, q.tenant_id, o.claim_token, o.attempts,
           q.attempt_count + o.attempts AS attempt_count, q.due_at, q.last_status_code, q.last_error_kind, q.actor,
           CASE WHEN q.expired THEN 'failed' ELSE o.status END AS status,
           CASE WHEN q.expired THEN 'expired' ELSE o.reason END AS reason
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::float8[], $5::int[], $6::text[], $7::int[])
        AS o (id, claim_token, status, delay_seconds, failures, reason, attempts)
    CROSS JOIN LATERAL (
        SELECT event_id, subscription_id, tenant_id, attempt_count, last_status_code, last_error_kind, actor,
               now() + make_interval(secs => o.delay_seconds) AS due_at,
               o.status = 'scheduled' AND now() + make_interval(secs => o.delay_seconds) >= expires_at AS expired
        FROM delivery_queue
        WHERE delivery_id = o.id AND claim_token = o.claim_token
        FOR UPDATE
    ) AS q
), ended AS (
    SELECT * FROM changed WHERE status IN ('delivered', 'failed', 'cancelled')
), continued AS (
    SELECT * FROM changed WHERE status IN ('pending', 'scheduled')
), removed AS (
    DELETE FROM delivery_queue WHERE delivery_id = ANY(ARRAY(SELECT id FROM ended))
), kept AS (
    UPDATE delivery_queue q
    SET scheduled = ($3::text[])[array_position($1, q.delivery_id)] = 'scheduled',
        due_at = now() + make_interval(secs => ($4::float8[])[array_position($1, q.delivery_id)]),
        claim_token = NULL, lease_until = NULL,
        actor = CASE WHEN ($7::int[])[array_position($1, q.delivery_id)] = 0 THEN q.actor END,
        failure_count = q.failure_count + ($5::int[])[array_position($1, q.delivery_id)],
        attempt_count = q.attempt_count + ($7::int[])[array_position($1, q.delivery_id)],
        last_status_code = CASE WHEN array_position($8, q.delivery_id) IS NULL THEN q.last_status_code ELSE
            ($14::smallint[])[array_position($8, q.delivery_id) + ($7::int[])[array_position($1, q.delivery_id)] - 1] END,
        last_error_kind = CASE WHEN array_position($8, q.delivery_id) IS NULL THEN q.last_error_kind ELSE
            ($15::text[])[array_position($8, q.delivery_id) + ($7::int[])[array_position($1, q.delivery_id)] - 1] END
    WHERE q.delivery_id = ANY(ARRAY(SELECT id FROM continued))
), finished AS (
    UPDATE webhook_deliveries d
    SET status = e.statuses[array_position(e.ids, d.id)], reason = e.reasons[array_position(e.ids, d.id)],
        completed_at = now(), attempt_count = e.attempt_counts[array_position(e.ids, d.id)]
    FROM (
        SELECT array_agg(id) AS ids, array_agg(status::delivery_status) AS statuses, array_agg(reason) AS reasons,
               array_agg(attempt_count) AS attempt_counts
        FROM ended
    ) AS e
    WHERE d.id = ANY($1::uuid[]) AND d.id BETWEEN $19 AND $20 AND d.id = ANY(e.ids)
), unsuccessful AS (
    INSERT INTO unsuccessful_deliveries (id, subscription_id, status, tenant_id, attempt_count, last_status_code,
                                         last_error_kind)
    SELECT id, subscription_id, status::delivery_status, tenant_id, attempt_count,
           CASE WHEN attempts = 0 THEN last_status_code ELSE ($14::smallint[])[array_position($8, id) + attempts - 1] END,
           CASE WHEN attempts = 0 THEN last_error_kind ELSE ($15::text[])[array_position($8, id) + attempts - 1] END
    FROM ended WHERE status <> 'delivered'
    ON CONFLICT DO NOTHING
), exhausted AS (
    INSERT INTO operational_facts (tenant_id, subscription_id, event_type, reason, last_error, deliveries,
                                   last_delivery_id, last_event_id, last_attempts)
    SELECT e.tenant_id, e.subscription_id, 'delivery.exhausted', (array_agg(e.reason ORDER BY e.id DESC))[1],
           (array_agg(a.error_message ORDER BY e.id DESC))[1], count(*), (array_agg(e.id ORDER BY e.id DESC))[1],
           (array_agg(e.event_id ORDER BY e.id DESC))[1], (array_agg(e.attempt_count ORDER BY e.id DESC))[1]
    FROM ended e
    JOIN system_subscriptions y ON y.tenant_id = e.tenant_id AND y.id <> e.subscription_id
    LEFT JOIN unnest($8::uuid[], $16::text[], $18::bool[]) AS a (delivery_id, error_message, is_last)
        ON a.delivery_id = e.id AND a.is_last
    WHERE e.status = 'failed'
    GROUP BY e.tenant_id, e.subscription_id
), unattempted AS (
    INSERT INTO unattempted_ends (tenant_id, subscription_id, event_type, status, deliveries)
    SELECT e.tenant_id, e.subscription_id, d.event_type, e.status::delivery_status, count(*)
    FROM ended e CROSS JOIN LATERAL (
        SELECT event_type FROM webhook_deliveries WHERE id = e.id AND id BETWEEN $19 AND $20 OFFSET 0
    ) AS d
    WHERE e.attempts = 0 AND e.status <> 'delivered'
    GROUP BY e.tenant_id, e.subscription_id, d.event_type, e.status
), recorded AS (
    INSERT INTO delivery_attempts (delivery_id, claim_token, request, number, subscription_id, tenant_id, started_at,
                                   duration_ms, status_code, outcome, error_message, response_body, event_type,
                                   details, actor, final)
    SELECT a.delivery_id, changed.claim_token, a.request, changed.attempt_count - changed.attempts + a.request,
           a.subscription_id, a.tenant_id, a.started_at, a.duration_ms, a.status_code, a.outcome, a.error_message,
           a.response_body, a.event_type, a.details, changed.actor,
           a.is_last AND changed.status IN ('delivered', 'failed', 'cancelled')
    FROM unnest($8::uuid[], $9::smallint[], $10::uuid[], $11::text[], $12::timestamptz[], $13::int[],
                $14::smallint[], $15::text[], $16::text[], $17::text[], $18::bool[], $21::text[], $22::text[])
        AS a (delivery_id, request, subscription_id, tenant_id, started_at, duration_ms,
              status_code, outcome, error_message, response_body, is_last, event_type, details)
    JOIN changed ON changed.id = a.delivery_id
), due AS (
    INSERT INTO due_subscriptions (subscription_id, tenant_id, turn_at, due_from)
    SELECT c.subscription_id, c.tenant_id, greatest(c.due_at, now()), c.due_at
    FROM (
        SELECT subscription_id, min(tenant_id) AS tenant_id, min(due_at) AS due_at
        FROM continued GROUP BY subscription_id
    ) AS c
    WHERE c.due_at < now() OR (
        SELECT d.due_from FROM due_subscriptions d WHERE d.subscription_id = c.subscription_id AND d.due_from <= c.due_at
    ) IS NULL
    ORDER BY c.subscription_id
    ON CONFLICT (subscription_id) DO UPDATE
    SET turn_at = CASE WHEN excluded.due_from < now() THEN excluded.turn_at
                       WHEN due_subscriptions.due_from > now() THEN least(due_subscriptions.turn_at, excluded.turn_at)
                       ELSE due_subscriptions.turn_at END,
        due_from = least(due_subscriptions.due_from, excluded.due_from)
)
SELECT id, status FROM changed

-- lock_late --
-- Locks the unfinished ones of the deliveries $1, in the order of every batch.
SELECT delivery_id AS id, attempt_count FROM delivery_queue
WHERE delivery_id = ANY($1::uuid[])
ORDER BY delivery_id
FOR UPDATE

-- lock_late_ended --
-- Locks deliveries ($1; $2 and $3: least and greatest id) that are not in the queue, in the order of every batch.
SELECT id, attempt_count, status = 'pending' AS queued_again FROM webhook_deliveries
WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3
ORDER BY id
FOR UPDATE

-- select_attempts_of_claims --
-- Reads the attempts of deliveries ($1; $2 and $3: least and greatest id) that were recorded under the claims $4.
SELECT delivery_id, claim_token, request, number, outcome, final FROM delivery_attempts
WHERE delivery_id = ANY($1::uuid[]) AND delivery_id BETWEEN $2 AND $3 AND claim_token = ANY($4::uuid[])

-- record_late --
-- Records attempts of claims that were lost: new ones, and the true outcome of those that were taken for interrupted. Of an
-- event ($16) that was erased it keeps nothing that was sent or answered.
INSERT INTO delivery_attempts (delivery_id, claim_token, request, number, subscription_id, tenant_id, started_at,
                               duration_ms, status_code, outcome, error_message, response_body, final, event_type,
                               details)
SELECT a.delivery_id, a.claim_token, a.request, a.number, a.subscription_id, a.tenant_id, a.started_at, a.duration_ms,
       a.status_code, a.outcome, CASE WHEN NOT e.erased THEN a.error_message END, CASE WHEN NOT e.erased THEN a.response_body END,
       a.final, a.event_type, CASE WHEN NOT e.erased THEN a.details END
FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::int[], $5::uuid[], $6::text[], $7::timestamptz[], $8::int[],
            $9::smallint[], $10::text[], $11::text[], $12::text[], $13::bool[], $14::text[], $15::text[], $16::uuid[])
    AS a (delivery_id, claim_token, request, number, subscription_id, tenant_id, started_at, duration_ms, status_code, outcome,
          error_message, response_body, final, event_type, details, event_id)
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT FROM webhook_events WHERE id = a.event_id AND payload IS NULL OFFSET 0) AS erased
) AS e
ON CONFLICT (delivery_id, claim_token, request) DO UPDATE
SET started_at = excluded.started_at, recorded_at = now(), duration_ms = excluded.duration_ms,
    status_code = excluded.status_code, outcome = excluded.outcome, error_message = excluded.error_message,
    response_body = excluded.response_body, final = excluded.final, event_type = excluded.event_type,
    details = excluded.details

-- settle_late --
-- Counts late attempts ($2) of locked deliveries ($1; $7 and $8: least and greatest id), in the queue or, of those that have
-- ended, in history; and ends as delivered the unfinished ones that one of them delivered ($3). Where one of them is the last
-- attempt ($4), what it got ($5 and $6) is what the delivery's last attempt got.
WITH late AS (
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::bool[], $4::bool[], $5::smallint[], $6::text[])
        AS l (id, attempts, delivered, is_last, status_code, error_kind)
), ended AS (
    DELETE FROM delivery_queue q
    USING late
    WHERE late.delivered AND q.delivery_id = late.id AND q.delivery_id = ANY($1::uuid[])
    RETURNING q.delivery_id AS id, q.attempt_count + late.attempts AS attempt_count
), counted AS (
    UPDATE delivery_queue q
    SET attempt_count = q.attempt_count + late.attempts,
        last_status_code = CASE WHEN late.is_last THEN late.status_code ELSE q.last_status_code END,
        last_error_kind = CASE WHEN late.is_last THEN late.error_kind ELSE q.last_error_kind END
    FROM late
    WHERE NOT late.delivered AND q.delivery_id = late.id AND q.delivery_id = ANY($1::uuid[])
), finished AS (
    UPDATE webhook_deliveries d
    SET status = 'delivered', reason = NULL, completed_at = now(), attempt_count = e.attempt_count
    FROM ended e
    WHERE d.id = e.id AND d.id BETWEEN $7 AND $8
), listed AS (
    UPDATE unsuccessful_deliveries u
    SET attempt_count = u.attempt_count + late.attempts,
        last_status_code = CASE WHEN late.is_last THEN late.status_code ELSE u.last_status_code END,
        last_error_kind = CASE WHEN late.is_last THEN late.error_kind ELSE u.last_error_kind END
    FROM late CROSS JOIN LATERAL (
        SELECT subscription_id, status FROM webhook_deliveries WHERE id = late.id AND id BETWEEN $7 AND $8 OFFSET 0
    ) AS d
    WHERE u.subscription_id = d.subscription_id AND u.status = d.status AND u.id = late.id AND u.id BETWEEN $7 AND $8
)
UPDATE webhook_deliveries d
SET attempt_count = d.attempt_count + late.attempts
FROM late
WHERE d.id = late.id AND d.id BETWEEN $7 AND $8 AND d.status <> 'pending'

-- lock_endpoints --
-- Locks those of the subscriptions $1 that are there and whose endpoint is still the one of version $2: what was seen of an
-- earlier one does not count. None of them changes before the transaction ends.
SELECT s.id
FROM subscriptions s
JOIN unnest($1::uuid[], $2::int[]) AS seen (id, endpoint_version)
  ON seen.id = s.id AND seen.endpoint_version = s.endpoint_version
WHERE s.deleted_at IS NULL
ORDER BY s.id
FOR SHARE OF s

-- select_endpoint_versions --
-- Reads which endpoint subscriptions ($1) have now.
SELECT id, endpoint_version FROM subscriptions WHERE id = ANY($1::uuid[])

-- insert_health --
-- Makes rows for locked subscriptions ($1) that had none.
INSERT INTO subscription_health (subscription_id)
SELECT id FROM unnest($1::uuid[]) AS seen (id)
ORDER BY id
ON CONFLICT (subscription_id) DO NOTHING

-- lock_health --
-- Locks the rows of subscriptions ($1), in one order everywhere.
SELECT subscription_id, breaker FROM subscription_health
WHERE subscription_id = ANY($1::uuid[])
ORDER BY subscription_id
FOR UPDATE

-- record_health --
-- Adds what a worker saw ($1 to $7: subscription, successes, failures, failures after the last success, what became of
-- the probe, why there were too many failures, the last error) to locked rows, and moves their breakers. $8: failures in
-- a row that open one; $9 and $10: the first cool-down and the longest, in seconds. A breaker that was closed for less
-- than the longest cool-down goes on where it was, so that one that flaps is opened for longer each time.
WITH seen AS (
    SELECT h.subscription_id, i.failures > 0 AND i.unbroken = i.failures AND i.successes = 0 AS only_failures,
           i.unbroken, i.last_error,
           CASE WHEN i.successes > 0 THEN i.unbroken ELSE h.consecutive_failures + i.failures END AS in_a_row,
           CASE WHEN i.probe = 'success' THEN 'closed'
                WHEN i.probe = 'failure' AND h.breaker = 'half_open' THEN 'open'
                WHEN h.breaker = 'closed' AND i.too_many IS NOT NULL THEN 'open'
                WHEN h.breaker = 'closed' AND i.unbroken > 0
                     AND CASE WHEN i.successes > 0 THEN i.unbroken ELSE h.consecutive_failures + i.failures END >= $8
                THEN 'open'
                ELSE h.breaker END AS breaker,
           i.too_many,
           CASE WHEN h.breaker = 'closed' AND h.breaker_since < now() - make_interval(secs => $10) THEN 1
                ELSE h.openings + 1 END AS openings
    FROM unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::text[], $6::text[], $7::text[])
        AS i (subscription_id, successes, failures, unbroken, probe, too_many, last_error)
    JOIN subscription_health h ON h.subscription_id = i.subscription_id
)
UPDATE subscription_health h
SET breaker = seen.breaker,
    breaker_since = CASE WHEN seen.breaker = h.breaker THEN h.breaker_since ELSE now() END,
    breaker_reason = CASE WHEN seen.breaker = h.breaker THEN h.breaker_reason
                          WHEN seen.breaker = 'open'
                          THEN coalesce(seen.too_many, CASE WHEN h.breaker = 'half_open' THEN 'the probe failed'
                                                            ELSE seen.in_a_row || ' failures in a row' END)
                               || '; the last: ' || seen.last_error END,
    openings = CASE WHEN seen.breaker = 'open' AND h.breaker <> 'open' THEN seen.openings ELSE h.openings END,
    probe_at = CASE WHEN seen.breaker = h.breaker THEN h.probe_at
                    WHEN seen.breaker = 'open'
                    THEN now() + make_interval(secs => least($10, $9 * 2 ^ least(30, seen.openings - 1))
                                                       * (0.9 + 0.2 * random())) END,
    probe_delivery_id = CASE WHEN seen.breaker = h.breaker THEN h.probe_delivery_id END,
    consecutive_failures = seen.in_a_row,
    failing_since = CASE WHEN seen.unbroken = 0 THEN NULL
                         WHEN seen.only_failures THEN coalesce(h.failing_since, now()) ELSE now() END
FROM seen
WHERE h.subscription_id = seen.subscription_id
RETURNING h.subscription_id, h.breaker, h.breaker_reason, h.probe_at, h.consecutive_failures,
    now() - h.failing_since AS failing_for

-- disable --
-- Disables subscriptions ($1) for the reasons $2, unless they are, or their endpoint is no longer the one of version $3;
-- returns those that were disabled by this call, and what they were before. They are locked in one order everywhere.
WITH before AS (
    SELECT s.id, s.status
    FROM subscriptions s
    JOIN unnest($1::uuid[], $3::int[]) AS seen (id, endpoint_version)
      ON seen.id = s.id AND seen.endpoint_version = s.endpoint_version
    WHERE s.status <> 'disabled' AND s.deleted_at IS NULL
    ORDER BY s.id
    FOR UPDATE OF s
)
UPDATE subscriptions s
SET status = 'disabled', status_reason = i.reason, status_since = now(), version = version + 1,
    updated_at = statement_timestamp()
FROM unnest($1::uuid[], $2::text[]) AS i (subscription_id, reason) JOIN before ON before.id = i.subscription_id
WHERE s.id = i.subscription_id
RETURNING s.id, s.tenant_id, s.version, s.status_reason, before.status AS status_before

-- take_checks --
-- Takes the first due check of each tenant but $1, $2 at most, in hand for $3 seconds (until `until`). Returns what is sent to
-- their targets, how many challenges each was sent with this one, and whether its subscription still needs it. One whose
-- end was not noted after $4 challenges is not taken again before somebody asks (`lost`).
WITH RECURSIVE tenant AS (
    (SELECT tenant_id FROM endpoint_checks WHERE due_at IS NOT NULL ORDER BY tenant_id LIMIT 1)
    UNION ALL
    SELECT next.tenant_id FROM tenant CROSS JOIN LATERAL (
        SELECT c.tenant_id FROM endpoint_checks c
        WHERE c.due_at IS NOT NULL AND c.tenant_id > tenant.tenant_id ORDER BY c.tenant_id LIMIT 1
    ) AS next
), due AS MATERIALIZED (
    SELECT first.subscription_id, EXISTS (
        SELECT FROM subscriptions s
        WHERE s.id = first.subscription_id AND s.status = 'unverified' AND s.deleted_at IS NULL
    ) AS needed
    FROM tenant CROSS JOIN LATERAL (
        SELECT c.subscription_id, c.due_at FROM endpoint_checks c
        WHERE c.tenant_id = tenant.tenant_id AND c.due_at <= now()
        ORDER BY c.due_at LIMIT 1 FOR UPDATE SKIP LOCKED
    ) AS first
    WHERE tenant.tenant_id <> ALL($1::text[])
    ORDER BY first.due_at LIMIT $2
), taken AS (
    UPDATE endpoint_checks c
    SET due_at = CASE WHEN c.sent < $4 OR NOT due.needed THEN now() + make_interval(secs => $3) END,
        sent = least(c.sent + 1, $4),
        error = CASE WHEN c.sent < $4 THEN c.error ELSE coalesce(c.error, 'the end of the last check was not noted') END
    FROM due WHERE c.subscription_id = due.subscription_id
    RETURNING c.subscription_id, c.sent, c.due_at, due.needed
)
SELECT now() AS now, t.needed, t.due_at AS until, t.due_at IS NULL AS lost, t.sent, t.subscription_id AS id, s.tenant_id,
       s.target_url, s.endpoint_version, s.timeout_seconds, s.sealed_secrets, s.sealed_headers, s.sealed_client_certificate,
       s.rate_limit_per_second
FROM taken t LEFT JOIN subscriptions s ON s.id = t.subscription_id

-- forget_checks --
-- Deletes the checks of these subscriptions ($1), which were taken until $2 and not needed, unless somebody asked meanwhile.
DELETE FROM endpoint_checks c
WHERE c.subscription_id = ANY($1::uuid[]) AND c.due_at = $2 AND NOT EXISTS (
    SELECT FROM subscriptions s
    WHERE s.id = c.subscription_id AND s.status = 'unverified' AND s.deleted_at IS NULL
)

-- verify --
-- Makes a subscription ($1) active if it is unverified and its target still the one of version $2. Returns its version.
WITH verified AS (
    UPDATE subscriptions
    SET status = 'active', status_since = now(), verified = true, version = version + 1,
        updated_at = statement_timestamp()
    WHERE id = $1 AND endpoint_version = $2 AND status = 'unverified' AND deleted_at IS NULL
    RETURNING id, version
), ended AS (
    DELETE FROM endpoint_checks WHERE subscription_id IN (SELECT id FROM verified)
)
SELECT version FROM verified

-- put_check --
-- Notes why a target ($1) is not verified ($4), and has it checked again in $3 seconds (null: when somebody asks), unless
-- somebody asked since this challenge ($2).
UPDATE endpoint_checks SET due_at = now() + make_interval(secs => $3), error = $4 WHERE subscription_id = $1 AND sent = $2

-- put_off_check --
-- Puts a check ($1) for which nothing was sent off for $3 seconds, unless somebody asked since ($2).
UPDATE endpoint_checks SET due_at = now() + make_interval(secs => $3), sent = sent - 1
WHERE subscription_id = $1 AND sent = $2

-- take_tests --
-- Takes up to $2 test events in hand that were asked for within $3 seconds, of all tenants but $1, and returns what is sent to
-- their targets, and whether it may be: with $5, only to one that has answered a challenge, or gets deliveries. Deletes those
-- that are older than $4 seconds, whose callers have their answer. One of a subscription that is not created brings what it takes.
WITH answered AS (
    DELETE FROM endpoint_tests WHERE asked_at < now() - make_interval(secs => $4)
), due AS MATERIALIZED (
    SELECT id FROM endpoint_tests
    WHERE taken_at IS NULL AND asked_at > now() - make_interval(secs => $3) AND tenant_id <> ALL($1::text[])
    ORDER BY asked_at LIMIT $2 FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE endpoint_tests t SET taken_at = now() FROM due WHERE t.id = due.id RETURNING t.*
)
SELECT now() AS now, t.id AS message_id, s.id, s.tenant_id, s.target_url, s.endpoint_version, s.timeout_seconds,
       s.sealed_secrets, s.sealed_headers, s.sealed_client_certificate,
       CASE WHEN s.template IS NOT NULL THEN s.version END AS template_version,
       s.status <> 'unverified' AND (s.status = 'active' OR s.verified OR NOT $5) AS may_be_sent
FROM taken t JOIN subscriptions s ON s.id = t.subscription_id
UNION ALL
SELECT now(), t.id, t.id, t.tenant_id, t.target_url, 1, t.timeout_seconds, t.sealed_secrets, t.sealed_headers,
       t.sealed_client_certificate, CASE WHEN t.template IS NOT NULL THEN 1 END, NOT $5
FROM taken t WHERE t.subscription_id = t.id

-- put_back_test --
-- Puts a test event ($1) back for another worker, because this one has no room.
UPDATE endpoint_tests SET taken_at = NULL WHERE id = $1

-- record_test --
-- Notes how a test event ($1) ended ($2 to $8), and forgets the secrets that it brought.
UPDATE endpoint_tests
SET started_at = $2, duration_ms = $3, status_code = $4, outcome = $5, error_message = $6, response_body = $7, details = $8,
    template = NULL, sealed_secrets = NULL, sealed_headers = NULL, sealed_client_certificate = NULL,
    sealed_template_secrets = NULL
WHERE id = $1

-- keep_worker --
-- Says that a worker is there, and counts all that there are.
WITH kept AS (
    INSERT INTO workers (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET seen_at = now()
)
SELECT 1 + count(*) FROM workers WHERE id <> $1 AND seen_at > now() - interval '15 seconds'

-- remove_worker --
-- Says that a worker is gone.
DELETE FROM workers WHERE id = $1
