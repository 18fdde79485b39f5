-- Who changed what, and when: a row for each change, written in the transaction that makes it.
CREATE TABLE audit_entries (
    -- UUIDv7 by the clock of the process that wrote it, and so is created_at: what is listed by id is listed by time.
    id              uuid PRIMARY KEY,
    created_at      timestamptz NOT NULL,
    -- Whose the changed object is. No foreign keys: an entry outlives what it tells of.
    tenant_id       text NOT NULL,
    -- The id of an API key, 'bootstrap', 'anonymous' or 'system'.
    actor           text NOT NULL,
    -- As the key was then; null for an actor that is no key of api_keys.
    actor_name      text,
    actor_role      text,
    actor_tenant_id text,
    -- Such as 'subscription.update', of a resource of this type.
    action          text NOT NULL,
    resource_type   text NOT NULL,
    resource_id     text NOT NULL,
    -- A list of objects: "field", and where they may be shown "before" and "after".
    changes         jsonb NOT NULL DEFAULT '[]',
    -- Objects that the change touched besides; null where there are none to count.
    affected        bigint
);
CREATE INDEX audit_entries_by_tenant ON audit_entries (tenant_id, id);
CREATE INDEX audit_entries_by_actor ON audit_entries (actor, id);
CREATE INDEX audit_entries_by_resource ON audit_entries (resource_id, id);

-- Entries are appended and read. No REVOKE would hold back the owner of the table, as which the services may run; this
-- does, and whoever wants to get around it has to say so by altering the table, which no other role can.
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('webhook.audit_retention', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_entries is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_entries_append_only BEFORE UPDATE OR DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_entries_no_truncate BEFORE TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

-- Deletes up to most entries that are older than age, the oldest first, and returns how many. The only way for an entry
-- to go. The setting is on within this function only: set in its body, for in its head (CREATE FUNCTION … SET) only a
-- superuser may name a setting that no extension defines.
CREATE FUNCTION delete_old_audit_entries(age interval, most integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    deleted bigint;
BEGIN
    PERFORM set_config('webhook.audit_retention', 'on', true);
    DELETE FROM audit_entries
    WHERE id = ANY (ARRAY(SELECT id FROM audit_entries ORDER BY id LIMIT most)) AND created_at < now() - age;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    PERFORM set_config('webhook.audit_retention', '', true);
    RETURN deleted;
END
$$;
REVOKE EXECUTE ON FUNCTION delete_old_audit_entries(interval, integer) FROM PUBLIC;
