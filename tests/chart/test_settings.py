"""What the chart sets is what the services read."""

import base64
import importlib

import pytest

from scripts import chart
from services.domain.secrets import encryption
from services.platform.auth import keys
from tests.chart import rendering

# Read by services/platform/stores/postgres_url.py, as libpq reads them.
LIBPQ = {"PGSSLMODE", "PGSSLROOTCERT"}


def read_by(component: str) -> set[str]:
    module, _, name = chart.SETTINGS[component].partition(":")
    return {field.upper() for field in getattr(importlib.import_module(module), name).variables()}


@pytest.mark.parametrize("component", rendering.COMPONENTS)
@pytest.mark.parametrize("scenario", rendering.SCENARIOS)
def test_every_variable_is_read(scenario: str, component: str) -> None:
    objects = rendering.scenario(scenario)
    (container,) = rendering.named(objects, "Deployment", f"-{component}")["spec"]["template"]["spec"]["containers"]
    assert rendering.environment(objects, container).keys() - read_by(component) <= LIBPQ


@pytest.mark.parametrize("component", rendering.COMPONENTS)
def test_every_variable_can_be_set(component: str) -> None:
    """By `settings`, or because the chart decides it: with every value given, none is left out."""
    settable = read_by(component) - chart.MANAGED
    values = {
        "settings": dict.fromkeys(settable & {"LOG_LEVEL"}, "info"),
        "externalPostgresql": {"host": "postgres", "existingSecret": "s"},
        "externalRedis": {"addr": "redis:6379", "existingSecret": "s", "passwordKey": "p"},
        "grpcTls": {"enabled": True, "existingSecret": "s"},
        "tracing": {"endpoint": "https://collector:4317", "headersSecret": "s", "caSecret": "c"},
    }
    objects = rendering.rendered(values)
    (container,) = rendering.named(objects, "Deployment", f"-{component}")["spec"]["template"]["spec"]["containers"]
    # REDIS_CA_FILE is for a URL: test_pods.py has it.
    found = rendering.environment(objects, container).keys() | {"REDIS_CA_FILE"}
    # URLs replace the parts that are given here; BIND_HOST is what ENV says; DATA_DIR is for development; the admin key
    # is for ingest, and a shared service key for Secrets that have one.
    left_out = {"DATABASE_URL", "REDIS_URL", "BIND_HOST", "DATA_DIR", "SERVICE_KEY"}
    left_out |= {"BOOTSTRAP_ADMIN_KEY"} if component != "ingest" else set()
    assert (read_by(component) & chart.MANAGED) - found <= left_out
    assert settable <= chart.schemas()[component].keys()


def test_the_keys_that_the_chart_makes_are_usable() -> None:
    data = rendering.named(rendering.scenario("minimal"), "Secret", "-keys")["data"]
    made = {name: base64.b64decode(value).decode() for name, value in data.items()}
    assert keys.why_not(made["bootstrap-admin-key"]) is None
    of_services = {name: key for name, key in made.items() if name.endswith("service-key")}
    assert of_services.keys() == {"ingest-service-key", "delivery-service-key", "analytics-service-key"}
    assert len(set(of_services.values())) == len(of_services)
    for key in of_services.values():
        assert keys.why_not(key, prefix="") is None
    assert len(encryption.parse_keys(made["encryption-keys"])) == 1


SERVICE_KEYS = {"ingest-service-key", "delivery-service-key", "analytics-service-key"}


@pytest.mark.parametrize("component", rendering.COMPONENTS)
def test_a_process_gets_no_service_key_but_its_own(component: str) -> None:
    expected = {"gateway": SERVICE_KEYS, "worker": set()}.get(component, {f"{component}-service-key"})
    for values, shared in (({}, set()), ({"secrets": {"existingSecret": "mine"}}, {"service-key"})):
        objects = rendering.rendered({**rendering.STORES, **values})
        (container,) = rendering.named(objects, "Deployment", f"-{component}")["spec"]["template"]["spec"]["containers"]
        references = [entry["valueFrom"]["secretKeyRef"] for entry in container["env"] if "valueFrom" in entry]
        of_services = {found["key"]: found for found in references if found["key"].endswith("service-key")}
        assert of_services.keys() == expected | (shared if component != "worker" else set())
        # A Secret of the operator's has either.
        assert {found.get("optional", False) for found in of_services.values()} <= {bool(shared)}
        assert ("bootstrap-admin-key" in {found["key"] for found in references}) == (component == "ingest")
