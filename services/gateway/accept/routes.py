"""The routes that accept events. They are plain ASGI, so that a webhook costs as little CPU time as possible.

    POST /api/v1/webhooks/ingest/{subscription_id}
    POST /api/v1/webhooks/ingest/{subscription_id}/{token}
    POST /api/v1/events
    POST /api/v1/events/batch

They respond 202 after the commit and never before; 200 to a handshake, which is not stored, to a sender that needs
an empty body, and to a batch, once each of its events is committed or refused. documentation.py describes them.
"""

import asyncio
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NamedTuple
from urllib.parse import parse_qs

import grpc
import msgspec
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from protos.webhook.v1 import ingest_pb2
from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain import event_versions, events, limits
from services.gateway import metrics
from services.gateway.accept import envelope
from services.gateway.accept.batches import IngestBatches
from services.gateway.accept.refusals import Refusals
from services.gateway.resources import models
from services.gateway.web import callers, openapi, problems, routing
from services.gateway.web.callers import Caller
from services.gateway.web.retries import Retries, Unanswered
from services.platform import errors, ids
from services.platform.auth import keys
from services.platform.auth.known import Known
from services.platform.http.protocol import HOLDER
from services.platform.tracing import spans

if TYPE_CHECKING:  # the asynchronous stubs exist only for the type checker
    from protos.webhook.v1.subscriptions_pb2_grpc import SubscriptionServiceAsyncStub


_INVALID = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}


class _Sender(NamedTuple):
    """Whose event it is: an API key's, or a token's if there is no caller."""

    tenant_id: str
    weight: int
    caller: Caller | None = None


class IngestTokens:
    """Asks ingest about a token before its request's body is read, and keeps the result for seconds.

    Ingest checks the token again when it stores the event.
    """

    def __init__(self, subscriptions: "SubscriptionServiceAsyncStub", retries: Retries) -> None:
        self._check = subscriptions.CheckIngestToken
        self._retries = retries
        self._known: Known[tuple[str, str], _Sender] = Known(self._ask, timeout_seconds=retries.timeout_seconds)

    async def check(self, subscription_id: str, token: str) -> _Sender:
        """Return whose token this is; raise NotFound if it is not the subscription's, as for an unknown one."""
        if keys.may_be_ingest_token(token):
            try:
                return await self._known.find((subscription_id, token))
            except errors.Unauthenticated:
                pass
            except TimeoutError:
                raise errors.Unavailable("the ingest token cannot be checked now; try again") from None
        raise errors.NotFound(f"subscription {subscription_id} not found")

    async def _ask(self, names: tuple[str, str]) -> _Sender:
        subscription_id, token = names
        request = pb.CheckIngestTokenRequest(subscription_id=subscription_id, token=token)
        try:
            answer: pb.CheckIngestTokenResponse
            answer, _ = await self._retries.call(self._check, request, self._retries.deadline())
        except Unanswered:
            raise errors.Unavailable("the ingest token cannot be checked now; try again") from None
        except grpc.aio.AioRpcError as error:
            if error.code() in _INVALID:
                raise errors.Unauthenticated("the ingest token is not valid") from None
            raise problems.refusal_of(error) from None
        # An ingest of an earlier version tells neither: then the subscription stands for its tenant.
        return _Sender(answer.tenant_id or subscription_id.lower(), answer.weight or limits.DEFAULT_WEIGHT)


WEBHOOK_PATH = "/api/v1/webhooks/ingest/{subscription_id}"
# For senders that cannot send an API key: the subscription's ingest token authorizes them.
TOKEN_PATH = WEBHOOK_PATH + "/{token}"
EVENTS_PATH = "/api/v1/events"
BATCH_PATH = EVENTS_PATH + "/batch"

# A valid one has 71 characters; spaces around it are harmless.
MAX_SIGNATURE_LENGTH = 128
# Bytes of an envelope around its payload.
ENVELOPE_BYTES = 4096
# Of a whole batch.
MAX_BATCH_BYTES = 8 << 20
# The event in place N of a batch has the batch's Idempotency-Key with ":N" after it, which has to fit, too.
MAX_BATCH_KEY_LENGTH = 250
# Events of a batch that are read before others have a turn, and that go to ingest one by one at the same time.
BATCH_TURN = 50
MAX_ALONE = 16

