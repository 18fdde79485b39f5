"""Every version of Kubernetes accepts the objects of both Helm versions, and Helm rejects invalid values."""

import json
import math
import subprocess
from typing import Any

import kubernetes_validate  # type: ignore[import-not-found,import-untyped,unused-ignore]
import pytest

from services.domain import retry_policy
from tests.chart import rendering
from tests.chart.objects import custom_resources

VERSIONS = ("1.27", "1.30", "1.33", "1.37")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scenario", rendering.SCENARIOS)
def test_objects_fit_their_schemas(scenario: str, version: str) -> None:
    objects = rendering.scenario(scenario, version=f"{version}.0")
    assert len(objects) > 15
    for found in objects:
        if custom_resources.is_custom(found):
            continue
        # An unknown kind raises: the command would only print a warning.
        kubernetes_validate.validate(found, version, strict=True)


@pytest.mark.parametrize("scenario", rendering.SCENARIOS)
def test_kubectl_reads_what_helm_makes(scenario: str) -> None:
    text = "\n---\n".join(json.dumps(found) for found in rendering.scenario(scenario))
    command = ["kubectl", "annotate", "--local", "--filename", "-", "read=yes", "--output", "name"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == len(rendering.scenario(scenario))


@pytest.mark.parametrize("scenario", rendering.SCENARIOS)
def test_helm_3_and_helm_4_render_the_same_objects(scenario: str) -> None:
    """So other tests may look at the objects of one Helm version. Secrets are random."""
    three, four = (rendering.scenario(scenario, program=program) for program in rendering.HELMS)
    assert [found for found in three if found["kind"] != "Secret"] == [
        found for found in four if found["kind"] != "Secret"
    ]


def test_an_older_kubernetes_is_refused() -> None:
    done = rendering.helm("template", "demo", str(rendering.CHART), "--kube-version", "1.26.0", values=rendering.STORES)
    assert "1.27" in done.stderr
    assert done.returncode != 0


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"replicas": 3}, "replicas"),
    ({"layout": "two"}, "layout"),
    ({"compact": {"ingest": {"resources": {}}}}, "ingest"),
    ({"compact": {"worker": {"replicas": 3}}}, "replicas"),
    ({"gateway": {"replica": 3}}, "replica"),
    ({"gateway": {"replicas": "3"}}, "replicas"),
    ({"worker": {"replicas": -1}}, "replicas"),
    ({"worker": {"service": {"port": 80}}}, "service"),
    ({"gateway": {"service": {"port": 70000}}}, "port"),
    ({"gateway": {"service": {"type": "ExternalName"}}}, "type"),
    ({"gateway": {"resources": {"limit": {}}}}, "limit"),
    ({"gateway": {"extraEnv": {"A": "b"}}}, "extraEnv"),
    ({"gateway": {"extraEnv": [{"name": "A", "value": 1}]}}, "value"),
    ({"image": {"tag": 1.0}}, "tag"),
    ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    ({"settings": {"RETRY_LIMITS": 3}}, "RETRY_LIMITS"),
    ({"settings": {"RETRY_LIMIT": "many"}}, "RETRY_LIMIT"),
    ({"settings": {"RETRY_LIMIT": -1}}, "RETRY_LIMIT"),
    ({"settings": {"LOG_LEVEL": "loud"}}, "LOG_LEVEL"),
    ({"settings": {"PORT": 80}}, "PORT"),
    ({"settings": {"POSTGRES_PASSWORD": "secret"}}, "POSTGRES_PASSWORD"),
    ({"egressAllow": "10.0.0.0/8"}, "egressAllow"),
    ({"shutdown": {"graceSeconds": 0}}, "graceSeconds"),
    ({"externalPostgresql": {"sslMode": "yes"}}, "sslMode"),
    ({"externalPostgresql": {"password": "secret"}}, "password"),
    ({"securityContext": {"privileged": True}}, "privileged"),
    ({"podSecurityContext": {"runAsNonRoot": False}}, "runAsNonRoot"),
    ({"topologySpread": [{"topologyKey": "zone"}]}, "topologySpread"),
    ({"ingress": {"hosts": "webhooks.example.com"}}, "hosts"),
    ({"probes": {"readiness": {"timeoutSeconds": 1}}}, "timeoutSeconds"),
    ({"migrations": {"ttlSecondsAfterFinished": "1d"}}, "ttlSecondsAfterFinished"),
    ({"monitoring": {"enabled": True}}, "enabled"),
    ({"monitoring": {"serviceMonitor": {"interval": "30"}}}, "interval"),
    ({"monitoring": {"podMonitor": {"scrapeTimeout": 10}}}, "scrapeTimeout"),
    ({"monitoring": {"prometheusRule": {"labels": {"release": 1}}}}, "release"),
    ({"monitoring": {"prometheusRule": {"runbookUrl": "https://git.example.com/"}}}, "runbookUrl"),
    ({"monitoring": {"prometheusRule": {"thresholds": {"successRatio": 90}}}}, "successRatio"),
    ({"monitoring": {"prometheusRule": {"thresholds": {"backlogDeliveries": 100_000}}}}, "backlogDeliveries"),
    ({"monitoring": {"prometheusRule": {"thresholds": {"backlog": 10}}}}, "backlog"),
    ({"monitoring": {"dashboards": {"enabled": "yes"}}}, "enabled"),
    ({"monitoring": {"dashboards": {"labels": {"grafana_dashboard": 1}}}}, "labels"),
    ({"monitoring": {"dashboards": {"namespace": "Monitoring"}}}, "namespace"),
]


