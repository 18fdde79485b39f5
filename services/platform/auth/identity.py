"""Who calls, and the tenant that a call acts for.

Every row belongs to a tenant. The interceptor of grpc/server.py notes the caller of a call.
"""

import contextvars
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from services.platform import errors
from services.platform.auth.roles import Capability, PortalCapability, Role

DEFAULT_TENANT = "default"
BOOTSTRAP_KEY_ID = "bootstrap"
# What a gateway sends besides its service key: the id of the API key that it acts for.
ACTOR_HEADER = "webhook-actor"
# How the audit log names a caller without a key.
ANONYMOUS_ID = "anonymous"


# What the id of a portal link follows, where others have the id of a key.
PORTAL_PREFIX = "portal:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Portal:
    """What a portal link allows."""

    capabilities: frozenset[PortalCapability]
    # Whose objects it is limited to; None: all of its tenant.
    subscriptions: frozenset[UUID] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """The holder of a key, or of a portal link."""

    tenant_id: str
    role: Role
    # UUID of the key, BOOTSTRAP_KEY_ID, ANONYMOUS_ID where none was shown, PORTAL_PREFIX with the UUID of a portal
    # link, or empty for the service's own.
    key_id: str = ""
    # None: API_KEY_REQUESTS_PER_SECOND.
    requests_per_second: float | None = None
    # Besides those of its role.
    capabilities: frozenset[Capability] = frozenset()
    # The only ones that it pulls from; empty: all of its tenant.
    pull_subscription_ids: frozenset[UUID] = frozenset()
    # Whether the call came from a gateway, whose decision to trace it is followed.
    internal: bool = False
    # Of a portal link.
    portal: Portal | None = None

    @property
    def portal_capabilities(self) -> frozenset[PortalCapability]:
        """What it may do as the holder of a portal link; nothing for others."""
        return self.portal.capabilities if self.portal else frozenset()


# A gateway that acts for no API key.
INTERNAL = Identity(tenant_id=DEFAULT_TENANT, role=Role.SERVICE, internal=True)
# A caller without a key, where none is required. It may be a gateway.
ANONYMOUS = Identity(tenant_id=DEFAULT_TENANT, role=Role.ANYBODY, key_id=ANONYMOUS_ID, internal=True)
# Who asks for the health of a process, with or without a key. There is no such tenant: it counts calls in progress.
STRANGER = Identity(tenant_id="", role=Role.READ)
BOOTSTRAP = Identity(tenant_id=DEFAULT_TENANT, role=Role.ADMIN, key_id=BOOTSTRAP_KEY_ID)

# Of the gRPC call that is being answered. There is no default: a call without one is a bug.
CALLER: contextvars.ContextVar[Identity] = contextvars.ContextVar("caller")

# Finds the caller of the call again, in memory for seconds; raises Unauthenticated once their key has ended.
ADMIT: contextvars.ContextVar[Callable[[], Awaitable[Identity]] | None] = contextvars.ContextVar("admit", default=None)

# How a list asks for all tenants.
ALL_TENANTS = "*"
_ALL_CAPABILITIES = frozenset((Role.ANYBODY, Role.ADMIN))
# Who may state a tenant other than their own.
_ANY_TENANT = frozenset((Role.SERVICE, Role.ANYBODY, Role.ADMIN))
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def tenant_of(requested: str) -> str:
    """Return the tenant that a request, or an item of one, acts for: the one that it states, or else the caller's.

    PermissionDenied unless the caller may state it: the gateway and admins may state any. InvalidArgument for what
    cannot be one. Each method asks this for each tenant_id that it gets; none reads one by itself.
    """
    caller = CALLER.get()
    if not requested or requested == caller.tenant_id:
        return caller.tenant_id
    if caller.role not in _ANY_TENANT:
        violation = errors.Violation(
            field="tenant_id", description="must be empty or the key's tenant, unless the key has role admin"
        )
        message = f"{violation.field}: {violation.description}"
        raise errors.PermissionDenied(message, reason=errors.ErrorReason.TENANT_FORBIDDEN, violations=[violation])
    return check_tenant("tenant_id", requested)


def tenant_of_list(requested: str) -> str | None:
    """Return the tenant whose objects a list holds; None for all tenants, which an admin asks for by `*`."""
    if requested == ALL_TENANTS and CALLER.get().role in _ANY_TENANT:
        return None
    return tenant_of(requested)


def limited_to() -> frozenset[UUID] | None:
    """Return the subscriptions that the caller's portal link is limited to; None if there is no limit.

    Background work of the service has no caller, and therefore no limit.
    """
    caller = CALLER.get(None)
    return None if caller is None or caller.portal is None else caller.portal.subscriptions


def has(capability: PortalCapability) -> bool:
    """Return whether the caller may do this: others than holders of portal links may what their role allows."""
    caller = CALLER.get(None)
    portal = None if caller is None else caller.portal
    return portal is None or capability in portal.capabilities


async def check_again() -> None:
    """Raise Unauthenticated if the key of the caller has ended while their call waited."""
    if (admit := ADMIT.get()) is not None:
        await admit()


def check_capability(capability: Capability) -> None:
    """PermissionDenied unless the caller has a capability."""
    caller = CALLER.get()
    if caller.role in _ALL_CAPABILITIES or capability in caller.capabilities:
        return
    message = f"this requires an API key with the capability {capability}, or with role {Role.ADMIN}"
    raise refused(message, errors.ErrorReason.CAPABILITY_MISSING)


def refused(message: str, reason: errors.ErrorReason) -> errors.PermissionDenied:
    """Return the error for a caller who may not do this, by which a gateway tells it from one of its service key."""
    violations = [errors.Violation(field=ACTOR_HEADER, description=message)] if CALLER.get().internal else []
    return errors.PermissionDenied(message, reason=reason, violations=violations)


def check_pulls_from(subscription_id: UUID) -> None:
    """PermissionDenied unless the caller may pull from a subscription of its tenant."""
    caller = CALLER.get()
    if not caller.pull_subscription_ids or subscription_id in caller.pull_subscription_ids:
        return
    description = "pulls only from the subscriptions in its pull_subscription_ids"
    violations = [errors.Violation(field=ACTOR_HEADER, description=description)] if caller.internal else []
    message = f"this API key {description}"
    raise errors.PermissionDenied(message, reason=errors.ErrorReason.SUBSCRIPTION_FORBIDDEN, violations=violations)


def check_tenant(field: str, text: str) -> str:
    """Return a valid tenant id, which need not exist; InvalidArgument naming `field` otherwise."""
    if not _ID.fullmatch(text):
        raise errors.InvalidArgument.field(field, "must be 1 to 63 characters of a-z 0-9 _ - and start with a-z or 0-9")
    return text
