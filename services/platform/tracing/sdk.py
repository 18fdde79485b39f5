"""Spans by the SDK of OpenTelemetry. The only module that imports it, and imported only where tracing is on.

Spans that have ended wait in a queue for a thread of their own, which exports them. Nothing waits for that: what the
queue has no room for, and what cannot be exported, is dropped and counted.
"""

import asyncio
import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Sequence

import grpc
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from services.platform.process import metrics
from services.platform.tracing.settings import TracingSettings
from services.platform.tracing.spans import SAMPLED, Attributes, Kind, Parent, Span

# A few MB; what 1,000 traced webhooks a second leave in four seconds.
QUEUED_SPANS = 4096
SPANS_PER_EXPORT = 512
# Between exports that are not full.
INTERVAL_SECONDS = 1.0
EXPORT_TIMEOUT_SECONDS = 5.0
# For the last export, of the time that a process has to stop.
STOP_SECONDS = 2.0
STOP_SHARE = 0.25
COMPLAINT_SECONDS = 60.0
NAMESPACE = "webhook"
_SCOPE = "webhook-service"
_KINDS = {
    Kind.SERVER: trace.SpanKind.SERVER,
    Kind.CLIENT: trace.SpanKind.CLIENT,
    Kind.PRODUCER: trace.SpanKind.PRODUCER,
}
_FLAGS = trace.TraceFlags(SAMPLED)
_ERROR = trace.Status(trace.StatusCode.ERROR)
_EXPORTER_LOGGER = "opentelemetry.exporter.otlp.proto.grpc.exporter"


class SdkSpan(Span):
    """A span of the SDK."""

    __slots__ = ("_span",)

    def __init__(self, span: trace.Span) -> None:
        context = span.get_span_context()
        super().__init__(context.trace_id, context.span_id, context.trace_flags)
        self._span = span

    def rename(self, name: str) -> None:
        """Rename the span."""
        self._span.update_name(name)

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""
        self._span.set_attributes(attributes)

    def link(self, parent: Parent) -> None:
        """Link the span to one of another trace."""
        self._span.add_link(_context_of(parent))

    def end(self, *, error: str = "", failed: bool = True) -> None:
        """End the span."""
        if error:
            self._span.set_attribute("error.type", error)
            if failed:
                self._span.set_status(_ERROR)
        self._span.end()


class Sdk:
    """A provider of its own, not the global one: whatever else is in the process does not trace through it."""

    def __init__(self, role: str, settings: TracingSettings) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.ERROR)
        logging.getLogger(_EXPORTER_LOGGER).addFilter(_NowAndThen())
        self._stop_seconds = min(STOP_SECONDS, STOP_SHARE * settings.shutdown_grace_seconds)
        self._exporter = _Counted(settings)
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # who is not traced never gets here
            resource=_resource(role, settings),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(_Bounded(self._exporter))
        self._tracer = self._provider.get_tracer(_SCOPE, metrics.VERSION)

    def start(self, name: str, kind: Kind, parent: Parent | None, attributes: Attributes) -> Span:
        """Begin a span."""
        context = Context()
        if parent is not None:
            context = trace.set_span_in_context(trace.NonRecordingSpan(_context_of(parent)), context)
        return SdkSpan(self._tracer.start_span(name, context=context, kind=_KINDS[kind], attributes=attributes))

    async def stop(self) -> None:
        """Export ended spans, within a quarter of the time to stop, and 2 s at most."""
        loop, exported = asyncio.get_running_loop(), asyncio.Event()

        def finish() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop may have ended without us
                loop.call_soon_threadsafe(exported.set)

        # Not one of the loop's own threads, for which it would wait longer.
        threading.Thread(target=finish, name="last_export", daemon=True).start()
        try:
            await asyncio.wait_for(exported.wait(), self._stop_seconds)
        except TimeoutError:
            self._exporter.shutdown()


def credentials_of(settings: TracingSettings) -> grpc.ChannelCredentials | None:
    """Return TLS to the collector, or None for a plain connection."""
    secure = settings.otel_exporter_otlp_endpoint.startswith("https:")
    return grpc.ssl_channel_credentials(settings.authorities) if secure else None


class _Counted(SpanExporter):
    """OTLP over gRPC, counted. Only the processor's thread changes `taken`."""

    def __init__(self, settings: TracingSettings) -> None:
        self.taken = 0
        credentials = credentials_of(settings)
        self._exporter = OTLPSpanExporter(
            endpoint=settings.otel_exporter_otlp_endpoint,
            insecure=credentials is None,
            credentials=credentials,
            headers=settings.export_headers,
            timeout=EXPORT_TIMEOUT_SECONDS,
            # As everywhere in this service: proxies of the environment are not used.
            channel_options=(("grpc.enable_http_proxy", 0),),  # type: ignore[arg-type]  # numbers are right
        )
        self._shut = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            exported = result is SpanExportResult.SUCCESS
            (metrics.SPANS_EXPORTED if exported else metrics.SPANS_DROPPED).inc(len(spans))
        return result

    def shutdown(self) -> None:
        """End the running export, too. A second call does nothing."""
        if self._shut.acquire(blocking=False):
            self._exporter.shutdown()


class _Bounded(BatchSpanProcessor):
    """Drops and counts what the queue has no room for. The SDK's own would drop what is oldest, and log each."""

    def __init__(self, exporter: _Counted) -> None:
        super().__init__(
            exporter,
            max_queue_size=2 * QUEUED_SPANS,
            schedule_delay_millis=INTERVAL_SECONDS * 1000,
            max_export_batch_size=SPANS_PER_EXPORT,
        )
        self._counted = exporter
        self._queued = 0

    def on_end(self, span: ReadableSpan) -> None:
        if self._queued - self._counted.taken >= QUEUED_SPANS:
            metrics.SPANS_DROPPED.inc()
            return
        self._queued += 1
        super().on_end(span)


class _NowAndThen(logging.Filter):
    """Lets a complaint a minute through: a collector that is away is one thing, however many exports fail."""

    def __init__(self) -> None:
        super().__init__()
        self._last = -COMPLAINT_SECONDS

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - logging's signature
        now = time.monotonic()
        if now - self._last < COMPLAINT_SECONDS:
            return False
        self._last = now
        return True


def _context_of(parent: Parent) -> trace.SpanContext:
    return trace.SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=_FLAGS)


def _resource(role: str, settings: TracingSettings) -> Resource:
    host = socket.gethostname()
    return Resource.create(
        {
            "service.namespace": NAMESPACE,
            "host.name": host,
            **settings.resource_attributes,
            "service.name": f"{NAMESPACE}-{role}",
            "service.version": metrics.VERSION,
            "service.instance.id": f"{host}:{os.getpid()}",
        }
    )
