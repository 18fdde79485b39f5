"""The processes: their load, their latency, and how close to their limits they are."""

from dev.boards.grafana import BYTES, PER_SECOND, SECONDS, SHARE, Board, Lines, Query, row
from dev.boards.promql import age, alike, each, mean, or_zero, percentile, percentiles, rate, series, total

PROCESSES = row(
    "Processes",
    [
        Lines(
            "Replicas",
            "Scraped processes by component and version. Two versions at once are a rollout; if that lasts, the "
            "rollout hangs.",
            Query(f"count by (role, version) ({series('webhook_build_info')})", "{{role}} {{version}}"),
        ),
        Lines(
            "Restarts",
            "Processes that restarted in their pod. For workers that restart repeatedly, look at their last log lines "
            "and at their memory and its limit.",
            Query(each("process_start_time_seconds", "changes", by="component"), "{{component}}"),
            thresholds=[("red", 1)],
        ),
        Lines(
            "Event-loop lag, p99",
            "How late a timer fires because the process was busy. Above 0.1 s add replicas of that component.",
            Query(percentile(0.99, "webhook_event_loop_lag_seconds", "component"), "{{component}}"),
            SECONDS,
            thresholds=[("red", 0.25)],
        ),
    ],
    [
        Lines(
            "CPU per replica",
            "Cores used by the busiest replica of a component. A process is one event loop: near 1 it is saturated, "
            "and only more replicas help.",
            Query(each("process_cpu_seconds_total", "rate", by="component"), "{{component}}"),
            thresholds=[("red", 0.9)],
        ),
        Lines(
            "Memory per replica",
            "Resident memory of the largest replica of a component. 75 to 130 MiB at rest; queues and large payloads "
            "add to it. Compare it with the container's limit.",
            Query(alike("process_resident_memory_bytes", by="component"), "{{component}}"),
            BYTES,
        ),
        Lines(
            "Open files per replica",
            "The share of its file limit that the busiest replica uses. Connections to receivers and clients count as "
            "files: near 1 raise the limit of the container runtime.",
            Query(f"max by (component) ({series('process_open_fds')} / {series('process_max_fds')})", "{{component}}"),
            SHARE,
            thresholds=[("red", 0.8)],
            max=1,
        ),
    ],
)

HTTP = row(
    "HTTP at the gateway",
    [
        Lines(
            "Requests by status",
            "Responses of the gateway. 429 and 503 mean that a limit was reached or a store is unavailable; 499 is a "
            "client that disconnected; there should be no 500.",
            Query(rate("webhook_http_requests_total", by="status"), "{{status}}"),
            PER_SECOND,
            stacked=True,
        ),
        Lines(
            "Response time by route, p99",
            "The slow end of each route. Accepting waits for a commit, lists for Postgres, everything else for gRPC.",
            Query(percentile(0.99, "webhook_http_request_duration_seconds", "route"), "{{route}}"),
            SECONDS,
        ),
        Lines(
            "In flight",
            "HTTP requests and gRPC calls in progress. If it grows without more requests, that component is slow.",
            [
                Query(total("webhook_http_in_flight"), "HTTP"),
                Query(
                    total("webhook_rpc_in_flight", by="component"),
                    "gRPC {{component}}",
                ),
            ],
        ),
    ],
)

GRPC = row(
    "gRPC",
    [
        Lines(
            "Calls by method",
            "Completed calls. BatchIngest carries many events per call, so it grows more slowly than the number of "
            "events.",
            Query(rate("webhook_rpc_requests_total", by="method"), "{{method}}"),
            PER_SECOND,
            stacked=True,
        ),
        Lines(
            "Errors by code",
            "Calls that did not end with OK. UNAVAILABLE and DEADLINE_EXCEEDED: a store or process is unavailable or "
            "slow. RESOURCE_EXHAUSTED: a queue is full. All others are caused by callers.",
            Query(
                or_zero(rate("webhook_rpc_requests_total", 'code!="OK"', by="method, code"), "code"),
                "{{code}} {{method}}",
            ),
            PER_SECOND,
            stacked=True,
        ),
        Lines(
            "Response time by method, p99",
            "The slow end of each method. BatchIngest takes the time of a commit; the others that of Postgres.",
            Query(percentile(0.99, "webhook_rpc_duration_seconds", "method"), "{{method}}"),
            SECONDS,
        ),
    ],
    [
        Lines(
            "Events per batch",
            "Average number of events per call to ingest, and per commit. Near 1 when idle; larger under load, which "
            "makes load cheaper.",
            [
                Query(mean("webhook_ingest_batch_items"), "per call"),
                Query(mean("webhook_ingest_commit_events"), "per commit"),
            ],
        ),
        Lines(
            "Events waiting for a commit or for their deliveries",
            "Queue of the fullest ingest replica. When the queue is full, ingest rejects events: Postgres is too slow, "
            "or there are too few replicas. And events with a large fan-out whose deliveries are still being created.",
            [
                Query(alike("webhook_ingest_waiting_events"), "for a commit, fullest replica"),
                Query(alike("webhook_unexpanded_events"), "for their deliveries"),
            ],
        ),
        Lines(
            "Rejected callers",
            "Requests and calls rejected because of their key, by reason. Many KEY_INVALID are guesses or a client "
            "with a revoked key; RATE_LIMITED is a client that sends more than its key allows.",
            Query(or_zero(rate("webhook_callers_refused_total", by="reason"), "reason"), "{{reason}}"),
            PER_SECOND,
            stacked=True,
        ),
    ],
)

