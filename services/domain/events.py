"""What an event may look like: its type, encoding, content type and idempotency key; and the filter for types."""

import re
from collections.abc import Iterable

from services.platform import errors

MAX_TYPE_LENGTH = 128
MAX_TYPES = 100
WILDCARD = ".*"
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,255}")
_TYPE = re.compile(r"[A-Za-z0-9._/:-]{1,128}")
TYPE_PATTERN = f"^{_TYPE.pattern}$"
_EXPECTED = "must be 1 to 128 characters of A-Z a-z 0-9 . _ - / :"
_ENTRY_EXPECTED = f'{_EXPECTED}, and may end in ".*"'
# How other services write "every type".
_EVERYTHING = {"*", ".*", "**", "*.*"}
_ALL = "is not an event type; to receive events of all types, leave event_types empty"


def is_valid_type(event_type: str) -> bool:
    """Return whether this is a valid event type."""
    return _TYPE.fullmatch(event_type) is not None


def check_type(field: str, event_type: str) -> None:
    """Raise InvalidArgument unless `event_type` is a valid event type."""
    if not is_valid_type(event_type):
        raise errors.InvalidArgument.field(field, _EXPECTED)


def check_idempotency_key(field: str, key: str) -> None:
    """Raise InvalidArgument unless `key` can be an idempotency key."""
    _check_printable(field, key)


def check_content_type(field: str, content_type: str) -> None:
    """Raise InvalidArgument unless `content_type` can be the value of a Content-Type header."""
    _check_printable(field, content_type)


def _check_printable(field: str, text: str) -> None:
    if not _PRINTABLE.fullmatch(text):
        raise errors.InvalidArgument.field(field, "must be 1 to 255 printable ASCII characters")


def type_violations(field: str, entries: list[str]) -> list[errors.Violation]:
    """Return what is wrong with a subscription's event types; an entry that ends in ".*" is a prefix."""
    if len(entries) > MAX_TYPES:
        return [errors.Violation(field=field, description=f"must have at most {MAX_TYPES} entries")]
    return [
        errors.Violation(field=f"{field}.{index}", description=_ALL if entry in _EVERYTHING else _ENTRY_EXPECTED)
        for index, entry in enumerate(entries)
        if len(entry) > MAX_TYPE_LENGTH or not _TYPE.fullmatch(entry.removesuffix(WILDCARD))
    ]


class TypeFilter:
    """The event types that a subscription receives; none means all."""

    __slots__ = ("_exact", "_prefixes")

    def __init__(self, entries: Iterable[str]) -> None:
        entries = tuple(entries)
        self._exact = frozenset(entry for entry in entries if not entry.endswith(WILDCARD))
        # "order.*" means "order.created" and "order.item.added", and not "order" itself.
        self._prefixes = tuple(entry[:-1] for entry in entries if entry.endswith(WILDCARD))

    def wants(self, event_type: str, *, typed: bool = False) -> bool:
        """Return whether an event of this type is delivered.

        An event without a type passes every filter, unless it is `typed`: its sender gives each event a type, so the
        type of this one could not be read.
        """
        if not (self._exact or self._prefixes):
            return True
        if not event_type:
            return not typed
        return event_type in self._exact or event_type.startswith(self._prefixes or "\n")


ENCODING_EXPECTED = "must be a content encoding of 1 to 64 characters, such as gzip"
# Tokens, separated by commas (RFC 9110, 8.4).
_ENCODINGS = re.compile(r"(?=.{1,64}\Z)[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")


def is_valid_encoding(text: str) -> bool:
    """Return whether this can be the value of a Content-Encoding header."""
    return _ENCODINGS.fullmatch(text) is not None
