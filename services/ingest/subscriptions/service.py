"""SubscriptionService: creates, reads, changes and deletes subscriptions."""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

import structlog
from google.protobuf.field_mask_pb2 import FieldMask

from protos.webhook.v1 import subscriptions_pb2 as pb
from protos.webhook.v1 import subscriptions_pb2_grpc
from services.domain import idempotency
from services.domain.deliveries import Destination
from services.domain.egress.policy import Policy
from services.domain.idempotency import key_of
from services.domain.secrets.encryption import CannotOpen
from services.domain.secrets.signatures import Key
from services.domain.secrets.vault import NONE, Secret, Secrets, Vault
from services.domain.templates.renderer import Renderer
from services.ingest.settings import IngestSettings
from services.ingest.subscriptions import client_certificates, labels, messages, previews, secrets, templates
from services.ingest.subscriptions.cache import SubscriptionCache
from services.ingest.subscriptions.changes import STATUS_CHANGES, Certificate, Rotation, Rules, StatusChange
from services.ingest.subscriptions.filter_schemas import NOTHING, Checked, FilterSchemas
from services.ingest.subscriptions.record import Draft, Shown, Subscription
from services.ingest.subscriptions.store import SubscriptionStore, UpdateOf, no_subscription
from services.platform import errors, ids, paging
from services.platform.auth import identity, keys, roles
from services.platform.auth.roles import PortalCapability
from services.platform.grpc.calls import Context
from services.platform.process.shares import WeightOf

log = structlog.get_logger(__name__)

Changed = TypeVar("Changed")
# Of a new subscription, what an idempotency key keeps only a slow digest of.
_SECRETS = ("secret_key", "headers", "verification_secrets", "template_secrets")
# What a filter is compared with the catalog for.
_OF_FILTERS = ("filter", "event_types")


