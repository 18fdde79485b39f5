"""Metrics that the delivery service and its workers share."""

from prometheus_client import Counter

ENDED = Counter("webhook_deliveries_ended_total", "Deliveries that came to their final state.", ["status"])
