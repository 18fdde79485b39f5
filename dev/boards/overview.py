"""The first board to look at: what comes in, what goes out, what waits, and how long it takes."""

from dev.boards import promql
from dev.boards.grafana import PER_SECOND, SECONDS, SHARE, Board, Lines, Query, Row, Stat

ENDED = "webhook_deliveries_ended_total"
ATTEMPTS = "webhook_attempts_total"
DELIVERED, FAILED, CANCELLED = 'status="delivered"', 'status="failed"', 'status="cancelled"'
DELIVERED_OR_FAILED = 'status=~"delivered|failed"'

NOW = Row(
    title="Now",
    lines=[
        [
            Stat(
                title="Accepted",
                text="Events committed with at least one delivery, over REST and gRPC.",
                unit=PER_SECOND,
                queries=[Query(expr=promql.rate("webhook_events_accepted_total"))],
            ),
            Stat(
                title="Delivered",
                text=(
                    "Deliveries that a receiver answered with 2xx. An event has one delivery for each matching "
                    "subscription."
                ),
                unit=PER_SECOND,
                queries=[Query(expr=promql.or_zero(promql.rate(ENDED, DELIVERED)))],
            ),
            Stat(
                title="Failed permanently",
                text=(
                    "Deliveries that ended without success: retries exhausted, or rejected. The API has their reasons."
                ),
                unit=PER_SECOND,
                queries=[Query(expr=promql.or_zero(promql.rate(ENDED, FAILED)))],
                thresholds=[("orange", 0.1), ("red", 10)],
            ),
            Stat(
                title="Eventually delivered",
                text=(
                    "The share of the deliveries that ended in the selected time range and succeeded. Below 99 %, look "
                    "at the Subscriptions dashboard: a few endpoints usually cause it."
                ),
                unit=SHARE,
                queries=[
                    Query(
                        expr=promql.share(
                            promql.or_zero(promql.increase(ENDED, DELIVERED, interval="$__range")),
                            promql.increase(ENDED, DELIVERED_OR_FAILED, interval="$__range"),
                        )
                    )
                ],
                thresholds=[("red", 0), ("orange", 0.9), ("green", 0.99)],
                max=1,
            ),
            Stat(
                title="Queue depth",
                text="Deliveries that one more worker could send now. Near 0 when healthy; if it grows, add workers.",
                queries=[Query(expr=promql.alike("webhook_queue_depth"))],
                thresholds=[("orange", 1_000), ("red", 50_000)],
            ),
            Stat(
                title="Oldest waiting",
                text=(
                    "Age of the oldest delivery that is ready to be sent. The first sign of too few workers or a slow "
                    "Postgres."
                ),
                unit=SECONDS,
                queries=[Query(expr=promql.alike("webhook_oldest_waiting_seconds"))],
                thresholds=[("orange", 60), ("red", 300)],
            ),
        ]
    ],
)

FLOW = Row(
    title="Throughput",
    lines=[
        [
            Lines(
                title="Accepted, delivered, failed",
                text=(
                    "Events in and deliveries out. Deliveries outnumber events when several subscriptions match. A "
                    "lasting gap between created and delivered is a backlog."
                ),
                unit=PER_SECOND,
                queries=[
                    Query(expr=promql.rate("webhook_events_accepted_total"), legend="events accepted", color="blue"),
                    Query(
                        expr=promql.rate("webhook_deliveries_created_total"),
                        legend="deliveries created",
                        color="purple",
                    ),
                    Query(expr=promql.or_zero(promql.rate(ENDED, DELIVERED)), legend="delivered", color="green"),
                    Query(expr=promql.or_zero(promql.rate(ENDED, FAILED)), legend="failed", color="red"),
                    Query(expr=promql.or_zero(promql.rate(ENDED, CANCELLED)), legend="cancelled", color="text"),
                ],
            ),
            Lines(
                title="Attempts by outcome",
                text=(
                    "Requests to receivers, by outcome. One outcome that grows indicates its cause: timeout means slow "
                    "receivers, connect and dns the network, http_4xx credentials."
                ),
                unit=PER_SECOND,
                queries=[
                    Query(expr=promql.or_zero(promql.rate(ATTEMPTS, by="outcome"), "outcome"), legend="{{outcome}}")
                ],
                stacked=True,
            ),
            Lines(
                title="Success rate",
                text=(
                    "The share of attempts and of deliveries that succeed. Attempts can fail while retries still "
                    "deliver; if both fall, receivers or the network path to them are broken."
                ),
                unit=SHARE,
                queries=[
                    Query(
                        expr=promql.share(
                            promql.or_zero(promql.rate(ATTEMPTS, 'outcome="success"')), promql.rate(ATTEMPTS)
                        ),
                        legend="attempts",
                        color="blue",
                    ),
                    Query(
                        expr=promql.share(
                            promql.or_zero(promql.rate(ENDED, DELIVERED)),
                            promql.rate(ENDED, DELIVERED_OR_FAILED),
                        ),
                        legend="deliveries",
                        color="green",
                    ),
                ],
                max=1,
            ),
        ]
    ],
)

