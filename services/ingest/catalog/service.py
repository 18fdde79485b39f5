"""CatalogService: event types and their versions, as callers see and change them."""

from collections.abc import Sequence
from typing import Any

from protos.webhook.v1 import catalog_pb2 as pb
from protos.webhook.v1 import catalog_pb2_grpc
from services.domain import events
from services.domain.catalog.schemas import Schema
from services.domain.catalog.validation import Validation
from services.domain.idempotency import key_of_request
from services.domain.templates.renderer import Renderer
from services.domain.templates.template import MAX_SOURCE_BYTES, Template, TemplateFailed
from services.ingest.catalog import compatibility
from services.ingest.catalog.cache import Catalogs
from services.ingest.catalog.record import EventType, Status, TypeDraft, Version, VersionDraft, check_description
from services.ingest.catalog.store import CatalogStore, TypeChange
from services.ingest.catalog.transfer import CatalogTransfer, Format, Imported
from services.platform import errors, ids, paging
from services.platform.auth import identity
from services.platform.grpc import conversion
from services.platform.grpc.calls import Context

_SPEC_FIELDS = ("schema", "status", "sunset_at", "description", "example", "down_conversion")


class CatalogService(catalog_pb2_grpc.CatalogServiceServicer):
    """Servicer of webhook.v1.CatalogService."""

    def __init__(self, store: CatalogStore, catalogs: Catalogs, renderer: Renderer) -> None:
        self._store = store
        self._catalogs = catalogs
        self._renderer = renderer
        self._comparisons = compatibility.Comparisons()
        self._transfer = CatalogTransfer(store, self._comparisons)

    async def CreateEventType(
        self, request: pb.CreateEventTypeRequest, _context: Context
    ) -> pb.CreateEventTypeResponse:
        """Create an event type with version 1."""
        tenant_id = identity.tenant_of(request.tenant_id)
        draft = TypeDraft(
            name=request.name,
            description=request.description,
            validation=_validation(request.validation),
            version=_draft(request.version),
        )
        key = key_of_request(tenant_id, "event-types", request)
        made, answer = await self._store.create(tenant_id, draft, _rendered, key)
        await self._catalogs.changed()
        return pb.CreateEventTypeResponse(event_type=pb.EventType.FromString(answer), replayed=made is None)

    async def GetEventType(self, request: pb.GetEventTypeRequest, _context: Context) -> pb.GetEventTypeResponse:
        """Return an event type."""
        tenant_id = identity.tenant_of(request.tenant_id)
        found = await self._store.event_type(tenant_id, ids.parse("event_type_id", request.event_type_id))
        return pb.GetEventTypeResponse(event_type=_event_type(found))

    async def ListEventTypes(self, request: pb.ListEventTypesRequest, _context: Context) -> pb.ListEventTypesResponse:
        """Return a page by name."""
        tenant_id = identity.tenant_of(request.tenant_id)
        size = paging.page_size(request.page_size)
        after = paging.after(request.page_token)
        for field, name in (("name", request.name), ("page_token", after)):
            if name:
                events.check_type(field, name)
        found = await self._store.page(tenant_id, request.name, after, size + 1)
        return pb.ListEventTypesResponse(
            event_types=[_event_type(one) for one in found[:size]],
            next_page_token=paging.text_token(found[size - 1].name) if len(found) > size else "",
        )

    async def UpdateEventType(
        self, request: pb.UpdateEventTypeRequest, _context: Context
    ) -> pb.UpdateEventTypeResponse:
        """Change an event type."""
        tenant_id = identity.tenant_of(request.tenant_id)
        given = _given(request.update_mask.paths, ("description", "validation"))
        check_description(request.description)
        change = TypeChange(
            description=request.description if "description" in given else None,
            sets_validation="validation" in given,
            validation=_validation(request.validation),
        )
        updated = await self._store.update(tenant_id, ids.parse("event_type_id", request.event_type_id), change)
        await self._catalogs.changed()
        return pb.UpdateEventTypeResponse(event_type=_event_type(updated))

    async def DeleteEventType(
        self, request: pb.DeleteEventTypeRequest, _context: Context
    ) -> pb.DeleteEventTypeResponse:
        """Delete an event type with its versions."""
        tenant_id = identity.tenant_of(request.tenant_id)
        await self._store.delete(tenant_id, ids.parse("event_type_id", request.event_type_id))
        await self._catalogs.changed()
        return pb.DeleteEventTypeResponse()

    async def CreateEventTypeVersion(
        self, request: pb.CreateEventTypeVersionRequest, _context: Context
    ) -> pb.CreateEventTypeVersionResponse:
        """Add the next version."""
        tenant_id = identity.tenant_of(request.tenant_id)
        type_id = ids.parse("event_type_id", request.event_type_id)
        key = key_of_request(tenant_id, "event-type-versions", request)
        draft = _draft(request.spec)
        await self._check_conversion(draft.down_conversion, tenant_id)
        made, answer = await self._store.add_version(tenant_id, type_id, draft, _rendered_version, key)
        await self._catalogs.changed()
        version = pb.EventTypeVersion.FromString(answer)
        return pb.CreateEventTypeVersionResponse(version=version, replayed=made is None)

    async def GetEventTypeVersion(
        self, request: pb.GetEventTypeVersionRequest, _context: Context
    ) -> pb.GetEventTypeVersionResponse:
        """Return a version."""
        tenant_id = identity.tenant_of(request.tenant_id)
        type_id = ids.parse("event_type_id", request.event_type_id)
        found = await self._store.version(tenant_id, type_id, _number(request.number))
        return pb.GetEventTypeVersionResponse(version=_version(found))

    async def ListEventTypeVersions(
        self, request: pb.ListEventTypeVersionsRequest, _context: Context
    ) -> pb.ListEventTypeVersionsResponse:
        """Return all versions of an event type."""
        tenant_id = identity.tenant_of(request.tenant_id)
        found = await self._store.versions(tenant_id, ids.parse("event_type_id", request.event_type_id))
        return pb.ListEventTypeVersionsResponse(versions=[_version(one) for one in found])

    async def UpdateEventTypeVersion(
        self, request: pb.UpdateEventTypeVersionRequest, _context: Context
    ) -> pb.UpdateEventTypeVersionResponse:
        """Change a version."""
        tenant_id = identity.tenant_of(request.tenant_id)
        type_id = ids.parse("event_type_id", request.event_type_id)
        given = _given(request.update_mask.paths, _SPEC_FIELDS)
        number = _number(request.number)
        if "down_conversion" in given and request.spec.down_conversion:
            if number == 1:
                raise errors.InvalidArgument.field("down_conversion", "requires an earlier version")
            await self._check_conversion(request.spec.down_conversion, tenant_id)

        def draft_of(stored: Version) -> VersionDraft:
            asked = _fields(request.spec)
            status = asked["status"] if "status" in given else stored.status
            # A version that is no longer deprecated has no sunset.
            kept = stored.sunset_at if status is Status.DEPRECATED else None
            values = {name: asked[name] if name in given else getattr(stored, name) for name in _SPEC_FIELDS}
            return VersionDraft(**{**values, "sunset_at": asked["sunset_at"] if "sunset_at" in given else kept})

        updated = await self._store.update_version(tenant_id, type_id, number, draft_of)
        await self._catalogs.changed()
        return pb.UpdateEventTypeVersionResponse(version=_version(updated))

    async def CheckEventTypeVersion(
        self, request: pb.CheckEventTypeVersionRequest, _context: Context
    ) -> pb.CheckEventTypeVersionResponse:
        """Compare a schema with that of a version."""
        tenant_id = identity.tenant_of(request.tenant_id)
        type_id = ids.parse("event_type_id", request.event_type_id)
        number = _number(request.number) if request.number else 0
        schema = request.schema.encode()
        Schema(schema)  # or it is refused
        if not number:
            found = await self._store.event_type(tenant_id, type_id)
            number = found.current_version or found.latest.number
        version = await self._store.version(tenant_id, type_id, number)
        changes = await self._comparisons.breaking(tenant_id, version.schema.encode(), schema)
        return pb.CheckEventTypeVersionResponse(
            number=number,
            compatible=not changes,
            breaking=[pb.SchemaChange(path=one.path, description=one.description) for one in changes],
        )

    async def ExportCatalog(self, request: pb.ExportCatalogRequest, _context: Context) -> pb.ExportCatalogResponse:
        """Return the current versions as a document."""
        tenant_id = identity.tenant_of(request.tenant_id)
        document = await self._transfer.export(tenant_id, _format(request), request.event_types)
        return pb.ExportCatalogResponse(document=document)

    async def GetPublishedCatalog(
        self, request: pb.GetPublishedCatalogRequest, _context: Context
    ) -> pb.GetPublishedCatalogResponse:
        """Return the document of a tenant that publishes its catalog."""
        tenant_id = identity.check_tenant("id", request.id)
        return pb.GetPublishedCatalogResponse(document=await self._transfer.published(tenant_id, _format(request)))

    async def ImportCatalog(self, request: pb.ImportCatalogRequest, _context: Context) -> pb.ImportCatalogResponse:
        """Create event types and versions from a document."""
        tenant_id = identity.tenant_of(request.tenant_id)
        try:
            done = await self._transfer.load(tenant_id, request.document, dry_run=request.dry_run)
        finally:  # what was imported before a failure stays
            if not request.dry_run:
                await self._catalogs.changed()
        return pb.ImportCatalogResponse(event_types=[_imported(one) for one in done])

    async def _check_conversion(self, source: str, tenant_id: str) -> None:
        """Raise InvalidArgument for a source that is no template, or uses secrets. It is compiled in the sandbox."""
        if not source:
            return
        if len(source.encode(errors="replace")) > MAX_SOURCE_BYTES:  # which the draft refuses
            return
        try:
            used = await self._renderer.check(Template(source=source, content_type="application/json"), tenant_id)
        except TemplateFailed as failed:
            raise errors.InvalidArgument.field("down_conversion", str(failed)) from None
        if used:
            raise errors.InvalidArgument.field("down_conversion", "must not use secrets")


