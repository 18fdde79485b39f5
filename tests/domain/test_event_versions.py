"""Which version of an event a subscription gets."""

import pytest

from services.domain import event_versions

PINS = {"invoice.*": 2, "invoice.paid": 1, "invoice.line.*": 3}


@pytest.mark.parametrize(
    ("event_type", "version", "found"),
    [
        ("invoice.paid", 3, 1),
        ("invoice.sent", 3, 2),
        ("invoice.line.added", 4, 3),
        # Nothing is converted to the same version or a newer one.
        ("invoice.sent", 2, None),
        ("invoice.line.added", 2, None),
        ("invoice", 3, None),
        ("order.paid", 3, None),
        ("invoice.paid", None, None),
        (None, 3, None),
    ],
)
def test_the_type_decides_or_else_the_longest_prefix(
    event_type: str | None, version: int | None, found: int | None
) -> None:
    assert event_versions.pinned(PINS, event_type, version) == found


def test_pins_are_read_as_they_were_stored() -> None:
    text = event_versions.text(PINS)
    assert event_versions.pins_of(text) == PINS
    assert (event_versions.text({}), event_versions.pins_of(None)) == (None, {})


@pytest.mark.parametrize(
    ("pins", "field"),
    [
        ({"*": 1}, "event_versions"),
        ({"a b": 1}, "event_versions"),
        ({"order.*": 0}, "event_versions.order.*"),
        ({"order.*": 1_000_001}, "event_versions.order.*"),
        ({f"t{number}": 1 for number in range(101)}, "event_versions"),
    ],
)
def test_pins_that_are_not_valid_are_refused_by_their_field(pins: dict[str, int], field: str) -> None:
    assert [one.field for one in event_versions.violations(pins)] == [field]
