"""The spans of items, each in a trace of its own: from the call's arrival to the commit.

A span is a producer's: what its event's deliveries are children of, however much later their attempts are made.
"""

from collections.abc import Sequence
from typing import TypeAlias

from protos.webhook.v1 import ingest_pb2
from services.ingest.events.records import Answer, Handshake
from services.platform import errors
from services.platform.auth import identity
from services.platform.tracing import spans
from services.platform.tracing.spans import Attributes, Span, Tracer

SPAN_NAME = "webhook accept"
# One for each item; None for one that is not traced.
ItemSpans: TypeAlias = Sequence[Span | None]


def begin_spans(tracer: Tracer, items: Sequence[ingest_pb2.IngestItem]) -> ItemSpans:
    """Begin the spans. An item without a trace of its own belongs to the trace of the call."""
    attributes: Attributes = {"messaging.batch.message_count": len(items)}
    call = spans.CURRENT.get()
    own = tracer.follow if identity.CALLER.get().internal else tracer.enter
    begun: list[Span | None] = []
    for item in items:
        if item.traceparent:
            begun.append(own(SPAN_NAME, spans.Kind.PRODUCER, item.traceparent, attributes))
        else:
            begun.append(tracer.follow(SPAN_NAME, spans.Kind.PRODUCER, call.traceparent if call else None, attributes))
    return begun


def end_spans(begun: ItemSpans, items: Sequence[ingest_pb2.IngestItem], results: Sequence[Answer]) -> None:
    """End the spans with the result of each item. A refused item has only the reason."""
    for span, item, result in zip(begun, items, results, strict=True):
        if span is None:
            continue
        if isinstance(result, errors.WebhookError):
            span.end(error=result.reason, failed=isinstance(result, errors.Unavailable))
            continue
        if isinstance(result, Handshake):
            span.end()
            continue
        span.set({"webhook.event.id": str(result.event_id), "webhook.deliveries": result.deliveries})
        if item.event_type:
            span.set({"webhook.event.type": item.event_type})
        if item.subscription_id:
            span.set({"webhook.subscription.id": item.subscription_id})
        if result.expanding:
            span.set({"webhook.expanding": True})
        if result.deliver_at is not None:
            span.set({"webhook.deliver_at": result.deliver_at.isoformat()})
        if result.repeated:
            span.set({"webhook.repeated": True})
        span.end()


def fail_spans(begun: ItemSpans, error: BaseException) -> None:
    """End the spans when the whole call failed."""
    refused = errors.classify(error) if isinstance(error, Exception) else None
    for span in begun:
        if span is not None:
            span.end(error=refused.reason if refused else type(error).__name__)
