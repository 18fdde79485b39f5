"""Metrics of the relay."""

import enum

from prometheus_client import Counter, Gauge, Histogram

from services.platform.process.metrics import SECONDS_BUCKETS


class RowOutcome(enum.StrEnum):
    """What became of a claimed row."""

    # It is an event.
    ACCEPTED = "accepted"
    # It was one already: an earlier answer was lost.
    REPEATED = "repeated"
    # For good; it stays in the table.
    REFUSED = "refused"
    # For now; it is claimed again later.
    DEFERRED = "deferred"


ROWS = Counter("webhook_outbox_rows_total", "Claimed rows of the outbox, by what became of them.", ["outcome"])
for _outcome in RowOutcome:
    ROWS.labels(_outcome)
LEASES_LOST = Counter(
    "webhook_outbox_leases_lost_total", "Rows whose lease had ended before their outcome was written to the outbox."
)
CALL_FAILURES = Counter(
    "webhook_outbox_call_failures_total", "Calls to ingest that failed as a whole, by reason code.", ["reason"]
)
BATCH_ROWS = Histogram(
    "webhook_outbox_batch_rows", "Rows of one claim.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 500)
)
WAIT_SECONDS = Histogram(
    "webhook_outbox_wait_duration_seconds",
    "Time from a row's insertion until it was accepted.",
    buckets=(*SECONDS_BUCKETS, 60, 300, 3600),
)
OLDEST_SECONDS = Gauge("webhook_outbox_oldest_row_seconds", "Age of the first row that waits.")
WAITING_ROWS = Gauge("webhook_outbox_waiting_rows", "Rows that wait.")
FAILED_ROWS = Gauge("webhook_outbox_failed_rows", "Rows that were refused, and stay in the table.")
