"""The event catalog: types of events, and versions of their schemas."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Response
from google.protobuf.field_mask_pb2 import FieldMask
from pydantic import AfterValidator, ConfigDict, Field

from protos.webhook.v1 import catalog_pb2 as pb
from services.domain import events, limits
from services.domain.templates import template
from services.gateway.resources import enums, models
from services.gateway.web import backends, openapi
from services.gateway.web.routing import JsonRoute
from services.platform import paging
from services.platform.grpc import conversion

router = APIRouter(
    prefix="/api/v1/event-types",
    tags=["catalog"],
    route_class=JsonRoute,
    strict_content_type=False,  # a body without a Content-Type is JSON
)

EXAMPLE_ID = "019ced6e-44d0-7b1f-9c62-0f3a8e5d7b24"
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "amount": {"type": "integer", "minimum": 0}},
    "required": ["id", "amount"],
}
_NEXT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {**_SCHEMA["properties"], "currency": {"enum": ["EUR", "USD"]}},
    "required": ["id", "amount", "currency"],
}
_EXAMPLE: dict[str, Any] = {
    "name": "invoice.paid",
    "description": "A customer has paid an invoice.",
    "validation": "enforce",
    "schema": _SCHEMA,
    "example": {"id": "in_42", "amount": 1200},
}
_SCHEMA_SAID = (
    "[JSON Schema 2020-12](https://json-schema.org/draft/2020-12), at most 64 KiB. References lead only to places "
    "within it; `unevaluatedProperties`, `unevaluatedItems`, and `$dynamicRef` are not supported, and `format` is not "
    "checked."
)
_STATUS_SAID = (
    "`draft`: not published yet; it validates nothing, and its schema may change. `live`: in use. `deprecated`: in "
    "use, but consumers should move on."
)
_VALIDATION_SAID = (
    "Whether payloads are validated when events are accepted. `off`: they are not. `warn`: events that do not match "
    "are accepted and counted. `enforce`: they are refused with 422 and reason `PAYLOAD_INVALID`."
)
_EXISTS = (
    f"{openapi.KEY_IN_USE} Or the tenant has an event type with this name (`EVENT_TYPE_EXISTS`), or 1,000 event types "
    "(`CATALOG_FULL`)."
)
_VERSIONS_FULL = f"{openapi.KEY_IN_USE} Or the event type has 50 versions (`CATALOG_FULL`)."
_PUBLISHED = "The schema would change, and the version is not a draft (`VERSION_PUBLISHED`): add a version instead."
_CONVERSION_SAID = (
    "A template in MiniJinja that converts a payload of this version (`event.data`) to the previous version, for "
    "subscriptions that `event_versions` pins to an earlier one; at most 16,384 bytes. It may change at any time."
)


def _check_name(text: str) -> str:
    if not events.is_valid_type(text):
        raise ValueError(events.TYPE_EXPECTED)
    return text


_Conversion = Annotated[str, Field(min_length=1, max_length=template.MAX_SOURCE_BYTES)]
_Description = Annotated[str, Field(max_length=limits.MAX_DESCRIPTION_LENGTH)]
_TypeName = Annotated[
    str, AfterValidator(_check_name), Field(json_schema_extra={"pattern": f"^{events.TYPE_PATTERN}$"})
]
EventTypeId = Annotated[models.Uuid, Path(description="Id of the event type.", examples=[EXAMPLE_ID])]
Number = Annotated[int, Path(ge=1, le=1_000_000, description="Number of the version.", examples=[1])]


class EventTypeVersionBody(models.Request):
    """A version of an event type."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"schema": _NEXT_SCHEMA, "description": "With the currency."}]}
    )

    schema_: dict[str, Any] = Field(alias="schema", description=_SCHEMA_SAID, examples=[_SCHEMA])
    status: enums.EventTypeStatus = Field("live", description=_STATUS_SAID)
    sunset_at: models.Moment | None = Field(
        None, description="When a `deprecated` version ends, for people. Default: not known.", examples=[None]
    )
    description: _Description = Field("", description="What is new in it, for people.")
    example: Any = Field(
        None, description="A payload that matches the schema, at most 16 KiB.", examples=[_EXAMPLE["example"]]
    )
    down_conversion: _Conversion | None = Field(None, description=f"{_CONVERSION_SAID} Null: none.", examples=[None])

    def spec(self) -> pb.EventTypeVersionSpec:
        """Return the same as a message."""
        return _spec(self)