LONGEST = retry_policy.RetryPolicy(
    limit=len(retry_policy.DEFAULT_DELAYS_SECONDS), jitter=0.1, delays_seconds=retry_policy.DEFAULT_DELAYS_SECONDS
).total_seconds
ENOUGH_HOURS = math.ceil(LONGEST / 3600)
SHORT: list[tuple[dict[str, Any], str | None]] = [
    ({"LOG_RETENTION_HOURS": ENOUGH_HOURS}, None),
    ({"LOG_RETENTION_HOURS": ENOUGH_HOURS - 1}, "LOG_RETENTION_HOURS"),
    ({"LOG_RETENTION_HOURS": ENOUGH_HOURS - 1, "RETRY_LIMIT": None}, "LOG_RETENTION_HOURS"),
    ({"LOG_RETENTION_HOURS": 1, "RETRY_LIMIT": 5}, None),
    ({"LOG_RETENTION_HOURS": 1, "RETRY_BASE_SECONDS": 60}, None),
    ({"LOG_RETENTION_HOURS": 1, "RETRY_LIMIT": 10, "RETRY_BASE_SECONDS": 60}, "LOG_RETENTION_HOURS"),
    ({"DELIVERY_EXPIRY_HOURS": ENOUGH_HOURS - 1}, "DELIVERY_EXPIRY_HOURS"),
    ({"RETRY_LIMIT": 10_000}, "DELIVERY_EXPIRY_HOURS"),
]


@pytest.mark.parametrize(("settings", "name"), SHORT, ids=[json.dumps(settings) for settings, _ in SHORT])
def test_a_retention_that_is_shorter_than_the_default_retries_is_refused(
    settings: dict[str, Any], name: str | None
) -> None:
    values = rendering.STORES | {"settings": settings}
    if name is None:
        assert rendering.rendered(values)
    else:
        hours = settings.get(name, 168 if "EXPIRY" in name else 72)
        assert f"settings.{name}: {hours} h is shorter than the retries" in rendering.refused(values)


@pytest.mark.parametrize("program", rendering.HELMS)
@pytest.mark.parametrize(("values", "name"), WRONG, ids=[json.dumps(values) for values, _ in WRONG])
def test_wrong_values_are_refused(values: dict[str, Any], name: str, program: str) -> None:
    why = rendering.refused(rendering.STORES | values, program=program)
    assert "schema" in why
    assert name in why


@pytest.mark.parametrize("program", rendering.HELMS)
@pytest.mark.parametrize("setting", [{"AUTH_REQUIRED": "maybe"}, {"RETRY_LIMIT": -1}, {"LOG_LEVEL": "loud"}])
def test_a_refused_setting_is_one_line_without_the_grammar_of_schemas(setting: dict[str, Any], program: str) -> None:
    why = rendering.refused(rendering.STORES | {"settings": setting}, program=program)
    (line,) = (line for line in why.splitlines() if next(iter(setting)) in line)
    assert "anyOf" not in line
    assert "pattern" not in line
