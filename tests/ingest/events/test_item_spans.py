"""Which callers decide whether an item is traced."""

from collections.abc import Iterator

import pytest

from protos.webhook.v1.ingest_pb2 import IngestItem
from services.ingest.events import item_spans
from services.ingest.events.records import Accepted
from services.platform.auth import identity
from services.platform.auth.identity import Identity
from services.platform.auth.roles import Role
from services.platform.ids import new
from services.platform.tracing import spans
from services.platform.tracing.settings import TracingDoorSettings
from services.platform.tracing.spans import Tracer
from tests.platform.tracing.recording import Kept, Recording

SAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
STRANGER = Identity(tenant_id="default", role=Role.INGEST, key_id="k")
ITEM = IngestItem(traceparent=SAMPLED)


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    token = spans.CURRENT.set(None)
    yield
    spans.CURRENT.reset(token)


def tracer(ratio: float) -> Tracer:
    return Tracer(Recording(), TracingDoorSettings(otel_traces_sampler_arg=ratio))


def test_the_gateway_has_decided_before() -> None:
    identity.CALLER.set(identity.INTERNAL)
    traced, untraced = item_spans.begin_spans(tracer(0.0), [ITEM, IngestItem()])
    assert traced
    assert traced.trace_id == SAMPLED.split("-")[1]
    assert untraced is None
    # Not even at random: the gateway has already decided, by its own ratio.
    assert item_spans.begin_spans(tracer(1.0), [IngestItem()]) == [None]


def test_an_untrusted_caller_does_not_decide_the_sampling() -> None:
    identity.CALLER.set(STRANGER)
    assert item_spans.begin_spans(tracer(0.0), [ITEM]) == [None]
    (span,) = item_spans.begin_spans(tracer(1.0), [ITEM])
    assert span
    assert span.trace_id == SAMPLED.split("-")[1]


def test_an_item_without_a_trace_belongs_to_that_of_its_call() -> None:
    identity.CALLER.set(STRANGER)
    call = Kept(None)
    spans.CURRENT.set(call)
    own, others = item_spans.begin_spans(tracer(1.0), [ITEM, IngestItem()])
    assert own
    assert own.trace_id == SAMPLED.split("-")[1]
    assert isinstance(others, Kept)
    assert (others.trace_id, others.parent and others.parent.span_id) == (call.trace_id, int(call.span_id, 16))


def test_spans_end_whatever_the_result_of_the_call() -> None:
    identity.CALLER.set(identity.INTERNAL)
    begun = item_spans.begin_spans(tracer(0.0), [ITEM, IngestItem()])
    item_spans.end_spans(begun, [ITEM, IngestItem()], [Accepted(event_id=new(), delivery_id=None, deliveries=0)] * 2)
    assert [span.error for span in begun if isinstance(span, Kept)] == [""]
    begun = item_spans.begin_spans(tracer(0.0), [ITEM, IngestItem()])
    item_spans.fail_spans(begun, ConnectionResetError())
    assert [span.error for span in begun if isinstance(span, Kept)] == ["UNAVAILABLE"]
