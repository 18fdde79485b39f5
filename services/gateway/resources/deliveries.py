"""Deliveries of events to subscriptions, with every attempt."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from protos.webhook.v1 import deliveries_pb2 as pb
from services.domain import limits
from services.gateway.resources import enums, models, ndjson, retries
from services.gateway.resources.retries import fields
from services.gateway.web import backends, openapi
from services.gateway.web.routing import RoleRoute
from services.platform.grpc import conversion

router = APIRouter(tags=["deliveries"], route_class=RoleRoute)

_GROUP = pb.DeliveryGroup.DESCRIPTOR
_ATTEMPTS = limits.Range(0, 1_000_000)
_RETRY_CONFLICT = "A worker is sending the delivery, or its subscription is deleted or disabled."
_CANCEL_CONFLICT = "A worker is sending the delivery, or it has ended."


class AttemptError(models.Answer):
    """Why an attempt failed."""

    kind: enums.ErrorKind = Field(
        description=(
            "`http_3xx`, `http_4xx`, `http_5xx`, `timeout`, `dns`, `connect`, `tls`, `connection_lost`, "
            "`invalid_response`, `egress_denied`, `invalid_request`, `secret_unreadable`, `template_failed`, or "
            "`interrupted`; of a pulled delivery `consumer_failed` or `lease_expired`."
        ),
        examples=["http_5xx"],
    )
    message: str = Field(description="For people.", examples=["the receiver responded 503"])


class Header(models.Answer):
    """A header."""

    name: str = Field(description="Of a response, in lowercase.", examples=["webhook-timestamp"])
    value: str = Field(examples=["1773500966"])


class Phase(models.Answer):
    """A part of an attempt's time."""

    name: str = Field(
        description="`dns`, `connect`, `tls`, `first_byte` (until the response begins), or `body`.",
        examples=["first_byte"],
    )
    duration_ms: float = Field(examples=[38.2])


class AttemptDetails(models.Answer):
    """What explains an attempt."""

    request_headers: list[Header] = Field(
        description="As sent; none if nothing was sent. The values of the subscription's own headers are `***`."
    )
    response_headers: list[Header] = Field(
        description="As received. The values of headers that may hold credentials, such as `set-cookie`, are `***`."
    )
    headers_cut: bool = Field(
        description="Whether headers are left out, over 2 KiB on a side, or values cut, over 512 characters.",
        examples=[False],
    )
    address: str | None = Field(
        description=(
            "The address that was connected to, or the last one tried. null without one, and unless the key has the "
            "role `admin` for targets that are not public, are allowed by `EGRESS_ALLOW`, or are reached through a "
            "proxy."
        ),
        examples=["203.0.113.7"],
    )
    connection_reused: bool = Field(description="Whether an open connection was used.", examples=[True])
    phases: list[Phase] = Field(
        description="What the time went to; the attempt ended in the last phase. Shown to whom `address` is shown."
    )


class Attempt(models.Answer):
    """One request to the receiver."""

    number: int = Field(description="Number of the attempt, from 1.", examples=[1])
    started_at: models.Timestamp
    duration_ms: int | None = Field(description="Time to the outcome; null if unknown.", examples=[41])
    status_code: int | None = Field(description="Status code of the response; null without a response.", examples=[503])
    error: AttemptError | None = Field(description="null if the receiver responded 2xx.")
    response_body: str | None = Field(description="The first 4 KiB of the response as text.", examples=["try later"])
    actor: str = Field(
        description=(
            "Who asked for it, as in the audit log: `system` for automatic attempts, otherwise the id of "
            "the API key, `bootstrap`, or `anonymous`; or `job:` and the id of a job."
        ),
        examples=["system"],
    )
    details: AttemptDetails | None = Field(
        description="Headers, address, and times; null if they are not recorded (`RECORD_ATTEMPT_DETAILS`)."
    )


class WaitsFor(models.Answer):
    """What an unfinished delivery waits for."""

    kind: str = Field(
        description=(
            "`worker`: a free worker. `retry`: the time of its next attempt. `response`: the receiver, to which it is "
            "being sent. Otherwise what it is `held_by`."
        ),
        examples=["retry"],
    )
    until: models.Timestamp | None = Field(
        description="When its next attempt is due, or the next probe; null if that is not known."
    )


