"""What is traced, and what is not."""

import subprocess
import sys
from typing import Any

import pytest

from services.platform.tracing import spans
from services.platform.tracing.settings import TracingDoorSettings, TracingSettings
from services.platform.tracing.spans import Kind, Tracer
from tests.platform.tracing.recording import Recording

SAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = SAMPLED[:-2] + "00"


def made(**settings: Any) -> Tracer:
    return Tracer(Recording(), TracingDoorSettings(**settings))


def entered(tracer: Tracer, header: str | None) -> str | None:
    """Return the trace of an external caller."""
    span = tracer.enter("name", Kind.SERVER, header, {})
    return span.trace_id if span else None


def share(tracer: Tracer, header: str | None) -> float:
    return sum(entered(tracer, header) is not None for _ in range(4000)) / 4000


def test_tracer_is_not_started_without_an_endpoint() -> None:
    assert spans.start_tracer("gateway", TracingDoorSettings(otel_exporter_otlp_endpoint="")) is None


@pytest.mark.parametrize("header", [None, SAMPLED, UNSAMPLED, "malformed"])
def test_sampling_ignores_the_flag_of_an_untrusted_caller(header: str | None) -> None:
    assert share(made(otel_traces_sampler_arg=0), header) == 0
    assert share(made(otel_traces_sampler_arg=1), header) == 1
    assert 0.2 < share(made(otel_traces_sampler_arg=0.25), header) < 0.3


def test_a_trace_is_joined_all_the_same() -> None:
    assert entered(made(), SAMPLED) == entered(made(), UNSAMPLED) == SAMPLED.split("-")[1]
    assert entered(made(), None) != entered(made(), None)


@pytest.mark.parametrize("ratio", [0, 1])
def test_a_trusted_caller_decides(ratio: float) -> None:
    trusting = made(otel_traces_sampler_arg=ratio, tracing_trust_callers=True)
    assert entered(trusting, SAMPLED) == SAMPLED.split("-")[1]
    assert entered(trusting, UNSAMPLED) is None
    # Callers without a traceparent, or with an invalid one, are sampled at random.
    assert share(trusting, None) == share(trusting, "malformed") == ratio


def test_trace_of_another_process_is_continued_if_sampled() -> None:
    following = Tracer(Recording(), TracingSettings())
    span = following.follow("name", Kind.CLIENT, SAMPLED, {})
    assert span
    assert span.trace_id == SAMPLED.split("-")[1]
    assert following.follow("name", Kind.CLIENT, UNSAMPLED, {}) is None
    assert following.follow("name", Kind.CLIENT, None, {}) is None
    assert following.follow("name", Kind.CLIENT, "malformed", {}) is None


def test_tracing_sdk_and_exporters_are_not_imported_if_tracing_is_off() -> None:
    # The Redis client and FastAPI look for the rest of OpenTelemetry themselves.
    dear = ("opentelemetry.exporter", "opentelemetry.sdk.trace.export", "services.platform.tracing.sdk")
    roles = ("gateway", "ingest", "delivery", "delivery.worker", "analytics")
    code = (
        "import importlib, sys\n"
        f"for role in {roles}:\n"
        "    importlib.import_module(f'services.{role}.__main__')\n"
        f"    print(*(f'{{role}} imports {{name}}' for name in {dear} if name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
