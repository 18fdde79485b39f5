"""The routes that take events in. Plain ASGI: here a webhook costs as little CPU time as it can.

    POST /api/v1/webhooks/ingest/{subscription_id}
    POST /api/v1/webhooks/ingest/{subscription_id}/{token}
    POST /api/v1/events

They answer 202 after the commit and never before. 200 answers a handshake, of which nothing is stored, and a sender
that wants no body. They are described in accepting_docs.py.
"""

import re
import time
from collections.abc import Iterable

import msgspec
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from protos.webhook.v1 import ingest_pb2
from services.domain import events
from services.gateway import metrics
from services.gateway.accept import envelope, senders
from services.gateway.accept.batches import IngestBatches
from services.gateway.accept.senders import IngestTokens
from services.gateway.web import bodies, callers, openapi, problems
from services.gateway.web.callers import Caller
from services.gateway.web.role_route import LEAST
from services.platform import errors, ids
from services.platform.tracing import spans

WEBHOOK_PATH = "/api/v1/webhooks/ingest/{subscription_id}"
# For senders that cannot log in: the subscription's ingest token lets them in.
TOKEN_PATH = WEBHOOK_PATH + "/{token}"
EVENTS_PATH = "/api/v1/events"

# A right one has 71 characters; spaces around it do no harm.
MAX_SIGNATURE_LENGTH = 128
# What may stand around a payload of the greatest size, in bytes.
ENVELOPE_BYTES = 4096

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_FAN_OUT = ingest_pb2.FanOut()
_FILTERED = ingest_pb2.INGEST_STATUS_FILTERED
_HANDSHAKE = ingest_pb2.INGEST_STATUS_HANDSHAKE
# The answer is that of an earlier request with the same key, or the same id of the provider's.
_REPLAYED = ((openapi.REPLAYED.lower().encode(), b"true"),)


class WebhookAccepted(msgspec.Struct, frozen=True):
    """The answer to a webhook."""

    delivery_id: str | None
    event_id: str
    status: str


class EventAccepted(msgspec.Struct, frozen=True):
    """The answer to an event."""

    event_id: str
    deliveries: int


class Handshake(msgspec.Struct, frozen=True):
    """The answer to a sender that asks whether somebody is there."""

    challenge: str