class SubscriptionService(subscriptions_pb2_grpc.SubscriptionServiceServicer):
    """Servicer of webhook.v1.SubscriptionService."""

    def __init__(
        self,
        store: SubscriptionStore,
        cache: SubscriptionCache,
        vault: Vault,
        settings: IngestSettings,
        policy: Policy,
        weight_of: WeightOf,
        renderer: Renderer,
        filters: FilterSchemas,
    ) -> None:
        self._store = store
        self._renderer = renderer
        self._filters = filters
        self._vault = vault
        self._cache = cache
        self._settings = settings
        self._weight_of = weight_of
        self._rules = Rules(retries=settings, egress=policy, vault=vault)

    async def CreateSubscription(
        self, request: pb.CreateSubscriptionRequest, _context: Context
    ) -> pb.CreateSubscriptionResponse:
        """Create a subscription."""
        tenant_id = identity.tenant_of(request.tenant_id)
        template = await templates.check(request.spec, self._renderer, tenant_id)
        draft = self._rules.new(request.spec, await _certificate(request.spec), template)
        checked = await self._filters.check(tenant_id, draft.filter, draft.event_types)
        checked.refuse()
        return await _whole(self._create(request, tenant_id, draft, checked))

    async def TestNewSubscription(
        self, request: pb.TestNewSubscriptionRequest, _context: Context
    ) -> pb.TestNewSubscriptionResponse:
        """Have a test event sent for a subscription that is not created."""
        tenant_id = identity.tenant_of(request.tenant_id)
        template = await templates.check(request.spec, self._renderer, tenant_id)
        draft = self._rules.new(request.spec, await _certificate(request.spec), template)
        if draft.destination is Destination.PULL:
            raise errors.InvalidArgument.field("destination", "must be http: only a target can be sent a test event")
        if not identity.has(PortalCapability.TEST):
            refused = roles.missing(PortalCapability.TEST)
            raise identity.refused(refused.message, refused.reason)
        test_id = ids.new()
        await self._store.test_new(test_id, tenant_id, draft)
        return pb.TestNewSubscriptionResponse(webhook_id=str(test_id))

    async def GetSubscription(
        self, request: pb.GetSubscriptionRequest, _context: Context
    ) -> pb.GetSubscriptionResponse:
        """Return a subscription, read from Postgres."""
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        found = await self._store.shown(identity.tenant_of(request.tenant_id), subscription_id)
        return pb.GetSubscriptionResponse(subscription=self._message(found))

    async def ListSubscriptions(
        self, request: pb.ListSubscriptionsRequest, _context: Context
    ) -> pb.ListSubscriptionsResponse:
        """Return a page of subscriptions."""
        size = paging.page_size(request.page_size)
        before = paging.before(request.page_token)
        tenant_id = identity.tenant_of_list(request.tenant_id)
        asked = labels.Labels.of(request.name, request.metadata)
        limit = identity.limited_to()
        if limit is not None and tenant_id is not None:
            return await self._limited(tenant_id, limit, asked, before, size)
        if asked is not None:
            return await self._labelled(tenant_id, asked, before, size)
        found = await self._store.subscriptions_page(tenant_id, before, size + 1)
        return pb.ListSubscriptionsResponse(
            subscriptions=[self._message(shown) for shown in found[:size]],
            next_page_token=paging.token(found[size - 1][0].id) if len(found) > size else "",
        )

    async def _limited(
        self, tenant_id: str, limit: Collection[UUID], asked: labels.Labels | None, before: UUID, size: int
    ) -> pb.ListSubscriptionsResponse:
        """Return a page of the few that a portal link is limited to."""
        shown = [one for one in await self._store.of_ids(tenant_id, limit) if one[0].id < before]
        found = [one for one in shown if asked is None or asked.are_of(one[0].name, one[0].metadata)]
        return pb.ListSubscriptionsResponse(
            subscriptions=[self._message(one) for one in found[:size]],
            next_page_token=paging.token(found[size - 1][0].id) if len(found) > size else "",
        )

    async def _labelled(
        self, tenant_id: str | None, asked: labels.Labels, before: UUID, size: int
    ) -> pb.ListSubscriptionsResponse:
        if tenant_id is None:
            field = labels.METADATA if asked.name is None else labels.NAME
            raise errors.InvalidArgument.field(field, "cannot be combined with all tenants; ask for one tenant")
        found, more = await self._store.labelled_page(tenant_id, asked, before, size)
        return pb.ListSubscriptionsResponse(
            subscriptions=[self._message(shown) for shown in found],
            next_page_token="" if more is None else paging.token(more),
        )

    async def UpdateSubscription(
        self, request: pb.UpdateSubscriptionRequest, _context: Context
    ) -> pb.UpdateSubscriptionResponse:
        """Replace the fields, or those that the mask names, in one transaction with a look at what is stored."""
        tenant_id = identity.tenant_of(request.tenant_id)
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        certificate = await _certificate(request.spec)
        is_named = not request.HasField("update_mask") or templates.FIELD in request.update_mask.paths
        template = await templates.check(request.spec, self._renderer, tenant_id) if is_named else templates.Checked()

        checked = await self._check_filter(tenant_id, subscription_id, request)

        def update_of(stored: Subscription, headers: Callable[[], Mapping[str, str]]) -> Draft | None:
            return self._rules.updated(request, stored, headers, certificate, template)

        shown = await _whole(self._update(tenant_id, subscription_id, update_of, request.etags))
        return pb.UpdateSubscriptionResponse(subscription=self._message(shown, checked.warnings))

    async def DeleteSubscription(
        self, request: pb.DeleteSubscriptionRequest, _context: Context
    ) -> pb.DeleteSubscriptionResponse:
        """Mark a subscription deleted, then cancel its waiting deliveries."""
        tenant_id = identity.tenant_of(request.tenant_id)
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        await _whole(self._delete(tenant_id, subscription_id, request.etags))
        cancelled = await self._store.cancel_waiting(subscription_id)
        return pb.DeleteSubscriptionResponse(cancelled_deliveries=cancelled)

    async def CheckIngestToken(
        self, request: pb.CheckIngestTokenRequest, _context: Context
    ) -> pb.CheckIngestTokenResponse:
        """Return whose the subscription is, or raise NotFound without saying why."""
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        found = await self._cache.get(subscription_id)
        if found is None or not secrets.matches_ingest_token(request.token, found.ingest_token_hash):
            raise no_subscription(subscription_id)
        return pb.CheckIngestTokenResponse(tenant_id=found.tenant_id, weight=self._weight_of(found.tenant_id))

    async def SetSubscriptionStatus(
        self, request: pb.SetSubscriptionStatusRequest, _context: Context
    ) -> pb.SetSubscriptionStatusResponse:
        """Enable, disable, pause, or resume it, or have its target checked again."""
        tenant_id = identity.tenant_of(request.tenant_id)
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        change = STATUS_CHANGES.get(request.action)
        if change is None:
            raise errors.InvalidArgument.field("action", "must be enable, disable, pause, resume, or verify")
        shown = await _whole(self._change_status(tenant_id, subscription_id, change))
        return pb.SetSubscriptionStatusResponse(subscription=self._message(shown))

    async def RotateSubscriptionSecret(
        self, request: pb.RotateSubscriptionSecretRequest, _context: Context
    ) -> pb.RotateSubscriptionSecretResponse:
        """Replace the secret; the old ones stay valid for a while."""
        tenant_id = identity.tenant_of(request.tenant_id)
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        overlap = secrets.overlap(request.overlap_hours if request.HasField("overlap_hours") else None)
        given = request.secret_key if request.HasField("secret_key") else None
        rotation = Rotation(secret_key=given, scheme=messages.scheme(request.signature_scheme))
        key = await _key_of_rotation(request, tenant_id) if request.idempotency_key else None
        return await _whole(self._rotate(tenant_id, subscription_id, rotation, overlap, key))

    async def CreateIngestToken(
        self, request: pb.CreateIngestTokenRequest, _context: Context
    ) -> pb.CreateIngestTokenResponse:
        """Create an ingest token that replaces the previous one."""
        token = keys.make_ingest_token()
        tenant_id = identity.tenant_of(request.tenant_id)
        key = None
        if request.idempotency_key:
            key = key_of(tenant_id, f"ingest-token/{request.subscription_id}", request.idempotency_key)
        if not await self._change_token(request, keys.digest(token), key):
            return pb.CreateIngestTokenResponse(replayed=True)
        return pb.CreateIngestTokenResponse(token=token)

    async def DeleteIngestToken(
        self, request: pb.DeleteIngestTokenRequest, _context: Context
    ) -> pb.DeleteIngestTokenResponse:
        """Delete the ingest token."""
        await self._change_token(request, None)
        return pb.DeleteIngestTokenResponse()

    async def PreviewTemplate(
        self, request: pb.PreviewTemplateRequest, _context: Context
    ) -> pb.PreviewTemplateResponse:
        """Render a template from an event that the request has."""
        tenant_id = identity.tenant_of(request.tenant_id)
        stored = None
        if request.subscription_id:
            subscription_id = ids.parse("subscription_id", request.subscription_id)
            stored = (await self._store.shown(tenant_id, subscription_id))[0]
        return await previews.preview(request, tenant_id, stored, self._renderer)

    async def _check_filter(
        self, tenant_id: str, subscription_id: UUID, request: pb.UpdateSubscriptionRequest
    ) -> Checked:
        """Compare the filter that a subscription is to have with the catalog; refuse a new one that is in vain."""
        named = set(request.update_mask.paths) if request.HasField("update_mask") else set(_OF_FILTERS)
        if not named.intersection(_OF_FILTERS) or not self._filters.concerns(tenant_id):
            return NOTHING
        stored = (await self._store.shown(tenant_id, subscription_id))[0]
        given = request.spec.filter if request.spec.HasField("filter") else None
        text = given if "filter" in named else stored.filter
        entries = list(request.spec.event_types) if "event_types" in named else stored.event_types
        checked = await self._filters.check(tenant_id, text, entries)
        if text != stored.filter or set(entries) != set(stored.event_types):
            checked.refuse()
        return checked

    async def _create(
        self, request: pb.CreateSubscriptionRequest, tenant_id: str, draft: Draft, checked: Checked
    ) -> pb.CreateSubscriptionResponse:
        given = draft.secret_key is None or request.spec.HasField("secret_key")
        made = "" if given else secrets.shown_secret(draft.secret_key or "", draft.signature_scheme)
        key = await _key_of_creation(request, tenant_id) if request.idempotency_key else None

        def rendered(made: Subscription) -> bytes:
            return self._message(Shown.of_new(made), checked.warnings).SerializeToString()

        new, answer = await self._store.create_subscription(ids.new(), tenant_id, draft, rendered, key)
        found = pb.Subscription.FromString(answer)
        if new is None:
            return pb.CreateSubscriptionResponse(subscription=found, replayed=True)
        await self._cache.changed(new.id, tenant_id, new, new.version)
        shown = made if identity.has(PortalCapability.SECRETS) else ""
        return pb.CreateSubscriptionResponse(subscription=found, secret_key=shown)

    async def _update(self, tenant_id: str, subscription_id: UUID, update_of: UpdateOf, etags: Sequence[str]) -> Shown:
        shown, changed = await self._store.update_subscription(tenant_id, subscription_id, update_of, etags)
        if changed:
            await self._cache.changed(subscription_id, tenant_id, shown[0], shown[0].version)
        return shown

    async def _rotate(
        self, tenant_id: str, subscription_id: UUID, rotation: Rotation, overlap: timedelta, key: idempotency.Key | None
    ) -> pb.RotateSubscriptionSecretResponse:
        def rendered(rotated: tuple[Shown, Secret]) -> bytes:
            return self._message(rotated[0]).SerializeToString()

        rotated, answer = await self._store.rotate_secret(
            tenant_id, subscription_id, rotation, rendered, overlap=overlap, key=key
        )
        found = pb.Subscription.FromString(answer)
        if rotated is None:
            return pb.RotateSubscriptionSecretResponse(subscription=found, replayed=True)
        shown, new_one = rotated
        await self._cache.changed(subscription_id, tenant_id, shown[0], shown[0].version)
        made = secrets.shown_secret(new_one.secret_key, new_one.scheme) if rotation.secret_key is None else ""
        return pb.RotateSubscriptionSecretResponse(subscription=found, secret_key=made)

    async def _change_token(
        self,
        request: pb.CreateIngestTokenRequest | pb.DeleteIngestTokenRequest,
        token_hash: bytes | None,
        key: idempotency.Key | None = None,
    ) -> bool:
        """Return whether anything was done, and not only repeated."""
        tenant_id = identity.tenant_of(request.tenant_id)
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        return await _whole(self._set_token(tenant_id, subscription_id, token_hash, key))

    async def _set_token(
        self, tenant_id: str, subscription_id: UUID, token_hash: bytes | None, key: idempotency.Key | None
    ) -> bool:
        changed = await self._store.set_ingest_token(tenant_id, subscription_id, token_hash, key)
        if changed is None:
            return False
        await self._cache.changed(subscription_id, tenant_id, changed, changed.version)
        return True

    async def _delete(self, tenant_id: str, subscription_id: UUID, etags: Sequence[str]) -> None:
        version = await self._store.delete_subscription(tenant_id, subscription_id, etags)
        await self._cache.changed(subscription_id, tenant_id, None, version)

    async def _change_status(self, tenant_id: str, subscription_id: UUID, change: StatusChange) -> Shown:
        shown, changed = await self._store.change_status(tenant_id, subscription_id, change)
        if changed:
            await self._cache.changed(subscription_id, tenant_id, shown[0], shown[0].version)
        return shown

    def _message(self, shown: Shown, of_filter: Sequence[str] = ()) -> pb.Subscription:
        held, moment = self._secrets(shown[0]), datetime.now(UTC)
        warnings = [*self._warnings(shown[0], held, moment), *(f"filter: {one}" for one in of_filter)]
        return messages.message(
            shown,
            held,
            moment,
            self._settings.retry_policy,
            warnings,
            timeout_seconds=self._settings.delivery_timeout_seconds,
        )

    def _warnings(self, subscription: Subscription, held: Secrets, moment: datetime) -> list[str]:
        current = [signer for signer in held.signers(moment)[:1] if isinstance(signer, Key)]
        given: Sequence[Key] = ()
        if subscription.sealed_verification_secrets is not None:
            with contextlib.suppress(CannotOpen):  # said where something is to be verified
                given = self._vault.verification_keys(subscription.id, subscription.sealed_verification_secrets)
        return [
            *secrets.secret_warnings("secret_key", current),
            *secrets.secret_warnings(secrets.VERIFICATION_SECRETS, given),
            *secrets.relay_warnings(subscription.verification, relay_headers=subscription.relay_headers),
        ]

    def _secrets(self, subscription: Subscription) -> Secrets:
        if subscription.sealed_secrets is None:
            return NONE
        try:
            return self._vault.opened(subscription.id, subscription.sealed_secrets)
        except CannotOpen as error:
            # Shown all the same, so that it can be given another.
            log.error(  # noqa: TRY400 - there is no bug to trace
                "a subscription's secrets cannot be decrypted", subscription_id=str(subscription.id), reason=str(error)
            )
            return NONE


