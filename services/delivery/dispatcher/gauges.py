"""Keeps the gauges of the queue, at a bounded cost."""

import asyncio
import time

import structlog

from services.delivery.dispatcher import metrics
from services.delivery.dispatcher.store import Store
from services.delivery.dispatcher.turns import Turns
from services.domain import doorbell
from services.platform import errors
from services.platform.stores.redis import REDIS_AWAY

log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 2.0
# Measuring takes a fifth of the time of one connection at most: the slower it is, the rarer.
SHARE = 5
COUNT_LIMIT = 100_000
# What holds deliveries, as docs/delivery.md explains.
HELD_BY = ("subscription_deleted", "paused", "disabled", "breaker_open", "recovering", "concurrency", "rate_limit")


async def keep(store: Store, turns: Turns, broker: doorbell.Broker) -> None:
    """Measures for ever; while a store is away its gauges keep their last value.

    The first time after a pause, for it takes turns to learn what is held: before them a million deliveries behind a
    rate limit look like work for more workers. Until then the depth is 0, as it is exported from the first scrape; that
    is outvoted by the other copies, and by an autoscaler's stabilisation window where there are none.
    """
    pause_seconds = INTERVAL_SECONDS
    while True:
        await asyncio.sleep(pause_seconds)
        started = time.monotonic()
        try:
            await _measure_queue(store, turns)
        except Exception as error:
            if errors.classify(error) is None:
                log.exception("the queue cannot be measured")
        pause_seconds = max(INTERVAL_SECONDS, (SHARE - 1) * (time.monotonic() - started))
        await _measure_stream(broker)


async def _measure_queue(store: Store, turns: Turns) -> None:
    walk = await store.walk()
    # By the gates of now where that can be said of the subscription alone, else by those of the last turn.
    reasons = {name: turns.held[name] for name in walk.waiting if name in turns.held}
    reasons |= {name: endpoint.held_by for name, endpoint in walk.waiting.items() if endpoint.held_by}
    reasons |= dict.fromkeys(walk.deleted, "subscription_deleted")
    sendable = [name for name in walk.pending if name not in reasons]
    retried = [name for name in walk.scheduled if name not in reasons]
    metrics.QUEUE_DEPTH.set(await store.count_waiting("pending", sendable, limit=COUNT_LIMIT))
    metrics.SCHEDULED.set(await store.count_waiting("scheduled", retried, limit=COUNT_LIMIT))
    metrics.IN_FLIGHT.set(await store.count_in_flight(limit=COUNT_LIMIT))
    for reason in HELD_BY:
        held = [name for name, found in reasons.items() if found == reason]
        metrics.HELD.labels(reason).set(await store.count_held(held, limit=COUNT_LIMIT) if held else 0)
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
