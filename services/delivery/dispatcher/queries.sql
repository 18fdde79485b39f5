-- sweep --
-- Reads what became due from $1 on (null: in the last $3 seconds), at most $2 deliveries, and enters their subscriptions that
-- may be sent to, or that are deleted; one whose breaker is open for when a probe may be sent. What is in the list as it
-- should be is not written. Returns how many it read and the last due time, which of them are in flight, the subscriptions
-- that were in the list with since when something is due, for how long the breakers of others stay open, and, where it
-- read none, in how many seconds the next one becomes due.
WITH seen AS MATERIALIZED (
    SELECT delivery_id, subscription_id, tenant_id, due_at, claim_token IS NOT NULL AS claimed
    FROM delivery_queue
    WHERE due_at >= coalesce($1, now() - make_interval(secs => $3)) AND due_at <= now()
    ORDER BY due_at LIMIT $2
), found AS MATERIALIZED (
    SELECT f.*, d.due_from AS listed_from
    FROM (
        SELECT subscription_id, min(tenant_id) AS tenant_id, min(due_at) AS due_from
        FROM seen WHERE NOT claimed GROUP BY subscription_id
    ) AS f
    LEFT JOIN due_subscriptions d ON d.subscription_id = f.subscription_id
), missing AS MATERIALIZED (
    SELECT f.subscription_id, f.tenant_id, f.due_from, s.deleted_at IS NULL AND s.status = 'active' AS sends,
           CASE WHEN h.breaker <> 'closed' THEN greatest(h.probe_at, now()) ELSE now() END AS turn_at
    FROM found f
    LEFT JOIN subscriptions s ON s.id = f.subscription_id
    LEFT JOIN subscription_health h ON h.subscription_id = f.subscription_id
    WHERE (f.listed_from <= f.due_from) IS NOT TRUE
      AND coalesce(s.deleted_at IS NOT NULL OR s.status = 'active' AND s.destination = 'http', true)
), entered AS (
    INSERT INTO due_subscriptions (subscription_id, tenant_id, turn_at, due_from)
    SELECT subscription_id, tenant_id, turn_at, due_from FROM missing ORDER BY subscription_id
    ON CONFLICT (subscription_id) DO UPDATE
    SET due_from = excluded.due_from,
        turn_at = CASE WHEN due_subscriptions.due_from > now() THEN least(due_subscriptions.turn_at, excluded.turn_at)
                       ELSE due_subscriptions.turn_at END
    WHERE due_subscriptions.due_from > excluded.due_from
)
SELECT now() AS now, (SELECT count(*) FROM seen) AS deliveries, (SELECT max(due_at) FROM seen) AS last_due_at,
       (SELECT array_agg(delivery_id) FROM seen WHERE claimed) AS claimed,
       (SELECT array_agg(subscription_id ORDER BY subscription_id) FROM found WHERE listed_from IS NOT NULL) AS listed,
       (SELECT array_agg(due_from ORDER BY subscription_id) FROM found WHERE listed_from IS NOT NULL) AS due_from,
       (SELECT json_object_agg(subscription_id, extract(epoch FROM turn_at - now())::float8)
        FROM missing WHERE sends AND turn_at > now()) AS open_seconds,
       CASE WHEN NOT EXISTS (SELECT FROM seen)
            THEN (SELECT extract(epoch FROM due_at - now())::float8 FROM delivery_queue
                  WHERE due_at > now() ORDER BY due_at LIMIT 1) END AS next_seconds

