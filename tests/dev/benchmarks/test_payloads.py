import json

import pytest

from dev.benchmarks.load import payloads


@pytest.mark.parametrize("payload_bytes", [100, 101, 1024, 5 * 1024, 65_537])
def test_a_payload_has_exactly_its_size_and_is_json(payload_bytes: int) -> None:
    payload = payloads.template(payload_bytes).fill(42, 123_456_789)

    assert len(payload) == payload_bytes
    assert json.loads(payload)["benchmark"] == "0000000042 00000000000123456789"


def test_a_stamp_is_read_back_from_where_it_stands() -> None:
    payload = payloads.template(1024).fill(7, 18_000_000_000_000_000_000)

    assert payloads.stamp(b"head" + payload, 4) == (7, 18_000_000_000_000_000_000)


def test_a_payload_too_small_for_its_stamp_is_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        payloads.template(20)


def test_what_carries_no_stamp_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        payloads.stamp(b'{"something": "else entirely, of quite some length"}', 0)
