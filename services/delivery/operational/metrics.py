"""Metrics of operational events."""

from prometheus_client import Counter

EVENTS = Counter("webhook_operational_events_total", "Operational events that were made, by type.", ["event_type"])
