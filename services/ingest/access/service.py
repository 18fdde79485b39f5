"""AccessService: authenticates API keys, sessions, and portal links, and creates and ends them, and tenants."""

from typing import TYPE_CHECKING, Any

from protos.webhook.v1 import access_pb2 as pb
from protos.webhook.v1 import access_pb2_grpc, catalog_pb2
from services.domain import limits
from services.domain.catalog.validation import Validation
from services.domain.idempotency import Key, key_of_request
from services.domain.tenants.quotas import CHANGED, Quota, Quotas
from services.ingest.access import portal_looks
from services.ingest.access.members import MemberStore
from services.ingest.access.portal_links import LinkDraft, PortalLink, PortalLinkStore
from services.ingest.access.sessions import SessionStore
from services.ingest.access.store import AccessStore, KeyDraft, OwnQuotas, Tenant, TenantDraft, TenantUpdate
from services.ingest.catalog import cache
from services.platform import errors, ids, paging
from services.platform.auth import identity, keys, roles
from services.platform.auth.finder import Finder
from services.platform.auth.roles import Capability, PortalCapability, Role
from services.platform.grpc import conversion
from services.platform.grpc.calls import Context
from services.platform.process.shares import WeightOf
from services.platform.stores.signals import Signals

if TYPE_CHECKING:  # its libraries are loaded only where people sign in by OpenID Connect
    from services.ingest.access.oidc.sign_in import SignIn


def key_draft(request: pb.CreateApiKeyRequest, *, own_tenant_id: str) -> KeyDraft:
    """Convert a request. Raises InvalidArgument, which names the fields at fault."""
    roles, capabilities = conversion.texts(pb.Role.DESCRIPTOR), conversion.texts(pb.Capability.DESCRIPTOR)
    are_known = capabilities.keys() >= set(request.capabilities)
    return KeyDraft(
        tenant_id=request.tenant_id or own_tenant_id,
        name=request.name,
        role=Role(roles[request.role]) if request.role in roles else None,
        expires_at=conversion.moment("expires_at", request.expires_at) if request.HasField("expires_at") else None,
        requests_per_second=request.requests_per_second if request.HasField("requests_per_second") else None,
        capabilities=frozenset(Capability(capabilities[one]) for one in request.capabilities) if are_known else None,
        pull_subscription_ids=frozenset(
            ids.parse("pull_subscription_ids", text) for text in request.pull_subscription_ids
        ),
    )


def link_draft(request: pb.CreatePortalLinkRequest) -> LinkDraft:
    """Convert a request. Raises InvalidArgument, which names the fields at fault."""
    known = conversion.texts(pb.PortalCapability.DESCRIPTOR)
    are_known = known.keys() >= set(request.capabilities)
    return LinkDraft(
        tenant_id=identity.tenant_of(request.tenant_id),
        capabilities=frozenset(PortalCapability(known[one]) for one in request.capabilities) if are_known else None,
        subscriptions=[ids.parse("subscriptions", text) for text in request.subscriptions],
        expires_in_seconds=request.expires_in_seconds,
        origin=request.origin,
    )


def own_quotas(message: pb.Quotas) -> OwnQuotas:
    """Return all quotas of a message."""
    return {quota: getattr(message, quota) if message.HasField(quota.value) else None for quota in Quota}


def tenant_update(request: pb.UpdateTenantRequest) -> TenantUpdate:
    """Convert a request. Raises InvalidArgument, which names the fields at fault."""
    own: OwnQuotas = own_quotas(request.quotas)
    paths = {f"quotas.{quota}": quota for quota in Quota}
    given = set(request.update_mask.paths)
    looks: dict[str, Any] = {f"portal.{name}": name for name in ("name", "accent", "accent_dark", "logo")}
    known_paths = ["name", "description", "weight", "validation", "publishes_catalog", "quotas", *paths, *looks]
    if given.difference(known_paths) or not given:
        known = ", ".join(known_paths)
        raise errors.InvalidArgument.field("update_mask", f"must name some of {known}")
    return TenantUpdate(
        name=request.name or request.id if "name" in given else None,
        description=request.description if "description" in given else None,
        weight=_weight(request) if "weight" in given else None,
        validation=_validation(request) if "validation" in given else None,
        publishes_catalog=request.publishes_catalog if "publishes_catalog" in given else None,
        own={quota: own[quota] for path, quota in paths.items() if not given.isdisjoint({path, "quotas"})},
        portal={
            name: getattr(request.portal, name) if request.portal.HasField(name) else None
            for path, name in looks.items()
            if path in given
        },
    )


