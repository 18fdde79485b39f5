"""Events per second, leased from Redis in blocks by several processes."""

import asyncio
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
import structlog

from dev.harness.waiting import PATIENCE_SECONDS, wait_until
from services.ingest.quotas import rates
from services.ingest.quotas.rates import BLOCK_SECONDS, Rates
from services.platform.process import lifecycle
from services.platform.settings import RedisSettings
from services.platform.stores import redis
from services.platform.stores.redis import Client, Key, take_tokens

TENANT = "acme"


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    async with redis.connect(RedisSettings(redis_url=redis_url, _env_file=None), timeout_seconds=None) as connected:
        yield connected


def taken(process: Rates, rate: float, *, most: int, tenant_id: str = TENANT) -> int:
    """Take events until one is refused; return how many were taken."""
    for number in range(most):
        if process.take(tenant_id, rate):
            return number
    return most


async def test_a_tenant_gets_its_rate_and_no_more_over_all_processes(client: Client) -> None:
    processes = [Rates(client) for _ in range(3)]
    rate, seconds, got = 400.0, 1.0, 0
    loop = asyncio.get_running_loop()
    begun = loop.time()
    # While a busy machine stands still the bucket is full, and no more comes into it.
    while loop.time() - begun < seconds or (got <= rate and loop.time() - begun < PATIENCE_SECONDS):
        for process in processes:
            got += taken(process, rate, most=1000)
            await process.renew()
        await asyncio.sleep(0.005)
    passed = loop.time() - begun
    # What was in the bucket, what was added, and two blocks for each process.
    assert got <= rate * (1 + passed) + len(processes) * 2 * rate * BLOCK_SECONDS
    # More than was in the bucket.
    assert got > rate


async def test_a_tenant_below_its_rate_asks_redis_once_for_many_events(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, asked = Rates(client), 0
    exchange = process._exchange

    async def counting(leases: list[tuple[str, rates._Lease]]) -> list[object]:
        nonlocal asked
        asked += len(leases)
        return await exchange(leases)

    monkeypatch.setattr(process, "_exchange", counting)
    for _ in range(1000):
        assert process.take(TENANT, 10_000.0) == 0
        await process.renew()
    assert asked == 1


async def test_rejected_tenant_gets_the_time_until_more_is_available(client: Client) -> None:
    process = Rates(client)
    for _ in range(5):
        taken(process, 0.5, most=10)
        await process.renew()
    assert 0 < process.take(TENANT, 0.5) <= 2
    # Until then, Redis is not asked again.
    assert not process._wanting


async def test_a_tenant_never_waits_for_redis_and_goes_one_block_into_debt(client: Client) -> None:
    process = Rates(client)
    assert taken(process, 100.0, most=1000) == 25
    await process.renew()
    # The new block pays the debt first.
    assert taken(process, 100.0, most=1000) == 50


async def test_tenants_do_not_take_from_each_other(client: Client) -> None:
    process = Rates(client)
    for _ in range(10):
        taken(process, 10.0, most=100)
        await process.renew()
    assert taken(process, 10.0, most=100) < 100
    assert process.take("other", 10.0) == 0


async def test_a_new_rate_applies_at_once(client: Client) -> None:
    process = Rates(client)
    for _ in range(10):
        taken(process, 1.0, most=100)
        await process.renew()
    assert taken(process, 1.0, most=100) < 100
    assert process.take(TENANT, 1000.0) == 0


async def test_process_has_its_share_of_a_rate_while_redis_is_down(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = [Rates(client) for _ in range(2)]
    for process in processes:
        process.take(TENANT, 100.0)
        await process.renew()
    processes[0]._counted_at = float("-inf")
    await asyncio.sleep(0.01)
    processes[0].take("other", 100.0)
    await processes[0].renew()
    assert processes[0]._processes == 2

    async def away(_leases: object) -> list[object]:
        raise ConnectionError

    now = time.monotonic()
    monkeypatch.setattr(processes[0], "_exchange", away)
    monkeypatch.setattr(rates, "time", SimpleNamespace(monotonic=lambda: now))
    got = 0
    for _ in range(200):
        got += taken(processes[0], 100.0, most=1000)
        await processes[0].renew()
        now += 0.01
    # Of 100 events in these two seconds half, and one block at the beginning and another one in debt.
    assert 50 <= got <= 100 + 2 * 25


async def test_a_bucket_that_redis_refuses_to_count_is_its_tenants_matter_only(
    client: Client,
) -> None:
    await client.set(rates.KEY + TENANT, "not a hash")
    process = Rates(client)
    assert process.take(TENANT, 100.0) == 0
    assert process.take("other", 100.0) == 0
    await process.renew()
    assert process._leases.get("other").events > 20  # type: ignore[union-attr]
    assert process._leases.get(TENANT).events >= -1  # type: ignore[union-attr]


async def test_a_redis_that_refuses_to_count_processes_still_counts_events(client: Client) -> None:
    await client.set(rates.PROCESSES_KEY, "nonsense")
    process = Rates(client)
    with structlog.testing.capture_logs() as logs:
        assert process.take(TENANT, 1_000.0) == 0
        await process.renew()
        assert taken(process, 1_000.0, most=200) == 200
    assert [line["event"] for line in logs] == ["Redis refused to count processes"]


@pytest.mark.parametrize("events", ["nan", "inf", "-1e300", "nonsense", ""])
@pytest.mark.parametrize("rate", [1e-300, 1e300, float("nan"), 100.0])
async def test_a_bucket_with_numbers_that_are_none_is_counted_with_all_the_same(
    client: Client, events: str, rate: float
) -> None:
    await client.hset(rates.KEY + TENANT, mapping={"tokens": events, "at": events})
    number, wait_milliseconds = await take_tokens(client)(Key(rates.KEY + TENANT), rate, max(1.0, rate), 10.0)
    assert 0 <= number <= 10
    assert 0 <= wait_milliseconds <= 1_000_000


async def test_a_loop_renews_what_is_wanted(client: Client) -> None:
    process = Rates(client)
    owner = lifecycle.Process("test")
    owner.spawn("event_rates", process.run())
    try:
        got = 0

        def enough() -> bool:
            nonlocal got
            got += taken(process, 200.0, most=20)
            return got >= 200

        await wait_until(enough, what="the bucket to be had")
    finally:
        await owner.cancel_all()
