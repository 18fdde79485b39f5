"""Metrics of deliveries that more than one service counts."""

from prometheus_client import Counter

DOORBELLS_RUNG = Counter("webhook_doorbells_rung_total", "Messages sent to the stream.", ["result"])
DELIVERIES_RUNG = Counter("webhook_deliveries_rung_total", "Delivery ids in the messages sent.")
DELIVERIES_ENDED = Counter("webhook_deliveries_ended_total", "Deliveries that reached a final state.", ["status"])
