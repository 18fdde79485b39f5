"""What a document says of event types, in whatever format it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from services.ingest.catalog.documents.references import Bundle, RefusedError, followed, portable
from services.platform import errors

# Extensions, for what the formats have no field of their own for.
SUNSET = "x-sunset-at"
VERSION_DESCRIPTION = "x-version-description"
DEPRECATED = "x-deprecated"
# As many as a catalog can have.
MAX_IMPORTED = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An event type with a version of it."""

    name: str
    description: str
    schema: Any
    # JSON text; empty: there is none.
    example: str
    version_description: str
    deprecated: bool
    sunset_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """An event type of a document."""

    name: str
    # Where it is in the document, a JSON Pointer.
    place: str
    entry: Entry
    schema: Bundle


# What a document has, in its order; what cannot be used is in its place.
Parts: TypeAlias = Iterator[tuple[str, Found | RefusedError]]


class Writer:
    """Collects event types, and makes a document of them."""

    # Where schemas are.
    _schemas = "#/components/schemas/"

    def __init__(self, title: str = "Events") -> None:
        self.title = title
        self._written: dict[str, Entry] = {}
        self._portable: dict[str, Any] = {}

    def add(self, entry: Entry) -> None:
        """Add an event type."""
        # `/` and `:` are not allowed in keys of components.
        key = entry.name.replace("/", "_").replace(":", "_")
        while key in self._written:
            key += "_"
        self._written[key] = entry
        self._portable[key] = portable(entry.schema, self._schemas + key)

    def document(self) -> dict[str, Any]:
        """Return the document."""
        raise NotImplementedError


def check_count(number: int) -> None:
    """Raise InvalidArgument for a document that has too many event types."""
    if number > MAX_IMPORTED:
        raise errors.InvalidArgument.field(
            "document", f"must have at most {MAX_IMPORTED:,} event types; has {number:,}"
        )


class Object:
    """An object of a document, and where it is."""

    def __init__(self, document: Any, pointer: str) -> None:
        """Follow references to it; RefusedError if there is no such object."""
        self._document = document
        self.pointer, value = followed(document, pointer, "summary", "description")
        if not isinstance(value, dict):
            raise RefusedError(self.pointer, "must be an object")
        self.value: dict[str, Any] = value

    def text(self, name: str) -> str:
        """Return a text; empty if it is absent."""
        value = self.value.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise RefusedError(f"{self.pointer}/{name}", "must be a text")
        return value

    def flag(self, name: str) -> bool:
        """Return whether something is true; absent, it is not."""
        value = self.value.get(name, False)
        if not isinstance(value, bool):
            raise RefusedError(f"{self.pointer}/{name}", "must be true or false")
        return value

    def moment(self, name: str) -> datetime | None:
        """Return a time, if there is one."""
        text = self.text(name)
        if not text:
            return None
        try:
            found = datetime.fromisoformat(text)
            if found.tzinfo is None:
                raise ValueError(text)
            return found.astimezone(UTC)
        except (ValueError, OverflowError):
            description = "must be a time such as 2027-01-01T00:00:00Z"
            raise RefusedError(f"{self.pointer}/{name}", description) from None

    def inner(self, *steps: str) -> "Object":
        """Return the object at a place in this one."""
        return Object(self._document, self.pointer + "".join(f"/{step}" for step in steps))


def json_of(value: Any) -> str:
    """Return the text of an example; empty for null, which is none."""
    return "" if value is None else msgspec.json.encode(value).decode()


def written(moment: datetime) -> str:
    """Return a time as text."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