-- check_queue --
-- Reads $3 deliveries of the queue in the order of their subscriptions from ($1, $2) on, and enters subscriptions that have
-- something due, may be sent to, or get a probe before the next pass, and were missed. Returns how far it came, how many it read, how many due ones are held by
-- what, those that may be sent to with since when something is due, what is in flight though it is due, and the last
-- subscription's hold with its due ones: it may have more.
WITH seen AS MATERIALIZED (
    SELECT delivery_id, subscription_id, tenant_id, scheduled, due_at, claim_token IS NOT NULL AS claimed
    FROM delivery_queue
    WHERE (subscription_id, scheduled) > ($1, $2)
    ORDER BY subscription_id, scheduled, due_at LIMIT $3
), runs AS (
    SELECT subscription_id, scheduled, min(tenant_id) AS tenant_id, count(*) AS deliveries, min(due_at) AS due_from
    FROM seen WHERE due_at <= now() AND NOT claimed
    GROUP BY subscription_id, scheduled
), found AS MATERIALIZED (
    SELECT r.*,
           CASE WHEN s.id IS NULL OR s.deleted_at IS NOT NULL THEN 'subscription_deleted'
                WHEN s.status <> 'active' THEN s.status WHEN s.destination = 'pull' THEN 'pull'
                WHEN h.breaker <> 'closed' AND (h.probe_at <= now()) IS NOT TRUE THEN 'breaker_open' END AS held_by,
           greatest(now(), CASE WHEN h.breaker <> 'closed' THEN h.probe_at END) AS turn_at
    FROM runs r
    LEFT JOIN subscriptions s ON s.id = r.subscription_id
    LEFT JOIN subscription_health h ON h.subscription_id = r.subscription_id
), missed AS (
    SELECT f.subscription_id, min(f.tenant_id) AS tenant_id, min(f.turn_at) AS turn_at, min(f.due_from) AS due_from
    FROM found f LEFT JOIN due_subscriptions d ON d.subscription_id = f.subscription_id
    WHERE coalesce(f.held_by NOT IN ('paused', 'disabled', 'unverified', 'pull'), true) AND f.turn_at < now() + interval '1 minute'
      AND (d.subscription_id IS NULL OR d.due_from > f.due_from)
    GROUP BY f.subscription_id
), entered AS (
    INSERT INTO due_subscriptions (subscription_id, tenant_id, turn_at, due_from)
    SELECT subscription_id, tenant_id, turn_at, due_from FROM missed ORDER BY subscription_id
    ON CONFLICT (subscription_id) DO UPDATE
    SET due_from = least(due_subscriptions.due_from, excluded.due_from),
        turn_at = CASE WHEN due_subscriptions.due_from > now() THEN least(due_subscriptions.turn_at, excluded.turn_at)
                       ELSE due_subscriptions.turn_at END
), last AS (
    SELECT subscription_id, scheduled FROM seen ORDER BY subscription_id DESC, scheduled DESC LIMIT 1
)
SELECT (SELECT count(*) FROM seen) AS read,
       (SELECT subscription_id FROM last) AS last_subscription_id, (SELECT scheduled FROM last) AS last_scheduled,
       (SELECT held_by FROM found JOIN last USING (subscription_id, scheduled)) AS last_held_by,
       (SELECT deliveries FROM found JOIN last USING (subscription_id, scheduled)) AS last_deliveries,
       (SELECT array_agg(delivery_id) FROM seen WHERE claimed AND due_at <= now() - interval '2 seconds') AS claimed,
       (SELECT json_object_agg(held_by, deliveries)
        FROM (SELECT held_by, sum(deliveries) AS deliveries FROM found WHERE held_by IS NOT NULL GROUP BY held_by) AS held)
           AS held,
       (SELECT array_agg(subscription_id ORDER BY subscription_id, scheduled) FROM found WHERE held_by IS NULL) AS due,
       (SELECT array_agg(due_from ORDER BY subscription_id, scheduled) FROM found WHERE held_by IS NULL) AS due_from

-- count_run --
-- Counts the due deliveries of a subscription ($1) that are scheduled or not ($2), up to $3.
SELECT count(*) FROM (
    SELECT 1 FROM delivery_queue
    WHERE (subscription_id, scheduled) >= ($1, $2) AND (subscription_id, scheduled, due_at) <= ($1, $2, now())
      AND claim_token IS NULL
    ORDER BY subscription_id, scheduled, due_at LIMIT $3
) AS x

