"""Which calls a server traces, by caller."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dev.harness.keys import ADMIN_KEY, SERVICE_KEY
from protos.webhook.v1 import ingest_pb2, ingest_pb2_grpc
from services.platform import errors
from services.platform.auth import identity
from services.platform.auth.identity import ACTOR_HEADER, Identity
from services.platform.grpc import client
from services.platform.grpc.calls import Context
from services.platform.settings import GrpcServerSettings
from services.platform.tracing import spans
from services.platform.tracing.settings import TracingDoorSettings
from services.platform.tracing.spans import Tracer
from tests.platform.grpc.serving import serving
from tests.platform.tracing.recording import Kept, Recording

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


class Events(ingest_pb2_grpc.IngestServiceServicer):
    """Responds with the trace of the call."""

    async def GetEvent(self, request: ingest_pb2.GetEventRequest, _context: Context) -> ingest_pb2.GetEventResponse:
        if request.event_id:
            raise errors.NotFound("no event")
        span = spans.CURRENT.get()
        return ingest_pb2.GetEventResponse(event=ingest_pb2.Event(id=span.trace_id if span else ""))


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that traces a share of the calls of untrusted callers."""

    port: int
    recording: Recording

    async def trace_of(self, key: str, header: str | None = None, event_id: str = "") -> str:
        """Return the trace of a call with this key; empty if there is none."""
        async with client.channel(f"127.0.0.1:{self.port}", service_key=key) as channel:
            stub: ingest_pb2_grpc.IngestServiceAsyncStub = ingest_pb2_grpc.IngestServiceStub(channel)
            request = ingest_pb2.GetEventRequest(event_id=event_id)
            actor = ((ACTOR_HEADER, identity.BOOTSTRAP_KEY_ID),) if key == SERVICE_KEY else ()
            sent = (*actor, *((("traceparent", header),) if header else ()))
            return (await stub.GetEvent(request, timeout=60, metadata=sent)).event.id


@contextlib.asynccontextmanager
async def tracing(ratio: float) -> AsyncIterator[Server]:
    settings = GrpcServerSettings(
        grpc_port=0, auth_required=True, service_key=SERVICE_KEY, bootstrap_admin_key=ADMIN_KEY
    )
    recording = Recording()
    tracer = Tracer(recording, TracingDoorSettings(otel_traces_sampler_arg=ratio))

    async def find(key: str) -> Identity:
        assert key in {ADMIN_KEY, identity.BOOTSTRAP_KEY_ID}
        return identity.BOOTSTRAP

    async with serving(settings, Events(), find=find, tracer=tracer) as port:  # type: ignore[abstract]  # one method is enough
        yield Server(port=port, recording=recording)


async def test_the_gateways_calls_are_traced_only_if_it_decides_so() -> None:
    async with tracing(ratio=0.0) as server:
        assert await server.trace_of(SERVICE_KEY, SAMPLED) == TRACE_ID
    async with tracing(ratio=1.0) as server:
        assert await server.trace_of(SERVICE_KEY) == ""
        assert await server.trace_of(SERVICE_KEY, SAMPLED[:-2] + "00") == ""
        assert await server.trace_of(SERVICE_KEY, "malformed") == ""


async def test_calls_of_untrusted_callers_are_sampled_and_keep_their_traces() -> None:
    async with tracing(ratio=0.0) as server:
        assert await server.trace_of(ADMIN_KEY, SAMPLED) == ""
    async with tracing(ratio=1.0) as server:
        assert await server.trace_of(ADMIN_KEY, SAMPLED) == TRACE_ID
        assert await server.trace_of(ADMIN_KEY) not in {"", TRACE_ID}
    # A span ends after its response is sent, and before its server has stopped.
    assert [span.error for span in server.recording.spans] == ["", ""]


async def test_a_call_is_made_in_the_trace_of_its_caller() -> None:
    async with tracing(ratio=0.0) as server:
        caller = Kept(None)
        token = spans.CURRENT.set(caller)
        try:
            assert await server.trace_of(SERVICE_KEY) == caller.trace_id
        finally:
            spans.CURRENT.reset(token)
        (span,) = server.recording.spans
        assert span.parent
        assert f"{span.parent.span_id:016x}" == caller.span_id


async def test_a_call_that_fails_ends_its_span_with_the_code() -> None:
    async with tracing(ratio=1.0) as server:
        with contextlib.suppress(grpc.aio.AioRpcError):
            await server.trace_of(ADMIN_KEY, event_id="unknown")
    assert [span.error for span in server.recording.spans] == ["NOT_FOUND"]


async def test_health_checks_are_not_traced() -> None:
    async with tracing(ratio=1.0) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # not in its stubs
        await check(health_pb2.HealthCheckRequest(), timeout=60, metadata=(("traceparent", SAMPLED),))
        assert not server.recording.spans
