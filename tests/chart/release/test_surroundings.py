"""The chart in other environments: as a dependency, packaged, and in a cluster that lacks kinds."""

import ipaddress
import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its types are in no lock

from tests.chart import rendering
from tests.chart.rendering import CHART, STORES

# What Helm knows about a cluster, and does not assume when it only renders.
CLUSTER = ("--api-versions", "apiregistration.k8s.io/v1")


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """A chart that has this one as a dependency, with a condition."""
    dependency = {
        "name": "webhook-service",
        "version": "0.1.0",
        "repository": "file://x",
        "condition": "webhook-service.enabled",
    }
    chart = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [dependency]}
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(chart))
    shutil.copytree(CHART, tmp_path / "charts/webhook-service")
    return tmp_path


def images(objects: list[rendering.Object]) -> set[str]:
    return {each["image"] for _, pod in rendering.pod_templates(objects) for each in rendering.containers(pod)}


def test_a_parent_turns_the_chart_on_and_off(parent: Path) -> None:
    assert rendering.rendered({"webhook-service": {"enabled": True, **STORES}}, chart=parent)
    assert not rendering.rendered({"webhook-service": {"enabled": False, **STORES}}, chart=parent)


def test_globals_of_a_parent_are_taken_and_its_registry_replaces_that_of_every_image(parent: Path) -> None:
    shared = {
        "imageRegistry": "mirror.example:5000",
        "imagePullSecrets": ["pull", {"name": "more"}],
        "storageClass": "x",
    }
    own = {**STORES, "image": {"repository": "registry.example/team/webhook-service"}}
    objects = rendering.rendered({"global": shared, "webhook-service": own}, chart=parent)
    assert all(image.startswith("mirror.example:5000/") for image in images(objects))
    assert {image.split(":5000/")[1].split(":")[0] for image in images(objects)} == {
        "team/webhook-service",
        "library/postgres",
        "valkey/valkey",
    }
    for name, pod in rendering.pod_templates(objects):
        assert pod["spec"]["imagePullSecrets"] == [{"name": "pull"}, {"name": "more"}], name


@pytest.mark.parametrize(
    "repository", ["webhook-service", "localhost/webhook-service", "localhost:5000/webhook-service"]
)
def test_an_image_without_a_registry_gets_the_global_one(repository: str) -> None:
    values = {**STORES, "image": {"repository": repository}, "global": {"imageRegistry": "mirror.example"}}
    assert "mirror.example/webhook-service:0.1.0" in images(rendering.rendered(values))
    assert f"{repository}:0.1.0" in images(rendering.rendered({**values, "global": {}}))


def test_the_package_has_its_readme_and_its_schema(tmp_path: Path) -> None:
    subprocess.run(["helm4", "package", CHART, "--destination", tmp_path], check=True, capture_output=True)
    (package,) = tmp_path.iterdir()
    with tarfile.open(package) as files:
        names = set(files.getnames())
    assert {f"webhook-service/{name}" for name in ("README.md", "values.schema.json", "files/settings.json")} <= names
    assert not [name for name in names if "/ci/" in name]


MONITORING: dict[str, Any] = STORES | {
    "monitoring": {name: {"enabled": True} for name in ("serviceMonitor", "podMonitor", "prometheusRule")}
}
KINDS = ("ServiceMonitor", "PodMonitor", "PrometheusRule")


def test_monitors_are_left_out_where_the_cluster_does_not_know_them() -> None:
    assert {found["kind"] for found in rendering.of_kind(rendering.rendered(MONITORING), *KINDS)} == set(KINDS)
    assert not rendering.of_kind(rendering.rendered(MONITORING, *CLUSTER), *KINDS)
    one = (*CLUSTER, "--api-versions", "monitoring.coreos.com/v1/PodMonitor")
    assert [found["kind"] for found in rendering.of_kind(rendering.rendered(MONITORING, *one), *KINDS)] == [
        "PodMonitor"
    ]


def test_values_that_require_a_kind_the_cluster_lacks_are_rejected() -> None:
    values = STORES | {
        "grpcTls": {"enabled": True, "certificate": {"issuerRef": {"name": "grpc"}}},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
        "autoscaling": {"enabled": True, "source": "keda", "keda": {"serverAddress": "http://prometheus:9090"}},
    }
    assert rendering.rendered(values)
    why = rendering.refused(values, *CLUSTER)
    for name in ("grpcTls.certificate", "httpRoute.enabled", "autoscaling.source"):
        assert f"- {name}: this cluster does not have" in why


def test_the_networks_of_policies_are_in_the_form_that_kubernetes_asks_for() -> None:
    found = json.dumps(rendering.scenario("network"))
    cidrs = {part.split('"')[0] for part in found.split('"cidr": "')[1:]}
    for policy in rendering.of_kind(rendering.scenario("network"), "NetworkPolicy"):
        for rule in policy["spec"].get("egress", []):
            for peer in rule.get("to", []):
                cidrs |= set(peer.get("ipBlock", {}).get("except", []))
    assert len(cidrs) > 20
    for cidr in cidrs:
        assert str(ipaddress.ip_network(cidr)) == cidr