class _Endpoint:
    """An ASGI application that takes one event in."""

    kind: str
    operation_id: str

    def __init__(self, batches: IngestBatches, *, max_payload_bytes: int) -> None:
        self._batches = batches
        self._max_payload_bytes = max_payload_bytes
        self._accepted = metrics.ACCEPTED.labels(self.kind)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 202, 200 to a handshake or a sender that wants no body, or a problem document."""
        try:
            caller = await self._admit(scope)
            body = await bodies.read(scope, receive, self._max_payload_bytes + ENVELOPE_BYTES)
            whole = time.perf_counter()
            item = self._item(scope, dict(scope["headers"]), body)
            item.tenant_id = caller.tenant_id if caller else ""
            span = spans.CURRENT.get()
            if span is not None:
                item.traceparent = span.traceparent
            if caller and caller.crossing:
                accepted = await self._batches.accept_alone(item, caller)
            else:
                accepted = await self._batches.accept(item, item.ByteSize())
        except errors.WebhookError as error:
            metrics.REJECTED.labels(error.reason).inc()
            await problems.response(error)(scope, receive, send)
            return
        except bodies.ClientLeft:
            return
        metrics.ACCEPT_SECONDS.observe(time.perf_counter() - whole)
        if accepted.status == _HANDSHAKE:
            await _send(send, 200, msgspec.json.encode(Handshake(accepted.challenge)), ())
            return
        if accepted.status == _FILTERED:
            metrics.FILTERED.inc()
        else:
            self._accepted.inc()
        # The event of this request has the id that was made here, however often it was sent to ingest.
        headers = _REPLAYED if accepted.replayed and accepted.event_id != item.event_id else ()
        if accepted.empty_answer:
            await _send(send, 200, b"", headers)
        else:
            await _send(send, 202, msgspec.json.encode(self._answer(accepted)), headers)

    async def _admit(self, scope: Scope) -> Caller | None:
        """Return who makes the request, None if ingest finds out; a WebhookError unless they may make it."""
        return callers.check_role(scope, LEAST[self.operation_id])

    def _item(self, scope: Scope, headers: dict[bytes, bytes], body: bytes) -> ingest_pb2.IngestItem:
        """What to send to ingest; WebhookError when the request is wrong."""
        raise NotImplementedError

    def _answer(self, accepted: ingest_pb2.Accepted) -> msgspec.Struct:
        """What to answer after the commit."""
        raise NotImplementedError

    def _check_size(self, payload: bytes) -> None:
        if len(payload) > self._max_payload_bytes:
            raise errors.PayloadTooLarge.field("payload", f"must be at most {self._max_payload_bytes} bytes")


class Webhook(_Endpoint):
    """Takes a webhook for one subscription: {"payload": …}, or any body as it is."""

    kind = "webhook"
    operation_id = "ingest_webhook"

    def _item(self, scope: Scope, headers: dict[bytes, bytes], body: bytes) -> ingest_pb2.IngestItem:
        subscription_id = scope["path_params"]["subscription_id"]
        if not _UUID.fullmatch(subscription_id):
            ids.parse("subscription_id", subscription_id)
        encoding = _encoding(headers.get(b"content-encoding"))
        event_type = headers.get(b"x-event-type", b"").decode("latin-1")
        if event_type or b"x-event-type" in headers:
            envelope.check_event_type("X-Event-Type", event_type)
        cut = envelope.webhook(body, headers.get(b"content-type"), encoded=bool(encoding))
        self._check_size(cut.payload)
        signature = headers.get(b"x-hub-signature-256")
        named = senders.has_provider_headers(headers)
        # Ingest verifies the signature of the whole body, and cuts the payload out of it by itself.
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
            # What is cut off was never right; ingest knows whether it is looked at.
            item.hub_signature.signature = signature[:MAX_SIGNATURE_LENGTH].decode("latin-1")
        if named:
            item.verification.headers.extend(senders.provider_headers_of(scope["headers"]))
        return item

    def _answer(self, accepted: ingest_pb2.Accepted) -> msgspec.Struct:
        if accepted.status == _FILTERED:
            return WebhookAccepted(None, accepted.event_id, "filtered")
        return WebhookAccepted(accepted.delivery_id, accepted.event_id, "pending")


class TokenWebhook(Webhook):
    """The same from a sender that cannot log in. Ingest checks the token, and knows whose the subscription is."""

    operation_id = "ingest_webhook_with_token"

    def __init__(self, batches: IngestBatches, tokens: IngestTokens, *, max_payload_bytes: int) -> None:
        super().__init__(batches, max_payload_bytes=max_payload_bytes)
        self._tokens = tokens

    async def _admit(self, scope: Scope) -> Caller | None:
        subscription_id: str = scope["path_params"]["subscription_id"]
        ids.parse("subscription_id", subscription_id)
        await self._tokens.check(subscription_id, scope["path_params"]["token"])
        return None

    def _item(self, scope: Scope, headers: dict[bytes, bytes], body: bytes) -> ingest_pb2.IngestItem:
        item = super()._item(scope, headers, body)
        item.ingest_token = scope["path_params"]["token"]
        return item


class Event(_Endpoint):
    """Takes an event for every subscription that asked for its type."""

    kind = "event"
    operation_id = "publish_event"

    def _item(self, scope: Scope, headers: dict[bytes, bytes], body: bytes) -> ingest_pb2.IngestItem:  # noqa: ARG002 - the path says nothing
        _check_not_encoded(headers)
        event_type, payload = envelope.event(body, headers.get(b"content-type"))
        self._check_size(payload)
        return ingest_pb2.IngestItem(
            event_id=str(self._batches.new_id()),
            fan_out=_FAN_OUT,
            event_type=event_type,
            content_type=envelope.JSON,
            payload=payload,
            idempotency_key=_idempotency_key(headers),
        )

    def _answer(self, accepted: ingest_pb2.Accepted) -> msgspec.Struct:
        return EventAccepted(accepted.event_id, accepted.deliveries)


def routes(batches: IngestBatches, tokens: IngestTokens, *, max_payload_bytes: int) -> list[Route]:
    """The routes."""
    return [
        Route(WEBHOOK_PATH, Webhook(batches, max_payload_bytes=max_payload_bytes), methods=["POST"]),
        Route(EVENTS_PATH, Event(batches, max_payload_bytes=max_payload_bytes), methods=["POST"]),
        Route(TOKEN_PATH, TokenWebhook(batches, tokens, max_payload_bytes=max_payload_bytes), methods=["POST"]),
    ]


def _check_not_encoded(headers: dict[bytes, bytes]) -> None:
    encoding = headers.get(b"content-encoding")
    if encoding and encoding.lower() != b"identity":
        raise problems.UnsupportedMediaType.field("Content-Encoding", "must be absent: the body is read as JSON")


def _encoding(header: bytes | None) -> str:
    """Return what the body is encoded by, to be passed on with it; empty for nothing."""
    text = (header or b"").decode("latin-1")
    if text.lower() in {"", "identity"}:
        return ""
    if not events.is_valid_encoding(text):
        raise errors.InvalidArgument.field("Content-Encoding", events.ENCODING_EXPECTED)
    return text


def _idempotency_key(headers: dict[bytes, bytes]) -> str:
    key = headers.get(b"idempotency-key")
    if key is None:
        return ""
    text = key.decode("latin-1")
    if not _KEY.fullmatch(text):
        raise errors.InvalidArgument.field("Idempotency-Key", "must be 1 to 255 printable ASCII characters")
    return text


async def _send(send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
    sent = [*headers, (b"content-length", b"%d" % len(body))]
    if body:
        sent.append((b"content-type", b"application/json"))
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})
