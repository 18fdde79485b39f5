"""Tenants, which are isolated from each other. Requires role admin."""

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from google.protobuf.field_mask_pb2 import FieldMask
from pydantic import ConfigDict, Field

from protos.webhook.v1 import access_pb2 as pb
from protos.webhook.v1 import catalog_pb2
from services.domain import limits
from services.domain.tenants.quotas import RANGES, Quota
from services.gateway.resources import enums, models
from services.gateway.web import backends, openapi
from services.gateway.web.routing import JsonRoute
from services.platform import errors
from services.platform.grpc import conversion

router = APIRouter(
    prefix="/api/v1/admin/tenants",
    tags=["admin"],
    route_class=JsonRoute,
    strict_content_type=False,  # a body without a Content-Type is JSON
)

# Of 64 KiB.
_MAX_BASE64 = 88 << 10
_EXAMPLE: dict[str, Any] = {"id": "acme", "name": "Acme Ltd", "description": "The shop's own events"}
_QUOTAS_EXAMPLE: dict[str, Any] = {"subscriptions": 1000, "events_per_second": 50.0}
_EXISTS = f"{openapi.KEY_IN_USE} Or a tenant with this id exists or existed (`TENANT_EXISTS`)."
_IN_USE = (
    "The tenant has subscriptions or unfinished deliveries (`TENANT_IN_USE`), or is the default (`TENANT_IS_DEFAULT`)."
)


_DESCRIPTIONS = {
    Quota.SUBSCRIPTIONS: "Live subscriptions.",
    Quota.EVENTS_PER_SECOND: "Events accepted per second.",
    Quota.WAITING_DELIVERIES: "Deliveries that are not finished.",
    Quota.STORED_BYTES: "Bytes of the payloads of retained events.",
    Quota.SCHEDULED_EVENTS: "Events that are scheduled and not due yet.",
    Quota.SCHEDULED_BYTES: "Bytes of the payloads of scheduled events.",
}


def _quota(quota: Quota, **more: Any) -> Any:
    return Field(None, ge=RANGES[quota].least, le=RANGES[quota].most, description=_DESCRIPTIONS[quota], **more)


class QuotasBody(models.Request):
    """Quotas of a tenant's own. Null: the default of the service."""

    subscriptions: int | None = _quota(Quota.SUBSCRIPTIONS)
    events_per_second: float | None = _quota(Quota.EVENTS_PER_SECOND, allow_inf_nan=False)
    waiting_deliveries: int | None = _quota(Quota.WAITING_DELIVERIES)
    stored_bytes: int | None = _quota(Quota.STORED_BYTES)
    scheduled_events: int | None = _quota(Quota.SCHEDULED_EVENTS)
    scheduled_bytes: int | None = _quota(Quota.SCHEDULED_BYTES)

    def message(self) -> pb.Quotas:
        """Return the same as a message."""
        return pb.Quotas(**self.model_dump())


_WEIGHT = (
    "How many times the share of a tenant of weight 1 it gets while tenants want more than there is. "
    "What it does not use goes to the others."
)
_VALIDATION = "What becomes of events that do not match the schema of their event type, where that does not say."
_PUBLISHES_CATALOG = (
    "Whether anybody may read its event catalog at `/catalogs/{id}`, without a key: the current versions of event "
    "types, and none that are drafts."
)
_Weight = Annotated[models.WholeNumber, models.Within(limits.WEIGHT)]


