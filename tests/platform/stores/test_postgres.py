"""services/platform/stores/postgres.py against a real Postgres."""

import asyncio
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from dev.harness.receiver import Receiver
from dev.harness.stores import CONFLICTS, Stores, conflicting
from services.platform import errors
from services.platform.process.lifecycle import Process
from services.platform.settings import PostgresSettings
from services.platform.stores import postgres
from services.platform.stores.availability import STORE_AWAY, is_store_away
from tests.delivery.world import opened
from tests.ingest.conftest import serving


async def test_a_client_that_freezes_in_a_transaction_keeps_its_locks_for_five_seconds(database: str) -> None:
    """When it wakes, it learns that the store was unavailable, and must repeat its work."""
    settings = PostgresSettings(database_url=database)
    async with postgres.pool(Process("test"), settings) as pool, pool.acquire() as frozen:
        lock = "SELECT * FROM tenants WHERE id = 'default' FOR UPDATE"
        transaction = frozen.transaction()
        await transaction.start()
        await frozen.execute(lock)
        began = time.monotonic()
        async with asyncio.timeout(postgres.IDLE_IN_TRANSACTION_SECONDS + 30):
            await pool.execute(lock)
        assert time.monotonic() - began > postgres.IDLE_IN_TRANSACTION_SECONDS - 1
        with pytest.raises(STORE_AWAY) as raised:
            await frozen.execute(lock)
        assert is_store_away(raised.value)


# Every default of a role that would affect one of our statements.
ODD = (
    "default_transaction_isolation = 'serializable'",
    "default_transaction_read_only = on",
    "default_transaction_deferrable = on",
    "search_path = 'elsewhere'",
    "timezone = 'Pacific/Auckland'",
    "datestyle = 'German, DMY'",
    "intervalstyle = 'sql_standard'",
    "bytea_output = 'escape'",
    "standard_conforming_strings = off",
    "transform_null_equals = on",
    "statement_timeout = '300ms'",
    "lock_timeout = '300ms'",
    "idle_session_timeout = '300ms'",
    "transaction_timeout = '300ms'",
)


@pytest.fixture
def odd(stores: Stores, database: str) -> Iterator[str]:
    """The DSN of a role with such defaults."""
    with stores.role(database, *ODD) as url:
        yield url


async def test_role_defaults_do_not_change_the_pinned_settings(odd: str) -> None:
    settings = PostgresSettings(database_url=odd)
    expected = {**postgres.PINS, "transaction_timeout": "0"}
    assert {setting.partition(" ")[0] for setting in ODD} == {name.lower() for name in expected}
    async with (
        postgres.pool(Process("test"), settings) as pool,
        pool.acquire() as pooled,
        postgres.connection(settings, "test", timeout_seconds=5) as beside,
    ):
        for connection in (pooled, beside):
            assert {name: await connection.fetchval(f"SHOW {name}") for name in expected} == expected


async def test_parameters_of_the_url_are_kept(database: str) -> None:
    url = database + "&options=-c%20search_path%3Dmine&application_name=named&connect_timeout=3&keepalives_idle=7"
    settings = PostgresSettings(database_url=url)
    async with postgres.connection(settings, "test", timeout_seconds=5) as connection:
        assert await connection.fetchval("SHOW search_path") == "mine"
        assert await connection.fetchval("SHOW TimeZone") == "UTC"
        assert await connection.fetchval("SHOW application_name") == "named"


async def test_keepalives_watch_over_a_silent_connection(stores: Stores, database: str) -> None:
    url = stores.postgres.tcp_url(urlsplit(database).path.lstrip("/")) + "?keepalives_idle=7&keepalives_count=3"
    async with postgres.connection(PostgresSettings(database_url=url), "test", timeout_seconds=5) as connection:
        found = connection._transport.get_extra_info("socket")  # type: ignore[union-attr]
        assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7
        assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3


async def test_the_host_that_takes_writes_is_found_among_several(stores: Stores, database: str) -> None:
    """The first one does not answer for the whole timeout; the second has a timeout of its own."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = stores.postgres.tcp_url(urlsplit(database).path.lstrip("/"))
        listed = url.replace("@", f"@127.0.0.1:{silent.getsockname()[1]},") + "?target_session_attrs=read-write"
        async with postgres.pool(Process("test"), PostgresSettings(database_url=listed)) as pool:
            assert await pool.fetchval("SELECT inet_server_port()", timeout=60) == stores.postgres.port


async def test_a_statement_that_was_rolled_back_for_a_conflict_is_repeated(database: str) -> None:
    async with postgres.pool(Process("test"), PostgresSettings(database_url=database)) as pool:
        await pool.execute(CONFLICTS)
        await pool.execute(conflicting("tenants", 3))
        await pool.execute("INSERT INTO tenants (id, name) VALUES ('a', 'A')")
        assert await pool.fetchval("SELECT last_value FROM tries") == 4
        # Not forever: the caller tries again later, or reports that it can be retried.
        await pool.execute(conflicting("tenants", 9))
        with pytest.raises(asyncpg.DeadlockDetectedError) as raised:
            await pool.execute("INSERT INTO tenants (id, name) VALUES ('b', 'B')")
        assert isinstance(errors.classify(raised.value), errors.Unavailable)


# -- transactions that Postgres rolls back for a conflict are repeated, and nothing is refused or lost --


async def test_an_event_is_taken_in_spite_of_conflicts(database: str, redis_url: str) -> None:
    async with serving(database, redis_url) as ingest:
        made = await ingest.create()
        await ingest.pool.execute(CONFLICTS + conflicting("webhook_events", 2))
        assert (await ingest.send(made.id)).deliveries == 1
        assert await ingest.pool.fetchval("SELECT last_value FROM tries") == 3


async def test_a_change_of_a_subscription_is_made_in_spite_of_conflicts(database: str, redis_url: str) -> None:
    async with serving(database, redis_url) as ingest:
        made = await ingest.create()
        await ingest.pool.execute(CONFLICTS + conflicting("subscriptions", 2))
        assert (await ingest.update(made.id, description="changed")).spec.description == "changed"


async def test_an_outcome_is_recorded_once_however_many_conflicts(
    database: str, redis_url: str, receiver: Receiver
) -> None:
    async with opened(database, redis_url) as world:
        # After more conflicts than a statement is repeated for, the recorder keeps it as while Postgres is unavailable.
        await world.pool.execute(CONFLICTS + conflicting("delivery_attempts", 7))
        async with world.running():
            await world.in_state(await world.deliver(await world.subscription(receiver.url())))
        assert await world.pool.fetchval("SELECT last_value FROM tries") == 8
    assert len(receiver.requests) == 1
