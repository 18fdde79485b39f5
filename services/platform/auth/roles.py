"""Who may call each gRPC method. A new method needs a row here.

REST operations require the role of the method behind them: services/gateway/web/routing.py.
"""

import enum
from collections.abc import Collection, Mapping
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
    PULL = "pull"
    # The holder of a portal link, which has capabilities in place of what roles allow.
    PORTAL = "portal"


class Capability(enum.StrEnum):
    """What a key may do besides what its role allows. ADMIN, and a caller where no key is required, have all."""

    # Erase events. Its key needs WRITE to create jobs.
    ERASE = "erase"


class PortalCapability(enum.StrEnum):
    """What the holder of a portal link may do."""

    # See subscriptions, deliveries, events without their payloads, statistics, and jobs.
    VIEW = "view"
    # Create, change, pause, and delete subscriptions.
    MANAGE = "manage"
    # Set and rotate secrets and ingest tokens, and see those that are made.
    SECRETS = "secrets"
    # Send test events.
    TEST = "test"
    # Retry and cancel deliveries, and run jobs that do.
    RECOVER = "recover"
    # See the payloads of events.
    PAYLOADS = "payloads"


GIVEN_TO_KEYS = frozenset((Role.ADMIN, Role.WRITE, Role.INGEST, Role.READ, Role.PULL))

