"""SubscriptionService: creates, reads, changes and deletes subscriptions."""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, TypeVar
from uuid import UUID

import structlog

from protos.webhook.v1 import subscriptions_pb2 as pb
from protos.webhook.v1 import subscriptions_pb2_grpc
from services.domain.egress.policy import Policy
from services.domain.retry_policy import RetrySettings
from services.domain.secrets.encryption import CannotOpen
from services.domain.secrets.signatures import Key, Scheme
from services.domain.secrets.vault import NONE, Secret, Secrets, Vault
from services.ingest.events import idempotency
from services.ingest.events.idempotency import key_of
from services.ingest.subscriptions import changes, client_certificates, messages, statuses, verification
from services.ingest.subscriptions import secrets as ingest_tokens
from services.ingest.subscriptions.cache import SubscriptionCache
from services.ingest.subscriptions.changes import Rotation, Update
from services.ingest.subscriptions.client_certificates import ClientCertificate
from services.ingest.subscriptions.record import Breaker, Draft, Shown, Subscription
from services.ingest.subscriptions.store import Store, UpdateOf, no_subscription
from services.ingest.subscriptions.verification import Preset
from services.platform import errors, ids, paging
from services.platform.auth import tenants
from services.platform.grpc.server import Context

log = structlog.get_logger(__name__)

Changed = TypeVar("Changed")
_Certificate: TypeAlias = tuple[ClientCertificate | None, Sequence[errors.Violation]]
Named: TypeAlias = (
    pb.DisableSubscriptionRequest
    | pb.EnableSubscriptionRequest
    | pb.PauseSubscriptionRequest
    | pb.ResumeSubscriptionRequest
)


