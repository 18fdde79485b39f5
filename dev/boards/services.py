"""The processes: what they are asked, how fast they answer, and how close to their bounds they are."""

from dev.boards import promql
from dev.boards.grafana import BYTES, PER_SECOND, SECONDS, SHARE, Board, Lines, Query, Row

PROCESSES = Row(
    title="Processes",
    lines=[
        [
            Lines(
                title="Copies",
                text="Processes that were scraped, by component and version. Two versions at once are a roll-out; for "
                "long, one that hangs.",
                queries=[
                    Query(
                        expr=f"count by (component, version) ({promql.series('webhook_build_info')})",
                        legend="{{component}} {{version}}",
                    )
                ],
            ),
            Lines(
                title="Restarts",
                text="Processes that began anew in their pod. Workers that do again and again: look at their last log, "
                "and at their memory beside its limit.",
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
                text="How late a timer fires: how long a process was too busy to look at anything new. Above 0.1 s add "
                "copies of that component.",
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
                title="CPU of a copy",
                text="Cores that the busiest copy of a component uses. A process is one event loop: near 1 it is full, "
                "and only more copies help.",
                queries=[
                    Query(
                        expr=promql.each("process_cpu_seconds_total", "rate", by="component"),
                        legend="{{component}}",
                    )
                ],
                thresholds=[("red", 0.9)],
            ),
            Lines(
                title="Memory of a copy",
                text="Resident memory of the largest copy of a component. At rest 75 to 130 MiB; queues and large "
                "payloads come on top. Compare it with the limit of its container.",
                unit=BYTES,
                queries=[
                    Query(expr=promql.alike("process_resident_memory_bytes", by="component"), legend="{{component}}")
                ],
            ),
            Lines(
                title="Open files of a copy",
                text="The share of its open files that the busiest copy uses. Connections to receivers and clients are "
                "files: near 1 raise the limit of the container runtime.",
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
                text="Answers of the gateway. 429 and 503 are bounds that were reached or a store that is away; 499 is "
                "a client that left before its answer; there should be no 500.",
                unit=PER_SECOND,
                queries=[
                    Query(expr=promql.rate("webhook_http_requests_total", by="status"), legend="{{status}}"),
                ],
                stacked=True,
            ),
            Lines(
                title="Time to answer by route, p99",
                text="The slow end of each route. Accepting waits for a commit, lists for Postgres, all else for gRPC.",
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
                text="HTTP requests and gRPC calls that are being answered. What grows without more requests is what "
                "is slow.",
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
                text="Calls answered. BatchIngest carries many events each, so that it grows slower than events do.",
                unit=PER_SECOND,
                queries=[Query(expr=promql.rate("webhook_rpc_requests_total", by="method"), legend="{{method}}")],
                stacked=True,
            ),
            Lines(
                title="Errors by code",
                text="Calls that ended otherwise than OK. UNAVAILABLE and DEADLINE_EXCEEDED: a store or a process is "
                "away or slow. RESOURCE_EXHAUSTED: a queue is full. All others are the callers'.",
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
                title="Time to answer by method, p99",
                text="The slow end of each method. BatchIngest is the time of a commit; for the others it is Postgres.",
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
                title="Events of a batch",
                text="Events of one call to ingest, and of one commit, on average. Near 1 when idle; larger under "
                "load, which is what makes load cheap.",
                queries=[
                    Query(expr=promql.mean("webhook_ingest_batch_items"), legend="of a call"),
                    Query(expr=promql.mean("webhook_ingest_commit_events"), legend="of a commit"),
                ],
            ),
            Lines(
                title="Events that wait for a commit",
                text="Queue of the fullest copy of ingest. At 5,000 events it refuses more; Postgres is too "
                "slow then, or copies are too few.",
                queries=[Query(expr=promql.alike("webhook_ingest_waiting_events"), legend="fullest copy")],
            ),
            Lines(
                title="Callers refused",
                text="Requests and calls refused for their key, by reason. KEY_INVALID in numbers is somebody who "
                "guesses or a client with a revoked key; RATE_LIMITED one that sends more than its key allows.",
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
                text="Requests in flight, and how many there may be over all workers.",
                queries=[
                    Query(expr=promql.total("webhook_worker_busy_slots"), legend="busy", color="orange"),
                    Query(expr=promql.total("webhook_worker_slots"), legend="all", color="text"),
                ],
            ),
            Lines(
                title="Waiting in workers",
                text="Ids that wait for a slot or for room in their lane, and outcomes that wait to be recorded. "
                "Outcomes that pile up mean that Postgres is slow or away; none is lost.",
                queries=[
                    Query(expr=promql.total("webhook_worker_waiting_ids"), legend="ids"),
                    Query(expr=promql.total("webhook_worker_recording_outcomes"), legend="outcomes"),
                ],
            ),
            Lines(
                title="Claims",
                text="Deliveries that workers claimed; ids that there was nothing to claim for, which means that bells "
                "come late; leases renewed for what takes long.",
                unit=PER_SECOND,
                queries=[
                    Query(expr=promql.rate("webhook_worker_claims_total"), legend="claimed", color="green"),
                    Query(expr=promql.rate("webhook_doorbells_stale_total"), legend="stale ids", color="orange"),
                    Query(expr=promql.rate("webhook_lease_renewals_total"), legend="renewed", color="blue"),
                ],
            ),
        ],
        [
            Lines(
                title="Leases lost",
                text="Leases that ran out, because a worker died or lost Postgres, and outcomes that came too late for "
                "theirs. Receivers may have got these deliveries twice.",
                unit=PER_SECOND,
                queries=[
                    Query(expr=promql.rate("webhook_lease_expiries_total"), legend="ran out", color="red"),
                    Query(expr=promql.rate("webhook_claims_lost_total"), legend="came too late", color="orange"),
                ],
            ),
            Lines(
                title="A turn of the dispatcher",
                text="Time to look at what is due. It grows with the subscriptions that have something waiting, and "
                "with a slow Postgres.",
                unit=SECONDS,
                queries=promql.percentiles("webhook_dispatcher_turn_duration_seconds"),
            ),
            Lines(
                title="Since the last turn",
                text="Age of the newest turn of any dispatcher. Above 10 s retries stand still: is a delivery process "
                "ready, and does Postgres answer?",
                unit=SECONDS,
                queries=[
                    Query(expr=promql.age("webhook_dispatcher_last_turn_timestamp_seconds"), legend="last turn"),
                ],
                thresholds=[("red", 10)],
            ),
        ],
    ],
)

BOARD = Board(
    name="services",
    title="Webhooks / Services",
    text="What the processes are asked, how fast they answer, and how close to their bounds they are.",
    rows=[PROCESSES, HTTP, GRPC, SATURATION],
)
