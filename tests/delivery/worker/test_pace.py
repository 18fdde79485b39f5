"""The pace of the backlog: what it takes follows from how soon prompt deliveries are claimed."""

import time

import pytest

from services.delivery.worker import pace
from services.delivery.worker.pace import (
    FIRST_RATE,
    INCREASE,
    LATE_SECONDS,
    LEAST_RATE,
    MOST_SECONDS,
    PROMPT_SECONDS,
    Pace,
)
from services.platform import ids

# More than is needed for a change, whatever a sum of times is rounded to, and less than a pause.
STEP_SECONDS = 1.2 * pace.CHANGE_SECONDS
# What Redis says, which is another clock than ours.
STREAM_SECONDS = 1_000_000.0


class Clock:
    """What the pace takes for the time."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def monotonic(self) -> float:
        """Return it."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(pace, "time", made)
    return made


def deliver(made: Pace, clock: Clock, *, in_stream: float = 0.0, in_worker: float = 0.0, number: int = 1) -> None:
    """Let prompt deliveries wait for so long in the stream and in the worker, one after the other."""
    for _ in range(number):
        rung_at = STREAM_SECONDS + clock.now
        clock.now += in_stream
        delivery_id = ids.new()
        made.heard(int(rung_at * 1000), delivery_id)
        clock.now += in_worker
        made.claimed(delivery_id)
        clock.now += STEP_SECONDS


def test_the_backlog_is_not_bounded_while_no_prompt_bells_come(clock: Clock) -> None:
    made = Pace()
    made.took(1_000_000)
    assert not made.is_bounded
    assert made.rest_seconds == 0

    deliver(made, clock)
    made.took(1_000)
    assert made.is_bounded
    assert made.rest_seconds == pytest.approx(1_000 / made.rate)

    clock.now += PROMPT_SECONDS
    assert not made.is_bounded
    assert made.rest_seconds == 0


@pytest.mark.parametrize("in_stream", [True, False])
def test_the_rate_falls_while_prompt_deliveries_are_late_and_not_below_the_least(
    clock: Clock, *, in_stream: bool
) -> None:
    made = Pace()
    deliver(made, clock)
    rate = made.rate
    late = MOST_SECONDS + 0.002  # the stream has milliseconds
    deliver(made, clock, in_stream=late * in_stream, in_worker=late * (not in_stream))
    assert made.rate == pytest.approx(max(LEAST_RATE, pace.DECREASE * rate))
    deliver(made, clock, in_stream=late * in_stream, in_worker=late * (not in_stream), number=100)
    assert made.rate == LEAST_RATE


def test_the_rate_grows_while_prompt_deliveries_are_soon(clock: Clock) -> None:
    made = Pace()
    deliver(made, clock, in_worker=MOST_SECONDS / 2, number=10)
    assert made.rate == pytest.approx(FIRST_RATE + 10 * INCREASE)


def test_the_rate_is_the_first_one_again_after_a_pause(clock: Clock) -> None:
    made = Pace()
    deliver(made, clock, number=100)
    assert made.rate > FIRST_RATE
    clock.now += 2 * PROMPT_SECONDS
    made.heard(0, ids.new())
    assert made.rate == FIRST_RATE


def test_a_delivery_that_nobody_claims_counts_as_late_and_the_next_one_is_timed(clock: Clock) -> None:
    made = Pace()
    made.heard(0, ids.new())
    clock.now += 2 * LATE_SECONDS
    made.heard(0, ids.new())
    assert made.rate < FIRST_RATE
    rate = made.rate
    clock.now += STEP_SECONDS
    deliver(made, clock)
    assert made.rate == rate + INCREASE


def test_a_delivery_that_waits_for_its_endpoint_is_not_timed(clock: Clock) -> None:
    made = Pace()
    slow, other = ids.new(), ids.new()
    made.heard(0, slow)
    made.pass_over([other])
    made.pass_over([slow])
    clock.now += 2 * LATE_SECONDS
    made.heard(int(2000 * LATE_SECONDS), other)
    assert made.rate == FIRST_RATE
    made.claimed(other)
    assert made.rate == FIRST_RATE + INCREASE
