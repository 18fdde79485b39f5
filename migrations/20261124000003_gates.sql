ALTER TABLE subscriptions
    -- While it is not active its deliveries are held.
    ADD COLUMN status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused', 'disabled')),
    -- Why it is disabled: 'manual', 'gone' (the receiver answered 410) or 'failing' (nothing but failures for days).
    ADD COLUMN status_reason text,
    ADD COLUMN status_since timestamptz NOT NULL DEFAULT now(),
    -- Whether events are stored for it while it is disabled.
    ADD COLUMN keep_when_disabled boolean NOT NULL DEFAULT true,
    -- Null: no limit.
    ADD COLUMN rate_limit_per_second double precision CHECK (rate_limit_per_second >= 0.001),
    -- Null: what the rate allows in a second, and one at least.
    ADD COLUMN rate_limit_burst integer CHECK (rate_limit_burst >= 1),
    -- Null: DELIVERY_TIMEOUT_SECONDS.
    ADD COLUMN timeout_seconds double precision CHECK (timeout_seconds BETWEEN 1 AND 30),
    -- Null: RETRY_LIMIT and its companions. Else what services/domain/retry_policy.py reads.
    ADD COLUMN retry_policy jsonb,
    -- Counts the endpoints it had: another target_url is another one, and what was learned of one says nothing of the next.
    ADD COLUMN endpoint_version integer NOT NULL DEFAULT 1;

-- What attempts made of an endpoint. Written when something changes, at most once a second by each worker; an endpoint
-- that never failed has no row.
CREATE TABLE subscription_health (
    subscription_id      uuid PRIMARY KEY,
    breaker              text NOT NULL DEFAULT 'closed' CHECK (breaker IN ('closed', 'open', 'half_open')),
    -- When the breaker came into this state, and why it opened.
    breaker_since        timestamptz NOT NULL DEFAULT now(),
    breaker_reason       text,
    -- Open: when a probe may be sent. Half open: which delivery that is, and when it is taken for lost.
    probe_at             timestamptz,
    probe_delivery_id    uuid,
    -- Openings in a row, which make the cool-down longer.
    openings             integer NOT NULL DEFAULT 0,
    -- Failed attempts since the last success, of all workers, and when the first of them was recorded.
    consecutive_failures integer NOT NULL DEFAULT 0,
    failing_since        timestamptz
    -- Updated in place: no index but the key's, and room in every page.
) WITH (fillfactor = 50);

-- The workers there are: each shares what Redis cannot count for all while it is away.
CREATE TABLE workers (
    id      uuid PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT now()
);
