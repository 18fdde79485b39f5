"""What Retry-After means."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.delivery.destinations.http import answers

NOW = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0),
        (b"120", 120),
        (b" 7\t", 7),
        (b"007", 7),
        (b"9" * 64, float("9" * 64)),
        # A fraction is rounded up.
        (b"1.5", 2),
        (b"0.2", 1),
        (b".5", 1),
        (b"3.", 3),
        (b"2.0", 2),
        (b"0.0", 0),
        # The three forms of a date.
        (b"Sat, 14 Mar 2026 15:10:26 GMT", 60),
        (b"Saturday, 14-Mar-26 15:10:26 GMT", 60),
        (b"Sat Mar 14 15:10:26 2026", 60),
        (b"Sun Mar  1 00:00:00 2026", 0),
        # Passed.
        (b"Sat, 14 Mar 2026 15:09:25 GMT", 0),
        (b"Sun, 06 Nov 1994 08:49:37 GMT", 0),
        # A year of two digits is of this century, unless that is more than 50 years ahead.
        (b"Sunday, 06-Nov-94 08:49:37 GMT", 0),
        (b"Saturday, 14-Mar-70 15:09:26 GMT", (datetime(2070, 3, 14, 15, 9, 26, tzinfo=UTC) - NOW).total_seconds()),
        # Garbage.
        (b"", 0),
        (b"-5", 0),
        (b"+5", 0),
        (b"1e3", 0),
        (b".", 0),
        (b"1.5.2", 0),
        (b"1,5", 0),
        (b"-0.5", 0),
        (b"5 s", 0),
        (b"soon", 0),
        (b"nan", 0),
        (b"\x00\xff", 0),
        ("\u0665".encode(), 0),
        (b"Sat, 14 Mar 2026 15:10:26 +0000", 0),
        (b"Sat, 31 Feb 2026 15:10:26 GMT", 0),
        (b"Thursday, 29-Feb-27 00:00:00 GMT", 0),
        (b"Sat, 14 Mar 2026 25:10:26 GMT", 0),
        (b"2026-03-14T15:10:26Z", 0),
        (b"Sat, 14 Mar 2026 15:10:26 GMT, 5", 0),
    ],
)
def test_seconds_and_dates_are_understood_and_everything_else_is_passed_over(value: bytes, seconds: float) -> None:
    assert answers.retry_after_seconds(value, NOW) == seconds


@given(ahead=st.integers(-(10**9), 10**9))
def test_a_date_is_as_far_ahead_as_it_says(ahead: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=ahead), usegmt=True).encode()
    assert answers.retry_after_seconds(date, NOW) == max(0, ahead)


@given(value=st.binary(max_size=64))
def test_any_bytes_are_a_number_of_seconds(value: bytes) -> None:
    assert answers.retry_after_seconds(value, NOW) >= 0
