"""The embedded stores survive what tests and users do to them."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis

from dev.embedded import EmbeddedPostgres, EmbeddedValkey, StopMode, processes, wheel
from dev.embedded.ports import free_ports, why_not
from dev.harness.stack import ROOT
from dev.harness.stores import Stores
from dev.harness.waiting import wait_until, wait_until_sync

BUSY = """
SELECT count(*) FROM pg_stat_activity
WHERE state = 'active' AND query LIKE '%generate_series%' AND pid <> pg_backend_pid()
"""

# An owner that starts both stores, prints that, and waits to be killed.
OWNER = """
import pathlib, sys, time
from dev.embedded import EmbeddedPostgres, EmbeddedValkey, Guard
folder = pathlib.Path(sys.argv[1])
with Guard() as guard:
    postgres = EmbeddedPostgres(folder / "postgres", guard=guard if "guarded" in sys.argv else None)
    valkey = EmbeddedValkey(folder / "valkey", guard=guard if "guarded" in sys.argv else None)
    postgres.start()
    valkey.start()
    print(postgres.socket_folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def postgres(short_folder: Path, free_port: int) -> Iterator[EmbeddedPostgres]:
    """A separate server, for tests that kill it."""
    with EmbeddedPostgres(short_folder / f"postgres-{free_port}", port=free_port) as running:
        yield running


async def _value(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


@pytest.mark.parametrize("end", ["kill", "immediate", "fast"])
async def test_committed_data_is_kept_when_postgres_stops_and_starts_again(
    postgres: EmbeddedPostgres, end: str
) -> None:
    """On the same socket and port, whichever way it ended."""
    postgres.ensure_database("webhook")
    url, tcp_url = postgres.url("webhook"), postgres.tcp_url("webhook")
    await _value(url, "CREATE TABLE kept AS SELECT 42 AS number")
    if end == "kill":
        postgres.kill()
    else:
        postgres.stop(StopMode[end.upper()])
    assert not postgres.running
    postgres.start()
    assert await _value(url, "SELECT number FROM kept") == 42
    assert await _value(tcp_url, "SELECT number FROM kept") == 42


async def test_postgres_starts_again_beside_a_backend_that_a_kill_left_working(postgres: EmbeddedPostgres) -> None:
    """It uses shared memory, which keeps a new server from starting."""
    connection = await asyncpg.connect(postgres.url("postgres", user=wheel.USER))
    busy = asyncio.create_task(connection.execute("SELECT count(*) FROM generate_series(1, 1000000000)"))
    await wait_until(lambda: postgres.execute(BUSY) == "1", what="the query to run")
    postgres.kill()
    postgres.start()
    with pytest.raises((asyncpg.PostgresError, OSError)):
        await busy
    assert await _value(postgres.url("postgres", user=wheel.USER), "SELECT 1") == 1


async def test_tcp_connections_require_the_password(postgres: EmbeddedPostgres) -> None:
    """Every user of the machine can connect to the port, and a superuser can run programs as us."""
    postgres.ensure_database("webhook")
    superuser, owner = postgres.superuser_tcp_url("webhook"), postgres.tcp_url("webhook")
    assert await _value(superuser, "SELECT 1") == 1
    for url in (superuser.replace("//postgres:", "//postgres:not-"), owner.replace("//webhook:", "//webhook:not-")):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await _value(url, "SELECT 1")


async def test_the_owner_of_a_database_is_not_a_superuser(postgres: EmbeddedPostgres) -> None:
    """As on a managed Postgres. Its password is not the superuser's."""
    postgres.ensure_database("webhook")
    url = postgres.url("webhook")
    assert (
        await _value(url, "SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = current_user")
        is False
    )
    assert await _value(url, "SELECT pg_get_userbyid(datdba) = current_user FROM pg_database WHERE datname = 'webhook'")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await _value(postgres.tcp_url("webhook").replace("//webhook:", "//postgres:"), "SELECT 1")


def test_postgres_has_wal_segments_ahead_once_they_are_made(postgres: EmbeddedPostgres) -> None:
    made = postgres.fill_wal(64)

    # Checkpoints keep the last of them as they are; the others have got the names of the next ones.
    assert made >= 2
    assert postgres.execute("SHOW min_wal_size") == "64MB"


def test_valkey_starts_again_empty_on_the_same_port(short_folder: Path, free_port: int) -> None:
    """Nothing in it needs to survive, and nothing does."""
    with EmbeddedValkey(short_folder / f"valkey-{free_port}", port=free_port) as valkey:
        client = redis.Redis.from_url(valkey.url())
        client.set("key", "value")
        valkey.kill()
        valkey.start()
        assert client.get("key") is None
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        client.close()


def test_the_guard_ends_the_stores_of_a_killed_owner(short_folder: Path) -> None:
    """Processes and socket folder."""
    folder = short_folder / "guarded"
    owner, sockets = _owner(folder, "guarded")
    owner.kill()
    owner.wait()
    wait_until_sync(lambda: not _left(folder) and not sockets.exists(), what="the guard to clean up")


def test_stores_of_a_killed_owner_without_guard_are_ended_by_the_next(short_folder: Path) -> None:
    """And the data is taken over."""
    folder = short_folder / "unguarded"
    owner, sockets = _owner(folder)
    owner.kill()
    owner.wait()
    left = _left(folder)
    assert left
    with EmbeddedPostgres(folder / "postgres") as postgres, EmbeddedValkey(folder / "valkey"):
        assert not any(processes.alive(process) for process in left)
        assert not sockets.exists()
        assert postgres.execute("SELECT 1") == "1"


def test_a_taken_port_is_known(stores: Stores) -> None:
    """Before anything is started on it."""
    assert why_not("127.0.0.1", stores.valkey.port) == "is already in use"
    assert all(why_not("127.0.0.1", port) is None for port in free_ports(3))


def _owner(folder: Path, *arguments: str) -> tuple[subprocess.Popen[str], Path]:
    command = [sys.executable, "-c", OWNER, str(folder), *arguments]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert owner.stdout
    with owner.stdout:
        return owner, Path(owner.stdout.readline().strip())


def _left(folder: Path) -> list[psutil.Process]:
    postgres = processes.working_in(folder / "postgres" / "data", "postgres")
    return postgres + processes.working_in(folder / "valkey", "valkey-server")
