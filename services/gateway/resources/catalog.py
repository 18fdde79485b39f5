"""The event catalog as a document: exported, and imported."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, Field

from protos.webhook.v1 import catalog_pb2 as pb
from services.domain import events
from services.gateway.resources import enums, models
from services.gateway.resources.event_types import EXAMPLE_ID, SchemaChange
from services.gateway.web import backends, openapi
from services.gateway.web.routing import JSON, LargeJsonRoute
from services.platform.grpc import conversion

router = APIRouter(
    prefix="/api/v1/catalog",
    tags=["catalog"],
    route_class=LargeJsonRoute,
    strict_content_type=False,  # a body without a Content-Type is JSON
)

# A thousand event types are written one by one.
IMPORT_TIMEOUT_SECONDS = 120.0
_COMPONENTS: dict[str, Any] = {"schemas": {}}
_WEBHOOKS: dict[str, Any] = {
    "invoice.paid": {
        "post": {
            "summary": "invoice.paid",
            "description": "A customer has paid an invoice.",
            "requestBody": {
                "required": True,
                "content": {JSON: {"schema": {"type": "object", "required": ["id"]}, "example": {"id": "in_42"}}},
            },
            "responses": {"2XX": {"description": "The event is received."}},
        }
    }
}
_EXAMPLE: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Events", "version": "1.0.0"},
    "webhooks": _WEBHOOKS,
    "components": _COMPONENTS,
}


class CatalogQuery(models.Request):
    """What to export, and how."""

    format: enums.CatalogFormat = Field(
        "openapi", description="`openapi`: OpenAPI 3.1, with `webhooks`. `asyncapi`: AsyncAPI 3.0, with messages."
    )
    event_type: list[str] = Field(
        default_factory=list,
        max_length=events.MAX_TYPES,
        description="Only these event types; `invoice.*` means every type that begins with `invoice.`. Default: all.",
        examples=[["invoice.*"]],
    )


class CatalogDocument(models.Answer):
    """The catalog as an OpenAPI or AsyncAPI document. What the format does not have is absent."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    openapi: str = Field("", description="The version of OpenAPI.", examples=["3.1.0"])
    asyncapi: str = Field("", description="The version of AsyncAPI.", examples=["3.0.0"])
    info: dict[str, Any] = Field(description="A title and a version.", examples=[_EXAMPLE["info"]])
    webhooks: dict[str, Any] = Field(
        default_factory=dict, description="OpenAPI: event types by their names.", examples=[_WEBHOOKS]
    )
    channels: dict[str, Any] = Field(
        default_factory=dict, description="AsyncAPI: the channel of all event types.", examples=[{}]
    )
    operations: dict[str, Any] = Field(
        default_factory=dict, description="AsyncAPI: that the service sends them.", examples=[{}]
    )
    components: dict[str, Any] = Field(description="Schemas, and in AsyncAPI messages.", examples=[_COMPONENTS])


class CatalogImportBody(models.Request):
    """A document to import."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"document": _EXAMPLE, "dry_run": True}]})

    document: dict[str, Any] = Field(
        description=(
            "An OpenAPI 3.1 document, whose `webhooks` are event types, or an AsyncAPI 3.0 document, whose messages "
            "are; at most 2 MiB and 1,000 event types. References to other documents are refused."
        ),
        examples=[_EXAMPLE],
    )
    dry_run: bool = Field(default=False, description="Whether to change nothing, and say what would be changed.")


class ImportProblem(models.Answer):
    """Why an event type was refused."""

    path: str = Field(description="Where in the document, as a JSON Pointer.", examples=["/webhooks/invoice.paid"])
    description: str = Field(examples=["must have a requestBody, which is the payload"])


class ImportedEventType(models.Answer):
    """What became of an event type of the document, or with `dry_run` would."""

    name: str = Field(examples=["invoice.paid"])
    outcome: enums.ImportOutcome = Field(
        description=(
            "`created`: it is new. `new_version`: its schema is another one than that of the current version. "
            "`updated`: its schema is the same; its descriptions, example, or status are not. `unchanged`: all is the "
            "same. `refused`: see `problems`."
        ),
        examples=["created"],
    )
    event_type_id: models.Uuid | None = Field(description="null: it does not exist.", examples=[EXAMPLE_ID])
    version: int | None = Field(description="The version with this schema; null if it was refused.", examples=[1])
    breaking: list[SchemaChange] = Field(
        description="Of a new version: what would surprise consumers of the current one; at most ten.", examples=[[]]
    )
    problems: list[ImportProblem] = Field(description="Why it was refused; at most five.", examples=[[]])


class CatalogImport(models.Answer):
    """What became of each event type of the document, in its order."""

    dry_run: bool = Field(description="Whether nothing was changed.", examples=[True])
    event_types: list[ImportedEventType]


@router.get(
    "",
    operation_id="export_catalog",
    summary="Export the catalog",
    response_description="The document.",
    response_model=CatalogDocument,
    responses=openapi.problems(),
)
async def export_catalog(query: Annotated[CatalogQuery, Query()], services: backends.Injected) -> Response:
    """Describe the current versions of event types in a format that code generators and documentation pages read.

    Event types that have only drafts are left out. 422 if the document would have more than 2 MiB: then select fewer
    with `event_type`.
    """
    number = conversion.numbers(pb.CatalogFormat.DESCRIPTOR)[query.format]
    request = pb.ExportCatalogRequest(format=number, event_types=query.event_type)
    answer = await services.call(services.catalog.ExportCatalog, request)
    return Response(answer.document, media_type=JSON)


@router.post(
    "/import",
    operation_id="import_catalog",
    summary="Import a document to the catalog",
    response_description="What became of each event type.",
    responses=openapi.problems(*openapi.WITH_BODY),
)
async def import_catalog(body: CatalogImportBody, services: backends.Injected) -> CatalogImport:
    """Create event types and versions from an OpenAPI or AsyncAPI document, as requests one by one would.

    After that, the current version of each event type is as in the document; importing it again changes nothing. Event
    types that are refused do not keep others from being imported, and event types that are not in the document stay.
    """
    request = pb.ImportCatalogRequest(document=msgspec.json.encode(body.document).decode(), dry_run=body.dry_run)
    answer = await services.call(services.catalog.ImportCatalog, request, timeout_seconds=IMPORT_TIMEOUT_SECONDS)
    return CatalogImport(dry_run=body.dry_run, event_types=[_imported(one) for one in answer.event_types])


def _imported(message: pb.ImportedEventType) -> ImportedEventType:
    found = models.values(message)
    return ImportedEventType(
        **{**found, "event_type_id": message.event_type_id or None, "version": message.version or None}
    )
