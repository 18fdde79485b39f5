"""Render the chart with Helm, and find things in the output."""

import functools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # its types are in no lock

Object = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/webhook-service"
SCENARIOS = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
HELMS = ("helm3", "helm4")
# Of the default layout, where each role has a Deployment.
COMPONENTS = ("gateway", "ingest", "delivery", "worker", "analytics")
# By layout: its Deployments, and the roles of their processes.
LAYOUTS: dict[str, dict[str, list[str]]] = yaml.safe_load((CHART / "files/layouts.yaml").read_text())
# Each Deployment of each layout, and its roles.
PROCESSES = [
    (layout, component, tuple(roles)) for layout, found in LAYOUTS.items() for component, roles in found.items()
]
NAMESPACE = "webhook"
# How people sign in, besides with a key.
OIDC: dict[str, Any] = {
    "issuer": "https://login.example.com/realms/staff",
    "clientId": "webhooks",
    "existingSecret": "webhook-oidc",
    "redirectUrl": "https://webhooks.example.com/console/oidc/callback",
    "groupRoles": [{"group": "CN=ops, staff", "role": "admin"}, {"group": "acme", "role": "read", "tenant_id": "acme"}],
}
# Values that every installation needs.
STORES = {"postgresql": {"enabled": True}, "redis": {"enabled": True}}


def helm(*arguments: str, program: str = "helm4", values: Object | None = None) -> subprocess.CompletedProcess[str]:
    """Run Helm on the chart with more values on standard input; each command runs only once."""
    return _run((program, *arguments, "--values", "-"), json.dumps(values or {}))


@functools.cache
def _run(command: tuple[str, ...], text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def scenario(name: str, *, program: str = "helm4", version: str = "1.33.0", release: str = "demo") -> list[Object]:
    """Return the objects of one of the files in ci/."""
    path = CHART / f"ci/{name}-values.yaml"
    arguments = ("template", release, str(CHART), "--namespace", NAMESPACE, "--kube-version", version)
    done = helm(*arguments, "--values", str(path), program=program)
    assert done.returncode == 0, done.stderr
    return list(parsed(done.stdout))


def rendered(values: Object, *options: str, release: str = "demo", chart: Path = CHART) -> list[Object]:
    """Return the objects for some values."""
    done = helm("template", release, str(chart), "--namespace", NAMESPACE, *options, values=values)
    assert done.returncode == 0, done.stderr
    return list(parsed(done.stdout))


def refused(values: Object, *options: str, program: str = "helm4", chart: Path = CHART) -> str:
    """Return why Helm does not render these values; fail if it does."""
    done = helm("template", "demo", str(chart), *options, program=program, values=values)
    assert done.returncode != 0, "was rendered"
    return done.stderr


class _Strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc,unused-ignore]
    """Refuse a repeated key, of which YAML parsers take either value. libyaml is ten times faster."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - PyYAML's signature
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"duplicate keys: {sorted(keys)} at {node.start_mark}"
        return super().construct_mapping(node, deep=deep)


def parsed(text: str) -> Iterator[Object]:
    """Return the objects of a stream of documents."""
    for document in yaml.load_all(text, _Strict):
        if document:
            yield document


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """Return the objects of some kinds."""
    return [found for found in objects if found["kind"] in kinds]


def named(objects: list[Object], kind: str, ending: str) -> Object:
    """Return the only object of a kind whose name has this suffix."""
    (found,) = (each for each in of_kind(objects, kind) if each["metadata"]["name"].endswith(ending))
    return found


def deployments(objects: list[Object]) -> Iterator[tuple[tuple[str, ...], Object]]:
    """Yield the roles of each Deployment, as its processes are told, and its pod."""
    for found in of_kind(objects, "Deployment"):
        pod: Object = found["spec"]["template"]["spec"]
        yield tuple(pod["containers"][0]["args"]), pod


def pod_templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Yield everything that becomes a pod: kind/name, and an object with `metadata` and `spec`."""
    for found in of_kind(objects, "Deployment", "StatefulSet", "Job", "Pod"):
        template = found if found["kind"] == "Pod" else found["spec"]["template"]
        yield f"{found['kind']}/{found['metadata']['name']}", template


def containers(template: Object) -> list[Object]:
    """Return all containers of a pod, including init containers."""
    spec = template["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def environment(objects: list[Object], container: Object) -> dict[str, str]:
    """Return the variables of a container; for those from Secrets, only the name."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= named(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    return found | {entry["name"]: entry.get("value", "") for entry in container.get("env", [])}
