-- Whether anybody may read the event catalog of a tenant, without a key.
ALTER TABLE tenants ADD COLUMN publishes_catalog boolean NOT NULL DEFAULT false;
