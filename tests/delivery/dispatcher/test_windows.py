"""How many deliveries of a subscription are given to workers."""

import itertools
import time

import pytest

from services.delivery.dispatcher.windows import (
    FORGET_SECONDS,
    GROWTH_PER_SECOND,
    MAX_WINDOW,
    MIN_WINDOW,
    RECOVERY_PER_SECOND,
    RECOVERY_SECONDS,
    Window,
    Windows,
)
from services.platform import ids


def full_at(outstanding: int) -> Window:
    """Return a window after workers handed some back while this many were out."""
    window = Window()
    assert window.allowance(outstanding, full=True, now=window.at) == 0
    return window


@pytest.mark.parametrize(
    ("outstanding", "allowed"), [(0, MAX_WINDOW), (100, MAX_WINDOW - 100), (MAX_WINDOW, 0), (MAX_WINDOW + 5, 0)]
)
def test_window_that_was_never_full_allows_its_maximum(outstanding: int, allowed: int) -> None:
    window = Window()
    assert window.allowance(outstanding, full=False, now=window.at) == allowed


@pytest.mark.parametrize(("outstanding", "size"), [(0, MIN_WINDOW), (100, 100), (10 * MAX_WINDOW, MAX_WINDOW)])
def test_a_complaint_makes_it_what_the_workers_kept(outstanding: int, size: int) -> None:
    window = full_at(outstanding)
    assert window.allowance(size, full=False, now=window.at) == 0
    assert window.allowance(size - 1, full=False, now=window.at) == 1


def test_a_window_is_the_endpoints_when_workers_gave_back_because_of_it() -> None:
    window = Window()
    window.allowance(50, full=False, now=window.at)
    assert not window.is_endpoints
    window.allowance(50, full=True, short=True, now=window.at)
    assert not window.is_endpoints
    window.allowance(50, full=True, short=False, now=window.at)
    assert window.is_endpoints


def test_window_grows_with_time_while_at_most_half_is_outstanding() -> None:
    window = full_at(100)
    assert window.allowance(50, full=False, now=window.at + 1) == 100 * GROWTH_PER_SECOND - 50
    assert window.allowance(50, full=False, now=window.at) == 100 * GROWTH_PER_SECOND - 50


def test_window_does_not_grow_while_more_than_half_is_outstanding() -> None:
    window = full_at(100)
    for _ in range(20):
        assert window.allowance(51, full=False, now=window.at + 1) == 49


def test_a_long_silence_is_one_second_of_growth() -> None:
    window = full_at(100)
    assert window.allowance(0, full=False, now=window.at + 3600) == 100 * GROWTH_PER_SECOND


def test_window_grows_only_up_to_its_maximum() -> None:
    window = full_at(100)
    for _ in range(20):
        window.allowance(0, full=False, now=window.at + 1)
    assert window.allowance(0, full=False, now=window.at) == MAX_WINDOW


# -- recovery --


def rung_until(window: Window, seconds: float, *, closed_at: float, step: float = 0.05) -> int:
    """Ring for everything that is allowed since the breaker closed; return how many after each of these seconds."""
    rung, elapsed = 0, 0.0
    while elapsed <= seconds:
        number = window.recovery_allowance(elapsed, closed_at + elapsed)
        window.rang(number)
        rung += number
        elapsed += step
    return rung


def test_a_recovered_endpoint_gets_twice_as_many_in_each_second() -> None:
    rung = [rung_until(Window(), seconds, closed_at=1_000.0) for seconds in range(5)]
    # When it closes, and after each second; twice as many arrive in each.
    assert rung[0] == RECOVERY_PER_SECOND
    gains = [later - earlier for earlier, later in itertools.pairwise(rung)]
    assert gains == [pytest.approx(14.4 * 2**second, abs=1.5) for second in range(4)]


def test_recovery_allowance_reaches_more_than_the_largest_window() -> None:
    assert rung_until(Window(), RECOVERY_SECONDS, closed_at=1_000.0, step=0.25) > 2 * MAX_WINDOW


def test_recovery_allowance_ignores_deliveries_rung_for_before_the_breaker_closed() -> None:
    window = Window()
    window.rang(5_000)
    assert window.recovery_allowance(0.0, 1_000.0) == RECOVERY_PER_SECOND


def test_recovery_allowance_restarts_when_the_breaker_closes_again() -> None:
    window = Window()
    rung_until(window, 5, closed_at=1_000.0)
    assert window.recovery_allowance(0.0, 1_030.0) == RECOVERY_PER_SECOND


def test_clocks_that_differ_a_little_see_the_same_closing() -> None:
    window = Window()
    rung_until(window, 2, closed_at=1_000.0)
    assert window.recovery_allowance(2.0, 1_001.6) < RECOVERY_PER_SECOND / 2
    assert window.recovery_allowance(1.9, 1_002.2) < RECOVERY_PER_SECOND / 2


# -- all of them --


def test_a_window_is_kept_while_it_is_used() -> None:
    windows = Windows()
    kept, forgotten = ids.new(), ids.new()
    window, other = windows[kept], windows[forgotten]
    now = time.monotonic() + FORGET_SECONDS + 1
    window.allowance(0, full=False, now=now - 1)
    windows.sweep(now)
    assert windows[kept] is window
    assert windows[forgotten] is not other


def test_windows_are_swept_once_in_a_while() -> None:
    windows = Windows()
    window = windows[name := ids.new()]
    windows.sweep(time.monotonic() + FORGET_SECONDS - 1)
    assert windows[name] is window
