-- mark_due --
-- Makes pending deliveries due at once, for nobody will send them now ($2 and $3: least and greatest id). Those that were
-- never attempted stand again where they arrived.
WITH locked AS (
    SELECT id FROM webhook_deliveries
    WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3 AND status = 'pending'
    ORDER BY id
    FOR UPDATE
)
UPDATE webhook_deliveries d
SET next_attempt_at = CASE WHEN d.attempt_count = 0 THEN d.created_at ELSE now() END
WHERE (SELECT count(*) FROM locked) > 0 AND d.id = ANY($1::uuid[]) AND d.id BETWEEN $2 AND $3 AND d.status = 'pending'

-- lock_waiting --
-- Locks at most $2 waiting deliveries of each of the subscriptions $1, due or not.
SELECT waiting.id
FROM unnest($1::uuid[]) AS turn (subscription_id)
CROSS JOIN unnest(ARRAY['pending', 'scheduled']::delivery_status[]) AS state (status)
CROSS JOIN LATERAL (
    SELECT d.id FROM webhook_deliveries d
    WHERE d.status = state.status AND d.subscription_id = turn.subscription_id
      AND d.status IN ('pending', 'scheduled', 'in_flight')
    ORDER BY d.next_attempt_at LIMIT $2
    FOR UPDATE SKIP LOCKED
) AS waiting

-- end_waiting --
-- Ends waiting deliveries as $4 for reason $5 ($2 and $3: least and greatest id), and notes those that failed.
WITH ended AS (
    UPDATE webhook_deliveries
    SET status = $4, reason = $5, completed_at = now()
    WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3 AND status IN ('pending', 'scheduled')
    RETURNING id, event_id, subscription_id, tenant_id, attempt_count, status, reason
)
INSERT INTO operational_facts (tenant_id, subscription_id, event_type, reason, deliveries, last_delivery_id,
                               last_event_id, last_attempts)
SELECT e.tenant_id, e.subscription_id, 'delivery.exhausted', (array_agg(e.reason ORDER BY e.id DESC))[1], count(*),
       (array_agg(e.id ORDER BY e.id DESC))[1], (array_agg(e.event_id ORDER BY e.id DESC))[1],
       (array_agg(e.attempt_count ORDER BY e.id DESC))[1]
FROM ended e JOIN system_subscriptions y ON y.tenant_id = e.tenant_id AND y.id <> e.subscription_id
WHERE e.status = 'failed'
GROUP BY e.tenant_id, e.subscription_id

-- insert_facts --
-- Notes what became true of subscriptions ($1 to $4: subscription, type of the event, reason, last error), for tenants that
-- have a system subscription, and not of that one.
INSERT INTO operational_facts (tenant_id, subscription_id, event_type, reason, last_error)
SELECT s.tenant_id, s.id, i.event_type, i.reason, i.last_error
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS i (subscription_id, event_type, reason, last_error)
JOIN subscriptions s ON s.id = i.subscription_id
JOIN system_subscriptions y ON y.tenant_id = s.tenant_id AND y.id <> s.id

-- insert_audit_entries --
-- Tells of changes ($1 to $8: id, time, tenant, action, type and id of the resource, what changed, objects touched besides)
-- that actor $9 made, with what is known of the actor's key ($10; null for an actor that is none).
INSERT INTO audit_entries (id, created_at, tenant_id, actor, actor_name, actor_role, actor_tenant_id, action,
                           resource_type, resource_id, changes, affected)
SELECT e.id, e.created_at, e.tenant_id, $9, k.name, k.role, k.tenant_id, e.action,
       e.resource_type, e.resource_id, e.changes, e.affected
FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[], $8::bigint[])
    AS e (id, created_at, tenant_id, action, resource_type, resource_id, changes, affected)
LEFT JOIN api_keys k ON k.id = $10::uuid

-- insert_canary --
-- Leaves the encrypted value by which processes know whether their keys are the right ones, unless there is one.
INSERT INTO encryption_canary (sealed) VALUES ($1) ON CONFLICT DO NOTHING

-- select_canary --
-- Reads it.
SELECT sealed FROM encryption_canary

-- tenant_exists --
-- Whether there is a tenant of this id that is not deleted.
SELECT EXISTS (SELECT FROM tenants WHERE id = $1 AND deleted_at IS NULL)
