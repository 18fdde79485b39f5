-- select_template --
-- Reads the template of a subscription and its secrets, and the versions that it is pinned to.
SELECT version, template, sealed_template_secrets, event_versions FROM subscriptions
WHERE id = $1 AND (template IS NOT NULL OR event_versions IS NOT NULL)

-- select_template_of_new --
-- Reads the same of a subscription that is not created, of which a test event ($1) is sent.
SELECT 1 AS version, template, sealed_template_secrets, NULL::jsonb AS event_versions FROM endpoint_tests
WHERE id = $1 AND template IS NOT NULL

-- select_converted --
-- Reads what was made of an event for those who are pinned to earlier versions.
SELECT converted FROM webhook_events WHERE id = $1

-- lock_converted --
-- Reads the same, and locks the event unless it is erased.
SELECT converted FROM webhook_events WHERE id = $1 AND payload IS NOT NULL FOR UPDATE

-- put_converted --
-- Keeps what was made of a locked event.
UPDATE webhook_events SET converted = $2 WHERE id = $1

-- select_down_conversions --
-- Reads the versions $3 to $4 of an event type $2 of tenant $1, the newest first: what converts each to the one before, and the
-- schema of $3.
SELECT v.number, v.down_conversion, CASE WHEN v.number = $3 THEN v.schema END AS schema
FROM event_types t JOIN event_type_versions v ON v.event_type_id = t.id
WHERE t.tenant_id = $1 AND t.name = $2 AND v.number BETWEEN $3 AND $4
ORDER BY v.number DESC

-- select_tags --
-- Reads the tags of an event.
SELECT tag FROM event_tags WHERE event_id = $1 ORDER BY tag
