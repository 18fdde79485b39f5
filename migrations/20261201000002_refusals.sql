-- Events that gateways refused, by the hour. A gateway adds what it has counted every few seconds, so no refusal writes a row.
CREATE TABLE refusals (
    hour            timestamptz NOT NULL,
    tenant_id       text NOT NULL,
    -- The nil UUID: the request named no subscription that the tenant has or had.
    subscription_id uuid NOT NULL,
    -- A reason code of docs/reference/errors.md.
    reason          text NOT NULL CHECK (reason ~ '^[A-Z][A-Z0-9_]{0,63}$'),
    events          bigint NOT NULL,
    last_at         timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, hour, subscription_id, reason)
    -- As delivery_stats: rows of the current hour are updated in place.
) WITH (fillfactor = 50);
-- For what retention deletes.
CREATE INDEX refusals_by_hour ON refusals (hour);
