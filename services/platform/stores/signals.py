"""What processes tell each other at once, so that nobody has to look all the time: a channel of Redis that all hear.

A signal is a hint that something is to be looked at, in Postgres or elsewhere. Who missed it looks every few seconds
anyway. While a process hears none, because Redis is away, it looks as often as things are to happen (`pace`). So
nothing depends on a signal. What a process asks to be looked at, its own roles hear at once, with or without Redis.

A process hears all signals on one connection, whose answers it waits for. Nothing is stored, so a full Redis, which
takes no new keys, still carries them.
"""

import asyncio
import contextlib
import functools
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

import redis.exceptions

from services.platform import ids
from services.platform.process import background
from services.platform.process.background import Alarm
from services.platform.settings import RedisSettings
from services.platform.stores import redis as redis_store
from services.platform.stores.redis import REDIS_AWAY, Client
from services.platform.stores.redis_primary import PREFIX

if TYPE_CHECKING:
    from services.platform.process.lifecycle import Process

CHANNEL = f"{PREFIX}signals"
# Between a failed read, or try to tell, and the next.
RETRY_SECONDS = 0.2
# The longest wait for what a signal would tell of.
QUIET_SECONDS = background.QUIET_SECONDS
# What is told within this time is told together.
PACE_SECONDS = 0.05
# Values that wait to be told; the oldest are dropped, and all that could not be told.
MAX_UNTOLD = 1_000
# How long Redis may say nothing, while somebody depends on every signal, until it is asked; and how long it may take to
# answer.
HEARTBEAT_SECONDS = 0.4
ANSWER_SECONDS = 0.4
# Who has such need of every signal waits no longer for the answer.
PATIENCE_SECONDS = 0.1
_SENDER_BYTES = 16
# Ends the name of a signal; no name has it.
_END = b" "

Hear = Callable[[bytes], None]


