"""Keeps the gauges of the queue, at a bounded cost."""

import asyncio

import structlog

from services.common import doorbell, errors
from services.common.redis import REDIS_AWAY
from services.delivery.dispatcher import metrics
from services.delivery.dispatcher.store import Store

log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 2.0
COUNT_LIMIT = 100_000


async def keep(store: Store, broker: doorbell.Broker) -> None:
    """Measures for ever; while a store is away its gauges keep their last value."""
    while True:
        try:
            walk = await store.walk()
            depths = await store.depths(walk.deleted, limit=COUNT_LIMIT)
            oldest = await store.oldest_waiting_seconds(walk.pending, hold_seconds=doorbell.RUNG_SECONDS)
        except Exception as error:
            if errors.classify(error) is None:
                log.exception("the queue cannot be measured")
        else:
            metrics.QUEUE_DEPTH.set(depths.pending)
            metrics.SCHEDULED.set(depths.scheduled)
            metrics.IN_FLIGHT.set(depths.in_flight)
            metrics.HELD.labels("subscription_deleted").set(depths.held_deleted)
            metrics.OLDEST_WAITING.set(oldest)
        await _measure_stream(broker)
        await asyncio.sleep(INTERVAL_SECONDS)


async def _measure_stream(broker: doorbell.Broker) -> None:
    try:
        async with asyncio.timeout(doorbell.RING_TIMEOUT_SECONDS):
            metrics.STREAM_MESSAGES.set(await broker.measure())
    except REDIS_AWAY:
        return


async def sweep(broker: doorbell.Broker) -> None:
    """Removes what dead workers left in the stream, every ten seconds for ever."""
    while True:
        await asyncio.sleep(10)
        try:
            metrics.DOORBELLS_SWEPT.inc(await broker.sweep())
        except REDIS_AWAY as error:
            log.debug("the stream cannot be swept", error=repr(error))
