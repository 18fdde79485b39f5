"""The chart sets what the services read, and its schema has the bounds of their settings."""

import base64
import functools
import importlib
import json
import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

import jsonschema  # type: ignore[import-untyped,unused-ignore]
import pytest
from pydantic import ValidationError

from scripts import chart
from services.domain.egress import policy
from services.domain.egress.policy import EgressSettings
from services.domain.secrets import encryption
from services.platform.auth import keys
from services.platform.settings import Settings
from tests.chart import rendering

# Read by services/platform/stores/postgres_url.py, as in libpq.
LIBPQ = {"PGSSLMODE", "PGSSLROOTCERT"}


def read_by(roles: Sequence[str]) -> set[str]:
    return {field.upper() for role in roles for field in settings_of(role).variables()}


@pytest.mark.parametrize("scenario", rendering.SCENARIOS)
def test_variables_of_a_process_are_all_read_by_its_roles(scenario: str) -> None:
    objects = rendering.scenario(scenario)
    for roles, pod in rendering.deployments(objects):
        (container,) = pod["containers"]
        assert rendering.environment(objects, container).keys() - read_by(roles) <= LIBPQ, roles


@pytest.mark.parametrize(("layout", "component", "roles"), rendering.PROCESSES)
def test_variables_that_a_process_reads_can_all_be_set(layout: str, component: str, roles: tuple[str, ...]) -> None:
    """Set by `settings`, or because the chart controls it: with every value given, none is missing."""
    settable = read_by(roles) - chart.MANAGED
    values = {
        "layout": layout,
        "settings": dict.fromkeys(settable & {"LOG_LEVEL"}, "info"),
        "externalPostgresql": {"host": "postgres", "existingSecret": "s"},
        "externalRedis": {"addr": "redis:6379", "existingSecret": "s", "passwordKey": "p"},
        "grpcTls": {"enabled": True, "existingSecret": "s"},
        "tracing": {"endpoint": "https://collector:4317", "headersSecret": "s", "caSecret": "c"},
        "oidc": rendering.OIDC,
    }
    objects = rendering.rendered(values)
    (container,) = rendering.named(objects, "Deployment", f"-{component}")["spec"]["template"]["spec"]["containers"]
    # REDIS_CA_FILE requires a URL: test_pods.py tests it.
    found = rendering.environment(objects, container).keys() | {"REDIS_CA_FILE"}
    # URLs replace the parts that are given here. BIND_HOST depends on ENV. DATA_DIR is for development. The admin key
    # is only for ingest, and a shared service key for Secrets that have one.
    left_out = {"DATABASE_URL", "REDIS_URL", "BIND_HOST", "DATA_DIR", "SERVICE_KEY"}
    left_out |= {"BOOTSTRAP_ADMIN_KEY"} if "ingest" not in roles else set()
    # Several roles that serve have a port each.
    left_out |= {"GRPC_PORT"} if {"delivery", "analytics"} <= set(roles) else set()
    assert (read_by(roles) & chart.MANAGED) - found <= left_out
    assert settable <= {name for role in roles for name in chart.schemas()[role]}


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


@pytest.mark.parametrize(("layout", "component", "roles"), rendering.PROCESSES)
def test_a_process_gets_no_key_but_those_of_its_roles(layout: str, component: str, roles: tuple[str, ...]) -> None:
    expected = set()
    for role in roles:
        expected |= {"gateway": SERVICE_KEYS, "worker": set()}.get(role, {f"{role}-service-key"})
    for values, shared in (({}, set()), ({"secrets": {"existingSecret": "mine"}}, {"service-key"})):
        objects = rendering.rendered({**rendering.STORES, "layout": layout, **values})
        (container,) = rendering.named(objects, "Deployment", f"-{component}")["spec"]["template"]["spec"]["containers"]
        references = [entry["valueFrom"]["secretKeyRef"] for entry in container["env"] if "valueFrom" in entry]
        of_services = {found["key"]: found for found in references if found["key"].endswith("service-key")}
        assert of_services.keys() == expected | (shared if expected else set())
        # An operator's Secret has one of the two.
        assert {found.get("optional", False) for found in of_services.values()} <= {bool(shared)}
        found_keys = {found["key"] for found in references}
        assert ("bootstrap-admin-key" in found_keys) == ("ingest" in roles)
        assert ("encryption-keys" in found_keys) == bool({"ingest", "delivery", "worker"} & set(roles))


SCHEMA = json.loads((rendering.CHART / "values.schema.json").read_text())["$defs"]["settings"]["properties"]