# Headers in which providers sign and identify what they send. All are passed to ingest, which knows the subscription's.
PROVIDER_HEADERS = frozenset(name.encode() for names in events.PROVIDER_HEADERS.values() for name in names)
# The same with those that only a subscription that relays them has a use for.
PASSED_HEADERS = PROVIDER_HEADERS.union(
    name.lower().encode() for names in events.RELAYED_HEADERS.values() for name in names
)
# Headers that are read here and have one value, so that they must not be repeated.
SINGLE_HEADERS = PROVIDER_HEADERS | {
    b"idempotency-key",
    b"x-event-type",
    b"x-hub-signature-256",
    b"x-webhook-event-version",
    b"x-webhook-tags",
}
TAGS_HEADER = "X-Webhook-Tags"
TAGS_NAME = TAGS_HEADER.lower().encode()
# The version of an event's type; senders of webhooks that set no headers have it in their URL.
VERSION_NAME = event_versions.HEADER.lower().encode()
VERSION_PARAMETER = "event_version"
_VERSION_MARK = VERSION_PARAMETER.encode()
# Ingest refuses a longer value of a header that it checks, and ignores all others.
MAX_PROVIDER_HEADER_LENGTH = 1024
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_FAN_OUT = ingest_pb2.FanOut()
_FILTERED = ingest_pb2.INGEST_STATUS_FILTERED
_HANDSHAKE = ingest_pb2.INGEST_STATUS_HANDSHAKE
_SCHEDULED = ingest_pb2.INGEST_STATUS_SCHEDULED
# Where the time of a UUID ends in its text: a scheduled event has an id with another time.
_TIME_CHARACTERS = 13
# The response repeats that of an earlier request with the same idempotency key, or the same id from the provider.
REPLAYED = ((openapi.REPLAYED.lower().encode(), b"true"),)


class WebhookStatus(StrEnum):
    """What becomes of a webhook."""

    PENDING = "pending"
    # The subscription does not want its type; nothing is delivered.
    FILTERED = "filtered"


class WebhookAccepted(msgspec.Struct, frozen=True):
    """The response to a webhook."""

    delivery_id: str | None
    event_id: str
    status: WebhookStatus


_DeliverAt = Annotated[
    str,
    msgspec.Meta(
        description="When it becomes due; absent unless it is scheduled, and then `deliveries` is absent.",
        extra_json_schema={"format": "date-time"},
    ),
]


class EventAccepted(msgspec.Struct, frozen=True, omit_defaults=True):
    """The response to an event: `deliveries` is the number of its deliveries, and absent while they are created."""

    event_id: str
    deliveries: int | msgspec.UnsetType = msgspec.UNSET
    expanding: bool = False
    deliver_at: _DeliverAt | msgspec.UnsetType = msgspec.UNSET


class BatchedEventAccepted(EventAccepted, frozen=True, omit_defaults=True):
    """The same for an event of a batch; `replayed` if it repeats an earlier response."""

    replayed: bool = False


class BatchedEventRefused(msgspec.Struct, frozen=True):
    """What is wrong with an event of a batch, which was not stored."""

    error: problems.Problem


class BatchResults(msgspec.Struct, frozen=True):
    """The results of a batch, in the order of its events."""

    results: list[BatchedEventAccepted | BatchedEventRefused]


class Handshake(msgspec.Struct, frozen=True):
    """The response to a sender that verifies the URL."""

    challenge: str


