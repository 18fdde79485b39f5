-- drop_table --
-- Delete an earlier run's rows.
DROP TABLE IF EXISTS floor_webhooks

-- create_table --
-- A webhook with only its id as an index.
CREATE TABLE floor_webhooks (id uuid PRIMARY KEY, payload bytea NOT NULL)

-- insert --
-- Store a batch.
INSERT INTO floor_webhooks (id, payload) SELECT * FROM unnest($1::uuid[], $2::bytea[])
