"""Whether a store is away: by what its driver raises, and by asking it.

errors.classify() makes Unavailable of what asyncpg raises wherever this is imported, and of what redis-py does where
redis.py is: processes without Redis do without its client. Whether a store answers this
process is told in webhook_store_up for alerts, in the log, and in /readyz.
"""

import asyncio
import errno
import math
import os
import ssl
import time
from collections.abc import Awaitable, Callable

import asyncpg
import structlog

from services.platform import errors
from services.platform.process import background, metrics

# What asyncpg raises when Postgres is away, starting, stopping, read-only after a failover, or out of connections,
# memory or disk; or rolls a transaction back for a conflict (SQLSTATE class 40), which a repetition resolves.
# InterfaceError is asyncpg's for a connection that was closed under a statement, and InvalidCachedStatementError for a
# table that was migrated under a transaction.
STORE_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TransactionRollbackError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.InvalidCachedStatementError,
)


def is_store_away(error: BaseException) -> bool:
    """Whether Postgres is away. An InterfaceError that is also a ValueError is about our settings, or our use of it."""
    return isinstance(error, STORE_AWAY) and not isinstance(error, ValueError)


errors.add_unavailable(is_store_away)


log = structlog.get_logger(__name__)
INTERVAL_SECONDS = 2.0
TIMEOUT_SECONDS = 1.0
# Between two looks at least, whatever seems wrong.
LEAST_SECONDS = 0.1
# How long an answer of the store to its users says that it is up, while they ask nothing more.
QUIET_SECONDS = background.QUIET_SECONDS + 1.0


class StoreAway(Exception):
    """The store did not answer at the last look; the message says why."""


class Watch:
    """Knows whether a store is up: by what it answered to others of late, and else by asking it.

    It looks every two seconds, and at once when something seems wrong. Asked, the store is up when `ask` neither raises
    nor takes longer than a second.
    """

    def __init__(self, store: str, ask: Callable[[], Awaitable[object]]) -> None:
        self._store = store
        self._ask = ask
        self._why: str | None = None
        self._alarm = background.Alarm()
        # When the store answered somebody last, and when somebody first asked since then; on time.monotonic().
        self._answered_at = self._asked_at = -math.inf
        self.looks = 0

    def asked(self) -> None:
        """Note that somebody asks the store something."""
        if self._asked_at <= self._answered_at:
            self._asked_at = time.monotonic()

    def answered(self) -> None:
        """Note that the store answered."""
        self._answered_at = time.monotonic()

    def doubt(self) -> None:
        """Have it asked at once: it failed somebody, or ended a connection."""
        self._answered_at = -math.inf
        if self._why is None:
            self._alarm.set()

    @property
    def _is_known(self) -> bool:
        """Whether it answered a few seconds ago, and nobody has waited for it for a second since."""
        now = time.monotonic()
        waits = self._asked_at > self._answered_at and now - self._asked_at > TIMEOUT_SECONDS
        return now - self._answered_at < QUIET_SECONDS and not waits

    async def check(self) -> None:
        """Raise StoreAway if it did not answer at the last look."""
        if self._why is not None:
            raise StoreAway(self._why)

    async def ask(self) -> None:
        """Ask the store, unless it is known to answer; raise what that raises."""
        if not self._is_known:
            await self._ask()

    async def run(self) -> None:
        """Look until cancelled."""
        up = metrics.STORE_UP.labels(self._store)

        async def step() -> None:
            why = await self._look()
            up.set(why is None)
            if why is None and self._why is not None:
                log.info("a store can be reached again", store=self._store)
            elif why is not None and why != self._why:
                log.warning("a store cannot be reached", store=self._store, reason=why)
            self._why = why
            self.looks += 1
            await asyncio.sleep(LEAST_SECONDS)

        await background.repeat(step, interval_seconds=INTERVAL_SECONDS, wake=self._alarm)

    async def _look(self) -> str | None:
        if self._is_known:
            return None
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._ask()
        except Exception as error:  # noqa: BLE001 - whatever it is, the store gave no answer
            self._answered_at = -math.inf
            return _reason(error)
        return None


def _reason(error: BaseException) -> str:
    """Return what happened at the root, and what the driver made of it: that may leave out why TLS failed."""
    root = error
    while (beneath := root.__cause__ or root.__context__) is not None:
        root = beneath
    why = str(root)
    if isinstance(root, OSError) and not isinstance(root, ssl.SSLError) and root.errno in errno.errorcode:
        why = os.strerror(root.errno or 0)
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return (said if root is error or not why else f"{why} ({said})")[:300]
