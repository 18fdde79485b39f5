"""Rate limits while Redis is away: each worker has its share."""

import time
from collections.abc import AsyncIterator

import pytest

from services.delivery.dispatcher.limiter import SHARE_SECONDS, Demand, Limiter
from services.platform import ids
from services.platform.settings import RedisSettings
from services.platform.stores import redis

SUBSCRIPTION = ids.new()


class Workers:
    """How many there are, and how often that was asked."""

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
async def limiter(workers: Workers) -> AsyncIterator[Limiter]:
    async with redis.client(RedisSettings(redis_url="redis://127.0.0.1:1/0", _env_file=None)) as client:
        yield Limiter(client, workers.count)


def demand(rate: float, wanted: int, *, burst: int | None = None) -> Demand:
    return Demand(subscription_id=SUBSCRIPTION, rate=rate, burst=burst, wanted=wanted)


async def granted(limiter: Limiter, demanded: Demand) -> int:
    (grant,) = await limiter.take([demanded])
    return grant.number


def pass_seconds(limiter: Limiter, seconds: float) -> None:
    for bucket in limiter._own.values():
        bucket.filled_at -= seconds


@pytest.mark.parametrize(
    ("rate", "burst", "size"),
    [(10.0, None, 10), (10.0, 3, 3), (10.0, 50, 50), (0.2, None, 1), (1000.0, 1, 50)],
)
def test_a_bucket_holds_the_burst_or_a_second_of_the_rate(rate: float, burst: int | None, size: float) -> None:
    assert demand(rate, 1, burst=burst).size == size


async def test_no_demand_asks_nobody(limiter: Limiter, workers: Workers) -> None:
    assert await limiter.take([]) == []
    assert workers.asked == 0


async def test_a_share_begins_empty_and_fills_at_the_rate(limiter: Limiter) -> None:
    assert await granted(limiter, demand(0.1, 5)) == 0
    pass_seconds(limiter, 10)
    (grant,) = await limiter.take([demand(0.1, 5)])
    assert grant.number == 1
    assert 9 < grant.more_in_seconds <= 10


async def test_it_holds_no_more_than_its_part_of_the_bucket(limiter: Limiter, workers: Workers) -> None:
    workers.number = 4
    await granted(limiter, demand(0.1, 100, burst=40))
    pass_seconds(limiter, 100_000)
    assert await granted(limiter, demand(0.1, 100, burst=40)) == 10


async def test_the_rate_is_shared_among_the_workers(limiter: Limiter, workers: Workers) -> None:
    workers.number = 4
    total = await granted(limiter, demand(0.4, 100, burst=100))
    for _ in range(10):
        pass_seconds(limiter, 100)
        total += await granted(limiter, demand(0.4, 100, burst=100))
    assert 99 <= total <= 101


@pytest.mark.parametrize("number", [0, 1])
async def test_one_that_knows_of_no_other_has_the_whole_rate(limiter: Limiter, workers: Workers, number: int) -> None:
    workers.number = number
    await granted(limiter, demand(0.5, 100, burst=50))
    pass_seconds(limiter, 100)
    assert await granted(limiter, demand(0.5, 100, burst=50)) == 50


async def test_the_workers_are_counted_now_and_then(limiter: Limiter, workers: Workers) -> None:
    for _ in range(5):
        await granted(limiter, demand(10, 1))
    assert workers.asked == 1
    limiter._counted_at = time.monotonic() - SHARE_SECONDS - 1
    await granted(limiter, demand(10, 1))
    assert workers.asked == 2


async def test_each_subscription_has_a_bucket_of_its_own(limiter: Limiter) -> None:
    other = Demand(subscription_id=ids.new(), rate=0.1, burst=None, wanted=1)
    await limiter.take([demand(0.1, 1), other])
    pass_seconds(limiter, 100)
    assert [grant.number for grant in await limiter.take([demand(0.1, 1), other])] == [1, 1]
    assert [grant.number for grant in await limiter.take([other, demand(0.1, 1)])] == [0, 0]
