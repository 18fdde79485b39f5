"""What a key may do, and what each gRPC method takes. Whoever adds a method adds its row."""

import enum
from collections.abc import Mapping

from services.common import errors


class Role(enum.StrEnum):
    """As it stands in the database; INTERNAL, which never does, is that of the service key."""

    INTERNAL = "internal"
    ADMIN = "admin"
    WRITE = "write"
    INGEST = "ingest"
    READ = "read"


_HOLDS: Mapping[Role, frozenset[Role]] = {
    Role.INTERNAL: frozenset(Role),
    Role.ADMIN: frozenset(Role) - {Role.INTERNAL},
    Role.WRITE: frozenset((Role.WRITE, Role.INGEST, Role.READ)),
    Role.INGEST: frozenset((Role.INGEST,)),
    Role.READ: frozenset((Role.READ,)),
}

# The least role for each method. One that stands nowhere here is refused to everybody.
LEAST: Mapping[str, Role] = {
    "/webhook.v1.IngestService/Ingest": Role.INGEST,
    "/webhook.v1.IngestService/BatchIngest": Role.INGEST,
    "/webhook.v1.IngestService/GetEvent": Role.READ,
    "/webhook.v1.SubscriptionService/CreateSubscription": Role.WRITE,
    "/webhook.v1.SubscriptionService/GetSubscription": Role.READ,
    "/webhook.v1.SubscriptionService/ListSubscriptions": Role.READ,
    "/webhook.v1.SubscriptionService/UpdateSubscription": Role.WRITE,
    "/webhook.v1.SubscriptionService/DeleteSubscription": Role.WRITE,
    "/webhook.v1.SubscriptionService/DisableSubscription": Role.WRITE,
    "/webhook.v1.SubscriptionService/EnableSubscription": Role.WRITE,
    "/webhook.v1.SubscriptionService/PauseSubscription": Role.WRITE,
    "/webhook.v1.SubscriptionService/ResumeSubscription": Role.WRITE,
    "/webhook.v1.SubscriptionService/RotateSubscriptionSecret": Role.WRITE,
    "/webhook.v1.SubscriptionService/CreateIngestToken": Role.WRITE,
    "/webhook.v1.SubscriptionService/DeleteIngestToken": Role.WRITE,
    "/webhook.v1.SubscriptionService/CheckIngestToken": Role.INTERNAL,
    "/webhook.v1.DeliveryService/GetDelivery": Role.READ,
    "/webhook.v1.DeliveryService/ListDeliveries": Role.READ,
    "/webhook.v1.DeliveryService/RetryDelivery": Role.WRITE,
    "/webhook.v1.DeliveryService/CancelDelivery": Role.WRITE,
    "/webhook.v1.AnalyticsService/GetStats": Role.READ,
    "/webhook.v1.AccessService/Authenticate": Role.INTERNAL,
    "/webhook.v1.AccessService/CreateTenant": Role.ADMIN,
    "/webhook.v1.AccessService/ListTenants": Role.ADMIN,
    "/webhook.v1.AccessService/DeleteTenant": Role.ADMIN,
    "/webhook.v1.AccessService/CreateApiKey": Role.ADMIN,
    "/webhook.v1.AccessService/ListApiKeys": Role.ADMIN,
    "/webhook.v1.AccessService/RevokeApiKey": Role.ADMIN,
    "/webhook.v1.AuditService/ListAuditEntries": Role.ADMIN,
}
# Services that take no key: what an orchestrator probes, and a description of what is public anyway.
OPEN = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")


def check(role: Role, needed: Role) -> None:
    """PermissionDenied unless `role` holds what is needed."""
    if needed in _HOLDS[role]:
        return
    if needed is Role.INTERNAL:
        raise errors.PermissionDenied("this takes the service key", reason="ROLE_INSUFFICIENT")
    message = f"this takes a key of role {needed}; this one has role {role}"
    raise errors.PermissionDenied(message, reason="ROLE_INSUFFICIENT")
