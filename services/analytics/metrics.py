"""Metrics of the analytics process; listed in docs/reference/metrics.md."""

from prometheus_client import Counter, Gauge, Histogram

ROLLUP_SECONDS = Histogram(
    "webhook_rollup_duration_seconds",
    "Duration of a roll-up, from lock to commit.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
ROLLUP_ROWS = Gauge("webhook_rollup_rows", "Statistics rows written by this process's latest roll-up.")
ROLLUP_ERRORS = Counter("webhook_rollup_errors_total", "Roll-ups that failed and are retried.")
ROLLUP_LAST_SUCCESS = Gauge(
    "webhook_rollup_last_success_timestamp_seconds",
    "Time up to which statistics are complete, by the database's clock.",
)
ROLLUP_HOURS = Gauge(
    "webhook_rollup_hours_timestamp_seconds",
    "Time up to which hours are summed up, as of the latest hour that this process summed up.",
)
SERIES = Counter(
    "webhook_stats_series_total", "Statistics over time that were returned, by where they were.", ["source"]
)
for _source in ("memory", "postgres"):
    SERIES.labels(_source)

RETENTION_SECONDS = Histogram(
    "webhook_retention_duration_seconds",
    "Duration of a pass of retention.",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300),
)
RETENTION_PARTITIONS_DROPPED = Counter("webhook_retention_partitions_dropped_total", "Partitions dropped.")
RETENTION_ROWS_DELETED = Counter(
    "webhook_retention_rows_deleted_total", "Rows of statistics and of the audit log deleted because of their age."
)
RETENTION_OVERDUE = Gauge(
    "webhook_retention_overdue_partitions",
    "Partitions past LOG_RETENTION_HOURS that could not be dropped, or were kept beyond DELIVERY_EXPIRY_HOURS and "
    "RECOVERY_HOURS.",
)
RETENTION_HELD = Gauge(
    "webhook_retention_held_partitions",
    "Partitions past LOG_RETENTION_HOURS that are kept because of unfinished deliveries, recent failures, or fresh "
    "attempts.",
)
RETENTION_ERRORS = Counter("webhook_retention_errors_total", "Passes of retention that failed and are retried.")
RETENTION_LAST_SUCCESS = Gauge(
    "webhook_retention_last_success_timestamp_seconds", "When a pass of retention last ended without an error."
)
