-- lock_tenant --
-- Locks a tenant that is not deleted, so that its catalog changes by one at a time.
SELECT 1 FROM tenants WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE

-- note_change --
-- Tells ingest processes that a tenant's catalog is another one than before.
UPDATE tenants SET catalog_version = catalog_version + 1 WHERE id = $1

-- count_event_types --
-- Counts the event types of a tenant.
SELECT count(*) FROM event_types WHERE tenant_id = $1

-- insert_event_type --
-- Makes an event type, unless the tenant has one of this name.
INSERT INTO event_types (id, tenant_id, name, description, validation) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, name) DO NOTHING RETURNING id

-- lock_event_type --
-- Locks an event type of a tenant.
SELECT * FROM event_types WHERE id = $2 AND tenant_id = $1 FOR UPDATE

-- update_event_type --
-- Replaces the description and the validation of a locked event type.
UPDATE event_types SET description = $2, validation = $3, updated_at = now() WHERE id = $1

-- delete_event_type --
-- Deletes a locked event type with all of its rows.
DELETE FROM event_types WHERE id = $1

-- insert_version --
-- Adds the next version of a locked event type.
INSERT INTO event_type_versions (event_type_id, number, status, schema, example, description, sunset_at, down_conversion)
SELECT $1, coalesce(max(number), 0) + 1, $2, $3, $4, $5, $6, $7 FROM event_type_versions WHERE event_type_id = $1
RETURNING *

-- update_version --
-- Replaces a version of a locked event type.
UPDATE event_type_versions
SET status = $3, schema = $4, example = $5, description = $6, sunset_at = $7, down_conversion = $8,
    updated_at = now()
WHERE event_type_id = $1 AND number = $2
RETURNING *

-- select_event_types --
-- Reads event types of a tenant by name, from one after $2 on: that of id $4, that of name $5, or all if both are null.
SELECT t.*, coalesce(t.validation, o.validation) AS effective_validation, c.current_version,
       coalesce(i.events, 0) AS invalid_events, i.last_at AS last_invalid_at,
       coalesce(i.last_errors, '{}') AS last_invalid_errors,
       v.number, v.status, v.schema, v.example, v.down_conversion, v.description AS version_description, v.sunset_at,
       v.created_at AS version_created_at, v.updated_at AS version_updated_at
FROM (
    SELECT * FROM event_types
    WHERE tenant_id = $1 AND name > $2 AND ($4::uuid IS NULL OR id = $4) AND ($5::text IS NULL OR name = $5)
    ORDER BY name LIMIT $3
) AS t
JOIN tenants o ON o.id = t.tenant_id
LEFT JOIN invalid_events i ON i.event_type_id = t.id
CROSS JOIN LATERAL (
    SELECT coalesce(max(number) FILTER (WHERE status = 'live'), max(number) FILTER (WHERE status = 'deprecated'))
               AS current_version
    FROM event_type_versions WHERE event_type_id = t.id
) AS c
CROSS JOIN LATERAL (
    SELECT * FROM event_type_versions WHERE event_type_id = t.id ORDER BY number DESC LIMIT 1
) AS v
ORDER BY t.name

-- select_current --
-- Reads event types of a tenant by name, from one after $2 on, those of the names $4 or all if they are null, each with the
-- version of events that state none, its newest version, and how many are live.
SELECT t.id, t.name, t.description AS type_description, n.newest, n.live, v.*
FROM (
    SELECT * FROM event_types
    WHERE tenant_id = $1 AND name > $2 AND ($4::text[] IS NULL OR name = ANY ($4))
    ORDER BY name LIMIT $3
) AS t
CROSS JOIN LATERAL (
    SELECT max(number) AS newest, count(*) FILTER (WHERE status = 'live') AS live
    FROM event_type_versions WHERE event_type_id = t.id
) AS n
LEFT JOIN LATERAL (
    SELECT * FROM event_type_versions WHERE event_type_id = t.id AND status <> 'draft'
    ORDER BY status = 'live' DESC, number DESC LIMIT 1
) AS v ON true
ORDER BY t.name

-- select_versions --
-- Reads the versions of an event type of a tenant, the newest first; only $3 unless it is null.
SELECT v.* FROM event_type_versions v JOIN event_types t ON t.id = v.event_type_id
WHERE t.id = $2 AND t.tenant_id = $1 AND ($3::integer IS NULL OR v.number = $3)
ORDER BY v.number DESC

-- select_catalogs --
-- Reads which tenants have a catalog, with what they do where an event type does not say, and the state that it is in.
SELECT id, validation, catalog_version FROM tenants WHERE catalog_version > 0 AND deleted_at IS NULL

-- select_publisher --
-- Reads what a tenant is called where it publishes its catalog; nothing if it does not.
SELECT coalesce(p.name, t.name) FROM tenants t LEFT JOIN tenant_portals p ON p.tenant_id = t.id
WHERE t.id = $1 AND t.publishes_catalog AND t.deleted_at IS NULL

-- select_types --
-- Reads the event types of a tenant with the versions that are no drafts, and what is done where the tenant decides.
SELECT t.id, t.name, t.validation,
       array_agg(v.number ORDER BY v.number) AS numbers, array_agg(v.status ORDER BY v.number) AS statuses
FROM event_types t JOIN event_type_versions v ON v.event_type_id = t.id AND v.status <> 'draft'
WHERE t.tenant_id = $1
GROUP BY t.id

-- select_schema --
-- Reads a schema.
SELECT schema FROM event_type_versions WHERE event_type_id = $1 AND number = $2

-- add_invalid_events --
-- Adds events that did not match ($1 to $4: event type, number, when the last one came, what was wrong with it, as JSON). What
-- was wrong names members of a payload: it is not kept of one that came before its tenant began to erase. Clocks may differ
-- by the seconds of $5.
INSERT INTO invalid_events (event_type_id, events, last_at, last_errors)
SELECT t.id, n.events, n.last_at, CASE WHEN NOT EXISTS (
    SELECT FROM jobs j
    WHERE j.tenant_id = t.tenant_id AND j.kind = 'erase' AND j.created_at > n.last_at - make_interval(secs => $5)
) THEN ARRAY(SELECT jsonb_array_elements_text(n.last_errors)) ELSE '{}' END
FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::jsonb[]) AS n (id, events, last_at, last_errors)
JOIN event_types t ON t.id = n.id
ORDER BY t.id
ON CONFLICT (event_type_id) DO UPDATE
SET events = invalid_events.events + excluded.events, last_at = greatest(invalid_events.last_at, excluded.last_at),
    last_errors = excluded.last_errors
