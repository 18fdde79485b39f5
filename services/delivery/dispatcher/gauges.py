"""Keeps the gauges of the queue and of Redis, at a bounded cost."""

import asyncio
import time
from collections.abc import Mapping

import structlog

from services.delivery.dispatcher import metrics
from services.delivery.dispatcher.store import Store
from services.delivery.dispatcher.turns import Turns
from services.domain import doorbell
from services.platform import errors
from services.platform.process.metrics import Growth
from services.platform.stores.redis import REDIS_AWAY, Client

# Keeps the gauges and counters of Redis as a whole: one INFO every ten seconds.


log = structlog.get_logger(__name__)


REDIS_INTERVAL_SECONDS = 10.0


async def keep_redis(client: Client) -> None:
    """Measures for ever; while Redis is away, or forbids INFO, its gauges keep their last value."""
    growth = Growth()
    while True:
        try:
            _export_redis(await client.info(), growth)
        except REDIS_AWAY as error:
            log.debug("Redis cannot be measured", error=repr(error))
        await asyncio.sleep(REDIS_INTERVAL_SECONDS)


def _export_redis(info: Mapping[str, float], growth: Growth) -> None:
    """Totals of the server count from the first look of this process. What a server leaves out counts as 0."""
    metrics.REDIS_MEMORY.set(info.get("used_memory", 0))
    metrics.REDIS_MAX_MEMORY.set(info.get("maxmemory", 0))
    metrics.REDIS_CLIENTS.set(info.get("connected_clients", 0))
    for name, counter in (
        ("total_commands_processed", metrics.REDIS_COMMANDS),
        ("keyspace_hits", metrics.REDIS_LOOKUPS.labels("hit")),
        ("keyspace_misses", metrics.REDIS_LOOKUPS.labels("miss")),
        ("evicted_keys", metrics.REDIS_EVICTIONS),
    ):
        counter.inc(growth.of(name, info.get(name, 0)))


# Keeps the gauges of the queue, at a bounded cost.


INTERVAL_SECONDS = 2.0
# Measuring takes a fifth of the time of one connection at most: the slower it is, the rarer.
SHARE = 5


COUNT_LIMIT = 100_000
# What holds deliveries, as docs/design/delivery.md explains.
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