-- select_turns --
-- Reads the first $2 subscriptions whose turn has come, from $1 on, with what decides how much each may have; without any,
-- in how many seconds the next turn comes.
SELECT t.subscription_id, t.tenant_id, t.turn_at, t.due_from, t.held_by AS was_held_by, clock.now,
       CASE WHEN t.subscription_id IS NULL
            THEN (SELECT extract(epoch FROM turn_at - now())::float8 FROM due_subscriptions
                  WHERE turn_at > now() ORDER BY turn_at LIMIT 1) END AS next_seconds,
       s.id IS NULL OR s.deleted_at IS NOT NULL AS deleted, coalesce(s.status, 'active') AS status,
       coalesce(s.destination = 'pull', false) AS pulled,
       s.rate_limit_per_second, s.rate_limit_burst, coalesce(s.endpoint_version, 0) AS endpoint_version,
       coalesce(h.breaker, 'closed') AS breaker, coalesce(h.probe_at <= now(), false) AS probe_due,
       extract(epoch FROM h.probe_at - now())::float8 AS probe_seconds,
       CASE WHEN h.breaker = 'open' THEN h.probe_delivery_id END AS probe_asked_for,
       CASE WHEN h.breaker = 'closed' AND h.openings > 0
            THEN extract(epoch FROM now() - h.breaker_since)::float8 END AS closed_seconds
FROM (SELECT now()) AS clock (now)
LEFT JOIN (
    SELECT * FROM due_subscriptions WHERE turn_at >= $1 AND turn_at <= now() ORDER BY turn_at LIMIT $2
) AS t ON true
LEFT JOIN subscriptions s ON s.id = t.subscription_id
LEFT JOIN subscription_health h ON h.subscription_id = t.subscription_id

-- select_turns_of_tenants --
-- Reads the same when more subscriptions wait for their turn than one turn can look at: in turns among tenants, of each as
-- many as its weight says ($2 in all, $3 of a tenant at most).
WITH RECURSIVE tenant AS (
    (SELECT tenant_id FROM due_subscriptions ORDER BY tenant_id LIMIT 1)
    UNION ALL
    SELECT next.tenant_id FROM tenant CROSS JOIN LATERAL (
        SELECT d.tenant_id FROM due_subscriptions d WHERE d.tenant_id > tenant.tenant_id ORDER BY d.tenant_id LIMIT 1
    ) AS next
), t AS (
    SELECT first.* FROM tenant LEFT JOIN tenants o ON o.id = tenant.tenant_id CROSS JOIN LATERAL (
        SELECT d.*, row_number() OVER (ORDER BY d.turn_at) / coalesce(o.weight, 1)::float8 AS place
        FROM due_subscriptions d
        WHERE d.tenant_id = tenant.tenant_id AND d.turn_at >= $1 AND d.turn_at <= now()
        ORDER BY d.turn_at LIMIT $3
    ) AS first
    ORDER BY first.place, first.turn_at LIMIT $2
)
SELECT t.subscription_id, t.tenant_id, t.turn_at, t.due_from, t.held_by AS was_held_by, clock.now,
       s.id IS NULL OR s.deleted_at IS NOT NULL AS deleted, coalesce(s.status, 'active') AS status,
       coalesce(s.destination = 'pull', false) AS pulled,
       s.rate_limit_per_second, s.rate_limit_burst, coalesce(s.endpoint_version, 0) AS endpoint_version,
       coalesce(h.breaker, 'closed') AS breaker, coalesce(h.probe_at <= now(), false) AS probe_due,
       extract(epoch FROM h.probe_at - now())::float8 AS probe_seconds,
       CASE WHEN h.breaker = 'open' THEN h.probe_delivery_id END AS probe_asked_for,
       CASE WHEN h.breaker = 'closed' AND h.openings > 0
            THEN extract(epoch FROM now() - h.breaker_since)::float8 END AS closed_seconds
FROM (SELECT now()) AS clock (now)
LEFT JOIN t ON true
LEFT JOIN subscriptions s ON s.id = t.subscription_id
LEFT JOIN subscription_health h ON h.subscription_id = t.subscription_id
ORDER BY t.place, t.turn_at

-- count_outstanding --
-- Counts what is rung or in flight of the subscriptions $1, each up to $2. What became due a moment ago may be in flight.
SELECT turn.subscription_id, (
    SELECT count(*) FROM (
        SELECT 1 FROM delivery_queue q
        WHERE (q.subscription_id, q.scheduled, q.due_at) > (turn.subscription_id, false, now() - interval '1 second')
          AND (q.subscription_id, q.scheduled) <= (turn.subscription_id, false)
          AND (q.due_at > now() OR q.claim_token IS NOT NULL)
        ORDER BY q.subscription_id, q.scheduled, q.due_at LIMIT turn.most
    ) AS x
) AS outstanding
FROM unnest($1::uuid[], $2::int[]) AS turn (subscription_id, most)

