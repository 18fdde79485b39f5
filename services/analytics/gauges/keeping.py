"""The loop that keeps the gauges, at a bounded cost."""

import asyncio
import time

import structlog

from services.analytics.gauges import server, top
from services.analytics.gauges.store import Store
from services.platform import errors
from services.platform.process.metrics import Growth

log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 15.0
# Looking takes no more than a twentieth of the time, however many tables or busy subscriptions there are.
PAUSE_FACTOR = 19.0


async def keep(store: Store, *, top_subscriptions: int) -> None:
    """Measures for ever; while Postgres is away the gauges keep their last value. At 0 no subscription is named."""
    growth = Growth()
    while True:
        started = time.monotonic()
        try:
            await server.measure(store, growth)
            if top_subscriptions:
                await top.measure(store, top_subscriptions)
        except Exception as error:
            if errors.classify(error) is None:
                log.exception("Postgres cannot be measured")
        await asyncio.sleep(max(INTERVAL_SECONDS, PAUSE_FACTOR * (time.monotonic() - started)))
