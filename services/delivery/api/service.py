"""DeliveryService: look-ups, manual retries, cancellations."""

import contextlib
import dataclasses
import functools
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar
from uuid import UUID

from protos.webhook.v1 import deliveries_pb2 as pb
from protos.webhook.v1 import deliveries_pb2_grpc
from services.delivery.api import explanation, filters
from services.delivery.api.endpoint_tests import EndpointTests
from services.delivery.api.filters import Filter
from services.delivery.api.live import News, Wanted, Watching
from services.delivery.api.retries import MAX_DELIVERIES, Result, Retries
from services.delivery.api.store import Attempt, Delivery, DeliveryStore
from services.delivery.destinations import details
from services.delivery.destinations.details import Details
from services.delivery.destinations.pull.pulls import Pulls
from services.domain import deliveries, sender_context
from services.domain.live import Told
from services.domain.notices import audit
from services.domain.states import FINAL, AttemptOutcome, DeliveryStatus
from services.domain.tenants import scopes
from services.platform import errors, ids, paging
from services.platform.auth import identity, roles
from services.platform.auth.roles import PortalCapability, Role
from services.platform.grpc import conversion
from services.platform.grpc import errors as grpc_errors
from services.platform.grpc.calls import Context
from services.platform.stores import walks
from services.platform.stores.walks import Found, Paged, Span
from services.platform.tracing import spans

_STATUSES = pb.DeliveryStatus.DESCRIPTOR
_NUMBERS = conversion.numbers(_STATUSES)
_COUNTED = ("delivered", "failed", "scheduled")


