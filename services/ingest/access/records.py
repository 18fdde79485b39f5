"""Tenants and API keys: the records, and what a valid one is."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services.platform import errors
from services.platform.auth import tenants
from services.platform.auth.roles import GIVEN_TO_KEYS, Role

MAX_NAME_LENGTH = 128
MAX_DESCRIPTION_LENGTH = 1024
MIN_REQUESTS_PER_SECOND, MAX_REQUESTS_PER_SECOND = 0.001, 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Tenant:
    """A row of `tenants`."""

    id: str
    name: str
    description: str
    created_at: datetime

    @classmethod
    def from_row(cls, row: Any) -> "Tenant":
        """From a row of `tenants`."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """A row of `api_keys`, without the digest."""

    id: UUID
    tenant_id: str
    name: str
    role: Role
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    requests_per_second: float | None

    @classmethod
    def from_row(cls, row: Any) -> "ApiKey":
        """From a row of `api_keys`."""
        fields = {name: row[name] for name in cls.__dataclass_fields__}
        return cls(**fields | {"role": Role(row["role"])})


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantDraft:
    """What a caller asks a tenant to be; valid once made."""

    id: str
    name: str
    description: str

    def __post_init__(self) -> None:
        """InvalidArgument naming the field at fault."""
        tenants.check("id", self.id)
        _refuse(
            *_text_violations("name", self.name, MAX_NAME_LENGTH),
            *_text_violations("description", self.description, MAX_DESCRIPTION_LENGTH),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyDraft:
    """What a caller asks a key to be; valid once made."""

    tenant_id: str
    name: str
    # None: what was asked for is no role.
    role: Role | None
    expires_at: datetime | None
    requests_per_second: float | None

    def __post_init__(self) -> None:
        """InvalidArgument naming each field at fault. Comparisons are written so that NaN fails them."""
        rate = self.requests_per_second
        found = _text_violations("name", self.name, MAX_NAME_LENGTH, required=True)
        if self.role not in GIVEN_TO_KEYS:
            found += _violation("role", "must be admin, write, ingest or read")
        if self.expires_at is not None and self.expires_at <= datetime.now(UTC):
            found += _violation("expires_at", "must be in the future")
        if rate is not None and not MIN_REQUESTS_PER_SECOND <= rate <= MAX_REQUESTS_PER_SECOND:
            found += _violation(
                "requests_per_second", f"must be {MIN_REQUESTS_PER_SECOND} to {MAX_REQUESTS_PER_SECOND}"
            )
        _refuse(*found)
        tenants.check("tenant_id", self.tenant_id)


def _violation(field: str, description: str) -> list[errors.Violation]:
    return [errors.Violation(field=field, description=description)]


def _text_violations(field: str, text: str, longest: int, *, required: bool = False) -> list[errors.Violation]:
    if required and not text:
        return _violation(field, "is required")
    if "\x00" in text:
        return _violation(field, "must not contain NUL")
    return _violation(field, f"must be at most {longest} characters") if len(text) > longest else []


def _refuse(*found: errors.Violation) -> None:
    if found:
        raise errors.InvalidArgument.of(*found)
