"""SubscriptionService: creates, reads, changes and deletes subscriptions."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar
from uuid import UUID

import asyncpg
import grpc

from protos.webhook.v1 import subscriptions_pb2 as pb
from protos.webhook.v1 import subscriptions_pb2_grpc
from services.common import errors, ids, paging, tenants
from services.ingest.cache import SubscriptionCache
from services.ingest.idempotency import key_of
from services.ingest.store import Store, no_subscription
from services.ingest.subscriptions import Draft, Subscription

Changed = TypeVar("Changed")


class SubscriptionService(subscriptions_pb2_grpc.SubscriptionServiceServicer):
    """Servicer of webhook.v1.SubscriptionService."""

    def __init__(self, store: Store, cache: SubscriptionCache) -> None:
        self._store = store
        self._cache = cache

    async def CreateSubscription(  # noqa: N802 - gRPC's name
        self,
        request: pb.CreateSubscriptionRequest,
        context: grpc.aio.ServicerContext[pb.CreateSubscriptionRequest, pb.CreateSubscriptionResponse],  # noqa: ARG002 - gRPC's signature
    ) -> pb.CreateSubscriptionResponse:
        """Stores a new subscription."""
        tenant_id = tenants.of(request.tenant_id)
        draft = Draft(
            target_url=request.target_url,
            event_types=list(request.event_types),
            description=request.description,
            secret_key=request.secret_key if request.HasField("secret_key") else None,
        )
        try:
            return await _whole(self._create(request, tenant_id, draft))
        except asyncpg.ForeignKeyViolationError:
            raise errors.InvalidArgument.field("tenant_id", "is no tenant of this service") from None

    async def GetSubscription(  # noqa: N802 - gRPC's name
        self,
        request: pb.GetSubscriptionRequest,
        context: grpc.aio.ServicerContext[pb.GetSubscriptionRequest, pb.GetSubscriptionResponse],  # noqa: ARG002 - gRPC's signature
    ) -> pb.GetSubscriptionResponse:
        """Reads one from Postgres."""
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        found = await self._store.subscription(subscription_id)
        if found is None or found.tenant_id != tenants.of(request.tenant_id):
            raise no_subscription(subscription_id)
        return pb.GetSubscriptionResponse(subscription=_message(found))

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
            subscriptions=[_message(subscription) for subscription in found[:size]],
            next_page_token=paging.token(found[size - 1].id) if len(found) > size else "",
        )

    async def UpdateSubscription(  # noqa: N802 - gRPC's name
        self,
        request: pb.UpdateSubscriptionRequest,
        context: grpc.aio.ServicerContext[pb.UpdateSubscriptionRequest, pb.UpdateSubscriptionResponse],  # noqa: ARG002 - gRPC's signature
    ) -> pb.UpdateSubscriptionResponse:
        """Replaces the fields; the secret only when the request says so."""
        tenant_id = tenants.of(request.tenant_id)
        change = request.WhichOneof("secret")
        draft = Draft(
            target_url=request.target_url,
            event_types=list(request.event_types),
            description=request.description,
            secret_key=request.secret_key if change == "secret_key" else None,
        )
        set_secret = change == "secret_key" or (change == "remove_secret" and request.remove_secret)
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        updated = await _whole(self._update(tenant_id, subscription_id, draft, set_secret=set_secret))
        return pb.UpdateSubscriptionResponse(subscription=_message(updated))

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

    async def _create(
        self, request: pb.CreateSubscriptionRequest, tenant_id: str, draft: Draft
    ) -> pb.CreateSubscriptionResponse:
        if not request.idempotency_key:
            created = await self._store.create_subscription(ids.new(), tenant_id, draft)
            await self._cache.changed(created.id, tenant_id, created, created.version)
            return pb.CreateSubscriptionResponse(subscription=_message(created))
        asked = pb.CreateSubscriptionRequest()
        asked.CopyFrom(request)
        asked.ClearField("idempotency_key")
        key = key_of(tenant_id, "subscriptions", request.idempotency_key, asked.SerializeToString(deterministic=True))
        new, answer = await self._store.create_keyed_subscription(ids.new(), draft, key, _rendered)
        if new is not None:
            await self._cache.changed(new.id, tenant_id, new, new.version)
        return pb.CreateSubscriptionResponse(subscription=pb.Subscription.FromString(answer))

    async def _update(self, tenant_id: str, subscription_id: UUID, draft: Draft, *, set_secret: bool) -> Subscription:
        updated = await self._store.update_subscription(tenant_id, subscription_id, draft, set_secret=set_secret)
        await self._cache.changed(updated.id, tenant_id, updated, updated.version)
        return updated

    async def _delete(self, tenant_id: str, subscription_id: UUID) -> None:
        version = await self._store.delete_subscription(tenant_id, subscription_id)
        await self._cache.changed(subscription_id, tenant_id, None, version)


async def _whole(change: Coroutine[None, None, Changed]) -> Changed:
    """Makes a change and tells the caches to the end, even when the caller leaves in between."""
    return await asyncio.shield(asyncio.create_task(change))


def _rendered(subscription: Subscription) -> bytes:
    return _message(subscription).SerializeToString()


def _message(subscription: Subscription) -> pb.Subscription:
    message = pb.Subscription(
        id=str(subscription.id),
        tenant_id=subscription.tenant_id,
        target_url=subscription.target_url,
        event_types=subscription.event_types,
        description=subscription.description,
        has_secret=subscription.secret_key is not None,
    )
    message.created_at.FromDatetime(subscription.created_at)
    message.updated_at.FromDatetime(subscription.updated_at)
    return message