-- find_due --
-- Finds what is due of the subscriptions $1, the longest due first: from $2 on, at most $3 of each. Here and below rows of
-- three columns are compared, which only one index can do: a plan that is made while the queue is empty takes no other.
SELECT turn.subscription_id, due.delivery_id, due.due_at, due.expired
FROM unnest($1::uuid[], $2::timestamptz[], $3::int[]) AS turn (subscription_id, due_from, number)
CROSS JOIN LATERAL (
    SELECT first.* FROM (
        (SELECT q.delivery_id, q.due_at, q.expires_at <= now() AS expired FROM delivery_queue q
         WHERE (q.subscription_id, q.scheduled, q.due_at) >= (turn.subscription_id, false, turn.due_from)
           AND (q.subscription_id, q.scheduled, q.due_at) <= (turn.subscription_id, false, now())
           AND q.claim_token IS NULL
         ORDER BY q.subscription_id, q.scheduled, q.due_at LIMIT turn.number)
        UNION ALL
        (SELECT q.delivery_id, q.due_at, q.expires_at <= now() AS expired FROM delivery_queue q
         WHERE (q.subscription_id, q.scheduled, q.due_at) >= (turn.subscription_id, true, turn.due_from)
           AND (q.subscription_id, q.scheduled, q.due_at) <= (turn.subscription_id, true, now())
           AND q.claim_token IS NULL
         ORDER BY q.subscription_id, q.scheduled, q.due_at LIMIT turn.number)
    ) AS first
    ORDER BY first.due_at LIMIT turn.number
) AS due

-- take_due --
-- Takes due deliveries ($1) in hand: pending, and not due for $2 seconds. SKIP LOCKED and the second look leave to others
-- what they took first. IS TRUE keeps a plan that is made while the queue is empty from looking in the index of due times.
WITH free AS (
    SELECT q.delivery_id FROM unnest($1::uuid[]) AS wanted (delivery_id) CROSS JOIN LATERAL (
        SELECT q.delivery_id FROM delivery_queue q
        WHERE q.delivery_id = wanted.delivery_id AND q.claim_token IS NULL AND (q.due_at <= now()) IS TRUE
          AND q.expires_at > now()
        LIMIT 1 FOR UPDATE SKIP LOCKED
    ) AS q
)
UPDATE delivery_queue q
SET due_at = now() + make_interval(secs => $2), scheduled = false
FROM free
WHERE q.delivery_id = free.delivery_id AND q.delivery_id = ANY($1::uuid[])
RETURNING q.subscription_id, q.delivery_id

-- put_turns --
-- Gives subscriptions ($1, seen with turns $2) their next turn in $3 seconds, says what holds them ($4), and that nothing is
-- due earlier than $5. Who changed one meanwhile, or holds it locked, knows better.
WITH locked AS (
    SELECT d.subscription_id, n.seconds, n.held_by, n.due_from
    FROM unnest($1::uuid[], $2::timestamptz[], $3::float8[], $4::text[], $5::timestamptz[])
        AS n (subscription_id, turn_at, seconds, held_by, due_from)
    JOIN due_subscriptions d ON d.subscription_id = n.subscription_id
    WHERE d.turn_at = n.turn_at
    ORDER BY d.subscription_id
    FOR UPDATE OF d SKIP LOCKED
)
UPDATE due_subscriptions d
SET turn_at = now() + make_interval(secs => locked.seconds), held_by = locked.held_by, due_from = locked.due_from
FROM locked
WHERE d.subscription_id = locked.subscription_id

