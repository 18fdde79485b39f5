"""Who calls. The interceptor of grpc_server.py notes it for the call; services/common/tenants.py reads it."""

import contextvars
from dataclasses import dataclass

from services.common.auth.roles import Role

DEFAULT_TENANT = "default"
BOOTSTRAP_KEY_ID = "bootstrap"
# Actors that are no key, as the audit log names them.
SERVICE, ANONYMOUS_ID = "service", "anonymous"


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """The holder of a key."""

    tenant_id: str
    role: Role
    # UUID of the key, BOOTSTRAP_KEY_ID, ANONYMOUS_ID where none was shown, or empty for the service's own.
    key_id: str = ""
    # None: API_KEY_REQUESTS_PER_SECOND.
    requests_per_second: float | None = None
    # Of the service itself: the key, in the words of key_id, on whose behalf it calls.
    on_behalf_of: str = ""

    @property
    def internal(self) -> bool:
        """Whether it is the service itself, which alone may act for any tenant."""
        return self.role is Role.INTERNAL

    @property
    def actor(self) -> str:
        """Whoever is behind the call, for the audit log."""
        return self.on_behalf_of or self.key_id or SERVICE


# A process of this service.
INTERNAL = Identity(tenant_id=DEFAULT_TENANT, role=Role.INTERNAL)
# Whoever calls without a key where none is required.
ANONYMOUS = Identity(tenant_id=DEFAULT_TENANT, role=Role.INTERNAL, key_id=ANONYMOUS_ID)
BOOTSTRAP = Identity(tenant_id=DEFAULT_TENANT, role=Role.ADMIN, key_id=BOOTSTRAP_KEY_ID)

# Of the gRPC call that is being answered. There is no default: a call without one is a bug.
CALLER: contextvars.ContextVar[Identity] = contextvars.ContextVar("caller")