class DeliveryService(deliveries_pb2_grpc.DeliveryServiceServicer):
    """Servicer of webhook.v1.DeliveryService."""

    def __init__(
        self, store: DeliveryStore, retries: Retries, tests: EndpointTests, watching: Watching, pulls: Pulls
    ) -> None:
        self._store = store
        self._watching = watching
        self._retries = retries
        self._tests = tests
        self._pulls = pulls

    async def GetDelivery(self, request: pb.GetDeliveryRequest, _context: Context) -> pb.GetDeliveryResponse:
        """Read one with its attempts."""
        delivery_id = ids.parse("delivery_id", request.delivery_id)
        found = await self._store.delivery(identity.tenant_of(request.tenant_id), delivery_id)
        return pb.GetDeliveryResponse(delivery=_message(found))

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
            page = await self._of_event(tenant_id, owner, status, before, size + 1)
        else:
            raise errors.InvalidArgument.field("parent", "must be subscription_id or event_id")
        return pb.ListDeliveriesResponse(
            deliveries=[_message(delivery) for delivery in page[:size]],
            next_page_token=paging.token(page[size - 1].id) if len(page) > size else "",
        )

    async def _of_event(
        self, tenant_id: str | None, event_id: UUID, status: DeliveryStatus | None, before: UUID, limit: int
    ) -> list[Delivery]:
        """Return the first deliveries of an event, of those that a portal link is limited to."""
        subscriptions = identity.limited_to()
        if subscriptions is None or tenant_id is None:
            return await self._store.of_event(tenant_id, event_id, status=status, before=before, limit=limit)
        statuses = frozenset((status,)) if status else frozenset[DeliveryStatus]()
        wanted = Filter(subscription_ids=sorted(subscriptions), event_ids=[event_id], statuses=statuses)
        found, _ = await self._store.search(tenant_id, wanted, Span(before=before), limit)
        return list(found)

    async def SearchDeliveries(
        self, request: pb.SearchDeliveriesRequest, _context: Context
    ) -> pb.SearchDeliveriesResponse:
        """Read a page of those that are wanted."""
        tenant_id = identity.tenant_of(request.tenant_id)
        size = paging.page_size(request.page_size)
        wanted, paged = _paged(request, ascending=request.ascending)
        found, reached = await self._store.search(tenant_id, wanted, paged.rest, size)
        return _page(pb.SearchDeliveriesResponse, wanted, paged, found, reached)

    async def StreamDeliveries(
        self, request: pb.StreamDeliveriesRequest, _context: Context
    ) -> AsyncIterator[pb.StreamDeliveriesResponse]:
        """Read page after page."""
        tenant_id = identity.tenant_of(request.tenant_id)
        wanted, paged = _paged(request, ascending=request.ascending)
        search = functools.partial(self._store.search, tenant_id, wanted)
        async for page, found, reached in walks.pages(paged, search):
            yield _page(pb.StreamDeliveriesResponse, wanted, page, found, reached)

    async def Watch(self, request: pb.WatchRequest, _context: Context) -> AsyncIterator[pb.WatchResponse]:
        """Send what is recorded, as it is."""
        tenant_id = identity.tenant_of(request.tenant_id)
        topic = conversion.texts(pb.WatchTopic.DESCRIPTOR).get(request.topic)
        if topic is None:
            raise errors.InvalidArgument.field("topic", "must be deliveries or stats")
        wanted = Wanted.of(tenant_id, request.filter)
        await self._store.check_subscriptions(tenant_id, wanted.subscription_ids)
        watched = self._watching.watch(wanted, request.position, counting=topic == "stats")
        async with contextlib.aclosing(watched):
            async for news in watched:
                yield _news(news)

    async def SummarizeDeliveries(
        self, request: pb.SummarizeDeliveriesRequest, _context: Context
    ) -> pb.SummarizeDeliveriesResponse:
        """Count those that are wanted in groups."""
        tenant_id = identity.tenant_of(request.tenant_id)
        group = conversion.texts(pb.DeliveryGroup.DESCRIPTOR).get(request.group_by)
        if group is None:
            raise errors.InvalidArgument.field("group_by", "must be a known group")
        wanted, paged = _paged(request)
        counts, reached = await self._store.count(tenant_id, wanted, paged.rest, group)
        return pb.SummarizeDeliveriesResponse(
            groups=[pb.DeliveryCount(value=value, deliveries=number) for value, number in counts.items()],
            next_page_token=paged.token(reached),
            from_time=conversion.stamp(paged.whole.from_time),
            to_time=conversion.stamp(wanted.to_time),
            scanned_to=conversion.stamp(ids.moment_of(reached.reached) if reached.reached else None),
        )

    async def RetryDelivery(self, request: pb.RetryDeliveryRequest, _context: Context) -> pb.RetryDeliveryResponse:
        """Make it pending."""
        delivery_id = ids.parse("delivery_id", request.delivery_id)
        (result,) = await self._retries.retry(identity.tenant_of(request.tenant_id), [delivery_id])
        if isinstance(result, errors.WebhookError):
            raise result
        spans.link(result.traceparent)
        return pb.RetryDeliveryResponse(delivery=_message(result.delivery))

    async def BatchRetryDeliveries(
        self, request: pb.BatchRetryDeliveriesRequest, _context: Context
    ) -> pb.BatchRetryDeliveriesResponse:
        """Make many pending, with a result for each."""
        tenant_id = identity.tenant_of(request.tenant_id)
        if len(request.delivery_ids) > MAX_DELIVERIES:
            raise errors.InvalidArgument.field("delivery_ids", f"must be at most {MAX_DELIVERIES}")
        delivery_ids = [ids.parse("delivery_ids", text) for text in request.delivery_ids]
        hidden = await self._store.hidden(delivery_ids)
        wanted = [delivery_id for delivery_id in delivery_ids if delivery_id not in hidden]
        made = iter(await self._retries.retry(tenant_id, wanted) if wanted else ())
        results = [scopes.no_delivery(one) if one in hidden else next(made) for one in delivery_ids]
        return pb.BatchRetryDeliveriesResponse(results=[_result(result) for result in results])

    async def CancelDelivery(self, request: pb.CancelDeliveryRequest, _context: Context) -> pb.CancelDeliveryResponse:
        """Cancel it if it waits."""
        delivery_id = ids.parse("delivery_id", request.delivery_id)
        cancelled, was_waiting = await self._store.cancel(identity.tenant_of(request.tenant_id), delivery_id)
        if was_waiting:
            deliveries.DELIVERIES_ENDED.labels(DeliveryStatus.CANCELLED).inc()
        return pb.CancelDeliveryResponse(delivery=_message(cancelled))

    async def TestSubscription(
        self, request: pb.TestSubscriptionRequest, _context: Context
    ) -> pb.TestSubscriptionResponse:
        """Send a test event, and return its attempt."""
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        test_id, attempt = await self._tests.test(identity.tenant_of(request.tenant_id), subscription_id)
        return pb.TestSubscriptionResponse(webhook_id=str(test_id), attempt=_attempt(attempt))

    async def GetSubscriptionTest(
        self, request: pb.GetSubscriptionTestRequest, _context: Context
    ) -> pb.GetSubscriptionTestResponse:
        """Wait for the attempt of a test event of a subscription that is not created."""
        test_id = ids.parse("webhook_id", request.webhook_id)
        attempt = await self._tests.of_new(identity.tenant_of(request.tenant_id), test_id)
        return pb.GetSubscriptionTestResponse(attempt=_attempt(attempt))

    async def PullDeliveries(self, request: pb.PullDeliveriesRequest, _context: Context) -> pb.PullDeliveriesResponse:
        """Lease due deliveries to a consumer, or wait for some."""
        found = await self._pulls.pull(identity.tenant_of(request.tenant_id), request)
        return pb.PullDeliveriesResponse(deliveries=found)

    async def Pull(self, request: pb.PullRequest, _context: Context) -> AsyncIterator[pb.PullResponse]:
        """Lease due deliveries to a consumer as they come."""
        async for found in self._pulls.stream(identity.tenant_of(request.tenant_id), request):
            yield pb.PullResponse(deliveries=found)

    async def Report(self, request: pb.ReportRequest, _context: Context) -> pb.ReportResponse:
        """Record what became of leased deliveries."""
        return pb.ReportResponse(results=await self._pulls.report(identity.tenant_of(request.tenant_id), request))


