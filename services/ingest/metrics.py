"""Metrics of the ingest service."""

from prometheus_client import Counter, Gauge, Histogram

from services.platform.process.metrics import SECONDS_BUCKETS

ACCEPTED = Counter("webhook_events_accepted_total", "Events committed with at least one delivery.")
FILTERED = Counter("webhook_events_filtered_total", "Events committed that match no subscription.")
FILTER_EVALUATIONS = Counter("webhook_filter_evaluations_total", "Filters evaluated on events.")
FILTER_NO_MATCHES = Counter("webhook_filter_no_matches_total", "Filters that an event did not match: not delivered.")
FILTER_ERRORS = Counter(
    "webhook_filter_errors_total", "Filters that could not be evaluated on an event: filter_on_error decided."
)
FILTER_SECONDS = Counter("webhook_filter_seconds_total", "Time that evaluating filters took.")
SLOW_FILTERS = Counter("webhook_filter_slow_total", "Evaluations of a filter that took longer than 5 ms.")
SCHEDULED = Counter("webhook_events_scheduled_total", "Events committed that are due later.")
DUE = Counter("webhook_scheduled_events_due_total", "Scheduled events that were due and became events with deliveries.")
LATENESS_SECONDS = Histogram(
    "webhook_scheduled_events_lateness_seconds",
    "From when a scheduled event was due until it was committed with its deliveries.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600),
)
OVERDUE_SECONDS = Gauge(
    "webhook_scheduled_events_overdue_seconds", "How long the oldest scheduled event has been due; 0 if none is."
)
REPEATED = Counter("webhook_events_repeated_total", "Events that repeat an earlier one with the same id or key.")
REJECTED = Counter("webhook_events_rejected_total", "Events refused and not stored.", ["reason"])
VALIDATED = Counter("webhook_events_validated_total", "Events that were validated against a schema.", ["result"])
for _result in ("valid", "warned", "refused"):  # all are shown before the first one
    VALIDATED.labels(_result)
VALIDATION_SECONDS = Histogram(
    "webhook_event_validation_duration_seconds",
    "Duration of validating one event.",
    buckets=(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
)
DELIVERIES = Counter("webhook_deliveries_created_total", "Deliveries created.")
COMMIT_EVENTS = Histogram(
    "webhook_ingest_commit_events", "Events in one commit.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
)
COMMIT_SECONDS = Histogram(
    "webhook_ingest_commit_duration_seconds",
    "Duration of the committing statement.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
UNEXPANDED = Gauge("webhook_unexpanded_events", "Events with a large fan-out that do not have all deliveries yet.")
EXPANDED = Counter("webhook_events_expanded_total", "Events with a large fan-out that got their last delivery.")
EXPANSION_SECONDS = Histogram(
    "webhook_expansion_chunk_duration_seconds",
    "Duration of the transaction that creates a part of an event's deliveries.",
    buckets=SECONDS_BUCKETS,
)
WAITING = Gauge("webhook_ingest_waiting_events", "Events waiting for a commit or being committed.")
CACHE = Counter("webhook_subscription_cache_total", "Lookups of subscriptions on the ingest path.", ["level", "result"])
UNREADABLE_COPIES = Counter(
    "webhook_subscription_cache_unreadable_total",
    "Copies of subscriptions in Redis that were not used: encrypted with another key, or tampered with.",
)
INVALIDATIONS = Counter(
    "webhook_subscription_cache_invalidations_total", "Cache entries dropped because of a change.", ["scope"]
)
for _scope in ("one", "all"):  # both are shown before the first one
    INVALIDATIONS.labels(_scope)