class SubscriptionService(subscriptions_pb2_grpc.SubscriptionServiceServicer):
    """Servicer of webhook.v1.SubscriptionService."""

    def __init__(
        self, store: Store, cache: SubscriptionCache, vault: Vault, settings: RetrySettings, policy: Policy
    ) -> None:
        self._store = store
        self._vault = vault
        self._cache = cache
        self._settings = settings
        self._policy = policy

    async def CreateSubscription(
        self, request: pb.CreateSubscriptionRequest, _context: Context
    ) -> pb.CreateSubscriptionResponse:
        """Stores a new subscription."""
        tenant_id = tenants.of(request.tenant_id)
        given = request.HasField("secret_key")
        unsigned = messages.unsigned(request)
        scheme = (None if unsigned else messages.scheme(request.signature_scheme)) or Scheme.HMAC_SHA256
        made = "" if unsigned or given else ingest_tokens.new_signing_secret(scheme)
        secret_key = request.secret_key if given else made or None
        certificate = await _certificate(request)
        draft = self._draft(request, secret_key, scheme, request.headers.values, certificate)
        verification.check_preset(
            draft.verification or Preset.AUTO,
            draft.verification_secrets or (),
            signs=changes.verifies(secret_key, scheme),
        )
        return await _whole(self._create(request, tenant_id, draft, ingest_tokens.shown_secret(made, scheme)))

    async def GetSubscription(
        self, request: pb.GetSubscriptionRequest, _context: Context
    ) -> pb.GetSubscriptionResponse:
        """Reads one from Postgres."""
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        found = await self._store.shown(tenants.of(request.tenant_id), subscription_id)
        return pb.GetSubscriptionResponse(subscription=self._message(found))

    async def ListSubscriptions(
        self, request: pb.ListSubscriptionsRequest, _context: Context
    ) -> pb.ListSubscriptionsResponse:
        """Reads a page."""
        size = paging.page_size(request.page_size)
        before = paging.before(request.page_token)
        found = await self._store.subscriptions_page(tenants.of_list(request.tenant_id), before, size + 1)
        return pb.ListSubscriptionsResponse(
            subscriptions=[self._message(shown) for shown in found[:size]],
            next_page_token=paging.token(found[size - 1][0].id) if len(found) > size else "",
        )

    async def UpdateSubscription(
        self, request: pb.UpdateSubscriptionRequest, _context: Context
    ) -> pb.UpdateSubscriptionResponse:
        """Replace the fields, or those that the mask names, in one transaction with a look at what is stored."""
        tenant_id = tenants.of(request.tenant_id)
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        certificate = await _certificate(request)

        def update_of(stored: Subscription, headers: Callable[[], Mapping[str, str]]) -> Update | None:
            if not request.HasField("update_mask"):
                return self._update_of(request, headers, certificate)
            if not request.update_mask.paths:
                return None
            return self._update_of(changes.patched(request, stored), headers, certificate)

        shown = await _whole(self._update(tenant_id, subscription_id, update_of, request.etags))
        return pb.UpdateSubscriptionResponse(subscription=self._message(shown))

    async def DeleteSubscription(
        self, request: pb.DeleteSubscriptionRequest, _context: Context
    ) -> pb.DeleteSubscriptionResponse:
        """Marks it deleted, then cancels what waits for it."""
        tenant_id = tenants.of(request.tenant_id)
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        await _whole(self._delete(tenant_id, subscription_id, request.etags))
        cancelled = await self._store.cancel_waiting(subscription_id)
        return pb.DeleteSubscriptionResponse(cancelled_deliveries=cancelled)

    async def CheckIngestToken(
        self, request: pb.CheckIngestTokenRequest, _context: Context
    ) -> pb.CheckIngestTokenResponse:
        """Says nothing, or NotFound without a word on why."""
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        found = await self._cache.get(subscription_id)
        if found is None or not ingest_tokens.matches_ingest_token(request.token, found.ingest_token_hash):
            raise no_subscription(subscription_id)
        return pb.CheckIngestTokenResponse()

    async def DisableSubscription(
        self, request: pb.DisableSubscriptionRequest, _context: Context
    ) -> pb.DisableSubscriptionResponse:
        """Stops deliveries until it is enabled."""
        return pb.DisableSubscriptionResponse(subscription=await self._change(request, statuses.DISABLE))

    async def EnableSubscription(
        self, request: pb.EnableSubscriptionRequest, _context: Context
    ) -> pb.EnableSubscriptionResponse:
        """Makes a disabled one active, with its breaker closed."""
        return pb.EnableSubscriptionResponse(subscription=await self._change(request, statuses.ENABLE))

    async def PauseSubscription(
        self, request: pb.PauseSubscriptionRequest, _context: Context
    ) -> pb.PauseSubscriptionResponse:
        """Holds deliveries back until it is resumed."""
        return pb.PauseSubscriptionResponse(subscription=await self._change(request, statuses.PAUSE))

    async def ResumeSubscription(
        self, request: pb.ResumeSubscriptionRequest, _context: Context
    ) -> pb.ResumeSubscriptionResponse:
        """Makes a paused one active."""
        return pb.ResumeSubscriptionResponse(subscription=await self._change(request, statuses.RESUME))

    async def RotateSubscriptionSecret(
        self, request: pb.RotateSubscriptionSecretRequest, _context: Context
    ) -> pb.RotateSubscriptionSecretResponse:
        """Replaces the secret; the old ones hold for a while."""
        tenant_id = tenants.of(request.tenant_id)
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        overlap = ingest_tokens.overlap(request.overlap_hours if request.HasField("overlap_hours") else None)
        given = request.secret_key if request.HasField("secret_key") else None
        rotation = Rotation(secret_key=given, scheme=messages.scheme(request.signature_scheme))
        shown, new_one = await _whole(self._rotate(tenant_id, subscription_id, rotation, overlap))
        made = ingest_tokens.shown_secret(new_one.secret_key, new_one.scheme) if given is None else ""
        return pb.RotateSubscriptionSecretResponse(subscription=self._message(shown), secret_key=made)

    async def CreateIngestToken(
        self, request: pb.CreateIngestTokenRequest, _context: Context
    ) -> pb.CreateIngestTokenResponse:
        """Makes an ingest token, in place of the one before."""
        token = ingest_tokens.new_ingest_token()
        await self._change_token(request, ingest_tokens.hash_ingest_token(token))
        return pb.CreateIngestTokenResponse(token=token)

    async def DeleteIngestToken(
        self, request: pb.DeleteIngestTokenRequest, _context: Context
    ) -> pb.DeleteIngestTokenResponse:
        """Removes the ingest token."""
        await self._change_token(request, None)
        return pb.DeleteIngestTokenResponse()

    def _update_of(
        self,
        request: pb.UpdateSubscriptionRequest,
        headers: Callable[[], Mapping[str, str]],
        certificate: _Certificate,
    ) -> Update:
        """Return what a request changes. Raise InvalidArgument naming each field at fault."""
        unsigned = messages.unsigned(request)
        secret_key = request.secret_key if request.HasField("secret_key") else None
        scheme = None if unsigned else messages.scheme(request.signature_scheme)
        values: Mapping[str, str] = request.headers.values
        keeps_headers = not request.HasField("headers")
        if request.headers.merge:
            values, keeps_headers = changes.merged_headers(headers(), values)
        return Update(
            draft=self._draft(
                request, secret_key, scheme or ingest_tokens.likely_scheme(secret_key), values, certificate
            ),
            scheme=scheme,
            set_secret=unsigned or secret_key is not None,
            all_event_types=request.all_event_types,
            set_headers=request.HasField("headers"),
            keeps_headers=keeps_headers,
            set_client_certificate=request.HasField("client_certificate"),
        )

    def _draft(
        self,
        request: pb.CreateSubscriptionRequest | pb.UpdateSubscriptionRequest,
        secret_key: str | None,
        scheme: Scheme,
        headers: Mapping[str, str],
        certificate: _Certificate,
    ) -> Draft:
        """Return what a request asks for. Raise InvalidArgument naming each field at fault."""
        found, refused = certificate
        return messages.draft(
            request,
            self._settings,
            self._policy,
            secret_key=secret_key,
            signature_scheme=scheme,
            headers=dict(headers),
            client_certificate=found,
            refused=refused,
        )

    async def _create(
        self, request: pb.CreateSubscriptionRequest, tenant_id: str, draft: Draft, made: str
    ) -> pb.CreateSubscriptionResponse:
        if not request.idempotency_key:
            created = await self._store.create_subscription(ids.new(), tenant_id, draft)
            await self._cache.changed(created.id, tenant_id, created, created.version)
            return pb.CreateSubscriptionResponse(subscription=self._message((created, Breaker())), secret_key=made)
        key = await _key(request, tenant_id)
        new, answer = await self._store.create_keyed_subscription(ids.new(), draft, key, self._rendered)
        found = pb.Subscription.FromString(answer)
        if new is None:
            return pb.CreateSubscriptionResponse(subscription=found, replayed=True)
        await self._cache.changed(new.id, tenant_id, new, new.version)
        return pb.CreateSubscriptionResponse(subscription=found, secret_key=made)

    async def _update(self, tenant_id: str, subscription_id: UUID, update_of: UpdateOf, etags: Sequence[str]) -> Shown:
        shown, changed = await self._store.update_subscription(tenant_id, subscription_id, update_of, etags)
        if changed:
            await self._cache.changed(subscription_id, tenant_id, shown[0], shown[0].version)
        return shown

    async def _rotate(
        self, tenant_id: str, subscription_id: UUID, rotation: Rotation, overlap: timedelta
    ) -> tuple[Shown, Secret]:
        shown, new_one = await self._store.rotate_secret(tenant_id, subscription_id, rotation, overlap=overlap)
        await self._cache.changed(subscription_id, tenant_id, shown[0], shown[0].version)
        return shown, new_one

    async def _change_token(
        self, request: pb.CreateIngestTokenRequest | pb.DeleteIngestTokenRequest, token_hash: bytes | None
    ) -> None:
        tenant_id = tenants.of(request.tenant_id)
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        await _whole(self._set_token(tenant_id, subscription_id, token_hash))

    async def _set_token(self, tenant_id: str, subscription_id: UUID, token_hash: bytes | None) -> None:
        changed = await self._store.set_ingest_token(tenant_id, subscription_id, token_hash)
        await self._cache.changed(subscription_id, tenant_id, changed, changed.version)

    async def _delete(self, tenant_id: str, subscription_id: UUID, etags: Sequence[str]) -> None:
        version = await self._store.delete_subscription(tenant_id, subscription_id, etags)
        await self._cache.changed(subscription_id, tenant_id, None, version)

    async def _change(self, request: Named, change: statuses.Change) -> pb.Subscription:
        tenant_id = tenants.of(request.tenant_id)
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        return self._message(await _whole(self._change_status(tenant_id, subscription_id, change)))

    async def _change_status(self, tenant_id: str, subscription_id: UUID, change: statuses.Change) -> Shown:
        shown, changed = await self._store.change_status(tenant_id, subscription_id, change)
        if changed:
            await self._cache.changed(subscription_id, tenant_id, shown[0], shown[0].version)
        return shown

    def _message(self, shown: Shown) -> pb.Subscription:
        secrets, moment = self._secrets(shown[0]), datetime.now(UTC)
        found = messages.message(shown, secrets, moment, self._settings.retry_policy)
        found.warnings.extend(self._warnings(shown[0], secrets, moment))
        return found

    def _warnings(self, subscription: Subscription, secrets: Secrets, moment: datetime) -> list[str]:
        current = [signer for signer in secrets.signers(moment)[:1] if isinstance(signer, Key)]
        given: Sequence[Key] = ()
        if subscription.sealed_verification_secrets is not None:
            with contextlib.suppress(CannotOpen):  # said where something is to be verified
                given = self._vault.verification_keys(subscription.id, subscription.sealed_verification_secrets)
        return [
            *ingest_tokens.secret_warnings("secret_key", current),
            *ingest_tokens.secret_warnings(verification.SECRETS_FIELD, given),
        ]

    def _rendered(self, subscription: Subscription) -> bytes:
        return self._message((subscription, Breaker())).SerializeToString()

    def _secrets(self, subscription: Subscription) -> Secrets:
        if subscription.sealed_secrets is None:
            return NONE
        try:
            return self._vault.opened(subscription.id, subscription.sealed_secrets)
        except CannotOpen as error:
            # Shown all the same, so that it can be given another.
            log.error("a signing secret cannot be opened", subscription_id=str(subscription.id), reason=str(error))  # noqa: TRY400 - there is no bug to trace
            return NONE