class _Accepting:
    """Has ingest commit events, and counts them."""

    kind: str
    operation_id: str

    def __init__(self, batches: IngestBatches, refusals: Refusals, *, max_payload_bytes: int) -> None:
        self._batches = batches
        self._refusals = refusals
        self._max_payload_bytes = max_payload_bytes
        self._accepted = metrics.ACCEPTED.labels(self.kind)

    async def _admit(self, scope: Scope) -> _Sender:
        """Return whose event it is; raise WebhookError if not allowed."""
        caller = routing.check_role(scope, self.operation_id)
        return _Sender(caller.tenant_id, caller.weight, caller)

    def _refuse(self, scope: Scope, reason: errors.ErrorReason) -> None:
        """Count a refused event, for its tenant, too."""
        metrics.REJECTED.labels(reason).inc()
        self._refusals.note(self._tenant_of(scope), reason, scope["path_params"].get("subscription_id", ""))

    def _tenant_of(self, scope: Scope) -> str | None:
        """Return whose request it is; None if that is not known."""
        return callers.of(scope).tenant_id

    async def _commit(self, item: ingest_pb2.IngestItem, sender: _Sender, whole: float) -> ingest_pb2.Accepted:
        """Wait for the commit; raise WebhookError if the event is refused. `whole`: when its request was."""
        item.tenant_id = sender.tenant_id
        span = spans.CURRENT.get()
        if span is not None and not item.traceparent:
            item.traceparent = span.traceparent
        if sender.caller and sender.caller.crossing:
            accepted = await self._batches.accept_alone(item, sender.caller)
        else:
            accepted = await self._batches.accept(item, item.ByteSize(), sender.tenant_id, sender.weight)
        metrics.ACCEPT_SECONDS.observe(time.perf_counter() - whole)
        if accepted.status == _FILTERED:
            metrics.FILTERED.inc()
        elif accepted.status == _SCHEDULED:
            metrics.SCHEDULED.inc()
        elif accepted.status != _HANDSHAKE:
            self._accepted.inc()
        return accepted

    def _published(self, event: envelope.PublishedEvent, idempotency_key: str) -> ingest_pb2.IngestItem:
        """Return the item of an event for every subscription to its type."""
        item = ingest_pb2.IngestItem(
            event_id=str(self._batches.new_id()),
            fan_out=_FAN_OUT,
            event_type=event.event_type,
            content_type=routing.JSON,
            payload=event.payload,
            idempotency_key=idempotency_key,
        )
        if event.tags:
            item.tags.update(event.tags)
        if event.event_version:
            item.event_version = event.event_version
        if event.times is not None:
            if event.times.deliver_at is not None:
                item.deliver_at.FromDatetime(event.times.deliver_at)
            item.delay_seconds = event.times.delay_seconds
            item.deliver_within_seconds = event.times.deliver_within_seconds
        return item

    def _check_size(self, payload: bytes) -> None:
        if len(payload) > self._max_payload_bytes:
            raise self._too_large()

    def _too_large(self) -> errors.PayloadTooLarge:
        return errors.PayloadTooLarge.field("payload", f"must be at most {self._max_payload_bytes} bytes")


class _Endpoint(_Accepting):
    """An ASGI application that accepts one event."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond 202, or 200 to a handshake or a sender that needs an empty body, or with a problem document."""
        try:
            sender = await self._admit(scope)
            body = await routing.read(scope, receive, self._max_payload_bytes + ENVELOPE_BYTES)
            whole = time.perf_counter()
            item = self._item(scope, dict(scope["headers"]), body)
            accepted = await self._commit(item, sender, whole)
        except errors.WebhookError as error:
            self._refuse(scope, error.reason)
            await problems.response(error)(scope, receive, send)
            return
        except routing.ClientLeft:
            return
        if accepted.status == _HANDSHAKE:
            await respond(send, 200, msgspec.json.encode(Handshake(accepted.challenge)), ())
            return
        headers = REPLAYED if is_replayed(accepted, item) else ()
        if accepted.empty_answer:
            await respond(send, 200, b"", headers)
        else:
            await respond(send, 202, msgspec.json.encode(self._answer(accepted)), headers)

    def _item(self, scope: Scope, headers: dict[bytes, bytes], body: bytes) -> ingest_pb2.IngestItem:
        """Return what to send to ingest; raise WebhookError if the request is invalid."""
        raise NotImplementedError

    def _answer(self, accepted: ingest_pb2.Accepted) -> msgspec.Struct:
        """Return the response body after the commit."""
        raise NotImplementedError


