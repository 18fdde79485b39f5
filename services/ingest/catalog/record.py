"""Event types and their versions: the records, and the rules for what callers set."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.domain import events, limits
from services.domain.catalog.schemas import MAX_EXAMPLE_BYTES, Schema, decoded
from services.domain.catalog.validation import Validation
from services.domain.templates import template as templates
from services.platform import errors

# Of a tenant, and of an event type.
MAX_EVENT_TYPES = 1_000
MAX_VERSIONS = 50
# What is said beyond them.
FULL = "the catalog has {} event types; delete one first"
FULL_OF_VERSIONS = "the event type has {} versions; create another event type"


class Status(enum.StrEnum):
    """What a version is used for."""

    # Validates nothing, and may change.
    DRAFT = "draft"
    LIVE = "live"
    # Validates as a live one does.
    DEPRECATED = "deprecated"


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionDraft:
    """A version as a caller wants it, validated at construction; None in an update: as it is."""

    schema: str
    status: Status = Status.LIVE
    sunset_at: datetime | None = None
    description: str = ""
    example: str = ""
    # A template that makes a payload of the version before; its source is compiled where there is time for it.
    down_conversion: str = ""

    def __post_init__(self) -> None:
        """Raise InvalidArgument, which names the field at fault."""
        schema = Schema(self.schema.encode())
        if not self.schema.lstrip().startswith("{"):  # REST and documents have room for no other
            raise errors.InvalidArgument.field("schema", "must be an object; {} allows everything")
        check_description(self.description)
        found = []
        if self.sunset_at is not None and self.status is not Status.DEPRECATED:
            found.append(_violation("sunset_at", "requires the status deprecated"))
        if len(self.down_conversion.encode()) > templates.MAX_SOURCE_BYTES or "\x00" in self.down_conversion:
            why = f"must have at most {templates.MAX_SOURCE_BYTES} bytes, and no NUL"
            found.append(_violation("down_conversion", why))
        if self.example:
            example = self.example.encode()
            decoded("example", example, MAX_EXAMPLE_BYTES)
            found += [
                _violation(one.field.replace("payload", "example", 1), one.description)
                for one in schema.violations(example)
            ]
        if found:
            raise errors.InvalidArgument.of(*found)


@dataclass(frozen=True, kw_only=True, slots=True)
class TypeDraft:
    """An event type as a caller wants it, validated at construction."""

    name: str
    description: str
    # None: that of the tenant.
    validation: Validation | None
    version: VersionDraft

    def __post_init__(self) -> None:
        """Raise InvalidArgument, which names the field at fault."""
        events.check_type("name", self.name)
        check_description(self.description)
        if self.version.down_conversion:
            raise errors.InvalidArgument.field("down_conversion", "requires an earlier version")


def check_description(description: str) -> None:
    """Raise InvalidArgument for a description that is too long, or that Postgres cannot store."""
    if "\x00" in description:
        raise errors.InvalidArgument.field("description", "must not contain NUL")
    if len(description) > limits.MAX_DESCRIPTION_LENGTH:
        expected = f"must be at most {limits.MAX_DESCRIPTION_LENGTH} characters"
        raise errors.InvalidArgument.field("description", expected)


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A row of `event_type_versions`."""

    event_type_id: UUID
    number: int
    status: Status
    schema: str
    example: str
    down_conversion: str
    description: str
    sunset_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class EventType:
    """A row of `event_types`, with its newest version."""

    id: UUID
    tenant_id: str
    name: str
    description: str
    # None: that of the tenant.
    validation: Validation | None
    effective_validation: Validation
    # None: all are drafts.
    current_version: int | None
    latest: Version
    invalid_events: int
    last_invalid_at: datetime | None
    last_invalid_errors: Sequence[str]
    created_at: datetime
    updated_at: datetime


def _violation(field: str, description: str) -> errors.Violation:
    return errors.Violation(field=field, description=description)