class EventTypeBody(EventTypeVersionBody):
    """An event type to create, with its version 1."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: _TypeName = Field(
        description="As in `event_type` of events. Unique in the tenant; it cannot be changed.",
        examples=[_EXAMPLE["name"]],
    )
    description: _Description = Field("", description="What the events are about, for people.")
    validation: enums.Validation | None = Field(None, description=f"{_VALIDATION_SAID} Null: as the tenant has it.")


class EventTypePatch(models.Request):
    """Changes to an event type. Fields that are missing stay as they are."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"validation": "warn"}]})

    description: _Description = Field("", description="What the events are about, for people.")
    validation: enums.Validation | None = Field(None, description=f"{_VALIDATION_SAID} Null: as the tenant has it.")


class EventTypeVersionPatch(models.Request):
    """Changes to a version. Fields that are missing stay as they are."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"status": "deprecated", "sunset_at": "2027-01-01T00:00:00Z"}]}
    )

    schema_: dict[str, Any] | None = Field(
        None, alias="schema", description="Only that of a `draft` can change.", examples=[_SCHEMA]
    )
    status: enums.EventTypeStatus = Field("live", description=_STATUS_SAID)
    sunset_at: models.Moment | None = Field(
        None, description="When a `deprecated` version ends. Null: not known.", examples=[None]
    )
    description: _Description = Field("", description="What is new in it, for people.")
    example: Any = Field(None, description="A payload that matches the schema. Null: none.", examples=[None])
    down_conversion: _Conversion | None = Field(None, description=f"{_CONVERSION_SAID} Null: none.", examples=[None])


class EventTypeCheckBody(models.Request):
    """A schema to compare with that of a version."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"schema": _NEXT_SCHEMA}]})

    schema_: dict[str, Any] = Field(alias="schema", description=_SCHEMA_SAID, examples=[_SCHEMA])
    version: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = Field(
        None,
        description="The version to compare it with. Default: the current one, or the newest if all are drafts.",
        examples=[1],
    )


class EventTypeVersion(models.Answer):
    """A version of an event type."""

    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)

    event_type_id: models.Uuid = Field(examples=[EXAMPLE_ID])
    number: int = Field(description="1 for the first one.", examples=[1])
    status: enums.EventTypeStatus = Field(description=_STATUS_SAID, examples=["live"])
    schema_: dict[str, Any] = Field(alias="schema", examples=[_SCHEMA])
    sunset_at: models.Timestamp | None = Field(description="When it ends; null if not known.", examples=[None])
    description: str = Field(examples=[""])
    example: Any = Field(description="A payload; null: none.", examples=[_EXAMPLE["example"]])
    down_conversion: str | None = Field(description=f"{_CONVERSION_SAID} null: none.", examples=[None])
    created_at: models.Timestamp
    updated_at: models.Timestamp


class InvalidEvents(models.Answer):
    """Events that did not match the schema, while validation was on."""

    count: int = Field(description="How many came, accurate to some seconds.", examples=[0])
    last_at: models.Timestamp | None = Field(description="When the last one came; null: none did.", examples=[None])
    last_errors: list[str] = Field(description="What was wrong with it.", examples=[[]])


