"""The primary of Redis is killed, and everything that uses it continues with the new one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from dev.harness.redis.primaries import BACK_WITHIN_SECONDS, KEY, KINDS, Primaries, again, settings
from dev.harness.waiting import wait_until
from services.delivery.dispatcher.limiter import Demand, Limiter
from services.delivery.worker.broker import Broker
from services.domain import doorbell, gates
from services.domain.doorbell import Rung
from services.domain.gates import Gates
from services.platform import ids
from services.platform.process.lifecycle import Process
from services.platform.stores import redis, signals

# A slow response on a busy machine must not count as an outage of Redis.
PATIENCE_SECONDS = 10.0


@pytest.fixture(params=KINDS)
def primaries(request: pytest.FixtureRequest) -> Iterator[Primaries]:
    """Servers, one of which is the primary."""
    with KINDS[request.param]() as running:
        yield running


async def test_a_client_writes_to_the_primary_and_after_a_failover_to_the_new_one(primaries: Primaries) -> None:
    async with redis.client(settings(primaries.url)) as client:
        await client.set(KEY, "before")
        new = await asyncio.to_thread(primaries.fail_over)
        await again(client)
    with contextlib.closing(primaries.server(new)) as direct:
        assert direct.get(KEY) == b"value"


@contextlib.asynccontextmanager
async def _gates(url: str) -> AsyncIterator[Gates]:
    async with redis.client(settings(url)) as client:
        process = Process("gates")
        async with signals.running(process, client) as heard, gates.running(process, heard) as made:
            made.follow()
            yield made
        assert not process.failed


async def test_gates_are_heard_of_before_and_after_a_failover(primaries: Primaries) -> None:
    async with _gates(primaries.url) as one, _gates(primaries.url) as another:

        async def heard() -> None:
            closed, full = ids.new(), ids.new()

            def reached() -> bool:
                one.close([closed])
                one.fill(full)
                return not another.is_open(closed) and another.is_full(full)

            await wait_until(reached, BACK_WITHIN_SECONDS, what="what another process closed")

        await heard()
        await asyncio.to_thread(primaries.fail_over)
        await heard()


async def test_a_rate_is_shared_before_and_after_a_failover(
    primaries: Primaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.delivery.dispatcher.limiter.TIMEOUT_SECONDS", PATIENCE_SECONDS)

    async def one_worker() -> int:
        return 1

    first, second = (redis.connect(settings(primaries.url), timeout_seconds=PATIENCE_SECONDS) for _ in range(2))
    async with first, second:
        limiters = [Limiter(first, one_worker), Limiter(second, one_worker)]

        async def granted() -> list[list[int]]:
            # For several subscriptions at once, as in a turn of the dispatcher.
            demands = [Demand(subscription_id=ids.new(), rate=0.01, burst=20, wanted=15) for _ in range(5)]
            return [[grant.number for grant in await limiter.take(demands)] for limiter in limiters]

        assert await granted() == [[15] * 5, [5] * 5]
        await asyncio.to_thread(primaries.fail_over)
        for client in (first, second):
            await again(client)
        assert await granted() == [[15] * 5, [5] * 5]


@contextlib.asynccontextmanager
async def _worker(url: str) -> AsyncIterator[Broker]:
    async with redis.connect(settings(url), timeout_seconds=PATIENCE_SECONDS) as client:
        broker = Broker(client, consumer_name="worker")
        await broker.startup()
        try:
            yield broker
        finally:
            await broker.shutdown()


async def test_a_bell_is_heard_and_acknowledged_and_swept_as_on_a_server_alone(primaries: Primaries) -> None:
    async with _worker(primaries.url) as worker:
        worker.count = 1
        for _ in range(2):
            await worker.stream.add(doorbell.bell([Rung(ids.new(), ids.new())]))
        messages = worker.listen()
        async with asyncio.timeout(BACK_WITHIN_SECONDS):
            first, _ = await anext(messages), await anext(messages)
        acknowledged = first.ack()
        assert acknowledged is not None
        await acknowledged
        assert await worker.stream.measure() == 1
        await wait_until(lambda: worker.stream.sweep(abandoned_milliseconds=1), what="the other one to be swept")
        assert await worker.stream.measure() == 0


async def test_a_ringer_that_lost_its_primary_rings_at_the_new_one(primaries: Primaries, database: str) -> None:
    rung = Rung(ids.new(), ids.new())
    process = Process("test")
    async with (
        asyncpg.create_pool(database, min_size=0, max_size=2) as pool,
        doorbell.ringer(process, settings(primaries.url), pool) as ringer,
    ):
        ringer.ring([rung])
        await asyncio.to_thread(primaries.fail_over)

        async def rings() -> bool:
            return ringer.open and await ringer.try_ring([rung])

        await wait_until(rings, BACK_WITHIN_SECONDS, what="a bell")
        with contextlib.closing(primaries.server(primaries.primary())) as direct:
            assert direct.xlen(doorbell.PROMPT) >= 1
    assert not process.failed
