"""The Postgres connections of a process: its pool, and those beside it.

What a role or a database has by default, such as another isolation level or time zone, changes nothing: each session
begins with the settings of PINS. Behind a pooler of transactions (POSTGRES_POOLER) nothing may outlive one: no settings
of the session, and no named statements. There only what PgBouncer itself keeps track of is pinned, and the isolation of
transactions, which name it; what else matters is set for the role (docs/guides/kubernetes.md).

Without its cache asyncpg sends a statement's text once more, together with the values, so that it needs nothing of the
server that described it (since 0.29: MagicStack/asyncpg#1065). Each is planned for its values then, which prunes
partitions.
"""

import asyncio
import contextlib
import functools
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import asyncpg
import asyncpg.transaction

from services.platform.process import metrics
from services.platform.process.shares import Shares
from services.platform.settings import PostgresSettings
from services.platform.stores import availability

if TYPE_CHECKING:
    # Not for those that only migrate: it brings the server of HTTP with it.
    from services.platform.process.lifecycle import Process

    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    _Base: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    Pool = asyncpg.Pool
    Connection = asyncpg.Connection
    _Base = asyncpg.Connection

# What metrics, logs and /readyz call the database of the service.
SERVICE_STORE = "postgres"
CONNECT_TIMEOUT_SECONDS = 1.0
STATEMENT_TIMEOUT_SECONDS = 10.0
# For statements that are still out when the process has done its work: a stop waits no longer for a hanging Postgres.
CLOSE_TIMEOUT_SECONDS = 1.0
EXPORT_INTERVAL_SECONDS = 2.0
# A process that froze, or was cut off, in the middle of a transaction keeps its locks from others for no longer.
IDLE_IN_TRANSACTION_SECONDS = 5
# Sent with the start of a session, so that a pooler of transactions, which refuses them, is noticed at once.
_POOL_SETTINGS = {
    # A plan per statement, not per call: each statement by ids bounds them so that it prunes.
    "plan_cache_mode": "force_generic_plan",
    # Nor one that was made while a table was small and scans it when it is large: all look-ups have an index.
    "enable_seqscan": "off",
    "jit": "off",
    "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_SECONDS}s",
}
# What statements and drivers rely on, whatever the role or the database has by default.
PINS: Mapping[str, str] = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "search_path": "public",
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    # Statements are bounded by those who send them; some take a minute.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
}
# PgBouncer gives these to whichever server a transaction gets.
_TRACKED = ("TimeZone", "DateStyle", "standard_conforming_strings")
_TRANSACTION_TIMEOUT_SINCE = 17
# Between tries of what was rolled back: for the other transaction to end.
_ROLLED_BACK_PAUSES_SECONDS = (0.01, 0.05, 0.2)
_T = TypeVar("_T")


class _Connection(_Base):
    def get_reset_query(self) -> str:
        """No reset between users: nothing here sets session state, and it costs a round trip."""
        return ""

    def transaction(
        self, *, isolation: Any = "read_committed", readonly: bool = False, deferrable: bool = False
    ) -> asyncpg.transaction.Transaction:
        """Begin READ COMMITTED by name: behind a pooler nothing else says so."""
        return super().transaction(isolation=isolation, readonly=readonly, deferrable=deferrable)


class _Pool(Pool):
    """Repeats single statements that Postgres rolled back for a conflict with another transaction.

    Its connections are shared among those on whose behalf they are taken.
    """

    shares: Shares
    watch: availability.Watch

    @contextlib.asynccontextmanager
    async def acquire(self, *, timeout: float | None = None) -> AsyncIterator[Any]:  # type: ignore[override] # noqa: ASYNC109 - asyncpg's
        """Yield a connection, in turns among those that want one."""
        async with self.shares.taken():
            self.watch.asked()
            try:
                async with super().acquire(timeout=timeout) as connection:
                    yield connection
            except availability.STORE_AWAY:
                self.watch.doubt()
                raise
            self.watch.answered()

    async def execute(self, *arguments: Any, **options: Any) -> str:
        return await repeat_rolled_back(functools.partial(super().execute, *arguments, **options))

    async def fetch(self, *arguments: Any, **options: Any) -> Any:
        return await repeat_rolled_back(functools.partial(super().fetch, *arguments, **options))

    async def fetchrow(self, *arguments: Any, **options: Any) -> Any:
        return await repeat_rolled_back(functools.partial(super().fetchrow, *arguments, **options))

    async def fetchval(self, *arguments: Any, **options: Any) -> Any:
        return await repeat_rolled_back(functools.partial(super().fetchval, *arguments, **options))


