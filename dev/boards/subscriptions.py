"""Endpoints that stand out, why deliveries are held, and tenants near their quotas.

Only the series of the TOP_SUBSCRIPTIONS worst subscriptions, and of as many tenants, contain ids: see
docs/reference/metrics.md.
"""

from dev.boards.grafana import COUNT, PER_SECOND, SECONDS, SHARE, Board, Lines, Query, Stat, Table, row
from dev.boards.promql import alike, increase, or_zero, percentiles, rate, summed, whole

NAMES = {"tenant": "Tenant", "subscription": "Subscription"}
BY_NAME = "tenant, subscription"
HELD = "webhook_held_deliveries"
FAILED_ATTEMPTS = alike("webhook_top_subscription_failed_attempts", by=BY_NAME)
FAILING = alike("webhook_top_subscription_failing_seconds", by=BY_NAME)
ATTEMPT_SECONDS = alike("webhook_top_subscription_attempt_seconds", by=BY_NAME)

NOW = row(
    "Now",
    [
        Stat(
            "Breakers open",
            "Endpoints that receive only an occasional probe. Their deliveries are kept.",
            alike("webhook_breakers", 'state="open"'),
            thresholds=[("orange", 1), ("red", 50)],
        ),
        Stat(
            "Breakers probing",
            "Endpoints with a probe in flight. The breaker closes if it succeeds.",
            alike("webhook_breakers", 'state="half_open"'),
        ),
        Stat(
            "Longest failing",
            "How long the endpoint that has failed longest has only failed. After DISABLE_AFTER_HOURS its subscription "
            "is disabled: tell its owner before then.",
            or_zero(alike("webhook_top_subscription_failing_seconds")),
            SECONDS,
            thresholds=[("orange", 3_600), ("red", 86_400)],
        ),
        Stat(
            "Held by breakers",
            "Due deliveries behind open and recovering breakers. Each count stops at 100,000.",
            summed(alike(HELD, 'reason=~"breaker_open|recovering"', by="reason")),
        ),
        Stat(
            "Held by owners",
            "Due deliveries of paused, disabled and unverified subscriptions. They wait until the subscription is "
            "resumed, enabled or verified, or until they expire.",
            summed(alike(HELD, 'reason=~"paused|disabled|unverified"', by="reason")),
        ),
        Stat(
            "Disabled",
            "Subscriptions disabled in the selected time range because of their receiver: it answered 410, or failed "
            "for days.",
            or_zero(whole(increase("webhook_subscriptions_disabled_total", interval="$__range"))),
            thresholds=[("orange", 1)],
        ),
    ],
)

WORST = row(
    "Worst subscriptions",
    [
        Table(
            "Most failed attempts",
            "The subscriptions with the most failed attempts in five minutes. The API lists them: GET "
            "/api/v1/subscriptions/ID/deliveries?status=failed.",
            [
                Query(FAILED_ATTEMPTS, "Failed"),
                Query(alike("webhook_top_subscription_attempts", by=BY_NAME), "Attempts"),
                Query(f"{FAILED_ATTEMPTS} / {alike('webhook_top_subscription_attempts', by=BY_NAME)}", "Share failed"),
            ],
            columns=NAMES,
            units=[COUNT, COUNT, SHARE],
        ),
        Table(
            "Failing longest",
            "Endpoints whose breaker is not closed, by how long they have only failed. Empty when healthy.",
            Query(FAILING, "Failing for"),
            columns=NAMES,
            units=[SECONDS],
        ),
    ],
    [
        Table(
            "Most worker time",
            "The subscriptions whose attempts took the most time in five minutes: 300 s is one slot in constant use. "
            "Slow receivers appear here, and busy ones.",
            Query(ATTEMPT_SECONDS, "Time of attempts"),
            columns=NAMES,
            units=[SECONDS],
        ),
        Lines(
            "Failed attempts of the worst",
            "Failed attempts in five minutes, for the subscriptions with the most. A line ends when a subscription is "
            "no longer among them.",
            Query(or_zero(FAILED_ATTEMPTS, "subscription"), "{{subscription}}"),
        ),
    ],
)

