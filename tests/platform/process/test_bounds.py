"""The bounded cache and the token bucket."""

import asyncio
import time

import pytest

from services.platform.process import bounds
from services.platform.process.bounds import BoundedCache, Refusals, TokenBucket


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test moves."""
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return clock


@pytest.mark.parametrize(("keep_used", "left"), [(False, {"b", "c"}), (True, {"a", "c"})])
def test_a_full_cache_drives_out_the_oldest_or_the_least_recently_used(*, keep_used: bool, left: set[str]) -> None:
    cache: BoundedCache[str, int] = BoundedCache(2, keep_used=keep_used)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert {key for key in "abc" if key in cache} == left
    assert len(cache) == 2


def test_a_cache_drives_out_the_oldest_until_what_is_left_weighs_no_more_than_it_may() -> None:
    cache: BoundedCache[str, int] = BoundedCache(10, weigh=lambda value: value, max_weight=10)
    cache.put("a", 4)
    cache.put("b", 4)
    cache.put("b", 6)
    assert (cache.get("a"), cache.get("b")) == (4, 6)
    cache.put("c", 3)
    assert {key for key in "abc" if key in cache} == {"b", "c"}
    cache.discard("b")
    cache.put("d", 7)
    assert {key for key in "bcd" if key in cache} == {"c", "d"}
    cache.put("e", 100)
    assert {key for key in "cde" if key in cache} == {"e"}, "the newest stays"
    cache.clear()
    cache.put("f", 10)
    cache.put("g", 0)
    assert (cache.get("f"), cache.get("g")) == (10, 0)


def test_a_value_expires_and_a_new_one_has_a_new_lifetime(now: list[float]) -> None:
    cache: BoundedCache[str, int] = BoundedCache(2, ttl_seconds=10)
    cache.put("a", 1)
    now[0] += 9
    cache.put("b", 2)
    assert cache.get("a") == 1
    now[0] += 1
    assert (cache.get("a"), cache.get("b")) == (None, 2)
    cache.discard("b")
    cache.discard("b")
    assert len(cache) == 0


def test_a_bucket_fills_at_its_rate_and_takes_back_what_is_given(now: list[float]) -> None:
    bucket = TokenBucket(2.0, filled_at=now[0])
    assert bucket.take(3) == 2
    assert bucket.seconds_to_next(4.0) == 0.25
    now[0] += 0.25
    bucket.fill(per_second=4.0, most=2.0)
    assert (bucket.take(1), bucket.take(1)) == (1, 0)
    assert bucket.take(-1) == -1
    assert bucket.take(1) == 1
    now[0] += 60
    bucket.fill(per_second=4.0, most=2.0)
    assert bucket.tokens == 2


async def test_refusals_come_at_once_unless_they_are_many_and_then_most_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "REFUSALS_AT_ONCE", 3)
    monkeypatch.setattr(bounds, "REFUSALS_PER_SECOND", 0.001)
    monkeypatch.setattr(bounds, "MAX_WAITING_REFUSALS", 2)
    refusals = Refusals()
    pausing = [asyncio.create_task(refusals.pause()) for _ in range(10)]
    try:
        done, waiting = await asyncio.wait(pausing, timeout=0.1)
        # Three at once, and those that are more than may wait.
        assert (len(done), len(waiting)) == (8, 2)
    finally:
        for task in pausing:
            task.cancel()
        await asyncio.gather(*pausing, return_exceptions=True)
    assert refusals._waiting == 0
