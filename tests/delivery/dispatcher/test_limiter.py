"""Rate limits on a real Valkey: a bucket for all who ring."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
import structlog

from dev.harness.waiting import wait_until
from services.delivery.dispatcher.limiter import KEY, Demand, Grant, Limiter
from services.platform import ids
from services.platform.settings import RedisSettings
from services.platform.stores import redis

SUBSCRIPTION = ids.new()
NEVER = "redis://127.0.0.1:1/0"
# A busy machine is not one without Redis.
PATIENCE_SECONDS = 5.0


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.delivery.dispatcher.limiter.TIMEOUT_SECONDS", PATIENCE_SECONDS)


async def one_worker() -> int:
    return 1


@contextlib.asynccontextmanager
async def limiters(redis_url: str, number: int) -> AsyncIterator[list[Limiter]]:
    """Those of so many processes."""
    settings = RedisSettings(redis_url=redis_url, _env_file=None)
    clients = [redis.connect(settings, timeout_seconds=PATIENCE_SECONDS) for _ in range(number)]
    try:
        yield [Limiter(client, one_worker) for client in clients]
    finally:
        for client in clients:
            await client.aclose()


def demand(rate: float, wanted: int, *, burst: int | None = None) -> Demand:
    return Demand(subscription_id=SUBSCRIPTION, rate=rate, burst=burst, wanted=wanted)


async def take(limiter: Limiter, demanded: Demand) -> Grant:
    (grant,) = await limiter.take([demanded])
    return grant


async def test_a_full_bucket_is_there_at_once_and_then_the_rate(redis_url: str) -> None:
    async with limiters(redis_url, 1) as (limiter,):
        assert (await take(limiter, demand(0.01, 30, burst=20))).number == 20
        empty = await take(limiter, demand(0.01, 30, burst=20))
    assert empty.number == 0
    assert 50 < empty.more_in_seconds <= 100


async def test_what_is_not_wanted_stays_in_the_bucket(redis_url: str) -> None:
    async with limiters(redis_url, 1) as (limiter,):
        grant = await take(limiter, demand(0.01, 3, burst=20))
        assert (grant.number, grant.more_in_seconds) == (3, 0)
        assert (await take(limiter, demand(0.01, 30, burst=20))).number == 17


async def test_a_bucket_fills_again(redis_url: str) -> None:
    async with limiters(redis_url, 1) as (limiter,):
        await take(limiter, demand(5, 5))

        async def one_more() -> bool:
            return (await take(limiter, demand(5, 1))).number == 1

        await wait_until(one_more, what="a token")


async def test_several_processes_together_get_no_more_than_the_rate_and_the_burst(redis_url: str) -> None:
    rate, burst = 100.0, 20
    async with limiters(redis_url, 4) as made:
        began = time.monotonic()

        async def ask(limiter: Limiter) -> int:
            granted = 0
            while time.monotonic() - began < 2:
                granted += (await take(limiter, demand(rate, 7, burst=burst))).number
                await asyncio.sleep(0.005)
            return granted

        total = sum(await asyncio.gather(*map(ask, made)))
        elapsed = time.monotonic() - began
    assert rate * 2 * 0.6 <= total <= rate * elapsed + burst + 1


async def test_subscriptions_are_answered_in_the_order_of_their_demands(redis_url: str) -> None:
    async with limiters(redis_url, 1) as (limiter,):
        demands = [Demand(subscription_id=ids.new(), rate=1, burst=size, wanted=100) for size in (3, 1, 7)]
        assert [grant.number for grant in await limiter.take(demands)] == [3, 1, 7]


@pytest.mark.parametrize("rate", [1.0, 1e-300], ids=["a key of another type", "a number that cannot be counted with"])
async def test_a_bucket_that_redis_refuses_is_logged_and_costs_no_other_its_own(redis_url: str, rate: float) -> None:
    refused, other, last = ids.new(), ids.new(), ids.new()

    def asked(wanted: int) -> list[Demand]:
        rates = {other: 1.0, refused: rate, last: 1.0}
        return [Demand(subscription_id=name, rate=rates[name], burst=5, wanted=wanted) for name in rates]

    async with limiters(redis_url, 1) as (limiter,):
        if rate == 1.0:
            await limiter._redis.set(KEY + str(refused), "nonsense")
        with structlog.testing.capture_logs() as logs:
            grants = [grant.number for grant in await limiter.take(asked(3))]
            later = [grant.number for grant in await limiter.take(asked(3))]
        assert (grants, later) == ([3, 0, 3], [2, 0, 2])
        (warning,) = logs
        assert (warning["log_level"], warning["subscription_id"]) == ("warning", str(refused))
        # Its own share goes on being counted here: a second later there is one token more.
        limiter._own[refused].filled_at -= 1 / rate if rate == 1.0 else 1
        assert (await limiter.take(asked(1)))[1].number == (rate == 1.0)


@pytest.mark.parametrize("bucket", [{"tokens": "0", "at": "9999999999"}, {"tokens": "-1000000", "at": "0"}])
async def test_a_bucket_that_is_dated_ahead_or_owes_tokens_withholds_nothing_for_long(
    redis_url: str, bucket: dict[str, str]
) -> None:
    async with limiters(redis_url, 1) as (limiter,):
        for name, value in bucket.items():
            await limiter._redis.hset(KEY + str(SUBSCRIPTION), name, value)

        async def granted() -> bool:
            return (await take(limiter, demand(10, 1))).number == 1

        await wait_until(granted, 2, what="a token")


async def test_a_change_of_the_limit_holds_at_once(redis_url: str) -> None:
    async with limiters(redis_url, 1) as (limiter,):
        await take(limiter, demand(0.01, 0, burst=1_000))
        assert (await take(limiter, demand(0.01, 100, burst=5))).number == 5


async def test_a_bucket_that_would_be_full_is_forgotten(redis_url: str) -> None:
    async with limiters(redis_url, 1) as (limiter,):
        await take(limiter, demand(10, 5, burst=20))
        async with redis.client(RedisSettings(redis_url=redis_url, _env_file=None)) as client:
            assert 0 < await client.pttl(KEY + str(SUBSCRIPTION)) <= 3_000


async def test_without_redis_the_rate_is_kept_by_each_for_itself(redis_url: str) -> None:
    rate = 100.0
    async with limiters(NEVER, 1) as (limiter,):
        began = time.monotonic()
        total = 0
        while time.monotonic() - began < 1:
            total += (await take(limiter, demand(rate, 7))).number
            await asyncio.sleep(0.005)
        elapsed = time.monotonic() - began
    assert rate * 0.5 <= total <= rate * elapsed + 1


async def test_what_is_given_back_can_be_taken_again_and_is_no_more_than_the_bucket_holds(redis_url: str) -> None:
    async with limiters(redis_url, 1) as (limiter,):
        assert (await take(limiter, demand(0.01, 20, burst=20))).number == 20
        await limiter.give_back([demand(0.01, 5, burst=20)])
        assert (await take(limiter, demand(0.01, 20, burst=20))).number == 5
        await limiter.give_back([demand(0.01, 500, burst=20)])
        assert (await take(limiter, demand(0.01, 500, burst=20))).number == 20