class Webhook(_Endpoint):
    """Accept a webhook for one subscription: {"payload": …}, or any body as it is."""

    kind = "webhook"
    operation_id = "ingest_webhook"

    def _item(self, scope: Scope, headers: dict[bytes, bytes], body: bytes) -> ingest_pb2.IngestItem:
        subscription_id = scope["path_params"]["subscription_id"]
        if not _UUID.fullmatch(subscription_id):
            ids.parse("subscription_id", subscription_id)
        encoding = _encoding(headers.get(b"content-encoding"))
        event_type = headers.get(b"x-event-type", b"").decode("latin-1")
        if event_type or b"x-event-type" in headers:
            events.check_type("X-Event-Type", event_type)
        cut = envelope.webhook(body, headers.get(b"content-type"), encoded=bool(encoding))
        self._check_size(cut.payload)
        signature = headers.get(b"x-hub-signature-256")
        named = not PROVIDER_HEADERS.isdisjoint(headers)
        # Ingest verifies the signature of the whole body, and cuts the payload out of it.
        whole = cut.enveloped and (named or signature is not None)
        item = ingest_pb2.IngestItem(
            event_id=str(self._batches.new_id()),
            subscription_id=subscription_id,
            event_type=event_type,
            content_type=cut.content_type,
            payload=body if whole else cut.payload,
            enveloped=whole,
            content_encoding=encoding,
            idempotency_key=_idempotency_key(headers),
        )
        if signature is not None:
            # A longer one is invalid anyway; ingest knows whether it is checked.
            item.hub_signature.signature = signature[:MAX_SIGNATURE_LENGTH].decode("latin-1")
        if named:
            item.verification.headers.extend(_provider_headers(scope["headers"]))
        if TAGS_NAME in headers:
            item.tags.update(events.tags_of_header(TAGS_HEADER, headers[TAGS_NAME]))
        query: bytes = scope["query_string"]
        if VERSION_NAME in headers or _VERSION_MARK in query or b"%" in query:  # it may be encoded
            item.event_version = _event_version(headers.get(VERSION_NAME), query)
        return item

    def _answer(self, accepted: ingest_pb2.Accepted) -> msgspec.Struct:
        if accepted.status == _FILTERED:
            return WebhookAccepted(None, accepted.event_id, WebhookStatus.FILTERED)
        return WebhookAccepted(accepted.delivery_id, accepted.event_id, WebhookStatus.PENDING)


class TokenWebhook(Webhook):
    """Accept a webhook from a sender without an API key. Ingest checks the token and finds the tenant."""

    operation_id = "ingest_webhook_with_token"

    def __init__(
        self, batches: IngestBatches, refusals: Refusals, tokens: IngestTokens, *, max_payload_bytes: int
    ) -> None:
        super().__init__(batches, refusals, max_payload_bytes=max_payload_bytes)
        self._tokens = tokens

    async def _admit(self, scope: Scope) -> _Sender:
        subscription_id: str = scope["path_params"]["subscription_id"]
        ids.parse("subscription_id", subscription_id)
        sender = await self._tokens.check(subscription_id, scope["path_params"]["token"])
        scope[HOLDER] = sender.tenant_id
        return sender

    def _tenant_of(self, scope: Scope) -> str | None:
        # That of the token; before it was checked, that of an API key, which a request may show besides.
        return scope.get(HOLDER)

    def _item(self, scope: Scope, headers: dict[bytes, bytes], body: bytes) -> ingest_pb2.IngestItem:
        item = super()._item(scope, headers, body)
        item.ingest_token = scope["path_params"]["token"]
        return item


class Event(_Endpoint):
    """Accept an event for every subscription to its type."""

    kind = "event"
    operation_id = "publish_event"

    def _item(self, scope: Scope, headers: dict[bytes, bytes], body: bytes) -> ingest_pb2.IngestItem:  # noqa: ARG002 - the path has no parameters
        check_not_encoded(headers)
        event = envelope.event(body, headers.get(b"content-type"))
        if TAGS_NAME in headers:
            if event.tags:
                raise errors.InvalidArgument.field(TAGS_HEADER, "cannot be combined with tags in the body")
            event = event._replace(tags=events.tags_of_header(TAGS_HEADER, headers[TAGS_NAME]))
        if VERSION_NAME in headers:
            event = event._replace(event_version=same_version(headers[VERSION_NAME], event.event_version))
        self._check_size(event.payload)
        return self._published(event, _idempotency_key(headers))

    def _answer(self, accepted: ingest_pb2.Accepted) -> msgspec.Struct:
        return answer_of(accepted)


