"""AccessService: says whose keys are, and makes and ends tenants and keys."""

import grpc

from protos.webhook.v1 import access_pb2 as pb
from protos.webhook.v1 import access_pb2_grpc
from services.ingest.access import messages
from services.ingest.access.records import TenantDraft
from services.ingest.access.store import AccessStore
from services.platform import errors, ids, paging
from services.platform.auth import identity, keys, tenants
from services.platform.auth.finder import Finder


class AccessService(access_pb2_grpc.AccessServiceServicer):
    """Servicer of webhook.v1.AccessService."""

    def __init__(self, store: AccessStore, finder: Finder) -> None:
        self._store = store
        self._finder = finder

    async def Authenticate(  # noqa: N802 - gRPC's name
        self,
        request: pb.AuthenticateRequest,
        context: grpc.aio.ServicerContext[pb.AuthenticateRequest, pb.AuthenticateResponse],  # noqa: ARG002 - gRPC's signature
    ) -> pb.AuthenticateResponse:
        """Asks the database, not a cache: whoever asks has one of its own."""
        try:
            found = await self._finder.find(request.key)
        except errors.Unauthenticated as refused:
            return pb.AuthenticateResponse(refusal=pb.Refusal(reason=refused.reason, message=refused.message))
        return pb.AuthenticateResponse(caller=messages.caller(found))

    async def CreateTenant(  # noqa: N802 - gRPC's name
        self,
        request: pb.CreateTenantRequest,
        context: grpc.aio.ServicerContext[pb.CreateTenantRequest, pb.CreateTenantResponse],  # noqa: ARG002 - gRPC's signature
    ) -> pb.CreateTenantResponse:
        """Stores a new tenant."""
        draft = TenantDraft(id=request.id, name=request.name or request.id, description=request.description)
        return pb.CreateTenantResponse(tenant=messages.tenant(await self._store.create_tenant(draft)))

    async def ListTenants(  # noqa: N802 - gRPC's name
        self,
        request: pb.ListTenantsRequest,
        context: grpc.aio.ServicerContext[pb.ListTenantsRequest, pb.ListTenantsResponse],  # noqa: ARG002 - gRPC's signature
    ) -> pb.ListTenantsResponse:
        """Reads a page."""
        size = paging.page_size(request.page_size)
        after = tenants.check("cursor", paging.after(request.page_token)) if request.page_token else ""
        found = await self._store.tenants_page(after, size + 1)
        return pb.ListTenantsResponse(
            tenants=[messages.tenant(tenant) for tenant in found[:size]],
            next_page_token=paging.text_token(found[size - 1].id) if len(found) > size else "",
        )

    async def DeleteTenant(  # noqa: N802 - gRPC's name
        self,
        request: pb.DeleteTenantRequest,
        context: grpc.aio.ServicerContext[pb.DeleteTenantRequest, pb.DeleteTenantResponse],  # noqa: ARG002 - gRPC's signature
    ) -> pb.DeleteTenantResponse:
        """Marks it deleted, its keys with it."""
        revoked = await self._store.delete_tenant(tenants.check("id", request.id))
        return pb.DeleteTenantResponse(revoked_keys=revoked)

    async def CreateApiKey(  # noqa: N802 - gRPC's name
        self,
        request: pb.CreateApiKeyRequest,
        context: grpc.aio.ServicerContext[pb.CreateApiKeyRequest, pb.CreateApiKeyResponse],  # noqa: ARG002 - gRPC's signature
    ) -> pb.CreateApiKeyResponse:
        """Makes a key, of which nothing but this answer holds more than a digest."""
        draft = messages.key_draft(request, own_tenant_id=identity.CALLER.get().tenant_id)
        key = keys.make()
        made = await self._store.create_key(ids.new(), draft, key_hash=keys.digest(key), prefix=keys.shown(key))
        return pb.CreateApiKeyResponse(api_key=messages.api_key(made), key=key)

    async def ListApiKeys(  # noqa: N802 - gRPC's name
        self,
        request: pb.ListApiKeysRequest,
        context: grpc.aio.ServicerContext[pb.ListApiKeysRequest, pb.ListApiKeysResponse],  # noqa: ARG002 - gRPC's signature
    ) -> pb.ListApiKeysResponse:
        """Reads a page."""
        size = paging.page_size(request.page_size)
        before = paging.before(request.page_token)
        tenant_id = tenants.check("tenant_id", request.tenant_id) if request.tenant_id else None
        found = await self._store.keys_page(tenant_id, before, size + 1)
        return pb.ListApiKeysResponse(
            api_keys=[messages.api_key(made) for made in found[:size]],
            next_page_token=paging.token(found[size - 1].id) if len(found) > size else "",
        )

    async def RevokeApiKey(  # noqa: N802 - gRPC's name
        self,
        request: pb.RevokeApiKeyRequest,
        context: grpc.aio.ServicerContext[pb.RevokeApiKeyRequest, pb.RevokeApiKeyResponse],  # noqa: ARG002 - gRPC's signature
    ) -> pb.RevokeApiKeyResponse:
        """Revokes it for good."""
        revoked = await self._store.revoke_key(ids.parse("id", request.id))
        return pb.RevokeApiKeyResponse(api_key=messages.api_key(revoked))
