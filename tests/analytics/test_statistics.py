"""Statistics from buckets: the results of GetStats, and percentiles compared to a naive count."""

import math
from bisect import bisect_right
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics import statistics
from services.analytics.statistics import BOUNDS_MS, Bucket, summarise


def _bucket_of(duration_ms: int) -> int:
    return bisect_right(BOUNDS_MS, duration_ms)


def _bucket(
    outcome: str, *, attempts: int = 1, ended: int = 0, events: int = 0, duration_ms: int | None = None
) -> Bucket:
    return Bucket(
        outcome=outcome,
        duration_bucket=statistics.UNKNOWN if duration_ms is None else _bucket_of(duration_ms),
        attempts=attempts,
        deliveries=ended,
        events=events,
        duration_ms_total=(duration_ms or 0) * attempts,
    )


def test_summary_of_nothing_leaves_rate_and_latency_unset() -> None:
    stats = summarise([])

    assert stats.attempts == 0
    assert dict(stats.attempts_by_outcome) == {}
    assert not stats.HasField("attempt_success_rate")
    assert not stats.HasField("delivery_success_rate")
    assert not stats.HasField("latency")


def test_summary_counts_by_outcome_and_by_how_deliveries_ended() -> None:
    stats = summarise(
        [
            _bucket("success", attempts=3, ended=3, duration_ms=10),
            _bucket("success", attempts=2, ended=2, duration_ms=200),
            _bucket("http_5xx", attempts=4, ended=1, duration_ms=10),
            _bucket("timeout", attempts=1, ended=1, duration_ms=15_000),
        ]
    )

    assert stats.attempts == 10
    assert dict(stats.attempts_by_outcome) == {"success": 5, "http_5xx": 4, "timeout": 1}
    assert (stats.delivered, stats.failed) == (5, 2)
    assert stats.attempt_success_rate == pytest.approx(0.5)
    assert stats.delivery_success_rate == pytest.approx(5 / 7)


def test_summary_counts_events_and_deliveries_that_ended_without_an_attempt() -> None:
    stats = summarise(
        [
            _bucket("success", attempts=1, ended=1, duration_ms=10),
            _bucket("failed", attempts=0, ended=3),
            _bucket("cancelled", attempts=0, ended=4),
            _bucket("accepted", attempts=0, events=9),
        ]
    )

    assert (stats.events, stats.delivered, stats.failed, stats.cancelled) == (9, 1, 3, 4)
    assert dict(stats.attempts_by_outcome) == {"success": 1}
    assert (stats.attempt_success_rate, stats.delivery_success_rate) == (1.0, 0.25)


def test_delivery_success_rate_is_of_deliveries_and_not_of_their_attempts() -> None:
    # 17 delivered at once, and 6 that failed after ten attempts each.
    stats = summarise(
        [
            _bucket("success", attempts=17, ended=17, duration_ms=10),
            _bucket("http_5xx", attempts=60, ended=6, duration_ms=10),
        ]
    )

    assert stats.attempt_success_rate == pytest.approx(17 / 77)
    assert stats.delivery_success_rate == pytest.approx(17 / 23)


def test_success_rate_leaves_out_interrupted_attempts() -> None:
    stats = summarise([_bucket("success", attempts=3, duration_ms=1), _bucket("interrupted", attempts=5)])

    assert stats.attempts == 8
    assert stats.attempt_success_rate == 1.0


def test_success_rate_is_unset_for_interrupted_attempts_only() -> None:
    assert not summarise([_bucket("interrupted", attempts=5, ended=1)]).HasField("attempt_success_rate")


def test_latency_is_of_answered_attempts_alone() -> None:
    stats = summarise(
        [
            _bucket("success", attempts=1, duration_ms=20),
            _bucket("http_4xx", attempts=1, duration_ms=40),
            _bucket("timeout", attempts=9, duration_ms=15_000),
            _bucket("dns", attempts=9, duration_ms=3),
        ]
    )

    assert stats.latency.mean_ms == pytest.approx(30)
    assert 20 <= stats.latency.p50_ms <= stats.latency.p95_ms <= stats.latency.p99_ms <= 50


def test_latency_is_unset_without_answers() -> None:
    stats = summarise([_bucket("connect", attempts=2, duration_ms=1)])

    assert not stats.HasField("latency")
    assert stats.attempt_success_rate == 0.0


# Percentiles.

durations_ms = st.lists(st.integers(0, 60_000) | st.integers(0, 40), min_size=1, max_size=300)
fractions = st.floats(0.001, 1.0)


def _counts(values: list[int]) -> Counter[int]:
    return Counter(_bucket_of(value) for value in values)


@given(durations_ms, fractions)
def test_percentile_lies_in_the_bucket_of_the_exact_percentile(values: list[int], fraction: float) -> None:
    exact = sorted(values)[math.ceil(fraction * len(values)) - 1]
    index = _bucket_of(exact)
    lower = BOUNDS_MS[index - 1] if index else 0
    upper = BOUNDS_MS[index] if index < len(BOUNDS_MS) else lower

    found = statistics.percentile(_counts(values), fraction)

    assert found is not None
    assert lower <= found <= upper


@given(durations_ms, fractions, fractions)
def test_percentile_never_falls_when_the_fraction_rises(values: list[int], one: float, other: float) -> None:
    low, high = sorted((one, other))
    counts = _counts(values)

    assert (statistics.percentile(counts, low) or 0) <= (statistics.percentile(counts, high) or 0)


@given(st.integers(0, len(BOUNDS_MS) - 1), st.integers(1, 1000), st.data())
def test_percentile_spreads_a_bucket_evenly(index: int, count: int, data: st.DataObject) -> None:
    nth = data.draw(st.integers(1, count))
    lower = BOUNDS_MS[index - 1] if index else 0

    found = statistics.percentile({index: count}, nth / count)

    assert found == pytest.approx(lower + (BOUNDS_MS[index] - lower) * nth / count)


def test_percentile_of_the_endless_bucket_is_its_begin() -> None:
    assert statistics.percentile({len(BOUNDS_MS): 3}, 0.5) == BOUNDS_MS[-1]


@pytest.mark.parametrize("counts", [{}, {statistics.UNKNOWN: 7}, {3: 0}])
def test_percentile_of_nothing_is_nothing(counts: dict[int, int]) -> None:
    assert statistics.percentile(counts, 0.5) is None


def test_bounds_rise() -> None:
    assert list(BOUNDS_MS) == sorted(set(BOUNDS_MS))
