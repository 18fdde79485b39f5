"""Event types, and which subscriptions match them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain import events
from services.domain.events import TypeFilter
from services.platform import errors

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/:-"
TYPES = st.text(ALPHABET, min_size=1, max_size=128)
GOOD = ["a", "order.created", "A-Z_0.9/x:y", "..", "a" * 128]
BAD = ["", "a b", "a" * 129, "order*", "é", "a\n", "\na", "a\x00b", "a,b", "٣", "order.created "]


@pytest.mark.parametrize("event_type", GOOD)
def test_a_good_type_passes(event_type: str) -> None:
    events.check_type("event_type", event_type)


@pytest.mark.parametrize("event_type", BAD)
def test_a_bad_type_is_refused_with_its_field(event_type: str) -> None:
    with pytest.raises(errors.InvalidArgument) as raised:
        events.check_type("event_type", event_type)
    assert [violation.field for violation in raised.value.violations] == ["event_type"]


@pytest.mark.parametrize("entry", [*GOOD, "order.*", "a.b.*", "a" * 126 + ".*", "..*"])
def test_a_good_entry_of_a_list_passes(entry: str) -> None:
    assert events.type_violations("event_types", [entry]) == []


@pytest.mark.parametrize("entry", [*BAD, "*", ".*", "order*", "*.created", "a.*.b", "a.*.*", "a" * 127 + ".*"])
def test_a_bad_entry_of_a_list_is_named_by_its_place(entry: str) -> None:
    found = events.type_violations("event_types", ["good", entry, "good.*"])
    assert [violation.field for violation in found] == ["event_types.1"]


@pytest.mark.parametrize("entry", ["*", ".*", "**", "*.*"])
def test_an_entry_that_means_everything_is_refused_with_what_to_do(entry: str) -> None:
    (violation,) = events.type_violations("event_types", [entry])
    assert violation.description == "is not a type; for events of all types, leave event_types empty"


def test_a_list_holds_at_most_a_hundred_entries() -> None:
    assert events.type_violations("event_types", ["a"] * 100) == []
    assert [violation.field for violation in events.type_violations("event_types", ["a"] * 101)] == ["event_types"]


@pytest.mark.parametrize(
    ("entries", "event_type", "wanted"),
    [
        ([], "order.created", True),
        (["order.created"], "order.created", True),
        (["order.created"], "order.deleted", False),
        (["order.created"], "ORDER.CREATED", False),
        (["order.created"], "order.created.eu", False),
        (["order.*"], "order.created", True),
        (["order.*"], "order.item.added", True),
        (["order.*"], "order.", True),
        (["order.*"], "order", False),
        (["order.*"], "orders.created", False),
        (["order.item.*"], "order.created", False),
        (["a", "b.*", "c"], "b.x", True),
        (["a", "b.*", "c"], "c", True),
        (["a", "b.*", "c"], "d", False),
        (["order.created"], "", True),
        (["order.*"], "", True),
    ],
)
def test_a_type_filter_wants_its_types_and_prefixes(entries: list[str], event_type: str, wanted: bool) -> None:  # noqa: FBT001 - a table
    assert TypeFilter(entries).wants(event_type) is wanted


def test_a_type_that_could_not_be_read_passes_no_filter() -> None:
    assert not TypeFilter(["order.created"]).wants("", typed=True)
    assert not TypeFilter(["order.*"]).wants("", typed=True)
    assert TypeFilter([]).wants("", typed=True)


@given(st.lists(TYPES), TYPES)
def test_a_list_of_whole_types_wants_exactly_those(entries: list[str], event_type: str) -> None:
    entries = [entry for entry in entries if not entry.endswith(".*")]
    assert TypeFilter(entries).wants(event_type) is (not entries or event_type in entries)


@given(TYPES, TYPES)
def test_a_prefix_wants_exactly_what_begins_with_it_and_a_dot(prefix: str, event_type: str) -> None:
    wanted = TypeFilter([prefix + ".*"])
    assert wanted.wants(event_type) is event_type.startswith(prefix + ".")
    assert wanted.wants(f"{prefix}.{event_type}")


@given(st.lists(TYPES), st.lists(TYPES), TYPES)
def test_a_longer_list_wants_more(entries: list[str], others: list[str], event_type: str) -> None:
    if entries and TypeFilter(entries).wants(event_type):
        assert TypeFilter([*entries, *others]).wants(event_type)
