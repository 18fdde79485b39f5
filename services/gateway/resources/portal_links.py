"""Portal links: addresses where a customer sees and manages their own webhooks."""

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from pydantic import ConfigDict, Field

from protos.webhook.v1 import access_pb2 as pb
from services.gateway.resources import enums, models
from services.gateway.web import backends, callers, openapi
from services.gateway.web.routing import JsonRoute
from services.platform import errors
from services.platform.auth.roles import Role
from services.platform.grpc import conversion

router = APIRouter(
    prefix="/api/v1/portal-links",
    tags=["portal"],
    route_class=JsonRoute,
    strict_content_type=False,  # a body without a Content-Type is JSON
)

PATH = "/portal"
_EXAMPLE_ID = "019ced6f-11c3-7d20-8a52-4be10f6a93d7"
_EXAMPLE: dict[str, Any] = {
    "tenant_id": "acme",
    "capabilities": ["view", "manage", "secrets", "test", "recover", "payloads"],
    "expires_in_seconds": 3600,
    "origin": "https://app.example.com",
}


class PortalLinkBody(models.Request):
    """A portal link to create."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    tenant_id: models.TenantName | None = Field(
        None,
        description="The tenant whose objects it shows. Default: that of `X-Tenant`, or of your key. Another one than "
        "your key's requires the role `admin`.",
    )
    capabilities: list[enums.PortalCapability] = Field(
        min_length=1,
        max_length=6,
        description=(
            "What its holder may do, and no more than your key may: 403 otherwise. `view`, which is implied: see "
            "subscriptions, deliveries, events without their payloads, statistics, and jobs. `manage`: create, change, "
            "pause, and delete subscriptions. `secrets`: set and rotate secrets and ingest tokens, and see those that "
            "are made. `test`: send test events. `recover`: retry and cancel deliveries, and run jobs that do. "
            "`payloads`: see the payloads of events. All but `view` and `payloads` require the role `write`."
        ),
    )
    subscriptions: Annotated[list[models.Uuid], Field(max_length=50)] | None = Field(
        None,
        min_length=1,
        description="Limits it to these subscriptions of the tenant, and what was sent to them. Default: all.",
        examples=[None],
    )
    expires_in_seconds: Annotated[int, Field(strict=True, ge=60, le=86_400)] = Field(
        3_600, description="After this time it ends, and what it was exchanged for.", examples=[3_600]
    )
    origin: Annotated[str, Field(max_length=256)] | None = Field(
        None,
        description="The origin of the pages that may show it in a frame, such as `https://app.example.com`. Default: "
        "no page may.",
        examples=["https://app.example.com"],
    )


class PortalLink(models.Answer):
    """A new portal link."""

    id: models.Uuid = Field(examples=[_EXAMPLE_ID])
    url: str = Field(
        description=(
            "Where it is, relative to the address at which browsers reach this service. It works once, and is shown "
            "only in this response."
        ),
        examples=[f"{PATH}/{_EXAMPLE_ID}#whl_m1Xr7sKf0aZ9QwJ3vTn8LbYc5hUd2gEpRi6oWxNyD4k"],
    )
    expires_at: models.Timestamp


@router.post(
    "",
    status_code=201,
    operation_id="create_portal_link",
    summary="Create a portal link",
    response_description="The link. It is shown only in this response.",
    responses=openapi.problems(*openapi.WITH_BODY),
)
async def create_portal_link(
    body: PortalLinkBody, services: backends.Injected, caller: callers.Injected, response: Response
) -> PortalLink:
    """Create an address where a customer sees and manages their own webhooks, in your page or in one of its own."""
    if body.tenant_id not in {None, caller.tenant_id}:
        if caller.tenant_stated:
            raise errors.InvalidArgument.field("tenant_id", f"must be absent or the same as {callers.TENANT}")
        if caller.role is not Role.ADMIN:
            raise callers.refused(callers.forbidden("tenant_id"))
        services = services.acting_for(dataclasses.replace(caller, tenant_id=body.tenant_id), None)
    request = pb.CreatePortalLinkRequest(
        capabilities=[conversion.numbers(pb.PortalCapability.DESCRIPTOR)[one] for one in body.capabilities],
        subscriptions=body.subscriptions,
        expires_in_seconds=body.expires_in_seconds,
        origin=body.origin or "",
    )
    answer = await services.call(services.access.CreatePortalLink, request)
    response.headers.update(models.NO_STORE)
    link = answer.link
    return PortalLink(id=link.id, url=f"{PATH}/{link.id}#{answer.secret}", expires_at=models.timestamp(link.expires_at))


@router.delete(
    "/{link_id}",
    status_code=204,
    operation_id="revoke_portal_link",
    summary="Revoke a portal link",
    response_description="The link is revoked.",
    responses=openapi.problems(404),
)
async def revoke_portal_link(
    link_id: Annotated[models.Uuid, Path(description="Id of the link.", examples=[_EXAMPLE_ID])],
    services: backends.Injected,
) -> None:
    """End a portal link before its time. Within 5 seconds its holder is refused everywhere."""
    await services.call(services.access.RevokePortalLink, pb.RevokePortalLinkRequest(id=link_id))
