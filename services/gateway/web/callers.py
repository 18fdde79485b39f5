"""Who calls the gateway, and how often: ingest is asked about each API key, and the result is kept for seconds."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import grpc
from fastapi import Depends, Request
from starlette.types import Scope

from protos.webhook.v1 import access_pb2 as pb
from services.domain import limits
from services.gateway.settings import GatewaySettings
from services.gateway.web import problems
from services.gateway.web.retries import Retries, Unanswered
from services.platform import errors
from services.platform.auth import identity, keys, known, roles
from services.platform.auth.known import Known
from services.platform.auth.roles import PortalCapability, Role, Rule
from services.platform.grpc import conversion
from services.platform.process import metrics
from services.platform.process.bounds import BoundedCache, TokenBucket

if TYPE_CHECKING:  # the asynchronous stubs exist only for the type checker
    from protos.webhook.v1.access_pb2_grpc import AccessServiceAsyncStub


# The headers are those of draft-ietf-httpapi-ratelimit-headers, versions 08 and later:
# `RateLimit-Policy: "key";q=10;w=1` and `RateLimit: "key";r=7;t=1`.
MAX_RETRY_AFTER_SECONDS = 3600
# A structured field has at most 15 digits.
MAX_WINDOW_SECONDS = 10**9


class Bucket:
    """The rate limit of a key at this process: a token bucket for one second of the rate, and at least one request."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._most = max(1.0, per_second)
        self._bucket = TokenBucket(self._most)
        window = math.ceil(min(MAX_WINDOW_SECONDS, self._most / per_second))
        self._policy = (b"ratelimit-policy", b'"key";q=%d;w=%d' % (self._most, window))

    def take(self) -> None:
        """Take one token; raise RateLimited, with when to retry, if there is none."""
        self._bucket.fill(per_second=self.per_second, most=self._most)
        if not self._bucket.take(1):
            wait = min(MAX_RETRY_AFTER_SECONDS, self._bucket.seconds_to_next(self.per_second))
            raise problems.RateLimited(retry_after_seconds=math.ceil(wait))

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers with the tokens left and the seconds until the bucket is full."""
        full = math.ceil(min(MAX_WINDOW_SECONDS, (self._most - self._bucket.tokens) / self.per_second))
        return [self._policy, (b"ratelimit", b'"key";r=%d;t=%d' % (self._bucket.tokens, full))]


# Of an Authorization header, with room for spaces.
MAX_HEADER_LENGTH = keys.MAX_LENGTH + 64

# An admin acts in another tenant by this header.
TENANT = "X-Tenant"
TENANT_HEADER = TENANT.lower().encode()

# Where a request notes the token of the session that it is signed in by, and what finds out whether it has ended since.
SESSION_TOKEN = "session_token"  # noqa: S105 - a name
SESSION_CHECK = "session_check"

# Tells tokens of sessions from keys where both are known by their text: no header has it, so a token is no key.
_OF_SESSION = "\0"

_USUAL = b"Bearer "
_ROLES: Mapping[int, Role] = {
    pb.ROLE_ADMIN: Role.ADMIN,
    pb.ROLE_WRITE: Role.WRITE,
    pb.ROLE_INGEST: Role.INGEST,
    pb.ROLE_READ: Role.READ,
    pb.ROLE_PORTAL: Role.PORTAL,
    pb.ROLE_PULL: Role.PULL,
}


_CAPABILITIES: Mapping[int, str] = conversion.texts(pb.PortalCapability.DESCRIPTOR)


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """The holder of a key, or of a portal link. `bucket` is None if its requests are not limited."""

    tenant_id: str
    role: Role
    # As in identity.Identity.
    key_id: str
    # Of the key's tenant.
    weight: int = limits.DEFAULT_WEIGHT
    bucket: Bucket | None = None
    # Of a portal link.
    capabilities: frozenset[PortalCapability] = frozenset()
    # Whether the request named its tenant by X-Tenant, and whether that is not the key's tenant.
    tenant_stated: bool = False
    crossing: bool = False


# The caller if no key is required: everything is allowed, in the default tenant.
ANYBODY = Caller(tenant_id=identity.DEFAULT_TENANT, role=Role.ADMIN, key_id=identity.ANONYMOUS_ID)


class Callers:
    """Finds callers by their keys."""

    def __init__(self, access: "AccessServiceAsyncStub", retries: Retries, settings: GatewaySettings) -> None:
        self._authenticate = access.Authenticate
        self._retries = retries
        self._requests_per_second = settings.api_key_requests_per_second
        self._without_key = None if settings.requires_key else ANYBODY
        # By key and not by header, which can be spelled in many ways.
        self._known: Known[bytes, Caller] = Known(self._ask, timeout_seconds=retries.timeout_seconds)
        # By key id, so that a bucket outlives the cached caller.
        self._buckets: BoundedCache[str, Bucket] = BoundedCache(known.SIZE, keep_used=True)

    @property
    def required(self) -> bool:
        """Whether a request without a key is refused."""
        return self._without_key is None

    def known(self, header: bytes | None) -> Caller | None:
        """Return the caller with this header if it is cached: one dictionary lookup."""
        if header is None:
            return self._without_key
        return self._known.fresh(header[len(_USUAL) :]) if header.startswith(_USUAL) else None

    async def find(self, header: bytes | None) -> Caller:
        """Return the caller with this header; raise Unauthenticated if the key is invalid."""
        if header is None:
            raise keys.missing()
        key = keys.of_header(header[:MAX_HEADER_LENGTH].decode("latin-1"))
        if len(header) > MAX_HEADER_LENGTH or not (keys.may_be_portal_token(key) or not keys.why_not(key)):
            raise keys.invalid()
        return await self.find_key(key)

    async def find_session(self, token: str) -> Caller:
        """Return the caller with the session of this token; raise Unauthenticated if it has ended."""
        return await self.find_key(_OF_SESSION + token)

    async def find_key(self, key: str) -> Caller:
        """Return the caller with this key, whose form is that of one; raise Unauthenticated if it is invalid."""
        try:
            return await self._known.find(key.encode())
        except TimeoutError:
            raise errors.Unavailable("the API key cannot be checked now; try again") from None

    async def _ask(self, key: bytes) -> Caller:
        answer = await self._call(pb.AuthenticateRequest(key=key.decode().removeprefix(_OF_SESSION)))
        if answer.HasField("refusal"):
            raise errors.Unauthenticated(answer.refusal.message, reason=errors.ErrorReason.parse(answer.refusal.reason))
        found = answer.caller
        own = self._requests_per_second
        if found.HasField("requests_per_second"):
            own = limits.REQUESTS_PER_SECOND.nearest(found.requests_per_second)
        bucket = self._bucket(found.key_id, own)
        return Caller(
            tenant_id=found.tenant_id,
            role=_ROLES[found.role],
            key_id=found.key_id,
            weight=found.weight or limits.DEFAULT_WEIGHT,  # an ingest of an earlier version does not tell it
            bucket=bucket,
            capabilities=frozenset(map(PortalCapability, map(_CAPABILITIES.__getitem__, found.portal_capabilities))),
        )

    async def _call(self, request: pb.AuthenticateRequest) -> pb.AuthenticateResponse:
        try:
            answer: pb.AuthenticateResponse
            answer, _ = await self._retries.call(self._authenticate, request, self._retries.deadline())
        except Unanswered:
            raise errors.Unavailable("the API key cannot be checked now; try again") from None
        except grpc.aio.AioRpcError as error:
            raise problems.refusal_of(error) from None
        return answer

    def _bucket(self, key_id: str, per_second: float) -> Bucket | None:
        if not per_second:
            self._buckets.discard(key_id)
            return None
        bucket = self._buckets.get(key_id)
        if bucket is None or bucket.per_second != per_second:
            bucket = Bucket(per_second)
            self._buckets.put(key_id, bucket)
        return bucket


def of(scope: Scope) -> Caller:
    """Return the caller of this request, which middleware.Authenticated has set."""
    caller: Caller = scope["caller"]
    return caller


def key_of(scope: Scope) -> str | None:
    """Return the API key of an authenticated request, or the token of its session; None if it has none."""
    token: str | None = scope.get(SESSION_TOKEN)
    if token is not None:
        return token
    header: bytes | None = next((value for name, value in scope["headers"] if name == b"authorization"), None)
    return None if header is None else keys.of_header(header.decode("latin-1"))


def check_rule(scope: Scope, rule: Rule) -> Caller:
    """Return the caller of this request in its tenant; raise PermissionDenied unless a rule lets it in."""
    caller = of(scope)
    # middleware.WellFormed has refused a repeated header.
    stated = next((value for name, value in scope["headers"] if name == TENANT_HEADER), None)
    try:
        roles.check_rule(caller.role, caller.capabilities, rule)
        if stated is not None:
            caller = scope["caller"] = _in_tenant(caller, stated)
    except errors.PermissionDenied as error:
        raise refused(error) from None
    return caller


def refused(error: errors.PermissionDenied) -> errors.PermissionDenied:
    """Count a refusal, and return it to be raised."""
    metrics.CALLERS_REFUSED.labels(error.reason).inc()
    return error


def _in_tenant(caller: Caller, stated: bytes) -> Caller:
    """Return the caller, acting in the tenant of X-Tenant; raise PermissionDenied unless that is allowed."""
    tenant_id = stated.decode("latin-1")
    if tenant_id == identity.ALL_TENANTS:
        raise errors.InvalidArgument.field(TENANT, "must be the id of one tenant; to list all tenants use ?tenant=*")
    identity.check_tenant(TENANT, tenant_id)
    if tenant_id == caller.tenant_id:
        return dataclasses.replace(caller, tenant_stated=True)
    if caller.role is not Role.ADMIN:
        raise forbidden(TENANT)
    return dataclasses.replace(caller, tenant_id=tenant_id, tenant_stated=True, crossing=True)


def forbidden(field: str) -> errors.PermissionDenied:
    """Return the error for a key that may not act outside its tenant; `field` named another one."""
    description = "requires an API key with role admin; this key may act only in its own tenant"
    violation = errors.Violation(field=field, description=description)
    return errors.PermissionDenied(
        f"{field}: {description}", reason=errors.ErrorReason.TENANT_FORBIDDEN, violations=[violation]
    )


async def _of(request: Request) -> Caller:
    return of(request.scope)


# The type of a route parameter that receives the caller.
Injected = Annotated[Caller, Depends(_of)]
