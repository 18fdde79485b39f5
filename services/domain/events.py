"""What an event may look like: its type, idempotency key, content type and tags, and which subscriptions want it.

The gateway and ingest both check these, so the rules are written here once.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from services.platform import errors

# Of an event that states none.
DEFAULT_CONTENT_TYPE = "application/json"
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
# Of an event, from its sender. The paths of a subscription may add as many.
MAX_TAGS = 5
TAG_KEY_PATTERN = r"[A-Za-z0-9._-]{1,64}"
MAX_TAG_VALUE_LENGTH = 255
TAG_KEY_EXPECTED = "must be 1 to 64 characters of A-Z a-z 0-9 . _ -"
_TAG_VALUE_EXPECTED = f"must be 1 to {MAX_TAG_VALUE_LENGTH} printable characters, with no space around them"
TAGS_EXPECTED = f"must be at most {MAX_TAGS} pairs with different keys, separated by commas, such as order=42"
TAG_EXPECTED = "must be a key and a value, such as order=42"
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
# The headers of theirs that a subscription relays, as they spell them. Of Standard Webhooks only Svix's: deliveries
# have the others of their own.
RELAYED_HEADERS: Mapping[str, tuple[str, ...]] = {
    "github": (
        *("X-GitHub-Event", "X-GitHub-Delivery", "X-GitHub-Hook-ID", "X-GitHub-Hook-Installation-Target-ID"),
        *("X-GitHub-Hook-Installation-Target-Type", "X-GitHub-Enterprise-Host", "X-GitHub-Enterprise-Version"),
    ),
    "stripe": ("Stripe-Signature",),
    "shopify": (
        *("X-Shopify-Hmac-Sha256", "X-Shopify-Topic", "X-Shopify-Sub-Topic", "X-Shopify-Webhook-Id"),
        *("X-Shopify-Event-Id", "X-Shopify-Shop-Domain", "X-Shopify-API-Version", "X-Shopify-Triggered-At"),
    ),
    "slack": ("X-Slack-Signature", "X-Slack-Request-Timestamp", "X-Slack-Retry-Num", "X-Slack-Retry-Reason"),
    "standard-webhooks": ("svix-id", "svix-timestamp", "svix-signature"),
}
# Of providers that sign with it, such as GitHub. A delivery has one: relayed, it is the provider's and not ours.
HUB_SIGNATURE = "X-Hub-Signature-256"
_TYPE = re.compile(TYPE_PATTERN)
_ENTRY_EXPECTED = f'{TYPE_EXPECTED}, and may end in ".*"'
# How other services write "every type".
_EVERYTHING = {"*", ".*", "**", "*.*"}
_ALL = "is not a type; for events of all types, leave event_types empty"
_TAG_KEY = re.compile(TAG_KEY_PATTERN)
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


# A tag is one text, such as "order=42", in a row and in a search. No key has a "=".


def tag_texts(tags: Mapping[str, str]) -> list[str]:
    """Return tags as they are stored, in alphabetical order."""
    return sorted(f"{key}={value}" for key, value in tags.items())


def tags_of(texts: Iterable[str]) -> dict[str, str]:
    """Return tags by their keys, as they were stored."""
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def is_valid_tag_key(key: str) -> bool:
    """Return whether this can be the key of a tag."""
    return _TAG_KEY.fullmatch(key) is not None


def is_valid_tag_value(value: str) -> bool:
    """Return whether this can be the value of a tag."""
    return 1 <= len(value) <= MAX_TAG_VALUE_LENGTH and value.isprintable() and value == value.strip()


def tag_violations(field: str, tags: Mapping[str, str]) -> list[errors.Violation]:
    """Return what is wrong with the tags that a sender gives an event."""
    if len(tags) > MAX_TAGS:
        return [errors.Violation(field=field, description=f"must have at most {MAX_TAGS} entries")]
    found = []
    for key, value in tags.items():
        if not is_valid_tag_key(key):
            why = f"the key {key[:64]!r} {TAG_KEY_EXPECTED}"
            found.append(errors.Violation(field=field, description=why))
        elif not is_valid_tag_value(value):
            found.append(errors.Violation(field=f"{field}.{key}", description=_TAG_VALUE_EXPECTED))
    return found


def tags_of_header(field: str, text: bytes) -> dict[str, str]:
    """Return the tags of a header such as "order=42, customer=acme"; InvalidArgument for any other."""
    try:
        pairs = [entry.strip(" \t").partition("=") for entry in text.decode().split(",")]
    except UnicodeDecodeError:
        raise errors.InvalidArgument.field(field, "must be UTF-8") from None
    given = [(key, value) for key, equals, value in pairs if key or equals]  # a list may have empty elements
    tags = dict(given)
    if len(given) > MAX_TAGS or len(tags) < len(given):
        raise errors.InvalidArgument.field(field, TAGS_EXPECTED)
    if any(not (is_valid_tag_key(key) and is_valid_tag_value(value)) for key, value in given):
        why = f"{TAGS_EXPECTED}; a key {TAG_KEY_EXPECTED}, a value {_TAG_VALUE_EXPECTED}"
        raise errors.InvalidArgument.field(field, why)
    return tags


def searched_tag_violations(field: str, texts: Sequence[str]) -> list[errors.Violation]:
    """Return what is wrong with the tags that a search asks for."""
    if len(texts) > MAX_SEARCHED:
        return [errors.Violation(field=field, description=f"must have at most {MAX_SEARCHED} values")]
    pairs = [text.partition("=") for text in texts]
    if all(is_valid_tag_key(key) and is_valid_tag_value(value) for key, _, value in pairs):
        return []
    return [errors.Violation(field=field, description=TAG_EXPECTED)]


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

    @property
    def wants_all(self) -> bool:
        """Whether events of every type are delivered."""
        return not (self._exact or self._prefixes)

    def wants(self, event_type: str, *, typed: bool = False) -> bool:
        """Return whether an event of this type is delivered.

        An event without a type passes every filter, unless it is `typed`: its sender gives every event a type, and this
        one's could not be read.
        """
        if self.wants_all:
            return True
        if not event_type:
            return not typed
        return event_type in self._exact or event_type.startswith(self._prefixes or "\n")
