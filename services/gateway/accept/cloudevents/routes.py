"""CloudEvents in: POST /api/v1/cloudevents.

A CloudEvent is an event for every subscription to its type. Its `source` and `id` are its idempotency key.

OPTIONS is the handshake of HTTP webhooks for event delivery, by which a sender makes sure that it may send to a URL. It
needs no key, and gives no right that the sender's key does not give.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md
"""

import time
from collections.abc import Mapping

import msgspec
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from protos.webhook.v1 import ingest_pb2
from services.domain import cloudevents, events
from services.domain.cloudevents import Value
from services.gateway.accept import routes
from services.gateway.accept.batches import IngestBatches
from services.gateway.accept.cloudevents import formats
from services.gateway.accept.refusals import Refusals
from services.gateway.web import problems, routing
from services.platform import errors, ids
from services.platform.tracing import spans

PATH = "/api/v1/cloudevents"
# Bytes of a CloudEvent around its data: attributes may be written as escapes of six bytes.
ENVELOPE_BYTES = 8 * cloudevents.MAX_BYTES
_ORIGIN, _RATE = b"webhook-request-origin", b"webhook-request-rate"


class CloudEvents(routes.EventBatch):
    """Accept CloudEvents, each for every subscription to its type: one, or a batch."""

    kind = "cloudevent"
    operation_id = "publish_cloudevents"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond 202 to one, and 200 to a batch with the result of each, or with a problem document."""
        try:
            sender = await self._admit(scope)
            headers = dict(scope["headers"])
            mode = formats.media_type(headers.get(b"content-type"))
            body = await routing.read(scope, receive, self._longest(mode))
            whole = time.perf_counter()
            _check_headers(headers, mode)
            if mode == formats.BATCH:
                results = await self._results(formats.batch(body), "", sender, whole)
                replayed = all(isinstance(one, routes.BatchedEventAccepted) and one.replayed for one in results)
                answer: msgspec.Struct = routes.BatchResults(results)
            else:
                item = self._single(scope, headers, mode, body)
                accepted = await self._commit(item, sender, whole)
                replayed = routes.is_replayed(accepted, item)
                answer = routes.answer_of(accepted)
        except errors.WebhookError as error:
            self._refuse(scope, error.reason)
            await problems.response(error)(scope, receive, send)
            return
        except routing.ClientLeft:
            return
        marked = routes.REPLAYED if replayed and answer != _NO_RESULTS else ()
        await routes.respond(send, 200 if mode == formats.BATCH else 202, msgspec.json.encode(answer), marked)

    def _longest(self, mode: str) -> int:
        if mode == formats.BATCH:
            return routes.MAX_BATCH_BYTES
        if mode == formats.STRUCTURED:
            return self._max_payload_bytes * 4 // 3 + ENVELOPE_BYTES  # in base64, which is longer by a third
        return self._max_payload_bytes

    def _single(self, scope: Scope, headers: Mapping[bytes, bytes], mode: str, body: bytes) -> ingest_pb2.IngestItem:
        if mode == formats.STRUCTURED:
            item = self._item(body, "")
        else:
            item = self._item_of(formats.binary(scope["headers"], headers.get(b"content-type"), body))
        if routes.TAGS_NAME in headers:
            item.tags.update(events.tags_of_header(routes.TAGS_HEADER, headers[routes.TAGS_NAME]))
        if routes.VERSION_NAME in headers:
            item.event_version = routes.same_version(headers[routes.VERSION_NAME], item.event_version)
        return item

    def _item(self, text: bytes, key: str) -> ingest_pb2.IngestItem:  # noqa: ARG002 - source and id are the key
        if len(text) > self._longest(formats.STRUCTURED):
            raise self._too_large()
        return self._item_of(formats.structured(text))

    def _item_of(self, event: formats.CloudEvent) -> ingest_pb2.IngestItem:
        self._check_size(event.payload)
        item = ingest_pb2.IngestItem(
            event_id=str(self._batches.new_id()),
            event_type=event.event_type,
            content_type=event.content_type,
            payload=event.payload,
            traceparent=_traceparent(event.attributes.get(spans.TRACEPARENT)),
            event_version=event.event_version,
        )
        item.fan_out.SetInParent()
        for name, value in event.attributes.items():
            if isinstance(value, bool):
                item.cloudevent[name].boolean = value
            elif isinstance(value, int):
                item.cloudevent[name].integer = value
            else:
                item.cloudevent[name].text = value
        return item


_NO_RESULTS = routes.BatchResults([])


def _check_headers(headers: Mapping[bytes, bytes], mode: str) -> None:
    routes.check_not_encoded(headers)
    if mode.startswith("application/cloudevents") and mode not in {formats.STRUCTURED, formats.BATCH}:
        expected = f"must be {formats.STRUCTURED}, {formats.BATCH}, or the content type of the data"
        raise problems.UnsupportedMediaType.field("Content-Type", expected)
    if b"idempotency-key" in headers:
        raise errors.InvalidArgument.field("Idempotency-Key", "must be absent: a CloudEvent has its source and id")
    if mode == formats.BATCH:
        routes.check_of_batch(headers)


def _traceparent(value: Value | None) -> str:
    """Return the trace that an event's deliveries continue: its own if it has one, and the request is traced."""
    span = spans.CURRENT.get()
    parent = spans.parse_traceparent(value) if span is not None and isinstance(value, str) else None
    if span is None or parent is None:
        return ""
    span.link(parent)
    return spans.write_traceparent(parent.trace_id, parent.span_id, spans.SAMPLED)


class Handshake:
    """Grants what a sender asks for before it sends: to send here, at any rate."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond 200 to a request that names its origin, and 405 to any other."""
        headers = dict(scope["headers"])
        origin = headers.get(_ORIGIN)
        if not origin:
            await problems.method_not_allowed("POST, OPTIONS")(scope, receive, send)
            return
        granted = [(b"allow", b"POST"), (b"webhook-allowed-origin", origin)]
        if _RATE in headers:
            granted.append((b"webhook-allowed-rate", b"*"))
        await routes.respond(send, 200, b"", granted)


class TokenHandshake(Handshake):
    """The same at the URL of a subscription, whose token must be valid."""

    def __init__(self, tokens: routes.IngestTokens) -> None:
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond as above, or 404."""
        parameters = scope["path_params"]
        try:
            ids.parse("subscription_id", parameters["subscription_id"])
            await self._tokens.check(parameters["subscription_id"], parameters["token"])
        except errors.WebhookError as error:
            await problems.response(error)(scope, receive, send)
            return
        await super().__call__(scope, receive, send)


class OptionsRoute(Route):
    """A route that other methods do not match in part, so that it opens nothing to them."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the request is for this route."""
        return super().matches(scope) if scope.get("method") == "OPTIONS" else (Match.NONE, {})


def make(
    batches: IngestBatches, refusals: Refusals, tokens: routes.IngestTokens, *, max_payload_bytes: int
) -> tuple[list[Route], list[Route]]:
    """Return the route that takes CloudEvents, and those of the handshakes, which need no key."""
    taking = Route(PATH, CloudEvents(batches, refusals, max_payload_bytes=max_payload_bytes), methods=["POST"])
    handshakes = [
        OptionsRoute(PATH, Handshake(), methods=["OPTIONS"]),
        OptionsRoute(routes.TOKEN_PATH, TokenHandshake(tokens), methods=["OPTIONS"]),
    ]
    return [taking], list(handshakes)
