"""Metrics that every process, or every user of a shared part, exports. All are listed in docs/reference/metrics.md.

A process keeps its own registry-wide set in its services/<name>/metrics.py; labels are bounded, and
never carry an id or a URL. The only exception, a bounded one, is in services/analytics/gauges.py.
"""

import platform

from prometheus_client import Counter, Gauge, Histogram

# That of pyproject.toml: the image has no metadata of a distribution. `make release-check` compares them.
VERSION = "0.1.0"
# From an idle hop on loopback to the longest deadline.
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BUILD_INFO = Gauge(
    "webhook_build_info",
    "Always 1; the labels are a role of this process and its version.",
    ["version", "python", "role"],
)
RPC_REQUESTS = Counter("webhook_rpc_requests_total", "gRPC calls, by method and code.", ["method", "code"])
RPC_SECONDS = Histogram("webhook_rpc_duration_seconds", "Duration of a gRPC call.", ["method"], buckets=SECONDS_BUCKETS)
RPC_IN_FLIGHT = Gauge("webhook_rpc_in_flight", "gRPC calls in progress.")
CALLERS_REFUSED = Counter(
    "webhook_callers_refused_total", "Calls and requests refused because of their API key, by reason code.", ["reason"]
)
GRPC_CERTIFICATE_NOT_AFTER = Gauge(
    "webhook_grpc_certificate_not_after_timestamp_seconds",
    "When the certificate of this process expires; 0 without TLS.",
)
STORE_UP = Gauge("webhook_store_up", "Whether this process can reach a store: 1 or 0.", ["store"])
POSTGRES_CONNECTIONS = Gauge("webhook_postgres_connections", "Connections of this process's pool.", ["state"])
SPANS_EXPORTED = Counter("webhook_spans_exported_total", "Spans that the collector accepted.")
SPANS_DROPPED = Counter(
    "webhook_spans_dropped_total", "Spans that the collector refused, or that did not fit in the queue."
)
EVENT_LOOP_LAG = Histogram("webhook_event_loop_lag_seconds", "Event-loop lag.", buckets=SECONDS_BUCKETS)


def export_build_info(*roles: str) -> None:
    """Set webhook_build_info for each role of this process."""
    for role in roles:
        BUILD_INFO.labels(VERSION, platform.python_version(), role).set(1)


class Growth:
    """Turns totals that something else counts into increments of our own counters.

    It remembers each total. One that fell started again, as after a restart, and grew by nothing.
    """

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}

    def of(self, name: str, total: float) -> float:
        """Return by how much the total of this name grew; 0 the first time."""
        before = self._seen.get(name, total)
        self._seen[name] = total
        return max(0.0, total - before)