class EventType(models.Answer):
    """An event type of the catalog."""

    id: models.Uuid = Field(examples=[EXAMPLE_ID])
    name: str = Field(examples=[_EXAMPLE["name"]])
    description: str = Field(examples=[_EXAMPLE["description"]])
    validation: enums.Validation | None = Field(
        description=f"{_VALIDATION_SAID} Null: as the tenant has it.", examples=["enforce"]
    )
    effective_validation: enums.Validation = Field(description="What applies.", examples=["enforce"])
    current_version: int | None = Field(
        description=(
            "The version that events are validated against: the newest `live` one, or else the newest `deprecated` "
            "one; null if all are drafts."
        ),
        examples=[1],
    )
    latest_version: EventTypeVersion = Field(description="The newest version, whatever its status.")
    invalid_events: InvalidEvents
    created_at: models.Timestamp
    updated_at: models.Timestamp


class EventTypePage(models.Answer):
    """A page of event types, in the order of their names."""

    items: list[EventType]
    next_cursor: models.NextCursor


class EventTypeVersionList(models.Answer):
    """All versions of an event type, the newest first."""

    items: list[EventTypeVersion]


class SchemaChange(models.Answer):
    """A difference of two schemas."""

    path: str = Field(
        description="Where in the schema, as a JSON Pointer; empty for the whole.", examples=["/properties/amount/type"]
    )
    description: str = Field(examples=["may be string now"])


class SchemaComparison(models.Answer):
    """How a schema differs from a version."""

    version: int = Field(description="The version that it was compared with.", examples=[1])
    compatible: bool = Field(description="Whether no change is breaking.", examples=[True])
    breaking: list[SchemaChange] = Field(
        description="Changes after which payloads may surprise consumers of the version, at most 100.", examples=[[]]
    )


class EventTypesQuery(models.PageQuery):
    """Which event types to list."""

    limit: Annotated[int, models.Within(models.PAGE_SIZE)] = Field(
        paging.DEFAULT_PAGE_SIZE, description="Objects per page."
    )
    name: _TypeName | None = Field(None, description="Only the event type with this name.", examples=[_EXAMPLE["name"]])


@router.post(
    "",
    status_code=201,
    operation_id="create_event_type",
    summary="Create an event type",
    response_description="The event type as stored.",
    responses={
        **openapi.problems(*openapi.WITH_BODY, described={409: _EXISTS, 422: openapi.KEY_REUSED}),
        201: {
            "headers": {
                "Location": {"description": "Path of the event type.", "schema": {"type": "string"}},
                **openapi.REPLAYED_HEADER,
            }
        },
    },
)
async def create_event_type(
    body: EventTypeBody,
    services: backends.Injected,
    response: Response,
    idempotency_key: models.IdempotencyKey = None,
) -> EventType:
    """Add an event type to the catalog, with version 1 of its schema."""
    spec = body.spec()
    spec.description = ""  # that is the event type's
    request = pb.CreateEventTypeRequest(
        name=body.name,
        description=body.description,
        validation=_validation(body.validation),
        version=spec,
        idempotency_key=idempotency_key or "",
    )
    answer = await services.call(services.catalog.CreateEventType, request)
    if answer.replayed:
        response.headers[openapi.REPLAYED] = "true"
    response.headers["location"] = f"{router.prefix}/{answer.event_type.id}"
    return _event_type(answer.event_type)


@router.get(
    "",
    operation_id="list_event_types",
    summary="List event types",
    response_description="A page of event types.",
    responses=openapi.problems(),
)
async def list_event_types(query: Annotated[EventTypesQuery, Query()], services: backends.Injected) -> EventTypePage:
    """List the event types of the catalog by name, or look one up by its name."""
    request = pb.ListEventTypesRequest(name=query.name or "", page_size=query.limit, page_token=query.cursor)
    answer = await services.call(services.catalog.ListEventTypes, request)
    return EventTypePage(
        items=[_event_type(one) for one in answer.event_types], next_cursor=answer.next_page_token or None
    )