def _paged(
    request: pb.SearchDeliveriesRequest | pb.StreamDeliveriesRequest | pb.SummarizeDeliveriesRequest,
    *,
    ascending: bool = False,
) -> tuple[Filter, Paged]:
    """Return what a request wants, and the page of it that it asks for."""
    wanted = filters.parse(request.filter)
    if wanted.from_time is None and not wanted.subscription_ids and not wanted.names_events:
        wanted = dataclasses.replace(wanted, from_time=walks.default_from(wanted))
    span = Span.of(wanted, ascending=ascending)
    return wanted, Paged.of(span, request.page_token, by_default=not request.filter.HasField("from_time"))


_Page = TypeVar("_Page", pb.SearchDeliveriesResponse, pb.StreamDeliveriesResponse)


def _page(kind: type[_Page], wanted: Filter, paged: Paged, found: Sequence[Delivery], reached: Found) -> _Page:
    return kind(
        deliveries=[_message(delivery) for delivery in found],
        next_page_token=paged.token(reached),
        from_time=conversion.stamp(paged.whole.from_time),
        to_time=conversion.stamp(wanted.to_time),
        scanned_to=conversion.stamp(reached.scanned_to),
    )


def _news(news: News) -> pb.WatchResponse:
    recorded = [_recorded(told) for told in news.told]
    counts = None if news.counts is None else {status.value: number for status, number in news.counts.items()}
    return pb.WatchResponse(
        recorded=recorded,
        counts=None if counts is None else pb.WatchCounts(**{name: counts.get(name, 0) for name in _COUNTED}),
        position=news.position,
        reset=news.reset,
        dropped=news.dropped,
    )


def _recorded(told: Told[str]) -> pb.RecordedDelivery:
    """Return the message of what was told, field by field: in half of the time that conversion.message takes."""
    return pb.RecordedDelivery(
        delivery_id=told.delivery_id,
        event_id=told.event_id,
        subscription_id=told.subscription_id,
        event_type=told.event_type,
        status=_NUMBERS[told.status],
        attempt_count=told.attempt_count,
        status_code=told.status_code,
        error_kind=told.outcome,
        duration_ms=told.duration_ms,
        recorded_at=conversion.unix(told.recorded_at),
    )


def _status(status: pb.DeliveryStatus.ValueType) -> DeliveryStatus | None:
    if status != pb.DELIVERY_STATUS_UNSPECIFIED and status not in conversion.texts(_STATUSES):
        raise errors.InvalidArgument.field("status", "must be a known delivery status")
    return DeliveryStatus(conversion.texts(_STATUSES)[status]) if status else None


def _result(result: Result) -> pb.RetryResult:
    if isinstance(result, errors.WebhookError):
        return pb.RetryResult(
            error=pb.RetryError(code=grpc_errors.code_number(result), reason=result.reason, message=result.message)
        )
    spans.link(result.traceparent)
    return pb.RetryResult(delivery=_message(result.delivery))


def _message(delivery: Delivery) -> pb.Delivery:
    parent = spans.parse_traceparent(delivery.traceparent) if delivery.traceparent else None
    waiting = explanation.waits_for(delivery)
    return conversion.message(
        pb.Delivery,
        delivery,
        trace_id=f"{parent.trace_id:032x}" if parent else "",
        attempts=[_attempt(attempt) for attempt in delivery.attempts],
        next_attempt_at=delivery.due_at if delivery.status is DeliveryStatus.SCHEDULED else None,
        completed_at=delivery.completed_at if delivery.status in FINAL else None,
        explanation=explanation.explain(delivery),
        waits_for=conversion.message(pb.WaitsFor, waiting) if waiting else None,
    )


def _attempt(attempt: Attempt) -> pb.Attempt:
    succeeded = attempt.outcome == AttemptOutcome.SUCCESS
    error = None if succeeded else pb.AttemptError(kind=attempt.outcome, message=attempt.error_message or "")
    return conversion.message(
        pb.Attempt,
        attempt,
        error=error,
        details=None if attempt.details is None else _details(details.decoded(attempt.details)),
        actor=attempt.actor or audit.SYSTEM,
    )


def _details(found: Details) -> pb.AttemptDetails:
    """Return the details that the caller may see.

    Only an admin may know what is not public of the network. What the event's sender said besides the payload is for
    those who may see that.
    """
    shown = found.public or roles.includes(identity.CALLER.get().role, Role.ADMIN)
    sent = found.request_headers
    if not identity.has(PortalCapability.PAYLOADS):
        sent = [(name, details.MASKED if sender_context.is_header(name) else value) for name, value in sent]
    return pb.AttemptDetails(
        request_headers=[pb.AttemptHeader(name=name, value=value) for name, value in sent],
        response_headers=[pb.AttemptHeader(name=name, value=value) for name, value in found.response_headers],
        headers_cut=found.headers_cut,
        address=found.address if shown else "",
        connection_reused=found.reused,
        phases=[pb.AttemptPhase(name=name, duration_ms=took) for name, took in found.phases.items()] if shown else (),
    )