class EventBatch(_Accepting):
    """Accept up to 1,000 events, each on its own: each for every subscription to its type."""

    kind = "event"
    operation_id = "publish_events"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond 200 with the result of each event, or with a problem document if the request is not a batch."""
        if scope["method"] != "POST":
            await problems.method_not_allowed("POST")(scope, receive, send)
            return
        try:
            sender = await self._admit(scope)
            body = await routing.read(scope, receive, MAX_BATCH_BYTES)
            whole = time.perf_counter()
            headers = dict(scope["headers"])
            check_not_encoded(headers)
            check_of_batch(headers)
            key = _idempotency_key(headers, MAX_BATCH_KEY_LENGTH)
            texts = envelope.batch(body, headers.get(b"content-type"))
        except errors.WebhookError as error:
            self._refuse(scope, error.reason)
            await problems.response(error)(scope, receive, send)
            return
        except routing.ClientLeft:
            return
        results = await self._results(texts, key, sender, whole)
        replayed = all(isinstance(result, BatchedEventAccepted) and result.replayed for result in results)
        await respond(send, 200, msgspec.json.encode(BatchResults(results)), REPLAYED if replayed else ())

    async def _results(
        self, texts: list[bytes], key: str, sender: _Sender, whole: float
    ) -> list[BatchedEventAccepted | BatchedEventRefused]:
        # Events of an admin in another tenant go to ingest one by one.
        alone = asyncio.Semaphore(MAX_ALONE if sender.caller and sender.caller.crossing else len(texts))
        tasks = []
        async with asyncio.TaskGroup() as group:
            for place, text in enumerate(texts):
                if place % BATCH_TURN == BATCH_TURN - 1:
                    await asyncio.sleep(0)
                result = self._result(text, f"{key}:{place}" if key else "", sender, whole, alone)
                tasks.append(group.create_task(result, name="event of a batch"))
        return [task.result() for task in tasks]

    async def _result(
        self, text: bytes, key: str, sender: _Sender, whole: float, alone: asyncio.Semaphore
    ) -> BatchedEventAccepted | BatchedEventRefused:
        try:
            item = self._item(text, key)
            async with alone:
                accepted = await self._commit(item, sender, whole)
        except Exception as error:  # noqa: BLE001 - it is the result of this event, and logged if it is a bug
            problem, reason = problems.of(error)
            metrics.REJECTED.labels(reason).inc()
            self._refusals.note(sender.tenant_id, reason)
            return BatchedEventRefused(problem)
        is_scheduled = accepted.status == _SCHEDULED
        return BatchedEventAccepted(
            accepted.event_id,
            msgspec.UNSET if accepted.expanding or is_scheduled else accepted.deliveries,
            expanding=accepted.expanding,
            deliver_at=models.timestamp(accepted.deliver_at) if is_scheduled else msgspec.UNSET,
            replayed=is_replayed(accepted, item),
        )

    def _item(self, text: bytes, key: str) -> ingest_pb2.IngestItem:
        if len(text) > self._max_payload_bytes + ENVELOPE_BYTES:
            raise self._too_large()  # before it is read, as a single one's body is
        event = envelope.batched(text)
        self._check_size(event.payload)
        return self._published(event, event.idempotency_key or key)


def routes(batches: IngestBatches, refusals: Refusals, tokens: IngestTokens, *, max_payload_bytes: int) -> list[Route]:
    """Return the routes."""
    return [
        Route(WEBHOOK_PATH, Webhook(batches, refusals, max_payload_bytes=max_payload_bytes), methods=["POST"]),
        Route(EVENTS_PATH, Event(batches, refusals, max_payload_bytes=max_payload_bytes), methods=["POST"]),
        # It gets every method: for others than POST, "batch" would be taken for the id of an event.
        Route(BATCH_PATH, EventBatch(batches, refusals, max_payload_bytes=max_payload_bytes)),
        Route(
            TOKEN_PATH, TokenWebhook(batches, refusals, tokens, max_payload_bytes=max_payload_bytes), methods=["POST"]
        ),
    ]


class Limited:
    """Counts events of keys that have made too many requests, whose requests never come to a route."""

    def __init__(self, accept: Sequence[Route], refusals: Refusals) -> None:
        self._routes = tuple(accept)
        self._refusals = refusals

    def note(self, scope: Scope, tenant_id: str) -> None:
        """Count a request that was refused if it was one to accept events."""
        if scope["method"] != "POST":
            return
        for route in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                subscription_id = found["path_params"].get("subscription_id", "")
                self._refusals.note(tenant_id, errors.ErrorReason.RATE_LIMITED, subscription_id)
                return


def answer_of(accepted: ingest_pb2.Accepted) -> EventAccepted:
    """Return the response to an event after the commit."""
    if accepted.expanding:
        return EventAccepted(accepted.event_id, expanding=True)
    if accepted.status == _SCHEDULED:
        return EventAccepted(accepted.event_id, deliver_at=models.timestamp(accepted.deliver_at))
    return EventAccepted(accepted.event_id, accepted.deliveries)


def check_of_batch(headers: Mapping[bytes, bytes]) -> None:
    """Raise InvalidArgument for a header that says of one event what each event of a batch says of itself."""
    for name, header, field in ((TAGS_NAME, TAGS_HEADER, "tags"), (VERSION_NAME, event_versions.HEADER, "version")):
        if name in headers:
            raise errors.InvalidArgument.field(header, f"must be absent: each event of a batch has its own {field}")


def check_not_encoded(headers: Mapping[bytes, bytes]) -> None:
    """Raise UnsupportedMediaType for a body that is compressed, or otherwise encoded."""
    encoding = headers.get(b"content-encoding")
    if encoding and encoding.lower() != b"identity":
        raise problems.UnsupportedMediaType.field("Content-Encoding", "must be absent: the body must be plain JSON")


def _encoding(header: bytes | None) -> str:
    """Return the body's Content-Encoding, which is delivered with it; empty if it has none."""
    text = (header or b"").decode("latin-1")
    if text.lower() in {"", "identity"}:
        return ""
    if not events.is_valid_encoding(text):
        raise errors.InvalidArgument.field("Content-Encoding", events.ENCODING_EXPECTED)
    return text


