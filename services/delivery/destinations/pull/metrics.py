"""Metrics of what consumers pull."""

from prometheus_client import Counter, Gauge

from services.domain.states import AttemptOutcome

PULLERS = Gauge("webhook_pullers", "Consumers that are pulling, or waiting for something to pull.")
UNREAD = Gauge("webhook_pull_unread_bytes", "Bytes that streams have sent to consumers and these have not read.")
PULLED = Counter("webhook_pulled_deliveries_total", "Deliveries leased to consumers.")
RESULTS = Counter("webhook_pull_attempts_total", "Completed attempts of pulled deliveries, by outcome.", ["outcome"])
for _outcome in (AttemptOutcome.SUCCESS, AttemptOutcome.CONSUMER_FAILED, AttemptOutcome.LEASE_EXPIRED):
    RESULTS.labels(_outcome)
