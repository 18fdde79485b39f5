"""The processes: what they are asked, how fast they answer, and how close to their bounds they are."""

from dev.boards import promql
from dev.boards.grafana import BYTES, PER_SECOND, SECONDS, SHARE, Board, Lines, Query, Row

PROCESSES = Row(
    title="Processes",
    lines=[
        [
            Lines(
                title="Replicas",
                text=(
                    "Scraped processes by component and version. Two versions at once are a rollout; if that lasts, "
                    "the rollout hangs."
                ),
                queries=[
                    Query(
                        expr=f"count by (component, version) ({promql.series('webhook_build_info')})",
                        legend="{{component}} {{version}}",
                    )
                ],
            ),
            Lines(
                title="Restarts",
                text=(
                    "Processes that restarted in their pod. For workers that restart repeatedly, look at their last "
                    "log lines and at their memory and its limit."
                ),
                queries=[
                    Query(
                        expr=promql.each("process_start_time_seconds", "changes", by="component"),
                        legend="{{component}}",
                    )
                ],
                thresholds=[("red", 1)],
            ),
            Lines(
                title="Event-loop lag, p99",
                text=(
                    "How late a timer fires because the process was busy. Above 0.1 s add replicas of that component."
                ),
                unit=SECONDS,
                queries=[
                    Query(
                        expr=promql.percentile(0.99, "webhook_event_loop_lag_seconds", "component"),
                        legend="{{component}}",
                    )
                ],
                thresholds=[("red", 0.25)],
            ),
        ],
        [
            Lines(
                title="CPU per replica",
                text=(
                    "Cores used by the busiest replica of a component. A process is one event loop: near 1 it is "
                    "saturated, and only more replicas help."
                ),
                queries=[
                    Query(
                        expr=promql.each("process_cpu_seconds_total", "rate", by="component"),
                        legend="{{component}}",
                    )
                ],
                thresholds=[("red", 0.9)],
            ),
            Lines(
                title="Memory per replica",
                text=(
                    "Resident memory of the largest replica of a component. 75 to 130 MiB at rest; queues and large "
                    "payloads add to it. Compare it with the container's limit."
                ),
                unit=BYTES,
                queries=[
                    Query(expr=promql.alike("process_resident_memory_bytes", by="component"), legend="{{component}}")
                ],
            ),
            Lines(
                title="Open files per replica",
                text=(
                    "The share of its file limit that the busiest replica uses. Connections to receivers and clients "
                    "count as files: near 1 raise the limit of the container runtime."
                ),
                unit=SHARE,
                queries=[
                    Query(
                        expr=f"max by (component) ({promql.series('process_open_fds')} / "
                        f"{promql.series('process_max_fds')})",
                        legend="{{component}}",
                    )
                ],
                thresholds=[("red", 0.8)],
                max=1,
            ),
        ],
    ],
)

HTTP = Row(
    title="HTTP at the gateway",
    lines=[
        [
            Lines(
                title="Requests by status",
                text=(
                    "Responses of the gateway. 429 and 503 mean that a limit was reached or a store is unavailable; "
                    "499 is a client that disconnected; there should be no 500."
                ),
                unit=PER_SECOND,
                queries=[
                    Query(expr=promql.rate("webhook_http_requests_total", by="status"), legend="{{status}}"),
                ],
                stacked=True,
            ),
            Lines(
                title="Response time by route, p99",
                text=(
                    "The slow end of each route. Accepting waits for a commit, lists for Postgres, everything else for "
                    "gRPC."
                ),
                unit=SECONDS,
                queries=[
                    Query(
                        expr=promql.percentile(0.99, "webhook_http_request_duration_seconds", "route"),
                        legend="{{route}}",
                    )
                ],
            ),
            Lines(
                title="In flight",
                text=(
                    "HTTP requests and gRPC calls in progress. If it grows without more requests, that component is "
                    "slow."
                ),
                queries=[
                    Query(expr=promql.total("webhook_http_in_flight", 'component="gateway"'), legend="HTTP"),
                    Query(
                        expr=promql.total(
                            "webhook_rpc_in_flight", 'component=~"ingest|delivery|analytics"', by="component"
                        ),
                        legend="gRPC {{component}}",
                    ),
                ],
            ),
        ]
    ],
)

