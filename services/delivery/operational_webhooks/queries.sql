-- is_anything --
-- Whether there is anything to look at.
SELECT EXISTS (SELECT FROM operational_facts) OR EXISTS (SELECT FROM exhausted_deliveries)

-- try_lock --
-- Whether this transaction is now the one that tells; the lock ends with it.
SELECT pg_try_advisory_xact_lock(hashtext('webhook:operational_events'))

-- take_facts --
-- Takes the oldest $1 facts.
DELETE FROM operational_facts WHERE id = ANY (ARRAY(SELECT id FROM operational_facts ORDER BY id LIMIT $1)) RETURNING *

-- add_exhausted --
-- Adds what ended failed ($1 to $5: subscription, tenant, how many, from when to when; $6 to $10: reason, error, id, event
-- and attempts of the last) to what is to be told of it.
INSERT INTO exhausted_deliveries AS e (subscription_id, tenant_id, deliveries, first_at, last_at, reason, last_error,
                                       last_delivery_id, last_event_id, last_attempts)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::text[], $7::text[],
                     $8::uuid[], $9::uuid[], $10::int[])
ON CONFLICT (subscription_id) DO UPDATE
SET deliveries = e.deliveries + excluded.deliveries, first_at = coalesce(e.first_at, excluded.first_at),
    last_at = excluded.last_at, reason = excluded.reason, last_error = excluded.last_error,
    last_delivery_id = excluded.last_delivery_id, last_event_id = excluded.last_event_id,
    last_attempts = excluded.last_attempts

-- forget_told --
-- Forgets subscriptions of which there is nothing to tell, and was nothing for $1 seconds.
DELETE FROM exhausted_deliveries WHERE deliveries = 0 AND told_at <= now() - make_interval(secs => $1)

-- take_exhausted --
-- Takes what is to be told of up to $2 subscriptions of which nothing was told for $1 seconds, the longest waiting first.
WITH due AS (
    SELECT * FROM exhausted_deliveries
    WHERE deliveries > 0 AND (told_at IS NULL OR told_at <= now() - make_interval(secs => $1))
    ORDER BY first_at LIMIT $2
), told AS (
    UPDATE exhausted_deliveries e SET deliveries = 0, first_at = NULL, told_at = now()
    FROM due WHERE e.subscription_id = due.subscription_id
)
SELECT * FROM due

-- select_receivers --
-- Finds where events go: for each of the subscriptions $1 that they are about, at this place in the list, its target and
-- the system subscription of its tenant that wants type $2 and takes events.
SELECT i.place, s.target_url, r.id AS receiver_id
FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS i (subscription_id, event_type, place)
JOIN subscriptions s ON s.id = i.subscription_id
JOIN system_subscriptions y ON y.tenant_id = s.tenant_id
JOIN subscriptions r ON r.id = y.id
WHERE (r.status <> 'disabled' OR r.keep_when_disabled) AND r.id <> s.id
  AND (r.event_types = '{}'
       OR EXISTS (SELECT FROM unnest(r.event_types) AS wanted
                  WHERE wanted = i.event_type
                     OR right(wanted, 2) = '.*' AND starts_with(i.event_type, left(wanted, -1))))

-- insert_events --
-- Stores events ($1 to $4: id, tenant, type, payload), each with its one delivery ($5 and $6: id, subscription), due at
-- once; they live for $7 hours.
WITH stored AS (
    INSERT INTO webhook_events (id, tenant_id, event_type, content_type, payload, addressed_to)
    SELECT id, tenant_id, event_type, 'application/json', payload, subscription_id
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $6::uuid[])
        AS e (id, tenant_id, event_type, payload, subscription_id)
), made AS (
    INSERT INTO webhook_deliveries (id, event_id, subscription_id, tenant_id, event_type)
    SELECT delivery_id, id, subscription_id, tenant_id, event_type
    FROM unnest($1::uuid[], $2::text[], $3::text[], $5::uuid[], $6::uuid[])
        AS d (id, tenant_id, event_type, delivery_id, subscription_id)
    RETURNING id, event_id, subscription_id, tenant_id
)
INSERT INTO delivery_queue (delivery_id, event_id, subscription_id, tenant_id, due_at, expires_at)
SELECT id, event_id, subscription_id, tenant_id, now(), now() + make_interval(hours => $7) FROM made
