-- plan_for_itself --
-- Setting of a transaction whose statements are planned for their arguments: which filters are set decides the index.
SELECT set_config('plan_cache_mode', 'force_custom_plan', true)

-- select_entries --
-- Reads a page of entries with ids below $1 and from $2 on, newest first: of this tenant, by this actor, of this action,
-- type and id of resource, each unless it is null.
SELECT * FROM audit_entries
WHERE id < $1 AND id >= $2
  AND ($3::text IS NULL OR tenant_id = $3)
  AND ($4::text IS NULL OR actor = $4)
  AND ($5::text IS NULL OR action = $5)
  AND ($6::text IS NULL OR resource_type = $6)
  AND ($7::text IS NULL OR resource_id = $7)
ORDER BY id DESC LIMIT $8