def _format(request: pb.ExportCatalogRequest | pb.GetPublishedCatalogRequest) -> Format:
    texts = conversion.texts(pb.CatalogFormat.DESCRIPTOR)
    if request.format not in texts:
        raise errors.InvalidArgument.field("format", f"must be one of {', '.join(texts.values())}")
    return Format(texts[request.format])


def _given(paths: Sequence[str], known: Sequence[str]) -> set[str]:
    given = set(paths)
    if given.difference(known) or not given:
        raise errors.InvalidArgument.field("update_mask", f"must name some of {', '.join(known)}")
    return given


def _number(number: int) -> int:
    if number < 1:
        raise errors.InvalidArgument.field("number", "must be at least 1")
    return number


def _validation(number: int) -> Validation | None:
    texts = conversion.texts(pb.Validation.DESCRIPTOR)
    if number and number not in texts:
        raise errors.InvalidArgument.field("validation", f"must be one of {', '.join(texts.values())}")
    return Validation(texts[number]) if number else None


def _fields(spec: pb.EventTypeVersionSpec) -> dict[str, Any]:
    """Return what a version is to be; InvalidArgument, which names the fields at fault."""
    texts = conversion.texts(pb.EventTypeStatus.DESCRIPTOR)
    if spec.status and spec.status not in texts:
        raise errors.InvalidArgument.field("status", f"must be one of {', '.join(texts.values())}")
    sunset_at = conversion.moment("sunset_at", spec.sunset_at) if spec.HasField("sunset_at") else None
    return {
        "schema": spec.schema,
        "status": Status(texts[spec.status]) if spec.status else Status.LIVE,
        "sunset_at": sunset_at,
        "description": spec.description,
        "example": spec.example,
        "down_conversion": spec.down_conversion,
    }


def _draft(spec: pb.EventTypeVersionSpec) -> VersionDraft:
    return VersionDraft(**_fields(spec))


def _imported(found: Imported) -> pb.ImportedEventType:
    return conversion.message(
        pb.ImportedEventType,
        found,
        breaking=[pb.SchemaChange(path=one.path, description=one.description) for one in found.breaking],
        problems=[pb.ImportProblem(path=one.path, description=one.description) for one in found.problems],
    )


def _version(version: Version) -> pb.EventTypeVersion:
    spec = conversion.message(pb.EventTypeVersionSpec, version)
    return conversion.message(pb.EventTypeVersion, version, spec=spec)


def _rendered_version(version: Version) -> bytes:
    return _version(version).SerializeToString()


def _event_type(found: EventType) -> pb.EventType:
    invalid = pb.InvalidEvents(
        count=found.invalid_events,
        last_at=conversion.stamp(found.last_invalid_at),
        last_errors=found.last_invalid_errors,
    )
    return conversion.message(pb.EventType, found, latest=_version(found.latest), invalid_events=invalid)


def _rendered(found: EventType) -> bytes:
    return _event_type(found).SerializeToString()
