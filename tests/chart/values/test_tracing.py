"""The tracing settings that the chart passes to the processes."""

from typing import Any

import pytest

from tests.chart import rendering
from tests.chart.rendering import Object

TRACING: dict[str, Any] = {
    "endpoint": "https://collector.observability:4317",
    "headersSecret": "collector",
    "caSecret": "collector-ca",
    "resourceAttributes": {"deployment.environment.name": "a,b"},
}


def container(objects: list[Object], component: str) -> tuple[Object, Object]:
    """Return a component's pod, and its only container."""
    spec: Object = rendering.named(objects, "Deployment", f"-{component}")["spec"]["template"]["spec"]
    return spec, spec["containers"][0]


def traced(component: str, layout: str = "five", **changes: Any) -> tuple[dict[str, str], Object, Object]:
    """Return a component's variables, its pod, and its container."""
    objects = rendering.rendered({**rendering.STORES, "layout": layout, "tracing": {**TRACING, **changes}})
    spec, found = container(objects, component)
    return rendering.environment(objects, found), spec, found


@pytest.mark.parametrize("component", rendering.COMPONENTS)
def test_tracing_is_not_configured_by_default(component: str) -> None:
    objects = rendering.rendered(rendering.STORES)
    spec, found = container(objects, component)
    assert not [name for name in rendering.environment(objects, found) if name.startswith(("OTEL_", "TRACING_"))]
    assert "tracing-ca" not in str(spec)


@pytest.mark.parametrize(("layout", "component"), [process[:2] for process in rendering.PROCESSES])
def test_processes_all_get_the_endpoint_for_spans(layout: str, component: str) -> None:
    variables, spec, found = traced(component, layout)
    assert variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == TRACING["endpoint"]
    attributes = variables["OTEL_RESOURCE_ATTRIBUTES"].split(",")
    assert "k8s.namespace.name=webhook" in attributes
    assert f"k8s.deployment.name=demo-webhook-service-{component}" in attributes
    assert "deployment.environment.name=a%2Cb" in attributes
    (headers,) = [entry for entry in found["env"] if entry["name"] == "OTEL_EXPORTER_OTLP_HEADERS"]
    assert headers["valueFrom"]["secretKeyRef"] == {"name": "collector", "key": "headers"}
    assert variables["OTEL_EXPORTER_OTLP_CERTIFICATE"] == "/etc/webhook/tracing/ca.crt"
    assert {"name": "tracing-ca", "secret": {"secretName": "collector-ca"}} in spec["volumes"]
    assert {"name": "tracing-ca", "mountPath": "/etc/webhook/tracing", "readOnly": True} in found["volumeMounts"]


@pytest.mark.parametrize("component", ["gateway", "ingest", "delivery", "analytics"])
def test_sampling_is_decided_by_the_service_unless_callers_are_trusted(component: str) -> None:
    variables, _, _ = traced(component)
    assert (variables["OTEL_TRACES_SAMPLER_ARG"], variables["TRACING_TRUST_CALLERS"]) == ("0.01", "false")
    variables, _, _ = traced(component, sampleRatio=1, trustCallers=True)
    assert (variables["OTEL_TRACES_SAMPLER_ARG"], variables["TRACING_TRUST_CALLERS"]) == ("1", "true")


def test_workers_alone_tell_receivers() -> None:
    assert traced("worker")[0]["TRACING_TO_RECEIVERS"] == "false"
    assert traced("worker", toReceivers=True)[0]["TRACING_TO_RECEIVERS"] == "true"
    assert "TRACING_TO_RECEIVERS" not in traced("gateway")[0]
    assert "OTEL_TRACES_SAMPLER_ARG" not in traced("worker")[0]


def test_a_plain_collector_needs_no_secrets() -> None:
    variables, spec, _ = traced("gateway", endpoint="http://collector:4317", headersSecret="", caSecret="")
    assert variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector:4317"
    assert "OTEL_EXPORTER_OTLP_HEADERS" not in variables
    assert "OTEL_EXPORTER_OTLP_CERTIFICATE" not in variables
    assert "tracing-ca" not in str(spec)


@pytest.mark.parametrize(
    "changes", [{"endpoint": "collector:4317"}, {"endpoint": "http://collector"}, {"sampleRatio": 1.5}, {"sample": 1}]
)
def test_wrong_values_are_refused(changes: dict[str, Any]) -> None:
    assert "tracing" in rendering.refused({**rendering.STORES, "tracing": {**TRACING, **changes}})
