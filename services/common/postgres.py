"""The Postgres connections of a process: its pool, and those beside it.

Behind a pooler of transactions (POSTGRES_POOLER) nothing may outlive one: no settings of the session, which PgBouncer
refuses at its start, and no named statements. Without its cache asyncpg sends a statement's text once more, together
with the values, so that it needs nothing of the server that described it (since 0.29: MagicStack/asyncpg#1065). Each
is planned for its values then, which prunes partitions.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from services.common import metrics, store_up
from services.common.lifecycle import Process
from services.common.settings import PostgresSettings

if TYPE_CHECKING:
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
else:
    Pool = asyncpg.Pool
    Connection = asyncpg.Connection

CONNECT_TIMEOUT_SECONDS = 1.0
STATEMENT_TIMEOUT_SECONDS = 10.0
# For statements that are still out when the process has done its work: a stop waits no longer for a hanging Postgres.
CLOSE_TIMEOUT_SECONDS = 1.0
EXPORT_INTERVAL_SECONDS = 2.0
# A process that froze, or was cut off, in the middle of a transaction keeps its locks from others for no longer.
IDLE_IN_TRANSACTION_SECONDS = 5
_POOL_SETTINGS = {
    # A plan per statement, not per call: each statement by ids bounds them so that it prunes.
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
    "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_SECONDS}s",
}


class _Connection(asyncpg.Connection):
    def get_reset_query(self) -> str:
        """No reset between users: nothing here sets session state, and it costs a round trip."""
        return ""


@contextlib.asynccontextmanager
async def pool(process: Process, settings: PostgresSettings) -> AsyncIterator[Pool]:
    """A pool that starts empty, so that a process comes up while Postgres is still away.

    Statements end after 10 s on the client's side and connecting after 1 s, both with TimeoutError.
    """
    created = asyncpg.create_pool(
        settings.postgres_dsn,
        min_size=0,
        max_size=settings.postgres_pool_size,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=STATEMENT_TIMEOUT_SECONDS,
        max_inactive_connection_lifetime=300,
        connection_class=_Connection,
        **_session(settings, process.role, _POOL_SETTINGS),
    )
    await created

    async def check() -> None:
        await created.fetchval("SELECT 1", timeout=CONNECT_TIMEOUT_SECONDS)

    process.health.add_shared("postgres", check)
    loops = [
        process.spawn("postgres_metrics", _export(created)),
        process.spawn("postgres_up", store_up.Watch("postgres", check).run()),
    ]
    try:
        yield created
    finally:
        for loop in loops:
            await process.cancel(loop)
        with contextlib.suppress(TimeoutError):
            # On the timeout it terminates its connections.
            await asyncio.wait_for(created.close(), CLOSE_TIMEOUT_SECONDS)


@contextlib.asynccontextmanager
async def connection(
    settings: PostgresSettings, name: str, *, timeout_seconds: float, statement_timeout_seconds: float | None = None
) -> AsyncIterator[Connection]:
    """A connection beside the pool, for work that would keep one of its own for long.

    Connecting ends after `timeout_seconds`, a statement after `statement_timeout_seconds` if given, both with
    TimeoutError. What a transaction holds is let go with the context, however it ends.
    """
    connected = await asyncpg.connect(
        settings.postgres_dsn,
        timeout=timeout_seconds,
        command_timeout=statement_timeout_seconds,
        **_session(settings, name, {}),
    )
    try:
        yield connected
    finally:
        await connected.close(timeout=timeout_seconds)


def _session(settings: PostgresSettings, name: str, server_settings: dict[str, str]) -> dict[str, Any]:
    """What asyncpg is told about its sessions: settings that they begin with, where they are its own."""
    named = {"application_name": f"webhook-{name}"}
    if settings.postgres_pooler == "transaction":
        return {"server_settings": named, "statement_cache_size": 0}
    return {"server_settings": named | server_settings}


async def _export(created: Pool) -> None:
    while True:
        idle = created.get_idle_size()
        metrics.POSTGRES_CONNECTIONS.labels("idle").set(idle)
        metrics.POSTGRES_CONNECTIONS.labels("used").set(created.get_size() - idle)
        await asyncio.sleep(EXPORT_INTERVAL_SECONDS)
