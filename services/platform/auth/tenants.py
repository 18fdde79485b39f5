"""Every row belongs to a tenant, and every call acts for one."""

import re

from services.platform import errors
from services.platform.auth import identity
from services.platform.auth.roles import Role

DEFAULT = identity.DEFAULT_TENANT
# How a list asks for all tenants.
EVERYWHERE = "*"
# Who may state a tenant other than their own.
_ANY_TENANT = frozenset((Role.SERVICE, Role.ANYBODY, Role.ADMIN))
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def of(requested: str) -> str:
    """Return the tenant that a request, or an item of one, acts for: the one that it states, or else the caller's.

    PermissionDenied unless the caller may state it: the gateway and admins may state any. InvalidArgument for what
    cannot be one. Each method asks this for each tenant_id that it gets; none reads one by itself.
    """
    caller = identity.CALLER.get()
    if not requested or requested == caller.tenant_id:
        return caller.tenant_id
    if caller.role not in _ANY_TENANT:
        violation = errors.Violation(
            field="tenant_id", description="must be empty or the key's tenant, unless the key has role admin"
        )
        message = f"{violation.field}: {violation.description}"
        raise errors.PermissionDenied(message, reason=errors.ErrorReason.TENANT_FORBIDDEN, violations=[violation])
    return check("tenant_id", requested)


def of_list(requested: str) -> str | None:
    """Return the tenant whose objects a list holds; None for all tenants, which an admin asks for by `*`."""
    if requested == EVERYWHERE and identity.CALLER.get().role in _ANY_TENANT:
        return None
    return of(requested)


def check(field: str, text: str) -> str:
    """Return a valid tenant id, which need not exist; InvalidArgument naming `field` otherwise."""
    if not _ID.fullmatch(text):
        raise errors.InvalidArgument.field(field, "must be 1 to 63 characters of a-z 0-9 _ - and start with a-z or 0-9")
    return text
