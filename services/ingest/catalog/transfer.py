"""Catalogs as documents: what is exported, and what becomes of each event type that is imported.

An import makes the current version of each event type what the document says, by the same rules as requests one by one.
A second import of the same document changes nothing. One import runs at a time in a process, where tenants take turns,
and rests as long as it works, so that accepting events goes on meanwhile.
"""

import asyncio
import enum
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from services.domain.catalog.schemas import decoded
from services.domain.events import MAX_TYPE_LENGTH, TypeFilter, type_violations
from services.ingest.catalog import compatibility
from services.ingest.catalog.documents import asyncapi, entries, openapi
from services.ingest.catalog.documents.entries import Entry, Found, Parts
from services.ingest.catalog.documents.references import RefusedError, canonical, portable
from services.ingest.catalog.record import (
    FULL,
    FULL_OF_VERSIONS,
    MAX_EVENT_TYPES,
    MAX_VERSIONS,
    Status,
    TypeDraft,
    VersionDraft,
)
from services.ingest.catalog.store import CatalogStore, Current, TypeChange
from services.platform import errors
from services.platform.process.shares import OWNER, Shares

# Of a document. A call to ingest may have twice as much.
MAX_BYTES = 2 << 20
# Event types of a statement, which have 80 KiB each at most.
PAGE = 20
# Breaking changes that are listed for each event type.
MAX_BREAKING = 10
MAX_PROBLEMS = 5
MAX_PATH_LENGTH = 300


class Format(enum.StrEnum):
    """What a document is written in."""

    OPENAPI = "openapi"
    ASYNCAPI = "asyncapi"


class Outcome(enum.StrEnum):
    """What became of an event type that is imported, or would have become of it."""

    CREATED = "created"
    NEW_VERSION = "new_version"
    # The schema is the same, and something else is not.
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Why an event type was refused."""

    # Of the document, a JSON Pointer.
    path: str
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What became of an event type."""

    name: str
    outcome: Outcome
    # None before it exists.
    event_type_id: UUID | None = None
    # 0 if it was refused.
    version: int = 0
    breaking: Sequence[compatibility.Change] = ()
    problems: Sequence[Problem] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """What is done with an event type."""

    outcome: Outcome
    draft: TypeDraft
    stored: Current | None
    # The number that its version will have, or has.
    version: int
    breaking: Sequence[compatibility.Change] = ()


