"""Redis behind sentinels: real servers and sentinels, and primaries that are killed or demoted."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from services.common import doorbell, ids, redis
from services.common.doorbell import Broker
from services.common.gates import Gates
from services.common.lifecycle import Process
from services.common.settings import RedisSettings
from services.delivery.dispatcher.limiter import Demand, Limiter
from tests.support import sentinel
from tests.support.waiting import wait_until

BACK_WITHIN_SECONDS = 5.0


@pytest.fixture
def watched() -> Iterator[sentinel.Watched]:
    """A primary and a replica under one sentinel."""
    with sentinel.running() as running:
        yield running


def settings(url: str) -> RedisSettings:
    return RedisSettings(redis_url=url, _env_file=None)


async def again(client: redis.Client) -> None:
    """Waits until a client writes."""

    async def writes() -> bool:
        with contextlib.suppress(*redis.REDIS_AWAY):
            return bool(await client.set("key", "value"))
        return False

    await wait_until(writes, BACK_WITHIN_SECONDS, what="a write")


async def test_a_client_writes_to_the_primary_and_after_a_failover_to_the_new_one(watched: sentinel.Watched) -> None:
    async with redis.client(settings(watched.url)) as client:
        await client.set("before", "1")
        new = await asyncio.to_thread(watched.fail_over)
        await again(client)
    with contextlib.closing(watched.server(new)) as direct:
        assert direct.get("key") == b"value"


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
            try:
                async with asyncio.timeout(redis.TIMEOUT_SECONDS):
                    await client.set("key", "value")
            finally:
                first.send(signal.SIGCONT)


async def test_without_any_sentinel_redis_counts_as_away(watched: sentinel.Watched) -> None:
    watched.sentinels[0].stop()
    async with redis.client(settings(watched.url)) as client:
        with pytest.raises(redis.REDIS_AWAY):
            await client.set("key", "value")


@pytest.mark.parametrize("secret", ["of-the-servers", "of-the-sentinels"])
async def test_a_wrong_password_is_told_without_it(watched: sentinel.Watched, secret: str) -> None:
    async with redis.client(settings(watched.url.replace(secret, "wrong-one"))) as client:
        with pytest.raises(redis.REDIS_AWAY) as refused:
            await client.set("key", "value")
    assert "wrong-one" not in repr(refused.value)


async def test_a_client_that_is_closed_leaves_no_connection_to_a_sentinel_either(watched: sentinel.Watched) -> None:
    with contextlib.closing(watched.sentinel()) as direct:

        def connections() -> int:
            return len(direct.client_list())

        before = connections()
        async with redis.client(settings(watched.url)) as client:
            await client.set("key", "value")
            assert connections() == before + 1
        broker = Broker(settings(watched.url), socket_timeout=1)
        await broker.startup()
        assert connections() == before + 1
        await broker.shutdown()
        await wait_until(lambda: connections() == before, what="no connection of ours")


@contextlib.asynccontextmanager
async def _gates(url: str) -> AsyncIterator[Gates]:
    async with redis.client(settings(url)) as client:
        made, process = Gates(client), Process("gates")
        process.spawn("gates", made.run())
        try:
            yield made
        finally:
            await process.cancel_all()
        assert not process.failed


async def test_gates_are_heard_of_again_after_a_failover(watched: sentinel.Watched) -> None:
    async with _gates(watched.url) as one, _gates(watched.url) as another:

        async def heard() -> None:
            closed = ids.new()

            def reached() -> bool:
                one.close([closed])
                return not another.is_open(closed)

            await wait_until(reached, BACK_WITHIN_SECONDS, what="a gate that another process closed")

        await heard()
        await asyncio.to_thread(watched.fail_over)
        await heard()


async def test_a_rate_is_shared_again_after_a_failover(watched: sentinel.Watched) -> None:
    async def one_worker() -> int:
        return 1

    async with redis.client(settings(watched.url)) as first, redis.client(settings(watched.url)) as second:
        limiters = [Limiter(first, one_worker), Limiter(second, one_worker)]
        await asyncio.to_thread(watched.fail_over)
        for client in (first, second):
            await again(client)
        demand = Demand(subscription_id=ids.new(), rate=0.01, burst=20, wanted=15)
        granted = [(await limiter.take([demand]))[0].number for limiter in limiters]
    assert granted == [15, 5]


async def test_a_ringer_that_lost_its_primary_rings_at_the_new_one(watched: sentinel.Watched, database: str) -> None:
    rung = doorbell.Rung(ids.new(), ids.new())
    process = Process("test")
    async with (
        asyncpg.create_pool(database, min_size=0, max_size=2) as pool,
        doorbell.ringer(process, settings(watched.url), pool) as ringer,
    ):
        ringer.ring([rung])
        await asyncio.to_thread(watched.fail_over)

        async def rings() -> bool:
            return ringer.open and await ringer.try_ring([rung])

        await wait_until(rings, BACK_WITHIN_SECONDS, what="a bell")
        with contextlib.closing(watched.server(watched.primary())) as direct:
            assert direct.xlen(doorbell.STREAM) >= 1
    assert not process.failed
