"""Deliveries that consumers pull, and what they report of them."""

import asyncio
import base64
import contextlib
import uuid
from collections.abc import Awaitable, Iterator
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict, Field
from starlette.types import Receive, Scope, Send

from protos.webhook.v1 import deliveries_pb2 as pb
from services.domain import limits
from services.gateway import metrics
from services.gateway.resources import enums, models
from services.gateway.web import backends, openapi
from services.gateway.web.routing import ClientLeft, JsonRoute
from services.platform.grpc import conversion

router = APIRouter(
    prefix="/api/v1/subscriptions",
    tags=["deliveries"],
    route_class=JsonRoute,
    strict_content_type=False,  # a body without a Content-Type is JSON
)

# A call may take so much longer than it waits.
TIMEOUT_SECONDS = 5.0
MULTIPART = "multipart/mixed"
_MOST = int(limits.PULLED_DELIVERIES.most)
_WRONG_DESTINATION = "The subscription's `destination` is not `pull` (`WRONG_DESTINATION`)."
_TOO_MANY = (
    "64 consumers are pulling from the subscription, or too many of the tenant, or these have not read 32 MiB of what"
    " they pulled (`TENANT_OVERLOADED`). Or the key has made too many requests."
)
_EXAMPLE: dict[str, Any] = {"max_deliveries": 10, "wait_seconds": 20, "lease_seconds": 60}
_EXAMPLE_TOKEN = "019ced70-1d02-7a11-9c3e-5f1b2a7d8e90"  # noqa: S105 - an example
_RESULTS_EXAMPLE: dict[str, Any] = {
    "results": [
        {"delivery_id": models.EXAMPLE_DELIVERY_ID, "lease_token": _EXAMPLE_TOKEN, "outcome": "success"},
    ]
}
_OUTCOMES = conversion.numbers(pb.PullOutcome.DESCRIPTOR)

Seconds = Annotated[models.Number, models.Within(limits.LEASE_SECONDS)]
_Answer = TypeVar("_Answer")