class CatalogTransfer:
    """Exports catalogs, and imports them. Methods raise STORE_AWAY without Postgres."""

    def __init__(self, store: CatalogStore, comparisons: compatibility.Comparisons) -> None:
        self._store = store
        self._comparisons = comparisons
        self._turns = Shares(1)

    async def published(self, tenant_id: str, form: Format) -> str | None:
        """Return the document of a tenant that publishes its catalog, with its name as the title; None of another.

        None, too, if it would be too large: readers without a key could do nothing about it.
        """
        name = await self._store.publisher(tenant_id)
        if name is None:
            return None
        try:
            return await self.export(tenant_id, form, (), title=name)
        except errors.InvalidArgument:
            return None

    async def export(self, tenant_id: str, form: Format, event_types: Sequence[str], *, title: str = "Events") -> str:
        """Return a document with the current versions of event types; InvalidArgument if it would be too large."""
        if found := type_violations("event_types", event_types):
            raise errors.InvalidArgument.of(*found)
        wanted = TypeFilter(event_types)
        writer: entries.Writer = (openapi if form is Format.OPENAPI else asyncapi).Writer(title)
        left, after = MAX_BYTES, ""
        while True:
            page = await self._store.current(tenant_id, after, PAGE)
            for one in page:
                if one.version is None or not wanted.wants(one.name):
                    continue
                left -= len(one.version.schema) + len(one.version.example)
                if left < 0:
                    raise _too_large()
                began_at = time.perf_counter()
                writer.add(_entry(one))
                await _rest(began_at)
            if len(page) < PAGE:
                break
            after = page[-1].name
        document = msgspec.json.encode(writer.document())
        if len(document) > MAX_BYTES:
            raise _too_large()
        return document.decode()

    async def load(self, tenant_id: str, document: str, *, dry_run: bool) -> Sequence[Imported]:
        """Bring a document's event types to the catalog, or with `dry_run` say only what would become of each.

        InvalidArgument for what is no document of these formats, or too large; then nothing is changed.
        """
        source = decoded("document", document.encode(), MAX_BYTES)
        parts = _read(source)
        done: list[Imported] = []
        OWNER.set(tenant_id)  # of this call alone
        async with self._turns.taken():
            room = MAX_EVENT_TYPES - await self._store.count(tenant_id)
            names: set[str] = set()
            while True:
                began_at = time.perf_counter()
                part = next(parts, None)
                await _rest(began_at)
                if part is None:
                    return done
                name, found = part
                if isinstance(found, RefusedError):
                    done.append(_refused(name, [Problem(path=found.place, description=found.description)]))
                elif name in names:
                    description = "has the name of another event type of the document"
                    done.append(_refused(name, [Problem(path=found.place, description=description)]))
                else:
                    names.add(name)
                    done.append(await self._one(tenant_id, found, room, dry_run=dry_run))
                    room -= done[-1].outcome is Outcome.CREATED

    async def _one(self, tenant_id: str, found: Found, room: int, *, dry_run: bool) -> Imported:
        try:
            plan = await self._plan(tenant_id, found, room)
            return _result(plan) if dry_run else await self._apply(tenant_id, plan)
        except RefusedError as refused:
            problems = [Problem(path=refused.place, description=refused.description)]
        except errors.InvalidArgument as invalid:
            problems = _located(found, invalid)
        except (errors.Conflict, errors.NotFound) as changed:  # by somebody else, meanwhile
            problems = [Problem(path=found.place, description=changed.message)]
        return _refused(found.name, problems)

    async def _plan(self, tenant_id: str, found: Found, room: int) -> _Plan:
        """Return what is to be done; InvalidArgument or RefusedError."""
        entry = found.entry
        began_at = time.perf_counter()
        draft = _draft(entry)
        await _rest(began_at)
        stored = next(iter(await self._store.current(tenant_id, "", 1, [entry.name])), None)
        if stored is None:
            if room <= 0:
                raise RefusedError(found.place, FULL.format(MAX_EVENT_TYPES))
            return _Plan(outcome=Outcome.CREATED, draft=draft, stored=None, version=1)
        version = stored.version
        if version is None or _meaning(version.schema) != canonical(portable(entry.schema)):
            if version is not None and entry.deprecated and stored.live:
                why = f"is deprecated, and version {version.number} of the catalog, which differs, is live"
                raise RefusedError(found.place, f"{why}; deprecate that first")
            if stored.newest >= MAX_VERSIONS:
                raise RefusedError(found.place, FULL_OF_VERSIONS.format(MAX_VERSIONS))
            breaking: Sequence[compatibility.Change] = ()
            if version is not None:
                schemas = version.schema.encode(), draft.version.schema.encode()
                breaking = await self._comparisons.breaking(tenant_id, *schemas)
            return _Plan(
                outcome=Outcome.NEW_VERSION,
                draft=draft,
                stored=stored,
                version=stored.newest + 1,
                breaking=breaking,
            )
        if entry.deprecated and stored.live > (version.status is Status.LIVE):
            why = "is deprecated, and earlier versions of the catalog are live"
            raise RefusedError(found.place, f"{why}; deprecate them first")
        same = _described(draft) == (
            stored.description,
            version.description,
            version.status,
            version.sunset_at,
            canonical(_decoded(version.example)),
        )
        outcome = Outcome.UNCHANGED if same else Outcome.UPDATED
        return _Plan(outcome=outcome, draft=draft, stored=stored, version=version.number)

    async def _apply(self, tenant_id: str, plan: _Plan) -> Imported:
        """Do what is planned, as requests one by one would."""
        draft, stored = plan.draft, plan.stored
        if stored is None:
            made, _ = await self._store.create(tenant_id, draft, lambda _: b"", None)
            return Imported(
                name=draft.name, outcome=plan.outcome, event_type_id=None if made is None else made.id, version=1
            )
        if plan.outcome is Outcome.UNCHANGED:
            return _result(plan)
        number = plan.version
        if plan.outcome is Outcome.NEW_VERSION:
            version, _ = await self._store.add_version(tenant_id, stored.id, draft.version, lambda _: b"", None)
            number = plan.version if version is None else version.number
        else:
            await self._store.update_version(
                tenant_id,
                stored.id,
                number,
                lambda before: VersionDraft(
                    schema=before.schema,
                    down_conversion=before.down_conversion,
                    status=draft.version.status,
                    sunset_at=draft.version.sunset_at,
                    description=draft.version.description,
                    example=draft.version.example,
                ),
            )
        await self._store.update(tenant_id, stored.id, TypeChange(description=draft.description))
        return _result(plan, number)


