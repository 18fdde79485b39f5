"""Work for the whole installation that a few processes do, while the others stand by: dispatching, roll-ups, measuring.

It is safe in any number of processes, because each statement locks the rows that it works on. Two are enough, and in
twenty it would cost ten times as much. A place is held by a row with an end, which its holder puts off: a session's
lock would cost each process a connection, and does not work behind a pooler of transactions.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import structlog

from services.platform import ids
from services.platform.process import background
from services.platform.process.lifecycle import Process
from services.platform.stores import postgres, sql
from services.platform.stores.availability import STORE_AWAY

log = structlog.get_logger(__name__)
SQL = sql.Queries("services.platform.stores")

# Processes that do it at once: one that dies is not missed.
PLACES = 2
LOOK_SECONDS = 5.0
# A process that does not look for so long has lost its place to one that stands by.
HELD_SECONDS = 15.0
LEAVE_SECONDS = 0.5


class Duty:
    """A place among those who do this work, or the wait for one."""

    def __init__(self, pool: postgres.Pool, name: str) -> None:
        self._pool = pool
        self._name = name
        self._holder: UUID = ids.new()
        self._looked = False
        self._held_since: float | None = None
        self._on_taken: Callable[[], None] = lambda: None
        self._on_lost: Callable[[], None] = lambda: None

    @property
    def held(self) -> bool:
        """Whether this process does the work. While Postgres is away this does not change: nobody can do any."""
        return self._held_since is not None

    def on_change(self, *, taken: Callable[[], None], lost: Callable[[], None]) -> None:
        """Have `taken` called when this process takes over from another one, and `lost` when another one has."""
        self._on_taken, self._on_lost = taken, lost

    def checked(self, check: Callable[[], Awaitable[None]], *, after_seconds: float) -> Callable[[], Awaitable[None]]:
        """Return a check of the work that passes while this process stands by, and when it has just begun."""

        async def while_held() -> None:
            if self._held_since is not None and time.monotonic() - self._held_since > after_seconds:
                await check()

        return while_held

    async def look(self) -> None:
        """Take a place, or keep it."""
        place = await self._pool.fetchval(
            SQL["take_duty"], self._name, self._holder, timedelta(seconds=HELD_SECONDS), PLACES
        )
        if place is not None and self._held_since is None:
            self._held_since = time.monotonic()
            if self._looked:
                log.info("taking over", duty=self._name)
                self._on_taken()
        elif place is None and self._held_since is not None:
            self._held_since = None
            log.info("standing by", duty=self._name)
            self._on_lost()
        self._looked = True

    async def leave(self) -> None:
        """Give the place up."""
        await self._pool.execute(SQL["leave_duty"], self._name, self._holder)


@contextlib.asynccontextmanager
async def shared(process: Process, pool: postgres.Pool, name: str) -> AsyncIterator[Duty]:
    """Yield a duty. Loops that are spawned within background.only_while(duty) pause while this process stands by."""
    duty = Duty(pool, name)
    looking = process.spawn(
        f"duty_{name}", background.repeat(duty.look, interval_seconds=LOOK_SECONDS, retry_seconds=0.5, quiet=True)
    )
    try:
        yield duty
    finally:
        await process.cancel(looking)
        with contextlib.suppress(*STORE_AWAY):
            async with asyncio.timeout(LEAVE_SECONDS):
                await duty.leave()
