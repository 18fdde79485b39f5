"""IngestService: validates items, finds their subscriptions, and commits what is valid."""

import re
from collections import Counter
from collections.abc import Sequence

import grpc

from protos.webhook.v1 import ingest_pb2, ingest_pb2_grpc
from services.common import errors, grpc_errors, ids, signatures, tenants
from services.ingest import event_types, metrics
from services.ingest.cache import SubscriptionCache
from services.ingest.committer import Committer
from services.ingest.store import NewEvent, Store, no_subscription
from services.ingest.subscriptions import Subscription

MAX_BATCH_ITEMS = 1_000
DEFAULT_CONTENT_TYPE = "application/json"
_CONTENT_TYPE = re.compile(r"[\x20-\x7e]{1,255}")


class IngestService(ingest_pb2_grpc.IngestServiceServicer):
    """Servicer of webhook.v1.IngestService."""

    def __init__(self, store: Store, cache: SubscriptionCache, committer: Committer, *, max_payload_bytes: int) -> None:
        self._store = store
        self._cache = cache
        self._committer = committer
        self._max_payload_bytes = max_payload_bytes

    async def Ingest(  # noqa: N802 - gRPC's name
        self,
        request: ingest_pb2.IngestRequest,
        context: grpc.aio.ServicerContext[ingest_pb2.IngestRequest, ingest_pb2.IngestResponse],  # noqa: ARG002 - gRPC's signature
    ) -> ingest_pb2.IngestResponse:
        """Accepts one event, or raises why not."""
        result = (await self._accept([request.item]))[0]
        if isinstance(result, errors.WebhookError):
            raise result
        return ingest_pb2.IngestResponse(accepted=_accepted(result))

    async def BatchIngest(  # noqa: N802 - gRPC's name
        self,
        request: ingest_pb2.BatchIngestRequest,
        context: grpc.aio.ServicerContext[ingest_pb2.BatchIngestRequest, ingest_pb2.BatchIngestResponse],  # noqa: ARG002 - gRPC's signature
    ) -> ingest_pb2.BatchIngestResponse:
        """Accepts many events, with a result for each."""
        if len(request.items) > MAX_BATCH_ITEMS:
            raise errors.InvalidArgument.field("items", f"must be at most {MAX_BATCH_ITEMS}")
        results = await self._accept(request.items)
        return ingest_pb2.BatchIngestResponse(results=[_result(result) for result in results])

    async def GetEvent(  # noqa: N802 - gRPC's name
        self,
        request: ingest_pb2.GetEventRequest,
        context: grpc.aio.ServicerContext[ingest_pb2.GetEventRequest, ingest_pb2.GetEventResponse],  # noqa: ARG002 - gRPC's signature
    ) -> ingest_pb2.GetEventResponse:
        """Reads an event."""
        event = await self._store.event(tenants.of(request.tenant_id), ids.parse("event_id", request.event_id))
        message = ingest_pb2.Event(
            id=str(event.id),
            tenant_id=event.tenant_id,
            event_type=event.event_type or "",
            content_type=event.content_type,
            payload=event.payload,
        )
        message.created_at.FromDatetime(event.created_at)
        return ingest_pb2.GetEventResponse(event=message)

    async def _accept(self, items: Sequence[ingest_pb2.IngestItem]) -> list[NewEvent | errors.WebhookError]:
        """For each item the event that was committed, or why it was refused."""
        results: list[NewEvent | errors.WebhookError] = []
        for item in items:
            try:
                results.append(await self._prepare(item))
            except Exception as error:
                refused = errors.classify(error)
                if refused is None:
                    raise
                results.append(refused)
        events = [result for result in results if isinstance(result, NewEvent)]
        repeated = len({event.id for event in events}) != len(events)
        if repeated:
            results, events = _refuse_repeated(results)
        outcomes = iter(await self._committer.commit(events))
        results = [
            result if isinstance(result, errors.WebhookError) else next(outcomes) or result for result in results
        ]
        _count(results)
        return results

    async def _prepare(self, item: ingest_pb2.IngestItem) -> NewEvent:
        tenant_id = tenants.of(item.tenant_id)
        event_id = ids.parse("event_id", item.event_id) if item.event_id else ids.new()
        ids.check_fresh("event_id", event_id)
        payload = item.payload
        if len(payload) > self._max_payload_bytes:
            raise errors.PayloadTooLarge.field("payload", f"must be at most {self._max_payload_bytes} bytes")
        event_type = item.event_type
        if event_type:
            event_types.check("event_type", event_type)
        content_type = item.content_type or DEFAULT_CONTENT_TYPE
        if content_type != DEFAULT_CONTENT_TYPE and not _CONTENT_TYPE.fullmatch(content_type):
            raise errors.InvalidArgument.field("content_type", "must be 1 to 255 printable ASCII characters")
        target = item.WhichOneof("target")
        if target == "subscription_id":
            subscription = await self._subscription(tenant_id, item.subscription_id)
            if item.HasField("hub_signature"):
                _verify(subscription, item)
            targets = [subscription.id] if subscription.filter.wants(event_type) else []
        elif target == "fan_out":
            if not event_type:
                raise errors.InvalidArgument.field("event_type", "is required for an event to all subscriptions")
            targets = await self._cache.matching(tenant_id, event_type)
        else:
            raise errors.InvalidArgument.field("target", "must be subscription_id or fan_out")
        return NewEvent(
            id=event_id,
            tenant_id=tenant_id,
            event_type=event_type or None,
            content_type=content_type,
            payload=payload,
            deliveries=[(ids.of_delivery(event_id, target_id), target_id) for target_id in targets],
        )

    async def _subscription(self, tenant_id: str, text: str) -> Subscription:
        subscription_id = ids.parse("subscription_id", text)
        subscription = await self._cache.get(subscription_id)
        if subscription is None or subscription.tenant_id != tenant_id:
            raise no_subscription(subscription_id)
        return subscription


