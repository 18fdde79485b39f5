"""What an event may look like: its type, idempotency key and content type, and which subscriptions want it.

The gateway and ingest both check these, so the rules are written here once.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from services.platform import errors

MAX_TYPE_LENGTH = 128
TYPE_PATTERN = rf"[A-Za-z0-9._/:-]{{1,{MAX_TYPE_LENGTH}}}"
TYPE_EXPECTED = f"must be 1 to {MAX_TYPE_LENGTH} characters of A-Z a-z 0-9 . _ - / :"
# Entries in a subscription's list of types.
MAX_TYPES = 100
WILDCARD = ".*"
# Values of one field of a search.
MAX_SEARCHED = 50
# Of an idempotency key, and of a content type.
MAX_TEXT_LENGTH = 255
TEXT_EXPECTED = f"must be 1 to {MAX_TEXT_LENGTH} printable ASCII characters"
ENCODING_EXPECTED = "must be 1 to 64 characters, such as gzip"
# The headers by which providers sign and describe what they send, by the name of the verification. The gateway passes
# them to ingest.
PROVIDER_HEADERS: Mapping[str, tuple[str, ...]] = {
    "github": ("x-github-event", "x-github-delivery"),
    "stripe": ("stripe-signature",),
    "shopify": ("x-shopify-hmac-sha256", "x-shopify-topic", "x-shopify-webhook-id"),
    "slack": ("x-slack-signature", "x-slack-request-timestamp"),
    "standard-webhooks": (
        *("webhook-id", "webhook-timestamp", "webhook-signature"),
        *("svix-id", "svix-timestamp", "svix-signature"),
    ),
}
_TYPE = re.compile(TYPE_PATTERN)
_ENTRY_EXPECTED = f'{TYPE_EXPECTED}, and may end in ".*"'
# How other services write "every type".
_EVERYTHING = {"*", ".*", "**", "*.*"}
_ALL = "is not a type; for events of all types, leave event_types empty"
_TEXT = re.compile(rf"[\x20-\x7e]{{1,{MAX_TEXT_LENGTH}}}")
# Tokens, separated by commas (RFC 9110, 8.4).
_ENCODINGS = re.compile(r"(?=.{1,64}\Z)[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")


def is_valid_type(event_type: str) -> bool:
    """Return whether this can be the type of an event."""
    return _TYPE.fullmatch(event_type) is not None


def check_type(field: str, event_type: str) -> None:
    """Raise InvalidArgument unless this can be the type of an event."""
    if not is_valid_type(event_type):
        raise errors.InvalidArgument.field(field, TYPE_EXPECTED)


def is_valid_text(text: str) -> bool:
    """Return whether this can be an idempotency key or a content type."""
    return _TEXT.fullmatch(text) is not None


def is_valid_encoding(text: str) -> bool:
    """Return whether this can be a Content-Encoding header, which is passed on and never undone here."""
    return _ENCODINGS.fullmatch(text) is not None


def type_violations(field: str, entries: Sequence[str]) -> list[errors.Violation]:
    """Return what is wrong with a subscription's list of types; an entry that ends in ".*" is a prefix."""
    if len(entries) > MAX_TYPES:
        return [errors.Violation(field=field, description=f"must have at most {MAX_TYPES} entries")]
    return [
        errors.Violation(field=f"{field}.{index}", description=_ALL if entry in _EVERYTHING else _ENTRY_EXPECTED)
        for index, entry in enumerate(entries)
        if len(entry) > MAX_TYPE_LENGTH or not _TYPE.fullmatch(entry.removesuffix(WILDCARD))
    ]


def text_violations(field: str, values: Sequence[str]) -> list[errors.Violation]:
    """Return what is wrong with the texts that a search asks for, of which there are few."""
    if len(values) > MAX_SEARCHED:
        return [errors.Violation(field=field, description=f"must have at most {MAX_SEARCHED} values")]
    if all(map(is_valid_text, values)):
        return []
    return [errors.Violation(field=field, description=TEXT_EXPECTED)]


def like_pattern(entry: str) -> str:
    """Return the pattern of SQL's LIKE for an entry of a list of types."""
    begin = entry.removesuffix(WILDCARD)
    escaped = begin.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")
    return escaped if begin == entry else f"{escaped}.%"


def entries_wanting(event_type: str) -> list[str]:
    """Return the entries of subscriptions' lists of types that want events of this type.

    "order.item.added" is wanted by "order.item.added", "order.*" and "order.item.*". A subscription without entries
    wants every event.
    """
    found = [event_type]
    end = event_type.find(".")
    while end >= 0:
        found.append(event_type[:end] + WILDCARD)
        end = event_type.find(".", end + 1)
    return found


class TypeFilter:
    """The event types that a subscription wants; no entries mean all."""

    __slots__ = ("_exact", "_prefixes")

    def __init__(self, entries: Iterable[str]) -> None:
        entries = tuple(entries)
        self._exact = frozenset(entry for entry in entries if not entry.endswith(WILDCARD))
        # "order.*" means "order.created" and "order.item.added", and not "order" itself.
        self._prefixes = tuple(entry[:-1] for entry in entries if entry.endswith(WILDCARD))

    def wants(self, event_type: str, *, typed: bool = False) -> bool:
        """Return whether an event of this type is delivered.

        An event without a type passes every filter, unless it is `typed`: its sender gives every event a type, and this
        one's could not be read.
        """
        if not (self._exact or self._prefixes):
            return True
        if not event_type:
            return not typed
        return event_type in self._exact or event_type.startswith(self._prefixes or "\n")
