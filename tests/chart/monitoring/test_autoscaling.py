"""What sets the number of replicas, and by which metrics: HPAs, the ScaledObject, and the rules for the adapter."""

from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its types are in no lock

from tests.chart import rendering
from tests.chart.rendering import Object

RULES = rendering.CHART / "files/prometheus-adapter-rules.yaml"
# Which Deployments an autoscaler owns in a scenario.
SCALED = {
    "autoscaling": {"gateway", "ingest", "worker"},
    "keda": {"gateway", "worker"},
    "production": set(),
    "compact": {"gateway", "worker"},
}
ON: dict[str, Any] = rendering.STORES | {"autoscaling": {"enabled": True}}


def deployment(objects: list[Object], component: str) -> Object:
    return rendering.named(objects, "Deployment", f"-{component}")


def rules() -> list[Object]:
    found: list[Object] = yaml.safe_load(RULES.read_text())
    return found


# -- who sets the replicas --


@pytest.mark.parametrize("scenario", SCALED)
def test_replicas_are_set_where_no_autoscaler_owns_them_and_nowhere_else(scenario: str) -> None:
    objects = rendering.scenario(scenario)
    targets = [
        found["spec"]["scaleTargetRef"]["name"]
        for found in rendering.of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject")
    ]
    assert len(targets) == len(set(targets)), "two autoscalers pull at one Deployment"
    assert {deployment(objects, each)["metadata"]["name"] for each in SCALED[scenario]} == set(targets)
    for found in rendering.of_kind(objects, "Deployment"):
        assert ("replicas" not in found["spec"]) is (found["metadata"]["name"] in targets)


@pytest.mark.parametrize("scenario", SCALED)
def test_an_autoscaler_scales_a_deployment_that_is_there(scenario: str) -> None:
    objects = rendering.scenario(scenario)
    there = {found["metadata"]["name"] for found in rendering.of_kind(objects, "Deployment")}
    for found in rendering.of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        target = found["spec"]["scaleTargetRef"]
        assert (target["apiVersion"], target["kind"]) == ("apps/v1", "Deployment")
        assert target["name"] in there


def test_autoscaling_is_off_by_default() -> None:
    objects = rendering.rendered(rendering.STORES)
    assert not rendering.of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject")
    assert all("replicas" in found["spec"] for found in rendering.of_kind(objects, "Deployment"))


@pytest.mark.parametrize("component", ["gateway", "ingest"])
def test_cpu_time_is_measured_against_what_is_asked_for(component: str) -> None:
    objects = rendering.scenario("autoscaling")
    (metric,) = rendering.named(objects, "HorizontalPodAutoscaler", f"-{component}")["spec"]["metrics"]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    for container in deployment(objects, component)["spec"]["template"]["spec"]["containers"]:
        assert "cpu" in container["resources"]["requests"]


def test_workers_come_quickly_and_go_slowly() -> None:
    objects = rendering.rendered(ON)
    behavior = rendering.named(objects, "HorizontalPodAutoscaler", "-worker")["spec"]["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert {"type": "Percent", "value": 100, "periodSeconds": 15} in behavior["scaleUp"]["policies"]
    assert max(policy["value"] for policy in behavior["scaleDown"]["policies"]) <= 10


# -- by an external metric --


def test_workers_are_scaled_by_depth_and_busy_slots_of_this_release() -> None:
    objects = rendering.scenario("autoscaling", release="shop")
    spec = rendering.named(objects, "HorizontalPodAutoscaler", "-worker")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 40)
    assert {metric["type"] for metric in spec["metrics"]} == {"External"}
    found = {metric["external"]["metric"]["name"]: metric["external"] for metric in spec["metrics"]}
    assert {name: each["target"] for name, each in found.items()} == {
        "webhook_queue_depth": {"type": "AverageValue", "averageValue": "200"},
        "webhook_busy_workers": {"type": "AverageValue", "averageValue": "700m"},
    }
    for each in found.values():
        labels = {"namespace": rendering.NAMESPACE, "release": "shop"}
        assert each["metric"]["selector"] == {"matchLabels": labels}


@pytest.mark.parametrize("source", ["prometheus-adapter", "keda"])
def test_what_delivers_is_scaled_by_depth_in_every_layout(source: str) -> None:
    keda = {"enabled": True, "source": source, "keda": {"serverAddress": "http://prometheus:9090"}}
    found = []
    for layout in rendering.LAYOUTS:
        objects = rendering.rendered(rendering.STORES | {"layout": layout, "autoscaling": keda})
        (scaler,) = (
            each
            for each in rendering.of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject")
            if "webhook_queue_depth" in str(each)
        )
        pod = deployment(objects, "worker")["spec"]["template"]["spec"]
        assert scaler["spec"]["scaleTargetRef"]["name"] == deployment(objects, "worker")["metadata"]["name"]
        assert "worker" in pod["containers"][0]["args"]
        found.append(scaler)
    assert found[0] == found[1]


def test_a_provider_of_the_depth_alone_is_enough() -> None:
    objects = rendering.rendered(ON | {"worker": {"autoscaling": {"targetBusySlots": None}}})
    (metric,) = rendering.named(objects, "HorizontalPodAutoscaler", "-worker")["spec"]["metrics"]
    assert metric["external"]["metric"]["name"] == "webhook_queue_depth"