class DeliverySummary(models.Answer):
    """A delivery without its attempts."""

    id: models.Uuid = Field(examples=[models.EXAMPLE_DELIVERY_ID])
    tenant_id: str = Field(description="The delivery's tenant.", examples=["acme"])
    event_id: models.Uuid = Field(examples=[models.EXAMPLE_EVENT_ID])
    subscription_id: models.Uuid = Field(examples=[models.EXAMPLE_SUBSCRIPTION_ID])
    event_type: str | None = Field(description="null if the event has no type.", examples=["order.created"])
    status: enums.DeliveryStatus = Field(
        description=(
            "`pending`: waiting for a worker. `scheduled`: waiting for `next_attempt_at`. `in_flight`: being sent. "
            "`delivered`, `failed`, `cancelled`: ended."
        ),
        examples=["scheduled"],
    )
    reason: enums.DeliveryReason | None = Field(
        description=(
            "Why it failed or was cancelled: `retries_exhausted`, `expired`, `worker_lost`, `payload_gone`, "
            "`cancelled`, `subscription_deleted` or `erased`; otherwise null."
        ),
        examples=[None],
    )
    attempt_count: int = Field(description="Number of completed attempts.", examples=[1])
    created_at: models.Timestamp
    next_attempt_at: models.Timestamp | None
    completed_at: models.Timestamp | None = Field(description="When the delivery ended.", examples=[None])
    expires_at: models.Timestamp | None = Field(
        description="After this time the delivery fails with reason `expired`; null once it has ended."
    )
    held_by: enums.Hold | None = Field(
        description=(
            "Why a due delivery is not sent now: `paused`, `disabled`, `unverified` (its target has not answered a "
            "challenge), `pull` (it waits for a consumer), `breaker_open`, `recovering` (its endpoint failed "
            "until recently), `concurrency` (its endpoint has the most concurrent requests allowed) or "
            "`rate_limit`; otherwise null."
        ),
        examples=[None],
    )
    last_status_code: int | None = Field(
        description="Status code of the last attempt; null if it got no response, and once it is delivered.",
        examples=[503],
    )
    last_error_kind: enums.ErrorKind | None = Field(
        description="`kind` of the last attempt's error; null before the first, and once it is delivered.",
        examples=["http_5xx"],
    )
    explanation: str = Field(
        description="Where the delivery is and why, for people.",
        examples=[
            "Waiting for attempt 2 at 2026-03-14T15:09:31Z. The receiver responded to attempt 1 with status code 503."
        ],
    )
    waits_for: WaitsFor | None = Field(description="What the delivery waits for; null once it has ended.")
    event_version: int | None = Field(
        description=(
            "The version of its type that the event is of, as it was sent; null if it has none, or is no longer "
            "retained. A subscription that is pinned to an earlier version gets that one."
        ),
        examples=[2],
    )


class Delivery(DeliverySummary):
    """A delivery with its attempts, oldest first."""

    trace_id: str | None = Field(
        description="The trace that its attempts belong to; null if the event is not traced or no longer retained.",
        examples=[None],
    )
    attempts: list[Attempt]


class DeliveryPage(models.Answer):
    """A page of deliveries, newest first, without attempts."""

    items: list[DeliverySummary]
    next_cursor: models.NextCursor


class DeliveriesQuery(models.ListQuery):
    """The page and the filter of a list of deliveries."""

    status: enums.DeliveryStatus | None = Field(None, description="Only deliveries with this status.")


class DeliveryFilter(models.SearchQuery):
    """Which deliveries are wanted, and the page of them."""

    subscription_id: list[models.Uuid] = Field(
        default_factory=list, description="To this subscription, which may be deleted."
    )
    status: list[enums.DeliveryStatus] = Field(default_factory=list, description="With this status.")
    reason: list[enums.DeliveryReason] = Field(default_factory=list, description="Failed or cancelled for this reason.")
    status_code: list[str] = Field(
        default_factory=list,
        description=(
            "Whose last attempt got this status code, or one of this class. Finds no delivered ones: those were "
            "answered with 2xx."
        ),
        examples=[["503"], ["5xx", "429"]],
    )
    error_kind: list[str] = Field(
        default_factory=list,
        description="Whose last attempt ended with this kind of error, such as `timeout`. Finds no delivered ones.",
        examples=[["timeout"]],
    )
    held_by: list[enums.SearchedHold] = Field(
        default_factory=list, description="That are due, but are not sent for this reason."
    )
    min_attempts: Annotated[int, models.Within(_ATTEMPTS)] = Field(0, description="With this many attempts or more.")

    def message(self) -> pb.DeliveryFilter:
        """Return it for the delivery service; InvalidArgument unless `to` is after `from`."""
        self.check_period()
        statuses = conversion.numbers(pb.DeliveryStatus.DESCRIPTOR)
        return pb.DeliveryFilter(
            subscription_id=self.subscription_id,
            status=[statuses[status] for status in self.status],
            reason=self.reason,
            event_type=self.event_type,
            status_code=self.status_code,
            error_kind=self.error_kind,
            held_by=self.held_by,
            min_attempts=self.min_attempts,
            idempotency_key=self.idempotency_key,
            provider_id=self.provider_id,
            tag=self.tag,
            from_time=conversion.stamp(self.from_),
            to_time=conversion.stamp(self.to),
        )


