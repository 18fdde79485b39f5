-- claim --
-- Claim waiting rows after $2, in their order, at most $3 and, but for the first, at most $4 bytes of payloads: for $5
-- seconds, by token $1. A payload of more than $6 bytes is left out. The rows of one statement say how many were due.
WITH due AS MATERIALIZED (
    SELECT id, octet_length(payload) AS size_bytes
    FROM {outbox}
    WHERE failed_at IS NULL AND id > $2 AND (claimed_until IS NULL OR claimed_until <= now())
    ORDER BY id
    LIMIT $3
    FOR UPDATE SKIP LOCKED
), chosen AS (
    SELECT id, size_bytes FROM (
        SELECT id, size_bytes, sum(least(size_bytes, $6)) OVER (ORDER BY id) AS total_bytes FROM due
    ) AS summed
    WHERE total_bytes <= $4 OR total_bytes = least(size_bytes, $6)
)
UPDATE {outbox} AS claimed
SET token = $1, claimed_until = now() + make_interval(secs => $5), attempts = claimed.attempts + 1
FROM chosen
WHERE claimed.id = chosen.id
RETURNING
    claimed.id, claimed.event_type, CASE WHEN chosen.size_bytes <= $6 THEN claimed.payload END AS payload,
    claimed.content_type, claimed.content_encoding, claimed.tags, claimed.subscription_id, claimed.tenant_id,
    claimed.idempotency_key, claimed.traceparent, claimed.event_version, claimed.attempts,
    extract(epoch FROM now() - claimed.created_at)::float8 AS waited_seconds,
    (SELECT count(*) FROM due)::int AS due_rows

-- delete --
-- Delete rows that were accepted, which are still claimed by token $1; return how many.
WITH deleted AS (
    DELETE FROM {outbox} WHERE id = ANY($2::bigint[]) AND token = $1 RETURNING 1
)
SELECT count(*)::int FROM deleted

-- refuse --
-- Leave rows that are refused for good in the table, with the reason; return how many.
WITH refused AS (
    UPDATE {outbox} AS kept
    SET failed_at = now(), error = given.error, token = NULL, claimed_until = NULL
    FROM unnest($2::bigint[], $3::text[]) AS given (id, error)
    WHERE kept.id = given.id AND kept.token = $1
    RETURNING 1
)
SELECT count(*)::int FROM refused

-- defer --
-- Give rows back that no relay may claim for some seconds, with the reason; return how many.
WITH deferred AS (
    UPDATE {outbox} AS kept
    SET claimed_until = now() + make_interval(secs => given.seconds), error = given.error, token = NULL
    FROM unnest($2::bigint[], $3::text[], $4::float8[]) AS given (id, error, seconds)
    WHERE kept.id = given.id AND kept.token = $1
    RETURNING 1
)
SELECT count(*)::int FROM deferred

-- measure --
-- For how long the first row waits, and how many wait and were refused, at most $1 each.
SELECT
    coalesce((
        SELECT extract(epoch FROM now() - created_at) FROM {outbox} WHERE failed_at IS NULL ORDER BY id LIMIT 1
    ), 0)::float8 AS oldest_seconds,
    (SELECT count(*) FROM (SELECT id FROM {outbox} WHERE failed_at IS NULL LIMIT $1) AS bounded)::int AS waiting_rows,
    (SELECT count(*) FROM (SELECT id FROM {outbox} WHERE failed_at IS NOT NULL LIMIT $1) AS bounded)::int AS failed_rows
