"""The migration Job: how it ends, which user it runs as, and what happens to a failed one."""

from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its types are in no lock

from services.schema import wait as process
from tests.chart import rendering
from tests.chart.release import api

EXTERNAL = {"externalRedis": {"addr": "redis:6379"}}
RUNTIME = {"host": "db", "existingSecret": "s", "runtimeUser": "lesser", "runtimePasswordKey": "lesser-password"}


def job(values: rendering.Object) -> rendering.Object:
    (found,) = rendering.of_kind(rendering.rendered(values), "Job")
    return found


def variables(container: rendering.Object) -> dict[str, Any]:
    return {
        entry["name"]: entry.get("value") or entry["valueFrom"]["secretKeyRef"]["key"] for entry in container["env"]
    }


def test_a_migration_that_fails_is_not_tried_again() -> None:
    spec = job(rendering.STORES)["spec"]
    (fail, ignore) = spec["podFailurePolicy"]["rules"]
    assert fail["action"] == "FailJob"
    assert fail["onExitCodes"]["values"] == [2, process.FAILED]
    assert process.UNUSABLE not in fail["onExitCodes"]["values"]
    assert ignore == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    template = spec["template"]["spec"]
    # The conditions of a pod failure policy.
    assert template["restartPolicy"] == "Never"
    (container,) = template["containers"]
    assert (container["name"], container["args"]) == (fail["onExitCodes"]["containerName"], ["migrate"])
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_the_instructions_wait_for_the_job() -> None:
    """Otherwise a failed migration is noticed only when pods have waited for ten minutes."""
    for path in ("docs/guides/kubernetes.md", "scripts/kind.sh"):
        lines = [line for line in (rendering.ROOT / path).read_text().splitlines() if "--wait --" in line]
        assert lines
        assert all("--wait --wait-for-jobs --timeout 10m" in line for line in lines)


@pytest.mark.parametrize("layout", rendering.LAYOUTS)
def test_a_lesser_role_is_for_those_that_change_no_schema(layout: str) -> None:
    objects = rendering.rendered(EXTERNAL | {"layout": layout, "externalPostgresql": RUNTIME})
    for roles, pod in rendering.deployments(objects):
        for container in (*pod.get("initContainers", []), *pod["containers"]):
            found = variables(container)
            if roles == ("gateway",):
                assert "POSTGRES_USER" not in found
                continue
            logs_in = (found["POSTGRES_USER"], found["POSTGRES_PASSWORD"])
            owner = "analytics" in roles
            assert logs_in == (("webhook", "password") if owner else ("lesser", "lesser-password"))
            assert "POSTGRES_RUNTIME_USER" not in found
    (migrate,) = job(EXTERNAL | {"externalPostgresql": RUNTIME})["spec"]["template"]["spec"]["containers"]
    found = variables(migrate)
    assert (found["POSTGRES_USER"], found["POSTGRES_RUNTIME_USER"]) == ("webhook", "lesser")


def test_a_lesser_role_has_a_url_of_its_own() -> None:
    urls = {"existingSecret": "s", "databaseUrlKey": "url", "runtimeUser": "lesser", "runtimeUrlKey": "lesser-url"}
    objects = rendering.rendered(EXTERNAL | {"externalPostgresql": urls})
    for component, key in (("worker", "lesser-url"), ("analytics", "url")):
        (container,) = rendering.named(objects, "Deployment", f"-{component}")["spec"]["template"]["spec"]["containers"]
        assert variables(container)["DATABASE_URL"] == key


@pytest.mark.parametrize(
    ("left_out", "values"),
    [
        ("runtimePasswordKey", {"host": "db", "existingSecret": "s", "runtimeUser": "lesser"}),
        ("runtimeUrlKey", {"existingSecret": "s", "databaseUrlKey": "url", "runtimeUser": "lesser"}),
    ],
)
def test_a_lesser_role_without_its_secret_is_refused(left_out: str, values: rendering.Object) -> None:
    assert f"externalPostgresql.{left_out}" in rendering.refused(EXTERNAL | {"externalPostgresql": values})


def test_the_trial_postgres_makes_a_plain_owner() -> None:
    objects = rendering.rendered(rendering.STORES)
    pod = rendering.named(objects, "StatefulSet", "-postgresql")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    # The image would make POSTGRES_USER a superuser.
    assert variables(container).keys() == {"POSTGRES_PASSWORD", "PGDATA"}
    (mount,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/docker-entrypoint-initdb.d"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == mount["name"]]
    data = rendering.named(objects, "ConfigMap", "-postgresql")["data"]
    assert volume["configMap"]["name"] == rendering.named(objects, "ConfigMap", "-postgresql")["metadata"]["name"]
    assert data["owner.sql"].strip() == (rendering.CHART / "files/postgresql.sql").read_text().strip()


@pytest.mark.parametrize("program", rendering.HELMS)
def test_the_job_of_a_failed_revision_goes_with_the_next_upgrade(program: str, tmp_path: Path) -> None:
    def left(name: str, condition: str, **labels: str) -> rendering.Object:
        ours = {"app.kubernetes.io/instance": "demo", "app.kubernetes.io/component": "migrate"}
        others = {f"app.kubernetes.io/{key}": value for key, value in labels.items()}
        metadata = {"name": name, "namespace": "webhook", "labels": ours | others}
        status = {"conditions": [{"type": condition, "status": "True"}]}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "status": status}

    jobs = [
        left("demo-migrate-2-failed", "Failed"),
        left("demo-migrate-1-deployed", "Complete"),
        left("another-migrate-2-failed", "Failed", instance="another"),
        left("demo-other-failed", "Failed", component="backup"),
    ]
    with api.serving(tmp_path, "webhook", jobs) as kubeconfig:
        arguments = ("template", "demo", str(rendering.CHART), "--namespace", "webhook", "--dry-run=server")
        only = ("--show-only", "templates/migrations/leftovers.yaml", "--disable-openapi-validation")
        done = rendering.helm(
            *arguments, "--is-upgrade", *only, "--kubeconfig", str(kubeconfig), program=program, values=rendering.STORES
        )
    assert done.returncode == 0, done.stderr
    (hook,) = [found for found in yaml.safe_load_all(done.stdout) if found]
    assert (hook["kind"], hook["metadata"]["name"]) == ("Job", "demo-migrate-2-failed")
    annotations = hook["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "pre-upgrade"
    # The first install removes the failed Job, the others its replacement.
    assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded,hook-failed"
    # Complete from the start, without a pod.
    assert (hook["spec"]["completions"], hook["spec"]["parallelism"]) == (0, 0)