class FoundDeliveries(models.SearchPage):
    """A page of the deliveries that were searched for, without attempts."""

    items: list[DeliverySummary]


@router.get(
    "/api/v1/deliveries",
    operation_id="list_deliveries",
    summary="Search deliveries",
    response_description="A page of deliveries.",
    response_model=FoundDeliveries,
    responses={**openapi.problems(404), 200: {"content": dict(ndjson.CONTENT)}},
)
async def list_deliveries(
    query: Annotated[DeliveryFilter, Query()], services: backends.Injected
) -> FoundDeliveries | Response:
    """Find deliveries to any subscription, newest first, without attempts.

    Give a parameter several times to find what has one of the values; different parameters must all match. Deliveries
    are ordered by when they were accepted, so a cursor stays valid while others arrive.
    """
    request = pb.SearchDeliveriesRequest(
        filter=query.message(),
        ascending=query.order == "oldest",
        page_size=query.limit,
        page_token=query.cursor,
    )
    if query.format == "ndjson":
        return await ndjson.respond(services, services.deliveries.SearchDeliveries, request, _lines)
    answer = await services.call(services.deliveries.SearchDeliveries, request)
    items = [DeliverySummary(**fields(message)) for message in answer.deliveries]
    return FoundDeliveries(items=items, **models.searched(answer))


def _lines(answer: pb.SearchDeliveriesResponse) -> Iterator[Mapping[str, Any]]:
    for message in answer.deliveries:
        found = fields(message)
        yield {name: found[name] for name in DeliverySummary.model_fields}


class SummaryQuery(DeliveryFilter):
    """Which deliveries are counted, and by what."""

    group_by: enums.SummaryGroup = Field(description="What they are counted by.")


class DeliveryCount(models.Answer):
    """A group of deliveries."""

    value: str | None = Field(
        description=(
            "What they have in common: an id, a type, a status, a kind of error, the beginning of an hour, or what "
            "holds them; null if they have no type, or no error, or if nothing holds them."
        ),
        examples=["http_5xx"],
    )
    deliveries: int = Field(description="How many there are.", examples=[4211])


class DeliverySummaryPage(models.SearchPage):
    """Counts of deliveries, the largest group first."""

    groups: list[DeliveryCount]


@router.get(
    "/api/v1/deliveries/summary",
    operation_id="get_delivery_summary",
    summary="Count deliveries in groups",
    response_description="The counts.",
    responses=openapi.problems(404),
)
async def get_delivery_summary(
    query: Annotated[SummaryQuery, Query()], services: backends.Injected
) -> DeliverySummaryPage:
    """Count the deliveries that a search finds, 10,000 at a time from the newest on.

    If there are more, `scanned_to` says how far the count got, and `next_cursor` counts on from there: add the groups
    of both. `limit`, `order` and `format` have no meaning here.
    """
    groups = {name.replace("-", "_"): number for name, number in conversion.numbers(_GROUP).items()}
    request = pb.SummarizeDeliveriesRequest(
        filter=query.message(), group_by=groups[query.group_by], page_token=query.cursor
    )
    answer = await services.call(services.deliveries.SummarizeDeliveries, request)
    counts = [DeliveryCount(value=group.value or None, deliveries=group.deliveries) for group in answer.groups]
    return DeliverySummaryPage(groups=counts, **models.searched(answer))