@router.get(
    "/{event_type_id}",
    operation_id="get_event_type",
    summary="Get an event type",
    response_description="The event type.",
    responses=openapi.problems(404),
)
async def get_event_type(event_type_id: EventTypeId, services: backends.Injected) -> EventType:
    """Return an event type with its newest version."""
    request = pb.GetEventTypeRequest(event_type_id=event_type_id)
    return _event_type((await services.call(services.catalog.GetEventType, request)).event_type)


@router.patch(
    "/{event_type_id}",
    operation_id="update_event_type",
    summary="Change an event type",
    response_description="The event type as stored.",
    responses=openapi.problems(*openapi.WITH_BODY, 404),
)
async def update_event_type(event_type_id: EventTypeId, body: EventTypePatch, services: backends.Injected) -> EventType:
    """Change the description or the validation of an event type."""
    if not body.model_fields_set:
        return await get_event_type(event_type_id, services)
    request = pb.UpdateEventTypeRequest(
        event_type_id=event_type_id,
        description=body.description,
        validation=_validation(body.validation),
        update_mask=FieldMask(paths=sorted(body.model_fields_set)),
    )
    return _event_type((await services.call(services.catalog.UpdateEventType, request)).event_type)


@router.delete(
    "/{event_type_id}",
    status_code=204,
    operation_id="delete_event_type",
    summary="Delete an event type",
    response_description="The event type is deleted.",
    responses=openapi.problems(404),
)
async def delete_event_type(event_type_id: EventTypeId, services: backends.Injected) -> None:
    """Delete an event type with its versions. Its events stay, and new ones are not validated."""
    await services.call(services.catalog.DeleteEventType, pb.DeleteEventTypeRequest(event_type_id=event_type_id))


@router.post(
    "/{event_type_id}/versions",
    status_code=201,
    operation_id="create_event_type_version",
    summary="Add a version",
    response_description="The version as stored.",
    responses={
        **openapi.problems(*openapi.WITH_BODY, 404, described={409: _VERSIONS_FULL, 422: openapi.KEY_REUSED}),
        201: {
            "headers": {
                "Location": {"description": "Path of the version.", "schema": {"type": "string"}},
                **openapi.REPLAYED_HEADER,
            }
        },
    },
)
async def create_event_type_version(
    event_type_id: EventTypeId,
    body: EventTypeVersionBody,
    services: backends.Injected,
    response: Response,
    idempotency_key: models.IdempotencyKey = None,
) -> EventTypeVersion:
    """Add the next version to an event type. If it is `live`, events are validated against it from now on."""
    request = pb.CreateEventTypeVersionRequest(
        event_type_id=event_type_id, spec=body.spec(), idempotency_key=idempotency_key or ""
    )
    answer = await services.call(services.catalog.CreateEventTypeVersion, request)
    if answer.replayed:
        response.headers[openapi.REPLAYED] = "true"
    response.headers["location"] = f"{router.prefix}/{event_type_id}/versions/{answer.version.number}"
    return _version(answer.version)


@router.get(
    "/{event_type_id}/versions",
    operation_id="list_event_type_versions",
    summary="List the versions of an event type",
    response_description="All versions, the newest first.",
    responses=openapi.problems(404),
)
async def list_event_type_versions(event_type_id: EventTypeId, services: backends.Injected) -> EventTypeVersionList:
    """Return all versions of an event type, of which there are at most 50."""
    request = pb.ListEventTypeVersionsRequest(event_type_id=event_type_id)
    answer = await services.call(services.catalog.ListEventTypeVersions, request)
    return EventTypeVersionList(items=[_version(one) for one in answer.versions])


