"""Who calls the gateway: found by the Authorization header as it came, asked of ingest, and known for seconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import grpc
from fastapi import Depends, Request
from starlette.types import Scope

from protos.webhook.v1 import access_pb2 as pb
from services.common import errors, metrics
from services.common.auth import identity, keys, known, roles
from services.common.auth.known import Known
from services.common.auth.roles import Role
from services.gateway import refusals
from services.gateway.patience import Patience, Unanswered
from services.gateway.rates import Bucket
from services.gateway.settings import GatewaySettings

if TYPE_CHECKING:  # the asynchronous stubs exist for the type checker alone
    from protos.webhook.v1.access_pb2_grpc import AccessServiceAsyncStub

# Of an Authorization header, with room for spaces.
MAX_HEADER_LENGTH = keys.MAX_LENGTH + 64

_USUAL = b"Bearer "
_ROLES: Mapping[int, Role] = {
    pb.ROLE_ADMIN: Role.ADMIN,
    pb.ROLE_WRITE: Role.WRITE,
    pb.ROLE_INGEST: Role.INGEST,
    pb.ROLE_READ: Role.READ,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """The holder of a key. `bucket` is None when its requests are not counted."""

    tenant_id: str
    role: Role
    # As identity.Identity has it.
    key_id: str
    bucket: Bucket | None = None


# Where no key is required: everything, in the default tenant.
ANYBODY = Caller(tenant_id=identity.DEFAULT_TENANT, role=Role.ADMIN, key_id=identity.ANONYMOUS_ID)


class Callers:
    """Looks callers up."""

    def __init__(self, access: "AccessServiceAsyncStub", patience: Patience, settings: GatewaySettings) -> None:
        self._authenticate = access.Authenticate
        self._patience = patience
        self._requests_per_second = settings.api_key_requests_per_second
        self._without_key = None if settings.requires_key else ANYBODY
        # By key, and not by header: a key has thousands of spellings of that.
        self._known: Known[bytes, Caller] = Known(self._ask, timeout_seconds=patience.timeout_seconds)
        # By key, so that a bucket outlives what is known of its key.
        self._buckets: dict[str, Bucket] = {}

    def known(self, header: bytes | None) -> Caller | None:
        """Whoever sent this header, if that is known already: one look-up in a dictionary, and no hash of ours."""
        if header is None:
            return self._without_key
        return self._known.fresh(header[len(_USUAL) :]) if header.startswith(_USUAL) else None

    async def find(self, header: bytes | None) -> Caller:
        """Whoever sent this header; Unauthenticated when it is nobody, Unavailable when nobody can say."""
        if header is None:
            raise keys.missing()
        key = keys.of_header(header[:MAX_HEADER_LENGTH].decode("latin-1"))
        if len(header) > MAX_HEADER_LENGTH or keys.why_not(key):
            raise keys.invalid()
        try:
            return await self._known.find(key.encode())
        except TimeoutError:
            raise errors.Unavailable("the API key cannot be looked up; try again") from None

    async def _ask(self, key: bytes) -> Caller:
        answer = await self._call(pb.AuthenticateRequest(key=key.decode()))
        if answer.HasField("refusal"):
            raise errors.Unauthenticated(answer.refusal.message, reason=answer.refusal.reason)
        found = answer.caller
        own = found.requests_per_second if found.HasField("requests_per_second") else self._requests_per_second
        bucket = self._bucket(found.key_id, own)
        return Caller(tenant_id=found.tenant_id, role=_ROLES[found.role], key_id=found.key_id, bucket=bucket)

    async def _call(self, request: pb.AuthenticateRequest) -> pb.AuthenticateResponse:
        try:
            answer: pb.AuthenticateResponse = await self._patience.ask(
                self._authenticate, request, self._patience.deadline()
            )
            return answer
        except Unanswered:
            raise errors.Unavailable("the API key cannot be looked up; try again") from None
        except grpc.aio.AioRpcError as error:
            raise refusals.of(error) from None

    def _bucket(self, key_id: str, per_second: float) -> Bucket | None:
        bucket = self._buckets.pop(key_id, None)
        if not per_second:
            return None
        if bucket is None or bucket.per_second != per_second:
            bucket = Bucket(per_second)
        self._buckets[key_id] = bucket
        if len(self._buckets) > known.SIZE:
            del self._buckets[next(iter(self._buckets))]
        return bucket


def of(scope: Scope) -> Caller:
    """Who makes this request; middleware.Authenticated has put it there."""
    caller: Caller = scope["caller"]
    return caller


def check_role(scope: Scope, needed: Role) -> Caller:
    """Who makes this request; PermissionDenied when their role does not do."""
    caller = of(scope)
    try:
        roles.check(caller.role, needed)
    except errors.PermissionDenied as refused:
        metrics.CALLERS_REFUSED.labels(refused.reason).inc()
        raise
    return caller


async def _of(request: Request) -> Caller:
    return of(request.scope)


# The type of a route's parameter that gets the caller.
Injected = Annotated[Caller, Depends(_of)]