class PullBody(models.Request):
    """What a consumer asks for."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    max_deliveries: Annotated[models.WholeNumber, models.Within(limits.PULLED_DELIVERIES)] = Field(
        _MOST,
        description="How many to return. Their payloads add up to 4 MiB at most, unless a single one is larger.",
    )
    wait_seconds: Annotated[models.Number, models.Within(limits.WAIT_SECONDS)] = Field(
        0.0, description="How long to wait if there are none."
    )
    lease_seconds: Seconds = Field(
        limits.DEFAULT_LEASE_SECONDS,
        description="How long they are leased. Report what became of each before then, or extend its lease.",
    )


class PulledDelivery(models.Answer):
    """A delivery that is leased to the consumer."""

    id: models.Uuid = Field(examples=[models.EXAMPLE_DELIVERY_ID])
    event_id: models.Uuid = Field(examples=[models.EXAMPLE_EVENT_ID])
    event_type: str | None = Field(description="null if the event has no type.", examples=["order.created"])
    attempt: int = Field(description="Counts from 1.", examples=[1])
    lease_token: models.Uuid = Field(description="Send it with the result.", examples=[_EXAMPLE_TOKEN])
    lease_expires_at: models.Timestamp = Field(
        description="Without a result by then the attempt has failed with `lease_expired`, and is retried."
    )
    headers: dict[str, str] = Field(
        description="As they would be sent to a target, signatures included.",
        examples=[{"Content-Type": "application/json", "webhook-id": models.EXAMPLE_DELIVERY_ID}],
    )
    payload_base64: str = Field(description="The exact bytes, in base64.", examples=["eyJvcmRlciI6IDQyfQ=="])


class PulledDeliveries(models.Answer):
    """Deliveries that are leased to the consumer, the oldest first; none if there was nothing to pull."""

    deliveries: list[PulledDelivery]


class PullResult(models.Request):
    """What became of a delivery."""

    delivery_id: models.Uuid = Field(examples=[models.EXAMPLE_DELIVERY_ID])
    lease_token: models.Uuid = Field(
        description="The one that the delivery was pulled with.", examples=[_EXAMPLE_TOKEN]
    )
    outcome: enums.PullOutcome = Field(
        description=(
            "`success`: it is delivered. `failure`: the attempt failed, and is retried by the retry policy. `extend`: "
            "nothing yet; the lease lasts for `lease_seconds` from now on."
        ),
        examples=["success"],
    )
    status_code: Annotated[models.WholeNumber, models.Within(limits.STATUS_CODE)] | None = Field(
        None, description="HTTP status that describes the outcome.", examples=[503]
    )
    message: str | None = Field(
        None, max_length=500, description="For people; kept with the attempt.", examples=["the printer is out of paper"]
    )
    duration_ms: Annotated[models.WholeNumber, models.Within(limits.DURATION_MS)] | None = Field(
        None, description="What the attempt took. Default: the time since the pull.", examples=[120]
    )
    lease_seconds: Seconds | None = Field(None, description="Only with `extend`. Default: 60.", examples=[120])


class PullResultsBody(models.Request):
    """What became of deliveries that were pulled."""

    model_config = ConfigDict(json_schema_extra={"examples": [_RESULTS_EXAMPLE]})

    results: list[PullResult] = Field(min_length=1, max_length=_MOST, description="Each delivery at most once.")


class ReportedResult(models.Answer):
    """What became of a result."""

    delivery_id: models.Uuid = Field(examples=[models.EXAMPLE_DELIVERY_ID])
    status: enums.PullResultStatus = Field(
        description=(
            "`recorded`: also if it was recorded before, and for a success that comes after the lease has expired: the "
            "delivery is delivered unless it has ended otherwise. `lease_expired`: the lease is over, and nothing "
            "changes. `not_found`: the subscription has no such delivery."
        ),
        examples=["recorded"],
    )
    lease_expires_at: models.Timestamp | None = Field(
        description="When the lease ends that was extended; otherwise null.", examples=[None]
    )


class ReportedResults(models.Answer):
    """One for each result, in their order."""

    results: list[ReportedResult]


@router.post(
    "/{subscription_id}/pull",
    operation_id="pull_deliveries",
    summary="Pull deliveries",
    response_description="Deliveries that are leased to the caller.",
    response_model=PulledDeliveries,
    responses={
        **openapi.problems(*openapi.WITH_BODY, 404, described={409: _WRONG_DESTINATION, 429: _TOO_MANY}),
        200: {
            "content": {
                MULTIPART: {
                    "schema": {
                        "type": "string",
                        "format": "binary",
                        "description": (
                            "With `Accept: multipart/mixed`: a part for each delivery, with its headers, "
                            "`X-Webhook-Lease-Token`, `X-Webhook-Lease-Expires-At`, and the exact bytes."
                        ),
                    }
                }
            }
        },
    },
)
async def pull_deliveries(
    subscription_id: models.SubscriptionId, body: PullBody, services: backends.Injected, request: Request
) -> Response:
    """Lease due deliveries of a subscription whose `destination` is `pull`, the longest due first.

    Report what became of each. One whose lease expires without a result has a failed attempt, and is retried by the
    retry policy. While the subscription is paused or disabled there are none.
    """
    asked = pb.PullDeliveriesRequest(
        subscription_id=subscription_id,
        max_deliveries=body.max_deliveries,
        wait_seconds=body.wait_seconds,
        lease_seconds=body.lease_seconds,
    )
    tenant_id = services.tenant_id
    services.unread.check(tenant_id)
    with services.pullers.taken(tenant_id):
        call = services.call(services.pulls.PullDeliveries, asked, timeout_seconds=body.wait_seconds + TIMEOUT_SECONDS)
        try:
            answer = await _unless_left(request, call)
        except ClientLeft:
            return Response(status_code=400)  # the client is gone
    if MULTIPART in request.headers.get("accept", ""):
        content, media_type = _multipart(answer)
    else:
        fields = [_fields(one) for one in answer.deliveries]
        content, media_type = msgspec.json.encode({"deliveries": fields}), "application/json"
    return _Counted(content, media_type, services.unread.held(tenant_id, len(content)))


@router.post(
    "/{subscription_id}/pull/results",
    operation_id="report_pull_results",
    summary="Report what became of pulled deliveries",
    response_description="What became of each result.",
    responses=openapi.problems(*openapi.WITH_BODY, 404, described={409: _WRONG_DESTINATION}),
)
async def report_pull_results(
    subscription_id: models.SubscriptionId, body: PullResultsBody, services: backends.Injected
) -> ReportedResults:
    """Record results, each for itself. A repeated request changes nothing, and gets the same response."""
    results = [
        pb.PullResult(**{**result.model_dump(exclude_none=True), "outcome": _OUTCOMES[result.outcome]})
        for result in body.results
    ]
    asked = pb.ReportRequest(subscription_id=subscription_id, results=results)
    answer = await services.call(services.deliveries.Report, asked)
    return ReportedResults(results=[ReportedResult(**models.values(result)) for result in answer.results])


async def _unless_left(request: Request, call: Awaitable[_Answer]) -> _Answer:
    """Return the answer of a call that may take long; cancel it and raise ClientLeft once nobody waits for it."""
    answered = asyncio.ensure_future(call)
    left = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((answered, left), return_when=asyncio.FIRST_COMPLETED)
        if not answered.done():
            raise ClientLeft
        return await answered
    finally:
        for task in (answered, left):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


def _fields(pulled: pb.PulledDelivery) -> dict[str, Any]:
    return {
        "id": pulled.id,
        "event_id": pulled.event_id,
        "event_type": pulled.event_type or None,
        "attempt": pulled.attempt,
        "lease_token": pulled.lease_token,
        "lease_expires_at": models.timestamp(pulled.lease_expires_at),
        "headers": dict(pulled.headers),
        "payload_base64": base64.b64encode(pulled.payload).decode(),
    }


class _Counted(Response):
    """A response whose bytes count until its client has read nearly all of them."""

    def __init__(self, content: bytes, media_type: str, held: contextlib.AbstractContextManager[None]) -> None:
        super().__init__(content, media_type=media_type)
        self._held = held

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        with self._held, _counted(len(self.body)):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self.body, "more_body": True})
            # The server takes this once little is left to write. It ends connections that do not read.
            await send({"type": "http.response.body", "body": b""})


@contextlib.contextmanager
def _counted(number: int) -> Iterator[None]:
    metrics.UNREAD_PULLS.inc(number)
    try:
        yield
    finally:
        metrics.UNREAD_PULLS.dec(number)


def _multipart(answer: pb.PullDeliveriesResponse) -> tuple[bytes, str]:
    """Return the deliveries as parts (RFC 2046), headers and bytes as a target would get them; and the media type."""
    boundary = uuid.uuid4().hex
    parts = [part for pulled in answer.deliveries for part in _part(pulled, boundary)]
    body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
    return body, f"{MULTIPART}; boundary={boundary}"


def _part(pulled: pb.PulledDelivery, boundary: str) -> Iterator[bytes]:
    headers = {
        **pulled.headers,
        "X-Webhook-Lease-Token": pulled.lease_token,
        "X-Webhook-Lease-Expires-At": models.timestamp(pulled.lease_expires_at),
        "Content-Length": str(len(pulled.payload)),
    }
    lines = [f"--{boundary}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    yield "\r\n".join(lines).encode()
    yield pulled.payload
    yield b"\r\n"