def test_the_rules_of_the_adapter_answer_what_the_hpa_asks_for() -> None:
    objects = rendering.rendered(ON)
    metrics = rendering.named(objects, "HorizontalPodAutoscaler", "-worker")["spec"]["metrics"]
    assert [rule["name"]["as"] for rule in rules()] == [metric["external"]["metric"]["name"] for metric in metrics]
    for rule in rules():
        # Only one namespace, whoever queries; and the response has the label that the HPA selects by.
        assert rule["resources"]["overrides"] == {"namespace": {"resource": "namespace"}}
        assert 'namespace!=""' in rule["seriesQuery"]
        assert 'release!=""' in rule["seriesQuery"]
        assert "by (namespace, release)" in rule["metricsQuery"]
        assert rule["metricsQuery"].count("{<<.LabelMatchers>>}") == rule["metricsQuery"].count("{")


def test_the_depth_is_the_largest_of_the_copies_and_never_their_sum() -> None:
    assert rules()[0]["metricsQuery"].startswith("max by (namespace, release) (")
    assert "sum" not in rules()[0]["metricsQuery"]
    (scaled,) = rendering.of_kind(rendering.scenario("keda"), "ScaledObject")
    assert scaled["spec"]["triggers"][0]["metadata"]["query"].startswith("max(webhook_queue_depth{")


# -- by KEDA --


def test_workers_have_no_hpa_of_the_chart_with_keda() -> None:
    objects = rendering.scenario("keda")
    names = [found["metadata"]["name"] for found in rendering.of_kind(objects, "HorizontalPodAutoscaler")]
    assert names == [deployment(objects, "gateway")["metadata"]["name"]]
    (scaled,) = rendering.of_kind(objects, "ScaledObject")
    spec = scaled["spec"]
    assert spec["fallback"] == {"failureThreshold": 3, "replicas": 6}
    thresholds = [trigger["metadata"]["threshold"] for trigger in spec["triggers"]]
    assert thresholds == ["100", "0.7"]
    for trigger in spec["triggers"]:
        assert trigger["type"] == "prometheus"
        # A fallback works only with this type, and an empty response must not count as an empty queue.
        assert trigger["metricType"] == "AverageValue"
        assert trigger["metadata"]["ignoreNullValues"] == "false"
        assert trigger["metadata"]["authModes"] == "bearer"
        assert trigger["authenticationRef"] == {"name": "prometheus-token", "kind": "ClusterTriggerAuthentication"}
        assert 'namespace="webhook", release="demo"' in trigger["metadata"]["query"]


def test_keda_behaves_as_the_hpa_does() -> None:
    values = ON | {"worker": {"autoscaling": {"minReplicas": 4, "maxReplicas": 9}}}
    keda = {"enabled": True, "source": "keda", "keda": {"serverAddress": "http://prometheus:9090"}}
    hpa = rendering.named(rendering.rendered(values), "HorizontalPodAutoscaler", "-worker")["spec"]
    (scaled,) = rendering.of_kind(rendering.rendered(values | {"autoscaling": keda}), "ScaledObject")
    assert scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == hpa["behavior"]
    assert (scaled["spec"]["minReplicaCount"], scaled["spec"]["maxReplicaCount"]) == (4, 9)
    # Without a response, KEDA's HPA keeps the current number.
    assert "fallback" not in scaled["spec"]


# -- invalid values --


@pytest.mark.parametrize("program", rendering.HELMS)
@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"autoscaling": {"enabled": "yes"}}, "enabled"),
        ({"autoscaling": {"source": "datadog"}}, "source"),
        ({"autoscaling": {"keda": {"serverAddress": "prometheus:9090"}}}, "serverAddress"),
        ({"autoscaling": {"keda": {"authenticationRef": {"kind": "Secret"}}}}, "kind"),
        ({"autoscaling": {"keda": {"authenticationRef": {"kind": "TriggerAuthentication"}}}}, "name"),
        ({"worker": {"autoscaling": {"minReplicas": 0}}}, "minReplicas"),
        ({"worker": {"autoscaling": {"targetQueueDepth": 0}}}, "targetQueueDepth"),
        ({"worker": {"autoscaling": {"targetBusySlots": 70}}}, "targetBusySlots"),
        ({"worker": {"autoscaling": {"targetCPUPercent": 70}}}, "targetCPUPercent"),
        ({"gateway": {"autoscaling": {"targetQueueDepth": 100}}}, "targetQueueDepth"),
        ({"ingest": {"autoscaling": {"behavior": {"scaleDown": {"policies": [{"type": "Pod"}]}}}}}, "policies"),
        ({"delivery": {"autoscaling": {"enabled": True}}}, "autoscaling"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], name: str, program: str) -> None:
    why = rendering.refused(rendering.STORES | values, program=program)
    assert "schema" in why
    assert name in why


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"gateway": {"autoscaling": {"minReplicas": 12}}},
            "gateway.autoscaling.maxReplicas: 10 is less than minReplicas, 12",
        ),
        (
            {"worker": {"autoscaling": {"maxReplicas": 1}}},
            "worker.autoscaling.maxReplicas: 1 is less than minReplicas, 2",
        ),
        ({"autoscaling": {"enabled": True, "source": "keda"}}, "autoscaling.keda.serverAddress"),
    ],
)
def test_values_that_do_not_fit_together_are_refused(values: dict[str, Any], sentence: str) -> None:
    assert sentence in rendering.refused(ON | values)