@router.post(
    "/{event_type_id}/versions/check",
    operation_id="check_event_type_version",
    summary="Compare a schema with a version",
    response_description="The breaking changes.",
    responses=openapi.problems(*openapi.WITH_BODY, 404),
)
async def check_event_type_version(
    event_type_id: EventTypeId, body: EventTypeCheckBody, services: backends.Injected
) -> SchemaComparison:
    """List what would be breaking in a new version: what lets through payloads that the version promises not to have.

    A member that is no longer required, a new value of an enum, and a wider range are breaking; a new member is not.
    Nothing is stored.
    """
    request = pb.CheckEventTypeVersionRequest(
        event_type_id=event_type_id, schema=_json(body.schema_), number=body.version or 0
    )
    answer = await services.call(services.catalog.CheckEventTypeVersion, request)
    return SchemaComparison(
        version=answer.number,
        compatible=answer.compatible,
        breaking=[SchemaChange(**models.values(one)) for one in answer.breaking],
    )


@router.get(
    "/{event_type_id}/versions/{number:int}",  # never "check"
    operation_id="get_event_type_version",
    summary="Get a version",
    response_description="The version.",
    responses=openapi.problems(404),
)
async def get_event_type_version(
    event_type_id: EventTypeId, number: Number, services: backends.Injected
) -> EventTypeVersion:
    """Return a version of an event type."""
    request = pb.GetEventTypeVersionRequest(event_type_id=event_type_id, number=number)
    return _version((await services.call(services.catalog.GetEventTypeVersion, request)).version)


@router.patch(
    "/{event_type_id}/versions/{number:int}",  # never "check"
    operation_id="update_event_type_version",
    summary="Change a version",
    response_description="The version as stored.",
    responses=openapi.problems(*openapi.WITH_BODY, 404, described={409: _PUBLISHED}),
)
async def update_event_type_version(
    event_type_id: EventTypeId, number: Number, body: EventTypeVersionPatch, services: backends.Injected
) -> EventTypeVersion:
    """Publish a draft, deprecate a version, or change what is said about it. A published schema never changes."""
    given = {"schema" if name == "schema_" else name for name in body.model_fields_set}
    if not given:
        return await get_event_type_version(event_type_id, number, services)
    request = pb.UpdateEventTypeVersionRequest(
        event_type_id=event_type_id, number=number, spec=_spec(body), update_mask=FieldMask(paths=sorted(given))
    )
    return _version((await services.call(services.catalog.UpdateEventTypeVersion, request)).version)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _spec(body: EventTypeVersionBody | EventTypeVersionPatch) -> pb.EventTypeVersionSpec:
    return pb.EventTypeVersionSpec(
        schema="" if body.schema_ is None else _json(body.schema_),
        status=conversion.numbers(pb.EventTypeStatus.DESCRIPTOR)[body.status],
        sunset_at=conversion.stamp(body.sunset_at),
        description=body.description,
        example="" if body.example is None else _json(body.example),
        down_conversion=body.down_conversion or "",
    )


def _validation(text: str | None) -> Any:
    return pb.VALIDATION_UNSPECIFIED if text is None else conversion.numbers(pb.Validation.DESCRIPTOR)[text]


def _version(message: pb.EventTypeVersion) -> EventTypeVersion:
    spec = message.spec
    return EventTypeVersion(
        event_type_id=message.event_type_id,
        number=message.number,
        schema_=msgspec.json.decode(spec.schema),
        status=conversion.texts(pb.EventTypeStatus.DESCRIPTOR)[spec.status],
        sunset_at=models.timestamp(spec.sunset_at) if spec.HasField("sunset_at") else None,
        description=spec.description,
        example=msgspec.json.decode(spec.example) if spec.example else None,
        down_conversion=spec.down_conversion or None,
        created_at=models.timestamp(message.created_at),
        updated_at=models.timestamp(message.updated_at),
    )


def _event_type(message: pb.EventType) -> EventType:
    found = models.values(message)
    del found["latest"], found["tenant_id"]
    return EventType(
        **{
            **found,
            "current_version": message.current_version or None,
            "latest_version": _version(message.latest),
        }
    )
