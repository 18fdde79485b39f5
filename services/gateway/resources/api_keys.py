"""API keys. Requires role admin."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import ConfigDict, Field

from protos.webhook.v1 import access_pb2 as pb
from services.domain import limits
from services.gateway.resources import enums, models
from services.gateway.web import backends, callers, openapi
from services.gateway.web.routing import JsonRoute
from services.platform import errors
from services.platform.grpc import conversion

router = APIRouter(
    prefix="/api/v1/admin/api-keys",
    tags=["admin"],
    route_class=JsonRoute,
    strict_content_type=False,  # a body without a Content-Type is JSON
)

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
    """An API key to create."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    tenant_id: models.TenantName | None = Field(
        None, description="The key's tenant. Default: that of `X-Tenant`, or of your key."
    )
    name: str = Field(
        min_length=1, max_length=limits.MAX_NAME_LENGTH, description="For people, such as who uses the key."
    )
    role: enums.Role = Field(
        description=(
            "`admin`: everything, including tenants and API keys; for the operator. `write`: changes subscriptions and "
            "deliveries, and includes `ingest`, `read`, and `pull`. `ingest`: only sends events. `read`: only reads. "
            "`pull`: only pulls deliveries, and reports on them."
        )
    )
    capabilities: list[enums.Capability] = Field(
        [],
        max_length=1,
        description=(
            "What the key may do besides what its role allows. `erase`: erase events by jobs, which cannot be undone; "
            "requires the role `write`, and `admin` has it."
        ),
        examples=[[]],
    )
    pull_subscription_ids: list[models.Uuid] = Field(
        [],
        max_length=100,
        description=(
            "The only subscriptions that the key pulls from; requires the role `pull`. Default: all of its tenant's."
        ),
        examples=[[]],
    )
    expires_at: models.Moment | None = Field(None, description="When the key expires. Default: never.")
    requests_per_second: Annotated[models.Number, models.Within(limits.REQUESTS_PER_SECOND)] | None = Field(
        None,
        description=(
            "Maximum requests per second at each gateway process; requests over it return 429. Default: the service's "
            "`API_KEY_REQUESTS_PER_SECOND`."
        ),
    )


class ApiKey(models.Answer):
    """An API key without its secret."""

    id: models.Uuid = Field(examples=[_EXAMPLE_ID])
    tenant_id: str = Field(examples=[_EXAMPLE["tenant_id"]])
    name: str = Field(examples=[_EXAMPLE["name"]])
    role: enums.Role = Field(examples=[_EXAMPLE["role"]])
    prefix: str = Field(
        description="The key's first ten characters; `oidc` for a member.", examples=[_EXAMPLE_KEY[:10]]
    )
    created_at: models.Timestamp
    expires_at: models.Timestamp | None = Field(description="null if it never expires.")
    revoked_at: models.Timestamp | None = Field(description="null unless the key was revoked.", examples=[None])
    last_used_at: models.Timestamp | None = Field(
        description="Exact to about a minute; null if never used.", examples=[None]
    )
    requests_per_second: float | None = Field(description="null for the service's default.", examples=[200.0])
    capabilities: list[enums.Capability] = Field(
        description="What it may do besides what its role allows.", examples=[[]]
    )
    pull_subscription_ids: list[str] = Field(
        description="The only subscriptions that it pulls from; empty for all of its tenant's.", examples=[[]]
    )
    oidc_subject: str | None = Field(
        description=(
            "Of a member, who signs in at the console by OpenID Connect and has no key: their `sub` at the issuer. "
            "null for a key."
        ),
        examples=[None],
    )


class CreatedApiKey(ApiKey):
    """A new API key, which cannot be shown again."""

    key: str | None = Field(
        description="The key itself. It is shown only in this response; null in a repeated one.",
        examples=[_EXAMPLE_KEY],
    )


class ApiKeyPage(models.Answer):
    """A page of API keys, newest first."""

    items: list[ApiKey]
    next_cursor: models.NextCursor


class ApiKeysQuery(models.ListQuery):
    """The page and the filter of a list of API keys."""

    tenant_id: models.TenantName | None = Field(None, description="Only keys of this tenant.")


@router.post(
    "",
    status_code=201,
    operation_id="create_api_key",
    summary="Create an API key",
    response_description="The key. It is shown only in this response.",
    responses={
        **openapi.problems(*openapi.WITH_BODY, described={409: openapi.KEY_IN_USE, 422: openapi.KEY_REUSED}),
        201: {"headers": openapi.REPLAYED_HEADER},
    },
)
async def create_api_key(
    body: ApiKeyBody,
    services: backends.Injected,
    caller: callers.Injected,
    response: Response,
    idempotency_key: models.IdempotencyKey = None,
) -> CreatedApiKey:
    """Create an API key. Only its digest is stored, so only this response shows it."""
    if caller.tenant_stated and body.tenant_id not in {None, caller.tenant_id}:
        raise errors.InvalidArgument.field("tenant_id", f"must be absent or the same as {callers.TENANT}")
    request = pb.CreateApiKeyRequest(
        tenant_id=body.tenant_id or caller.tenant_id,
        name=body.name,
        role=conversion.numbers(pb.Role.DESCRIPTOR)[body.role],
        requests_per_second=body.requests_per_second,
        capabilities=[conversion.numbers(pb.Capability.DESCRIPTOR)[one] for one in body.capabilities],
        pull_subscription_ids=body.pull_subscription_ids,
        idempotency_key=idempotency_key or "",
    )
    if body.expires_at is not None:
        request.expires_at.FromDatetime(body.expires_at)
    answer = await services.operate(services.access.CreateApiKey, request)
    response.headers.update(models.NO_STORE)
    if answer.replayed:
        response.headers[openapi.REPLAYED] = "true"
    return CreatedApiKey(key=answer.key or None, **models.values(answer.api_key))


@router.get(
    "",
    operation_id="list_api_keys",
    summary="List API keys",
    response_description="A page of keys.",
    responses=openapi.problems(),
)
async def list_api_keys(query: Annotated[ApiKeysQuery, Query()], services: backends.Injected) -> ApiKeyPage:
    """List the API keys of one tenant or of all, newest first, including revoked and expired keys."""
    request = pb.ListApiKeysRequest(
        tenant_id=services.stated(query.tenant_id, query.tenant), page_size=query.limit, page_token=query.cursor
    )
    answer = await services.operate(services.access.ListApiKeys, request)
    return ApiKeyPage(
        items=[ApiKey(**models.values(message)) for message in answer.api_keys],
        next_cursor=answer.next_page_token or None,
    )


@router.delete(
    "/{key_id}",
    status_code=204,
    operation_id="revoke_api_key",
    summary="Revoke an API key",
    response_description="The key is revoked.",
    responses=openapi.problems(404),
)
async def revoke_api_key(
    key_id: Annotated[models.Uuid, Path(description="Id of the key.", examples=[_EXAMPLE_ID])],
    services: backends.Injected,
) -> None:
    """Revoke an API key permanently. It is refused everywhere within 5 seconds, and stays in the list."""
    await services.operate(services.access.RevokeApiKey, pb.RevokeApiKeyRequest(id=key_id))
