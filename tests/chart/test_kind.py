"""What `make kind-up` applies, and its checks before that."""

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate  # type: ignore[import-not-found,import-untyped,unused-ignore]
import pytest
import yaml  # type: ignore[import-untyped]  # its types are in no lock

from tests.chart import rendering
from tests.chart.rendering import ROOT, Object

SCRIPT = ROOT / "scripts/kind.sh"
# What the script needs, besides the programs that it reports as missing.
PLAIN = ("sh", "dirname", "basename", "sed", "cat", "grep", "mktemp", "rm", "date", "sleep")
# A fake program that records its arguments, and responds like a healthy cluster.
RECORDER = """#!/bin/sh
printf '%s\\n' "$(basename "$0") $*" >>"$CALLS"
case "$*" in
    *' --raw '*) printf '%s' '{"items": [{"value": "0"}]}' ;;
    'image inspect'*) printf '%s' sha256:abc ;;
    *'apply --filename -') cat >/dev/null ;;
esac
"""


@functools.cache
def _manifests() -> str:
    done = subprocess.run([SCRIPT, "manifests"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def objects() -> list[Object]:
    return list(rendering.parsed(_manifests()))


def names(objects: list[Object], kind: str) -> set[str]:
    return {found["metadata"]["name"] for found in rendering.of_kind(objects, kind)}


@pytest.mark.parametrize("version", ["1.27", "1.33", "1.37"])
def test_manifests_fit_their_schemas(objects: list[Object], version: str) -> None:
    assert len(objects) > 15
    for found in objects:
        kubernetes_validate.validate(found, version, strict=True)


def test_references_of_manifests_are_among_them(objects: list[Object]) -> None:
    for found in rendering.of_kind(objects, "Deployment"):
        spec = found["spec"]["template"]["spec"]
        assert spec.get("serviceAccountName", "default") in names(objects, "ServiceAccount") | {"default"}
        for volume in spec["volumes"]:
            assert "configMap" not in volume or volume["configMap"]["name"] in names(objects, "ConfigMap")
    for service in rendering.of_kind(objects, "Service"):
        labels = [each["spec"]["template"]["metadata"]["labels"] for each in rendering.of_kind(objects, "Deployment")]
        assert sum(service["spec"]["selector"].items() <= each.items() for each in labels) == 1
    (api,) = rendering.of_kind(objects, "APIService")
    assert api["spec"]["service"]["name"] in names(objects, "Service")
    assert {binding["roleRef"]["name"] for binding in rendering.of_kind(objects, "ClusterRoleBinding")} <= (
        names(objects, "ClusterRole") | {"system:auth-delegator"}
    )


def test_pods_are_pinned_and_confined(objects: list[Object]) -> None:
    for name, template in rendering.pod_templates(objects):
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True, name
        for container in rendering.containers(template):
            assert re.search(r":v?[0-9]+(\.[0-9]+)+(@sha256:[0-9a-f]{64})?$", container["image"]), name
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name


def test_the_adapter_gets_the_rules_of_the_chart(objects: list[Object]) -> None:
    (configuration,) = (
        found["data"] for found in rendering.of_kind(objects, "ConfigMap") if "config.yaml" in found["data"]
    )
    rules = yaml.safe_load((rendering.CHART / "files/prometheus-adapter-rules.yaml").read_text())
    assert yaml.safe_load(configuration["config.yaml"]) == {"externalRules": rules}


def test_the_receiver_is_what_deliveries_may_reach_and_runs_from_the_loaded_image(objects: list[Object]) -> None:
    chart = rendering.scenario("kind", release="webhook")
    service = rendering.named(objects, "Service", "demo-receiver")
    (port,) = service["spec"]["ports"]
    allowed = rendering.named(chart, "ConfigMap", "-worker")["data"]["EGRESS_ALLOW"].split(",")
    assert f"{service['metadata']['name']}:{port['port']}" in allowed
    (receiver,) = rendering.named(objects, "Deployment", "demo-receiver")["spec"]["template"]["spec"]["containers"]
    (worker,) = rendering.named(chart, "Deployment", "-worker")["spec"]["template"]["spec"]["containers"]
    assert receiver["image"] == worker["image"]
    assert receiver["imagePullPolicy"] == worker["imagePullPolicy"] == "Never"


def test_the_cluster_leads_its_port_to_the_gateway() -> None:
    (control_plane, *workers) = yaml.safe_load((ROOT / "kind-config.yaml").read_text())["nodes"]
    (mapping,) = control_plane["extraPortMappings"]
    (port,) = rendering.named(rendering.scenario("kind"), "Service", "-gateway")["spec"]["ports"]
    assert mapping["containerPort"] == port["nodePort"]
    assert (mapping["listenAddress"], mapping["hostPort"]) == ("127.0.0.1", 8080)
    assert [node["role"] for node in workers] == ["worker", "worker"]


def test_a_laptop_sees_workers_come_and_go_by_depth() -> None:
    objects = rendering.scenario("kind")
    (autoscaler,) = rendering.of_kind(objects, "HorizontalPodAutoscaler")
    spec = autoscaler["spec"]
    assert (spec["scaleTargetRef"]["name"], spec["minReplicas"], spec["maxReplicas"]) == (
        rendering.named(objects, "Deployment", "-worker")["metadata"]["name"],
        1,
        5,
    )
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] <= 60


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with only the most basic programs."""
    for program in PLAIN:
        (tmp_path / program).symlink_to(shutil.which(program) or "")
    return tmp_path


def run(command: str, path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": str(path), "HOME": os.environ.get("HOME", "/"), **environment}
    return subprocess.run([SCRIPT, command], env=variables, capture_output=True, text=True, check=False)


def test_missing_programs_are_named_with_their_source(bare: Path) -> None:
    done = run("up", bare)
    assert done.returncode == 1
    for program in ("kind", "kubectl", "helm"):
        assert re.search(rf"^{program} .*is missing: https://", done.stderr, re.MULTILINE)
    assert run("demo", bare).returncode == run("down", bare).returncode == 1


def test_a_missing_engine_is_reported(bare: Path) -> None:
    for program in ("kind", "kubectl", "helm"):
        (bare / program).symlink_to(shutil.which("true") or "")
    done = run("up", bare)
    assert done.returncode == 1
    assert "start docker or podman" in done.stderr


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_up_runs_every_step_from_the_cluster_to_the_first_metrics(bare: Path, engine: str) -> None:
    for program in ("kind", "kubectl", "helm", engine):
        (bare / program).write_text(RECORDER)
        (bare / program).chmod(0o755)
    calls = bare / "calls"
    done = run("up", bare, CALLS=str(calls))
    assert done.returncode == 0, done.stderr
    found = calls.read_text()
    steps = [
        "kind create cluster --config kind-config.yaml",
        # The same sources give the same image, and pods are restarted when its id changes.
        rf"{engine} build .*--build-arg CREATED= \.",
        f"{engine} save localhost/webhook-service:",
        "kind load image-archive",
        "kubectl --context kind-webhook apply --filename -",
        # Helm reports an error for an API that is announced but does not respond.
        "kubectl --context kind-webhook --namespace monitoring rollout status deployment/prometheus-adapter",
        "kubectl --context kind-webhook wait apiservice/v1beta1.external.metrics.k8s.io",
        "helm --kube-context kind-webhook upgrade --install webhook .*podAnnotations.image-id=sha256:abc",
        "kubectl .*/webhook_queue_depth",
        "kubectl .*/webhook_busy_workers",
    ]
    assert re.search(".*".join(f"^{step}" for step in steps), found, re.MULTILINE | re.DOTALL), found
    assert "http://localhost:8080" in done.stdout


def test_unknown_command_prints_the_usage(bare: Path) -> None:
    done = run("upp", bare)
    assert done.returncode == 2
    assert "usage: scripts/kind.sh up|demo|down" in done.stderr
