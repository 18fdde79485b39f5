"""What operators can add to the pods, Services, and other objects of the chart."""

from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-not-found,import-untyped,unused-ignore]
import pytest
import yaml  # type: ignore[import-untyped,unused-ignore]

from tests.chart import rendering
from tests.chart.objects import custom_resources
from tests.chart.rendering import COMPONENTS, STORES, Object

ROOT = Path(__file__).parents[3]
SPREAD = {"topologyKey": "rack", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}
PROXY = {"name": "proxy", "image": "registry.example/proxy:1.0", "restartPolicy": "Always"}
# A value for all pods, a component's value that overrides it, and its place in a pod.
REPLACED: list[tuple[str, Any, Any, str]] = [
    ("priorityClassName", "high", "low", "priorityClassName"),
    ("runtimeClassName", "gvisor", "kata", "runtimeClassName"),
    ("tolerations", [{"key": "spot", "operator": "Exists"}], [{"operator": "Exists"}], "tolerations"),
    ("affinity", {"nodeAffinity": {}}, {"podAntiAffinity": {}}, "affinity"),
    ("dnsPolicy", "Default", "None", "dnsPolicy"),
    ("dnsConfig", {"searches": ["a.example"]}, {"nameservers": ["10.0.0.10"]}, "dnsConfig"),
    (
        "hostAliases",
        [{"ip": "10.0.0.5", "hostnames": ["db"]}],
        [{"ip": "10.0.0.6", "hostnames": ["db"]}],
        "hostAliases",
    ),
    ("podSecurityContext", {"runAsUser": 20001}, {"runAsUser": 30001, "runAsNonRoot": True}, "securityContext"),
]


def pod_of(objects: list[Object], component: str) -> Object:
    spec: Object = rendering.named(objects, "Deployment", f"-{component}")["spec"]["template"]["spec"]
    return spec


def valid(objects: list[Object]) -> None:
    for found in objects:
        if not custom_resources.is_custom(found):
            kubernetes_validate.validate(found, "1.33", strict=True)


@pytest.mark.parametrize(("value", "common", "own", "field"), REPLACED)
def test_a_value_of_one_component_takes_the_place_of_the_common_one(
    value: str, common: Any, own: Any, field: str
) -> None:
    objects = rendering.rendered({**STORES, value: common, "worker": {value: own}, "migrations": {value: own}})
    valid(objects)
    jobs = [template["spec"] for name, template in rendering.pod_templates(objects) if name.startswith("Job/")]
    for spec in (pod_of(objects, "worker"), *jobs):
        assert spec[field] == own
    for component in set(COMPONENTS) - {"worker"}:
        found = pod_of(objects, component)[field]
        assert found == common or found.items() >= common.items()


def test_spreading_of_one_component_takes_the_place_of_the_common_one() -> None:
    objects = rendering.rendered(STORES | {"worker": {"topologySpread": [SPREAD]}, "delivery": {"topologySpread": []}})
    (constraint,) = pod_of(objects, "worker")["topologySpreadConstraints"]
    assert constraint.items() >= SPREAD.items()
    assert "topologySpreadConstraints" not in pod_of(objects, "delivery")
    assert len(pod_of(objects, "ingest")["topologySpreadConstraints"]) == 2


def test_nodes_labels_and_annotations_of_one_component_are_added() -> None:
    values: dict[str, Any] = STORES | {
        "nodeSelector": {"arch": "amd64", "pool": "all"},
        "podAnnotations": {"owner": "us"},
        "serviceAccount": {"annotations": {"role": "all"}},
        "worker": {
            "nodeSelector": {"pool": "workers"},
            "podAnnotations": {"egress": "open"},
            "serviceAccount": {"annotations": {"role": "sender"}},
        },
    }
    objects = rendering.rendered(values)
    assert pod_of(objects, "worker")["nodeSelector"] == {"arch": "amd64", "pool": "workers"}
    assert pod_of(objects, "ingest")["nodeSelector"] == {"arch": "amd64", "pool": "all"}
    template = rendering.named(objects, "Deployment", "-worker")["spec"]["template"]
    assert template["metadata"]["annotations"].items() >= {"owner": "us", "egress": "open"}.items()
    accounts = {name: rendering.named(objects, "ServiceAccount", name) for name in ("-worker", "-ingest", "-migrate")}
    assert {name: found["metadata"]["annotations"]["role"] for name, found in accounts.items()} == {
        "-worker": "sender",
        "-ingest": "all",
        "-migrate": "all",
    }


