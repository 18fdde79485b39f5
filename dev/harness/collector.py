"""A trace collector on a real port, with OTLP over gRPC."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from dev.harness.waiting import wait_until


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A received span, with ids in hexadecimal; `parent` is empty if it has none."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    failed: bool
    seconds: float
    attributes: dict[str, Any]
    # Trace ids.
    links: list[str]


@dataclass
class Collector:
    """Created by `collecting`."""

    port: int = 0
    spans: list[Exported] = field(default_factory=list)
    # The resource of each process that exported, by service.
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Return the value for OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self.port}"

    def of(self, trace_id: str, name: str = "") -> list[Exported]:
        """Return the spans of a trace whose names have this prefix."""
        return [span for span in self.spans if span.trace_id == trace_id and span.name.startswith(name)]

    async def wait_for(self, trace_id: str, name: str = "", count: int = 1) -> list[Exported]:
        """Wait until a trace has this many spans with this prefix."""

        def enough() -> list[Exported] | None:
            found = self.of(trace_id, name)
            return found if len(found) >= count else None

        return await wait_until(enough, what=f"{count} spans {name!r} of {trace_id}") or []

    async def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: Any
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Receive spans."""
        self.metadata = {name: str(value) for name, value in context.invocation_metadata()}
        for group in request.resource_spans:
            resource = dict(_values(group.resource.attributes))
            self.resources[resource["service.name"]] = resource
            for scope in group.scope_spans:
                self.spans += [_exported(resource["service.name"], span) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


def _exported(service: str, span: trace_pb2.Span) -> Exported:
    return Exported(
        service=service,
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        attributes=dict(_values(span.attributes)),
        links=[link.trace_id.hex() for link in span.links],
    )


def _values(attributes: Any) -> Iterator[tuple[str, Any]]:
    pair: common_pb2.KeyValue
    for pair in attributes:
        yield pair.key, getattr(pair.value, str(pair.value.WhichOneof("value")))


@contextlib.asynccontextmanager
async def collecting(port: int = 0, *, tls: grpc.ServerCredentials | None = None) -> AsyncIterator[Collector]:
    """Yield a collector on this port, or on a free one, until the context ends."""
    collector = Collector()
    server = grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    address = f"127.0.0.1:{port}"
    collector.port = server.add_secure_port(address, tls) if tls else server.add_insecure_port(address)
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(None)