-- leave_turns --
-- Removes subscriptions ($1, seen with turns $2) that have nothing more due from $3 on, or whatever they have ($4). One with
-- retries gets a turn when the first of them is due.
WITH done AS (
    SELECT d.subscription_id, CASE WHEN NOT turn.held THEN (
        SELECT q.due_at FROM delivery_queue q
        WHERE (q.subscription_id, q.scheduled, q.due_at) > (turn.subscription_id, true, now())
          AND (q.subscription_id, q.scheduled, q.due_at) <= (turn.subscription_id, true, 'infinity')
        ORDER BY q.subscription_id, q.scheduled, q.due_at LIMIT 1
    ) END AS retry_at
    FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::bool[])
        AS turn (subscription_id, turn_at, due_from, held)
    JOIN due_subscriptions d ON d.subscription_id = turn.subscription_id
    WHERE d.turn_at = turn.turn_at AND (turn.held OR (
        SELECT q.delivery_id FROM delivery_queue q
        WHERE (q.subscription_id, q.scheduled, q.due_at) >= (turn.subscription_id, false, turn.due_from)
          AND (q.subscription_id, q.scheduled, q.due_at) <= (turn.subscription_id, false, now()) AND q.claim_token IS NULL
        ORDER BY q.subscription_id, q.scheduled, q.due_at LIMIT 1
    ) IS NULL AND (
        SELECT q.delivery_id FROM delivery_queue q
        WHERE (q.subscription_id, q.scheduled, q.due_at) >= (turn.subscription_id, true, turn.due_from)
          AND (q.subscription_id, q.scheduled, q.due_at) <= (turn.subscription_id, true, now()) AND q.claim_token IS NULL
        ORDER BY q.subscription_id, q.scheduled, q.due_at LIMIT 1
    ) IS NULL)
    ORDER BY d.subscription_id
    FOR UPDATE OF d SKIP LOCKED
), waiting AS (
    UPDATE due_subscriptions d
    SET turn_at = done.retry_at, due_from = done.retry_at, held_by = NULL
    FROM done
    WHERE d.subscription_id = done.subscription_id AND done.retry_at IS NOT NULL
)
DELETE FROM due_subscriptions d USING done WHERE d.subscription_id = done.subscription_id AND done.retry_at IS NULL

-- find_deleted --
-- Reads up to $1 deleted subscriptions whose turn has come.
SELECT d.subscription_id FROM due_subscriptions d
JOIN subscriptions s ON s.id = d.subscription_id AND s.deleted_at IS NOT NULL
WHERE d.turn_at <= now()
LIMIT $1

-- remove_turn --
-- Removes a deleted subscription, unless something of it is unfinished: what is in flight may have to wait for a retry.
DELETE FROM due_subscriptions d
WHERE d.subscription_id = $1 AND NOT EXISTS (SELECT FROM delivery_queue q WHERE q.subscription_id = $1)

-- begin_probes --
-- Half opens the breakers of subscriptions ($1) whose cool-down is over, each for one delivery ($2), and for $3 seconds.
-- Those that somebody else holds locked are his.
WITH due AS (
    SELECT subscription_id FROM subscription_health
    WHERE subscription_id = ANY($1::uuid[]) AND breaker IN ('open', 'half_open') AND probe_at <= now()
    ORDER BY subscription_id
    FOR UPDATE SKIP LOCKED
)
UPDATE subscription_health h
SET breaker = 'half_open', breaker_since = CASE WHEN h.breaker = 'half_open' THEN h.breaker_since ELSE now() END,
    probe_at = now() + make_interval(secs => $3), probe_delivery_id = probe.delivery_id
FROM unnest($1::uuid[], $2::uuid[]) AS probe (subscription_id, delivery_id)
JOIN due ON due.subscription_id = probe.subscription_id
WHERE h.subscription_id = probe.subscription_id
RETURNING h.subscription_id

-- give_up_probes --
-- Makes half open breakers ($1) ready for another probe at once.
WITH locked AS (
    SELECT subscription_id FROM subscription_health
    WHERE subscription_id = ANY($1::uuid[]) AND breaker = 'half_open'
    ORDER BY subscription_id
    FOR UPDATE
)
UPDATE subscription_health h
SET probe_at = now(), probe_delivery_id = NULL
FROM locked
WHERE h.subscription_id = locked.subscription_id

-- find_expired --
-- Reads $2 deliveries of the queue after $1 in the order of their ids, which is that of their age: how many there were, the
-- last of them, and those that wait and are past their expiry.
WITH seen AS MATERIALIZED (
    SELECT delivery_id, expires_at, claim_token FROM delivery_queue WHERE delivery_id > $1 ORDER BY delivery_id LIMIT $2
)
SELECT (SELECT count(*) FROM seen) AS read,
       (SELECT delivery_id FROM seen ORDER BY delivery_id DESC LIMIT 1) AS last_id,
       (SELECT array_agg(delivery_id) FROM seen WHERE expires_at <= now() AND claim_token IS NULL) AS expired

