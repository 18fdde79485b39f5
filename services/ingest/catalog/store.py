"""Event types and their versions in Postgres."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from services.domain import idempotency
from services.domain.catalog.validation import Validation
from services.domain.idempotency import Key
from services.domain.notices import audit
from services.domain.notices.audit import Action, FieldChange
from services.ingest.catalog.record import (
    FULL,
    FULL_OF_VERSIONS,
    MAX_EVENT_TYPES,
    MAX_VERSIONS,
    EventType,
    Status,
    TypeDraft,
    Version,
    VersionDraft,
)
from services.ingest.subscriptions.store import no_tenant
from services.platform import errors, ids
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.ingest.catalog")

# By how much the clock of an ingest process and that of Postgres may differ.
CLOCKS_SECONDS = 10.0
# Changes of values that the audit log shows; of others it only says that they changed.
_SHOWN = frozenset(("name", "validation", "status", "sunset_at", "number"))


@dataclass(frozen=True, kw_only=True, slots=True)
class TypeChange:
    """What changes of an event type; the others stay."""

    description: str | None = None
    # Whether it changes, and to what: None means that of the tenant.
    sets_validation: bool = False
    validation: Validation | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Current:
    """An event type with its current version."""

    id: UUID
    name: str
    description: str
    # None: all are drafts.
    version: Version | None
    # Of all versions: the highest number, and how many are live.
    newest: int
    live: int


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What processes that accept events know of a tenant's catalog."""

    validation: Validation
    # Another one after each change.
    version: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Validated:
    """An event type as events are accepted by it."""

    id: UUID
    # None: that of the tenant.
    validation: Validation | None
    # Without drafts, by number.
    versions: Mapping[int, Status]

    @property
    def current(self) -> int:
        """Return the version of events that state none: the newest live one, or else the newest."""
        live = [number for number, status in self.versions.items() if status is Status.LIVE]
        return max(live or self.versions)


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """Events of a type that did not match, since they were written down last."""

    events: int
    last_at: datetime
    last_errors: Sequence[str]