async def repeat_rolled_back(work: Callable[[], Awaitable[_T]]) -> _T:
    """Await `work()`, a statement or a whole transaction, again when Postgres rolled it back for a conflict.

    Such are deadlocks and failures of serialization, SQLSTATE class 40: nothing was changed, and a repetition is what
    they ask for. The last failure is raised; stores.availability.STORE_AWAY lists it.
    """
    for pause_seconds in _ROLLED_BACK_PAUSES_SECONDS:
        try:
            return await work()
        except asyncpg.StatementCompletionUnknownError:
            raise
        except asyncpg.TransactionRollbackError:
            await asyncio.sleep(pause_seconds * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
    return await work()


async def _ask(asked: Pool) -> None:
    await asked.fetchval("SELECT 1", timeout=CONNECT_TIMEOUT_SECONDS)


@contextlib.asynccontextmanager
async def pool(process: "Process", settings: PostgresSettings, *, store: str = SERVICE_STORE) -> AsyncIterator[Pool]:
    """Yield the pool of the process. It starts empty, so that a process can start while Postgres is unreachable.

    Statements end after 10 s on the client's side and connecting after 1 s, or the URL's connect_timeout, both with
    TimeoutError. `store` is what metrics, logs and /readyz call another database than the service's.
    """
    opened = functools.partial(_opened, process, settings, store)
    async with process.whole.share((store, settings.postgres_dsn), opened) as (created, check):
        process.health.add_shared(store, check)
        yield created


@contextlib.asynccontextmanager
async def _opened(
    process: "Process", settings: PostgresSettings, store: str
) -> AsyncIterator[tuple[Pool, Callable[[], Awaitable[None]]]]:
    async def connect_watched(dsn: str, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
        opened = await _open(settings, dsn, **options)
        opened.add_termination_listener(lambda _: watch.doubt())
        return opened

    created = _Pool(
        settings.postgres_target.dsn,
        min_size=0,
        max_size=settings.postgres_pool_size,
        max_queries=50_000,
        max_inactive_connection_lifetime=300,
        connection_class=_Connection,
        record_class=asyncpg.Record,
        setup=None,
        init=None,
        loop=None,
        connect=connect_watched,  # type: ignore[arg-type]  # it is only called so
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=STATEMENT_TIMEOUT_SECONDS,
        **_session(settings, process.whole.name, _POOL_SETTINGS),
    )
    # The other half is for the process's own work.
    created.shares = Shares(max(1, settings.postgres_pool_size // 2))
    created.watch = watch = availability.Watch(store, lambda: _ask(created))
    await created
    loops = [process.spawn(f"{store}_up", watch.run())]
    if store == SERVICE_STORE:
        loops.append(process.spawn("postgres_metrics", _export(created)))
    try:
        yield created, watch.ask
    finally:
        for loop in loops:
            await process.cancel(loop)
        with contextlib.suppress(TimeoutError):
            # On the timeout it terminates its connections.
            await asyncio.wait_for(created.close(), CLOSE_TIMEOUT_SECONDS)


async def connect(
    settings: PostgresSettings, name: str, *, timeout_seconds: float, statement_timeout_seconds: float | None = None
) -> "asyncpg.Connection[asyncpg.Record]":
    """Open a connection beside the pool. The caller closes it."""
    return await _open(
        settings,
        settings.postgres_target.dsn,
        timeout=timeout_seconds,
        command_timeout=statement_timeout_seconds,
        connection_class=_Connection,
        **_session(settings, name, {}),
    )


@contextlib.asynccontextmanager
async def connection(
    settings: PostgresSettings, name: str, *, timeout_seconds: float, statement_timeout_seconds: float | None = None
) -> AsyncIterator[Connection]:
    """Yield a connection outside the pool, for work that would occupy a pooled one for long.

    Connecting ends after `timeout_seconds`, a statement after `statement_timeout_seconds` if given, both with
    TimeoutError. Locks of a transaction are released with the context, however it ends.
    """
    connected = await connect(
        settings, name, timeout_seconds=timeout_seconds, statement_timeout_seconds=statement_timeout_seconds
    )
    try:
        yield connected
    finally:
        await connected.close(timeout=timeout_seconds)


def pin_statement(settings: PostgresSettings, *, server_version: int, local: bool = False) -> str:
    """Return the statements that pin PINS for a session, or with `local` for a transaction.

    Settings in the URL's options are the operator's choice and are kept.
    """
    given = settings.postgres_target.given()
    pins = {name: value for name, value in PINS.items() if name.lower() not in given}
    if server_version >= _TRANSACTION_TIMEOUT_SINCE and "transaction_timeout" not in given:
        pins["transaction_timeout"] = "0"
    return "; ".join(f"SET {'LOCAL ' * local}{name} = {_value(value)}" for name, value in pins.items())


def _value(value: str) -> str:
    """Return a value as SET takes it; quoted, a search path would be one name."""
    return value if value.isalnum() else f"'{value}'"


async def _open(settings: PostgresSettings, dsn: str, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
    """Connect to the first host that answers and is what target_session_attrs asks for; as pools ask for it.

    Each host has the timeout to itself, as in libpq. Raises what the last one did.
    """
    target = settings.postgres_target
    if target.system_authorities:
        options["ssl"] = ssl.create_default_context()
    if target.connect_timeout_seconds is not None:
        options["timeout"] = target.connect_timeout_seconds
    failure: Exception | None = None
    for place in target.attempts():
        try:
            opened: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(dsn, **options, **place)
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.InternalClientError) as error:
            failure = error
            continue
        try:
            _watch(opened, target.socket_options)
            if settings.postgres_pooler == "none":
                pins = pin_statement(settings, server_version=opened.get_server_version().major)
                await opened.execute(pins, timeout=options["timeout"])
        except BaseException:
            opened.terminate()
            raise
        return opened
    assert failure is not None, "there is one host at least"
    raise failure


def _watch(opened: "asyncpg.Connection[asyncpg.Record]", socket_options: tuple[tuple[int, int, int], ...]) -> None:
    """Set the options of the connection's socket, which asyncpg has no arguments for."""
    transport: asyncio.Transport = opened._transport  # type: ignore[attr-defined] # noqa: SLF001
    peer = transport.get_extra_info("peername")
    if isinstance(peer, tuple):  # not a Unix socket's
        for option in socket_options:
            transport.get_extra_info("socket").setsockopt(*option)


def _session(settings: PostgresSettings, name: str, server_settings: Mapping[str, str]) -> dict[str, Any]:
    """Return asyncpg's options for sessions: their initial settings, where sessions are not shared by a pooler."""
    target = settings.postgres_target
    named = {"application_name": target.application_name or f"webhook-{name}"}
    if target.options:
        named["options"] = target.options
    if settings.postgres_pooler == "transaction":
        tracked = {name: PINS[name] for name in _TRACKED if name.lower() not in target.given()}
        return {"server_settings": named | tracked, "statement_cache_size": 0}
    return {"server_settings": named | dict(server_settings)}


async def _export(created: Pool) -> None:
    while True:
        idle = created.get_idle_size()
        metrics.POSTGRES_CONNECTIONS.labels("idle").set(idle)
        metrics.POSTGRES_CONNECTIONS.labels("used").set(created.get_size() - idle)
        await asyncio.sleep(EXPORT_INTERVAL_SECONDS)
