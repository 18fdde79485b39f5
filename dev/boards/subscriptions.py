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
                text="Endpoints to which nothing is sent but a probe now and then. What waits for them is kept.",
                queries=[Query(expr=promql.alike("webhook_breakers", 'state="open"'))],
                thresholds=[("orange", 1), ("red", 50)],
            ),
            Stat(
                title="Breakers probing",
                text="Endpoints whose probe is on its way. They close with its success.",
                queries=[Query(expr=promql.alike("webhook_breakers", 'state="half_open"'))],
            ),
            Stat(
                title="Longest failing",
                text="For how long the endpoint that has failed longest has done nothing else. After "
                "DISABLE_AFTER_HOURS its subscription is disabled: tell its owner before.",
                unit=SECONDS,
                queries=[Query(expr=promql.or_zero(promql.alike("webhook_top_subscription_failing_seconds")))],
                thresholds=[("orange", 3_600), ("red", 86_400)],
            ),
            Stat(
                title="Held by breakers",
                text="Due deliveries behind open and recovering breakers, counted to 100,000 each.",
                queries=[
                    Query(expr=promql.summed(promql.alike(HELD, 'reason=~"breaker_open|recovering"', by="reason")))
                ],
            ),
            Stat(
                title="Held by owners",
                text="Due deliveries of paused and disabled subscriptions. They wait until somebody resumes or enables "
                "them, or until they expire.",
                queries=[Query(expr=promql.summed(promql.alike(HELD, 'reason=~"paused|disabled"', by="reason")))],
            ),
            Stat(
                title="Disabled",
                text="Subscriptions that were disabled for what their receiver did, within the time shown: it answered "
                "410, or failed for days.",
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
    title="The worst",
    lines=[
        [
            Table(
                title="Most failed attempts",
                text="The subscriptions with the most failed attempts within five minutes. Look at their attempts in "
                "the API: GET /api/v1/subscriptions/ID/deliveries?status=failed.",
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
                title="Failing for longest",
                text="Endpoints with a breaker that is not closed, by how long they have only failed. Empty in health.",
                columns=NAMES,
                queries=[Query(expr=FAILING, legend="Failing for")],
                units=[SECONDS],
            ),
        ],
        [
            Table(
                title="Most of the workers' time",
                text="The subscriptions whose attempts took the most time together within five minutes: 300 s are one "
                "slot in use all the time. Slow receivers stand here, and busy ones.",
                columns=NAMES,
                queries=[Query(expr=ATTEMPT_SECONDS, legend="Time of attempts")],
                units=[SECONDS],
            ),
            Lines(
                title="Failed attempts of the worst",
                text="Failed attempts of five minutes, of the subscriptions with the most. A line that ends no longer "
                "stands among them.",
                queries=[Query(expr=promql.or_zero(FAILED_ATTEMPTS, "subscription"), legend="{{subscription}}")],
            ),
        ],
    ],
)

GATES = Row(
    title="Gates",
    lines=[
        [
            Lines(
                title="Held, by reason",
                text="Due deliveries that no worker may send. breaker_open and recovering wait for an endpoint, paused "
                "and disabled for an owner, rate_limit and concurrency for room.",
                queries=[Query(expr=promql.alike(HELD, by="reason"), legend="{{reason}}")],
                stacked=True,
            ),
            Lines(
                title="Breakers",
                text="Breakers that are not closed. Many that open at once: the way out of this cluster is broken, not "
                "the receivers.",
                queries=[Query(expr=promql.alike("webhook_breakers", by="state"), legend="{{state}}")],
                stacked=True,
            ),
            Lines(
                title="Changes of breakers",
                text="Breakers that opened, or closed after a probe. Endpoints that do both all the time are "
                "overloaded by their share: give them a rate limit.",
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
                text="What went wrong with requests to receivers. egress_denied and secret_unreadable are for "
                "operators, all others for the owners of endpoints.",
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
                text="Deliveries that a worker left to wait in Postgres, by why. No attempt is lost; many by "
                "concurrency mean endpoints that take less than is sent to them.",
                unit=PER_SECOND,
                queries=[
                    Query(
                        expr=promql.or_zero(promql.rate("webhook_deliveries_handed_back_total", by="reason"), "reason"),
                        legend="{{reason}}",
                    )
                ],
            ),
            Lines(
                title="An attempt",
                text="What receivers take to answer, timeouts included.",
                unit=SECONDS,
                queries=promql.percentiles("webhook_attempt_duration_seconds"),
            ),
        ]
    ],
)

BOARD = Board(
    name="subscriptions",
    title="Webhooks / Subscriptions",
    text="Which endpoints stand out, and what holds their deliveries.",
    rows=[NOW, WORST, GATES, ENDPOINTS],
)