SAMPLES = 25
# A number above those without a bound in the service. Helm's float keeps it exact.
LARGE = 1 << 40
# The variables of a container besides its settings.
KEYS = {
    "SERVICE_KEY": "s" * 40,
    "BOOTSTRAP_ADMIN_KEY": "whk_" + "a" * 40,
    "ENCRYPTION_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "OUTBOX_DATABASE_URL": "postgresql://shop-db/shop",
}


TEXTS = (
    *("", "none", "default", "default,8443", "0", "80, 443", "70000", "x", "a b", "transaction", "debug", "warning"),
    *(
        "INFO",
        "loud",
        "0.0.0.0",
        "::",
        "127.0.0.1",
        "host.example",
        "http://proxy:3128",
        "http://proxy:0",
        "http://proxy",
    ),
    *("http://user:secret@proxy:99999/", "http://[::1]:3128", "https://proxy:3128", "/etc/ca.crt", "true", "1e3"),
)


def settings_of(component: str) -> type[Settings]:
    module, _, name = chart.SETTINGS[component].partition(":")
    found: type[Settings] = getattr(importlib.import_module(module), name)
    return found


def starts(component: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Return why a process with this environment does not start, or None."""
    with monkeypatch.context() as patched:
        for name, value in (KEYS | {"ENV": "production"} | environment).items():
            patched.setenv(name, value)
        try:
            settings = settings_of(component)(_env_file=None)
            if isinstance(settings, EgressSettings):
                policy.policy(settings)
        except (ValidationError, SystemExit) as error:
            return str(error)
    return None


def numbers(schema: dict[str, Any]) -> Iterator[float]:
    """Return the bounds of a number, and the values next to them on both sides."""
    whole = "integer" in schema["type"]
    step: float = 1 if whole else 0.001
    least = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    most = schema.get("maximum", schema.get("exclusiveMaximum", LARGE))
    for bound in (least, most):
        yield from (bound - step, bound, bound + step)
    yield from (-1, 0, 1)
    if not whole:
        yield from (0.5, (least + min(most, 1000)) / 2)


def candidates(name: str) -> list[Any]:
    schema = SCHEMA[name]
    types = schema.get("type") or [each.get("type") for each in schema.get("anyOf", ())]
    if "boolean" in types:
        return [True, False]
    if {"integer", "number"} & set(types):
        return [int(each) if math.floor(each) == each else each for each in numbers(schema)]
    return list(TEXTS)


@functools.cache
def taken(text: str) -> bool:
    """Return whether the chart renders with these settings."""
    done = rendering.helm(
        "template", "demo", str(rendering.CHART), values=rendering.STORES | {"settings": json.loads(text)}
    )
    assert done.returncode == 0 or "cannot be installed" in done.stderr or "schema" in done.stderr, done.stderr
    return done.returncode == 0


@pytest.mark.parametrize("name", sorted(SCHEMA))
def test_the_bounds_of_a_setting_are_those_of_its_service(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    readers = [component for component, found in chart.schemas().items() if name in found]
    seen = set()
    for value in candidates(name):
        text = value if isinstance(value, str) else json.dumps(value)
        why = [starts(component, {name: text}, monkeypatch) for component in readers]
        if jsonschema.Draft7Validator(SCHEMA[name]).is_valid(value):
            seen.add("valid")
            # Rules between settings, or rules that a schema cannot express: a template checks them.
            assert not any(why) or not taken(json.dumps({name: value})), f"{value!r} would stop a pod: {why}"
        elif isinstance(value, int | float) and not isinstance(value, bool):
            assert any(why), f"{value!r} is refused by the chart alone"
    assert "valid" in seen


@pytest.mark.parametrize("seed", range(SAMPLES))
def test_settings_at_random_start_every_process_or_are_refused(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = random.Random(seed)
    settings = {}
    for name in chosen.sample(sorted(SCHEMA), 12):
        valid = [each for each in candidates(name) if jsonschema.Draft7Validator(SCHEMA[name]).is_valid(each)]
        settings[name] = chosen.choice(valid)
    if not taken(json.dumps(settings)):
        # To have something to test, remove the settings of such rules one by one until the rest is accepted.
        for name in sorted(settings):
            if not taken(json.dumps({name: settings[name]})):
                del settings[name]
        related = ("LEASE", "DELIVERY", "RETRY", "LOG_RETENTION")
        if not taken(json.dumps(settings)):
            settings = {name: value for name, value in settings.items() if not name.startswith(related)}
    layout = chosen.choice(sorted(rendering.LAYOUTS))
    objects = rendering.rendered(rendering.STORES | {"layout": layout, "settings": settings})
    for component, roles in rendering.LAYOUTS[layout].items():
        environment = rendering.named(objects, "ConfigMap", f"-{component}")["data"]
        for role in roles:
            assert starts(role, environment, monkeypatch) is None, (role, settings)
