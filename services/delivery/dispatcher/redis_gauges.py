"""Keeps the gauges and counters of Redis as a whole: one INFO every ten seconds."""

import asyncio
from collections.abc import Mapping

import structlog

from services.delivery.dispatcher import metrics
from services.platform.process.metrics import Growth
from services.platform.stores.redis import REDIS_AWAY, Client

log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 10.0


async def keep(client: Client) -> None:
    """Measures for ever; while Redis is away, or forbids INFO, its gauges keep their last value."""
    growth = Growth()
    while True:
        try:
            _export(await client.info(), growth)
        except REDIS_AWAY as error:
            log.debug("Redis cannot be measured", error=repr(error))
        await asyncio.sleep(INTERVAL_SECONDS)


def _export(info: Mapping[str, float], growth: Growth) -> None:
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
