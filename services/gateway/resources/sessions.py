"""Sessions of people who signed in at the console. Requires role admin; signing in is in services/gateway/console."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from protos.webhook.v1 import access_pb2 as pb
from services.gateway.resources import enums, models
from services.gateway.web import backends, openapi
from services.gateway.web.routing import RoleRoute

router = APIRouter(prefix="/api/v1/admin/sessions", tags=["admin"], route_class=RoleRoute)

_EXAMPLE_ID = "019ced72-6c1f-7e0a-9d3b-8b5f2a4c6d70"
_EXAMPLE_KEY_ID = "019ced6e-52d0-7a41-8c6e-3f9b7d2a1c58"


class Session(models.Answer):
    """Somebody who signed in at the console with an API key. A session can do what its key can, and ends with it."""

    id: models.Uuid = Field(examples=[_EXAMPLE_ID])
    tenant_id: str = Field(description="The key's tenant.", examples=["acme"])
    key_id: str = Field(description="Id of the key; `bootstrap` for `BOOTSTRAP_ADMIN_KEY`.", examples=[_EXAMPLE_KEY_ID])
    key_name: str = Field(description="The key's name; empty for `BOOTSTRAP_ADMIN_KEY`.", examples=["ops, Ada"])
    role: enums.Role = Field(description="The key's role.", examples=["write"])
    user_agent: str = Field(description="What the browser called itself.", examples=["Mozilla/5.0 (X11; Linux x86_64)"])
    created_at: models.Timestamp
    expires_at: models.Timestamp
    revoked_at: models.Timestamp | None = Field(
        description="null unless it was revoked, or its holder signed out.", examples=[None]
    )


class SessionPage(models.Answer):
    """A page of sessions, newest first."""

    items: list[Session]
    next_cursor: models.NextCursor


class SessionsQuery(models.ListQuery):
    """The page and the filter of a list of sessions."""

    tenant_id: models.TenantName | None = Field(None, description="Only sessions of this tenant.")


@router.get(
    "",
    operation_id="list_sessions",
    summary="List sessions",
    response_description="A page of sessions.",
    responses=openapi.problems(),
)
async def list_sessions(query: Annotated[SessionsQuery, Query()], services: backends.Injected) -> SessionPage:
    """List who is signed in at the console, newest first, including sessions that were revoked in the last 12 hours."""
    request = pb.ListSessionsRequest(
        tenant_id=services.stated(query.tenant_id, query.tenant), page_size=query.limit, page_token=query.cursor
    )
    answer = await services.operate(services.access.ListSessions, request)
    return SessionPage(
        items=[Session(**models.values(message)) for message in answer.sessions],
        next_cursor=answer.next_page_token or None,
    )


@router.delete(
    "/{session_id}",
    status_code=204,
    operation_id="revoke_session",
    summary="Revoke a session",
    response_description="The session is revoked.",
    responses=openapi.problems(404),
)
async def revoke_session(
    session_id: Annotated[models.Uuid, Path(description="Id of the session.", examples=[_EXAMPLE_ID])],
    services: backends.Injected,
) -> None:
    """Revoke a session permanently. It is refused everywhere within 5 seconds; its key remains valid."""
    await services.operate(services.access.RevokeSession, pb.RevokeSessionRequest(id=session_id))