-- keep_leases --
-- Lets deliveries in flight ($1) whose lease is valid, or all of them for $2 seconds, be looked at when it ends.
WITH kept AS (
    SELECT q.delivery_id FROM unnest($1::uuid[]) AS looked (delivery_id) CROSS JOIN LATERAL (
        SELECT q.delivery_id FROM delivery_queue q
        WHERE q.delivery_id = looked.delivery_id AND q.claim_token IS NOT NULL AND (q.due_at <= now()) IS TRUE
          AND (q.lease_until > now() OR $2::float8 > 0)
        LIMIT 1 FOR UPDATE SKIP LOCKED
    ) AS q
)
UPDATE delivery_queue q
SET due_at = greatest(q.lease_until, now() + make_interval(secs => $2))
FROM kept
WHERE q.delivery_id = kept.delivery_id AND q.delivery_id = ANY($1::uuid[])

-- lock_leases --
-- Locks those of the deliveries $1 whose lease ran out; of those that consumers pulled, with what says when they are retried.
SELECT q.*, now() AS now, coalesce(s.destination = 'pull', false) AS pulled, s.retry_policy, d.event_type
FROM unnest($1::uuid[]) AS looked (delivery_id)
CROSS JOIN LATERAL (
    SELECT q.delivery_id, q.delivery_id AS id, q.event_id, q.subscription_id, q.tenant_id, q.created_at, q.claim_token,
           q.attempt_count, q.failure_count
    FROM delivery_queue q
    WHERE q.delivery_id = looked.delivery_id AND q.claim_token IS NOT NULL AND q.lease_until <= now()
    LIMIT 1 FOR UPDATE SKIP LOCKED
) AS q
LEFT JOIN LATERAL (
    SELECT destination, retry_policy FROM subscriptions WHERE id = q.subscription_id OFFSET 0
) AS s ON true
LEFT JOIN LATERAL (
    SELECT event_type FROM webhook_deliveries WHERE id = q.delivery_id AND s.destination = 'pull' OFFSET 0
) AS d ON true