GATES = row(
    "Held deliveries",
    [
        Lines(
            "Held, by reason",
            "Due deliveries that no worker may send. breaker_open and recovering wait for an endpoint, paused, "
            "disabled and unverified for an owner, rate_limit and concurrency for capacity.",
            Query(alike(HELD, by="reason"), "{{reason}}"),
            stacked=True,
        ),
        Lines(
            "Breakers",
            "Breakers that are not closed. If many open at once, the network path out of this cluster is broken, not "
            "the receivers.",
            Query(alike("webhook_breakers", by="state"), "{{state}}"),
            stacked=True,
        ),
        Lines(
            "Breaker changes",
            "Breakers that opened, or closed after a probe. An endpoint that keeps doing both is overloaded by its "
            "deliveries: set a rate limit.",
            Query(or_zero(rate("webhook_breaker_changes_total", by="state"), "state"), "{{state}}"),
            PER_SECOND,
        ),
    ],
)

ENDPOINTS = row(
    "Endpoints",
    [
        Lines(
            "Failed attempts by kind",
            "Failed requests to receivers. Operators act on egress_denied and secret_unreadable, endpoint owners on "
            "all others.",
            Query(
                or_zero(rate("webhook_attempts_total", 'outcome!="success"', by="outcome"), "outcome"), "{{outcome}}"
            ),
            PER_SECOND,
            stacked=True,
        ),
        Lines(
            "Handed back",
            "Deliveries that a worker returned to Postgres, by reason. No attempt is lost. Many with reason "
            "concurrency mean endpoints that take less than is sent to them.",
            Query(or_zero(rate("webhook_deliveries_handed_back_total", by="reason"), "reason"), "{{reason}}"),
            PER_SECOND,
        ),
        Lines(
            "Attempt duration",
            "How long receivers take to answer, including timeouts.",
            percentiles("webhook_attempt_duration_seconds"),
            SECONDS,
        ),
    ],
)

QUOTA_USED = alike("webhook_top_tenant_quota_used_ratio", by="tenant, quota")

QUOTAS = row(
    "Quotas",
    [
        Table(
            "Tenants nearest to their quotas",
            "How much of a quota a tenant uses. At 100 % its requests are refused. Raise it with PATCH "
            "/api/v1/admin/tenants/ID, or tell the tenant's owner.",
            Query(QUOTA_USED, "Used"),
            columns={"tenant": "Tenant", "quota": "Quota"},
            units=[SHARE],
        ),
        Lines(
            "Use of the nearest",
            "How much of their quotas the nearest tenants use. A line ends when a tenant is no longer among them.",
            Query(or_zero(QUOTA_USED, "tenant"), "{{tenant}} {{quota}}"),
            SHARE,
            thresholds=[("red", 0.9)],
        ),
        Lines(
            "Refused by quotas",
            "Events and retries by hand that were refused because their tenant has used up a quota.",
            Query(or_zero(rate("webhook_quota_refusals_total", by="quota"), "quota"), "{{quota}}"),
            PER_SECOND,
            stacked=True,
        ),
    ],
)

JOBS = row(
    "Jobs",
    [
        Lines(
            "Jobs",
            "Jobs that have not ended, by kind and status. A paused one does nothing until somebody resumes it.",
            Query(alike("webhook_jobs", by="kind, status"), "{{kind}} {{status}}"),
        ),
        Lines(
            "Deliveries of jobs",
            "Deliveries that jobs looked at. Done: made pending again, or cancelled. Skipped ones were changed by "
            "somebody else or cannot be sent; gone ones have no payload any more.",
            Query(or_zero(rate("webhook_job_deliveries_total", by="kind, outcome"), "outcome"), "{{kind}} {{outcome}}"),
            PER_SECOND,
            stacked=True,
        ),
        Lines(
            "Standing still",
            "For how long the job that has stood still longest did nothing. The runbook of WebhookJobStandsStill says "
            "what to look at.",
            Query(alike("webhook_job_still_seconds", by="kind"), "{{kind}}"),
            SECONDS,
            thresholds=[("red", 600)],
        ),
    ],
)

BOARD = Board(
    "subscriptions",
    "Webhooks / Subscriptions",
    "Which endpoints stand out, why their deliveries are held, and which tenants are near their quotas.",
    [NOW, WORST, GATES, ENDPOINTS, QUOTAS, JOBS],
)
