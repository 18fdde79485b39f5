"""The statements that sum up what tenants use."""

import contextlib
from collections.abc import AsyncIterator
from typing import NamedTuple

from services.domain.tenants.quotas import Quota, Quotas
from services.platform.stores import sql
from services.platform.stores.postgres import Connection, Pool

SQL = sql.Queries("services.analytics.usage")
# Counting many deliveries may outlast the pool's ten seconds.
TIMEOUT_SECONDS = 60.0


class Nearest(NamedTuple):
    """How much of a quota a tenant uses: 1 is all of it."""

    quota: Quota
    tenant_id: str
    used: float


class Turn:
    """The sums, while this process holds their lock."""

    def __init__(self, connection: Connection, due_in_seconds: float) -> None:
        self._connection = connection
        # Not above 0 when they are due.
        self.due_in_seconds = due_in_seconds

    async def sum_up(self, *, interval_seconds: float, quiet_seconds: float, pause_factor: float) -> float:
        """Sum up, and return in how many seconds the next sums are due: after `quiet_seconds` if nothing changed."""
        await self._connection.execute(SQL["delete_dropped"], timeout=TIMEOUT_SECONDS)
        changed = await self._connection.execute(SQL["sum_up"], timeout=TIMEOUT_SECONDS)
        if changed == "INSERT 0 0":
            interval_seconds = quiet_seconds
        due: float = await self._connection.fetchval(SQL["finish"], interval_seconds, pause_factor)
        return due

    async def nearest(self, limit: int, defaults: Quotas) -> list[Nearest]:
        """Return the tenants nearest to each quota, at most `limit` of each."""
        values = [getattr(defaults, quota) for quota in Quota]
        rows = await self._connection.fetch(SQL["select_nearest"], *values, limit)
        return [Nearest(Quota(row["quota"]), row["tenant_id"], row["used"]) for row in rows]


class UsageStore:
    """Every method raises what stores.availability.STORE_AWAY lists when Postgres is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn | None]:
        """Yield the turn to sum up, committed at the end of the context; None while another copy has it."""
        async with self._pool.acquire() as connection, connection.transaction(isolation="read_committed"):
            due_in_seconds = await connection.fetchval(SQL["take_turn"])
            yield None if due_in_seconds is None else Turn(connection, due_in_seconds)