GRPC = Row(
    title="gRPC",
    lines=[
        [
            Lines(
                title="Calls by method",
                text=(
                    "Completed calls. BatchIngest carries many events per call, so it grows more slowly than the "
                    "number of events."
                ),
                unit=PER_SECOND,
                queries=[Query(expr=promql.rate("webhook_rpc_requests_total", by="method"), legend="{{method}}")],
                stacked=True,
            ),
            Lines(
                title="Errors by code",
                text=(
                    "Calls that did not end with OK. UNAVAILABLE and DEADLINE_EXCEEDED: a store or process is "
                    "unavailable or slow. RESOURCE_EXHAUSTED: a queue is full. All others are caused by callers."
                ),
                unit=PER_SECOND,
                queries=[
                    Query(
                        expr=promql.or_zero(
                            promql.rate("webhook_rpc_requests_total", 'code!="OK"', by="method, code"), "code"
                        ),
                        legend="{{code}} {{method}}",
                    )
                ],
                stacked=True,
            ),
            Lines(
                title="Response time by method, p99",
                text=(
                    "The slow end of each method. BatchIngest takes the time of a commit; the others that of Postgres."
                ),
                unit=SECONDS,
                queries=[
                    Query(
                        expr=promql.percentile(0.99, "webhook_rpc_duration_seconds", "method"),
                        legend="{{method}}",
                    )
                ],
            ),
        ],
        [
            Lines(
                title="Events per batch",
                text=(
                    "Average number of events per call to ingest, and per commit. Near 1 when idle; larger under load, "
                    "which makes load cheaper."
                ),
                queries=[
                    Query(expr=promql.mean("webhook_ingest_batch_items"), legend="per call"),
                    Query(expr=promql.mean("webhook_ingest_commit_events"), legend="per commit"),
                ],
            ),
            Lines(
                title="Events waiting for a commit",
                text=(
                    "Queue of the fullest ingest replica. When the queue is full, ingest rejects events: Postgres is "
                    "too slow, or there are too few replicas."
                ),
                queries=[Query(expr=promql.alike("webhook_ingest_waiting_events"), legend="fullest replica")],
            ),
            Lines(
                title="Rejected callers",
                text=(
                    "Requests and calls rejected because of their key, by reason. Many KEY_INVALID are guesses or a "
                    "client with a revoked key; RATE_LIMITED is a client that sends more than its key allows."
                ),
                unit=PER_SECOND,
                queries=[
                    Query(
                        expr=promql.or_zero(promql.rate("webhook_callers_refused_total", by="reason"), "reason"),
                        legend="{{reason}}",
                    )
                ],
                stacked=True,
            ),
        ],
    ],
)

SATURATION = Row(
    title="Workers and dispatchers",
    lines=[
        [
            Lines(
                title="Slots",
                text="Requests in flight, and the maximum over all workers.",
                queries=[
                    Query(expr=promql.total("webhook_worker_busy_slots"), legend="busy", color="orange"),
                    Query(expr=promql.total("webhook_worker_slots"), legend="all", color="text"),
                ],
            ),
            Lines(
                title="Waiting in workers",
                text=(
                    "Deliveries that wait for a slot or for their subscription's share, and outcomes that wait to be "
                    "recorded. Growing outcomes mean that Postgres is slow or unavailable; none is lost."
                ),
                queries=[
                    Query(expr=promql.total("webhook_worker_waiting_ids"), legend="ids"),
                    Query(expr=promql.total("webhook_worker_recording_outcomes"), legend="outcomes"),
                ],
            ),
            Lines(
                title="Claims",
                text=(
                    "Deliveries that workers claimed; notifications without anything left to claim, which arrive too "
                    "late; leases renewed for long requests."
                ),
                unit=PER_SECOND,
                queries=[
                    Query(expr=promql.rate("webhook_worker_claims_total"), legend="claimed", color="green"),
                    Query(
                        expr=promql.rate("webhook_doorbells_stale_total"), legend="stale notifications", color="orange"
                    ),
                    Query(expr=promql.rate("webhook_lease_renewals_total"), legend="renewed", color="blue"),
                ],
            ),
        ],
        [
            Lines(
                title="Leases lost",
                text=(
                    "Leases that expired because a worker died or lost Postgres, and outcomes that arrived after their "
                    "lease. Receivers may have received these deliveries twice."
                ),
                unit=PER_SECOND,
                queries=[
                    Query(expr=promql.rate("webhook_lease_expiries_total"), legend="expired", color="red"),
                    Query(expr=promql.rate("webhook_claims_lost_total"), legend="late outcomes", color="orange"),
                ],
            ),
            Lines(
                title="Dispatcher pass",
                text=(
                    "Time of one pass over what is due. It grows with the number of subscriptions that have waiting "
                    "deliveries, and with a slow Postgres."
                ),
                unit=SECONDS,
                queries=promql.percentiles("webhook_dispatcher_turn_duration_seconds"),
            ),
            Lines(
                title="Since the last dispatcher pass",
                text=(
                    "Age of the newest pass of any dispatcher. Above 10 s no retry is sent: check that a delivery "
                    "process is ready and that Postgres answers."
                ),
                unit=SECONDS,
                queries=[
                    Query(expr=promql.age("webhook_dispatcher_last_turn_timestamp_seconds"), legend="last pass"),
                ],
                thresholds=[("red", 10)],
            ),
        ],
    ],
)

BOARD = Board(
    name="services",
    title="Webhooks / Services",
    text="Load, latency and capacity of the processes.",
    rows=[PROCESSES, HTTP, GRPC, SATURATION],
)
