"""Which endpoints stand out, and what the gates between subscriptions do.

The only series that name subscriptions are those of the TOP_SUBSCRIPTIONS worst: see docs/reference/metrics.md.
"""

from dev.boards import promql
from dev.boards.grafana import COUNT, PER_SECOND, SECONDS, SHARE, Board, Lines, Query, Row, Stat, Table

NAMES = {"tenant": "Tenant", "subscription": "Subscription"}
BY_NAME = "tenant, subscription"
HELD = "webhook_held_deliveries"
FAILED_ATTEMPTS = promql.alike("webhook_top_subscription_failed_attempts", by=BY_NAME)
FAILING = promql.alike("webhook_top_subscription_failing_seconds", by=BY_NAME)
ATTEMPT_SECONDS = promql.alike("webhook_top_subscription_attempt_seconds", by=BY_NAME)

NOW = Row(
    title="Now",
    lines=[
        [
            Stat(
                title="Breakers open",
                text="Endpoints that receive only an occasional probe. Their deliveries are kept.",
                queries=[Query(expr=promql.alike("webhook_breakers", 'state="open"'))],
                thresholds=[("orange", 1), ("red", 50)],
            ),
            Stat(
                title="Breakers probing",
                text="Endpoints with a probe in flight. The breaker closes if it succeeds.",
                queries=[Query(expr=promql.alike("webhook_breakers", 'state="half_open"'))],
            ),
            Stat(
                title="Longest failing",
                text=(
                    "How long the endpoint that has failed longest has only failed. After DISABLE_AFTER_HOURS its "
                    "subscription is disabled: tell its owner before then."
                ),
                unit=SECONDS,
                queries=[Query(expr=promql.or_zero(promql.alike("webhook_top_subscription_failing_seconds")))],
                thresholds=[("orange", 3_600), ("red", 86_400)],
            ),
            Stat(
                title="Suspended by breakers",
                text="Due deliveries behind open and recovering breakers. Each count stops at 100,000.",
                queries=[
                    Query(expr=promql.summed(promql.alike(HELD, 'reason=~"breaker_open|recovering"', by="reason")))
                ],
            ),
            Stat(
                title="Suspended by owners",
                text=(
                    "Due deliveries of paused and disabled subscriptions. They wait until the subscription is resumed "
                    "or enabled, or until they expire."
                ),
                queries=[Query(expr=promql.summed(promql.alike(HELD, 'reason=~"paused|disabled"', by="reason")))],
            ),
            Stat(
                title="Disabled",
                text=(
                    "Subscriptions disabled in the selected time range because of their receiver: it answered 410, or "
                    "failed for days."
                ),
                queries=[
                    Query(
                        expr=promql.or_zero(
                            promql.whole(promql.increase("webhook_subscriptions_disabled_total", interval="$__range"))
                        )
                    )
                ],
                thresholds=[("orange", 1)],
            ),
        ]
    ],
)

WORST = Row(
    title="Worst subscriptions",
    lines=[
        [
            Table(
                title="Most failed attempts",
                text=(
                    "The subscriptions with the most failed attempts in five minutes. The API lists them: GET "
                    "/api/v1/subscriptions/ID/deliveries?status=failed."
                ),
                columns=NAMES,
                queries=[
                    Query(expr=FAILED_ATTEMPTS, legend="Failed"),
                    Query(expr=promql.alike("webhook_top_subscription_attempts", by=BY_NAME), legend="Attempts"),
                    Query(
                        expr=f"{FAILED_ATTEMPTS} / {promql.alike('webhook_top_subscription_attempts', by=BY_NAME)}",
                        legend="Share failed",
                    ),
                ],
                units=[COUNT, COUNT, SHARE],
            ),
            Table(
                title="Failing longest",
                text="Endpoints whose breaker is not closed, by how long they have only failed. Empty when healthy.",
                columns=NAMES,
                queries=[Query(expr=FAILING, legend="Failing for")],
                units=[SECONDS],
            ),
        ],
        [
            Table(
                title="Most worker time",
                text=(
                    "The subscriptions whose attempts took the most time in five minutes: 300 s is one slot in "
                    "constant use. Slow receivers appear here, and busy ones."
                ),
                columns=NAMES,
                queries=[Query(expr=ATTEMPT_SECONDS, legend="Time of attempts")],
                units=[SECONDS],
            ),
            Lines(
                title="Failed attempts of the worst",
                text=(
                    "Failed attempts in five minutes, for the subscriptions with the most. A line ends when a "
                    "subscription is no longer among them."
                ),
                queries=[Query(expr=promql.or_zero(FAILED_ATTEMPTS, "subscription"), legend="{{subscription}}")],
            ),
        ],
    ],
)

GATES = Row(
    title="Suspended deliveries",
    lines=[
        [
            Lines(
                title="Suspended, by reason",
                text=(
                    "Due deliveries that no worker may send. breaker_open and recovering wait for an endpoint, paused "
                    "and disabled for an owner, rate_limit and concurrency for capacity."
                ),
                queries=[Query(expr=promql.alike(HELD, by="reason"), legend="{{reason}}")],
                stacked=True,
            ),
            Lines(
                title="Breakers",
                text=(
                    "Breakers that are not closed. If many open at once, the network path out of this cluster is "
                    "broken, not the receivers."
                ),
                queries=[Query(expr=promql.alike("webhook_breakers", by="state"), legend="{{state}}")],
                stacked=True,
            ),
            Lines(
                title="Breaker changes",
                text=(
                    "Breakers that opened, or closed after a probe. An endpoint that keeps doing both is overloaded by "
                    "its deliveries: set a rate limit."
                ),
                unit=PER_SECOND,
                queries=[
                    Query(
                        expr=promql.or_zero(promql.rate("webhook_breaker_changes_total", by="state"), "state"),
                        legend="{{state}}",
                    )
                ],
            ),
        ]
    ],
)

ENDPOINTS = Row(
    title="Endpoints",
    lines=[
        [
            Lines(
                title="Failed attempts by kind",
                text=(
                    "Failed requests to receivers. Operators act on egress_denied and secret_unreadable, endpoint "
                    "owners on all others."
                ),
                unit=PER_SECOND,
                queries=[
                    Query(
                        expr=promql.or_zero(
                            promql.rate("webhook_attempts_total", 'outcome!="success"', by="outcome"), "outcome"
                        ),
                        legend="{{outcome}}",
                    )
                ],
                stacked=True,
            ),
            Lines(
                title="Handed back",
                text=(
                    "Deliveries that a worker returned to Postgres, by reason. No attempt is lost. Many with reason "
                    "concurrency mean endpoints that take less than is sent to them."
                ),
                unit=PER_SECOND,
                queries=[
                    Query(
                        expr=promql.or_zero(promql.rate("webhook_deliveries_handed_back_total", by="reason"), "reason"),
                        legend="{{reason}}",
                    )
                ],
            ),
            Lines(
                title="Attempt duration",
                text="How long receivers take to answer, including timeouts.",
                unit=SECONDS,
                queries=promql.percentiles("webhook_attempt_duration_seconds"),
            ),
        ]
    ],
)

BOARD = Board(
    name="subscriptions",
    title="Webhooks / Subscriptions",
    text="Which endpoints stand out, and why their deliveries are suspended.",
    rows=[NOW, WORST, GATES, ENDPOINTS],
)
