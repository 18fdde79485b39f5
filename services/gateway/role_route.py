"""What each operation takes a key of, and a FastAPI route that sees to it before it reads the body."""

from collections.abc import Mapping

from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from services.common.auth.roles import Role
from services.gateway import callers

# The least role for each operation. One that stands nowhere here cannot be served.
LEAST: Mapping[str, Role] = {
    "ingest_webhook": Role.INGEST,
    "publish_event": Role.INGEST,
    "get_event": Role.READ,
    "create_subscription": Role.WRITE,
    "list_subscriptions": Role.READ,
    "get_subscription": Role.READ,
    "replace_subscription": Role.WRITE,
    "update_subscription": Role.WRITE,
    "delete_subscription": Role.WRITE,
    "disable_subscription": Role.WRITE,
    "enable_subscription": Role.WRITE,
    "pause_subscription": Role.WRITE,
    "resume_subscription": Role.WRITE,
    "rotate_subscription_secret": Role.WRITE,
    "list_public_keys": Role.READ,
    "create_ingest_token": Role.WRITE,
    "delete_ingest_token": Role.WRITE,
    "get_delivery": Role.READ,
    "retry_delivery": Role.WRITE,
    "cancel_delivery": Role.WRITE,
    "list_subscription_deliveries": Role.READ,
    "list_event_deliveries": Role.READ,
    "get_subscription_stats": Role.READ,
    "get_stats": Role.READ,
    "create_tenant": Role.ADMIN,
    "list_tenants": Role.ADMIN,
    "delete_tenant": Role.ADMIN,
    "create_api_key": Role.ADMIN,
    "list_api_keys": Role.ADMIN,
    "revoke_api_key": Role.ADMIN,
    "list_audit_entries": Role.ADMIN,
}


class RoleRoute(APIRoute):
    """A route of the API."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request of a caller who may make it."""
        if scope["method"] in (self.methods or ()):
            callers.check_role(scope, LEAST[self.operation_id or ""])
        await super().handle(scope, receive, send)
