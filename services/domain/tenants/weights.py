"""Weights of tenants: how much of what all of them share each gets, compared with the others.

A tenant of weight 3 gets three times as much as one of weight 1 while both want more than there is, and all that others
leave. Most have weight 1. An operator sets it; each process knows it from Postgres.
"""

import asyncio
import contextlib
import contextvars
import math
import time
from collections.abc import AsyncIterator, Mapping

from services.platform.process.lifecycle import Process
from services.platform.stores import postgres, sql
from services.platform.stores.availability import STORE_AWAY

SQL = sql.Queries("services.domain.tenants")
# What is known is at most so old when it is used. A process that uses no weight reads none.
FRESH_SECONDS = 2.0


class Weights:
    """The weights of all tenants, read again in the background when one is used and they are not fresh."""

    def __init__(self, pool: postgres.Pool) -> None:
        self._pool = pool
        self._known: Mapping[str, int] = {}
        self._fresh_until = -math.inf
        self._reading: asyncio.Task[None] | None = None
        # The creator's context: reading is the process's own work, and not that of the call that happens to cause it.
        self._context = contextvars.copy_context()

    def of(self, tenant_id: str) -> int:
        """Return a tenant's weight, without waiting for anything."""
        if time.monotonic() >= self._fresh_until and self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="weights", context=self._context)
        return self._known.get(tenant_id, 1)

    async def refresh(self) -> None:
        """Read them."""
        self._known = {row["id"]: row["weight"] for row in await self._pool.fetch(SQL["select_weights"])}

    async def close(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})

    async def _read(self) -> None:
        try:
            with contextlib.suppress(*STORE_AWAY):  # the known ones do until it is back
                await self.refresh()
        finally:
            self._fresh_until = time.monotonic() + FRESH_SECONDS
            self._reading = None


@contextlib.asynccontextmanager
async def of_process(process: Process, pool: postgres.Pool) -> AsyncIterator[Weights]:
    """Yield the weights as all roles of a process know them."""
    async with process.whole.share(Weights, lambda: _opened(pool)) as weights:
        yield weights


@contextlib.asynccontextmanager
async def _opened(pool: postgres.Pool) -> AsyncIterator[Weights]:
    weights = Weights(pool)
    try:
        yield weights
    finally:
        await weights.close()
