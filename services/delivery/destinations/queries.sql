-- select_template --
-- Reads the template of a subscription and its secrets.
SELECT version, template, sealed_template_secrets FROM subscriptions WHERE id = $1 AND template IS NOT NULL

-- select_tags --
-- Reads the tags of an event.
SELECT tag FROM event_tags WHERE event_id = $1 ORDER BY tag