def _verify(subscription: Subscription, item: ingest_pb2.IngestItem) -> None:
    signed = item.hub_signature
    body = signed.signed_body if signed.HasField("signed_body") else item.payload
    if subscription.secret_key is None:
        raise errors.Unauthenticated(
            "X-Hub-Signature-256 was sent, but the subscription has no secret to verify it with"
        )
    if not signatures.verify_hub(subscription.secret_key, body, signed.signature):
        raise errors.Unauthenticated("X-Hub-Signature-256 does not match the body under the subscription's secret")


def _refuse_repeated(
    results: list[NewEvent | errors.WebhookError],
) -> tuple[list[NewEvent | errors.WebhookError], list[NewEvent]]:
    """Refuses all but the first item of an event id that stands in a call twice."""
    seen: set[object] = set()
    kept: list[NewEvent | errors.WebhookError] = []
    for result in results:
        if isinstance(result, NewEvent):
            if result.id in seen:
                kept.append(errors.InvalidArgument.field("event_id", "stands in this call twice"))
                continue
            seen.add(result.id)
        kept.append(result)
    return kept, [result for result in kept if isinstance(result, NewEvent)]


def _accepted(event: NewEvent) -> ingest_pb2.Accepted:
    deliveries = event.deliveries
    return ingest_pb2.Accepted(
        event_id=str(event.id),
        delivery_id=str(deliveries[0][0]) if len(deliveries) == 1 else "",
        status=ingest_pb2.INGEST_STATUS_PENDING if deliveries else ingest_pb2.INGEST_STATUS_FILTERED,
        deliveries=len(deliveries),
    )


def _result(result: NewEvent | errors.WebhookError) -> ingest_pb2.IngestResult:
    if isinstance(result, NewEvent):
        return ingest_pb2.IngestResult(accepted=_accepted(result))
    return ingest_pb2.IngestResult(
        error=ingest_pb2.ItemError(
            code=grpc_errors.code_number(result),
            reason=result.reason,
            message=result.message,
            field=result.violations[0].field if result.violations else "",
        )
    )


def _count(results: list[NewEvent | errors.WebhookError]) -> None:
    counts = Counter(
        result.reason if isinstance(result, errors.WebhookError) else bool(result.deliveries) for result in results
    )
    for key, number in counts.items():
        if key is True:
            metrics.ACCEPTED.inc(number)
        elif key is False:
            metrics.FILTERED.inc(number)
        else:
            metrics.REJECTED.labels(key).inc(number)
