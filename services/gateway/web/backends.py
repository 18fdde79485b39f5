"""The gRPC services behind the gateway: the stubs that routes call for their caller, and readiness."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Protocol, TypeAlias, TypeVar

import fastapi
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.webhook.v1 import (
    access_pb2_grpc,
    analytics_pb2,
    analytics_pb2_grpc,
    audit_pb2_grpc,
    catalog_pb2_grpc,
    deliveries_pb2,
    deliveries_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    jobs_pb2_grpc,
    subscriptions_pb2_grpc,
    system_pb2_grpc,
)
from services.gateway.web import callers, problems
from services.gateway.web.callers import Caller
from services.platform import errors
from services.platform.auth import identity
from services.platform.auth.authenticator import KEY_HEADER
from services.platform.auth.identity import ACTOR_HEADER
from services.platform.auth.roles import Role
from services.platform.process.probes import Health
from services.platform.process.shares import OWNER, ConcurrencyLimit

if TYPE_CHECKING:  # the asynchronous stubs exist only for the type checker
    from protos.webhook.v1.access_pb2_grpc import AccessServiceAsyncStub
    from protos.webhook.v1.analytics_pb2_grpc import AnalyticsServiceAsyncStub
    from protos.webhook.v1.audit_pb2_grpc import AuditServiceAsyncStub
    from protos.webhook.v1.catalog_pb2_grpc import CatalogServiceAsyncStub
    from protos.webhook.v1.deliveries_pb2_grpc import DeliveryServiceAsyncStub
    from protos.webhook.v1.ingest_pb2_grpc import IngestServiceAsyncStub
    from protos.webhook.v1.jobs_pb2_grpc import JobServiceAsyncStub
    from protos.webhook.v1.subscriptions_pb2_grpc import SubscriptionServiceAsyncStub
    from protos.webhook.v1.system_pb2_grpc import QueueServiceAsyncStub, SystemServiceAsyncStub


class _OfTenant(Protocol):
    """A request that states a tenant."""

    tenant_id: str


OfTenant = TypeVar("OfTenant", bound=_OfTenant)
Request = TypeVar("Request")
Answer = TypeVar("Answer")
Method: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[Request, Answer]"
StreamMethod: TypeAlias = "grpc.aio.UnaryStreamMultiCallable[Request, Answer]"
SessionCheck: TypeAlias = Callable[[], Awaitable[object]]


@dataclass(frozen=True, kw_only=True)
class Channels:
    """A channel to each service."""

    ingest: grpc.aio.Channel
    delivery: grpc.aio.Channel
    # To the same service, for calls of consumers, which may wait for long.
    pulling: grpc.aio.Channel
    # To the same service, for streams that last.
    watching: grpc.aio.Channel
    analytics: grpc.aio.Channel


# Consumers that pull at once by this gateway, fewer than calls share a channel; a single tenant gets half.
MAX_PULLERS = 90


def _pullers() -> ConcurrencyLimit:
    return ConcurrencyLimit(
        MAX_PULLERS,
        none_free="too many consumers are pulling by this gateway; try again",
        too_many="too many consumers of this tenant are pulling; pull more at once instead",
    )


# Of responses to pulls that consumers have not read. A single tenant that has half of them pulls nothing more until it
# has read some; what pulls in progress return is besides.
MAX_UNREAD_BYTES = 64 << 20


def _unread() -> ConcurrencyLimit:
    return ConcurrencyLimit(
        MAX_UNREAD_BYTES,
        none_free="too many responses to pulls have not been read at this gateway; try again",
        too_many="consumers of this tenant have not read what they pulled; read it first, or pull less at once",
    )


@dataclass(frozen=True, kw_only=True)
class Backends:
    """A stub of each service, and the timeout of a call."""

    subscriptions: "SubscriptionServiceAsyncStub"
    ingest: "IngestServiceAsyncStub"
    catalog: "CatalogServiceAsyncStub"
    deliveries: "DeliveryServiceAsyncStub"
    pulls: "DeliveryServiceAsyncStub"
    watching: "DeliveryServiceAsyncStub"
    jobs: "JobServiceAsyncStub"
    analytics: "AnalyticsServiceAsyncStub"
    # Of all tenants; their requests name them themselves, and they ask for the caller's own key.
    access: "AccessServiceAsyncStub"
    audit: "AuditServiceAsyncStub"
    system: "SystemServiceAsyncStub"
    # For operators, too, but it asks only for the id of their key.
    queue: "QueueServiceAsyncStub"
    timeout_seconds: float
    pullers: ConcurrencyLimit = dataclasses.field(default_factory=_pullers, repr=False)
    # The bytes of what they have not read.
    unread: ConcurrencyLimit = dataclasses.field(default_factory=_unread, repr=False)
    # The caller on whose behalf the calls are made, once it is known, and its API key.
    caller: Caller | None = None
    key: str | None = dataclasses.field(default=None, repr=False)
    # Of a caller who is signed in by a session: raises Unauthenticated once it has ended.
    session_check: "SessionCheck | None" = dataclasses.field(default=None, repr=False)

    @classmethod
    def over(cls, channels: Channels, *, timeout_seconds: float) -> "Backends":
        """Return the stubs over these channels."""
        return cls(
            subscriptions=subscriptions_pb2_grpc.SubscriptionServiceStub(channels.ingest),
            ingest=ingest_pb2_grpc.IngestServiceStub(channels.ingest),
            catalog=catalog_pb2_grpc.CatalogServiceStub(channels.ingest),
            deliveries=deliveries_pb2_grpc.DeliveryServiceStub(channels.delivery),
            pulls=deliveries_pb2_grpc.DeliveryServiceStub(channels.pulling),
            watching=deliveries_pb2_grpc.DeliveryServiceStub(channels.watching),
            jobs=jobs_pb2_grpc.JobServiceStub(channels.delivery),
            analytics=analytics_pb2_grpc.AnalyticsServiceStub(channels.analytics),
            access=access_pb2_grpc.AccessServiceStub(channels.ingest),
            audit=audit_pb2_grpc.AuditServiceStub(channels.ingest),
            system=system_pb2_grpc.SystemServiceStub(channels.ingest),
            queue=system_pb2_grpc.QueueServiceStub(channels.delivery),
            timeout_seconds=timeout_seconds,
        )

    def acting_for(self, caller: Caller, key: str | None, session_check: "SessionCheck | None" = None) -> "Backends":
        """Return the same, for calls on behalf of this caller with this API key, or the token of a session."""
        return dataclasses.replace(self, caller=caller, key=key, session_check=session_check)

    @property
    def tenant_id(self) -> str:
        """The tenant that the calls act in; empty where no caller is known."""
        return "" if self.caller is None else self.caller.tenant_id

    async def check_session(self) -> None:
        """Raise Unauthenticated if the caller's session has ended since the request began.

        Whether their key has, the services look at with each call.
        """
        if self.session_check is not None:
            await self.session_check()

    async def call(
        self, method: "Method[OfTenant, Answer]", request: OfTenant, *, timeout_seconds: float | None = None
    ) -> Answer:
        """Call a method in the caller's tenant, and as the caller's key; `timeout_seconds` is for a slow one.

        A list may be for all tenants; the service checks that the caller is allowed that.
        """
        if self.caller is not None and request.tenant_id != identity.ALL_TENANTS:
            request.tenant_id = self.caller.tenant_id
        return await self._answer(method, request, None, timeout_seconds)

    def stream(
        self, method: "StreamMethod[OfTenant, Answer]", request: OfTenant
    ) -> "grpc.aio.UnaryStreamCall[OfTenant, Answer]":
        """Make a call in the caller's tenant, and as the caller's key, whose answers are a stream without an end."""
        metadata: tuple[tuple[str, str], ...] = ()
        if self.caller is not None:
            request.tenant_id = self.caller.tenant_id
            metadata = ((ACTOR_HEADER, self.caller.key_id),)
        return method(request, metadata=metadata)

    async def operate(self, method: "Method[Request, Answer]", request: Request) -> Answer:
        """Call a method for operators, whose request names its tenant itself.

        Only these get the caller's key itself, so that the other services cannot collect keys.
        """
        return await self._answer(method, request, self.key)

    async def inspect(self, method: "Method[Request, Answer]", request: Request) -> Answer:
        """Call a method for operators that is of no tenant, and reads: it gets the id of the caller's key."""
        return await self._answer(method, request, None)

    async def _answer(
        self,
        method: "Method[Request, Answer]",
        request: Request,
        key: str | None,
        timeout_seconds: float | None = None,
    ) -> Answer:
        timeout_seconds = timeout_seconds or self.timeout_seconds
        if self.caller is None:
            return await method(request, timeout=timeout_seconds)
        metadata = ((ACTOR_HEADER, self.caller.key_id), *(((KEY_HEADER, key),) if key else ()))
        OWNER.set(self.caller.tenant_id)  # each request has its own context
        try:
            return await method(request, timeout=timeout_seconds, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if self.caller.crossing:
                raise problems.refusal_of(error, tenant_field=callers.TENANT) from None
            raise

    def everywhere(self, tenant: str | None) -> str:
        """Return the tenant for a list's request: `*` if all tenants are requested, otherwise empty.

        Raise PermissionDenied if all are requested and the caller is not an admin.
        """
        if tenant is None or self.caller is None:
            return ""
        if self.caller.role is not Role.ADMIN:
            raise callers.refused(callers.forbidden("tenant"))
        if self.caller.tenant_stated:
            raise errors.InvalidArgument.field("tenant", f"cannot be combined with {callers.TENANT}")
        return identity.ALL_TENANTS

    def stated(self, tenant_id: str | None, tenant: str | None) -> str:
        """Return the tenant to which an operator limits a list, by its filter or by X-Tenant; empty for all."""
        everywhere = self.everywhere(tenant)
        if tenant_id or everywhere or self.caller is None or not self.caller.tenant_stated:
            return tenant_id or ""
        return self.caller.tenant_id


async def _of(request: fastapi.Request) -> Backends:
    """Return the stubs for the caller, the only ones that a route gets."""
    backends: Backends = request.app.state.backends
    scope = request.scope
    return backends.acting_for(callers.of(scope), callers.key_of(scope), scope.get(callers.SESSION_CHECK))


# The type of a route parameter that receives the stubs for the caller.
Injected = Annotated[Backends, fastapi.Depends(_of)]

# Readiness by the services' standard gRPC health checks, made at most once a second.
CHECK_TIMEOUT_SECONDS = 0.5
FRESH_SECONDS = 1.0


class NotServing(Exception):
    """The service cannot be reached, or reports that it cannot serve."""


class ServiceCheck:
    """Raises NotServing unless a service reports SERVING; a result is shared and kept for a second."""

    def __init__(self, channel: grpc.aio.Channel, service: str) -> None:
        self._request = health_pb2.HealthCheckRequest(service=service)
        self._check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # not in its stubs
        self._asked = -FRESH_SECONDS
        self._failure: str | None = None
        # Whether it has ever responded.
        self._answered = False
        self._lock = asyncio.Lock()

    async def has_answered(self) -> None:
        """Raise NotServing until the service has responded once, with any status."""
        try:
            await self()
        except NotServing:
            if not self._answered:
                raise

    async def __call__(self) -> None:
        """Check, unless the last result is fresh."""
        async with self._lock:
            if time.monotonic() - self._asked >= FRESH_SECONDS:
                self._failure = await self._ask()
                self._asked = time.monotonic()
        if self._failure is not None:
            raise NotServing(self._failure)

    async def _ask(self) -> str | None:
        try:
            answer = await self._check(self._request, timeout=CHECK_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        self._answered = True
        serving = answer.status == health_pb2.HealthCheckResponse.SERVING
        return None if serving else str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def watch(health: Health, channels: Channels) -> None:
    """Add the services to readiness, which waits for the first response from ingest.

    From then on the gateway is ready even if ingest or its store is not: it can respond with 503.
    """
    ingest = ServiceCheck(channels.ingest, _name(ingest_pb2, "IngestService"))
    health.add_readiness("ingest", ingest.has_answered)
    health.add_optional("ingest", ingest)
    health.add_optional("delivery", ServiceCheck(channels.delivery, _name(deliveries_pb2, "DeliveryService")))
    health.add_optional("analytics", ServiceCheck(channels.analytics, _name(analytics_pb2, "AnalyticsService")))


def _name(module: ModuleType, service: str) -> str:
    return str(module.DESCRIPTOR.services_by_name[service].full_name)