-- expire_leases --
-- Turns locked deliveries whose lease ran out ($1, held under the claims $6; $2 and $3: least and greatest id) back into due
-- ones, or fails them after $4 times, and leaves an interrupted attempt of the claim each ($5: seconds of a lease); those
-- that failed are noted. Returns their state.
WITH lost AS (
    SELECT q.delivery_id, q.claim_token, q.actor, q.interrupted_count + 1 >= $4 AS failed
    FROM unnest($1::uuid[], $6::uuid[]) AS l (delivery_id, claim_token)
    JOIN delivery_queue q ON q.delivery_id = l.delivery_id AND q.claim_token = l.claim_token
    WHERE q.delivery_id = ANY($1::uuid[])
), due AS (
    UPDATE delivery_queue q
    SET interrupted_count = q.interrupted_count + 1, attempt_count = q.attempt_count + 1, claim_token = NULL,
        lease_until = NULL, scheduled = false, due_at = now(), last_status_code = NULL, last_error_kind = 'interrupted',
        actor = NULL
    FROM lost
    WHERE q.delivery_id = lost.delivery_id AND q.delivery_id = ANY($1::uuid[]) AND q.claim_token = lost.claim_token
      AND NOT lost.failed
    RETURNING q.delivery_id AS id, q.event_id, q.subscription_id, q.tenant_id, q.attempt_count, false AS failed,
              lost.claim_token, lost.actor
), failed AS (
    DELETE FROM delivery_queue q USING lost
    WHERE q.delivery_id = lost.delivery_id AND q.delivery_id = ANY($1::uuid[]) AND q.claim_token = lost.claim_token
      AND lost.failed
    RETURNING q.delivery_id AS id, q.event_id, q.subscription_id, q.tenant_id, q.attempt_count + 1 AS attempt_count,
              true AS failed, lost.claim_token, lost.actor
), expired AS (
    SELECT * FROM due UNION ALL SELECT * FROM failed
), finished AS (
    UPDATE webhook_deliveries d
    SET status = 'failed', reason = 'worker_lost', completed_at = now(), attempt_count = f.attempt_count
    FROM failed f
    WHERE d.id = f.id AND d.id BETWEEN $2 AND $3
), unsuccessful AS (
    INSERT INTO unsuccessful_deliveries (id, subscription_id, status, tenant_id, attempt_count, last_error_kind)
    SELECT id, subscription_id, 'failed', tenant_id, attempt_count, 'interrupted' FROM failed
    ON CONFLICT DO NOTHING
), exhausted AS (
    INSERT INTO operational_facts (tenant_id, subscription_id, event_type, reason, last_error, deliveries,
                                   last_delivery_id, last_event_id, last_attempts)
    SELECT e.tenant_id, e.subscription_id, 'delivery.exhausted', 'worker_lost',
           'the worker was lost before it recorded an outcome', count(*), (array_agg(e.id ORDER BY e.id DESC))[1],
           (array_agg(e.event_id ORDER BY e.id DESC))[1], (array_agg(e.attempt_count ORDER BY e.id DESC))[1]
    FROM failed e
    JOIN system_subscriptions y ON y.tenant_id = e.tenant_id AND y.id <> e.subscription_id
    GROUP BY e.tenant_id, e.subscription_id
), recorded AS (
    INSERT INTO delivery_attempts (delivery_id, claim_token, request, number, subscription_id, tenant_id, started_at,
                                   outcome, final, error_message, event_type, actor)
    SELECT e.id, e.claim_token, 1, e.attempt_count, e.subscription_id, e.tenant_id, now() - make_interval(secs => $5),
           'interrupted', e.failed, 'the worker was lost before it recorded an outcome', d.event_type, e.actor
    FROM expired e LEFT JOIN LATERAL (
        SELECT event_type FROM webhook_deliveries WHERE id = e.id AND id BETWEEN $2 AND $3 OFFSET 0
    ) AS d ON true
)
SELECT id, CASE WHEN failed THEN 'failed' ELSE 'pending' END AS status FROM expired

-- count_queue --
-- Counts what is in flight, waits for its retry time, or was rung for, among the $1 deliveries that are due next, and since
-- when the oldest of those rung for waits ($2: seconds that a rung one is hidden). What is due already is not among them.
SELECT count(*) FILTER (WHERE claimed) AS in_flight, count(*) FILTER (WHERE scheduled AND NOT claimed) AS scheduled,
       count(*) FILTER (WHERE rung) AS rung,
       coalesce(extract(epoch FROM now() - min(CASE WHEN attempt_count = 0 THEN created_at
                                               ELSE least(due_at, now()) - make_interval(secs => $2) END)
                                           FILTER (WHERE rung)), 0)::float8 AS oldest_seconds
FROM (
    SELECT claim_token IS NOT NULL AS claimed, scheduled AND due_at > now() AS scheduled,
           NOT scheduled AND claim_token IS NULL AND due_at > now() AS rung, attempt_count, created_at, due_at
    FROM delivery_queue WHERE due_at > now() - interval '1 second' ORDER BY due_at LIMIT $1
) AS next

