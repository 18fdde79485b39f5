"""What a consumer gets of a traced event."""

from datetime import UTC, datetime

from dev.harness.keys import vault
from services.delivery.destinations.pull.requests import Requests
from services.delivery.destinations.pull.store import Pulled
from services.platform.tracing.settings import TracingDoorSettings
from services.platform.tracing.spans import Tracer
from tests.delivery.world import claim
from tests.platform.tracing.recording import Recording

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_a_consumer_continues_the_trace_of_an_event_where_receivers_are_told() -> None:
    traced = claim(traceparent=f"00-{TRACE_ID}-00f067aa0ba902b7-01")
    lease_until = datetime(2026, 1, 1, tzinfo=UTC)
    recording = Recording()
    telling = Requests(Tracer(recording, TracingDoorSettings(_env_file=None)), vault())
    pulled = telling.of(Pulled(claim=traced, lease_until=lease_until), b"{}")
    (span,) = recording.spans
    assert pulled.headers["traceparent"] == span.traceparent
    assert TRACE_ID in span.traceparent
    assert span.error == ""  # it has ended
    untold = Requests(vault=vault()).of(Pulled(claim=traced, lease_until=lease_until), b"{}")
    assert "traceparent" not in untold.headers
    untraced = telling.of(Pulled(claim=claim(), lease_until=lease_until), b"{}")
    assert "traceparent" not in untraced.headers