def _result(plan: _Plan, number: int | None = None) -> Imported:
    return Imported(
        name=plan.draft.name,
        outcome=plan.outcome,
        event_type_id=None if plan.stored is None else plan.stored.id,
        version=number or plan.version,
        breaking=[
            compatibility.Change(path=errors.cut(one.path, MAX_PATH_LENGTH), description=one.description)
            for one in plan.breaking[:MAX_BREAKING]
        ],
    )


def _read(source: Any) -> Parts:
    if isinstance(source, dict) and "openapi" in source:
        return openapi.read(source)
    if isinstance(source, dict) and "asyncapi" in source:
        return asyncapi.read(source)
    raise errors.InvalidArgument.field("document", "must be an OpenAPI 3.1 document with webhooks, or AsyncAPI 3.0")


def _entry(stored: Current) -> Entry:
    version = stored.version
    assert version is not None
    return Entry(
        name=stored.name,
        description=stored.description,
        schema=msgspec.json.decode(version.schema),
        example=version.example,
        version_description=version.description,
        deprecated=version.status is Status.DEPRECATED,
        sunset_at=version.sunset_at,
    )


def _draft(entry: Entry) -> TypeDraft:
    version = VersionDraft(
        schema=msgspec.json.encode(entry.schema).decode(),
        status=Status.DEPRECATED if entry.deprecated else Status.LIVE,
        sunset_at=entry.sunset_at,
        description=entry.version_description,
        example=entry.example,
    )
    return TypeDraft(name=entry.name, description=entry.description, validation=None, version=version)


def _described(draft: TypeDraft) -> tuple[Any, ...]:
    version = draft.version
    example = canonical(_decoded(version.example))
    return draft.description, version.description, version.status, version.sunset_at, example


def _decoded(example: str) -> Any:
    return msgspec.json.decode(example) if example else None


def _meaning(schema: str) -> bytes:
    return canonical(portable(msgspec.json.decode(schema)))


def _located(found: Found, refused: errors.InvalidArgument) -> list[Problem]:
    """Return what is wrong with an event type by its places in the document."""
    problems = []
    for one in refused.violations:
        root, _, path = one.field.partition("/")
        if root == "schema":
            place = found.schema.place(f"/{path}" if path else "")
            problems.append(Problem(path=place, description=one.description))
        else:
            problems.append(Problem(path=found.place, description=f"{one.field} {one.description}"))
    return problems


def _refused(name: str, problems: Sequence[Problem]) -> Imported:
    return Imported(
        name=errors.cut(name, MAX_TYPE_LENGTH),
        outcome=Outcome.REFUSED,
        problems=[
            Problem(
                path=errors.cut(one.path, MAX_PATH_LENGTH), description=errors.cut(one.description, MAX_PATH_LENGTH)
            )
            for one in problems[:MAX_PROBLEMS]
        ],
    )


def _too_large() -> errors.InvalidArgument:
    description = f"must select fewer event types: the document would have more than {MAX_BYTES} bytes"
    return errors.InvalidArgument.field("event_types", description)


async def _rest(began_at: float) -> None:
    """Let others go on for as long as this has worked."""
    await asyncio.sleep(time.perf_counter() - began_at)
