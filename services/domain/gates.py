"""Which subscriptions' bells are withheld, shared by all processes: an entry each in Redis that expires on its own.

Who rings looks here first, so that a delivery that would only wait in a worker is stored and nothing more. It
is a hint: what is rung all the same, or while Redis is away, is put back by the worker.
"""

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from services.platform.process import background
from services.platform.stores.redis import Client, Key, script
from services.platform.stores.redis_primary import PREFIX

# Closed by the dispatcher: deliveries wait already, or none may be sent.
CLOSED = f"{PREFIX}gates:closed"
# Closed by a worker that was given more than it can send: because its endpoint has as much as it takes, or for want of
# slots, of which another worker has more.
FULL = f"{PREFIX}gates:full"
SHORT = f"{PREFIX}gates:short"
# How long an entry is valid unless it is renewed.
CLOSED_MILLISECONDS = 2_000
FULL_MILLISECONDS = 500
INTERVAL_SECONDS = 0.25
TIMEOUT_SECONDS = 0.25

# More entries than this go in another call.
_AT_ONCE = 1_000
UUID_BYTES = 16


@script
def _exchange(gate_key: Key, milliseconds: int, *entries: bytes) -> Any:
    """Add entries, drop what ran out, and return all that is left.

    What is dated ahead of `milliseconds`, for which an entry is valid, is dropped, too: none of our processes wrote it,
    and it would withhold a subscription's deliveries until then.

    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    for _, entry in ipairs(entries) do redis.call('ZADD', gate_key, now + milliseconds, entry) end
    redis.call('ZREMRANGEBYSCORE', gate_key, '-inf', now)
    redis.call('ZREMRANGEBYSCORE', gate_key, '(' .. now + milliseconds, '+inf')
    return redis.call('ZRANGE', gate_key, 0, -1)
    """


class Gates:
    """A process's copy, at most a quarter of a second old while Redis is reachable."""

    def __init__(self, client: Client) -> None:
        self._exchange = _exchange(client)
        self._closed: set[UUID] = set()
        self._full: set[UUID] = set()
        self._short: set[UUID] = set()
        self._to_close: set[UUID] = set()
        self._to_fill: set[UUID] = set()
        self._to_shorten: set[UUID] = set()

    def is_open(self, subscription_id: UUID) -> bool:
        """Whether a new delivery may be rung for at once."""
        return subscription_id not in self._closed and not self.is_full(subscription_id)

    def is_full(self, subscription_id: UUID) -> bool:
        """Whether a worker gave deliveries back a moment ago."""
        return subscription_id in self._full or subscription_id in self._short

    def is_short(self, subscription_id: UUID) -> bool:
        """Whether workers gave deliveries back for want of slots, and none because of the endpoint."""
        return subscription_id in self._short and subscription_id not in self._full

    def close(self, subscription_ids: Iterable[UUID]) -> None:
        """Withhold the bells of subscriptions for a few seconds, everywhere."""
        self._to_close.update(subscription_ids)
        self._closed |= self._to_close

    def fill(self, subscription_id: UUID, *, short: bool = False) -> None:
        """Say that a worker holds all that it can of a subscription's deliveries, and is `short` of slots or not."""
        (self._to_shorten if short else self._to_fill).add(subscription_id)
        (self._short if short else self._full).add(subscription_id)

    async def run(self) -> None:
        """Exchange with the other processes until cancelled."""

        async def step() -> None:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                self._closed = await self._swap(CLOSED, self._to_close, CLOSED_MILLISECONDS)
                self._full = await self._swap(FULL, self._to_fill, FULL_MILLISECONDS)
                self._short = await self._swap(SHORT, self._to_shorten, FULL_MILLISECONDS)

        def open_all() -> None:
            self._closed, self._full, self._short = set(), set(), set()

        await background.repeat(step, interval_seconds=INTERVAL_SECONDS, quiet=True, on_error=open_all)

    async def _swap(self, key: str, own: set[UUID], milliseconds: int) -> set[UUID]:
        """Send what this process closed, and return what is closed now."""
        while True:
            sent = [own.pop() for _ in range(min(len(own), _AT_ONCE))]
            entries = await self._exchange(Key(key), milliseconds, *(entry.bytes for entry in sent))
            if len(sent) < _AT_ONCE:
                return {UUID(bytes=entry) for entry in entries if len(entry) == UUID_BYTES} | own
