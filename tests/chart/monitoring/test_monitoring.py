"""The monitors and alerts of the chart, as the Prometheus Operator and Prometheus understand them."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its types are in no lock

from tests.chart import rendering
from tests.chart.rendering import CHART, ROOT, Object

ALERTS = sorted(path.stem for path in (CHART / "files/alerts").glob("*.yaml"))
# In promtool's format: scraped series, and when which alert fires.
TESTS = ROOT / "tests/chart/alerts"
RELEASES = ("demo", "other")
MONITORING: dict[str, Object] = {
    "serviceMonitor": {"enabled": True, "labels": {"release": "kube-prometheus-stack"}},
    "podMonitor": {"enabled": True, "interval": "15s", "scrapeTimeout": "5s"},
    "prometheusRule": {"enabled": True},
}
MONITORED: Object = rendering.STORES | {"monitoring": MONITORING}
# With relays, because one alert is only for these.
RELAY: Object = {"relay": {"enabled": True, "existingSecret": "shop-outbox"}}
# Labels that the monitors add to every series, and Prometheus to histograms.
SCRAPED = {"namespace", "release", "component", "pod", "le"}
# Metrics of Prometheus itself, and of the client library.
OTHERS = {
    "up": set[str](),
    "process_start_time_seconds": set[str](),
    "process_cpu_seconds_total": set[str](),
    "process_resident_memory_bytes": set[str](),
}


def customs(values: Object = MONITORED, release: str = "demo") -> list[Object]:
    """Return the operator's resources for these values."""
    return rendering.of_kind(
        rendering.rendered(values, release=release), "ServiceMonitor", "PodMonitor", "PrometheusRule"
    )


