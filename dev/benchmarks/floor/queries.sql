-- drop_table --
-- Forgets an earlier run's rows.
DROP TABLE IF EXISTS floor_webhooks

-- create_table --
-- A webhook without anything that finds it again but its id.
CREATE TABLE floor_webhooks (id uuid PRIMARY KEY, payload bytea NOT NULL)

-- insert --
-- Stores a batch.
INSERT INTO floor_webhooks (id, payload) SELECT * FROM unnest($1::uuid[], $2::bytea[])