@router.get(
    "/api/v1/webhooks/deliveries/{delivery_id}",
    operation_id="get_webhook_delivery",
    summary="Get a delivery by its first path",
    response_description="The delivery.",
    responses=openapi.problems(404),
)
@router.get(
    "/api/v1/deliveries/{delivery_id}",
    operation_id="get_delivery",
    summary="Get a delivery and its attempts",
    response_description="The delivery.",
    responses=openapi.problems(404),
)
async def get_delivery(delivery_id: models.DeliveryId, services: backends.Injected) -> Delivery:
    """Get a delivery with every attempt, oldest first."""
    request = pb.GetDeliveryRequest(delivery_id=delivery_id)
    answer = await services.call(services.deliveries.GetDelivery, request)
    return Delivery(**fields(answer.delivery))


@router.post(
    retries.FIRST_PATH,
    operation_id="retry_webhook_delivery",
    summary="Retry a delivery by its first path",
    response_description="The delivery, now pending.",
    responses=openapi.problems(404, 410, described={409: _RETRY_CONFLICT}),
)
@router.post(
    retries.PATH,
    operation_id=retries.OPERATION,
    summary="Retry a delivery now",
    response_description="The delivery, now pending.",
    responses=openapi.problems(404, 410, described={409: _RETRY_CONFLICT}),
)
async def retry_delivery(delivery_id: models.DeliveryId, services: backends.Injected) -> Delivery:
    """Make a delivery pending now, whatever its status, with its full retry schedule.

    A scheduled retry is replaced. While the subscription's circuit breaker is open this delivery is its probe, and is
    sent now unless another probe is in progress. Returns 409 while a worker is sending the delivery or its subscription
    is disabled, and 410 if its payload was erased, is no longer retained, or is about to be removed.
    """
    # Only described here: retries.route serves it.
    request = pb.RetryDeliveryRequest(delivery_id=delivery_id)
    answer = await services.call(services.deliveries.RetryDelivery, request)
    return Delivery(**fields(answer.delivery))


@router.post(
    "/api/v1/webhooks/deliveries/{delivery_id}/cancel",
    operation_id="cancel_webhook_delivery",
    summary="Cancel a delivery by its first path",
    response_description="The delivery, now cancelled.",
    responses=openapi.problems(404, described={409: _CANCEL_CONFLICT}),
)
@router.post(
    "/api/v1/deliveries/{delivery_id}/cancel",
    operation_id="cancel_delivery",
    summary="Cancel a delivery",
    response_description="The delivery, now cancelled.",
    responses=openapi.problems(404, described={409: _CANCEL_CONFLICT}),
)
async def cancel_delivery(delivery_id: models.DeliveryId, services: backends.Injected) -> Delivery:
    """Cancel a delivery that is pending or scheduled. A cancelled delivery stays cancelled."""
    request = pb.CancelDeliveryRequest(delivery_id=delivery_id)
    answer = await services.call(services.deliveries.CancelDelivery, request)
    return Delivery(**fields(answer.delivery))


@router.get(
    "/api/v1/subscriptions/{subscription_id}/deliveries",
    operation_id="list_subscription_deliveries",
    summary="List deliveries to a subscription",
    response_description="A page of deliveries.",
    responses=openapi.problems(404),
)
async def list_subscription_deliveries(
    subscription_id: models.SubscriptionId,
    query: Annotated[DeliveriesQuery, Query()],
    services: backends.Injected,
) -> DeliveryPage:
    """List deliveries, newest first, without attempts. Also works for a deleted subscription."""
    return await _page(services, pb.ListDeliveriesRequest(subscription_id=subscription_id), query)


@router.get(
    "/api/v1/events/{event_id}/deliveries",
    operation_id="list_event_deliveries",
    summary="List deliveries of an event",
    response_description="A page of deliveries.",
    responses=openapi.problems(404),
)
async def list_event_deliveries(
    event_id: models.EventId,
    query: Annotated[DeliveriesQuery, Query()],
    services: backends.Injected,
) -> DeliveryPage:
    """List deliveries, without attempts."""
    return await _page(services, pb.ListDeliveriesRequest(event_id=event_id), query)


async def _page(services: backends.Backends, request: pb.ListDeliveriesRequest, query: DeliveriesQuery) -> DeliveryPage:
    if query.status is not None:
        request.status = conversion.numbers(pb.DeliveryStatus.DESCRIPTOR)[query.status]
    request.tenant_id = services.everywhere(query.tenant)
    request.page_size = query.limit
    request.page_token = query.cursor
    answer = await services.call(services.deliveries.ListDeliveries, request)
    return DeliveryPage(
        items=[DeliverySummary(**fields(message)) for message in answer.deliveries],
        next_cursor=answer.next_page_token or None,
    )
