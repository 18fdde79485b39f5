"""AccessService: authenticates API keys, and creates and deletes tenants and keys."""

from datetime import UTC, datetime

from google.protobuf import timestamp_pb2

from protos.webhook.v1 import access_pb2 as pb
from protos.webhook.v1 import access_pb2_grpc
from services.ingest.access.store import AccessStore, ApiKey, KeyDraft, Tenant, TenantDraft
from services.platform import errors, ids, paging
from services.platform.auth import identity, keys
from services.platform.auth.finder import Finder
from services.platform.auth.identity import Identity
from services.platform.auth.roles import Role
from services.platform.grpc.server import Context

_PREFIX = "ROLE_"


def key_draft(request: pb.CreateApiKeyRequest, *, own_tenant_id: str) -> KeyDraft:
    """Convert a request. Raises InvalidArgument, which names the fields at fault."""
    return KeyDraft(
        tenant_id=request.tenant_id or own_tenant_id,
        name=request.name,
        role=_role(request.role),
        expires_at=_moment("expires_at", request.expires_at) if request.HasField("expires_at") else None,
        requests_per_second=request.requests_per_second if request.HasField("requests_per_second") else None,
    )


def tenant_message(made: Tenant) -> pb.Tenant:
    """Convert a tenant."""
    found = pb.Tenant(id=made.id, name=made.name, description=made.description)
    found.created_at.FromDatetime(made.created_at)
    return found


def api_key_message(made: ApiKey) -> pb.ApiKey:
    """Convert a key."""
    found = pb.ApiKey(
        id=str(made.id),
        tenant_id=made.tenant_id,
        name=made.name,
        role=_role_value(made.role),
        prefix=made.prefix,
        requests_per_second=made.requests_per_second,
    )
    found.created_at.FromDatetime(made.created_at)
    for name in ("expires_at", "revoked_at", "last_used_at"):
        moment: datetime | None = getattr(made, name)
        if moment is not None:
            getattr(found, name).FromDatetime(moment)
    return found


def caller_message(found: Identity) -> pb.Caller:
    """Convert the identity of a caller."""
    return pb.Caller(
        tenant_id=found.tenant_id,
        role=_role_value(found.role),
        key_id=found.key_id,
        requests_per_second=found.requests_per_second,
    )


def _role(value: pb.Role.ValueType) -> Role | None:
    if value == pb.ROLE_UNSPECIFIED or value not in pb.Role.values():
        return None
    return Role(pb.Role.Name(value).removeprefix(_PREFIX).lower())


def _role_value(role: Role) -> pb.Role.ValueType:
    return pb.Role.Value(_PREFIX + role.upper())


def _moment(field: str, stamp: timestamp_pb2.Timestamp) -> datetime:
    """Convert a time to UTC. Raises InvalidArgument if it is out of range."""
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise errors.InvalidArgument.field(field, "must be between the years 1 and 9999") from None


class AccessService(access_pb2_grpc.AccessServiceServicer):
    """Servicer of webhook.v1.AccessService."""

    def __init__(self, store: AccessStore, finder: Finder) -> None:
        self._store = store
        self._finder = finder

    async def Authenticate(self, request: pb.AuthenticateRequest, _context: Context) -> pb.AuthenticateResponse:
        """Return whose key it is. Not cached here: each caller has its own cache."""
        try:
            found = await self._finder.find(request.key)
        except errors.Unauthenticated as refused:
            return pb.AuthenticateResponse(refusal=pb.Refusal(reason=refused.reason, message=refused.message))
        return pb.AuthenticateResponse(caller=caller_message(found))

    async def CreateTenant(self, request: pb.CreateTenantRequest, _context: Context) -> pb.CreateTenantResponse:
        """Create a tenant."""
        draft = TenantDraft(id=request.id, name=request.name or request.id, description=request.description)
        return pb.CreateTenantResponse(tenant=tenant_message(await self._store.create_tenant(draft)))

    async def ListTenants(self, request: pb.ListTenantsRequest, _context: Context) -> pb.ListTenantsResponse:
        """Return a page."""
        size = paging.page_size(request.page_size)
        after = identity.check_tenant("page_token", paging.after(request.page_token)) if request.page_token else ""
        found = await self._store.tenants_page(after, size + 1)
        return pb.ListTenantsResponse(
            tenants=[tenant_message(tenant) for tenant in found[:size]],
            next_page_token=paging.text_token(found[size - 1].id) if len(found) > size else "",
        )

    async def DeleteTenant(self, request: pb.DeleteTenantRequest, _context: Context) -> pb.DeleteTenantResponse:
        """Delete a tenant and revoke its keys."""
        revoked = await self._store.delete_tenant(identity.check_tenant("id", request.id))
        return pb.DeleteTenantResponse(revoked_keys=revoked)

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, _context: Context) -> pb.CreateApiKeyResponse:
        """Create a key. Only this response contains it: the database keeps a digest."""
        draft = key_draft(request, own_tenant_id=identity.CALLER.get().tenant_id)
        key = keys.make()
        made = await self._store.create_key(ids.new(), draft, key_hash=keys.digest(key), prefix=keys.shown(key))
        return pb.CreateApiKeyResponse(api_key=api_key_message(made), key=key)

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, _context: Context) -> pb.ListApiKeysResponse:
        """Return a page."""
        size = paging.page_size(request.page_size)
        before = paging.before(request.page_token)
        tenant_id = identity.check_tenant("tenant_id", request.tenant_id) if request.tenant_id else None
        found = await self._store.keys_page(tenant_id, before, size + 1)
        return pb.ListApiKeysResponse(
            api_keys=[api_key_message(made) for made in found[:size]],
            next_page_token=paging.token(found[size - 1].id) if len(found) > size else "",
        )

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, _context: Context) -> pb.RevokeApiKeyResponse:
        """Revoke a key permanently."""
        revoked = await self._store.revoke_key(ids.parse("id", request.id))
        return pb.RevokeApiKeyResponse(api_key=api_key_message(revoked))