class TenantBody(models.Request):
    """A tenant to create."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE | {"quotas": _QUOTAS_EXAMPLE}]})

    id: models.TenantName = Field(description="Chosen by you. An id is never used for a second tenant.")
    name: str = Field("", max_length=limits.MAX_NAME_LENGTH, description="For people. Default: the id.")
    description: str = Field("", max_length=limits.MAX_DESCRIPTION_LENGTH, description="Free-form description.")
    weight: _Weight = Field(limits.DEFAULT_WEIGHT, description=_WEIGHT)
    quotas: QuotasBody = Field(default_factory=QuotasBody, description="The tenant's own quotas.")
    validation: enums.Validation = Field("off", description=_VALIDATION)


class PortalLookPatch(models.Request):
    """How the portal of a tenant looks. Null: as the console does."""

    name: Annotated[str, Field(max_length=limits.MAX_NAME_LENGTH)] | None = Field(
        None, description="Its name in the menu and the title."
    )
    accent: str | None = Field(
        None, description="The color of links and buttons, such as `#3d49cf`. It needs a contrast of 4.5 with white."
    )
    accent_dark: str | None = Field(None, description="That in the dark theme: a contrast of 4.5 with `#15191f`.")
    logo_base64: Annotated[str, Field(max_length=_MAX_BASE64)] | None = Field(
        None, description="A PNG or WebP of at most 64 KiB, in base64."
    )

    def message(self) -> pb.PortalLook:
        """Return the same as a message; raise InvalidArgument for what is not base64."""
        try:
            logo = None if self.logo_base64 is None else base64.b64decode(self.logo_base64, validate=True)
        except ValueError:  # also for what is not ASCII
            raise errors.InvalidArgument.field("portal.logo_base64", "must be base64") from None
        return pb.PortalLook(name=self.name, accent=self.accent, accent_dark=self.accent_dark, logo=logo)

    def paths(self) -> list[str]:
        """Return the fields that are given, as a mask names them."""
        return [f"portal.{name.removesuffix('_base64')}" for name in sorted(self.model_fields_set)]


class TenantPatch(models.Request):
    """Changes to a tenant. Fields that are missing stay as they are."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"quotas": {"events_per_second": 200.0}}]})

    name: str = Field("", max_length=limits.MAX_NAME_LENGTH, description="For people. Empty: the id.")
    description: str = Field("", max_length=limits.MAX_DESCRIPTION_LENGTH, description="Free-form description.")
    weight: _Weight = Field(limits.DEFAULT_WEIGHT, description=_WEIGHT)
    validation: enums.Validation = Field("off", description=_VALIDATION)
    publishes_catalog: bool = Field(default=False, description=_PUBLISHES_CATALOG)
    quotas: QuotasBody = Field(
        default_factory=QuotasBody, description="Quotas that are missing stay as they are; null restores the default."
    )
    portal: PortalLookPatch = Field(
        default_factory=PortalLookPatch,
        description="How its portal looks. Fields that are missing stay as they are; null: as the console does.",
    )


class OwnQuotas(models.Answer):
    """A tenant's own quotas. Null: it has the default of the service."""

    subscriptions: int | None = Field(description=_DESCRIPTIONS[Quota.SUBSCRIPTIONS], examples=[1000])
    events_per_second: float | None = Field(description=_DESCRIPTIONS[Quota.EVENTS_PER_SECOND], examples=[50.0])
    waiting_deliveries: int | None = Field(description=_DESCRIPTIONS[Quota.WAITING_DELIVERIES], examples=[None])
    stored_bytes: int | None = Field(description=_DESCRIPTIONS[Quota.STORED_BYTES], examples=[None])
    scheduled_events: int | None = Field(description=_DESCRIPTIONS[Quota.SCHEDULED_EVENTS], examples=[None])
    scheduled_bytes: int | None = Field(description=_DESCRIPTIONS[Quota.SCHEDULED_BYTES], examples=[None])


class Limits(models.Answer):
    """The quotas that apply to a tenant."""

    subscriptions: int = Field(description=_DESCRIPTIONS[Quota.SUBSCRIPTIONS], examples=[1000])
    events_per_second: float = Field(description=_DESCRIPTIONS[Quota.EVENTS_PER_SECOND], examples=[50.0])
    waiting_deliveries: int = Field(description=_DESCRIPTIONS[Quota.WAITING_DELIVERIES], examples=[10_000_000])
    stored_bytes: int = Field(description=_DESCRIPTIONS[Quota.STORED_BYTES], examples=[1 << 40])
    scheduled_events: int = Field(description=_DESCRIPTIONS[Quota.SCHEDULED_EVENTS], examples=[1_000_000])
    scheduled_bytes: int = Field(description=_DESCRIPTIONS[Quota.SCHEDULED_BYTES], examples=[10 << 30])


class Usage(models.Answer):
    """What a tenant uses of its quotas."""

    subscriptions: int = Field(description=_DESCRIPTIONS[Quota.SUBSCRIPTIONS], examples=[12])
    events_per_second: float = Field(description="Events accepted per second, of late.", examples=[3.4])
    waiting_deliveries: int = Field(description=_DESCRIPTIONS[Quota.WAITING_DELIVERIES], examples=[57])
    stored_bytes: int = Field(description=_DESCRIPTIONS[Quota.STORED_BYTES], examples=[1_048_576])
    scheduled_events: int = Field(description=_DESCRIPTIONS[Quota.SCHEDULED_EVENTS], examples=[250])
    scheduled_bytes: int = Field(description=_DESCRIPTIONS[Quota.SCHEDULED_BYTES], examples=[65_536])
    measured_at: models.Timestamp = Field(description="When that was, a few seconds ago.")


class PortalLook(models.Answer):
    """How the portal of a tenant looks. Null: as the console does."""

    name: str | None = Field(description="Its name in the menu and the title.", examples=["Acme Webhooks"])
    accent: str | None = Field(description="The color of links and buttons.", examples=["#0a6b5e"])
    accent_dark: str | None = Field(description="That in the dark theme.", examples=["#6fd6c4"])
    has_logo: bool = Field(description="Whether it has a logo.", examples=[False])


