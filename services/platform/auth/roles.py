"""Who may call each gRPC method. A new method needs a row here.

REST operations require the role of the method behind them: services/gateway/web/routing.py.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from services.platform import errors


class Role(enum.StrEnum):
    """What a caller may do. ADMIN and those after it are roles of API keys, stored in the database."""

    # A gateway that sends a service key and acts for no API key.
    SERVICE = "service"
    # A caller without a key, where none is required.
    ANYBODY = "anybody"
    ADMIN = "admin"
    WRITE = "write"
    INGEST = "ingest"
    READ = "read"


class Capability(enum.StrEnum):
    """What a key may do besides what its role allows. ADMIN, and a caller where no key is required, have all."""

    # Erase events. Its key needs WRITE to create jobs.
    ERASE = "erase"


GIVEN_TO_KEYS = frozenset((Role.ADMIN, Role.WRITE, Role.INGEST, Role.READ))

_INCLUDED: Mapping[Role, frozenset[Role]] = {
    Role.SERVICE: frozenset((Role.SERVICE, Role.INGEST)),
    Role.ANYBODY: frozenset(Role),
    Role.ADMIN: GIVEN_TO_KEYS,
    Role.WRITE: frozenset((Role.WRITE, Role.INGEST, Role.READ)),
    Role.INGEST: frozenset((Role.INGEST,)),
    Role.READ: frozenset((Role.READ,)),
}


class Service(enum.Enum):
    """What a gateway must send with the service key to call a method."""

    # Nothing: it calls for itself, or for many callers at once.
    ALONE = enum.auto()
    # The id of the API key that it acts for. The call is then that key's, with its role and its tenant.
    ACTOR = enum.auto()
    # The API key that it acts for.
    KEY = enum.auto()


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call a method: API keys of this role, and how a gateway does."""

    least: Role
    service: Service
    # Whether an admin may ask for all tenants at once.
    everywhere: bool = False


_READ = Rule(Role.READ, Service.ACTOR)
_LIST = Rule(Role.READ, Service.ACTOR, everywhere=True)
_WRITE = Rule(Role.WRITE, Service.ACTOR)
_ADMIN = Rule(Role.ADMIN, Service.KEY)