def _idempotency_key(headers: dict[bytes, bytes], longest: int = events.MAX_TEXT_LENGTH) -> str:
    key = headers.get(b"idempotency-key")
    if key is None:
        return ""
    text = key.decode("latin-1")
    if not events.is_valid_text(text) or len(text) > longest:
        raise errors.InvalidArgument.field("Idempotency-Key", f"must be 1 to {longest} printable ASCII characters")
    return text


def _event_version(header: bytes | None, query: bytes) -> int:
    """Return the version that a webhook states in its header or in its URL; 0: none."""
    stated = parse_qs(query.decode("latin-1"), keep_blank_values=True).get(VERSION_PARAMETER, [])
    if header is not None and stated:
        raise errors.InvalidArgument.field(VERSION_PARAMETER, f"cannot be combined with {event_versions.HEADER}")
    if len(stated) > 1:
        raise errors.InvalidArgument.field(VERSION_PARAMETER, "must not appear more than once")
    if header is not None:
        return _version(event_versions.HEADER, header.decode("latin-1"))
    return _version(VERSION_PARAMETER, stated[0]) if stated else 0


def same_version(header: bytes, stated: int) -> int:
    """Return the version in a header. Raise InvalidArgument if the event itself states another one; 0: none."""
    number = _version(event_versions.HEADER, header.decode("latin-1"))
    if stated not in (0, number):
        raise errors.InvalidArgument.field(event_versions.HEADER, f"must be absent, or {stated} as in the event")
    return number


def _version(field: str, text: str) -> int:
    number = event_versions.number(text)
    if number is None:
        raise errors.InvalidArgument.field(field, event_versions.NUMBER_EXPECTED)
    return number


def is_replayed(accepted: ingest_pb2.Accepted, item: ingest_pb2.IngestItem) -> bool:
    """Return whether nothing was stored: a new event has the id that was made here, however often it went to ingest."""
    return accepted.replayed and accepted.event_id[_TIME_CHARACTERS:] != item.event_id[_TIME_CHARACTERS:]


def _provider_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[ingest_pb2.ProviderHeader]:
    """Return the headers of providers; a long value is cut, but stays too long for ingest to accept."""
    return [
        ingest_pb2.ProviderHeader(name=name.decode(), value=value[: MAX_PROVIDER_HEADER_LENGTH + 1].decode("latin-1"))
        for name, value in headers
        if name in PASSED_HEADERS
    ]


async def respond(send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Send a response in JSON, or without a body."""
    sent = [*headers, (b"content-length", b"%d" % len(body))]
    if body:
        sent.append((b"content-type", b"application/json"))
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})
