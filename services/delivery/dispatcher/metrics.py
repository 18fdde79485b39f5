"""Metrics of the dispatcher, of the queue and of Redis, and the loops that measure them at a bounded cost."""

import asyncio
import math
import time
from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram

from services.delivery.dispatcher.store import Depths, DispatcherStore
from services.delivery.dispatcher.turns import Turns
from services.domain import doorbell
from services.domain.states import BreakerState, Hold
from services.platform.process import background
from services.platform.process.metrics import SECONDS_BUCKETS, Growth
from services.platform.stores.redis import REDIS_AWAY, Client
from services.platform.stores.signals import Signals

QUEUE_DEPTH = Gauge("webhook_queue_depth", "Deliveries that an additional worker could send. Capped at 100,000.")
HELD = Gauge("webhook_held_deliveries", "Waiting deliveries that no worker may send, by reason.", ["reason"])
BREAKERS = Gauge("webhook_breakers", "Circuit breakers that are not closed.", ["state"])
SCHEDULED = Gauge("webhook_scheduled_deliveries", "Deliveries that wait for their next attempt. Capped at 100,000.")
IN_FLIGHT = Gauge("webhook_in_flight_deliveries", "Deliveries under a worker's lease. Capped at 100,000.")
OLDEST_WAITING = Gauge("webhook_oldest_waiting_seconds", "Age of the oldest due delivery.")
TURN_SECONDS = Histogram(
    "webhook_dispatcher_turn_duration_seconds", "Duration of a pass of the dispatcher.", buckets=SECONDS_BUCKETS
)
LAST_TURN = Gauge("webhook_dispatcher_last_turn_timestamp_seconds", "When the dispatcher last completed a pass.")
DISPATCHED = Counter("webhook_dispatched_deliveries_total", "Due deliveries that the dispatcher notified workers of.")
LEASES_EXPIRED = Counter("webhook_lease_expiries_total", "Leases that expired.")
DOORBELLS_SWEPT = Counter("webhook_doorbells_swept_total", "Messages that dead workers left in the streams.")
STREAM_MESSAGES = Gauge("webhook_stream_messages", "Messages in the streams, unread or unacknowledged.")
REDIS_SECONDS = Histogram(
    "webhook_redis_round_trip_seconds",
    "Duration of a small Redis command, sent every 2 to 5 s.",
    buckets=SECONDS_BUCKETS,
)
REDIS_MEMORY = Gauge("webhook_redis_memory_bytes", "Memory that Redis uses.")
REDIS_MAX_MEMORY = Gauge("webhook_redis_max_memory_bytes", "maxmemory of Redis; 0 if unlimited.")
REDIS_CLIENTS = Gauge("webhook_redis_clients", "Connections to Redis, from all clients.")
REDIS_COMMANDS = Counter("webhook_redis_commands_total", "Commands that Redis ran, from all clients.")
REDIS_LOOKUPS = Counter("webhook_redis_lookups_total", "Lookups of keys in Redis, from all clients.", ["result"])
REDIS_EVICTIONS = Counter("webhook_redis_evicted_keys_total", "Keys that Redis evicted because memory was full.")

# Keeps the gauges of the queue and of Redis, at a bounded cost.

REDIS_INTERVAL_SECONDS = 10.0
SWEEP_SECONDS = 10.0
# While the stream is empty, so that only the names of dead workers remain.
EMPTY_SWEEP_SECONDS = 60.0


async def keep_redis(client: Client) -> None:
    """Measure Redis until cancelled; while it is away, or forbids INFO, its gauges keep their last value."""
    growth = Growth()

    async def measure() -> None:
        _export_redis(await client.info(), growth)

    await background.repeat(measure, interval_seconds=REDIS_INTERVAL_SECONDS, quiet=True)


def _export_redis(info: Mapping[str, float], growth: Growth) -> None:
    """Totals of the server count from the first look of this process. What a server leaves out counts as 0."""
    REDIS_MEMORY.set(info.get("used_memory", 0))
    REDIS_MAX_MEMORY.set(info.get("maxmemory", 0))
    REDIS_CLIENTS.set(info.get("connected_clients", 0))
    for name, counter in (
        ("total_commands_processed", REDIS_COMMANDS),
        ("keyspace_hits", REDIS_LOOKUPS.labels("hit")),
        ("keyspace_misses", REDIS_LOOKUPS.labels("miss")),
        ("evicted_keys", REDIS_EVICTIONS),
    ):
        counter.inc(growth.of(name, info.get(name, 0)))


