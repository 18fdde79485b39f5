"""Every row belongs to a tenant, and every call acts for one."""

import re

from services.common import errors
from services.common.auth import identity
from services.common.auth.roles import Role

DEFAULT = identity.DEFAULT_TENANT
# Who may state a tenant other than their own.
_ANY_TENANT = frozenset((Role.SERVICE, Role.ANYBODY))
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def of(requested: str) -> str:
    """The tenant that a request, or an item of one, acts for: what it states, or that of whoever calls.

    Only the service itself may state a tenant other than its own: PermissionDenied. InvalidArgument for what cannot be
    one. Each method asks this for each tenant_id that it gets; none reads one by itself.
    """
    caller = identity.CALLER.get()
    if not requested or requested == caller.tenant_id:
        return caller.tenant_id
    if caller.role not in _ANY_TENANT:
        violation = errors.Violation(field="tenant_id", description="must be that of the key, or empty")
        message = f"{violation.field}: {violation.description}"
        raise errors.PermissionDenied(message, reason="TENANT_FORBIDDEN", violations=[violation])
    return check("tenant_id", requested)


def check(field: str, text: str) -> str:
    """The id of a tenant, which need not exist; InvalidArgument naming `field` when it cannot be one."""
    if not _ID.fullmatch(text):
        raise errors.InvalidArgument.field(field, "must be 1 to 63 characters of a-z 0-9 _ -, the first of a-z 0-9")
    return text
