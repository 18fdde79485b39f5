"""Percentiles from buckets, against a naive count over the very durations."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics import statistics
from services.analytics.statistics import BOUNDS_MS

durations_ms = st.lists(st.integers(0, 60_000) | st.integers(0, 40), min_size=1, max_size=300)
fractions = st.floats(0.001, 1.0)


def _counts(values: list[int]) -> Counter[int]:
    return Counter(statistics.bucket_of(value) for value in values)


@given(durations_ms, fractions)
def test_lies_in_the_bucket_of_the_exact_percentile(values: list[int], fraction: float) -> None:
    exact = sorted(values)[math.ceil(fraction * len(values)) - 1]
    index = statistics.bucket_of(exact)
    lower = BOUNDS_MS[index - 1] if index else 0
    upper = BOUNDS_MS[index] if index < len(BOUNDS_MS) else lower

    found = statistics.percentile(_counts(values), fraction)

    assert found is not None
    assert lower <= found <= upper


@given(durations_ms, fractions, fractions)
def test_never_falls_when_the_fraction_rises(values: list[int], one: float, other: float) -> None:
    low, high = sorted((one, other))
    counts = _counts(values)

    assert (statistics.percentile(counts, low) or 0) <= (statistics.percentile(counts, high) or 0)


@given(st.integers(0, len(BOUNDS_MS) - 1), st.integers(1, 1000), st.data())
def test_spreads_a_bucket_evenly(index: int, count: int, data: st.DataObject) -> None:
    nth = data.draw(st.integers(1, count))
    lower = BOUNDS_MS[index - 1] if index else 0

    found = statistics.percentile({index: count}, nth / count)

    assert found == pytest.approx(lower + (BOUNDS_MS[index] - lower) * nth / count)


def test_of_the_endless_bucket_is_its_begin() -> None:
    assert statistics.percentile({len(BOUNDS_MS): 3}, 0.5) == BOUNDS_MS[-1]


@pytest.mark.parametrize("counts", [{}, {statistics.UNKNOWN: 7}, {3: 0}])
def test_of_nothing_is_nothing(counts: dict[int, int]) -> None:
    assert statistics.percentile(counts, 0.5) is None


def test_bounds_rise() -> None:
    assert list(BOUNDS_MS) == sorted(set(BOUNDS_MS))
