"""DeliveryService: look-ups, manual retries, cancellations."""

from protos.webhook.v1 import deliveries_pb2 as pb
from protos.webhook.v1 import deliveries_pb2_grpc
from services.delivery.api.store import Attempt, Delivery, DeliveryStore
from services.delivery.dispatcher.turns import Turns
from services.domain import deliveries, doorbell
from services.domain.gates import Gates
from services.domain.states import FINAL, AttemptOutcome, DeliveryStatus
from services.platform import errors, ids, paging
from services.platform.auth import identity
from services.platform.grpc import conversion
from services.platform.grpc.calls import Context
from services.platform.tracing import spans

_STATUSES = pb.DeliveryStatus.DESCRIPTOR


class DeliveryService(deliveries_pb2_grpc.DeliveryServiceServicer):
    """Servicer of webhook.v1.DeliveryService."""

    def __init__(self, store: DeliveryStore, ringer: doorbell.Ringer, gates: Gates, turns: Turns) -> None:
        self._store = store
        self._ringer = ringer
        self._gates = gates
        self._turns = turns

    async def GetDelivery(self, request: pb.GetDeliveryRequest, _context: Context) -> pb.GetDeliveryResponse:
        """Read one with its attempts."""
        delivery_id = ids.parse("delivery_id", request.delivery_id)
        found = await self._store.delivery(identity.tenant_of(request.tenant_id), delivery_id)
        return pb.GetDeliveryResponse(delivery=await self._whole(found))

    async def ListDeliveries(self, request: pb.ListDeliveriesRequest, _context: Context) -> pb.ListDeliveriesResponse:
        """Read a page."""
        tenant_id = identity.tenant_of_list(request.tenant_id)
        size = paging.page_size(request.page_size)
        before = paging.before(request.page_token)
        status = _status(request.status)
        parent = request.WhichOneof("parent")
        if parent == "subscription_id":
            owner = ids.parse("subscription_id", request.subscription_id)
            page = await self._store.of_subscription(tenant_id, owner, status=status, before=before, limit=size + 1)
        elif parent == "event_id":
            owner = ids.parse("event_id", request.event_id)
            page = await self._store.of_event(tenant_id, owner, status=status, before=before, limit=size + 1)
        else:
            raise errors.InvalidArgument.field("parent", "must be subscription_id or event_id")
        return pb.ListDeliveriesResponse(
            deliveries=[_message(delivery) for delivery in page[:size]],
            next_page_token=paging.token(page[size - 1].id) if len(page) > size else "",
        )

    async def RetryDelivery(self, request: pb.RetryDeliveryRequest, _context: Context) -> pb.RetryDeliveryResponse:
        """Make it pending, and ring once that is committed."""
        delivery_id = ids.parse("delivery_id", request.delivery_id)
        pending, ringing, trace = await self._store.retry(
            identity.tenant_of(request.tenant_id),
            delivery_id,
            may_ring=lambda to: self._ringer.open and self._gates.is_open(to),
        )
        spans.link(trace)
        if ringing:
            self._ringer.ring([doorbell.Rung(pending.subscription_id, delivery_id)])
        return pb.RetryDeliveryResponse(delivery=await self._whole(pending))

    async def CancelDelivery(self, request: pb.CancelDeliveryRequest, _context: Context) -> pb.CancelDeliveryResponse:
        """Cancel it if it waits."""
        delivery_id = ids.parse("delivery_id", request.delivery_id)
        cancelled, was_waiting = await self._store.cancel(identity.tenant_of(request.tenant_id), delivery_id)
        if was_waiting:
            deliveries.DELIVERIES_ENDED.labels(DeliveryStatus.CANCELLED).inc()
        return pb.CancelDeliveryResponse(delivery=_message(cancelled))

    async def _whole(self, delivery: Delivery) -> pb.Delivery:
        message = _message(delivery)
        if delivery.held_by is not None:
            message.held_by = delivery.held_by or await self._turns.held_by(delivery.subscription_id) or ""
        return message


def _status(status: pb.DeliveryStatus.ValueType) -> DeliveryStatus | None:
    if status != pb.DELIVERY_STATUS_UNSPECIFIED and status not in conversion.texts(_STATUSES):
        raise errors.InvalidArgument.field("status", "must be a known delivery status")
    return DeliveryStatus(conversion.texts(_STATUSES)[status]) if status else None


def _message(delivery: Delivery) -> pb.Delivery:
    return conversion.message(
        pb.Delivery,
        delivery,
        attempts=[_attempt(attempt) for attempt in delivery.attempts],
        held_by=None,
        next_attempt_at=delivery.due_at if delivery.status is DeliveryStatus.SCHEDULED else None,
        completed_at=delivery.completed_at if delivery.status in FINAL else None,
    )


def _attempt(attempt: Attempt) -> pb.Attempt:
    succeeded = attempt.outcome == AttemptOutcome.SUCCESS
    error = None if succeeded else pb.AttemptError(kind=attempt.outcome, message=attempt.error_message or "")
    return conversion.message(pb.Attempt, attempt, error=error)
