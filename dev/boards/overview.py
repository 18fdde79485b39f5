"""The first board to look at: traffic in and out, the backlog, and latency."""

from dev.boards.grafana import PER_SECOND, SECONDS, SHARE, Board, Lines, Query, Stat, row
from dev.boards.promql import alike, increase, or_zero, percentiles, rate, share, total

ENDED = "webhook_deliveries_ended_total"
ATTEMPTS = "webhook_attempts_total"
DELIVERED, FAILED, CANCELLED = 'status="delivered"', 'status="failed"', 'status="cancelled"'
DELIVERED_OR_FAILED = 'status=~"delivered|failed"'

NOW = row(
    "Now",
    [
        Stat(
            "Accepted",
            "Events committed with at least one delivery, over REST and gRPC.",
            rate("webhook_events_accepted_total"),
            PER_SECOND,
        ),
        Stat(
            "Delivered",
            "Deliveries that a receiver answered with 2xx. An event has one delivery for each matching subscription.",
            or_zero(rate(ENDED, DELIVERED)),
            PER_SECOND,
        ),
        Stat(
            "Failed permanently",
            "Deliveries that ended without success: retries exhausted, or rejected. The API has their reasons.",
            or_zero(rate(ENDED, FAILED)),
            PER_SECOND,
            thresholds=[("orange", 0.1), ("red", 10)],
        ),
        Stat(
            "Eventually delivered",
            "The share of the deliveries that ended in the selected time range and succeeded. Below 99 %, look at the "
            "Subscriptions dashboard: a few endpoints usually cause it.",
            share(
                or_zero(increase(ENDED, DELIVERED, interval="$__range")),
                increase(ENDED, DELIVERED_OR_FAILED, interval="$__range"),
            ),
            SHARE,
            thresholds=[("red", 0), ("orange", 0.9), ("green", 0.99)],
            max=1,
        ),
        Stat(
            "Queue depth",
            "Deliveries that one more worker could send now. Near 0 when healthy; if it grows, add workers.",
            alike("webhook_queue_depth"),
            thresholds=[("orange", 1_000), ("red", 50_000)],
        ),
        Stat(
            "Oldest waiting",
            "Age of the oldest delivery that is ready to be sent. The first sign of too few workers or a slow "
            "Postgres.",
            alike("webhook_oldest_waiting_seconds"),
            SECONDS,
            thresholds=[("orange", 60), ("red", 300)],
        ),
    ],
)

FLOW = row(
    "Throughput",
    [
        Lines(
            "Accepted, delivered, failed",
            "Events in and deliveries out. Deliveries outnumber events when several subscriptions match. A lasting gap "
            "between created and delivered is a backlog.",
            [
                Query(rate("webhook_events_accepted_total"), "events accepted", "blue"),
                Query(rate("webhook_deliveries_created_total"), "deliveries created", "purple"),
                Query(or_zero(rate(ENDED, DELIVERED)), "delivered", "green"),
                Query(or_zero(rate(ENDED, FAILED)), "failed", "red"),
                Query(or_zero(rate(ENDED, CANCELLED)), "cancelled", "text"),
            ],
            PER_SECOND,
        ),
        Lines(
            "Accepted over HTTP, by kind",
            "How events arrive at gateways: webhook is for one subscription, event is published to all that match, and "
            "cloudevent is the same as a CloudEvent. Events over gRPC and from the outbox are not among them.",
            Query(or_zero(rate("webhook_http_events_accepted_total", by="kind"), "kind"), "{{kind}}"),
            PER_SECOND,
            stacked=True,
        ),
        Lines(
            "Attempts by outcome",
            "Requests to receivers, by outcome. One outcome that grows indicates its cause: timeout means slow "
            "receivers, connect and dns the network, http_4xx credentials.",
            Query(or_zero(rate(ATTEMPTS, by="outcome"), "outcome"), "{{outcome}}"),
            PER_SECOND,
            stacked=True,
        ),
        Lines(
            "Success rate",
            "The share of attempts and of deliveries that succeed. Attempts can fail while retries still deliver; if "
            "both fall, receivers or the network path to them are broken.",
            [
                Query(share(or_zero(rate(ATTEMPTS, 'outcome="success"')), rate(ATTEMPTS)), "attempts", "blue"),
                Query(share(or_zero(rate(ENDED, DELIVERED)), rate(ENDED, DELIVERED_OR_FAILED)), "deliveries", "green"),
            ],
            SHARE,
            max=1,
        ),
    ],
)