# Keeps the gauges of the queue, at a bounded cost.
INTERVAL_SECONDS = 2.0
# Measuring takes a twentieth of the time of one connection at most: the slower it is, the rarer.
SHARE = 20
# Counting breakers goes over the health of all endpoints that ever failed: it takes a fiftieth at most.
BREAKERS_SHARE = 50
# How often workers that died without a word are removed.
FORGET_SECONDS = 60.0
COUNT_LIMIT = 100_000


async def keep(store: DispatcherStore, turns: Turns, streams: doorbell.Streams, heard: Signals) -> None:
    """Measure the queue until cancelled; while a store is away its gauges keep their last value.

    The first time after a pause, for it takes turns to learn what is held: before them a million deliveries behind a
    rate limit look like work for more workers. Until then the depth is 0, as it is exported from the first scrape; that
    is outvoted by the other copies, and by an autoscaler's stabilisation window where there are none.
    """
    breakers_at = forget_at = time.monotonic()

    async def measure() -> float:
        nonlocal breakers_at, forget_at
        started = time.monotonic()
        try:
            breakers = started >= breakers_at
            found = await store.depths(limit=COUNT_LIMIT, hold_seconds=doorbell.RUNG_SECONDS, breakers=breakers)
            empty = _export_queue(found, turns)
            if breakers:
                breakers_at = started + BREAKERS_SHARE * found.took_seconds
            if started >= forget_at:
                forget_at = started + FORGET_SECONDS
                await store.forget_workers()
            return max(heard.pace(INTERVAL_SECONDS) if empty else INTERVAL_SECONDS, (SHARE - 1) * found.took_seconds)
        finally:
            await _measure_streams(streams)

    await background.repeat(measure, interval_seconds=INTERVAL_SECONDS, at_once=False, quiet=True)


def forget_queue() -> None:
    """Report an empty queue, where another process measures it from now on."""
    for gauge in (QUEUE_DEPTH, SCHEDULED, IN_FLIGHT, OLDEST_WAITING):
        gauge.set(0)
    for reason in Hold:
        HELD.labels(reason).set(0)
    for state in (BreakerState.OPEN, BreakerState.HALF_OPEN):
        BREAKERS.labels(state).set(0)


def _export_queue(found: Depths, turns: Turns) -> bool:
    """Set the gauges of the queue; return whether it is empty."""
    QUEUE_DEPTH.set(min(COUNT_LIMIT, found.pending + found.unexpanded))
    SCHEDULED.set(found.scheduled)
    IN_FLIGHT.set(found.in_flight)
    # What keeps a whole subscription from being sent to is counted by the passes over the queue.
    held = {**turns.sweeper.held, **found.held}
    for reason in Hold:
        HELD.labels(reason).set(held.get(reason, 0))
    OLDEST_WAITING.set(found.oldest_seconds)
    if found.breakers is not None:
        for state in (BreakerState.OPEN, BreakerState.HALF_OPEN):
            BREAKERS.labels(state).set(found.breakers.get(state, 0))
    return not any((found.pending, found.unexpanded, found.scheduled, found.in_flight, *held.values()))


async def _measure_streams(streams: doorbell.Streams) -> None:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(doorbell.RING_TIMEOUT_SECONDS):
            STREAM_MESSAGES.set(sum([await stream.number() for stream in streams]))
    except REDIS_AWAY:
        return
    REDIS_SECONDS.observe(time.perf_counter() - started)


async def sweep(streams: doorbell.Streams) -> None:
    """Remove what dead workers left in the streams, every ten seconds until cancelled; rarely while they are empty.

    What they left counts as if a stream was full of it, so it does not wait for the next look at an empty one.
    """
    swept_at = -math.inf

    async def step() -> None:
        nonlocal swept_at
        now = time.monotonic()
        if any(stream.length for stream in streams) or now - swept_at >= EMPTY_SWEEP_SECONDS:
            for stream in streams:
                DOORBELLS_SWEPT.inc(await stream.sweep())
            swept_at = now

    await background.repeat(step, interval_seconds=SWEEP_SECONDS, at_once=False, quiet=True)
