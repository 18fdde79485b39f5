-- select_database --
-- The size and version of this database, who is connected to it, and the newest migration. Reads file sizes, and no rows.
SELECT now() AS looked_at, current_setting('server_version') AS version,
       pg_database_size(current_database()) AS bytes,
       (SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND coalesce(backend_type, 'client backend') = 'client backend')::int AS connections,
       current_setting('max_connections')::int AS max_connections,
       newest.version AS schema_version, newest.applied_at AS migrated_at
FROM (SELECT version, applied_at FROM schema_migrations ORDER BY version DESC LIMIT 1) AS newest

-- select_partitions --
-- The $1 newest partitions that tables have, attached or not, with their days in UTC, and how many there are. Rows are the
-- estimate of the server's statistics. One that vanishes meanwhile has no size.
WITH tables AS MATERIALIZED (  -- so that no other table's name is read as a date
    SELECT p.parent AS "table", c.oid, c.relname::text AS name, c.reltuples
    FROM unnest(ARRAY['webhook_deliveries', 'unsuccessful_deliveries', 'delivery_attempts', 'event_tags', 'webhook_events'])
        AS p (parent)
    JOIN pg_class AS parent ON parent.oid = p.parent::regclass
    JOIN pg_class AS c
      ON c.relnamespace = parent.relnamespace AND c.relkind = 'r' AND c.relname ~ ('^' || p.parent || '_[0-9]{8}$')
), newest AS MATERIALIZED (
    SELECT *, to_date(right(name, 8), 'YYYYMMDD') AS day, count(*) OVER ()::int AS number,
           max(right(name, 8)) OVER (PARTITION BY "table") AS last
    FROM tables ORDER BY right(name, 8) DESC, name LIMIT $1
)
SELECT name, "table", day::timestamp AT TIME ZONE 'UTC' AS from_time, (day + 1)::timestamp AT TIME ZONE 'UTC' AS to_time,
       CASE WHEN reltuples >= 0 THEN reltuples::bigint END AS rows, coalesce(pg_total_relation_size(oid), 0) AS bytes, number,
       (to_date(min(last) OVER (), 'YYYYMMDD') + 1)::timestamp AT TIME ZONE 'UTC' AS until
FROM newest
ORDER BY day DESC, name
