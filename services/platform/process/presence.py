"""What a process says of itself while it runs, for operators: which roles it has, where, and since when."""

import asyncio
import contextlib
import functools
import math
import os
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from services.platform.process import background, metrics
from services.platform.process.lifecycle import Process
from services.platform.process.whole import Whole

# How often a process looks at itself, and how often it says the same again.
INTERVAL_SECONDS = 10.0
REPEAT_SECONDS = 30.0
# After a try that failed.
RETRY_SECONDS = 5.0
# While it starts, and learns what it has.
YOUNG_SECONDS, YOUNG_INTERVAL_SECONDS = 20.0, 1.0
LEAVE_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Presence:
    """A process that is there."""

    id: UUID
    roles: tuple[str, ...]
    # The host, or the pod.
    instance: str
    pid: int
    version: str
    started_at: datetime
    # Of a worker: requests that may be in flight, and those that are.
    slots: int | None = None
    busy_slots: int | None = None


class Register(Protocol):
    """Where processes are noted."""

    async def note(self, presence: Presence, /) -> None:
        """Note that a process is there."""
        ...

    async def forget(self, presence: Presence, /) -> None:
        """Forget a process that ends."""
        ...


def of(whole: Whole) -> Presence:
    """Return what a process says of itself now."""
    slots, busy_slots = (None, None) if whole.load is None else whole.load()
    return Presence(
        id=whole.id,
        roles=whole.roles,
        instance=socket.gethostname(),
        pid=os.getpid(),
        version=metrics.VERSION,
        started_at=whole.started_at,
        slots=slots,
        busy_slots=busy_slots,
    )


@contextlib.asynccontextmanager
async def noted(process: Process, register: Register) -> AsyncIterator[None]:
    """Have the process noted while this context lasts: once, however many of its roles ask for it."""
    async with process.whole.share("presence", functools.partial(_noted, process.whole, register)):
        yield


@contextlib.asynccontextmanager
async def _noted(whole: Whole, register: Register) -> AsyncIterator[None]:
    said: Presence | None = None
    said_at = -math.inf
    began = time.monotonic()

    async def step() -> float:
        nonlocal said, said_at
        presence, now = of(whole), time.monotonic()
        if presence != said or now - said_at >= REPEAT_SECONDS:
            await register.note(presence)
            said, said_at = presence, now
        return YOUNG_INTERVAL_SECONDS if now - began < YOUNG_SECONDS else INTERVAL_SECONDS

    saying = whole.spawn(
        "presence",
        background.repeat(step, interval_seconds=INTERVAL_SECONDS, retry_seconds=RETRY_SECONDS, quiet=True),
    )
    try:
        yield
    finally:
        await whole.cancel(saying)
        # What is not forgotten now is missing for an hour, and then forgotten.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(LEAVE_SECONDS):
                await register.forget(of(whole))