def test_extra_containers_and_variables_are_added_to_those_of_the_chart() -> None:
    source = {"secretRef": {"name": "more"}}
    values = STORES | {
        "extraInitContainers": [PROXY],
        "extraContainers": [{"name": "shipper", "image": "registry.example/shipper:1.0"}],
        "extraEnvFrom": [source],
        "gateway": {"extraInitContainers": [], "extraContainers": []},
    }
    objects = rendering.rendered(values)
    valid(objects)
    for component in set(COMPONENTS) - {"gateway"}:
        spec = pod_of(objects, component)
        # Before the wait for the schema, which may need it.
        assert [each["name"] for each in spec["initContainers"]] == ["proxy", "wait-for-schema"]
        assert [each["name"] for each in spec["containers"]] == [component, "shipper"]
        # The last one wins.
        assert spec["containers"][0]["envFrom"][0] == source
    (job,) = rendering.of_kind(objects, "Job")
    # The migration also needs a database proxy, and must be able to end.
    assert [each["name"] for each in job["spec"]["template"]["spec"]["initContainers"]] == ["proxy"]
    assert len(job["spec"]["template"]["spec"]["containers"]) == 1
    gateway = pod_of(objects, "gateway")
    assert "initContainers" not in gateway
    assert [each["name"] for each in gateway["containers"]] == ["gateway"]


def test_extra_objects_are_rendered_as_templates() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-text'}\n"
    tree = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": '{{ include "webhook-service.fullname" . }}-map'},
    }
    objects = rendering.rendered(STORES | {"extraObjects": [text, tree]})
    names = {found["metadata"]["name"] for found in rendering.of_kind(objects, "ConfigMap")}
    assert names >= {"demo-text", "demo-webhook-service-map"}


def test_services_take_what_a_cluster_asks_for() -> None:
    service = {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "internalTrafficPolicy": "Local",
        "loadBalancerClass": "example.com/internal",
        "loadBalancerSourceRanges": ["10.0.0.0/8"],
        "annotations": {"example.com/scheme": "internal"},
    }
    values = STORES | {
        "gateway": {"service": service | {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv6"]}},
        "ipFamilyPolicy": "PreferDualStack",
        "ipFamilies": ["IPv6", "IPv4"],
        "monitoring": {"serviceMonitor": {"enabled": True}},
    }
    objects = rendering.rendered(values)
    valid(objects)
    gateway = rendering.named(objects, "Service", "-gateway")
    assert gateway["metadata"]["annotations"] == service.pop("annotations")
    assert gateway["spec"].items() >= service.items()
    assert (gateway["spec"]["ipFamilyPolicy"], gateway["spec"]["ipFamilies"]) == ("SingleStack", ["IPv6"])
    for name in ("-ingest", "-delivery", "-analytics", "-gateway-metrics"):
        spec = rendering.named(objects, "Service", name)["spec"]
        assert (spec["ipFamilyPolicy"], spec["ipFamilies"]) == ("PreferDualStack", ["IPv6", "IPv4"])


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_the_address_to_bind_can_be_set(host: str) -> None:
    objects = rendering.rendered(STORES | {"settings": {"BIND_HOST": host}})
    for component in COMPONENTS:
        assert rendering.named(objects, "ConfigMap", f"-{component}")["data"]["BIND_HOST"] == host


def test_pods_are_restarted_by_a_checksum_of_their_secrets() -> None:
    for component in COMPONENTS:
        template = rendering.named(rendering.rendered(STORES | {"secretsChecksum": "1"}), "Deployment", f"-{component}")
        assert template["spec"]["template"]["metadata"]["annotations"]["checksum/secrets"] == "1"


def test_the_pod_of_the_test_has_its_resources() -> None:
    resources = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}
    objects = rendering.rendered(STORES | {"tests": {"resources": resources}})
    assert rendering.named(objects, "Pod", "-test")["spec"]["containers"][0]["resources"] == resources


def test_the_authority_of_redis_is_read_from_its_secret() -> None:
    redis = {"existingSecret": "webhook-redis", "urlKey": "url", "caSecret": "redis-ca", "caKey": "root.pem"}
    objects = rendering.rendered({"externalPostgresql": {"host": "db"}, "externalRedis": redis})
    for component in ("ingest", "delivery", "worker"):
        spec = pod_of(objects, component)
        (container,) = spec["containers"]
        path = rendering.environment(objects, container)["REDIS_CA_FILE"]
        (mount,) = (each for each in container["volumeMounts"] if each["name"] == "redis-ca")
        assert path == f"{mount['mountPath']}/root.pem"
        assert {"name": "redis-ca", "secret": {"secretName": "redis-ca"}} in spec["volumes"]


def test_postgres_of_trials_keeps_its_segments_of_wal() -> None:
    """In compose as in the chart."""
    objects = rendering.rendered({"postgresql": {"enabled": True}, "redis": {"enabled": True}})
    (container,) = rendering.named(objects, "StatefulSet", "-postgresql")["spec"]["template"]["spec"]["containers"]
    compose = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
    for arguments in (container["args"], compose["services"]["postgres"]["command"]):
        assert "min_wal_size=1GB" in arguments