WAITING = row(
    "Backlog",
    [
        Lines(
            "Queue",
            "Unfinished deliveries that are not held: ready to be sent, waiting for a retry, or claimed by a "
            "worker. Each count stops at 100,000.",
            [
                Query(alike("webhook_queue_depth"), "ready", "orange"),
                Query(alike("webhook_scheduled_deliveries"), "waiting for a retry", "blue"),
                Query(alike("webhook_in_flight_deliveries"), "in flight", "green"),
            ],
        ),
        Lines(
            "Held, by reason",
            "Due deliveries that no worker may send, by reason. More workers do not help: a breaker waits for its "
            "endpoint, a pause for its owner, a limit for its time.",
            Query(alike("webhook_held_deliveries", by="reason"), "{{reason}}"),
            stacked=True,
        ),
        Lines(
            "Oldest wait",
            "Age of the oldest delivery that is ready to be sent. Steps of a few seconds are retries whose "
            "notification was lost; a slope means that work arrives faster than it is sent.",
            Query(alike("webhook_oldest_waiting_seconds"), "oldest waiting"),
            SECONDS,
            thresholds=[("red", 300)],
        ),
    ],
)

TIME = row(
    "Latency",
    [
        Lines(
            "End to end",
            "Time from accepting an event to the receiver's 2xx, including retries. Retries and slow receivers make up "
            "the slow end.",
            percentiles("webhook_end_to_end_duration_seconds"),
            SECONDS,
        ),
        Lines(
            "Accepting",
            "Time from the complete request at the gateway to the commit of its event: what a sender waits, without "
            "the network. If it grows, look at commit time on the Stores dashboard.",
            percentiles("webhook_accept_duration_seconds"),
            SECONDS,
        ),
        Lines(
            "Attempt duration",
            "Time from the start of a request to its outcome. Concurrency is limited per subscription, so a slow "
            "receiver delays only its own deliveries.",
            percentiles("webhook_attempt_duration_seconds"),
            SECONDS,
        ),
    ],
)

TROUBLE = row(
    "Problems",
    [
        Lines(
            "Rejected events",
            "Requests whose event was not accepted, by reason. NOT_FOUND and SIGNATURE_INVALID are caused by senders; "
            "reasons about queues and unavailability by the service: look at the Services and Stores dashboards.",
            Query(or_zero(rate("webhook_http_events_rejected_total", by="reason"), "reason"), "{{reason}}"),
            PER_SECOND,
            stacked=True,
        ),
        Lines(
            "Circuit breakers",
            "Endpoints that fail so often that only probes are sent. They close when a probe succeeds. The "
            "Subscriptions dashboard names those that have failed longest.",
            [
                Query(alike("webhook_breakers", 'state="open"'), "open", "red"),
                Query(alike("webhook_breakers", 'state="half_open"'), "half open", "orange"),
            ],
        ),
        Lines(
            "Worker slots in use",
            "Requests in flight as a share of what the workers allow. Near 1 with a queue: add workers, or raise "
            "WORKER_CONCURRENCY if they have CPU to spare.",
            Query(share(total("webhook_worker_busy_slots"), total("webhook_worker_slots")), "in use"),
            SHARE,
            thresholds=[("red", 0.9)],
            max=1,
        ),
    ],
)

BOARD = Board(
    "overview",
    "Webhooks / Overview",
    "Traffic in and out, the backlog, and latency.",
    [NOW, FLOW, WAITING, TIME, TROUBLE],
)