# A method without a row cannot be called.
RULES: Mapping[str, Rule] = {
    # A gateway calls it for an admin that acts in another tenant, which the audit log records.
    "/webhook.v1.IngestService/Ingest": Rule(Role.INGEST, Service.ACTOR),
    # Events of many callers go in one batch, so each item states its tenant.
    "/webhook.v1.IngestService/BatchIngest": Rule(Role.INGEST, Service.ALONE),
    "/webhook.v1.IngestService/GetEvent": _READ,
    "/webhook.v1.IngestService/ListEvents": _READ,
    "/webhook.v1.IngestService/StreamEvents": _READ,
    "/webhook.v1.IngestService/ListEventRoutes": _READ,
    "/webhook.v1.SubscriptionService/CreateSubscription": _WRITE,
    "/webhook.v1.SubscriptionService/GetSubscription": _READ,
    "/webhook.v1.SubscriptionService/ListSubscriptions": _LIST,
    "/webhook.v1.SubscriptionService/UpdateSubscription": _WRITE,
    "/webhook.v1.SubscriptionService/DeleteSubscription": _WRITE,
    "/webhook.v1.SubscriptionService/SetSubscriptionStatus": _WRITE,
    "/webhook.v1.SubscriptionService/RotateSubscriptionSecret": _WRITE,
    "/webhook.v1.SubscriptionService/CreateIngestToken": _WRITE,
    "/webhook.v1.SubscriptionService/DeleteIngestToken": _WRITE,
    "/webhook.v1.SubscriptionService/CheckIngestToken": Rule(Role.SERVICE, Service.ALONE),
    "/webhook.v1.DeliveryService/GetDelivery": _READ,
    "/webhook.v1.DeliveryService/ListDeliveries": _LIST,
    "/webhook.v1.DeliveryService/SearchDeliveries": _READ,
    "/webhook.v1.DeliveryService/StreamDeliveries": _READ,
    "/webhook.v1.DeliveryService/SummarizeDeliveries": _READ,
    "/webhook.v1.DeliveryService/RetryDelivery": _WRITE,
    "/webhook.v1.DeliveryService/BatchRetryDeliveries": _WRITE,
    "/webhook.v1.DeliveryService/CancelDelivery": _WRITE,
    "/webhook.v1.DeliveryService/TestSubscription": _WRITE,
    "/webhook.v1.JobService/PreviewJob": _WRITE,
    "/webhook.v1.JobService/CreateJob": _WRITE,
    "/webhook.v1.JobService/GetJob": _READ,
    "/webhook.v1.JobService/ListJobs": _LIST,
    "/webhook.v1.JobService/PauseJob": _WRITE,
    "/webhook.v1.JobService/ResumeJob": _WRITE,
    "/webhook.v1.JobService/CancelJob": _WRITE,
    "/webhook.v1.AnalyticsService/GetStats": _LIST,
    "/webhook.v1.AnalyticsService/GetStatsSeries": _LIST,
    "/webhook.v1.AccessService/Authenticate": Rule(Role.SERVICE, Service.ALONE),
    "/webhook.v1.AccessService/CreateTenant": _ADMIN,
    "/webhook.v1.AccessService/GetTenant": _ADMIN,
    "/webhook.v1.AccessService/UpdateTenant": _ADMIN,
    "/webhook.v1.AccessService/ListTenants": _ADMIN,
    "/webhook.v1.AccessService/DeleteTenant": _ADMIN,
    "/webhook.v1.AccessService/CreateApiKey": _ADMIN,
    "/webhook.v1.AccessService/ListApiKeys": _ADMIN,
    "/webhook.v1.AccessService/RevokeApiKey": _ADMIN,
    "/webhook.v1.AccessService/CreateSession": Rule(Role.SERVICE, Service.ALONE),
    "/webhook.v1.AccessService/GetSession": Rule(Role.SERVICE, Service.ALONE),
    "/webhook.v1.AccessService/EndSession": Rule(Role.SERVICE, Service.ALONE),
    "/webhook.v1.AccessService/ListSessions": _ADMIN,
    "/webhook.v1.AccessService/RevokeSession": _ADMIN,
    "/webhook.v1.AuditService/ListAuditEntries": _ADMIN,
}
# The services of gRPC itself: health, and reflection, which describes the API.
OF_GRPC = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")
# The one of their methods that an orchestrator's probe needs, without a key. Others hold a call open.
OPEN = "/grpc.health.v1.Health/Check"
_OF_GRPC_RULE = Rule(Role.READ, Service.ALONE)


def rule(method: str) -> Rule:
    """Return who may call a method; raise PermissionDenied for a method without a row."""
    found = _OF_GRPC_RULE if method.startswith(OF_GRPC) else RULES.get(method)
    if found is None:
        raise errors.PermissionDenied("this method cannot be called", reason=errors.ErrorReason.ROLE_INSUFFICIENT)
    return found


def includes(role: Role, needed: Role) -> bool:
    """Return whether `role` allows everything that `needed` allows."""
    return needed in _INCLUDED[role]


def check(role: Role, needed: Role) -> None:
    """Raise PermissionDenied unless `role` includes the role that is needed."""
    if includes(role, needed):
        return
    if needed is Role.SERVICE:
        raise errors.PermissionDenied(
            "this method requires the service key", reason=errors.ErrorReason.ROLE_INSUFFICIENT
        )
    message = f"this requires an API key with role {needed}; this key has role {role}"
    raise errors.PermissionDenied(message, reason=errors.ErrorReason.ROLE_INSUFFICIENT)