-- count_due --
-- Counts what is due of $5 subscriptions whose turn has come or comes soon and that nothing holds, up to $1, and since when the
-- oldest waits ($2: seconds that a rung one is hidden): of those after the turn $3 of $4, in the order of turns. Returns the last of
-- them unless they were all. Subscriptions are looked up one by one: planned while there are few, a join would pass all
-- of them for each turn.
WITH turn AS MATERIALIZED (
    SELECT d.subscription_id, d.turn_at, d.due_from,
           d.held_by IS NULL AND s.status = 'active' AND s.destination = 'http' AND s.deleted_at IS NULL
               AND coalesce(h.breaker = 'closed', true) AS open
    FROM (
        SELECT * FROM due_subscriptions
        WHERE (turn_at, subscription_id) > ($3, $4) AND turn_at <= now() + interval '1 second'
        ORDER BY turn_at, subscription_id LIMIT $5
    ) AS d
    LEFT JOIN LATERAL (
        SELECT status, destination, deleted_at FROM subscriptions WHERE id = d.subscription_id LIMIT 1
    ) AS s ON true
    LEFT JOIN LATERAL (
        SELECT breaker FROM subscription_health WHERE subscription_id = d.subscription_id LIMIT 1
    ) AS h ON true
), counted AS (
    SELECT count(*) AS deliveries,
           coalesce(extract(epoch FROM now() - min(CASE WHEN attempt_count = 0 THEN created_at
                                                   ELSE due_at - make_interval(secs => $2) END)), 0)::float8
               AS oldest_seconds
    FROM (
        SELECT due.* FROM turn CROSS JOIN LATERAL (
            (SELECT q.attempt_count, q.created_at, q.due_at FROM delivery_queue q
             WHERE (q.subscription_id, q.scheduled, q.due_at) >= (turn.subscription_id, false, turn.due_from)
               AND (q.subscription_id, q.scheduled, q.due_at) <= (turn.subscription_id, false, now())
               AND q.claim_token IS NULL
             ORDER BY q.subscription_id, q.scheduled, q.due_at LIMIT $1)
            UNION ALL
            (SELECT q.attempt_count, q.created_at, q.due_at FROM delivery_queue q
             WHERE (q.subscription_id, q.scheduled, q.due_at) >= (turn.subscription_id, true, turn.due_from)
               AND (q.subscription_id, q.scheduled, q.due_at) <= (turn.subscription_id, true, now())
               AND q.claim_token IS NULL
             ORDER BY q.subscription_id, q.scheduled, q.due_at LIMIT $1)
        ) AS due
        WHERE turn.open
        LIMIT $1
    ) AS x
)
SELECT counted.*, last.turn_at, last.subscription_id
FROM counted
LEFT JOIN (SELECT turn_at, subscription_id FROM turn ORDER BY turn_at DESC, subscription_id DESC LIMIT 1) AS last
    ON (SELECT count(*) FROM turn) = $5

-- count_held --
-- Counts what is due of the subscriptions that were held at their last turn, by what held them, up to $1 in all.
SELECT held_by, count(*) AS deliveries
FROM (
    SELECT turn.held_by FROM (
        SELECT d.subscription_id, d.due_from, d.held_by FROM due_subscriptions d WHERE d.held_by IS NOT NULL LIMIT $1
    ) AS turn CROSS JOIN LATERAL (
        (SELECT FROM delivery_queue q
         WHERE (q.subscription_id, q.scheduled, q.due_at) >= (turn.subscription_id, false, turn.due_from)
           AND (q.subscription_id, q.scheduled, q.due_at) <= (turn.subscription_id, false, now())
           AND q.claim_token IS NULL
         ORDER BY q.subscription_id, q.scheduled, q.due_at LIMIT $1)
        UNION ALL
        (SELECT FROM delivery_queue q
         WHERE (q.subscription_id, q.scheduled, q.due_at) >= (turn.subscription_id, true, turn.due_from)
           AND (q.subscription_id, q.scheduled, q.due_at) <= (turn.subscription_id, true, now())
           AND q.claim_token IS NULL
         ORDER BY q.subscription_id, q.scheduled, q.due_at LIMIT $1)
    ) AS due
    LIMIT $1
) AS x
GROUP BY held_by

-- count_unexpanded --
-- Counts the deliveries that are to be created for events with a large fan-out, up to $1; an event has one at least.
SELECT least($1::bigint, coalesce(sum(greatest(targets - made, 1)), 0))
FROM (SELECT targets, made FROM event_expansions LIMIT $1) AS unexpanded

-- count_breakers --
-- Counts the breakers that are not closed.
SELECT h.breaker, count(*) AS number FROM subscription_health h
CROSS JOIN LATERAL (SELECT deleted_at FROM subscriptions WHERE id = h.subscription_id LIMIT 1) AS s
WHERE h.breaker <> 'closed' AND s.deleted_at IS NULL
GROUP BY h.breaker

-- count_workers --
-- Counts the workers there are.
SELECT count(*) FROM workers WHERE seen_at > now() - interval '15 seconds'

-- forget_workers --
-- Removes workers that died without a word.
DELETE FROM workers WHERE seen_at < now() - interval '10 minutes'
