"""The bounded cache and the token bucket."""

import time

import pytest

from services.platform.process.bounds import BoundedCache, TokenBucket


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


def test_a_value_ends_with_its_time_and_a_new_one_begins_anew(now: list[float]) -> None:
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
