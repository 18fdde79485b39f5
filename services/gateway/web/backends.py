"""The gRPC services behind the gateway, as the routes use them: for the tenant of whoever calls."""

import dataclasses
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, cast

import grpc
from fastapi import Depends, Request

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
    # For whom the calls are made, once that is known.
    caller: Caller | None = None

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
        """Return stubs that state this caller: the tenant in every request, and the API key in every call.

        Only services for operators get the key itself, so that nobody collects keys in the others.
        """
        return dataclasses.replace(
            self,
            caller=caller,
            subscriptions=cast("SubscriptionServiceAsyncStub", _Stating(self.subscriptions, caller)),
            ingest=cast("IngestServiceAsyncStub", _Stating(self.ingest, caller)),
            deliveries=cast("DeliveryServiceAsyncStub", _Stating(self.deliveries, caller)),
            analytics=cast("AnalyticsServiceAsyncStub", _Stating(self.analytics, caller)),
            access=cast("AccessServiceAsyncStub", _Stating(self.access, caller, key=key, of_all_tenants=True)),
            audit=cast("AuditServiceAsyncStub", _Stating(self.audit, caller, key=key, of_all_tenants=True)),
        )

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


class _Stating:
    """A stub that states the caller in each call, so that no route can forget it.

    The tenant is in the request, except where requests name tenants themselves. The metadata has the id of the caller's
    key, or the key.
    """

    def __init__(self, stub: object, caller: Caller, *, key: str | None = None, of_all_tenants: bool = False) -> None:
        self._stub = stub
        self._tenant_id = None if of_all_tenants else caller.tenant_id
        self._tenant_field = callers.TENANT if caller.crossing else ""
        self._metadata = ((ACTOR_HEADER, caller.key_id), *(((KEY_HEADER, key),) if key else ()))

    def __getattr__(self, method: str) -> Any:
        call = getattr(self._stub, method)

        def stated(request: Any, *, timeout: float) -> Awaitable[Any]:
            # A list may ask for all tenants; the service checks that this caller may.
            if self._tenant_id is not None and request.tenant_id != tenants.EVERYWHERE:
                request.tenant_id = self._tenant_id
            answer: Awaitable[Any] = call(request, timeout=timeout, metadata=self._metadata)
            return _naming(answer, self._tenant_field) if self._tenant_field else answer

        return stated


async def _naming(answer: Awaitable[Any], tenant_field: str) -> Any:
    try:
        return await answer
    except grpc.aio.AioRpcError as error:
        raise problems.refusal_of(error, tenant_field=tenant_field) from None


async def _of(request: Request) -> Backends:
    """Those of the caller's tenant: no route gets any others."""
    backends: Backends = request.app.state.backends
    return backends.acting_for(callers.of(request.scope), callers.key_of(request.scope))


# The type of a route's parameter that gets the application's Backends.
Injected = Annotated[Backends, Depends(_of)]
