"""Events per second of tenants: leased from Redis in blocks, and counted down in memory.

An event never waits for Redis. A tenant's block is renewed behind its events when half of it is used up, and until
the answer is there the tenant may go one block into debt, which the next one pays. So within a second all processes
together accept at most what the bucket holds and is refilled with, and two blocks for each process.

While Redis is away, each process fills the blocks by its share of the rate.
"""

import asyncio
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import structlog
from redis.exceptions import ResponseError

from services.platform import ids
from services.platform.process import background
from services.platform.process.bounds import BoundedCache
from services.platform.stores.redis import REDIS_AWAY, Client, Key, Refused, script, take_tokens
from services.platform.stores.redis_primary import PREFIX

log = structlog.get_logger(__name__)

KEY = f"{PREFIX}events:"
# Who leases: so many share a rate while Redis is away.
PROCESSES_KEY = f"{PREFIX}events-processes"
PROCESS_SECONDS = 60.0
TIMEOUT_SECONDS = 0.25
# What a process takes at once.
BLOCK_SECONDS = 0.25
# Leases of one exchange, and the pause after one: together they bound what Redis is asked for.
AT_ONCE = 500
PAUSE_SECONDS = 0.01
# Tenants that are remembered; the one that was longest without an event is forgotten.
SIZE = 20_000
MAX_RETRY_SECONDS = 3600


@script
def _count_processes(processes_key: Key, process: str, seconds: float) -> Any:
    """Say that a process leases, and return how many did within so many seconds.

    local time = redis.call('TIME')
    redis.call('ZADD', processes_key, time[1], process)
    redis.call('ZREMRANGEBYSCORE', processes_key, '-inf', '(' .. (time[1] - seconds))
    redis.call('EXPIRE', processes_key, math.ceil(seconds))
    return redis.call('ZCARD', processes_key)
    """


@dataclass(slots=True)
class _Lease:
    """What this process may still accept of a tenant. Below 0: in debt."""

    rate: float
    # Whole events of a block, at least 1.
    block: float
    events: float = 0.0
    # On time.monotonic(): until then there are none, and Redis is not asked.
    empty_until: float = 0.0
    # When this process last filled it by its own share.
    filled_at: float = -math.inf
    asked: bool = False


class Rates:
    """Counts the events of tenants."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._count = _count_processes(client)
        self._process = str(ids.new())
        self._processes = 1
        self._counted_at = -math.inf
        self._leases: BoundedCache[str, _Lease] = BoundedCache(SIZE, keep_used=True)
        self._wanting: dict[str, _Lease] = {}
        self._wanted = asyncio.Event()
        # Whose buckets Redis refused to count when it was asked last.
        self._refused: frozenset[str] = frozenset()

    def take(self, tenant_id: str, rate: float) -> float:
        """Count an event of a tenant with this rate. Return 0, or the seconds after which to try again."""
        lease = self._leases.get(tenant_id)
        if lease is None or lease.rate != rate:
            lease = _Lease(rate=rate, block=max(1.0, math.floor(rate * BLOCK_SECONDS)))
            self._leases.put(tenant_id, lease)
        if lease.events >= 1:
            lease.events -= 1
            if lease.events * 2 < lease.block:
                self._ask(tenant_id, lease)
            return 0.0
        left = lease.empty_until - time.monotonic()
        if left > 0:
            return min(left, MAX_RETRY_SECONDS)
        self._ask(tenant_id, lease)
        if lease.events - 1 < -lease.block:
            return min(1 / rate, MAX_RETRY_SECONDS)
        lease.events -= 1
        return 0.0

    async def run(self) -> None:
        """Lease what is wanted until cancelled."""

        async def step() -> None:
            await self._wanted.wait()
            await self.renew()

        await background.repeat(step, interval_seconds=PAUSE_SECONDS)

    async def renew(self) -> None:
        """Lease for some of the tenants that want a block."""
        asked = [self._wanting.popitem() for _ in range(min(len(self._wanting), AT_ONCE))]
        if not self._wanting:
            self._wanted.clear()
        if not asked:
            return
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._register()
                answers = await self._exchange(asked)
        except REDIS_AWAY:
            self._fill_own(lease for _, lease in asked)
            return
        finally:
            for _, lease in asked:
                lease.asked = False
        now = time.monotonic()
        refused = set()
        for (tenant_id, lease), answer in zip(asked, answers, strict=True):
            if isinstance(answer, ResponseError):
                if tenant_id not in self._refused:
                    log.warning("Redis refused to count events", tenant_id=tenant_id, error=repr(answer))
                refused.add(tenant_id)
                self._fill_own([lease])
                continue
            lease.events += answer[0]
            lease.filled_at = now
            if lease.events < 1:
                lease.empty_until = now + answer[1] / 1000
        self._refused = frozenset(refused)

    def _ask(self, tenant_id: str, lease: _Lease) -> None:
        if not lease.asked and time.monotonic() >= lease.empty_until:
            lease.asked = True
            self._wanting[tenant_id] = lease
            self._wanted.set()

    async def _register(self) -> None:
        now = time.monotonic()
        if now - self._counted_at > PROCESS_SECONDS / 4:
            try:
                count = await self._count(Key(PROCESSES_KEY), self._process, PROCESS_SECONDS)
                self._processes = max(1, int(count))
            except Refused as refused:  # something else has its key; Redis is there for the tenants' buckets
                log.warning("Redis refused to count processes", error=str(refused))
            self._counted_at = now

    async def _exchange(self, asked: Iterable[tuple[str, _Lease]]) -> list[Any]:
        """Return what Redis answers for each: a pair of numbers, or the error by which it refuses this one alone."""
        async with self._client.pipeline(transaction=False) as pipeline:
            lease_of = take_tokens(pipeline)
            for tenant_id, lease in asked:
                wanted = math.floor(lease.block - lease.events)
                await lease_of(Key(KEY + tenant_id), lease.rate, max(1.0, lease.rate), wanted)
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers

    def _fill_own(self, leases: Iterable[_Lease]) -> None:
        """Fill blocks by this process's share, since they were last filled."""
        now = time.monotonic()
        for lease in leases:
            share = lease.rate / self._processes
            passed = min(now - lease.filled_at, 1.0 + 1 / share)
            lease.events = min(lease.block, lease.events + passed * share)
            lease.filled_at = now
            if lease.events < 1:
                lease.empty_until = now + (1 - lease.events) / share
