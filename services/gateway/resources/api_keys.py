"""API keys: who may call, and what. For keys of role admin."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import ConfigDict, Field

from protos.webhook.v1 import access_pb2 as pb
from services.gateway.resources import models
from services.gateway.web import backends, callers, openapi
from services.gateway.web.bodies import JsonRoute
from services.platform import errors

router = APIRouter(
    prefix="/api/v1/admin/api-keys",
    tags=["admin"],
    route_class=JsonRoute,
    strict_content_type=False,  # a body without a Content-Type is JSON
)

Role = Literal["admin", "write", "ingest", "read"]
_ROLES: dict[int, Role] = {
    pb.ROLE_ADMIN: "admin",
    pb.ROLE_WRITE: "write",
    pb.ROLE_INGEST: "ingest",
    pb.ROLE_READ: "read",
}
_PREFIX = "ROLE_"
_EXAMPLE: dict[str, Any] = {
    "tenant_id": "acme",
    "name": "shop, production",
    "role": "ingest",
    "expires_at": "2027-03-14T00:00:00Z",
    "requests_per_second": 200,
}
_EXAMPLE_KEY = "whk_4fQ0m2ZrVw7nJ9sKx1TbLc8uYh5pDgEa3iRoWvNyU6B"
_EXAMPLE_ID = "019ced6e-52d0-7a41-8c6e-3f9b7d2a1c58"


class ApiKeyBody(models.Request):
    """A key to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    tenant_id: models.TenantName | None = Field(
        None, description="The tenant that its requests act for. Absent or null: that of `X-Tenant`, or of your key."
    )
    name: str = Field(min_length=1, max_length=128, description="For people: who has it.")
    role: Role = Field(
        description=(
            "`admin`: everything, and all tenants and keys: the operator's. `write`: subscriptions, deliveries, and "
            "what `ingest` and `read` may. `ingest`: takes events in, nothing else. `read`: looks up, changes nothing."
        )
    )
    expires_at: models.Moment | None = Field(None, description="Past this it is refused. Absent or null: never.")
    requests_per_second: float | None = Field(
        None,
        ge=0.001,
        le=100_000,
        strict=True,
        allow_inf_nan=False,
        description=(
            "Requests a second at most, at each gateway process; more are answered 429. Absent or null: the service's "
            "default."
        ),
    )


class ApiKey(models.Answer):
    """A key, without what it is a key by."""

    id: models.Uuid = Field(examples=[_EXAMPLE_ID])
    tenant_id: str = Field(examples=[_EXAMPLE["tenant_id"]])
    name: str = Field(examples=[_EXAMPLE["name"]])
    role: Role = Field(examples=[_EXAMPLE["role"]])
    prefix: str = Field(description="The key's first ten characters.", examples=[_EXAMPLE_KEY[:10]])
    created_at: models.Timestamp
    expires_at: models.Timestamp | None = Field(description="null: never.")
    revoked_at: models.Timestamp | None = Field(description="null while it holds.", examples=[None])
    last_used_at: models.Timestamp | None = Field(description="To about a minute; null: never.", examples=[None])
    requests_per_second: float | None = Field(description="null: the service's default.", examples=[200.0])


class CreatedApiKey(ApiKey):
    """A new key. Nobody can show it again."""

    key: str = Field(description="The key itself, this once.", examples=[_EXAMPLE_KEY])


class ApiKeyPage(models.Answer):
    """A page of keys, newest first."""

    items: list[ApiKey]
    next_cursor: models.NextCursor


class ApiKeysQuery(models.ListQuery):
    """Which page of keys, and whose."""

    tenant_id: models.TenantName | None = Field(None, description="Only keys of this tenant.")


@router.post(
    "",
    status_code=201,
    operation_id="create_api_key",
    summary="Create an API key",
    response_description="The key, this once.",
    responses=openapi.problems(*openapi.WITH_BODY),
)
async def create_api_key(
    body: ApiKeyBody, services: backends.Injected, caller: callers.Injected, response: Response
) -> CreatedApiKey:
    """Makes a key. Its digest is stored, so only this response shows it."""
    if caller.tenant_stated and body.tenant_id not in {None, caller.tenant_id}:
        raise errors.InvalidArgument.field("tenant_id", f"must be the tenant of {callers.TENANT}, or absent")
    request = pb.CreateApiKeyRequest(
        tenant_id=body.tenant_id or caller.tenant_id,
        name=body.name,
        role=pb.Role.Value(_PREFIX + body.role.upper()),
        requests_per_second=body.requests_per_second,
    )
    if body.expires_at is not None:
        request.expires_at.FromDatetime(body.expires_at)
    answer = await services.operate(services.access.CreateApiKey, request)
    response.headers.update(models.NO_STORE)
    return CreatedApiKey(key=answer.key, **_fields(answer.api_key))


@router.get(
    "",
    operation_id="list_api_keys",
    summary="List API keys",
    response_description="A page of keys.",
    responses=openapi.problems(),
)
async def list_api_keys(query: Annotated[ApiKeysQuery, Query()], services: backends.Injected) -> ApiKeyPage:
    """Newest first, of one tenant or of all; those that were revoked or have expired too."""
    request = pb.ListApiKeysRequest(
        tenant_id=services.stated(query.tenant_id, query.tenant), page_size=query.limit, page_token=query.cursor
    )
    answer = await services.operate(services.access.ListApiKeys, request)
    return ApiKeyPage(
        items=[ApiKey(**_fields(message)) for message in answer.api_keys], next_cursor=answer.next_page_token or None
    )


@router.delete(
    "/{key_id}",
    status_code=204,
    operation_id="revoke_api_key",
    summary="Revoke an API key",
    response_description="It is revoked.",
    responses=openapi.problems(404),
)
async def revoke_api_key(
    key_id: Annotated[models.Uuid, Path(description="Id of the key.", examples=[_EXAMPLE_ID])],
    services: backends.Injected,
) -> None:
    """For good; it is refused everywhere within 5 seconds. One that is revoked stays so, and stays in the list."""
    await services.operate(services.access.RevokeApiKey, pb.RevokeApiKeyRequest(id=key_id))


def _fields(message: pb.ApiKey) -> dict[str, Any]:
    return {
        "id": message.id,
        "tenant_id": message.tenant_id,
        "name": message.name,
        "role": _ROLES[message.role],
        "prefix": message.prefix,
        "created_at": models.timestamp(message.created_at),
        "requests_per_second": message.requests_per_second if message.HasField("requests_per_second") else None,
        **{
            name: models.timestamp(getattr(message, name)) if message.HasField(name) else None
            for name in ("expires_at", "revoked_at", "last_used_at")
        },
    }