def _weight(request: pb.CreateTenantRequest | pb.UpdateTenantRequest) -> int:
    return request.weight if request.HasField("weight") else limits.DEFAULT_WEIGHT


def _validation(request: pb.CreateTenantRequest | pb.UpdateTenantRequest) -> Validation:
    texts = conversion.texts(catalog_pb2.Validation.DESCRIPTOR)
    if request.validation and request.validation not in texts:
        raise errors.InvalidArgument.field("validation", f"must be one of {', '.join(texts.values())}")
    return Validation(texts[request.validation]) if request.validation else Validation.OFF


def _refusal(refused: errors.WebhookError) -> pb.Refusal:
    return pb.Refusal(reason=refused.reason, message=refused.message)


def _session_token(text: str) -> str:
    """Return the token of a session; Unauthenticated for anything else, such as an API key."""
    if not keys.may_be_session_token(text):
        raise keys.invalid()
    return text


def _key(route: str, request: pb.CreateTenantRequest | pb.CreateApiKeyRequest) -> Key | None:
    """Return the idempotency key of a request, in the caller's tenant; None if it has none."""
    return key_of_request(identity.CALLER.get().tenant_id, route, request)


class AccessService(access_pb2_grpc.AccessServiceServicer):
    """Servicer of webhook.v1.AccessService."""

    def __init__(
        self,
        store: AccessStore,
        sessions: SessionStore,
        links: PortalLinkStore,
        members: MemberStore,
        sign_in: "SignIn | None",
        finder: Finder,
        quotas: Quotas,
        heard: Signals,
        weight_of: WeightOf,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._links = links
        self._members = members
        # None: nobody signs in by OpenID Connect.
        self._sign_in = sign_in
        self._finder = finder
        self._quotas = quotas
        self._signals = heard
        self._weight_of = weight_of

    async def Authenticate(self, request: pb.AuthenticateRequest, _context: Context) -> pb.AuthenticateResponse:
        """Return whose key it is, or whose session. Not cached here: each caller has its own cache."""
        try:
            found = await self._finder.find(request.key)
        except errors.Unauthenticated as refused:
            return pb.AuthenticateResponse(refusal=_refusal(refused))
        weight = self._weight_of(found.tenant_id)
        return pb.AuthenticateResponse(caller=conversion.message(pb.Caller, found, weight=weight))

    async def CreateTenant(self, request: pb.CreateTenantRequest, _context: Context) -> pb.CreateTenantResponse:
        """Create a tenant."""
        draft = TenantDraft(
            id=request.id,
            name=request.name or request.id,
            description=request.description,
            weight=_weight(request),
            validation=_validation(request),
            own=own_quotas(request.quotas),
        )
        created, answer = await self._store.create_tenant(draft, self._rendered, _key("tenants", request))
        self._signals.wake(CHANGED)
        return pb.CreateTenantResponse(tenant=pb.Tenant.FromString(answer), replayed=created is None)

    async def GetTenant(self, request: pb.GetTenantRequest, _context: Context) -> pb.GetTenantResponse:
        """Return a tenant."""
        found = await self._store.tenant(identity.check_tenant("id", request.id))
        return pb.GetTenantResponse(tenant=self._message(found))

    async def UpdateTenant(self, request: pb.UpdateTenantRequest, _context: Context) -> pb.UpdateTenantResponse:
        """Change a tenant."""
        tenant_id = identity.check_tenant("id", request.id)
        updated = await self._store.update_tenant(tenant_id, tenant_update(request))
        self._signals.wake(CHANGED)
        self._signals.wake(cache.CHANGED)
        return pb.UpdateTenantResponse(tenant=self._message(updated))

    async def ListTenants(self, request: pb.ListTenantsRequest, _context: Context) -> pb.ListTenantsResponse:
        """Return a page."""
        size = paging.page_size(request.page_size)
        after = identity.check_tenant("page_token", paging.after(request.page_token)) if request.page_token else ""
        found = await self._store.tenants_page(after, size + 1)
        return pb.ListTenantsResponse(
            tenants=[self._message(tenant) for tenant in found[:size]],
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
        made, answer = await self._store.create_key(
            ids.new(),
            draft,
            lambda created: conversion.message(pb.ApiKey, created).SerializeToString(),
            _key("api-keys", request),
            key_hash=keys.digest(key),
            prefix=keys.shown(key),
        )
        found = pb.ApiKey.FromString(answer)
        return pb.CreateApiKeyResponse(api_key=found, key="" if made is None else key, replayed=made is None)

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, _context: Context) -> pb.ListApiKeysResponse:
        """Return a page."""
        size = paging.page_size(request.page_size)
        before = paging.before(request.page_token)
        tenant_id = identity.check_tenant("tenant_id", request.tenant_id) if request.tenant_id else None
        found = await self._store.keys_page(tenant_id, before, size + 1)
        return pb.ListApiKeysResponse(
            api_keys=[conversion.message(pb.ApiKey, made) for made in found[:size]],
            next_page_token=paging.token(found[size - 1].id) if len(found) > size else "",
        )

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, _context: Context) -> pb.RevokeApiKeyResponse:
        """Revoke a key permanently."""
        revoked = await self._store.revoke_key(ids.parse("id", request.id))
        return pb.RevokeApiKeyResponse(api_key=conversion.message(pb.ApiKey, revoked))

    async def CreateSession(self, request: pb.CreateSessionRequest, _context: Context) -> pb.CreateSessionResponse:
        """Start a session for the holder of a key. Only this response contains its token."""
        try:
            if keys.may_be_session_token(request.key):  # else a session would never end
                raise keys.invalid()
            found = await self._finder.find(request.key)
            roles.check(found.role, Role.READ)
        except (errors.Unauthenticated, errors.PermissionDenied) as refused:
            return pb.CreateSessionResponse(refusal=_refusal(refused))
        token = keys.make_session_token()
        made = await self._sessions.create(
            found,
            key_hash=keys.digest(request.key),
            token_hash=keys.digest(token),
            user_agent=request.user_agent,
        )
        created = pb.CreatedSession(session=conversion.message(pb.Session, made), token=token)
        return pb.CreateSessionResponse(created=created)

    async def DescribeSignIn(self, _request: pb.DescribeSignInRequest, _context: Context) -> pb.DescribeSignInResponse:
        """Return how people sign in, besides with a key."""
        return pb.DescribeSignInResponse(oidc=self._sign_in is not None)

    async def BeginSignIn(self, _request: pb.BeginSignInRequest, _context: Context) -> pb.BeginSignInResponse:
        """Begin a sign-in by OpenID Connect."""
        begun = await self._oidc.begin()
        return pb.BeginSignInResponse(authorization_url=begun.url, attempt=begun.attempt)

    async def CompleteSignIn(self, request: pb.CompleteSignInRequest, _context: Context) -> pb.CompleteSignInResponse:
        """Complete a sign-in by OpenID Connect. Only this response contains the token of its session."""
        token = keys.make_session_token()
        try:
            member = await self._oidc.complete(
                attempt=request.attempt, state=request.state, code=request.code, issuer=request.issuer
            )
            made = await self._members.sign_in(
                member, state=request.state, token_hash=keys.digest(token), user_agent=request.user_agent
            )
        except (errors.Unauthenticated, errors.PermissionDenied) as refused:
            return pb.CompleteSignInResponse(refusal=_refusal(refused))
        return pb.CompleteSignInResponse(
            created=pb.CreatedSession(session=conversion.message(pb.Session, made), token=token)
        )

    @property
    def _oidc(self) -> "SignIn":
        if self._sign_in is None:
            raise errors.NotFound("OIDC_ISSUER is not set: nobody signs in by OpenID Connect")
        return self._sign_in

    async def GetSession(self, request: pb.GetSessionRequest, _context: Context) -> pb.GetSessionResponse:
        """Return a session that has not ended."""
        try:
            await self._finder.find(_session_token(request.token))
            found = await self._sessions.by_token(keys.digest(request.token))
            if found is None:  # it expired between the two
                raise keys.invalid()
        except errors.Unauthenticated as refused:
            return pb.GetSessionResponse(refusal=_refusal(refused))
        return pb.GetSessionResponse(session=conversion.message(pb.Session, found))

    async def EndSession(self, request: pb.EndSessionRequest, _context: Context) -> pb.EndSessionResponse:
        """End a session, as its holder."""
        found = await self._sessions.by_token(keys.digest(request.token))
        if found is not None:
            await self._sessions.revoke(found.id, actor=found.key_id)
        return pb.EndSessionResponse()

    async def ListSessions(self, request: pb.ListSessionsRequest, _context: Context) -> pb.ListSessionsResponse:
        """Return a page."""
        size = paging.page_size(request.page_size)
        before = paging.before(request.page_token)
        tenant_id = identity.check_tenant("tenant_id", request.tenant_id) if request.tenant_id else None
        found = await self._sessions.page(tenant_id, before, size + 1)
        return pb.ListSessionsResponse(
            sessions=[conversion.message(pb.Session, session) for session in found[:size]],
            next_page_token=paging.token(found[size - 1].id) if len(found) > size else "",
        )

    async def RevokeSession(self, request: pb.RevokeSessionRequest, _context: Context) -> pb.RevokeSessionResponse:
        """Revoke a session permanently."""
        revoked = await self._sessions.revoke(ids.parse("id", request.id))
        return pb.RevokeSessionResponse(session=conversion.message(pb.Session, revoked))

    async def CreatePortalLink(
        self, request: pb.CreatePortalLinkRequest, _context: Context
    ) -> pb.CreatePortalLinkResponse:
        """Create a portal link. Only this response contains its secret."""
        caller, draft = identity.CALLER.get(), link_draft(request)
        draft.check_caller(caller)
        secret = keys.make_link_secret()
        made = await self._links.create(
            draft, secret_hash=keys.digest(secret), maker=caller, maker_hash=self._finder.hash_of(caller.key_id)
        )
        return pb.CreatePortalLinkResponse(link=_link(made), secret=secret)

    async def RevokePortalLink(
        self, request: pb.RevokePortalLinkRequest, _context: Context
    ) -> pb.RevokePortalLinkResponse:
        """End a portal link; a key that may only read ends those that it made."""
        caller = identity.CALLER.get()
        key_id = None if roles.includes(caller.role, Role.WRITE) else ids.parse("key_id", caller.key_id)
        await self._links.revoke(identity.tenant_of(request.tenant_id), ids.parse("id", request.id), key_id=key_id)
        return pb.RevokePortalLinkResponse()

    async def GetPortalLink(self, request: pb.GetPortalLinkRequest, _context: Context) -> pb.GetPortalLinkResponse:
        """Return whether there is a link, and who may frame it."""
        link_id = ids.parse("id", request.id)
        found = await self._links.by_id(link_id)
        if found is None:
            return pb.GetPortalLinkResponse()
        logo = (await self._links.look(link_id, with_logo=True))[1] if request.with_logo else b""
        return pb.GetPortalLinkResponse(
            exists=True, origin=found.origin or "", logo=logo, logo_type=portal_looks.media_type(logo) or ""
        )

    async def ExchangePortalLink(
        self, request: pb.ExchangePortalLinkRequest, _context: Context
    ) -> pb.ExchangePortalLinkResponse:
        """Exchange the secret of a link for its token. Only this response contains it."""
        token = keys.make_portal_token()
        found = await self._links.exchange(
            ids.parse("id", request.id), secret_hash=keys.digest(request.secret), token_hash=keys.digest(token)
        )
        if found is None:
            message = "the portal link was used already, has expired, or never existed; open another one"
            return pb.ExchangePortalLinkResponse(refusal=_refusal(errors.Unauthenticated(message)))
        look, _ = await self._links.look(found.id)
        exchanged = pb.ExchangedPortalLink(link=_link(found), token=token, look=conversion.message(pb.PortalLook, look))
        return pb.ExchangePortalLinkResponse(exchanged=exchanged)

    def _rendered(self, tenant: Tenant) -> bytes:
        return self._message(tenant).SerializeToString()

    def _message(self, tenant: Tenant) -> pb.Tenant:
        own: dict[str, Any] = {quota.value: value for quota, value in tenant.own.items()}
        applied = self._quotas.with_own(tenant.own)
        return conversion.message(
            pb.Tenant,
            tenant,
            quotas=pb.Quotas(**own),
            limits=conversion.message(pb.Quotas, applied),
            usage=conversion.message(pb.Usage, tenant.usage) if tenant.usage else None,
            portal=conversion.message(pb.PortalLook, tenant.portal),
        )


def _link(link: PortalLink) -> pb.PortalLink:
    subscriptions = [str(subscription_id) for subscription_id in link.subscriptions or ()]
    return conversion.message(pb.PortalLink, link, subscriptions=subscriptions)
