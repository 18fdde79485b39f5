"""Spans of unusual attempts, and traceparent headers to receivers."""

import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest_asyncio

from dev.harness import collector as collectors
from dev.harness.collector import Collector
from dev.harness.receiver import Receiver, Reply
from services.delivery.worker import __main__ as worker
from services.domain.doorbell import Ringer
from services.platform.process import lifecycle
from services.platform.tracing import spans as tracing
from services.platform.tracing.settings import TracingSettings
from services.platform.tracing.spans import Kind
from tests.delivery import sending
from tests.delivery.world import LOOPBACK, RUNG, Counted, World, ring, until_true

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
ACCEPT_ID = "00f067aa0ba902b7"


@pytest_asyncio.fixture(loop_scope="session")
async def collector() -> AsyncIterator[Collector]:
    async with collectors.collecting() as collecting:
        yield collecting


@contextlib.asynccontextmanager
async def traced_worker(world: World, collector: Collector, *, grace_seconds: float = 8.0) -> AsyncIterator[None]:
    """A worker that exports its spans, including those that end with it."""
    settings = world.worker_settings(
        otel_exporter_otlp_endpoint=collector.url,
        shutdown_grace_seconds=grace_seconds,
        delivery_timeout_seconds=20.0,
        claimed_payload_bytes=100,
    )
    tracer = tracing.start_tracer("worker", settings)
    assert tracer
    process = lifecycle.Process("worker", tracer)
    try:
        async with worker.serve(process, settings, policy=LOOPBACK):
            yield
    finally:
        await process.cancel_all()
        await tracer.stop()


async def traced_delivery(world: World, ringer: Ringer, url: str, payload: bytes = b"{}", flags: str = "01") -> None:
    """Create and ring a delivery of an event that was traced at its acceptance."""
    delivery_id = await world.deliver(await world.subscription(url), payload, due_in=RUNG)
    await world.pool.execute(
        "UPDATE webhook_events SET traceparent = $2 WHERE id = $1",
        (await world.row(delivery_id))["event_id"],
        f"00-{TRACE_ID}-{ACCEPT_ID}-{flags}",
    )
    await ring(ringer, delivery_id)


async def test_an_attempt_that_is_cut_by_a_stop_ends_as_interrupted(
    world: World, receiver: Receiver, ringer: Ringer, collector: Collector
) -> None:
    receiver.script(Reply(hang=True))
    async with traced_worker(world, collector, grace_seconds=4.0):
        await traced_delivery(world, ringer, receiver.url())
        await receiver.wait_for(1)
    (span,) = collector.of(TRACE_ID)
    assert (span.parent_id, span.failed, span.attributes["error.type"]) == (ACCEPT_ID, True, "interrupted")


async def test_a_large_payload_is_read_before_the_span_begins(
    world: World, receiver: Receiver, ringer: Ringer, collector: Collector
) -> None:
    async with traced_worker(world, collector):
        await traced_delivery(world, ringer, receiver.url(), b'"' + b"x" * 1000 + b'"')
        await receiver.wait_for(1)
    (span,) = collector.of(TRACE_ID)
    assert not span.failed
    assert span.attributes["webhook.attempt.claimed_seconds"] > 0


async def test_a_connection_that_was_dead_leaves_a_span_for_each_try(
    world: World, ringer: Ringer, collector: Collector
) -> None:
    async def answer(connection: sending.Connection) -> None:
        await connection.request()
        if len(server.connections) > 1:
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        # Takes the next one and closes.
        await connection.request()

    async with sending.serving(answer) as server, traced_worker(world, collector):
        for _ in range(2):
            await traced_delivery(world, ringer, server.url())
            await collector.wait_for(TRACE_ID)
        first, dead, again = await collector.wait_for(TRACE_ID, count=3)
    assert [span.attributes["webhook.attempt.number"] for span in (first, dead, again)] == [1, 1, 2]
    assert [span.attributes.get("error.type") for span in (first, dead, again)] == [None, "connection_lost", None]


async def test_receivers_get_no_trace_header_unless_configured(
    world: World, receiver: Receiver, ringer: Ringer, collector: Collector
) -> None:
    async with traced_worker(world, collector):
        await traced_delivery(world, ringer, receiver.url())
        (request,) = await receiver.wait_for(1)
    assert "traceparent" not in request.headers
    assert collector.of(TRACE_ID)


async def test_a_collector_behind_tls_is_checked_against_its_authority(
    authority: tuple[Path, ssl.SSLContext],
) -> None:
    file, _ = authority
    # One file contains both, each with its PEM heading.
    server = (file.parent / "server.pem").read_bytes()
    before = Counted("webhook_spans_dropped_total")
    async with collectors.collecting(tls=grpc.ssl_server_credentials([(server, server)])) as collector:
        for trusted in (str(file), ""):
            settings = TracingSettings(
                otel_exporter_otlp_endpoint=collector.url.replace("http:", "https:"),
                otel_exporter_otlp_certificate=trusted,
            )
            tracer = tracing.start_tracer("worker", settings)
            assert tracer
            span = tracer.follow("name", Kind.CLIENT, f"00-{TRACE_ID}-{ACCEPT_ID}-01", {})
            assert span
            span.end()
            await tracer.stop()
            assert len(collector.spans) == 1
    await until_true(lambda: before() == 1, "the span of the process that does not know the authority to be dropped")