class Signals:
    """What one process tells and hears."""

    def __init__(self, client: Client) -> None:
        self.client = client
        # Of this process: what it tells says nothing new to it.
        self._sender = ids.new().bytes
        self._heard_by: dict[bytes, list[Hear]] = {}
        self._alarms: dict[bytes, list[Alarm]] = {}
        self._on_missed: list[Callable[[], None]] = []
        self._pubsub: redis.asyncio.client.PubSub | None = None
        self._listening = False
        # When Redis said something last, was asked last, and a signal was depended on last; on time.monotonic().
        self._heard_at = self._asked_at = self._needed_at = float("-inf")
        self._heard = asyncio.Event()
        # Until when what was asked for is to be looked at, by name, and other values, in order.
        self._wakes: dict[bytes, float] = {}
        self._untold: deque[bytes] = deque(maxlen=MAX_UNTOLD)
        self._to_tell = asyncio.Event()

    # -- hearing --

    @property
    def listening(self) -> bool:
        """Whether what others tell is heard, as far as this is known."""
        return self._listening

    @property
    def current(self) -> bool:
        """Whether it was heard a moment ago."""
        return self._listening and time.monotonic() - self._heard_at < HEARTBEAT_SECONDS + ANSWER_SECONDS

    def need(self) -> None:
        """Have Redis asked so often in the next seconds that `current` is known: for who depends on every signal."""
        self._needed_at = time.monotonic()

    async def confirm(self) -> bool:
        """Return `current`, after asking Redis where that is not known."""
        self.need()
        now = time.monotonic()
        if self.current or not self._listening or self._pubsub is None:
            return self.current
        if self._asked_at > self._heard_at and now - self._asked_at > PATIENCE_SECONDS:
            return False  # others have waited for the answer
        with contextlib.suppress(*REDIS_AWAY):
            async with asyncio.timeout(PATIENCE_SECONDS):
                if self._asked_at <= self._heard_at:
                    await self._ask(self._pubsub)
                while not self.current:
                    self._heard.clear()
                    await self._heard.wait()
        return self.current

    def pace(self, seconds: float) -> float:
        """Return how long to wait for a look that a signal brings forward; `seconds` while none is heard."""
        return max(seconds, QUIET_SECONDS) if self._listening else seconds

    def alarm(self, name: str) -> Alarm:
        """Return what goes off when somebody says that there is something to look at, or when that may be missed."""
        alarm = Alarm()
        self._alarms.setdefault(name.encode(), []).append(alarm)
        return alarm

    def hear(self, name: str, call: Hear) -> None:
        """Have `call` called with what others tell under a name."""
        self._heard_by.setdefault(name.encode(), []).append(call)

    def on_missed(self, call: Callable[[], None]) -> None:
        """Have `call` called when something may have been missed: listening begins, or ends."""
        self._on_missed.append(call)

    # -- telling --

    def wake(self, name: str, seconds: float = 0.0) -> None:
        """Say that there is something to look at in so many seconds, here and in other processes."""
        key = name.encode()
        for alarm in self._alarms.get(key, ()):
            alarm.set(seconds)
        at = time.monotonic() + seconds
        if at < self._wakes.get(key, float("inf")):
            self._wakes[key] = at
            self._to_tell.set()

    def publish(self, name: str, value: bytes) -> None:
        """Have other processes hear a value soon."""
        self._untold.append(self._message(name.encode(), value))
        self._to_tell.set()

    async def tell(self, name: str, value: bytes) -> None:
        """Have other processes hear a value, and return when it was told; raise what Redis raises."""
        await self.client.publish(CHANNEL, self._message(name.encode(), value))

    # -- loops --

    async def listen(self) -> None:
        """Hear what others tell until cancelled."""

        async def step() -> float:
            try:
                async with self.client.pubsub() as pubsub:
                    await pubsub.subscribe(CHANNEL)
                    self._pubsub = pubsub
                    while True:
                        await self._read(pubsub)
                        background.end_if_cancelled()
            finally:
                if self.client.watcher is not None:
                    self.client.watcher.doubt()
                self._pubsub = None
                if self._listening:
                    self._listening = False
                    self._missed()

        await background.repeat(step, interval_seconds=RETRY_SECONDS, quiet=True)

    async def _read(self, pubsub: "redis.asyncio.client.PubSub") -> None:
        """Take in what is told next; ask whether Redis is there if that is nothing."""
        asked = self._asked_at > self._heard_at
        needed = time.monotonic() - self._needed_at < QUIET_SECONDS
        silence_seconds = HEARTBEAT_SECONDS if needed else QUIET_SECONDS
        message = await pubsub.get_message(timeout=ANSWER_SECONDS if asked else silence_seconds)
        if message is not None:
            self._heard_at = time.monotonic()
            self._heard.set()
            if self.client.watcher is not None:
                self.client.watcher.answered()
            self._take(message)
        elif asked and time.monotonic() - self._asked_at >= ANSWER_SECONDS:
            raise redis.exceptions.ConnectionError("no answer to the ping")  # dead without a word
        elif not asked and self._asked_at <= self._heard_at:
            await self._ask(pubsub)

    async def _ask(self, pubsub: "redis.asyncio.client.PubSub") -> None:
        self._asked_at = time.monotonic()
        await pubsub.ping()

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            self._listening = True
            self._missed()
        elif message["type"] == "message":
            sender, said = message["data"][:_SENDER_BYTES], message["data"][_SENDER_BYTES:]
            name, _, value = said.partition(_END)
            if sender == self._sender:
                return
            for alarm in self._alarms.get(name, ()):
                with contextlib.suppress(ValueError):  # somebody else's message
                    alarm.set(float(value))
            for call in self._heard_by.get(name, ()):
                call(value)

    def _missed(self) -> None:
        for alarm in [alarm for alarms in self._alarms.values() for alarm in alarms]:
            alarm.set()
        for call in self._on_missed:
            call()

    async def tell_on(self) -> None:
        """Tell what is to be told until cancelled."""

        async def step() -> None:
            await self._to_tell.wait()
            self._to_tell.clear()
            await self.flush()

        await background.repeat(step, interval_seconds=PACE_SECONDS, retry_seconds=RETRY_SECONDS, quiet=True)

    async def flush(self) -> None:
        """Tell what is to be told."""
        now = time.monotonic()
        wakes, self._wakes = self._wakes, {}
        values, self._untold = self._untold, deque(maxlen=MAX_UNTOLD)
        messages = [self._message(name, b"%.3f" % max(0.0, at - now)) for name, at in wakes.items()]
        try:
            await self._publish([*messages, *values])
        except BaseException:
            # Others may not have noticed that Redis was away, and wait for it.
            for name, at in wakes.items():
                self._wakes[name] = min(at, self._wakes.get(name, at))
            self._to_tell.set()
            raise

    async def _publish(self, messages: Sequence[bytes]) -> None:
        if not messages:
            return
        async with asyncio.timeout(redis_store.TIMEOUT_SECONDS):
            if len(messages) == 1:
                await self.client.publish(CHANNEL, messages[0])
                return
            pipeline = self.client.pipeline(transaction=False)
            for message in messages:
                pipeline.publish(CHANNEL, message)
            await pipeline.execute()

    def _message(self, name: bytes, value: bytes) -> bytes:
        return self._sender + name + _END + value


@contextlib.asynccontextmanager
async def running(process: "Process", client: Client) -> AsyncIterator[Signals]:
    """Yield signals that are heard and told while the context lasts."""
    made = Signals(client)
    loops = [process.spawn("signals", made.listen()), process.spawn("signals_told", made.tell_on())]
    try:
        yield made
    finally:
        for loop in loops:
            await process.cancel(loop)
        with contextlib.suppress(*REDIS_AWAY):
            await made.flush()


@contextlib.asynccontextmanager
async def of_process(process: "Process", settings: RedisSettings) -> AsyncIterator[Signals]:
    """Yield the signals of the process, which its roles share."""
    async with redis_store.of_process(process, settings) as client:
        opened = functools.partial(running, process, client)
        async with process.whole.share(("signals", settings.redis_dsn), opened) as made:
            yield made
