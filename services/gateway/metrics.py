"""Metrics of the gateway. The label `route` is the path's template, never the path."""

from prometheus_client import Counter, Gauge, Histogram

from services.platform.process.metrics import SECONDS_BUCKETS

REQUESTS = Counter("webhook_http_requests_total", "HTTP requests answered.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "webhook_http_request_duration_seconds", "Time to answer an HTTP request.", ["route"], buckets=SECONDS_BUCKETS
)
IN_FLIGHT = Gauge("webhook_http_in_flight", "HTTP requests being answered.")

# Named apart from the counters of ingest, which count what came over gRPC too: a sum over all processes
# must not count an event twice.
ACCEPTED = Counter("webhook_http_events_accepted_total", "Requests whose event has a delivery.", ["kind"])
FILTERED = Counter("webhook_http_events_filtered_total", "Requests whose event no subscription wanted.")
REJECTED = Counter("webhook_http_events_rejected_total", "Requests whose event was refused.", ["reason"])
ACCEPT_SECONDS = Histogram(
    "webhook_accept_duration_seconds", "From a whole request to the commit of its event.", buckets=SECONDS_BUCKETS
)
BATCH_ITEMS = Histogram(
    "webhook_ingest_batch_items", "Events of one call to ingest.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
)