WAITING = Row(
    title="Backlog",
    lines=[
        [
            Lines(
                title="Queue",
                text=(
                    "Unfinished deliveries that are not suspended: ready to be sent, waiting for a retry, or claimed "
                    "by a worker. Each count stops at 100,000."
                ),
                queries=[
                    Query(expr=promql.alike("webhook_queue_depth"), legend="ready", color="orange"),
                    Query(
                        expr=promql.alike("webhook_scheduled_deliveries"), legend="waiting for a retry", color="blue"
                    ),
                    Query(expr=promql.alike("webhook_in_flight_deliveries"), legend="in flight", color="green"),
                ],
            ),
            Lines(
                title="Suspended, by reason",
                text=(
                    "Due deliveries that no worker may send, by the reason their subscription is suspended. More "
                    "workers do not help: a breaker waits for its endpoint, a pause for its owner, a limit for its "
                    "time."
                ),
                queries=[
                    Query(expr=promql.alike("webhook_held_deliveries", by="reason"), legend="{{reason}}"),
                ],
                stacked=True,
            ),
            Lines(
                title="Oldest wait",
                text=(
                    "Age of the oldest delivery that is ready to be sent. Steps of a few seconds are retries whose "
                    "notification was lost; a slope means that work arrives faster than it is sent."
                ),
                unit=SECONDS,
                queries=[Query(expr=promql.alike("webhook_oldest_waiting_seconds"), legend="oldest waiting")],
                thresholds=[("red", 300)],
            ),
        ]
    ],
)

TIME = Row(
    title="Latency",
    lines=[
        [
            Lines(
                title="End to end",
                text=(
                    "Time from accepting an event to the receiver's 2xx, including retries. Retries and slow receivers "
                    "make up the slow end."
                ),
                unit=SECONDS,
                queries=promql.percentiles("webhook_end_to_end_duration_seconds"),
            ),
            Lines(
                title="Accepting",
                text=(
                    "Time from the complete request at the gateway to the commit of its event: what a sender waits, "
                    "without the network. If it grows, look at commit time on the Stores dashboard."
                ),
                unit=SECONDS,
                queries=promql.percentiles("webhook_accept_duration_seconds"),
            ),
            Lines(
                title="Attempt duration",
                text=(
                    "Time from the start of a request to its outcome. Concurrency is limited per subscription, so a "
                    "slow receiver delays only its own deliveries."
                ),
                unit=SECONDS,
                queries=promql.percentiles("webhook_attempt_duration_seconds"),
            ),
        ]
    ],
)

TROUBLE = Row(
    title="Problems",
    lines=[
        [
            Lines(
                title="Rejected events",
                text=(
                    "Requests whose event was not accepted, by reason. NOT_FOUND and SIGNATURE_INVALID are caused by "
                    "senders; reasons about queues and unavailability by the service: look at the Services and Stores "
                    "dashboards."
                ),
                unit=PER_SECOND,
                queries=[
                    Query(
                        expr=promql.or_zero(promql.rate("webhook_http_events_rejected_total", by="reason"), "reason"),
                        legend="{{reason}}",
                    )
                ],
                stacked=True,
            ),
            Lines(
                title="Circuit breakers",
                text=(
                    "Endpoints that fail so often that only probes are sent. They close when a probe succeeds. The "
                    "Subscriptions dashboard names those that have failed longest."
                ),
                queries=[
                    Query(expr=promql.alike("webhook_breakers", 'state="open"'), legend="open", color="red"),
                    Query(
                        expr=promql.alike("webhook_breakers", 'state="half_open"'), legend="half open", color="orange"
                    ),
                ],
            ),
            Lines(
                title="Worker slots in use",
                text=(
                    "Requests in flight as a share of what the workers allow. Near 1 with a queue: add workers, or "
                    "raise WORKER_CONCURRENCY if they have CPU to spare."
                ),
                unit=SHARE,
                queries=[
                    Query(
                        expr=promql.share(
                            promql.total("webhook_worker_busy_slots"), promql.total("webhook_worker_slots")
                        ),
                        legend="in use",
                    )
                ],
                thresholds=[("red", 0.9)],
                max=1,
            ),
        ]
    ],
)

BOARD = Board(
    name="overview",
    title="Webhooks / Overview",
    text="Traffic in and out, the backlog, and latency.",
    rows=[NOW, FLOW, WAITING, TIME, TROUBLE],
)
