"""webhook_store_up, which alerts watch, against stores that go and come back."""

import contextlib
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from services.common import postgres, redis, store_up
from services.common.lifecycle import Process
from services.common.settings import PostgresSettings, RedisSettings
from services.embedded import EmbeddedPostgres, EmbeddedValkey, Guard, wheel
from tests.support.waiting import wait_until

NOTICED_WITHIN_SECONDS = 5.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary folder that Postgres's own user may enter, which pytest's is closed to."""
    created = Path(tempfile.mkdtemp(prefix="store-up-"))
    yield created
    shutil.rmtree(created, ignore_errors=True)


async def says(store: str, value: float) -> None:
    """Waits for the gauge of a store to have a value."""

    def found() -> bool:
        return REGISTRY.get_sample_value("webhook_store_up", {"store": store}) == value

    await wait_until(found, NOTICED_WITHIN_SECONDS, what=f"webhook_store_up of {store} at {value}")


async def test_a_postgres_that_is_away_is_noticed_and_so_is_its_return(folder: Path) -> None:
    with Guard() as guard, EmbeddedPostgres(folder / "postgres", guard=guard, settings={"fsync": "off"}) as server:
        url = server.url("postgres", user=wheel.USER)
        async with postgres.pool(Process("test"), PostgresSettings(database_url=url, _env_file=None)):
            await says("postgres", 1)
            server.kill()
            await says("postgres", 0)
            server.start()
            await says("postgres", 1)


async def test_a_redis_that_hangs_is_noticed_and_so_is_its_return(folder: Path) -> None:
    process = Process("test")
    with Guard() as guard, EmbeddedValkey(folder / "valkey", guard=guard) as server:
        async with redis.client(RedisSettings(redis_url=server.url(), _env_file=None)) as client:
            watching = process.spawn("redis_up", store_up.watch("redis", client.ping))
            try:
                await says("redis", 1)
                with contextlib.ExitStack() as thaw:
                    server.process.send(signal.SIGSTOP)
                    thaw.callback(server.process.send, signal.SIGCONT)
                    await says("redis", 0)
                await says("redis", 1)
            finally:
                await process.cancel(watching)
