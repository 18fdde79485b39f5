"""What a receiver answers, as text that Postgres stores."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.delivery.destinations.http import answers


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
    assert answers.of_body(body, 100) == stored


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_character_that_the_bound_cuts_is_left_out(kept: int) -> None:
    assert answers.of_body(b"abc" + "\U0001f600".encode(), 3 + kept) == "abc"


def test_an_incomplete_character_at_the_end_of_the_whole_body_is_shown() -> None:
    assert answers.of_body(b"abc\xf0\x9f", 100) == "abc\ufffd"


def test_an_undecodable_byte_just_before_the_bound_is_shown() -> None:
    assert answers.of_body(b"abc\xffdef", 6) == "abc\ufffd"


@pytest.mark.parametrize("body", [bytes(100), b"\xff" * 100])
def test_what_stands_for_a_byte_counts_as_what_it_takes(body: bytes) -> None:
    assert answers.of_body(body, 10) == "\ufffd" * 3


@given(body=st.binary(max_size=64), limit=st.integers(0, 64))
def test_any_body_becomes_text_without_nul_that_encodes_and_decodes(body: bytes, limit: int) -> None:
    stored = answers.of_body(body, limit)
    assert "\x00" not in stored
    assert stored.encode().decode() == stored
    assert len(stored.encode()) <= limit


@given(body=st.text(st.characters(exclude_characters="\x00", codec="utf-8")), limit=st.integers(0, 64))
def test_of_valid_text_a_prefix_is_stored(body: str, limit: int) -> None:
    stored = answers.of_body(body.encode(), limit)
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
    assert answers.of_message(message) == stored


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
    assert answers.of_header(value, 20 if len(value) == 21 else 50) == shown