class CatalogStore:
    """Every method raises STORE_AWAY without Postgres; changes write their audit entry."""

    def __init__(self, pool: postgres.Pool, *, key_hours: int) -> None:
        self._pool = pool
        self._key_hours = key_hours

    # -- for callers --

    async def create(
        self, tenant_id: str, draft: TypeDraft, render: Callable[[EventType], bytes], key: Key | None
    ) -> tuple[EventType | None, bytes]:
        """Store an event type with version 1; None if the key was used before. See idempotency.once.

        Conflict if the tenant has one with this name, or too many.
        """
        type_id = ids.new()

        async def make(connection: postgres.Connection) -> EventType:
            await _begin_change(connection, tenant_id)
            if await connection.fetchval(SQL["count_event_types"], tenant_id) >= MAX_EVENT_TYPES:
                raise _full(FULL.format(MAX_EVENT_TYPES))
            arguments = (type_id, tenant_id, draft.name, draft.description, draft.validation)
            if await connection.fetchval(SQL["insert_event_type"], *arguments) is None:
                message = f"the tenant has an event type {draft.name}; add a version to it instead"
                raise errors.Conflict(message, reason=errors.ErrorReason.EVENT_TYPE_EXISTS)
            version = await _insert_version(connection, type_id, draft.version)
            changes = [
                FieldChange(field="name", after=draft.name),
                *([FieldChange(field="validation", after=draft.validation)] if draft.validation else ()),
                FieldChange(field="status", after=version.status),
            ]
            await _tell(connection, Action.CREATE_EVENT_TYPE, tenant_id, type_id, changes)
            return await _one(connection, tenant_id, type_id)

        return await idempotency.once(self._pool, key, type_id, make, render, hours=self._key_hours)

    async def event_type(self, tenant_id: str, type_id: UUID) -> EventType:
        """Return an event type; NotFound."""
        return await _one(self._pool, tenant_id, type_id)

    async def page(self, tenant_id: str, name: str, after: str, limit: int) -> Sequence[EventType]:
        """Return up to `limit` event types with names after this one, by name; of this name if one is given."""
        rows = await self._pool.fetch(SQL["select_event_types"], tenant_id, after, limit, None, name or None)
        return [_event_type(row) for row in rows]

    async def publisher(self, tenant_id: str) -> str | None:
        """Return what a tenant is called where it publishes its catalog; None if it does not."""
        found: str | None = await self._pool.fetchval(SQL["select_publisher"], tenant_id)
        return found

    async def count(self, tenant_id: str) -> int:
        """Return how many event types there are."""
        found: int = await self._pool.fetchval(SQL["count_event_types"], tenant_id)
        return found

    async def current(
        self, tenant_id: str, after: str, limit: int, names: Sequence[str] | None = None
    ) -> Sequence[Current]:
        """Return up to `limit` event types with names after this one, by name; of these names if they are given."""
        rows = await self._pool.fetch(SQL["select_current"], tenant_id, after, limit, names)
        return [_current(row) for row in rows]

    async def update(self, tenant_id: str, type_id: UUID, change: TypeChange) -> EventType:
        """Change an event type; NotFound."""
        async with self._pool.acquire() as connection, connection.transaction():
            before = await _locked(connection, tenant_id, type_id)
            description = before["description"] if change.description is None else change.description
            validation = change.validation if change.sets_validation else before["validation"]
            changes = []
            if description != before["description"]:
                changes.append(FieldChange(field="description"))
            if validation != before["validation"]:
                changes.append(FieldChange(field="validation", before=before["validation"], after=validation))
            if changes:
                await connection.execute(SQL["update_event_type"], type_id, description, validation)
                await _tell(connection, Action.UPDATE_EVENT_TYPE, tenant_id, type_id, changes)
            return await _one(connection, tenant_id, type_id)

    async def delete(self, tenant_id: str, type_id: UUID) -> None:
        """Delete an event type with its versions; NotFound."""
        async with self._pool.acquire() as connection, connection.transaction():
            before = await _locked(connection, tenant_id, type_id)
            await connection.execute(SQL["delete_event_type"], type_id)
            changes = [FieldChange(field="name", before=before["name"])]
            await _tell(connection, Action.DELETE_EVENT_TYPE, tenant_id, type_id, changes)

    async def add_version(
        self, tenant_id: str, type_id: UUID, draft: VersionDraft, render: Callable[[Version], bytes], key: Key | None
    ) -> tuple[Version | None, bytes]:
        """Add the next version; None if the key was used before. NotFound; Conflict if there are too many."""

        async def make(connection: postgres.Connection) -> Version:
            await _locked(connection, tenant_id, type_id)
            version = await _insert_version(connection, type_id, draft)
            if version.number > MAX_VERSIONS:
                raise _full(FULL_OF_VERSIONS.format(MAX_VERSIONS))
            changes = [FieldChange(field=name, after=getattr(version, name)) for name in ("number", "status")]
            await _tell(connection, Action.CREATE_EVENT_TYPE_VERSION, tenant_id, type_id, changes)
            return version

        return await idempotency.once(self._pool, key, ids.new(), make, render, hours=self._key_hours)

    async def versions(self, tenant_id: str, type_id: UUID) -> Sequence[Version]:
        """Return all versions, the newest first; NotFound if there is no such event type."""
        return await _versions(self._pool, tenant_id, type_id)

    async def version(self, tenant_id: str, type_id: UUID, number: int) -> Version:
        """Return a version; NotFound."""
        return await _version(self._pool, tenant_id, type_id, number)

    async def update_version(
        self, tenant_id: str, type_id: UUID, number: int, draft_of: Callable[[Version], VersionDraft]
    ) -> Version:
        """Change a version to what `draft_of` makes of the stored one.

        NotFound; Conflict if that is another schema and the version is no draft.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await _locked(connection, tenant_id, type_id)
            before = await _version(connection, tenant_id, type_id, number)
            draft = draft_of(before)
            if draft.schema != before.schema and before.status is not Status.DRAFT:
                message = "the schema of a version that is not a draft never changes; add a version instead"
                raise errors.Conflict(message, reason=errors.ErrorReason.VERSION_PUBLISHED)
            if draft.status is Status.DRAFT and before.status is not Status.DRAFT:
                message = "a version that was published cannot become a draft again; add a version instead"
                raise errors.Conflict(message, reason=errors.ErrorReason.VERSION_PUBLISHED)
            changes = [
                FieldChange(field=name, before=getattr(before, name), after=getattr(draft, name))
                if name in _SHOWN
                else FieldChange(field=name)
                for name in VersionDraft.__dataclass_fields__
                if getattr(before, name) != getattr(draft, name)
            ]
            if not changes:
                return before
            row = await connection.fetchrow(SQL["update_version"], type_id, number, *_columns(draft))
            number_too = [FieldChange(field="number", before=number, after=number), *changes]
            await _tell(connection, Action.UPDATE_EVENT_TYPE_VERSION, tenant_id, type_id, number_too)
            return _stored_version(row)

    # -- for those who accept events --

    async def catalogs(self) -> Mapping[str, State]:
        """Return the tenants that have a catalog."""
        return {
            row["id"]: State(validation=Validation(row["validation"]), version=row["catalog_version"])
            for row in await self._pool.fetch(SQL["select_catalogs"])
        }

    async def types(self, tenant_id: str) -> Mapping[str, Validated]:
        """Return the event types of a tenant that have versions other than drafts, by name."""
        return {
            row["name"]: Validated(
                id=row["id"],
                validation=Validation(row["validation"]) if row["validation"] else None,
                versions=dict(zip(row["numbers"], map(Status, row["statuses"]), strict=True)),
            )
            for row in await self._pool.fetch(SQL["select_types"], tenant_id)
        }

    async def schema(self, type_id: UUID, number: int) -> bytes | None:
        """Return the schema of a version, if it is still there."""
        text = await self._pool.fetchval(SQL["select_schema"], type_id, number)
        return None if text is None else text.encode()

    async def add_findings(self, found: Mapping[UUID, Findings]) -> None:
        """Write down how many events did not match."""
        await self._pool.execute(
            SQL["add_invalid_events"],
            list(found),
            [one.events for one in found.values()],
            [one.last_at for one in found.values()],
            [msgspec.json.encode(one.last_errors).decode() for one in found.values()],
            CLOCKS_SECONDS,
        )


async def _begin_change(connection: postgres.Connection, tenant_id: str) -> None:
    if await connection.fetchval(SQL["lock_tenant"], tenant_id) is None:
        raise no_tenant()


async def _locked(connection: postgres.Connection, tenant_id: str, type_id: UUID) -> Any:
    row = await connection.fetchrow(SQL["lock_event_type"], tenant_id, type_id)
    if row is None:
        raise _no_type(type_id)
    return row


async def _insert_version(connection: postgres.Connection, type_id: UUID, draft: VersionDraft) -> Version:
    return _stored_version(await connection.fetchrow(SQL["insert_version"], type_id, *_columns(draft)))


def _columns(draft: VersionDraft) -> tuple[Any, ...]:
    return draft.status, draft.schema, draft.example, draft.description, draft.sunset_at, draft.down_conversion


async def _one(connection: postgres.Pool | postgres.Connection, tenant_id: str, type_id: UUID) -> EventType:
    row = await connection.fetchrow(SQL["select_event_types"], tenant_id, "", 1, type_id, None)
    if row is None:
        raise _no_type(type_id)
    return _event_type(row)


async def _versions(
    connection: postgres.Pool | postgres.Connection, tenant_id: str, type_id: UUID, number: int | None = None
) -> Sequence[Version]:
    rows = await connection.fetch(SQL["select_versions"], tenant_id, type_id, number)
    if not rows and number is None:  # each event type has a version
        raise _no_type(type_id)
    return [_stored_version(row) for row in rows]


async def _version(
    connection: postgres.Pool | postgres.Connection, tenant_id: str, type_id: UUID, number: int
) -> Version:
    for found in await _versions(connection, tenant_id, type_id, number):
        return found
    raise errors.NotFound(f"version {number} of event type {type_id} not found")


async def _tell(
    connection: postgres.Connection, action: Action, tenant_id: str, type_id: UUID, changes: Sequence[FieldChange]
) -> None:
    await connection.execute(SQL["note_change"], tenant_id)
    entry = audit.Entry(action=action, tenant_id=tenant_id, resource_id=str(type_id), changes=changes)
    await audit.record(connection, entry)


def _event_type(row: Any) -> EventType:
    latest = sql.record(
        Version,
        row,
        event_type_id=row["id"],
        status=Status(row["status"]),
        description=row["version_description"],
        sunset_at=_in_utc(row["sunset_at"]),
        created_at=row["version_created_at"],
        updated_at=row["version_updated_at"],
    )
    return sql.record(
        EventType,
        row,
        validation=Validation(row["validation"]) if row["validation"] else None,
        effective_validation=Validation(row["effective_validation"]),
        latest=latest,
    )


def _current(row: Any) -> Current:
    version = None if row["number"] is None else _stored_version(row)
    return sql.record(Current, row, description=row["type_description"], version=version)


def _stored_version(row: Any) -> Version:
    return sql.record(Version, row, status=Status(row["status"]), sunset_at=_in_utc(row["sunset_at"]))


def _in_utc(moment: datetime | None) -> datetime | None:
    """Return a time that was read: asyncpg stores the first and the last as infinity, and reads that without a zone."""
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def _no_type(type_id: UUID) -> errors.NotFound:
    return errors.NotFound(f"event type {type_id} not found")


def _full(message: str) -> errors.Conflict:
    return errors.Conflict(message, reason=errors.ErrorReason.CATALOG_FULL)
