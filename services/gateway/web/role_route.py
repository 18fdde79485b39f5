"""The role that each operation requires, and a FastAPI route that checks it before it reads the body."""

from collections.abc import Mapping

from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from services.gateway.web import callers
from services.platform.auth import roles
from services.platform.auth.roles import Role

# The gRPC method behind each operation. An operation without a row here cannot be served.
CALLS: Mapping[str, str] = {
    "ingest_webhook": "IngestService/BatchIngest",
    "publish_event": "IngestService/BatchIngest",
    "get_event": "IngestService/GetEvent",
    "create_subscription": "SubscriptionService/CreateSubscription",
    "list_subscriptions": "SubscriptionService/ListSubscriptions",
    "get_subscription": "SubscriptionService/GetSubscription",
    "replace_subscription": "SubscriptionService/UpdateSubscription",
    "update_subscription": "SubscriptionService/UpdateSubscription",
    "delete_subscription": "SubscriptionService/DeleteSubscription",
    "disable_subscription": "SubscriptionService/SetSubscriptionStatus",
    "enable_subscription": "SubscriptionService/SetSubscriptionStatus",
    "pause_subscription": "SubscriptionService/SetSubscriptionStatus",
    "resume_subscription": "SubscriptionService/SetSubscriptionStatus",
    "rotate_subscription_secret": "SubscriptionService/RotateSubscriptionSecret",
    "list_public_keys": "SubscriptionService/GetSubscription",
    "create_ingest_token": "SubscriptionService/CreateIngestToken",
    "delete_ingest_token": "SubscriptionService/DeleteIngestToken",
    "get_delivery": "DeliveryService/GetDelivery",
    "retry_delivery": "DeliveryService/RetryDelivery",
    "cancel_delivery": "DeliveryService/CancelDelivery",
    "list_subscription_deliveries": "DeliveryService/ListDeliveries",
    "list_event_deliveries": "DeliveryService/ListDeliveries",
    "get_subscription_stats": "AnalyticsService/GetStats",
    "get_stats": "AnalyticsService/GetStats",
    "create_tenant": "AccessService/CreateTenant",
    "list_tenants": "AccessService/ListTenants",
    "delete_tenant": "AccessService/DeleteTenant",
    "create_api_key": "AccessService/CreateApiKey",
    "list_api_keys": "AccessService/ListApiKeys",
    "revoke_api_key": "AccessService/RevokeApiKey",
    "list_audit_entries": "AuditService/ListAuditEntries",
}
# The least role for each operation is that of its method, which roles.py says.
LEAST: Mapping[str, Role] = {name: roles.RULES[f"/webhook.v1.{method}"].least for name, method in CALLS.items()}


class RoleRoute(APIRoute):
    """A route of the API."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request of a caller who may make it."""
        if scope["method"] in (self.methods or ()):
            callers.check_role(scope, LEAST[self.operation_id or ""])
        await super().handle(scope, receive, send)
