"""Who calls. The interceptor of grpc_server.py notes it for the call; services/common/tenants.py reads it."""

import contextvars
from dataclasses import dataclass

from services.common.auth.roles import Role

DEFAULT_TENANT = "default"
BOOTSTRAP_KEY_ID = "bootstrap"


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """The holder of a key."""

    tenant_id: str
    role: Role
    # UUID of the key, BOOTSTRAP_KEY_ID, or empty for the service's own.
    key_id: str = ""
    # None: API_KEY_REQUESTS_PER_SECOND.
    requests_per_second: float | None = None

    @property
    def internal(self) -> bool:
        """Whether it is the service itself, which alone may act for any tenant."""
        return self.role is Role.INTERNAL


# A process of this service; and whoever calls without a key where none is required.
INTERNAL = Identity(tenant_id=DEFAULT_TENANT, role=Role.INTERNAL)
BOOTSTRAP = Identity(tenant_id=DEFAULT_TENANT, role=Role.ADMIN, key_id=BOOTSTRAP_KEY_ID)

# Of the gRPC call that is being answered. There is no default: a call without one is a bug.
CALLER: contextvars.ContextVar[Identity] = contextvars.ContextVar("caller")
