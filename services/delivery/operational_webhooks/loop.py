"""The loop that makes events of facts."""

import asyncio

import structlog
from prometheus_client import Counter

from services.delivery.operational_webhooks.store import Store
from services.platform import errors

# Metrics of operational events.


EVENTS = Counter("webhook_operational_events_total", "Operational events that were made, by type.", ["event_type"])


# The loop that makes events of facts.


log = structlog.get_logger(__name__)


INTERVAL_SECONDS = 0.5


RETRY_SECONDS = 1.0


async def run(store: Store) -> None:
    """Tells for ever. Facts that cannot be told now stay where they are."""
    while True:
        pause_seconds = INTERVAL_SECONDS
        try:
            told, more = await store.tell()
            for event_type, number in told.items():
                EVENTS.labels(event_type).inc(number)
            if more:
                pause_seconds = 0.0
        except Exception as error:
            if errors.classify(error) is None:
                log.exception("operational events cannot be made on a bug")
            else:
                log.warning("operational events wait for Postgres", error=repr(error))
            pause_seconds = RETRY_SECONDS
        await asyncio.sleep(pause_seconds)
