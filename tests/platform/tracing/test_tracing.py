"""The export of spans: to a collector, to one that does not respond, and to none."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prometheus_client
import pytest

from dev.harness import collector as collectors
from dev.harness.waiting import wait_until
from services.platform.tracing import sdk
from services.platform.tracing.sdk import Sdk
from services.platform.tracing.settings import TracingDoorSettings
from services.platform.tracing.spans import Kind, Parent


def recording(url: str, **settings: Any) -> Sdk:
    return Sdk("test", TracingDoorSettings(otel_exporter_otlp_endpoint=url, **settings))


def end_spans(recording: Sdk, number: int) -> None:
    for _ in range(number):
        recording.start("name", Kind.SERVER, None, {}).end()


def counted(result: str) -> float:
    return prometheus_client.REGISTRY.get_sample_value(f"webhook_spans_{result}_total") or 0.0


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that accepts connections and never responds, and exports that wait for it longer than a busy machine."""
    monkeypatch.setattr(sdk, "EXPORT_TIMEOUT_SECONDS", 60.0)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_a_stop_exports_what_has_ended() -> None:
    before = counted("exported")
    async with collectors.collecting() as collector:
        recording_spans = recording(collector.url)
        parent = Parent(0xABC, 0xDEF, sampled=True)
        span = recording_spans.start("name", Kind.PRODUCER, parent, {"one": 1})
        span.rename("another name")
        span.set({"two": "2"})
        span.link(Parent(0x123, 0x456, sampled=True))
        span.end(error="why")
        recording_spans.start("never ended", Kind.SERVER, None, {})
        await recording_spans.stop()
        (exported,) = collector.spans
    assert (exported.name, exported.kind, exported.failed) == ("another name", "PRODUCER", True)
    assert (exported.trace_id, exported.parent_id) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    assert span.traceparent.split("-")[1:3] == [exported.trace_id, exported.span_id]
    assert exported.attributes == {"one": 1, "two": "2", "error.type": "why"}
    assert exported.links == [f"{0x123:032x}"]
    assert counted("exported") - before == 1


async def test_spans_that_wait_are_bounded_and_the_others_counted(silent: str) -> None:
    before = counted("dropped")
    waiting = recording(silent)
    began = time.monotonic()
    end_spans(waiting, sdk.QUEUED_SPANS + 2 * sdk.SPANS_PER_EXPORT)
    assert time.monotonic() - began < sdk.EXPORT_TIMEOUT_SECONDS  # nobody waited for the hanging export
    assert sdk.SPANS_PER_EXPORT <= counted("dropped") - before <= 2 * sdk.SPANS_PER_EXPORT
    await waiting.stop()


@pytest.mark.parametrize("grace_seconds", [1.0, 20.0])
async def test_a_collector_that_hangs_delays_the_stop_by_its_bound(silent: str, grace_seconds: float) -> None:
    waiting = recording(silent, shutdown_grace_seconds=grace_seconds)
    end_spans(waiting, 10)
    began = time.monotonic()
    await waiting.stop()
    bound = min(sdk.STOP_SECONDS, sdk.STOP_SHARE * grace_seconds)
    # Not until the export gives up.
    assert bound <= time.monotonic() - began < sdk.EXPORT_TIMEOUT_SECONDS


async def test_a_collector_that_comes_back_gets_what_ends_then() -> None:
    before = counted("dropped")
    async with collectors.collecting() as first:
        port = first.port
        spans = recording(first.url)
        end_spans(spans, 1)
        await wait_until(lambda: first.spans, what="a span")
    end_spans(spans, 1)
    await wait_until(lambda: counted("dropped") > before, what="a dropped span")
    async with collectors.collecting(port) as second:

        def arrives() -> bool:
            end_spans(spans, 1)
            return bool(second.spans)

        await wait_until(arrives, what="a span")
        await asyncio.wait_for(spans.stop(), 60)


def test_pairs_are_read_as_opentelemetry_reads_them() -> None:
    settings = TracingDoorSettings(
        otel_exporter_otlp_endpoint="https://collector:4317",
        otel_exporter_otlp_headers="authorization=Bearer%20s3cret, x-scope-orgid = 1",
        otel_resource_attributes="k8s.namespace.name=here,team=a%3Db",
    )
    assert settings.export_headers == (("authorization", "Bearer s3cret"), ("x-scope-orgid", "1"))
    assert settings.resource_attributes == {"k8s.namespace.name": "here", "team": "a=b"}
    assert sdk.credentials_of(settings) is not None
    assert "s3cret" not in repr(settings)


def test_a_plain_connection_takes_no_credentials(tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    authority.write_text("-----BEGIN CERTIFICATE-----\n")
    plain = TracingDoorSettings(
        otel_exporter_otlp_endpoint="http://collector:4317", otel_exporter_otlp_certificate=str(authority)
    )
    assert sdk.credentials_of(plain) is None
