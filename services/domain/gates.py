"""Which subscriptions' bells are withheld, shared by all processes through Redis; each entry expires on its own.

Who rings looks here first, so that a delivery that would only wait in a worker is stored and nothing more. It
is a hint: what is rung all the same, or while Redis is away, is put back by the worker.

Processes tell each other what changes by signals. Closed gates may be many, and stay closed for long: a process that
starts, or that missed something, reads once, in parts, what is closed. Full ones are few and run out soon.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any
from uuid import UUID

import structlog

from services.platform.process import background
from services.platform.process.background import Alarm
from services.platform.process.lifecycle import Process
from services.platform.settings import RedisSettings
from services.platform.stores import signals
from services.platform.stores.redis import Key, Refused, script
from services.platform.stores.redis_primary import PREFIX
from services.platform.stores.signals import Signals

log = structlog.get_logger(__name__)

# Closed by the dispatcher: deliveries wait already, or none may be sent.
CLOSED = f"{PREFIX}gates:closed"
# The signals: gates that were closed or opened; and those that a worker closed because it was given more than it can
# send, as its endpoint has as much as it takes, or for want of slots, of which another worker has more.
CHANGED, FULL, SHORT = "gates", "full", "short"
# How long an entry is valid unless it is renewed.
CLOSED_MILLISECONDS = 2_000
FULL_MILLISECONDS = 500
# A gate may be closed for the cool-down of a breaker, and no longer than this.
MAX_CLOSED_MILLISECONDS = 3_600_000
# What changes within this time is told together.
INTERVAL_SECONDS = 0.25
TIMEOUT_SECONDS = 0.25

# More entries than this go in another call.
_AT_ONCE = 1_000
# What a process that starts reads in each exchange, and how many closed gates it knows at most: more than these cost a
# message each.
_CATCH_UP = 5_000
MAX_CLOSED = 200_000
_FORGET_SECONDS = 30.0
UUID_BYTES = 16
_TIME_BYTES = 8


@script
def _change(closed_key: Key, most: int, *changes: bytes) -> Any:
    """Close gates for milliseconds, or open them (0), for those who start later.

    A change is 8 digits of milliseconds and an id. What is dated further ahead than entries are valid is dropped: none
    of our processes wrote it, and it would withhold a subscription's deliveries until then.

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
    """


class Gates:
    """A process's copy, as current as signals are while Redis is reachable."""

    def __init__(self, heard: Signals) -> None:
        self._redis = heard.client
        self._signals = heard
        # Whether it hears of gates that others close.
        self._follows = False
        self._change = _change(heard.client)
        # Until when each is closed, full, or short, on the monotonic clock.
        self._closed: dict[UUID, float] = {}
        self._full: dict[UUID, float] = {}
        self._short: dict[UUID, float] = {}
        # For how many milliseconds each is to be closed everywhere; 0: not any more.
        self._to_change: dict[UUID, int] = {}
        self._to_fill: set[UUID] = set()
        self._to_shorten: set[UUID] = set()
        # Where reading what holds goes on; None when it is done.
        self._catch_up: int | None = None
        self._forgot_at = time.monotonic()
        self._alarm = Alarm()
        heard.hear(FULL, lambda names: self._hear_full(self._full, names))
        heard.hear(SHORT, lambda names: self._hear_full(self._short, names))
        heard.on_missed(self._begin_again)

    def follow(self) -> None:
        """Hear of gates that others close, as those do who ring for what is new; of full ones everybody hears."""
        if not self._follows:
            self._follows = True
            self._signals.hear(CHANGED, self._hear)
            self._begin_again()

    def is_open(self, subscription_id: UUID) -> bool:
        """Whether a new delivery may be rung for at once."""
        closed_until = self._closed.get(subscription_id)
        if closed_until is not None and closed_until > time.monotonic():
            return False
        return not self.is_full(subscription_id)

    def is_full(self, subscription_id: UUID) -> bool:
        """Whether a worker gave deliveries back a moment ago."""
        return _holds(self._full, subscription_id) or _holds(self._short, subscription_id)

    def is_short(self, subscription_id: UUID) -> bool:
        """Whether workers gave deliveries back for want of slots, and none because of the endpoint."""
        return _holds(self._short, subscription_id) and not _holds(self._full, subscription_id)

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
                self._alarm.set()

    def open(self, subscription_ids: Iterable[UUID]) -> None:
        """Say of gates that were closed for long that they are not any more; others run out."""
        now = time.monotonic()
        for name in subscription_ids:
            closed_until = self._closed.get(name)
            if closed_until is not None and closed_until - now > CLOSED_MILLISECONDS / 1000:
                del self._closed[name]
                self._to_change[name] = 0
                self._alarm.set()

    def fill(self, subscription_id: UUID, *, short: bool = False) -> None:
        """Say that a worker holds all that it can of a subscription's deliveries, and is `short` of slots or not."""
        (self._to_shorten if short else self._to_fill).add(subscription_id)
        (self._short if short else self._full)[subscription_id] = time.monotonic() + FULL_MILLISECONDS / 1000
        self._alarm.set()

    async def run(self) -> None:
        """Tell the other processes, and read what they told, until cancelled."""

        async def step() -> float:
            told = bool(self._to_change or self._to_fill or self._to_shorten)
            try:
                self._tell_full()
                while self._to_change:
                    await self._tell_changes()
                await self._read_on()
            except Refused as refused:
                await self._remove_what_is_no_gate(refused)
                self._open_all()
            self._forget()
            if told or self._catch_up is not None:
                await asyncio.sleep(INTERVAL_SECONDS)
            return _FORGET_SECONDS if self._catch_up is None else 0.0

        await background.repeat(
            step,
            interval_seconds=_FORGET_SECONDS,
            retry_seconds=INTERVAL_SECONDS,
            wake=self._alarm,
            quiet=True,
            on_error=self._open_all,
        )

    def _open_all(self) -> None:
        self._closed, self._full, self._short = {}, {}, {}
        self._to_change.clear()
        self._catch_up = None

    def _begin_again(self) -> None:
        """Read what is closed, because changes may have been missed; hints are of no use while none is heard."""
        if not self._signals.listening:
            self._open_all()
        elif self._follows:
            self._catch_up = 0
            self._alarm.set()

    async def _remove_what_is_no_gate(self, refused: Refused) -> None:
        """Remove all gates, because somebody else wrote something under their key: they are only hints."""
        log.warning("Redis refused the gates; they are removed and made again", error=str(refused))
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await self._redis.delete(CLOSED)

    def _tell_full(self) -> None:
        """Tell of endpoints and workers that have as much as they take."""
        for signal, own in ((FULL, self._to_fill), (SHORT, self._to_shorten)):
            while own:
                names = (own.pop().bytes for _ in range(min(len(own), _AT_ONCE)))
                self._signals.publish(signal, b"".join(names))

    async def _tell_changes(self) -> None:
        """Tell of gates that this process closed or opened."""
        sent = [self._to_change.popitem() for _ in range(min(len(self._to_change), _AT_ONCE))]
        changes = [b"%08d" % milliseconds + name.bytes for name, milliseconds in sent]
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await self._signals.tell(CHANGED, b"".join(changes))
            await self._change(Key(CLOSED), MAX_CLOSED_MILLISECONDS, *changes)

    def _hear(self, changes: bytes) -> None:
        """Learn of changes that were told a moment ago."""
        now = time.monotonic()
        length = _TIME_BYTES + UUID_BYTES
        for start in range(0, len(changes) - length + 1, length):
            digits, name = changes[start : start + _TIME_BYTES], changes[start + _TIME_BYTES : start + length]
            if not digits.isdigit():
                return
            subscription_id = UUID(bytes=name)
            if subscription_id in self._to_change:
                continue
            if milliseconds := min(int(digits), MAX_CLOSED_MILLISECONDS):
                self._keep(subscription_id, now + milliseconds / 1000)
            else:
                self._closed.pop(subscription_id, None)

    @staticmethod
    def _hear_full(full: dict[UUID, float], names: bytes) -> None:
        until = time.monotonic() + FULL_MILLISECONDS / 1000
        for start in range(0, len(names) - UUID_BYTES + 1, UUID_BYTES):
            full[UUID(bytes=names[start : start + UUID_BYTES])] = until

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
            self._closed, self._full, self._short = (
                {name: until for name, until in held.items() if until > now}
                for held in (self._closed, self._full, self._short)
            )


@contextlib.asynccontextmanager
async def of_process(process: Process, settings: RedisSettings, *, rings: bool) -> AsyncIterator[Gates]:
    """Yield the gates of the process; a role that `rings` for what is new is to know of all of them."""
    async with signals.of_process(process, settings) as heard:
        opened = functools.partial(running, process, heard)
        async with process.whole.share(("gates", settings.redis_dsn), opened) as made:
            if rings:
                made.follow()
            yield made


@contextlib.asynccontextmanager
async def running(process: Process, heard: Signals) -> AsyncIterator[Gates]:
    """Yield gates that are told and read while the context lasts."""
    made = Gates(heard)
    loop = process.spawn("gates", made.run())
    try:
        yield made
    finally:
        await process.cancel(loop)


def _holds(full: Mapping[UUID, float], subscription_id: UUID) -> bool:
    until = full.get(subscription_id)
    return until is not None and until > time.monotonic()
