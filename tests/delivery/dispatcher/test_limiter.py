"""Rate limits on a real Valkey: one bucket for all processes that ring."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator

import pytest
import structlog

from dev.harness.waiting import PATIENCE_SECONDS, wait_until
from services.delivery.dispatcher.limiter import KEY, SHARE_SECONDS, Demand, Grant, Limiter
from services.platform import ids
from services.platform.settings import RedisSettings
from services.platform.stores import redis

SUBSCRIPTION = ids.new()
NEVER = "redis://127.0.0.1:1/0"


async def one_worker() -> int:
    return 1


@contextlib.asynccontextmanager
async def limiters(redis_url: str, number: int) -> AsyncIterator[list[Limiter]]:
    """The limiters of this many processes."""
    settings = RedisSettings(redis_url=redis_url, _env_file=None)
    clients = [redis.connect(settings, timeout_seconds=10.0) for _ in range(number)]
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


async def taken(limiter: Limiter, demanded: Demand) -> int:
    return (await take(limiter, demanded)).number


async def test_a_full_bucket_is_there_at_once_and_then_the_rate(redis_url: str) -> None:
    async with limiters(redis_url, 1) as (limiter,):
        assert await taken(limiter, demand(0.01, 30, burst=20)) == 20
        empty = await take(limiter, demand(0.01, 30, burst=20))
    assert empty.number == 0
    assert 50 < empty.more_in_seconds <= 100


async def test_tokens_that_are_not_wanted_stay_in_the_bucket(redis_url: str) -> None:
    async with limiters(redis_url, 1) as (limiter,):
        grant = await take(limiter, demand(0.01, 3, burst=20))
        assert (grant.number, grant.more_in_seconds) == (3, 0)
        assert await taken(limiter, demand(0.01, 30, burst=20)) == 17


async def test_a_bucket_fills_again(redis_url: str) -> None:
    async with limiters(redis_url, 1) as (limiter,):
        await take(limiter, demand(5, 5))

        async def one_more() -> bool:
            return await taken(limiter, demand(5, 1)) == 1

        await wait_until(one_more, what="a token")


async def test_several_processes_together_get_no_more_than_the_rate_and_the_burst(redis_url: str) -> None:
    rate, burst = 100.0, 20
    async with limiters(redis_url, 4) as made:
        began, total = time.monotonic(), 0

        async def ask(limiter: Limiter) -> None:
            nonlocal total
            while total < 100:
                granted = await taken(limiter, demand(rate, 7, burst=burst))
                total += granted
                assert total <= rate * (time.monotonic() - began) + burst + 1
                await asyncio.sleep(0.005)

        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*map(ask, made))


async def test_subscriptions_are_answered_in_the_order_of_their_demands(redis_url: str) -> None:
    async with limiters(redis_url, 1) as (limiter,):
        demands = [Demand(subscription_id=ids.new(), rate=1, burst=size, wanted=100) for size in (3, 1, 7)]
        assert [grant.number for grant in await limiter.take(demands)] == [3, 1, 7]


async def test_a_bucket_that_redis_refuses_is_logged_and_costs_no_other_its_own(redis_url: str) -> None:
    refused, other, last = ids.new(), ids.new(), ids.new()

    def asked(wanted: int) -> list[Demand]:
        return [Demand(subscription_id=name, rate=0.01, burst=5, wanted=wanted) for name in (other, refused, last)]

    async with limiters(redis_url, 1) as (limiter,):
        await limiter._redis.set(KEY + str(refused), "nonsense")
        with structlog.testing.capture_logs() as logs:
            grants = [grant.number for grant in await limiter.take(asked(3))]
            later = [grant.number for grant in await limiter.take(asked(3))]
        assert (grants, later) == ([3, 0, 3], [2, 0, 2])
        (warning,) = logs
        assert (warning["log_level"], warning["subscription_id"]) == ("warning", str(refused))
        # Its own share is still counted here: a hundred seconds later there is one token more.
        limiter._own[refused].filled_at -= 100
        assert (await limiter.take(asked(1)))[1].number == 1


HOSTILE = (1e-300, -1e-300, 5e-324, 1e300, -1e300, float("nan"), float("inf"), float("-inf"), 0.0, -0.0, -1.0)


@pytest.mark.parametrize("rate", HOSTILE)
@pytest.mark.parametrize("burst", [None, 1, -1, 10**9, 2**31 - 1])
async def test_a_rate_that_cannot_be_counted_with_counts_as_the_nearest_and_others_keep_theirs(
    redis_url: str, rate: float, burst: int | None
) -> None:
    hostile, other = ids.new(), ids.new()
    demands = [
        Demand(subscription_id=name, rate=limit, burst=size, wanted=7)
        for name, limit, size in ((hostile, rate, burst), (other, 0.01, 5), (ids.new(), 0.01, 3))
    ]
    async with limiters(redis_url, 1) as (limiter,):
        with structlog.testing.capture_logs() as logs:
            grants = await limiter.take(demands)
        assert logs == []
        assert [grant.number for grant in grants[1:]] == [5, 3]
        assert 0 <= grants[0].number <= 7
        assert 0 <= grants[0].more_in_seconds <= 1_000
        assert limiter._refused == set()
        # The same in the process's own buckets.
        for grant in await limiter._alone(demands):
            assert 0 <= grant.number <= 7
            assert 0 <= grant.more_in_seconds <= 1_000


@pytest.mark.parametrize("tokens", ["nan", "inf", "-inf", "1e300", "-1e300", "nonsense", ""])
@pytest.mark.parametrize("at", ["nan", "inf", "-inf", "1e300", "nonsense", ""])
async def test_a_bucket_with_numbers_that_are_none_is_counted_with_all_the_same(
    redis_url: str, tokens: str, at: str
) -> None:
    async with limiters(redis_url, 1) as (limiter,):
        await limiter._redis.hset(KEY + str(SUBSCRIPTION), mapping={"tokens": tokens, "at": at})
        assert 0 <= await taken(limiter, demand(0.01, 9, burst=5)) <= 5
        assert limiter._refused == set()
        kept = await limiter._redis.hmget(KEY + str(SUBSCRIPTION), "tokens", "at")
    assert all(math.isfinite(float(value or "nan")) for value in kept)


async def test_a_redis_that_takes_nothing_is_logged_once_and_each_has_its_share(redis_url: str) -> None:
    demands = [Demand(subscription_id=ids.new(), rate=10, burst=None, wanted=1) for _ in range(20)]
    async with limiters(redis_url, 1) as (limiter,):
        await limiter._redis.config_set("maxmemory", "1")
        try:
            with structlog.testing.capture_logs() as logs:
                grants = await limiter.take(demands)
        finally:
            await limiter._redis.config_set("maxmemory", "0")
    assert [grant.number for grant in grants] == [0] * 20
    assert [line["event"] for line in logs] == ["Redis cannot count rate limits"]


@pytest.mark.parametrize("bucket", [{"tokens": "0", "at": "9999999999"}, {"tokens": "-1000000", "at": "0"}])
async def test_a_bucket_that_is_dated_ahead_or_owes_tokens_withholds_nothing_for_long(
    redis_url: str, bucket: dict[str, str]
) -> None:
    async with limiters(redis_url, 1) as (limiter,):
        for name, value in bucket.items():
            await limiter._redis.hset(KEY + str(SUBSCRIPTION), name, value)

        async def granted() -> bool:
            return await taken(limiter, demand(10, 1)) == 1

        await wait_until(granted, what="a token")


async def test_a_change_of_the_limit_holds_at_once(redis_url: str) -> None:
    async with limiters(redis_url, 1) as (limiter,):
        await take(limiter, demand(0.01, 0, burst=1_000))
        assert await taken(limiter, demand(0.01, 100, burst=5)) == 5


async def test_a_bucket_that_would_be_full_is_forgotten(redis_url: str) -> None:
    async with limiters(redis_url, 1) as (limiter,):
        await take(limiter, demand(10, 5, burst=20))
        async with redis.client(RedisSettings(redis_url=redis_url, _env_file=None)) as client:
            assert 0 < await client.pttl(KEY + str(SUBSCRIPTION)) <= 3_000


async def test_returned_tokens_can_be_taken_again_up_to_the_size_of_the_bucket(redis_url: str) -> None:
    async with limiters(redis_url, 1) as (limiter,):
        assert await taken(limiter, demand(0.01, 20, burst=20)) == 20
        await limiter.give_back([demand(0.01, 5, burst=20)])
        assert await taken(limiter, demand(0.01, 20, burst=20)) == 5
        await limiter.give_back([demand(0.01, 500, burst=20)])
        assert await taken(limiter, demand(0.01, 500, burst=20)) == 20


# While Redis is unavailable, each worker gets its share.


class Workers:
    """Return the number of workers, and count the calls."""

    def __init__(self) -> None:
        self.number = 1
        self.asked = 0

    async def count(self) -> int:
        self.asked += 1
        return self.number


@pytest.fixture
def workers() -> Workers:
    return Workers()


@pytest.fixture
async def alone(workers: Workers) -> AsyncIterator[Limiter]:
    async with redis.client(RedisSettings(redis_url=NEVER, _env_file=None)) as client:
        yield Limiter(client, workers.count)


def pass_seconds(alone: Limiter, seconds: float) -> None:
    for bucket in alone._own.values():
        bucket.filled_at -= seconds


@pytest.mark.parametrize(
    ("rate", "burst", "size"),
    [(10.0, None, 10), (10.0, 3, 3), (10.0, 50, 50), (0.2, None, 1), (1000.0, 1, 50)],
)
def test_a_bucket_holds_the_burst_or_a_second_of_the_rate(rate: float, burst: int | None, size: float) -> None:
    assert demand(rate, 1, burst=burst).size == size


async def test_empty_demand_does_not_ask_for_the_number_of_workers(alone: Limiter, workers: Workers) -> None:
    assert await alone.take([]) == []
    assert workers.asked == 0


async def test_a_share_begins_empty_and_fills_at_the_rate(alone: Limiter) -> None:
    assert await taken(alone, demand(0.001, 5)) == 0
    pass_seconds(alone, 1_000)
    (grant,) = await alone.take([demand(0.001, 5)])
    assert grant.number == 1
    assert 800 < grant.more_in_seconds <= 1_000


async def test_local_bucket_holds_no_more_than_its_share(alone: Limiter, workers: Workers) -> None:
    workers.number = 4
    await taken(alone, demand(0.1, 100, burst=40))
    pass_seconds(alone, 100_000)
    assert await taken(alone, demand(0.1, 100, burst=40)) == 10


async def test_the_rate_is_shared_among_the_workers(alone: Limiter, workers: Workers) -> None:
    workers.number = 4
    total = await taken(alone, demand(0.4, 100, burst=100))
    for _ in range(10):
        pass_seconds(alone, 100)
        total += await taken(alone, demand(0.4, 100, burst=100))
    assert 99 <= total <= 101


@pytest.mark.parametrize("number", [0, 1])
async def test_single_limiter_has_the_whole_rate(alone: Limiter, workers: Workers, number: int) -> None:
    workers.number = number
    await taken(alone, demand(0.5, 100, burst=50))
    pass_seconds(alone, 100)
    assert await taken(alone, demand(0.5, 100, burst=50)) == 50


async def test_the_workers_are_counted_now_and_then(alone: Limiter, workers: Workers) -> None:
    for _ in range(5):
        await taken(alone, demand(10, 1))
    assert workers.asked == 1
    alone._counted_at = time.monotonic() - SHARE_SECONDS - 1
    await taken(alone, demand(10, 1))
    assert workers.asked == 2


async def test_subscriptions_have_separate_buckets(alone: Limiter) -> None:
    other = Demand(subscription_id=ids.new(), rate=0.001, burst=None, wanted=1)
    await alone.take([demand(0.001, 1), other])
    pass_seconds(alone, 10_000)
    assert [grant.number for grant in await alone.take([demand(0.001, 1), other])] == [1, 1]
    assert [grant.number for grant in await alone.take([other, demand(0.001, 1)])] == [0, 0]
