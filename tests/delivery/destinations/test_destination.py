"""How a worker reads a response: text for Postgres, and the delay in Retry-After."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.delivery.destinations import destination

# Responses as text that Postgres can store.


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        (b"", ""),
        (b"ok", "ok"),
        ("sch\u00f6n \U0001f600".encode(), "sch\u00f6n \U0001f600"),
        (b"a\x00b", "a\ufffdb"),
        (b"a\xffb", "a\ufffdb"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        (b"\xc0\x80", "\ufffd\ufffd"),
    ],
)
def test_bytes_become_text(body: bytes, stored: str) -> None:
    assert destination.body_text(body, 100) == stored


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_character_that_the_bound_cuts_is_left_out(kept: int) -> None:
    assert destination.body_text(b"abc" + "\U0001f600".encode(), 3 + kept) == "abc"


def test_an_incomplete_character_at_the_end_of_the_whole_body_is_shown() -> None:
    assert destination.body_text(b"abc\xf0\x9f", 100) == "abc\ufffd"


def test_an_undecodable_byte_just_before_the_bound_is_shown() -> None:
    assert destination.body_text(b"abc\xffdef", 6) == "abc\ufffd"


@pytest.mark.parametrize("body", [bytes(100), b"\xff" * 100])
def test_replacement_characters_count_with_their_encoded_size(body: bytes) -> None:
    assert destination.body_text(body, 10) == "\ufffd" * 3


@given(body=st.binary(max_size=64), limit=st.integers(0, 64))
def test_body_text_contains_no_nul_and_survives_encoding_for_any_body(body: bytes, limit: int) -> None:
    stored = destination.body_text(body, limit)
    assert "\x00" not in stored
    assert stored.encode().decode() == stored
    assert len(stored.encode()) <= limit


@given(body=st.text(st.characters(exclude_characters="\x00", codec="utf-8")), limit=st.integers(0, 64))
def test_body_text_of_valid_text_is_a_prefix_of_it(body: str, limit: int) -> None:
    stored = destination.body_text(body.encode(), limit)
    assert body.startswith(stored)
    assert len(body.encode()) - len(stored.encode()) < 4 or len(stored.encode()) > limit - 4


@pytest.mark.parametrize(
    ("message", "stored"),
    [
        ("plain", "plain"),
        ("a\x00b", "a\ufffdb"),
        ("a\udcffb", "a?b"),
        ("x" * 501, "x" * 500),
        ("\U0001f600", "\U0001f600"),
    ],
)
def test_an_error_message_is_cut_and_made_valid(message: str, stored: str) -> None:
    assert destination.message_text(message) == stored


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"https://a.example/x?y=1", "https://a.example/x?y=1"),
        ("/\u00fc".encode(), "/\u00fc"),
        (b"/a\x00b\x1b[2J\r\n", "/a\\x00b\\x1b[2J\\r\\n"),
        (b"/\xff", "/\\xff"),
        ("/\u202e\u2028".encode(), "/\\u202e\\u2028"),
        (b"a" * 21, "a" * 20 + "\u2026"),
    ],
)
def test_a_header_is_shown_on_one_line_and_cut(value: bytes, shown: str) -> None:
    assert destination.header_text(value, 20 if len(value) == 21 else 50) == shown


# The meaning of Retry-After.


NOW = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0),
        (b"120", 120),
        (b" 7\t", 7),
        (b"007", 7),
        (b"9" * 64, float("9" * 64)),
        # Fractions are rounded up.
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
        # Other forms that are read like dates in mail.
        (b"Sat, 14 Mar 2026 16:10:26 +0100", 60),
        (b"Sat, 14 Mar 2026 15:10:26 GMT, 5", 60),
        (b"Thu, 01 Jan 1970 00:00:00 GMT", 0),
        # In the past.
        (b"Sat, 14 Mar 2026 15:09:25 GMT", 0),
        (b"Sun, 06 Nov 1994 08:49:37 GMT", 0),
        # A two-digit year belongs to this century, unless that is more than 50 years in the future.
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
        (b"Sat, 31 Feb 2026 15:10:26 GMT", 0),
        (b"Thursday, 29-Feb-27 00:00:00 GMT", 0),
        (b"Sat, 14 Mar 2026 25:10:26 GMT", 0),
        (b"2026-03-14T15:10:26Z", 0),
    ],
)
def test_seconds_and_dates_are_parsed_and_everything_else_is_ignored(value: bytes, seconds: float) -> None:
    assert destination.retry_after_seconds(value, NOW) == seconds


@given(ahead=st.integers(-(10**9), 10**9))
def test_a_date_is_as_far_ahead_as_it_says(ahead: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=ahead), usegmt=True).encode()
    assert destination.retry_after_seconds(date, NOW) == max(0, ahead)


@given(value=st.binary(max_size=64))
def test_retry_after_seconds_is_not_negative_for_any_bytes(value: bytes) -> None:
    assert destination.retry_after_seconds(value, NOW) >= 0
