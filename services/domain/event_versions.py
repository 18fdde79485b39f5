"""Versions of events, as the catalog has them, and the versions that subscriptions are pinned to."""

from collections.abc import Mapping

import msgspec

from services.domain import events
from services.domain.limits import Range
from services.platform import errors

FIELD = "event_versions"
HEADER = "X-Webhook-Event-Version"
NUMBER = Range(1, 1_000_000)
NUMBER_EXPECTED = f"must be a whole number from {NUMBER.least} to {NUMBER.most}"
MAX_PINS = 100
_MAX_DIGITS = 7
_ENTRY_EXPECTED = f'{events.TYPE_EXPECTED}, and may end in ".*"'


def number(value: object) -> int | None:
    """Return the version that a header, a parameter, or an attribute states; None if it is none."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _MAX_DIGITS:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if NUMBER.allows(value) else None


def text(pins: Mapping[str, int]) -> str | None:
    """Return the pins of a subscription as they are stored."""
    return msgspec.json.encode(dict(pins), order="sorted").decode() if pins else None


def pins_of(text: str | None) -> dict[str, int]:
    """Return pins as they were stored."""
    return {} if text is None else msgspec.json.decode(text, type=dict[str, int])


def violations(pins: Mapping[str, int]) -> list[errors.Violation]:
    """Return what is wrong with the pins of a subscription."""
    if len(pins) > MAX_PINS:
        return [errors.Violation(field=FIELD, description=f"must have at most {MAX_PINS} entries")]
    found = []
    for entry, number in pins.items():
        if events.type_violations(FIELD, [entry]):
            found.append(errors.Violation(field=FIELD, description=f"the type {entry[:64]!r} {_ENTRY_EXPECTED}"))
        found += NUMBER.violations(f"{FIELD}.{entry}", number)
    return found


def pinned(pins: Mapping[str, int], event_type: str | None, version: int | None) -> int | None:
    """Return the version that an event is converted to; None if it is sent as it is.

    The entry that names the type decides, or else the longest prefix. Nothing is converted to a newer version.
    """
    if not pins or not event_type or version is None:
        return None
    wanting = [entry for entry in events.entries_wanting(event_type) if entry in pins]
    if not wanting:
        return None
    number = pins[event_type if event_type in pins else max(wanting, key=len)]
    return number if number < version else None
