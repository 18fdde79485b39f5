from pathlib import Path

import pytest

from services.platform.settings import load
from services.platform.tracing.settings import TracingDoorSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:s3cret@collector:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317/v1/traces"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.01"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
        ("OTEL_TRACES_SAMPLER_ARG", "all"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.crt"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/dev/null"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/tmp"),
        ("OTEL_RESOURCE_ATTRIBUTES", "k8s.namespace.name"),
        ("OTEL_RESOURCE_ATTRIBUTES", "=here"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=s3cret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=s3cret%0A"),
        ("TRACING_TRUST_CALLERS", "perhaps"),
    ],
)
def test_a_wrong_value_ends_the_start_with_a_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        load(TracingDoorSettings)
    said = capfd.readouterr().err
    assert said.startswith(f"{name}: ")
    assert said.count("\n") == 1
    assert "s3cret" not in said or name == "OTEL_EXPORTER_OTLP_ENDPOINT"


def test_pairs_are_read_as_opentelemetry_reads_them() -> None:
    settings = TracingDoorSettings(
        otel_exporter_otlp_endpoint="https://collector:4317",
        otel_exporter_otlp_headers="authorization=Bearer%20s3cret, x-scope-orgid = 1",
        otel_resource_attributes="k8s.namespace.name=here,team=a%3Db",
    )
    assert settings.export_headers == (("authorization", "Bearer s3cret"), ("x-scope-orgid", "1"))
    assert settings.resource_attributes == {"k8s.namespace.name": "here", "team": "a=b"}
    assert settings.credentials is not None
    assert "s3cret" not in repr(settings)


def test_a_plain_connection_takes_no_credentials(tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    authority.write_text("-----BEGIN CERTIFICATE-----\n")
    plain = TracingDoorSettings(
        otel_exporter_otlp_endpoint="http://collector:4317", otel_exporter_otlp_certificate=str(authority)
    )
    assert plain.credentials is None