class Tenant(models.Answer):
    """A tenant."""

    id: str = Field(examples=[_EXAMPLE["id"]])
    name: str = Field(examples=[_EXAMPLE["name"]])
    description: str = Field(examples=[_EXAMPLE["description"]])
    created_at: models.Timestamp
    weight: int = Field(description=_WEIGHT, examples=[3])
    validation: enums.Validation = Field(description=_VALIDATION, examples=["off"])
    publishes_catalog: bool = Field(description=_PUBLISHES_CATALOG, examples=[False])
    quotas: OwnQuotas
    limits: Limits
    usage: Usage | None = Field(description="Null until it is known, and for a new tenant.")
    portal: PortalLook


def _validation(text: str) -> Any:
    return conversion.numbers(catalog_pb2.Validation.DESCRIPTOR)[text]


TenantId = Annotated[models.TenantName, Path(description="Id of the tenant.", examples=[_EXAMPLE["id"]])]


class TenantPage(models.Answer):
    """A page of tenants, in the order of their ids."""

    items: list[Tenant]
    next_cursor: models.NextCursor


@router.post(
    "",
    status_code=201,
    operation_id="create_tenant",
    summary="Create a tenant",
    response_description="The tenant as it is stored.",
    responses={
        **openapi.problems(*openapi.WITH_BODY, described={409: _EXISTS, 422: openapi.KEY_REUSED}),
        201: {
            "headers": {
                "Location": {"description": "Path of the tenant.", "schema": {"type": "string"}},
                **openapi.REPLAYED_HEADER,
            }
        },
    },
)
async def create_tenant(
    body: TenantBody,
    services: backends.Injected,
    response: Response,
    idempotency_key: models.IdempotencyKey = None,
) -> Tenant:
    """Create a tenant, which has no API keys yet."""
    request = pb.CreateTenantRequest(
        id=body.id,
        name=body.name,
        description=body.description,
        weight=body.weight,
        validation=_validation(body.validation),
        quotas=body.quotas.message(),
        idempotency_key=idempotency_key or "",
    )
    answer = await services.operate(services.access.CreateTenant, request)
    if answer.replayed:
        response.headers[openapi.REPLAYED] = "true"
    response.headers["location"] = f"{router.prefix}/{answer.tenant.id}"
    return Tenant(**models.values(answer.tenant))


@router.get(
    "",
    operation_id="list_tenants",
    summary="List tenants",
    response_description="A page of tenants.",
    responses=openapi.problems(),
)
async def list_tenants(query: Annotated[models.PageQuery, Query()], services: backends.Injected) -> TenantPage:
    """List tenants that are not deleted, in the order of their ids."""
    request = pb.ListTenantsRequest(page_size=query.limit, page_token=query.cursor)
    answer = await services.operate(services.access.ListTenants, request)
    return TenantPage(
        items=[Tenant(**models.values(message)) for message in answer.tenants],
        next_cursor=answer.next_page_token or None,
    )


@router.get(
    "/{tenant_id}",
    operation_id="get_tenant",
    summary="Get a tenant",
    response_description="The tenant.",
    responses=openapi.problems(404),
)
async def get_tenant(tenant_id: TenantId, services: backends.Injected) -> Tenant:
    """Return a tenant with its quotas and what it uses of them."""
    answer = await services.operate(services.access.GetTenant, pb.GetTenantRequest(id=tenant_id))
    return Tenant(**models.values(answer.tenant))


@router.patch(
    "/{tenant_id}",
    operation_id="update_tenant",
    summary="Change a tenant",
    response_description="The tenant as it is stored.",
    responses=openapi.problems(*openapi.WITH_BODY, 404),
)
async def update_tenant(tenant_id: TenantId, body: TenantPatch, services: backends.Injected) -> Tenant:
    """Change a tenant. Every process applies new quotas within 2 seconds, and a new weight within 10."""
    paths = sorted(body.model_fields_set - {"quotas", "portal"})
    paths += [f"quotas.{name}" for name in sorted(body.quotas.model_fields_set)]
    paths += body.portal.paths()
    if not paths:
        return await get_tenant(tenant_id, services)
    request = pb.UpdateTenantRequest(
        id=tenant_id,
        name=body.name,
        description=body.description,
        weight=body.weight,
        validation=_validation(body.validation),
        publishes_catalog=body.publishes_catalog,
        quotas=body.quotas.message(),
        portal=body.portal.message(),
        update_mask=FieldMask(paths=paths),
    )
    answer = await services.operate(services.access.UpdateTenant, request)
    return Tenant(**models.values(answer.tenant))


@router.delete(
    "/{tenant_id}",
    status_code=204,
    operation_id="delete_tenant",
    summary="Delete a tenant",
    response_description="The tenant is deleted.",
    responses=openapi.problems(404, described={409: _IN_USE}),
)
async def delete_tenant(tenant_id: TenantId, services: backends.Injected) -> None:
    """Delete a tenant and revoke its API keys. Its id cannot be used again."""
    await services.operate(services.access.DeleteTenant, pb.DeleteTenantRequest(id=tenant_id))
