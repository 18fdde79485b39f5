"""Who calls. The interceptor of grpc/server.py notes it for the call; services/platform/auth/tenants.py reads it."""

import contextvars
from dataclasses import dataclass

from services.platform.auth.roles import Role

DEFAULT_TENANT = "default"
BOOTSTRAP_KEY_ID = "bootstrap"
# How the audit log names a caller without a key.
ANONYMOUS_ID = "anonymous"


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """The holder of a key."""

    tenant_id: str
    role: Role
    # UUID of the key, BOOTSTRAP_KEY_ID, ANONYMOUS_ID where none was shown, or empty for the service's own.
    key_id: str = ""
    # None: API_KEY_REQUESTS_PER_SECOND.
    requests_per_second: float | None = None
    # Whether the call came from a gateway, whose decision to trace it is followed.
    internal: bool = False


# A gateway that acts for no API key.
INTERNAL = Identity(tenant_id=DEFAULT_TENANT, role=Role.SERVICE, internal=True)
# A caller without a key, where none is required. It may be a gateway.
ANONYMOUS = Identity(tenant_id=DEFAULT_TENANT, role=Role.ANYBODY, key_id=ANONYMOUS_ID, internal=True)
BOOTSTRAP = Identity(tenant_id=DEFAULT_TENANT, role=Role.ADMIN, key_id=BOOTSTRAP_KEY_ID)

# Of the gRPC call that is being answered. There is no default: a call without one is a bug.
CALLER: contextvars.ContextVar[Identity] = contextvars.ContextVar("caller")
