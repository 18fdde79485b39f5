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

-- tenant_exists --
-- Whether there is a tenant of this id that is not deleted.
SELECT EXISTS (SELECT FROM tenants WHERE id = $1 AND deleted_at IS NULL)
