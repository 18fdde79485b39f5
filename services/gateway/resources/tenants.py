"""Tenants, which are isolated from each other. Requires role admin."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import ConfigDict, Field

from protos.webhook.v1 import access_pb2 as pb
from services.domain import limits
from services.gateway.resources import models
from services.gateway.web import backends, openapi
from services.gateway.web.routing import JsonRoute

router = APIRouter(
    prefix="/api/v1/admin/tenants",
    tags=["admin"],
    route_class=JsonRoute,
    strict_content_type=False,  # a body without a Content-Type is JSON
)

_EXAMPLE: dict[str, Any] = {"id": "acme", "name": "Acme Ltd", "description": "The shop's own events"}
_IN_USE = (
    "The tenant has subscriptions or unfinished deliveries (`TENANT_IN_USE`), or is the default (`TENANT_IS_DEFAULT`)."
)


class TenantBody(models.Request):
    """A tenant to create."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: models.TenantName = Field(description="Chosen by you. An id is never used for a second tenant.")
    name: str = Field("", max_length=limits.MAX_NAME_LENGTH, description="For people. Default: the id.")
    description: str = Field("", max_length=limits.MAX_DESCRIPTION_LENGTH, description="Free-form description.")


class Tenant(models.Answer):
    """A tenant."""

    id: str = Field(examples=[_EXAMPLE["id"]])
    name: str = Field(examples=[_EXAMPLE["name"]])
    description: str = Field(examples=[_EXAMPLE["description"]])
    created_at: models.Timestamp


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
        **openapi.problems(*openapi.WITH_BODY, described={409: "A tenant with this id exists or existed."}),
        201: {"headers": {"Location": {"description": "Path of the tenant.", "schema": {"type": "string"}}}},
    },
)
async def create_tenant(body: TenantBody, services: backends.Injected, response: Response) -> Tenant:
    """Create a tenant, which has no API keys yet."""
    request = pb.CreateTenantRequest(id=body.id, name=body.name, description=body.description)
    answer = await services.operate(services.access.CreateTenant, request)
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


@router.delete(
    "/{tenant_id}",
    status_code=204,
    operation_id="delete_tenant",
    summary="Delete a tenant",
    response_description="The tenant is deleted.",
    responses=openapi.problems(404, described={409: _IN_USE}),
)
async def delete_tenant(
    tenant_id: Annotated[models.TenantName, Path(description="Id of the tenant.", examples=[_EXAMPLE["id"]])],
    services: backends.Injected,
) -> None:
    """Delete a tenant and revoke its API keys. Its id cannot be used again."""
    await services.operate(services.access.DeleteTenant, pb.DeleteTenantRequest(id=tenant_id))
