"""UUIDv7: where they come from, and what deliveries share with their event."""

import time
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.platform import errors, ids

ANY_UUIDS = st.uuids()
MILLISECONDS = 1000


def _at(seconds: float) -> UUID:
    """A UUIDv7 of a point in time."""
    return UUID(int=(int(seconds * MILLISECONDS) << 80) | (ids.new().int & ((1 << 80) - 1)))


EVENT_IDS = st.floats(0, 2**38).map(_at)


def test_a_new_id_is_a_uuid_version_7_of_now() -> None:
    made = ids.new()
    assert made.version == 7
    assert abs(ids.seconds(made) - time.time()) < 30


def test_new_ids_rise() -> None:
    made = [ids.new() for _ in range(1_000)]
    assert made == sorted(set(made))


@given(EVENT_IDS, ANY_UUIDS)
def test_the_id_of_a_delivery_is_always_the_same(event_id: UUID, subscription_id: UUID) -> None:
    assert ids.of_delivery(event_id, subscription_id) == ids.of_delivery(event_id, subscription_id)


@given(EVENT_IDS, ANY_UUIDS)
def test_the_id_of_a_delivery_is_a_uuid_version_7_with_the_first_64_bits_of_its_event(
    event_id: UUID, subscription_id: UUID
) -> None:
    delivery_id = ids.of_delivery(event_id, subscription_id)
    assert delivery_id.version == 7
    assert delivery_id.bytes[:8] == event_id.bytes[:8]
    assert ids.seconds(delivery_id) == ids.seconds(event_id)


@given(EVENT_IDS, ANY_UUIDS)
def test_the_id_of_a_delivery_lies_in_the_range_of_its_event(event_id: UUID, subscription_id: UUID) -> None:
    least, greatest = ids.delivery_range(event_id)
    assert least <= ids.of_delivery(event_id, subscription_id) <= greatest
    assert least <= event_id <= greatest


@given(EVENT_IDS, st.lists(ANY_UUIDS, unique=True, max_size=50))
def test_deliveries_of_one_event_to_different_subscriptions_have_different_ids(
    event_id: UUID, subscription_ids: list[UUID]
) -> None:
    assert len({ids.of_delivery(event_id, to) for to in subscription_ids}) == len(subscription_ids)


def test_events_of_the_same_first_64_bits_have_different_deliveries() -> None:
    event_id, subscription_id = ids.new(), ids.new()
    twin = UUID(int=event_id.int ^ 1)
    assert ids.of_delivery(event_id, subscription_id) != ids.of_delivery(twin, subscription_id)


@given(ANY_UUIDS)
def test_parse_reads_what_str_writes_in_either_case(value: UUID) -> None:
    assert ids.parse("id", str(value)) == value
    assert ids.parse("id", str(value).upper()) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "01890a5dac96774bbcceb302099a8057",
        "{01890a5d-ac96-774b-bcce-b302099a8057}",
        "urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057",
        " 01890a5d-ac96-774b-bcce-b302099a8057",
        "01890a5d-ac96-774b-bcce-b302099a8057\n",
        "01890a5d-ac96-774b-bcce-b302099a80\x00",
        "01890a5d-ac96-774b-bcce-b302099a805\u0667",
        "01890a5d-ac96-774b-bcce-b302099a805g",
        "0189_a5d-ac96-774b-bcce-b302099a8057",
    ],
)
def test_parse_refuses_other_spellings_and_names_the_field(text: str) -> None:
    with pytest.raises(errors.InvalidArgument) as raised:
        ids.parse("event_id", text)
    assert [violation.field for violation in raised.value.violations] == ["event_id"]


@given(st.text())
def test_parse_answers_or_refuses_any_text(text: str) -> None:
    try:
        parsed = ids.parse("id", text)
    except errors.InvalidArgument:
        return
    assert str(parsed) == text.lower()


@pytest.mark.parametrize("offset_seconds", [-299, 0, 299])
def test_an_id_within_five_minutes_is_fresh(offset_seconds: float) -> None:
    ids.check_fresh("event_id", _at(time.time() + offset_seconds), time.time())


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: _at(time.time() - 301), id="too old"),
        pytest.param(lambda: _at(time.time() + 301), id="too new"),
        pytest.param(lambda: UUID(int=ids.new().int ^ (0b11 << 76)), id="version 4"),
        pytest.param(lambda: UUID(int=0), id="nil"),
        pytest.param(lambda: UUID(int=2**128 - 1), id="max"),
        pytest.param(lambda: UUID(int=ids.new().int & ~(0b11 << 62)), id="another variant"),
    ],
)
def test_id_that_is_not_a_recent_uuidv7_is_rejected_with_its_field(make: Callable[[], UUID]) -> None:
    with pytest.raises(errors.InvalidArgument) as raised:
        ids.check_fresh("event_id", make(), time.time())
    assert [violation.field for violation in raised.value.violations] == ["event_id"]


@pytest.mark.parametrize(
    ("moment", "end"),
    [
        ("2026-03-14T00:00:00+00:00", "2026-03-15T00:00:00+00:00"),
        ("2026-03-14T23:59:59.999+00:00", "2026-03-15T00:00:00+00:00"),
        ("2024-02-29T12:00:00+00:00", "2024-03-01T00:00:00+00:00"),
    ],
)
def test_the_day_of_an_id_ends_at_midnight_utc(moment: str, end: str) -> None:
    assert ids.end_of_day(ids.least_at(datetime.fromisoformat(moment))) == datetime.fromisoformat(end)


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59.999999+00:00", "9999-12-31T23:59:59.999+00:00"])
def test_the_least_id_of_the_last_moment_has_a_time(moment: str) -> None:
    least = ids.moment_of(ids.least_at(datetime.fromisoformat(moment)))
    assert least == datetime.fromisoformat("9999-12-31T23:59:59.999+00:00")
