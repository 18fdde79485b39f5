"""What must fit together in the rendered objects, and would otherwise fail only in a cluster."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from services.analytics.settings import AnalyticsSettings
from services.delivery.settings import DeliverySettings
from services.ingest.settings import IngestSettings
from tests.chart import rendering
from tests.chart.rendering import Object

# Where a role listens that is not told otherwise.
USUAL_PORTS = {
    role: str(settings.model_fields["grpc_port"].default)
    for role, settings in (("ingest", IngestSettings), ("delivery", DeliverySettings), ("analytics", AnalyticsSettings))
}
LONG = "a" * 40 + "-" + "b" * 12
# The limit of a name that is used for a label, a host name, or other names.
LIMITS = {"Service": 63, "Job": 63, "StatefulSet": 52, "Deployment": 52, "ConfigMap": 63, "Secret": 63, "Pod": 63}


@pytest.fixture(params=rendering.SCENARIOS)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return rendering.scenario(request.param)


def matches(selector: dict[str, str], template: Object) -> bool:
    labels: dict[str, str] = template["metadata"]["labels"]
    return selector.items() <= labels.items()


def selectors(objects: list[Object]) -> Iterator[tuple[str, dict[str, str]]]:
    for found in rendering.of_kind(objects, "Deployment", "StatefulSet", "PodDisruptionBudget"):
        yield f"{found['kind']}/{found['metadata']['name']}", found["spec"]["selector"]["matchLabels"]
    for found in rendering.of_kind(objects, "Service"):
        yield f"Service/{found['metadata']['name']}", found["spec"]["selector"]


def test_selectors_match_the_pods_of_one_template(objects: list[Object]) -> None:
    for name, selector in selectors(objects):
        matched = [pod for pod, template in rendering.pod_templates(objects) if matches(selector, template)]
        assert len(matched) == 1, f"{name} selects {matched}"


def test_spreading_counts_the_pods_own_kind(objects: list[Object]) -> None:
    for name, template in rendering.pod_templates(objects):
        for constraint in template["spec"].get("topologySpreadConstraints", []):
            assert matches(constraint["labelSelector"]["matchLabels"], template), name


def test_ports_line_up(objects: list[Object]) -> None:
    for service in rendering.of_kind(objects, "Service"):
        selector = service["spec"]["selector"]
        (template,) = (each for _, each in rendering.pod_templates(objects) if matches(selector, each))
        ports = {
            port["name"]: port["containerPort"]
            for each in rendering.containers(template)
            for port in each.get("ports", [])
        }
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in ports
            # A headless service does not translate ports.
            assert service["spec"].get("clusterIP") != "None" or port["port"] == ports[port["targetPort"]]


def test_processes_listen_where_services_and_probes_look(objects: list[Object]) -> None:
    for roles, pod in rendering.deployments(objects):
        (container,) = pod["containers"]
        environment = rendering.environment(objects, container)
        ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
        assert environment["METRICS_PORT"] == ports["metrics"]
        assert environment.get("PORT") == ports.get("http")
        serving = {f"grpc-{role}": USUAL_PORTS[role] for role in roles if role in USUAL_PORTS}
        assert {name: port for name, port in ports.items() if name.startswith("grpc-")} == serving
        # With the variable, all roles of a process would have that one port.
        assert environment.get("GRPC_PORT") == (next(iter(serving.values())) if len(serving) == 1 else None)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["port"] == "metrics"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_the_gateway_calls_services_that_exist(objects: list[Object]) -> None:
    (gateway,) = rendering.named(objects, "Deployment", "-gateway")["spec"]["template"]["spec"]["containers"]
    environment = rendering.environment(objects, gateway)
    for component in ("ingest", "delivery", "analytics"):
        service = rendering.named(objects, "Service", f"-{component}")
        (port,) = (port for port in service["spec"]["ports"] if port["name"] == "grpc")
        assert environment[f"{component.upper()}_ADDR"] == f"dns:///{service['metadata']['name']}:{port['port']}"
        # One address per pod: calls are balanced, not connections.
        assert service["spec"]["clusterIP"] == "None"


def test_pods_do_not_run_as_root_and_may_not_become_it(objects: list[Object]) -> None:
    for name, template in rendering.pod_templates(objects):
        pod = template["spec"]["securityContext"]
        assert pod["runAsNonRoot"] is True, name
        assert pod.get("runAsUser", 1) > 0, name
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in rendering.containers(template):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert not own.get("privileged"), name


def test_pods_ask_for_nothing_of_the_cluster(objects: list[Object]) -> None:
    for name, template in rendering.pod_templates(objects):
        assert template["spec"]["automountServiceAccountToken"] is False, name
        assert template["spec"]["enableServiceLinks"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & template["spec"].keys(), name
        assert not [volume for volume in template["spec"].get("volumes", []) if "hostPath" in volume], name


def test_images_are_pinned(objects: list[Object]) -> None:
    for name, template in rendering.pod_templates(objects):
        for container in rendering.containers(template):
            assert re.search(r":v?[0-9]+(\.[0-9]+)+[\w.-]*$|@sha256:[0-9a-f]{64}$", container["image"]), name


def test_containers_declare_their_resource_requests(objects: list[Object]) -> None:
    for name, template in rendering.pod_templates(objects):
        for container in rendering.containers(template):
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
            assert "memory" in container["resources"]["limits"], name


def test_mounts_have_their_volumes(objects: list[Object]) -> None:
    claims = {"data"}
    for name, template in rendering.pod_templates(objects):
        volumes = {volume["name"] for volume in template["spec"].get("volumes", [])} | claims
        for container in rendering.containers(template):
            mounts = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes, name
            assert "/tmp" in mounts, f"{name} has a read-only root and nowhere to write"
            assert len(mounts) == len(set(mounts)), name


def test_references_lead_to_objects_of_the_chart_or_of_the_user(objects: list[Object]) -> None:
    there = {(found["kind"], found["metadata"]["name"]) for found in objects}
    brought = {
        "webhook-keys",
        "webhook-postgres",
        "webhook-redis",
        "postgres-ca",
        "redis-ca",
        "registry",
        "shop-outbox",
        "webhook-oidc",
    }
    brought |= {"collector", "collector-ca"}
    for _, template in rendering.pod_templates(objects):
        account = template["spec"].get("serviceAccountName", "default")
        assert account == "default" or ("ServiceAccount", account) in there
        for container in rendering.containers(template):
            for entry in container.get("env", []):
                reference = entry.get("valueFrom", {}).get("secretKeyRef")
                assert reference is None or reference["name"] in brought or ("Secret", reference["name"]) in there
                if reference and ("Secret", reference["name"]) in there:
                    secret = rendering.named(objects, "Secret", reference["name"])
                    assert reference["key"] in secret["data"]


def drain_seconds(objects: list[Object], component: str) -> int:
    """Return how long a pod still answers after it was told to stop; its grace period comes after that."""
    pod = rendering.named(objects, "Deployment", f"-{component}")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    variables = rendering.environment(objects, container)
    assert "lifecycle" not in container
    seconds = int(variables.get("DRAIN_SECONDS", 0))
    grace = int(variables["SHUTDOWN_GRACE_SECONDS"])
    assert pod["terminationGracePeriodSeconds"] == seconds + grace + 10
    return seconds


@pytest.mark.parametrize(
    ("layout", "component"), [process[:2] for process in rendering.PROCESSES if process[2] != ("worker",)]
)
def test_servers_go_on_longer_than_dns_caches_their_addresses(layout: str, component: str) -> None:
    def drain(values: dict[str, Any]) -> int:
        return drain_seconds(rendering.rendered(rendering.STORES | {"layout": layout} | values), component)

    assert drain({}) == 35
    assert drain({"shutdown": {"preStopSeconds": 10}}) == 10
    assert drain({component: {"preStopSeconds": 90}}) == 90
    assert drain({component: {"preStopSeconds": 0}}) == 0


def test_workers_have_no_drain_delay_because_they_serve_no_calls() -> None:
    assert drain_seconds(rendering.rendered(rendering.STORES), "worker") == 0


def test_pods_are_killed_only_after_they_had_their_time(objects: list[Object]) -> None:
    for found in rendering.of_kind(objects, "Deployment"):
        component = found["metadata"]["labels"]["app.kubernetes.io/component"]
        assert (drain_seconds(objects, component) > 0) == (
            found["spec"]["template"]["spec"]["containers"][0]["args"] not in (["worker"], ["relay"])
        )


def test_a_drain_is_never_held_up(objects: list[Object]) -> None:
    budgets = rendering.of_kind(objects, "PodDisruptionBudget")
    assert len(budgets) == len(rendering.of_kind(objects, "Deployment"))
    for budget in budgets:
        assert budget["spec"]["maxUnavailable"] == 1
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@pytest.mark.parametrize(
    "release", [LONG, "a" * 53, "webhook-service", "w", "9lives", "shop.v2", "1" * 53, "a." * 26 + "a"]
)
@pytest.mark.parametrize("scenario", ["minimal", "production", "network", "compact"])
def test_names_hold_for_every_release(scenario: str, release: str) -> None:
    _names_hold(rendering.scenario(scenario, release=release))


@pytest.mark.parametrize("name", ["hooks.v2", "9lives", "Hooks", "my_hooks", "a" * 63, "a" * 39 + ".b"])
def test_names_hold_for_every_name_of_the_chart(name: str) -> None:
    _names_hold(rendering.rendered(rendering.STORES | {"nameOverride": name}))


def _names_hold(objects: list[Object]) -> None:
    names = [(found["kind"], found["metadata"]["name"]) for found in objects]
    assert len(names) == len(set(names))
    for found in objects:
        name = found["metadata"]["name"]
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
        assert len(name) <= LIMITS.get(found["kind"], 253), name
        for value in found["metadata"]["labels"].values():
            assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", value)
    # Room for future revisions.
    assert len(rendering.of_kind(objects, "Job")[0]["metadata"]["name"]) <= 63 - 4


def test_long_releases_that_begin_alike_do_not_meet() -> None:
    names = {
        rendering.named(rendering.rendered(rendering.STORES, release="a" * 52 + end), "Service", "-gateway")[
            "metadata"
        ]["name"]
        for end in "xy"
    }
    assert len(names) == 2


def test_releases_whose_names_are_changed_do_not_meet() -> None:
    releases = ("shop.v2", "shop-v2", "9lives", "w9lives")
    names = {
        rendering.named(rendering.rendered(rendering.STORES, release=release), "Service", "-gateway")["metadata"][
            "name"
        ]
        for release in releases
    }
    assert len(names) == len(releases)


def test_custom_labels_are_on_objects_and_pods_and_in_no_selector() -> None:
    values = rendering.STORES | {
        "commonLabels": {"cost": "1"},
        "podLabels": {"mesh": "on"},
        "worker": {"podLabels": {"a": "b"}},
    }
    objects = rendering.rendered(values)
    for found in objects:
        assert found["metadata"]["labels"]["cost"] == "1"
    for _, selector in selectors(objects):
        assert not selector.keys() & {"cost", "mesh", "a"}
    worker = rendering.named(objects, "Deployment", "-worker")["spec"]["template"]["metadata"]["labels"]
    assert worker.items() >= {"cost": "1", "mesh": "on", "a": "b"}.items()
    gateway = rendering.named(objects, "Deployment", "-gateway")["spec"]["template"]["metadata"]["labels"]
    assert gateway["mesh"] == "on"
    assert "a" not in gateway


def test_names_of_only_digits_are_text() -> None:
    everything = rendering.CHART / "ci/everything-values.yaml"
    values = {"nameOverride": "2026", "autoscaling": {"source": "prometheus-adapter"}}
    done = rendering.helm(
        "template", "1234", str(rendering.CHART), "--namespace", "0815", "--values", str(everything), values=values
    )
    assert done.returncode == 0, done.stderr
    found = list(rendering.parsed(done.stdout))
    for each in found:
        assert each["metadata"]["namespace"] == "0815"
    for name, selector in selectors(found):
        assert selector["app.kubernetes.io/instance"] == "1234", name
        assert selector["app.kubernetes.io/name"] == "2026", name
    for monitor in rendering.of_kind(found, "ServiceMonitor", "PodMonitor"):
        assert monitor["spec"]["namespaceSelector"]["matchNames"] == ["0815"]
        assert monitor["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"] == "1234"
    for policy in rendering.of_kind(found, "NetworkPolicy"):
        assert policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "1234"
    for metric in rendering.named(found, "HorizontalPodAutoscaler", "-worker")["spec"]["metrics"]:
        labels = metric["external"]["metric"]["selector"]["matchLabels"]
        assert labels == {"namespace": "0815", "release": "1234"}


def test_labels_of_a_monitor_replace_those_of_the_chart() -> None:
    labels = {"app.kubernetes.io/instance": "prometheus", "release": "prometheus"}
    values = rendering.STORES | {"monitoring": {"serviceMonitor": {"enabled": True, "labels": labels}}}
    (monitor,) = rendering.of_kind(rendering.rendered(values), "ServiceMonitor")
    assert monitor["metadata"]["labels"].items() >= labels.items()
    assert monitor["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"] == "demo"


def test_the_migration_is_a_plain_job_with_a_name_for_each_revision_and_content() -> None:
    (job,) = rendering.of_kind(rendering.rendered(rendering.STORES), "Job")
    assert not [name for name in job["metadata"].get("annotations", {}) if name.startswith("helm.sh/hook")]
    assert re.search(r"-migrate-1-[0-9a-f]{8}$", job["metadata"]["name"])
    (other,) = rendering.of_kind(rendering.rendered(rendering.STORES | {"image": {"tag": "0.2.0"}}), "Job")
    assert other["metadata"]["name"] != job["metadata"]["name"]


@pytest.mark.parametrize("layout", rendering.LAYOUTS)
def test_pods_with_a_store_wait_for_the_schema_and_the_others_get_no_password(layout: str) -> None:
    objects = rendering.rendered(rendering.STORES | {"layout": layout})
    for roles, pod in rendering.deployments(objects):
        waiting = [container["args"] for container in pod.get("initContainers", [])]
        stores = set(roles) > {"gateway"} or "gateway" not in roles
        assert waiting == ([["wait"]] if stores else [])
        names = rendering.environment(objects, pod["containers"][0])
        assert ("POSTGRES_PASSWORD" in names) is stores
        assert ("REDIS_PASSWORD" in names) is bool({"ingest", "delivery", "worker"} & set(roles))


def test_immutable_fields_contain_nothing_that_changes() -> None:
    values = rendering.STORES | {"commonLabels": {"team": "a"}, "image": {"tag": "0.2.0"}}
    for before, after in zip(
        rendering.of_kind(rendering.rendered(rendering.STORES), "StatefulSet", "Deployment"),
        rendering.of_kind(rendering.rendered(values), "StatefulSet", "Deployment"),
        strict=True,
    ):
        for field in ("selector", "serviceName", "volumeClaimTemplates"):
            assert before["spec"].get(field) == after["spec"].get(field)


def test_generated_secrets_outlive_the_release() -> None:
    secrets = rendering.of_kind(rendering.scenario("minimal"), "Secret")
    assert len(secrets) == 2
    for secret in secrets:
        assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert not rendering.of_kind(rendering.scenario("production"), "Secret")


@pytest.mark.parametrize("layout", rendering.LAYOUTS)
def test_a_change_of_settings_restarts_only_the_pods_that_read_it(layout: str) -> None:
    def checksums(values: dict[str, Any]) -> dict[str, str]:
        objects = rendering.rendered(rendering.STORES | {"layout": layout} | values)
        return {
            component: rendering.named(objects, "Deployment", f"-{component}")["spec"]["template"]["metadata"][
                "annotations"
            ]["checksum/config"]
            for component in rendering.LAYOUTS[layout]
        }

    before, after = checksums({}), checksums({"settings": {"WORKER_CONCURRENCY": 9}})
    assert [component for component in before if before[component] != after[component]] == ["worker"]


def test_large_numbers_are_written_out() -> None:
    settings = {"STORED_RESPONSE_BYTES": 16777216, "RETRY_BASE_SECONDS": 0.25, "RETRY_LIMIT": 0}
    data = rendering.named(rendering.rendered(rendering.STORES | {"settings": settings}), "ConfigMap", "-worker")[
        "data"
    ]
    assert [data[name] for name in settings] == ["16777216", "0.25", "0"]


def test_the_test_may_reach_its_receiver_and_nothing_else() -> None:
    objects = rendering.rendered(rendering.STORES)
    allowed = rendering.named(objects, "ConfigMap", "-worker")["data"]["EGRESS_ALLOW"]
    receiver = rendering.named(objects, "Service", "-test-receiver")
    assert allowed == f"{receiver['metadata']['name']}:8080"
    assert rendering.named(objects, "ConfigMap", "-ingest")["data"]["EGRESS_ALLOW"] == allowed
    pod = rendering.named(objects, "Pod", "-test")
    assert rendering.environment(objects, pod["spec"]["containers"][0])["RECEIVER_URL"] == f"http://{allowed}/"
    for found in (receiver, pod):
        assert found["metadata"]["annotations"]["helm.sh/hook"] == "test"
    without = rendering.rendered(rendering.STORES | {"tests": {"enabled": False}})
    assert rendering.named(without, "ConfigMap", "-worker")["data"]["EGRESS_ALLOW"] == ""


def test_migrations_go_past_a_pooler() -> None:
    objects = rendering.scenario("gitops")
    (job,) = rendering.of_kind(objects, "Job")
    keys = {
        name: [
            entry["valueFrom"]["secretKeyRef"]["key"] for entry in container["env"] if entry["name"] == "DATABASE_URL"
        ]
        for name, template in rendering.pod_templates([job, rendering.named(objects, "Deployment", "-worker")])
        for container in template["spec"]["containers"]
    }
    assert list(keys.values()) == [["direct-url"], ["pooler-url"]]
    for component in ("ingest", "delivery", "worker", "analytics"):
        assert rendering.named(objects, "ConfigMap", f"-{component}")["data"]["POSTGRES_POOLER"] == "transaction"
    values = {"externalPostgresql": {"host": "pooler", "directHost": "postgres"}, "redis": {"enabled": True}}
    (job,) = rendering.of_kind(rendering.rendered(values), "Job")
    assert rendering.environment([], job["spec"]["template"]["spec"]["containers"][0])["POSTGRES_HOST"] == "postgres"


def test_values_of_one_component_come_on_top() -> None:
    values: dict[str, Any] = rendering.STORES | {
        "nodeSelector": {"arch": "amd64"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "commonAnnotations": {"owner": "us"},
        "podLabels": {"mesh": "on"},
        "worker": {
            "nodeSelector": {"pool": "workers"},
            "podAnnotations": {"restarted": "1"},
            "extraVolumes": [{"name": "more", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
        },
    }
    template = rendering.named(rendering.rendered(values), "Deployment", "-worker")["spec"]["template"]
    assert template["spec"]["nodeSelector"] == {"arch": "amd64", "pool": "workers"}
    assert template["spec"]["tolerations"] == values["tolerations"]
    assert template["spec"]["affinity"] == values["affinity"]
    assert template["metadata"]["annotations"].items() >= {"owner": "us", "restarted": "1"}.items()
    assert template["metadata"]["labels"]["mesh"] == "on"
    assert "/more" in [mount["mountPath"] for mount in template["spec"]["containers"][0]["volumeMounts"]]
