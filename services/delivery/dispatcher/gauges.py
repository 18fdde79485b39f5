"""Keeps the gauges of the queue, at a bounded cost."""

import asyncio
import time

import structlog

from services.common import doorbell, errors
from services.common.redis import REDIS_AWAY
from services.delivery.dispatcher import metrics
from services.delivery.dispatcher.store import Store
from services.delivery.dispatcher.turns import Turns

log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 2.0
COUNT_LIMIT = 100_000
# What holds deliveries, as docs/delivery.md explains.
HELD_BY = ("subscription_deleted", "paused", "disabled", "breaker_open", "recovering", "concurrency", "rate_limit")


async def keep(store: Store, turns: Turns, broker: doorbell.Broker) -> None:
    """Measures for ever; while a store is away its gauges keep their last value."""
    while True:
        try:
            await _measure_queue(store, turns)
        except Exception as error:
            if errors.classify(error) is None:
                log.exception("the queue cannot be measured")
        await _measure_stream(broker)
        await asyncio.sleep(INTERVAL_SECONDS)


async def _measure_queue(store: Store, turns: Turns) -> None:
    walk = await store.walk()
    # By the gates of now where that can be said of the subscription alone, else by those of the last turn.
    reasons = {name: turns.held[name] for name in walk.waiting if name in turns.held}
    reasons |= {name: endpoint.held_by for name, endpoint in walk.waiting.items() if endpoint.held_by}
    reasons |= dict.fromkeys(walk.deleted, "subscription_deleted")
    depths = await store.depths(list(reasons), limit=COUNT_LIMIT)
    metrics.QUEUE_DEPTH.set(depths.pending)
    metrics.SCHEDULED.set(depths.scheduled)
    metrics.IN_FLIGHT.set(depths.in_flight)
    for reason in HELD_BY:
        held = [name for name, found in reasons.items() if found == reason]
        metrics.HELD.labels(reason).set(await store.count_held(held, limit=COUNT_LIMIT) if held else 0)
    sendable = [name for name in walk.pending if name not in reasons]
    metrics.OLDEST_WAITING.set(await store.oldest_waiting_seconds(sendable, hold_seconds=doorbell.RUNG_SECONDS))
    breakers = await store.breakers()
    for state in ("open", "half_open"):
        metrics.BREAKERS.labels(state).set(breakers.get(state, 0))
    await store.forget_workers()


async def _measure_stream(broker: doorbell.Broker) -> None:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(doorbell.RING_TIMEOUT_SECONDS):
            metrics.STREAM_MESSAGES.set(await broker.measure())
    except REDIS_AWAY:
        return
    metrics.REDIS_SECONDS.observe(time.perf_counter() - started)


async def sweep(broker: doorbell.Broker) -> None:
    """Removes what dead workers left in the stream, every ten seconds for ever."""
    while True:
        await asyncio.sleep(10)
        try:
            metrics.DOORBELLS_SWEPT.inc(await broker.sweep())
        except REDIS_AWAY as error:
            log.debug("the stream cannot be swept", error=repr(error))