async def _certificate(spec: pb.SubscriptionSpec) -> Certificate:
    """Return the client certificate of a request, and what is wrong with it, found in a thread: it takes a while."""
    given = spec.client_certificate
    if not given.certificate and not given.private_key:
        return None, ()
    try:
        found = await asyncio.to_thread(
            client_certificates.parse, given.certificate, given.private_key, datetime.now(UTC)
        )
    except errors.InvalidArgument as error:
        return None, error.violations
    return found, ()


async def _key_of_creation(request: pb.CreateSubscriptionRequest, tenant_id: str) -> idempotency.Key:
    """Return the idempotency key with a digest of what is asked for, which does not give the secrets away."""
    asked, secret = pb.SubscriptionSpec(), pb.SubscriptionSpec()
    asked.CopyFrom(request.spec)
    parts = []
    if not asked.headers.values:
        asked.ClearField("headers")  # no headers are asked for, whether the message is there or not
    if asked.HasField("client_certificate"):
        asked.client_certificate.ClearField("private_key")  # the certificate, which is not secret, has no other
    FieldMask(paths=_SECRETS).MergeMessage(asked, secret)
    if secret.ListFields():
        for name in _SECRETS:
            asked.ClearField(name)  # type: ignore[arg-type]  # one of _SECRETS
        text = secret.SerializeToString(deterministic=True)
        parts.append(await _digest(text, tenant_id, request.idempotency_key))
    parts.append(asked.SerializeToString(deterministic=True))
    return key_of(tenant_id, "subscriptions", request.idempotency_key, *parts)


async def _key_of_rotation(request: pb.RotateSubscriptionSecretRequest, tenant_id: str) -> idempotency.Key:
    """Return the same of a rotation."""
    asked = pb.RotateSubscriptionSecretRequest()
    asked.CopyFrom(request)
    for name in ("tenant_id", "idempotency_key", "secret_key"):
        asked.ClearField(name)
    parts = [asked.SerializeToString(deterministic=True)]
    if request.HasField("secret_key"):
        parts.append(await _digest(request.secret_key.encode(), tenant_id, request.idempotency_key))
    return key_of(tenant_id, f"rotate-secret/{request.subscription_id}", request.idempotency_key, *parts)


async def _digest(secret: bytes, tenant_id: str, key: str) -> bytes:
    """Return what is kept of a secret. All else is known: it is slow, so that a weak secret cannot be guessed by it."""
    salt = f"{tenant_id} {key}".encode()
    return await asyncio.to_thread(hashlib.scrypt, secret, salt=salt, n=1 << 14, r=8, p=1)


async def _whole(change: Coroutine[None, None, Changed]) -> Changed:
    """Make a change and update the caches, even if the caller is cancelled in between."""
    return await asyncio.shield(asyncio.create_task(change))
