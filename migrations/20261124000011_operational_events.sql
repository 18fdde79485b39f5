ALTER TABLE subscriptions
    -- 'system': it gets what the service says of the tenant's other subscriptions, and nothing else.
    ADD COLUMN kind text NOT NULL DEFAULT 'normal' CHECK (kind IN ('normal', 'system'));
-- One of a tenant, and found by it.
CREATE UNIQUE INDEX subscriptions_system ON subscriptions (tenant_id) WHERE kind = 'system' AND deleted_at IS NULL;

-- Where the operational events of a tenant go.
CREATE VIEW system_subscriptions AS
    SELECT tenant_id, id FROM subscriptions WHERE kind = 'system' AND deleted_at IS NULL;

-- What is to be told to a tenant's system subscription: written in the transaction that makes it so, read and deleted by
-- the delivery service, which makes an event of it. Rows are there for moments, and of tenants with such a one alone.
CREATE TABLE operational_facts (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    happened_at      timestamptz NOT NULL DEFAULT now(),
    tenant_id        text NOT NULL,
    -- What it is about.
    subscription_id  uuid NOT NULL,
    event_type       text NOT NULL,
    reason           text,
    last_error       text,
    -- Of delivery.exhausted: how many ended in one statement, and the last of them.
    deliveries       integer,
    last_delivery_id uuid,
    last_event_id    uuid,
    last_attempts    integer
);

-- Deliveries that ended failed and are not told of yet, by subscription; and when its last were. A row goes when there is
-- nothing to tell and it is long enough ago.
CREATE TABLE exhausted_deliveries (
    subscription_id  uuid PRIMARY KEY,
    tenant_id        text NOT NULL,
    told_at          timestamptz,
    deliveries       bigint NOT NULL,
    first_at         timestamptz,
    last_at          timestamptz,
    reason           text,
    last_error       text,
    last_delivery_id uuid,
    last_event_id    uuid,
    last_attempts    integer
);
