"""When a failed delivery is tried again."""

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.delivery.settings import WorkerSettings
from services.delivery.worker.backoff import Backoff


def backoff(
    *, limit: int = 5, base: float = 5.0, factor: float = 2.0, cap: float = 3600.0, jitter: float = 0.0
) -> Backoff:
    return Backoff(limit=limit, base_seconds=base, factor=factor, cap_seconds=cap, jitter=jitter)


def test_without_jitter_the_delays_are_the_base_times_the_powers_of_the_factor() -> None:
    assert [backoff().delay_seconds(failures) for failures in range(1, 6)] == [5, 10, 20, 40, 80]


def test_no_delay_is_longer_than_the_cap() -> None:
    delays = [backoff(limit=20, cap=100).delay_seconds(failures) for failures in range(1, 21)]
    assert delays == [5, 10, 20, 40, 80] + [100] * 15


def test_a_base_above_the_cap_is_cut_to_it() -> None:
    assert backoff(base=7200).delay_seconds(1) == 3600


def test_a_factor_of_one_keeps_the_delay() -> None:
    assert {backoff(factor=1).delay_seconds(failures) for failures in range(1, 6)} == {5}


def test_the_power_may_overflow() -> None:
    assert backoff(limit=sys.maxsize, factor=1e9).delay_seconds(10**6) == 3600


def test_after_the_last_retry_there_is_none() -> None:
    assert backoff(limit=5).delay_seconds(5) is not None
    assert backoff(limit=5).delay_seconds(6) is None


def test_a_limit_of_zero_means_one_attempt() -> None:
    assert backoff(limit=0).delay_seconds(1) is None


def test_jitter_spreads_delays_over_its_whole_range_and_not_beyond() -> None:
    delays = [backoff(jitter=0.1).delay_seconds(1) or 0 for _ in range(2_000)]
    assert 4.5 <= min(delays) < 4.6
    assert 5.4 < max(delays) <= 5.5


def test_the_settings_are_the_issues_when_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WorkerSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    made = Backoff.of(WorkerSettings(_env_file=None))
    assert made == Backoff(limit=5, base_seconds=5, factor=2, cap_seconds=3600, jitter=0.1)


@given(
    failures=st.integers(1, 10_000),
    limit=st.integers(0, 10_000),
    base=st.floats(0.001, 1e6),
    factor=st.floats(1, 1e6),
    cap=st.floats(0.001, 1e6),
    jitter=st.floats(0, 0.99),
)
def test_a_delay_is_finite_and_within_the_jitter_of_the_cap(
    failures: int, limit: int, base: float, factor: float, cap: float, jitter: float
) -> None:
    delay = backoff(limit=limit, base=base, factor=factor, cap=cap, jitter=jitter).delay_seconds(failures)
    if failures > limit:
        assert delay is None
    else:
        assert delay is not None
        assert math.isfinite(delay)
        assert 0 < delay <= cap * (1 + jitter) * (1 + 1e-9)