def rules(values: Object = MONITORED | RELAY, release: str = "demo") -> dict[str, Object]:
    """Return the alerts by name."""
    (found,) = rendering.of_kind(customs(values, release), "PrometheusRule")
    (group,) = found["spec"]["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def promtool(*arguments: str, folder: Path) -> str:
    """Run promtool and return its output; fail with the output if it fails."""
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the rules of two releases in one namespace, and the tests of the alerts."""
    made = tmp_path_factory.mktemp("rules")
    for release in RELEASES:
        (found,) = rendering.of_kind(customs(MONITORED | RELAY, release), "PrometheusRule")
        (made / f"{release}.yaml").write_text(yaml.safe_dump(found["spec"]))
    shutil.copytree(TESTS, made, dirs_exist_ok=True)
    return made


def test_monitors_are_off_by_default() -> None:
    assert customs(rendering.STORES) == []
    assert not [
        service
        for service in rendering.of_kind(rendering.rendered(rendering.STORES), "Service")
        if service["metadata"]["name"].endswith("-metrics")
    ]


def matches(selector: Object, labels: dict[str, str]) -> bool:
    """Return whether a Kubernetes selector matches an object with these labels."""
    expressions = selector.get("matchExpressions", [])
    assert {expression["operator"] for expression in expressions} <= {"In"}
    return selector["matchLabels"].items() <= labels.items() and all(
        labels.get(expression["key"]) in expression["values"] for expression in expressions
    )


def components(objects: list[Object], selector: Object) -> Iterator[str]:
    """Return the component of each pod that a selector matches."""
    for _, template in rendering.pod_templates(objects):
        if matches(selector, template["metadata"]["labels"]):
            yield template["metadata"]["labels"]["app.kubernetes.io/component"]


def scraped_pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Return the component of each pod that a monitor finds, and the endpoint that it scrapes."""
    for monitor in rendering.of_kind(objects, "ServiceMonitor"):
        (endpoint,) = monitor["spec"]["endpoints"]
        for service in rendering.of_kind(objects, "Service"):
            ports = {port["name"] for port in service["spec"]["ports"]}
            if matches(monitor["spec"]["selector"], service["metadata"]["labels"]) and endpoint["port"] in ports:
                for component in components(objects, {"matchLabels": service["spec"]["selector"]}):
                    yield component, endpoint
    for monitor in rendering.of_kind(objects, "PodMonitor"):
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        for component in components(objects, monitor["spec"]["selector"]):
            yield component, endpoint


@pytest.mark.parametrize("layout", rendering.LAYOUTS)
def test_pods_are_scraped_once_at_their_metrics_port(layout: str) -> None:
    objects = rendering.rendered(MONITORED | {"layout": layout})
    found = list(scraped_pods(objects))
    assert sorted(component for component, _ in found) == sorted(rendering.LAYOUTS[layout])
    for component, endpoint in found:
        (container,) = rendering.named(objects, "Deployment", f"-{component}")["spec"]["template"]["spec"]["containers"]
        assert {"metrics"} <= {port["name"] for port in container["ports"]}
        assert endpoint["port"] == "metrics"
        assert endpoint["honorLabels"] is False
        assert (endpoint["interval"], endpoint["scrapeTimeout"]) == (
            ("15s", "5s") if component == "worker" else ("30s", "10s")
        )


def test_relays_are_scraped_once() -> None:
    relay = {"enabled": True, "existingSecret": "shop"}
    found = [component for component, _ in scraped_pods(rendering.rendered(MONITORED | {"relay": relay}))]
    assert sorted(found) == sorted([*rendering.COMPONENTS, "relay"])


def test_series_say_of_which_release_component_and_pod_they_are() -> None:
    for _, endpoint in scraped_pods(rendering.rendered(MONITORED)):
        assert {each["targetLabel"]: each["sourceLabels"] for each in endpoint["relabelings"]} == {
            "namespace": ["__meta_kubernetes_namespace"],
            "release": ["__meta_kubernetes_pod_label_app_kubernetes_io_instance"],
            "component": ["__meta_kubernetes_pod_label_app_kubernetes_io_component"],
            "pod": ["__meta_kubernetes_pod_name"],
        }


def test_labels_that_the_operators_prometheus_selects_by_are_on_each_resource() -> None:
    label = {"release": "kube-prometheus-stack"}
    values = {name: each | {"labels": label} for name, each in MONITORING.items()}
    for found in customs(rendering.STORES | {"monitoring": values}):
        assert label.items() <= found["metadata"]["labels"].items()


def test_the_metrics_port_is_not_shown_beside_the_api() -> None:
    """The gateway's Service may be a load balancer."""
    service = rendering.named(rendering.rendered(MONITORED), "Service", "-gateway")
    assert [port["name"] for port in service["spec"]["ports"]] == ["http"]


def test_series_get_the_same_labels_without_the_operator(tmp_path: Path) -> None:
    page = (ROOT / "docs/guides/kubernetes.md").read_text()
    blocks = re.findall(r"^```yaml\n(.+?)^```", page, re.MULTILINE | re.DOTALL)
    (config,) = (yaml.safe_load(block) for block in blocks if block.startswith("scrape_configs"))
    (job,) = config["scrape_configs"]
    for _, endpoint in scraped_pods(rendering.rendered(MONITORED)):
        assert [
            {"source_labels": each["sourceLabels"], "target_label": each["targetLabel"]}
            for each in endpoint["relabelings"]
        ] == job["relabel_configs"][1:]
    # A distribution's Prometheus may be built without Kubernetes: then the rest is checked.
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod", "namespaces": {"names": [rendering.NAMESPACE]}}]
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    promtool("check", "config", "prometheus.yaml", folder=tmp_path)


def test_prometheus_takes_the_rules(folder: Path) -> None:
    for release in RELEASES:
        assert f"{len(ALERTS)} rules found" in promtool("check", "rules", f"{release}.yaml", folder=folder)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_when_it_should_and_for_its_own_release_alone(alert: str, folder: Path) -> None:
    promtool("test", "rules", f"{alert}.test.yaml", folder=folder)


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_tests_cover_firing_not_firing_and_another_release(alert: str) -> None:
    cases = yaml.safe_load((TESTS / f"{alert}.test.yaml").read_text())["tests"]
    looks = [look for case in cases for look in case["alert_rule_test"]]
    assert {look["alertname"] for look in looks} == {alert}
    fired = [each for look in looks for each in look.get("exp_alerts", [])]
    assert fired
    assert {each["exp_labels"]["release"] for each in fired} == {"demo"}
    assert [case for case in cases if not any("exp_alerts" in look for look in case["alert_rule_test"])]
    assert [case for case in cases if 'release="other"' in str(case["input_series"])]


def test_alert_test_files_match_the_alerts() -> None:
    assert sorted(path.name for path in TESTS.iterdir()) == [f"{alert}.test.yaml" for alert in ALERTS]


def test_alerts_have_a_severity_a_summary_a_description_and_a_runbook() -> None:
    found = rules()
    assert sorted(found) == ALERTS
    for name, rule in found.items():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert re.search(r"\$value|\$labels", rule["annotations"]["description"]), name
        assert rule["annotations"]["runbook_url"] == f"docs/operations/runbooks/{name}.md"
        assert (ROOT / rule["annotations"]["runbook_url"]).exists()


def test_labels_annotations_and_the_place_of_runbooks_are_the_operators_choice() -> None:
    rule = {
        "enabled": True,
        "alertLabels": {"team": "payments", "severity": "page"},
        "alertAnnotations": {"dashboard": "https://grafana.example.com"},
        "runbookUrl": "https://git.example.com/runbooks",
    }
    for name, found in rules(rendering.STORES | RELAY | {"monitoring": {"prometheusRule": rule}}).items():
        assert found["labels"] == {"team": "payments", "severity": "page"}
        assert found["annotations"]["dashboard"] == "https://grafana.example.com"
        assert found["annotations"]["runbook_url"] == f"https://git.example.com/runbooks/{name}.md"


def test_an_alert_on_relays_is_only_there_with_relays() -> None:
    without = rules(MONITORED)
    assert set(ALERTS) - without.keys() == {"WebhookRelayMissing"}


def test_thresholds_change_rules_and_leave_no_placeholder() -> None:
    usual = rules()
    assert not [name for name, rule in usual.items() if "@" in rule["expr"]]
    thresholds = yaml.safe_load((CHART / "values.yaml").read_text())["monitoring"]["prometheusRule"]["thresholds"]
    for name, value in thresholds.items():
        other = value * 0.5 if isinstance(value, float) else value + 1
        values = {"monitoring": {"prometheusRule": {"enabled": True, "thresholds": {name: other}}}}
        changed = rules(rendering.STORES | RELAY | values)
        assert [alert for alert in ALERTS if changed[alert]["expr"] != usual[alert]["expr"]], name


SELECTOR = re.compile(r"\b([a-z_]+)\{([^}]*)\}")
MATCHER = re.compile(r"(\w+)(?:=~|!=|=)\"((?:[^\"\\]|\\.)*)\"")


def selected(expression: str) -> list[tuple[str, dict[str, str]]]:
    """Return name and labels of every series in an expression. A `}` within a value would end them early."""
    return [(name, dict(MATCHER.findall(inside))) for name, inside in SELECTOR.findall(expression)]


@pytest.fixture(scope="module")
def documented() -> dict[str, set[str]]:
    """Return the labels of every metric in docs/reference/metrics.md, by the names of its series."""
    found = dict(OTHERS)
    for line in (ROOT / "docs/reference/metrics.md").read_text().splitlines():
        if line.startswith("| `"):
            name, kind, labels, *_ = line.strip("| ").split(" | ")
            endings = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
            found |= {name.strip("`") + ending: set(re.findall(r"`([^`]+)`", labels)) for ending in endings}
    return found


def test_alerts_ask_for_metrics_and_labels_that_exist(documented: dict[str, set[str]]) -> None:
    for name, rule in rules().items():
        asked = selected(rule["expr"])
        assert asked, name
        assert len(asked) == rule["expr"].count("{"), name
        for metric, labels in asked:
            assert labels.keys() <= documented[metric] | SCRAPED, f"{name}: {metric}"
            assert labels["namespace"] == rendering.NAMESPACE
            assert labels["release"] == "demo"
        for grouping in re.findall(r"\b(?:by|on) \(([^)]*)\)", rule["expr"]):
            allowed: set[str] = SCRAPED.union(*(documented[metric] for metric, _ in asked))
            assert set(re.split(r",\s*", grouping)) <= allowed, name


def test_runbooks_ask_for_metrics_and_labels_that_exist(documented: dict[str, set[str]], tmp_path: Path) -> None:
    pages = {page.stem: page.read_text() for page in (ROOT / "docs/operations/runbooks").glob("*.md")}
    blocks = {
        name: re.findall(r"^```promql\n(.+?)^```", page, re.MULTILINE | re.DOTALL) for name, page in pages.items()
    }
    queries = [(name, line) for name, found in blocks.items() for block in found for line in block.splitlines()]
    assert {name for name, _ in queries} == set(ALERTS)
    for name, query in queries:
        for metric in re.findall(r"\b(?:webhook|process)_\w+\b", query):
            assert metric in documented, f"{name}: {metric}"
        for metric, labels in selected(query):
            assert labels.keys() <= documented[metric] | SCRAPED, f"{name}: {query}"
    rules = [{"record": f"query:{number}", "expr": query} for number, (_, query) in enumerate(queries)]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "runbooks", "rules": rules}]}))
    promtool("check", "rules", "queries.yaml", folder=tmp_path)


def test_the_series_of_the_tests_are_such_as_processes_serve(documented: dict[str, set[str]]) -> None:
    for path in TESTS.iterdir():
        cases: list[dict[str, Any]] = yaml.safe_load(path.read_text())["tests"]
        for series in [each["series"] for case in cases for each in case["input_series"]]:
            name, _, rest = series.partition("{")
            labels = set(re.findall(r"(\w+)=", rest))
            assert {"namespace", "release", "component", "pod"} <= labels, path.name
            assert labels - SCRAPED == documented[name], f"{path.name}: {series}"
