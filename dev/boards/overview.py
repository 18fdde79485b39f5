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
                text="Deliveries that a receiver answered with 2xx. An event has one for each subscription that wants "
                "it.",
                unit=PER_SECOND,
                queries=[Query(expr=promql.or_zero(promql.rate(ENDED, DELIVERED)))],
            ),
            Stat(
                title="Failed for good",
                text="Deliveries that ended without success: out of retries, or refused. Their reasons are in the API.",
                unit=PER_SECOND,
                queries=[Query(expr=promql.or_zero(promql.rate(ENDED, FAILED)))],
                thresholds=[("orange", 0.1), ("red", 10)],
            ),
            Stat(
                title="Delivered in the end",
                text="Of the deliveries that ended within the time shown, the share that was delivered. Below 99 % "
                "look at Subscriptions: most often few endpoints spoil it.",
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
                text="Deliveries that one more worker could send now. Near 0 in health; when it grows, add workers.",
                queries=[Query(expr=promql.alike("webhook_queue_depth"))],
                thresholds=[("orange", 1_000), ("red", 50_000)],
            ),
            Stat(
                title="Oldest waiting",
                text="How long the longest waiting delivery that nothing holds has waited: the first sign that workers "
                "are too few, or that Postgres is slow.",
                unit=SECONDS,
                queries=[Query(expr=promql.alike("webhook_oldest_waiting_seconds"))],
                thresholds=[("orange", 60), ("red", 300)],
            ),
        ]
    ],
)

FLOW = Row(
    title="Flow",
    lines=[
        [
            Lines(
                title="Accepted, delivered, failed",
                text="What comes in and what ends. Deliveries run ahead of events where many want the same. A gap "
                "between made and delivered that stays open is a backlog.",
                unit=PER_SECOND,
                queries=[
                    Query(expr=promql.rate("webhook_events_accepted_total"), legend="events accepted", color="blue"),
                    Query(
                        expr=promql.rate("webhook_deliveries_created_total"), legend="deliveries made", color="purple"
                    ),
                    Query(expr=promql.or_zero(promql.rate(ENDED, DELIVERED)), legend="delivered", color="green"),
                    Query(expr=promql.or_zero(promql.rate(ENDED, FAILED)), legend="failed", color="red"),
                    Query(expr=promql.or_zero(promql.rate(ENDED, CANCELLED)), legend="cancelled", color="text"),
                ],
            ),
            Lines(
                title="Attempts by outcome",
                text="Requests to receivers, by how they ended. One kind that grows alone points at its cause: timeout "
                "at slow receivers, connect and dns at the network, http_4xx at credentials.",
                unit=PER_SECOND,
                queries=[
                    Query(expr=promql.or_zero(promql.rate(ATTEMPTS, by="outcome"), "outcome"), legend="{{outcome}}")
                ],
                stacked=True,
            ),
            Lines(
                title="Success",
                text="The share of attempts that succeed, and of deliveries that do in the end. Attempts may fail "
                "where retries still deliver; when both fall, receivers or the way to them are broken.",
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
    title="Waiting",
    lines=[
        [
            Lines(
                title="Queue",
                text="Unfinished deliveries that nothing holds: ready to be sent, waiting for their next retry, in a "
                "worker's hand. Each is counted to 100,000.",
                queries=[
                    Query(expr=promql.alike("webhook_queue_depth"), legend="ready", color="orange"),
                    Query(
                        expr=promql.alike("webhook_scheduled_deliveries"), legend="waiting for a retry", color="blue"
                    ),
                    Query(expr=promql.alike("webhook_in_flight_deliveries"), legend="in flight", color="green"),
                ],
            ),
            Lines(
                title="Held, by reason",
                text="Due deliveries that no worker may send, by what holds their subscription. More workers do not "
                "help: a breaker waits for its endpoint, a pause for its owner, a limit for its time.",
                queries=[
                    Query(expr=promql.alike("webhook_held_deliveries", by="reason"), legend="{{reason}}"),
                ],
                stacked=True,
            ),
            Lines(
                title="Wait of the oldest",
                text="Age of the longest waiting delivery that nothing holds. Steps of a few seconds are retries whose "
                "bell was lost; a slope means that work comes in faster than it goes out.",
                unit=SECONDS,
                queries=[Query(expr=promql.alike("webhook_oldest_waiting_seconds"), legend="oldest waiting")],
                thresholds=[("red", 300)],
            ),
        ]
    ],
)

TIME = Row(
    title="Time",
    lines=[
        [
            Lines(
                title="End to end",
                text="From an event's acceptance to the receiver's 2xx, retries included. The slow end is made of "
                "retries and of slow receivers.",
                unit=SECONDS,
                queries=promql.percentiles("webhook_end_to_end_duration_seconds"),
            ),
            Lines(
                title="Accepting",
                text="From a whole request at the gateway to the commit of its event: what a sender waits, network "
                "aside. When it grows look at Stores for the time of a commit.",
                unit=SECONDS,
                queries=promql.percentiles("webhook_accept_duration_seconds"),
            ),
            Lines(
                title="An attempt",
                text="From a request's beginning to its outcome: what receivers take. Slow ones are bounded each for "
                "itself, so that they hold up nobody else.",
                unit=SECONDS,
                queries=promql.percentiles("webhook_attempt_duration_seconds"),
            ),
        ]
    ],
)

TROUBLE = Row(
    title="Trouble",
    lines=[
        [
            Lines(
                title="Refused events",
                text="Requests whose event was not taken in, by reason. NOT_FOUND and SIGNATURE_INVALID are the "
                "senders'; those about queues and unavailability are ours: look at Services and Stores.",
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
                text="Endpoints that fail so often that only probes are sent. They close by themselves when a probe "
                "succeeds; Subscriptions names the longest failing.",
                queries=[
                    Query(expr=promql.alike("webhook_breakers", 'state="open"'), legend="open", color="red"),
                    Query(
                        expr=promql.alike("webhook_breakers", 'state="half_open"'), legend="half open", color="orange"
                    ),
                ],
            ),
            Lines(
                title="Workers' slots in use",
                text="Requests in flight as a share of what the workers may have. Near 1 with a queue: add workers, or "
                "raise WORKER_CONCURRENCY where their CPU time allows.",
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
    text="What comes in, what goes out, what waits, and how long it takes.",
    rows=[NOW, FLOW, WAITING, TIME, TROUBLE],
)
