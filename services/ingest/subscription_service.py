"""SubscriptionService: creates, reads, changes and deletes subscriptions."""

import asyncio
from collections.abc import Coroutine
from typing import TypeAlias, TypeVar
from uuid import UUID

import grpc

from protos.webhook.v1 import subscriptions_pb2 as pb
from protos.webhook.v1 import subscriptions_pb2_grpc
from services.common import ids, paging, tenants
from services.common.egress import Policy
from services.common.retry_policy import RetrySettings
from services.ingest import statuses
from services.ingest import subscription_messages as messages
from services.ingest.cache import SubscriptionCache
from services.ingest.idempotency import key_of
from services.ingest.store import Store
from services.ingest.subscriptions import Breaker, Draft, Shown, Subscription

Changed = TypeVar("Changed")
Named: TypeAlias = (
    pb.DisableSubscriptionRequest
    | pb.EnableSubscriptionRequest
    | pb.PauseSubscriptionRequest
    | pb.ResumeSubscriptionRequest
)


class SubscriptionService(subscriptions_pb2_grpc.SubscriptionServiceServicer):
    """Servicer of webhook.v1.SubscriptionService."""

    def __init__(self, store: Store, cache: SubscriptionCache, settings: RetrySettings, policy: Policy) -> None:
        self._store = store
        self._cache = cache
        self._settings = settings
        self._policy = policy

    async def CreateSubscription(  # noqa: N802 - gRPC's name
        self,
        request: pb.CreateSubscriptionRequest,
        context: grpc.aio.ServicerContext[pb.CreateSubscriptionRequest, pb.CreateSubscriptionResponse],  # noqa: ARG002 - gRPC's signature
    ) -> pb.CreateSubscriptionResponse:
        """Stores a new subscription."""
        tenant_id = tenants.of(request.tenant_id)
        draft = messages.draft(request, self._settings, self._policy, secret=request.HasField("secret_key"))
        return await _whole(self._create(request, tenant_id, draft))

    async def GetSubscription(  # noqa: N802 - gRPC's name
        self,
        request: pb.GetSubscriptionRequest,
        context: grpc.aio.ServicerContext[pb.GetSubscriptionRequest, pb.GetSubscriptionResponse],  # noqa: ARG002 - gRPC's signature
    ) -> pb.GetSubscriptionResponse:
        """Reads one from Postgres."""
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        found = await self._store.shown(tenants.of(request.tenant_id), subscription_id)
        return pb.GetSubscriptionResponse(subscription=messages.message(found))

    async def ListSubscriptions(  # noqa: N802 - gRPC's name
        self,
        request: pb.ListSubscriptionsRequest,
        context: grpc.aio.ServicerContext[pb.ListSubscriptionsRequest, pb.ListSubscriptionsResponse],  # noqa: ARG002 - gRPC's signature
    ) -> pb.ListSubscriptionsResponse:
        """Reads a page."""
        size = paging.page_size(request.page_size)
        before = paging.before(request.page_token)
        found = await self._store.subscriptions_page(tenants.of(request.tenant_id), before, size + 1)
        return pb.ListSubscriptionsResponse(
            subscriptions=[messages.message(shown) for shown in found[:size]],
            next_page_token=paging.token(found[size - 1][0].id) if len(found) > size else "",
        )

    async def UpdateSubscription(  # noqa: N802 - gRPC's name
        self,
        request: pb.UpdateSubscriptionRequest,
        context: grpc.aio.ServicerContext[pb.UpdateSubscriptionRequest, pb.UpdateSubscriptionResponse],  # noqa: ARG002 - gRPC's signature
    ) -> pb.UpdateSubscriptionResponse:
        """Replaces the fields; the secret and the headers only when the request says so."""
        tenant_id = tenants.of(request.tenant_id)
        change = request.WhichOneof("secret")
        draft = messages.draft(request, self._settings, self._policy, secret=change == "secret_key")
        set_secret = change == "secret_key" or (change == "remove_secret" and request.remove_secret)
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        set_headers = request.HasField("headers")
        change_made = self._update(tenant_id, subscription_id, draft, set_secret=set_secret, set_headers=set_headers)
        updated = await _whole(change_made)
        return pb.UpdateSubscriptionResponse(subscription=messages.message(updated))

    async def DeleteSubscription(  # noqa: N802 - gRPC's name
        self,
        request: pb.DeleteSubscriptionRequest,
        context: grpc.aio.ServicerContext[pb.DeleteSubscriptionRequest, pb.DeleteSubscriptionResponse],  # noqa: ARG002 - gRPC's signature
    ) -> pb.DeleteSubscriptionResponse:
        """Marks it deleted, then cancels what waits for it."""
        tenant_id = tenants.of(request.tenant_id)
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        await _whole(self._delete(tenant_id, subscription_id))
        cancelled = await self._store.cancel_waiting(subscription_id)
        return pb.DeleteSubscriptionResponse(cancelled_deliveries=cancelled)

    async def DisableSubscription(  # noqa: N802 - gRPC's name
        self,
        request: pb.DisableSubscriptionRequest,
        context: grpc.aio.ServicerContext[pb.DisableSubscriptionRequest, pb.DisableSubscriptionResponse],  # noqa: ARG002 - gRPC's signature
    ) -> pb.DisableSubscriptionResponse:
        """Stops deliveries until it is enabled."""
        return pb.DisableSubscriptionResponse(subscription=await self._change(request, statuses.DISABLE))

    async def EnableSubscription(  # noqa: N802 - gRPC's name
        self,
        request: pb.EnableSubscriptionRequest,
        context: grpc.aio.ServicerContext[pb.EnableSubscriptionRequest, pb.EnableSubscriptionResponse],  # noqa: ARG002 - gRPC's signature
    ) -> pb.EnableSubscriptionResponse:
        """Makes a disabled one active, with its breaker closed."""
        return pb.EnableSubscriptionResponse(subscription=await self._change(request, statuses.ENABLE))

    async def PauseSubscription(  # noqa: N802 - gRPC's name
        self,
        request: pb.PauseSubscriptionRequest,
        context: grpc.aio.ServicerContext[pb.PauseSubscriptionRequest, pb.PauseSubscriptionResponse],  # noqa: ARG002 - gRPC's signature
    ) -> pb.PauseSubscriptionResponse:
        """Holds deliveries back until it is resumed."""
        return pb.PauseSubscriptionResponse(subscription=await self._change(request, statuses.PAUSE))

    async def ResumeSubscription(  # noqa: N802 - gRPC's name
        self,
        request: pb.ResumeSubscriptionRequest,
        context: grpc.aio.ServicerContext[pb.ResumeSubscriptionRequest, pb.ResumeSubscriptionResponse],  # noqa: ARG002 - gRPC's signature
    ) -> pb.ResumeSubscriptionResponse:
        """Makes a paused one active."""
        return pb.ResumeSubscriptionResponse(subscription=await self._change(request, statuses.RESUME))

    async def _create(
        self, request: pb.CreateSubscriptionRequest, tenant_id: str, draft: Draft
    ) -> pb.CreateSubscriptionResponse:
        if not request.idempotency_key:
            created = await self._store.create_subscription(ids.new(), tenant_id, draft)
            await self._cache.changed(created.id, tenant_id, created, created.version)
            return pb.CreateSubscriptionResponse(subscription=messages.message((created, Breaker())))
        asked = pb.CreateSubscriptionRequest()
        asked.CopyFrom(request)
        asked.ClearField("idempotency_key")
        asked.ClearField("tenant_id")  # the key is the tenant's anyway, whether the call states it or not
        key = key_of(tenant_id, "subscriptions", request.idempotency_key, asked.SerializeToString(deterministic=True))
        new, answer = await self._store.create_keyed_subscription(ids.new(), draft, key, _rendered)
        if new is not None:
            await self._cache.changed(new.id, tenant_id, new, new.version)
        return pb.CreateSubscriptionResponse(subscription=pb.Subscription.FromString(answer))

    async def _update(
        self, tenant_id: str, subscription_id: UUID, draft: Draft, *, set_secret: bool, set_headers: bool
    ) -> Shown:
        shown = await self._store.update_subscription(
            tenant_id, subscription_id, draft, set_secret=set_secret, set_headers=set_headers
        )
        await self._cache.changed(subscription_id, tenant_id, shown[0], shown[0].version)
        return shown

    async def _delete(self, tenant_id: str, subscription_id: UUID) -> None:
        version = await self._store.delete_subscription(tenant_id, subscription_id)
        await self._cache.changed(subscription_id, tenant_id, None, version)

    async def _change(self, request: Named, change: statuses.Change) -> pb.Subscription:
        tenant_id = tenants.of(request.tenant_id)
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        return messages.message(await _whole(self._change_status(tenant_id, subscription_id, change)))

    async def _change_status(self, tenant_id: str, subscription_id: UUID, change: statuses.Change) -> Shown:
        shown, changed = await self._store.change_status(tenant_id, subscription_id, change)
        if changed:
            await self._cache.changed(subscription_id, tenant_id, shown[0], shown[0].version)
        return shown


async def _whole(change: Coroutine[None, None, Changed]) -> Changed:
    """Makes a change and tells the caches to the end, even when the caller leaves in between."""
    return await asyncio.shield(asyncio.create_task(change))


def _rendered(subscription: Subscription) -> bytes:
    return messages.message((subscription, Breaker())).SerializeToString()
