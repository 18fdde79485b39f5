"""Which subscriptions' bells are withheld, shared by all processes through Redis; each entry expires on its own.

Who rings looks here first, so that a delivery that would only wait in a worker is stored and nothing more. It
is a hint: what is rung all the same, or while Redis is away, is put back by the worker.

Closed gates may be many, and stay closed for long: processes tell each other what changes, in a stream, and a process
that starts reads once, in parts, what is closed. Full ones are few and run out soon: they are exchanged as they are.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import structlog

from services.platform.process import background
from services.platform.stores.redis import Client, Key, Refused, script
from services.platform.stores.redis_primary import PREFIX

log = structlog.get_logger(__name__)

# Closed by the dispatcher: deliveries wait already, or none may be sent.
CLOSED = f"{PREFIX}gates:closed"
# What was closed and opened lately.
CHANGES = f"{PREFIX}gates:changes"
# Closed by a worker that was given more than it can send: because its endpoint has as much as it takes, or for want of
# slots, of which another worker has more.
FULL = f"{PREFIX}gates:full"
SHORT = f"{PREFIX}gates:short"
# How long an entry is valid unless it is renewed.
CLOSED_MILLISECONDS = 2_000
FULL_MILLISECONDS = 500
# A gate may be closed for the cool-down of a breaker, and no longer than this.
MAX_CLOSED_MILLISECONDS = 3_600_000
INTERVAL_SECONDS = 0.25
TIMEOUT_SECONDS = 0.25

# More entries than this go in another call.
_AT_ONCE = 1_000
# Messages with changes that are read in one call, each of so many at most.
_MESSAGES = 20
# What a process that starts reads in each exchange, and how many closed gates it knows at most: more than these cost a
# message each.
_CATCH_UP = 5_000
MAX_CLOSED = 200_000
# Changes that are kept for those who have not read them yet; who misses one begins again with what holds.
_CHANGES_KEPT = 10_000
_FORGET_SECONDS = 30.0
UUID_BYTES = 16
_TIME_BYTES = 8


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


@script
def _change(closed_key: Key, changes_key: Key, most: int, kept: int, at_once: int, after: str, *changes: bytes) -> Any:
    """Close gates for milliseconds, or open them (0), tell the others, and return what was told since `after`.

    A change is 8 digits of milliseconds and an id. The answer has the time, whether changes after `after` are gone (if
    so none is returned), the place of the last one that was read, and pairs of a time and the changes told then.

    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    for _, change in ipairs(changes) do
        local valid, id = tonumber(string.sub(change, 1, 8)), string.sub(change, 9)
        if valid > 0 then
            redis.call('ZADD', closed_key, now + math.min(valid, most), id)
        else
            redis.call('ZREM', closed_key, id)
        end
    end
    redis.call('ZREMRANGEBYSCORE', closed_key, '-inf', now)
    redis.call('ZREMRANGEBYSCORE', closed_key, '(' .. now + most, '+inf')
    local told = table.concat(changes)
    if told ~= '' then redis.call('XADD', changes_key, 'MAXLEN', '~', kept, '*', 'c', told) end
    if after == '' or #redis.call('XRANGE', changes_key, after, after) == 0 then
        local last = redis.call('XREVRANGE', changes_key, '+', '-', 'COUNT', 1)[1]
        return {now, 1, last and last[1] or redis.call('XADD', changes_key, '*', 'c', '')}
    end
    local answer = {now, 0, after}
    for _, entry in ipairs(redis.call('XRANGE', changes_key, '(' .. after, '+', 'COUNT', at_once)) do
        answer[3] = entry[1]
        table.insert(answer, tonumber(string.match(entry[1], '^%d+')))
        table.insert(answer, entry[2][2])
    end
    return answer
    """


class Gates:
    """A process's copy, at most a quarter of a second old while Redis is reachable."""

    def __init__(self, client: Client, *, rings: bool = True) -> None:
        """Hear of full gates, and of closed ones as well in a process that `rings` for what is new."""
        self._redis = client
        self._rings = rings
        self._exchange = _exchange(client)
        self._change = _change(client)
        # Until when each is closed, on the monotonic clock.
        self._closed: dict[UUID, float] = {}
        self._full: set[UUID] = set()
        self._short: set[UUID] = set()
        # For how many milliseconds each is to be closed everywhere; 0: not any more.
        self._to_change: dict[UUID, int] = {}
        self._to_fill: set[UUID] = set()
        self._to_shorten: set[UUID] = set()
        # The last change that was read; empty before the first.
        self._read = ""
        # Where reading what holds goes on; None when it is done.
        self._catch_up: int | None = None
        self._forgot_at = time.monotonic()

    def is_open(self, subscription_id: UUID) -> bool:
        """Whether a new delivery may be rung for at once."""
        closed_until = self._closed.get(subscription_id)
        if closed_until is not None and closed_until > time.monotonic():
            return False
        return not self.is_full(subscription_id)

    def is_full(self, subscription_id: UUID) -> bool:
        """Whether a worker gave deliveries back a moment ago."""
        return subscription_id in self._full or subscription_id in self._short

    def is_short(self, subscription_id: UUID) -> bool:
        """Whether workers gave deliveries back for want of slots, and none because of the endpoint."""
        return subscription_id in self._short and subscription_id not in self._full

    def close(self, subscription_ids: Iterable[UUID]) -> None:
        """Withhold the bells of subscriptions for a few seconds, everywhere."""
        self.close_for(dict.fromkeys(subscription_ids, CLOSED_MILLISECONDS / 1000))

    def close_for(self, seconds: Mapping[UUID, float]) -> None:
        """Withhold the bells of subscriptions for so long, everywhere; that costs nothing where it is known already."""
        now = time.monotonic()
        for name, valid in seconds.items():
            milliseconds = min(int(valid * 1000), MAX_CLOSED_MILLISECONDS)
            # Half of the time is left: it is told again soon enough, and not in each turn.
            if milliseconds > 0 and self._closed.get(name, now) - now < milliseconds / 2000:
                self._keep(name, now + milliseconds / 1000)
                self._to_change[name] = milliseconds

    def open(self, subscription_ids: Iterable[UUID]) -> None:
        """Say of gates that were closed for long that they are not any more; others run out."""
        now = time.monotonic()
        for name in subscription_ids:
            closed_until = self._closed.get(name)
            if closed_until is not None and closed_until - now > CLOSED_MILLISECONDS / 1000:
                del self._closed[name]
                self._to_change[name] = 0

    def fill(self, subscription_id: UUID, *, short: bool = False) -> None:
        """Say that a worker holds all that it can of a subscription's deliveries, and is `short` of slots or not."""
        (self._to_shorten if short else self._to_fill).add(subscription_id)
        (self._short if short else self._full).add(subscription_id)

    async def run(self) -> None:
        """Exchange with the other processes until cancelled."""

        async def step() -> None:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    self._full = await self._swap(FULL, self._to_fill, FULL_MILLISECONDS)
                    self._short = await self._swap(SHORT, self._to_shorten, FULL_MILLISECONDS)
                while not await self._exchange_changes():
                    pass
                await self._read_on()
            except Refused as refused:
                await self._remove_what_is_no_gate(refused)
                open_all()
            self._forget()

        def open_all() -> None:
            self._closed, self._full, self._short = {}, set(), set()
            self._to_change.clear()
            self._read, self._catch_up = "", None

        await background.repeat(step, interval_seconds=INTERVAL_SECONDS, quiet=True, on_error=open_all)

    async def _remove_what_is_no_gate(self, refused: Refused) -> None:
        """Remove all gates, because somebody else wrote something under one of their keys: they are only hints."""
        log.warning("Redis refused the gates; they are removed and made again", error=str(refused))
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await self._redis.delete(FULL, SHORT, CLOSED, CHANGES)

    async def _exchange_changes(self) -> bool:
        """Tell what this process changed, and hear what others did; return whether that was all."""
        if not self._rings and not self._to_change:
            return True
        sent = [self._to_change.popitem() for _ in range(min(len(self._to_change), _AT_ONCE))]
        changes = (b"%08d" % milliseconds + name.bytes for name, milliseconds in sent)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            now, lost, read, *told = await self._change(
                Key(CLOSED), Key(CHANGES), MAX_CLOSED_MILLISECONDS, _CHANGES_KEPT, _MESSAGES, self._read, *changes
            )
        if not self._rings:
            return len(sent) < _AT_ONCE
        self._read = read.decode()
        if lost:  # or this is the first time
            self._catch_up = 0
        offset_seconds = time.monotonic() - now / 1000
        for at, change in zip(told[::2], told[1::2], strict=True):
            self._hear(change, at / 1000 + offset_seconds)
        return len(sent) < _AT_ONCE and len(told) < 2 * _MESSAGES

    def _hear(self, changes: bytes, at: float) -> None:
        """Learn of changes that were told at this moment of the monotonic clock."""
        length = _TIME_BYTES + UUID_BYTES
        for start in range(0, len(changes) - length + 1, length):
            digits, name = changes[start : start + _TIME_BYTES], changes[start + _TIME_BYTES : start + length]
            if not digits.isdigit():
                return
            subscription_id = UUID(bytes=name)
            if subscription_id in self._to_change:
                continue
            if milliseconds := min(int(digits), MAX_CLOSED_MILLISECONDS):
                self._keep(subscription_id, at + milliseconds / 1000)
            else:
                self._closed.pop(subscription_id, None)

    async def _read_on(self) -> None:
        """Read a part of what holds, after a start or a loss of Redis."""
        if self._catch_up is None:
            return
        entries: Any
        async with asyncio.timeout(TIMEOUT_SECONDS):
            cursor, entries = await self._redis.zscan(CLOSED, self._catch_up, count=_CATCH_UP)
            seconds, microseconds = await self._redis.time()
        now, offset_seconds = seconds + microseconds / 1e6, time.monotonic() - seconds - microseconds / 1e6
        for entry, score in entries:
            if len(entry) == UUID_BYTES and now < score / 1000 <= now + MAX_CLOSED_MILLISECONDS / 1000:
                self._keep(UUID(bytes=entry), score / 1000 + offset_seconds)
        self._catch_up = int(cursor) or None

    def _keep(self, subscription_id: UUID, until: float) -> None:
        if len(self._closed) < MAX_CLOSED or subscription_id in self._closed:
            self._closed[subscription_id] = until

    def _forget(self) -> None:
        """Drop what ran out."""
        now = time.monotonic()
        if now - self._forgot_at > _FORGET_SECONDS:
            self._forgot_at = now
            self._closed = {name: until for name, until in self._closed.items() if until > now}

    async def _swap(self, key: str, own: set[UUID], milliseconds: int) -> set[UUID]:
        """Send what this process closed, and return what is closed now."""
        while True:
            sent = [own.pop() for _ in range(min(len(own), _AT_ONCE))]
            entries = await self._exchange(Key(key), milliseconds, *(entry.bytes for entry in sent))
            if len(sent) < _AT_ONCE:
                return {UUID(bytes=entry) for entry in entries if len(entry) == UUID_BYTES} | own