async def _certificate(request: pb.CreateSubscriptionRequest | pb.UpdateSubscriptionRequest) -> _Certificate:
    """Return the client certificate of a request, and what is wrong with it, found in a thread: it takes a while."""
    given = request.client_certificate
    if not given.certificate and not given.private_key:
        return None, ()
    try:
        found = await asyncio.to_thread(
            client_certificates.parse, given.certificate, given.private_key, datetime.now(UTC)
        )
    except errors.InvalidArgument as error:
        return None, error.violations
    return found, ()


async def _key(request: pb.CreateSubscriptionRequest, tenant_id: str) -> idempotency.Key:
    asked = pb.CreateSubscriptionRequest()
    asked.CopyFrom(request)
    asked.ClearField("idempotency_key")
    asked.ClearField("tenant_id")  # the key is the tenant's anyway, whether the call states it or not
    parts = []
    if request.HasField("client_certificate"):
        asked.client_certificate.ClearField("private_key")  # the certificate, which is not secret, has no other
    if request.HasField("secret_key") or request.HasField("headers") or request.HasField("verification_secrets"):
        # The digest is kept, and all else in it is known: slow, so that a weak secret cannot be guessed by it.
        asked.ClearField("secret_key")
        asked.ClearField("headers")
        asked.ClearField("verification_secrets")
        secret = request.secret_key.encode() + b"\0" + request.headers.SerializeToString(deterministic=True)
        if request.HasField("verification_secrets"):
            secret += b"\0" + request.verification_secrets.SerializeToString(deterministic=True)
        salt = f"{tenant_id} {request.idempotency_key}".encode()
        parts.append(await asyncio.to_thread(hashlib.scrypt, secret, salt=salt, n=1 << 14, r=8, p=1))
    parts.append(asked.SerializeToString(deterministic=True))
    return key_of(tenant_id, "subscriptions", request.idempotency_key, *parts)


async def _whole(change: Coroutine[None, None, Changed]) -> Changed:
    """Makes a change and tells the caches to the end, even when the caller leaves in between."""
    return await asyncio.shield(asyncio.create_task(change))