SATURATION = row(
    "Workers and dispatchers",
    [
        Lines(
            "Slots",
            "Requests in flight, and the maximum over all workers.",
            [
                Query(total("webhook_worker_busy_slots"), "busy", "orange"),
                Query(total("webhook_worker_slots"), "all", "text"),
            ],
        ),
        Lines(
            "Waiting in workers",
            "Deliveries that wait for a slot or for their subscription's share, and outcomes that wait to be recorded. "
            "Growing outcomes mean that Postgres is slow or unavailable; none is lost.",
            [
                Query(total("webhook_worker_waiting_ids"), "ids"),
                Query(total("webhook_worker_recording_outcomes"), "outcomes"),
            ],
        ),
        Lines(
            "Claims",
            "Deliveries that workers claimed; notifications without anything left to claim, which arrive too late; "
            "leases renewed for long requests.",
            [
                Query(rate("webhook_worker_claims_total"), "claimed", "green"),
                Query(rate("webhook_doorbells_stale_total"), "stale notifications", "orange"),
                Query(rate("webhook_lease_renewals_total"), "renewed", "blue"),
            ],
            PER_SECOND,
        ),
    ],
    [
        Lines(
            "Leases lost",
            "Leases that expired because a worker died or lost Postgres, and outcomes that arrived after their lease. "
            "Receivers may have received these deliveries twice.",
            [
                Query(rate("webhook_lease_expiries_total"), "expired", "red"),
                Query(rate("webhook_claims_lost_total"), "late outcomes", "orange"),
            ],
            PER_SECOND,
        ),
        Lines(
            "Dispatcher pass",
            "Time of one pass over what is due. It grows with the number of subscriptions that have waiting "
            "deliveries, and with a slow Postgres.",
            percentiles("webhook_dispatcher_turn_duration_seconds"),
            SECONDS,
        ),
        Lines(
            "Since the last dispatcher pass",
            "Age of the newest pass of any dispatcher. Above 10 s no retry is sent: check that a delivery process is "
            "ready and that Postgres answers.",
            Query(age("webhook_dispatcher_last_turn_timestamp_seconds"), "last pass"),
            SECONDS,
            thresholds=[("red", 10)],
        ),
    ],
)

OUTBOX = row(
    "Outbox, with a relay",
    [
        Lines(
            "Rows that wait in the outbox",
            "Committed rows that are no events yet, those that are being sent included; the count stops at 10,000. If "
            "it grows, add relays, or look at what their calls to ingest fail with. Empty without a relay.",
            [
                Query(alike("webhook_outbox_waiting_rows"), "waiting"),
                Query(rate("webhook_outbox_rows_total", 'outcome="accepted"'), "accepted per second", "green"),
            ],
        ),
        Lines(
            "Oldest row of the outbox",
            "Age of the first row that waits. A slope means that no relay works, or that rows are written faster than "
            "they are sent.",
            Query(alike("webhook_outbox_oldest_row_seconds"), "oldest row"),
            SECONDS,
            thresholds=[("red", 300)],
        ),
        Lines(
            "Failed rows of the outbox",
            "Rows that were refused, and stay in the table until somebody mends or deletes them: their column with the "
            "error says why. Should be 0.",
            Query(alike("webhook_outbox_failed_rows"), "failed", "red"),
            thresholds=[("red", 1)],
        ),
    ],
)

BOARD = Board(
    "services",
    "Webhooks / Services",
    "Load, latency and capacity of the processes.",
    [PROCESSES, HTTP, GRPC, SATURATION, OUTBOX],
)