_INCLUDED: Mapping[Role, frozenset[Role]] = {
    Role.SERVICE: frozenset((Role.SERVICE, Role.INGEST)),
    Role.ANYBODY: frozenset(Role),
    Role.ADMIN: GIVEN_TO_KEYS,
    Role.WRITE: frozenset((Role.WRITE, Role.INGEST, Role.READ, Role.PULL)),
    Role.INGEST: frozenset((Role.INGEST,)),
    Role.READ: frozenset((Role.READ,)),
    Role.PULL: frozenset((Role.PULL,)),
    Role.PORTAL: frozenset((Role.PORTAL,)),
}
# What a caller must be allowed to give a capability to a portal link.
GIVEN_BY: Mapping[PortalCapability, Role] = {
    PortalCapability.VIEW: Role.READ,
    PortalCapability.MANAGE: Role.WRITE,
    PortalCapability.SECRETS: Role.WRITE,
    PortalCapability.TEST: Role.WRITE,
    PortalCapability.RECOVER: Role.WRITE,
    PortalCapability.PAYLOADS: Role.READ,
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
    """Who may call a method: API keys of this role, portal links with this capability, and how a gateway does."""

    least: Role
    service: Service
    # Whether an admin may ask for all tenants at once.
    everywhere: bool = False
    # None: no portal link allows it.
    portal: PortalCapability | None = None


_READ = Rule(Role.READ, Service.ACTOR, portal=PortalCapability.VIEW)
_LIST = Rule(Role.READ, Service.ACTOR, everywhere=True, portal=PortalCapability.VIEW)
# Not for portal links: drafts, and what was wrong with events, are for those who send them.
_CATALOG = Rule(Role.READ, Service.ACTOR)
_CHANGE_CATALOG = Rule(Role.WRITE, Service.ACTOR)
_MANAGE = Rule(Role.WRITE, Service.ACTOR, portal=PortalCapability.MANAGE)
_SECRETS = Rule(Role.WRITE, Service.ACTOR, portal=PortalCapability.SECRETS)
_TEST = Rule(Role.WRITE, Service.ACTOR, portal=PortalCapability.TEST)
_RECOVER = Rule(Role.WRITE, Service.ACTOR, portal=PortalCapability.RECOVER)
_PULL = Rule(Role.PULL, Service.ACTOR)
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
    "/webhook.v1.IngestService/CancelEvent": _RECOVER,
    # It tells of payloads.
    "/webhook.v1.IngestService/CheckFilter": Rule(Role.READ, Service.ACTOR, portal=PortalCapability.PAYLOADS),
    "/webhook.v1.SubscriptionService/CreateSubscription": _MANAGE,
    "/webhook.v1.SubscriptionService/GetSubscription": _READ,
    "/webhook.v1.SubscriptionService/ListSubscriptions": _LIST,
    "/webhook.v1.SubscriptionService/UpdateSubscription": _MANAGE,
    "/webhook.v1.SubscriptionService/DeleteSubscription": _MANAGE,
    "/webhook.v1.SubscriptionService/SetSubscriptionStatus": _MANAGE,
    "/webhook.v1.SubscriptionService/RotateSubscriptionSecret": _SECRETS,
    "/webhook.v1.SubscriptionService/CreateIngestToken": _SECRETS,
    "/webhook.v1.SubscriptionService/DeleteIngestToken": _SECRETS,
    # A portal link needs the capability to send test events, too.
    "/webhook.v1.SubscriptionService/TestNewSubscription": _MANAGE,
    "/webhook.v1.SubscriptionService/PreviewTemplate": _MANAGE,
    "/webhook.v1.SubscriptionService/CheckIngestToken": Rule(Role.SERVICE, Service.ALONE),
    "/webhook.v1.CatalogService/CreateEventType": _CHANGE_CATALOG,
    "/webhook.v1.CatalogService/GetEventType": _CATALOG,
    "/webhook.v1.CatalogService/ListEventTypes": _CATALOG,
    "/webhook.v1.CatalogService/UpdateEventType": _CHANGE_CATALOG,
    "/webhook.v1.CatalogService/DeleteEventType": _CHANGE_CATALOG,
    "/webhook.v1.CatalogService/CreateEventTypeVersion": _CHANGE_CATALOG,
    "/webhook.v1.CatalogService/GetEventTypeVersion": _CATALOG,
    "/webhook.v1.CatalogService/ListEventTypeVersions": _CATALOG,
    "/webhook.v1.CatalogService/UpdateEventTypeVersion": _CHANGE_CATALOG,
    "/webhook.v1.CatalogService/CheckEventTypeVersion": _CATALOG,
    # Current versions alone, which are made for consumers.
    "/webhook.v1.CatalogService/ExportCatalog": _READ,
    # For readers without a key.
    "/webhook.v1.CatalogService/GetPublishedCatalog": Rule(Role.SERVICE, Service.ALONE),
    "/webhook.v1.CatalogService/ImportCatalog": _CHANGE_CATALOG,
    "/webhook.v1.DeliveryService/GetDelivery": _READ,
    "/webhook.v1.DeliveryService/ListDeliveries": _LIST,
    "/webhook.v1.DeliveryService/SearchDeliveries": _READ,
    "/webhook.v1.DeliveryService/StreamDeliveries": _READ,
    "/webhook.v1.DeliveryService/SummarizeDeliveries": _READ,
    "/webhook.v1.DeliveryService/Watch": _READ,
    "/webhook.v1.DeliveryService/RetryDelivery": _RECOVER,
    "/webhook.v1.DeliveryService/BatchRetryDeliveries": _RECOVER,
    "/webhook.v1.DeliveryService/CancelDelivery": _RECOVER,
    "/webhook.v1.DeliveryService/TestSubscription": _TEST,
    "/webhook.v1.DeliveryService/GetSubscriptionTest": _TEST,
    "/webhook.v1.DeliveryService/PullDeliveries": _PULL,
    "/webhook.v1.DeliveryService/Pull": _PULL,
    "/webhook.v1.DeliveryService/Report": _PULL,
    "/webhook.v1.JobService/PreviewJob": _RECOVER,
    "/webhook.v1.JobService/CreateJob": _RECOVER,
    "/webhook.v1.JobService/GetJob": _READ,
    "/webhook.v1.JobService/ListJobs": _LIST,
    "/webhook.v1.JobService/PauseJob": _RECOVER,
    "/webhook.v1.JobService/ResumeJob": _RECOVER,
    "/webhook.v1.JobService/CancelJob": _RECOVER,
    "/webhook.v1.AnalyticsService/GetStats": _LIST,
    "/webhook.v1.AnalyticsService/GetStatsSeries": _LIST,
    "/webhook.v1.AnalyticsService/GetRefusals": _LIST,
    # Each count states its tenant.
    "/webhook.v1.AnalyticsService/AddRefusals": Rule(Role.SERVICE, Service.ALONE),
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
    "/webhook.v1.AccessService/DescribeSignIn": Rule(Role.SERVICE, Service.ALONE),
    "/webhook.v1.AccessService/BeginSignIn": Rule(Role.SERVICE, Service.ALONE),
    "/webhook.v1.AccessService/CompleteSignIn": Rule(Role.SERVICE, Service.ALONE),
    "/webhook.v1.AccessService/ListSessions": _ADMIN,
    "/webhook.v1.AccessService/RevokeSession": _ADMIN,
    "/webhook.v1.AccessService/CreatePortalLink": Rule(Role.READ, Service.ACTOR),
    "/webhook.v1.AccessService/RevokePortalLink": Rule(Role.READ, Service.ACTOR),
    "/webhook.v1.AccessService/GetPortalLink": Rule(Role.SERVICE, Service.ALONE),
    "/webhook.v1.AccessService/ExchangePortalLink": Rule(Role.SERVICE, Service.ALONE),
    "/webhook.v1.AuditService/ListAuditEntries": _ADMIN,
    "/webhook.v1.SystemService/GetSystem": _ADMIN,
    "/webhook.v1.SystemService/NoteProcess": Rule(Role.SERVICE, Service.ALONE),
    "/webhook.v1.QueueService/GetQueue": Rule(Role.ADMIN, Service.ACTOR),
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


def check_rule(role: Role, capabilities: Collection[PortalCapability], rule: Rule) -> None:
    """Raise PermissionDenied unless a method may be called with this role; by a portal link, with its capabilities."""
    if role is not Role.PORTAL:
        check(role, rule.least)
    elif rule.portal is None:
        raise errors.PermissionDenied(
            "this requires an API key; no portal link allows it", reason=errors.ErrorReason.ROLE_INSUFFICIENT
        )
    elif rule.portal not in capabilities:
        raise missing(rule.portal)


def missing(capability: PortalCapability) -> errors.PermissionDenied:
    """Return the error for a portal link that lacks a capability."""
    message = f"this requires a portal link with the capability {capability}"
    return errors.PermissionDenied(message, reason=errors.ErrorReason.CAPABILITY_MISSING)


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
