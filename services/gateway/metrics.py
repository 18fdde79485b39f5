"""Metrics of the gateway. The label `route` is the path template, never the path."""

from prometheus_client import Counter, Gauge, Histogram

from services.platform.process.metrics import SECONDS_BUCKETS

REQUESTS = Counter(
    "webhook_http_requests_total", "HTTP requests, by method, route, and status.", ["method", "route", "status"]
)
REQUEST_SECONDS = Histogram(
    "webhook_http_request_duration_seconds", "Duration of an HTTP request.", ["route"], buckets=SECONDS_BUCKETS
)
UNREAD_PULLS = Gauge("webhook_http_unread_pull_bytes", "Bytes of responses to pulls that consumers have not read.")
IN_FLIGHT = Gauge("webhook_http_in_flight", "HTTP requests in progress.")

# The names differ from those of ingest's counters, which include events over gRPC: a sum over all processes must not
# count an event twice.
ACCEPTED = Counter(
    "webhook_http_events_accepted_total",
    "Requests whose event was stored with at least one delivery, by kind.",
    ["kind"],
)
SCHEDULED = Counter("webhook_http_events_scheduled_total", "Requests whose event was stored and is due later.")
FILTERED = Counter("webhook_http_events_filtered_total", "Requests whose event was stored but matches no subscription.")
REJECTED = Counter(
    "webhook_http_events_rejected_total", "Requests whose event was refused, by reason code.", ["reason"]
)
REFUSALS_UNCOUNTED = Counter(
    "webhook_http_refusals_uncounted_total",
    "Refused events that their tenant's statistics do not have, because too much waited for analytics.",
)
ACCEPT_SECONDS = Histogram(
    "webhook_accept_duration_seconds",
    "Time from the end of a request to the commit of its event.",
    buckets=SECONDS_BUCKETS,
)
BATCH_ITEMS = Histogram(
    "webhook_ingest_batch_items", "Events in one call to ingest.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
)
