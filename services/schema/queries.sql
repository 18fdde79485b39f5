-- lock --
-- Lets one process migrate at a time. The lock belongs to the transaction: it works behind a pooler and ends with it.
SELECT pg_advisory_xact_lock(hashtext('webhook:migrations'))

-- table_state --
-- Whether the table of applied migrations is there, and whether it is ours. Needs no privileges.
SELECT to_regclass('schema_migrations') IS NOT NULL AS present,
       EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('schema_migrations') AND attname = 'sha256') AS ours

-- create_table --
-- The migrations that were applied.
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    text PRIMARY KEY,
    name       text NOT NULL,
    sha256     bytea NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)

-- select_applied --
-- The migrations that were applied, with the digests of their texts.
SELECT version, name, sha256 FROM schema_migrations

-- insert_applied --
-- Records a migration.
INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3)

-- check_runtime_role --
-- Whether the role $1 has what the owner of the schema has; no row when there is no such role.
SELECT rolsuper OR pg_has_role(oid, current_user, 'MEMBER') AS owns FROM pg_roles WHERE rolname = $1

-- grant_statements --
-- What gives the role $1 exactly what the services need that change no schema: rows of every table of ours, but of the
-- audit log no more than to read and append, and of the applied migrations to read. Partitions are reached by their parents.
WITH own AS (
    SELECT c.oid::regclass AS name, c.relname FROM pg_class c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
      AND c.relowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)
)
SELECT format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), $1::text)
UNION ALL
SELECT format('REVOKE ALL ON %s FROM %I', name, $1::text) FROM own WHERE relname IN ('audit_entries', 'schema_migrations')
UNION ALL
SELECT format('GRANT %s ON %s TO %I',
              CASE relname WHEN 'audit_entries' THEN 'SELECT, INSERT' WHEN 'schema_migrations' THEN 'SELECT'
                           ELSE 'SELECT, INSERT, UPDATE, DELETE' END, name, $1::text) FROM own
UNION ALL
SELECT format('GRANT EXECUTE ON FUNCTION create_current_partitions() TO %I', $1::text)
