"""The gRPC services behind the gateway, as the routes use them: for the tenant of whoever calls."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol, TypeAlias, TypeVar

import fastapi
import grpc

from protos.webhook.v1 import (
    access_pb2_grpc,
    analytics_pb2_grpc,
    audit_pb2_grpc,
    deliveries_pb2_grpc,
    ingest_pb2_grpc,
    subscriptions_pb2_grpc,
)
from services.gateway.web import callers, problems
from services.gateway.web.callers import Caller
from services.platform import errors
from services.platform.auth import tenants
from services.platform.auth.authenticator import ACTOR_HEADER, KEY_HEADER
from services.platform.auth.roles import Role

if TYPE_CHECKING:  # the asynchronous stubs exist for the type checker alone
    from protos.webhook.v1.access_pb2_grpc import AccessServiceAsyncStub
    from protos.webhook.v1.analytics_pb2_grpc import AnalyticsServiceAsyncStub
    from protos.webhook.v1.audit_pb2_grpc import AuditServiceAsyncStub
    from protos.webhook.v1.deliveries_pb2_grpc import DeliveryServiceAsyncStub
    from protos.webhook.v1.ingest_pb2_grpc import IngestServiceAsyncStub
    from protos.webhook.v1.subscriptions_pb2_grpc import SubscriptionServiceAsyncStub


class _OfTenant(Protocol):
    """A request that states a tenant."""

    tenant_id: str


OfTenant = TypeVar("OfTenant", bound=_OfTenant)
Request = TypeVar("Request")
Answer = TypeVar("Answer")
Method: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[Request, Answer]"


@dataclass(frozen=True, kw_only=True)
class Channels:
    """A channel to each process."""

    ingest: grpc.aio.Channel
    delivery: grpc.aio.Channel
    analytics: grpc.aio.Channel


@dataclass(frozen=True, kw_only=True)
class Backends:
    """A stub of each service, and the time that a call may take."""

    subscriptions: "SubscriptionServiceAsyncStub"
    ingest: "IngestServiceAsyncStub"
    deliveries: "DeliveryServiceAsyncStub"
    analytics: "AnalyticsServiceAsyncStub"
    # Of all tenants; their requests name them themselves, and they ask for the caller's own key.
    access: "AccessServiceAsyncStub"
    audit: "AuditServiceAsyncStub"
    timeout_seconds: float
    # For whom the calls are made, once that is known, and the API key that they showed.
    caller: Caller | None = None
    key: str | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def over(cls, channels: Channels, *, timeout_seconds: float) -> "Backends":
        """The stubs over these channels."""
        return cls(
            subscriptions=subscriptions_pb2_grpc.SubscriptionServiceStub(channels.ingest),
            ingest=ingest_pb2_grpc.IngestServiceStub(channels.ingest),
            deliveries=deliveries_pb2_grpc.DeliveryServiceStub(channels.delivery),
            analytics=analytics_pb2_grpc.AnalyticsServiceStub(channels.analytics),
            access=access_pb2_grpc.AccessServiceStub(channels.ingest),
            audit=audit_pb2_grpc.AuditServiceStub(channels.ingest),
            timeout_seconds=timeout_seconds,
        )

    def acting_for(self, caller: Caller, key: str | None) -> "Backends":
        """Return the same for the calls of this caller, who showed this API key."""
        return dataclasses.replace(self, caller=caller, key=key)

    async def call(self, method: "Method[OfTenant, Answer]", request: OfTenant) -> Answer:
        """Call a method in the caller's tenant, and as the caller's key.

        A list may ask for all tenants; the service checks that this caller may.
        """
        if self.caller is not None and request.tenant_id != tenants.EVERYWHERE:
            request.tenant_id = self.caller.tenant_id
        return await self._answer(method, request, None)

    async def operate(self, method: "Method[Request, Answer]", request: Request) -> Answer:
        """Call a method for operators, whose request names its tenant itself.

        Only these get the caller's key itself, so that nobody collects keys in the other services.
        """
        return await self._answer(method, request, self.key)

    async def _answer(self, method: "Method[Request, Answer]", request: Request, key: str | None) -> Answer:
        if self.caller is None:
            return await method(request, timeout=self.timeout_seconds)
        metadata = ((ACTOR_HEADER, self.caller.key_id), *(((KEY_HEADER, key),) if key else ()))
        try:
            return await method(request, timeout=self.timeout_seconds, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if self.caller.crossing:
                raise problems.refusal_of(error, tenant_field=callers.TENANT) from None
            raise

    def everywhere(self, tenant: str | None) -> str:
        """Return what a list's request states as its tenant: `*` if that is asked for, else nothing yet.

        PermissionDenied unless the caller is an admin.
        """
        if tenant is None or self.caller is None:
            return ""
        if self.caller.role is not Role.ADMIN:
            raise callers.refused(callers.forbidden("tenant"))
        if self.caller.tenant_stated:
            raise errors.InvalidArgument.field("tenant", f"cannot be combined with {callers.TENANT}")
        return tenants.EVERYWHERE

    def stated(self, tenant_id: str | None, tenant: str | None) -> str:
        """Return the tenant that an operator narrows a list to, by its filter or by X-Tenant; empty for all."""
        everywhere = self.everywhere(tenant)
        if tenant_id or everywhere or self.caller is None or not self.caller.tenant_stated:
            return tenant_id or ""
        return self.caller.tenant_id


async def _of(request: fastapi.Request) -> Backends:
    """Those of the caller's tenant: no route gets any others."""
    backends: Backends = request.app.state.backends
    return backends.acting_for(callers.of(request.scope), callers.key_of(request.scope))


# The type of a route's parameter that gets the application's Backends.
Injected = Annotated[Backends, fastapi.Depends(_of)]
