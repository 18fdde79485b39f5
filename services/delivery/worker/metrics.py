"""Metrics of a worker."""

from prometheus_client import Counter, Gauge, Histogram

from services.domain.states import BreakerState, StatusReason
from services.platform.process.metrics import SECONDS_BUCKETS

ATTEMPTS = Counter("webhook_attempts_total", "Completed delivery attempts, by outcome.", ["outcome"])
ATTEMPT_SECONDS = Histogram(
    "webhook_attempt_duration_seconds", "Time from the start of a request to its outcome.", buckets=SECONDS_BUCKETS
)
END_TO_END_SECONDS = Histogram(
    "webhook_end_to_end_duration_seconds",
    "Time from an event's acceptance to the receiver's 2xx, including retries.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400),
)
CONCURRENCY = Gauge("webhook_worker_slots", "WORKER_CONCURRENCY: requests that may be in flight.")
BUSY = Gauge("webhook_worker_busy_slots", "Requests in flight.")
WAITING = Gauge("webhook_worker_waiting_ids", "Delivery ids waiting for a slot.")
RECORDING = Gauge("webhook_worker_recording_outcomes", "Outcomes waiting to be recorded or being recorded.")
IDS_HEARD = Counter("webhook_worker_ids_total", "Delivery ids received, by source.", ["source"])
CLAIMED = Counter("webhook_worker_claims_total", "Deliveries claimed, those handed over included.")
STALE = Counter(
    "webhook_doorbells_stale_total", "Delivery ids that a worker received when there was nothing left to claim."
)
RENEWED = Counter("webhook_lease_renewals_total", "Leases renewed.")
LOST = Counter("webhook_claims_lost_total", "Outcomes whose claim was lost before they were recorded.")
HANDED_BACK = Counter(
    "webhook_deliveries_handed_back_total", "Deliveries that a worker left waiting in Postgres, by reason.", ["reason"]
)
BREAKER_CHANGES = Counter("webhook_breaker_changes_total", "Circuit breaker state changes, by new state.", ["state"])
SUBSCRIPTIONS_DISABLED = Counter(
    "webhook_subscriptions_disabled_total", "Subscriptions disabled because of their receiver's responses.", ["reason"]
)
# What is rare begins at 0, so that its first time is an increase.
for _state in (BreakerState.OPEN, BreakerState.CLOSED):
    BREAKER_CHANGES.labels(_state)
for _reason in (StatusReason.GONE, StatusReason.FAILING):
    SUBSCRIPTIONS_DISABLED.labels(_reason)
