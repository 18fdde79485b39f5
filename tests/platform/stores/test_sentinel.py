"""Redis behind sentinels: which ones are asked, what happens if they do not answer, and a demoted primary."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from dev.harness.redis import sentinel
from dev.harness.redis.primaries import KEY, again, settings
from dev.harness.waiting import wait_until
from services.delivery.worker.broker import Broker
from services.platform.stores import redis


@pytest.fixture
def watched() -> Iterator[sentinel.Watched]:
    """A primary and a replica under one sentinel."""
    with sentinel.running() as running:
        yield running


async def test_a_primary_that_is_demoted_alive_is_written_to_no_more(watched: sentinel.Watched) -> None:
    async with redis.client(settings(watched.url)) as client:
        await again(client)
        old = watched.primary()
        with contextlib.closing(watched.sentinel()) as asked:
            ask: Any = asked.execute_command
            ask("SENTINEL", "FAILOVER", sentinel.SERVICE, "COORDINATED")
        with contextlib.closing(watched.server(old)) as direct:
            await wait_until(lambda: direct.role()[0] == b"slave", what="the old primary to be a replica")
        await again(client)
        assert watched.primary() is not old


@pytest.mark.parametrize("end", ["stopped", "frozen"])
async def test_a_sentinel_that_does_not_answer_is_passed_over_within_the_timeout_of_a_command(end: str) -> None:
    with sentinel.running(number=2) as watched:
        async with redis.client(settings(watched.url)) as client:
            first = watched.sentinels[0]
            if end == "stopped":
                first.stop()
            else:
                first.send(signal.SIGSTOP)

            async def writes() -> bool:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(redis.TIMEOUT_SECONDS):
                        return bool(await client.set(KEY, "value"))
                return False

            try:
                await wait_until(writes, what="a write")
            finally:
                first.send(signal.SIGCONT)


async def test_redis_counts_as_unavailable_without_any_sentinel(watched: sentinel.Watched) -> None:
    watched.sentinels[0].stop()
    async with redis.client(settings(watched.url)) as client:
        with pytest.raises(redis.REDIS_AWAY):
            await client.set(KEY, "value")


@pytest.mark.parametrize("secret", ["of-the-servers", "of-the-sentinels"])
async def test_a_wrong_password_is_reported_without_showing_it(watched: sentinel.Watched, secret: str) -> None:
    async with redis.client(settings(watched.url.replace(secret, "wrong-one"))) as client:
        with pytest.raises(redis.REDIS_AWAY) as refused:
            await client.set(KEY, "value")
    assert "wrong-one" not in repr(refused.value)


async def test_a_client_that_is_closed_leaves_no_connection_to_a_sentinel_either(watched: sentinel.Watched) -> None:
    with contextlib.closing(watched.sentinel()) as direct:

        def connections() -> int:
            return len(direct.client_list())

        before = connections()
        async with redis.client(settings(watched.url)) as client:
            await client.set(KEY, "value")
            broker = Broker(client, consumer_name="worker")
            await broker.startup()
            await broker.shutdown()
            assert connections() == before + 1
        await wait_until(lambda: connections() == before, what="no connection of ours")
