"""The documentation matches the code: metrics, settings, links, make targets."""

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from services.platform.settings import Settings
from tests.e2e.access import role_table

ROOT = Path(__file__).resolve().parents[2]
ROLES = ("gateway", "ingest", "delivery", "worker", "analytics", "relay")

MODULES: Mapping[str, str] = {
    "gateway": "services.gateway",
    "ingest": "services.ingest",
    "delivery": "services.delivery",
    "worker": "services.delivery.worker",
    "analytics": "services.analytics",
    "relay": "services.relay",
}
SETTINGS: Mapping[str, str] = {
    "gateway": "services.gateway.settings:GatewaySettings",
    "ingest": "services.ingest.settings:IngestSettings",
    "delivery": "services.delivery.settings:DeliverySettings",
    "worker": "services.delivery.settings:WorkerSettings",
    "analytics": "services.analytics.settings:AnalyticsSettings",
    "relay": "services.relay.settings:RelaySettings",
    "migrate": "services.schema.migrate:MigrateSettings",
    "local": "dev.local.settings:LocalSettings",
    "demo": "dev.demo.stack:DemoSettings",
}
# Inherited by the classes of `migrate`, `local` and `demo`, which do not use them.
UNUSED: Mapping[str, frozenset[str]] = {
    "migrate": frozenset(
        {
            *("ENV", "LOG_LEVEL", "BIND_HOST", "METRICS_PORT", "SHUTDOWN_GRACE_SECONDS"),
            *("POSTGRES_POOL_SIZE", "POSTGRES_POOLER"),
        }
    ),
    "local": frozenset({"METRICS_PORT", "SHUTDOWN_GRACE_SECONDS", "POSTGRES_POOL_SIZE", "POSTGRES_POOLER"}),
    "demo": frozenset({"ENV", "LOG_LEVEL", "BIND_HOST", "METRICS_PORT", "SHUTDOWN_GRACE_SECONDS"}),
}

# Defaults that depend on ENV, as the page spells them.
FOLLOWING: Mapping[str, str] = {
    "EGRESS_ALLOW": "loopback (`127.0.0.0/8,::1/128`) in development, nothing elsewhere",
    "AUTH_REQUIRED": "`false` in development, `true` elsewhere",
    "ENDPOINT_VERIFICATION_ORIGIN": "none",
}

# Prints name, type, and labels of every metric that a process has once its module is imported.
PRINT_METRICS = """
import importlib, json, sys
from prometheus_client import REGISTRY
importlib.import_module(sys.argv[1])
collectors = {id(c): c for c in REGISTRY._collector_to_names}.values()
found = {}
for c in collectors:
    if getattr(c, "_name", "").startswith("webhook_"):
        name = c._name + ("_total" if c._type == "counter" else "")
        found[name] = [c._type, list(c._labelnames)]
print(json.dumps(found))
"""


def table_rows(page: Path) -> Iterator[list[str]]:
    """Yield the rows of a page's tables whose first cell is a name in code, with stripped cells."""
    for line in page.read_text().splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def code_names(cell: str) -> list[str]:
    """Return the texts in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def roles(cell: str) -> set[str]:
    """Return the roles in a cell; `all` means all of them."""
    named = {name.strip() for name in cell.split(",")}
    return (named - {"all"}) | (set(ROLES) if "all" in named else set())


@pytest.fixture(scope="module")
def metrics() -> dict[str, dict[str, Any]]:
    """For each role, the metrics of its process: type and labels by name."""
    commands = {role: [sys.executable, "-c", PRINT_METRICS, f"{module}.__main__"] for role, module in MODULES.items()}
    running = {role: subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) for role, command in commands.items()}
    found = {role: process.communicate()[0] for role, process in running.items()}
    return {role: json.loads(output) for role, output in found.items()}


def test_metrics_are_documented_with_their_type_and_labels(metrics: dict[str, dict[str, Any]]) -> None:
    documented = {
        code_names(name)[0]: (kind, code_names(labels))
        for name, kind, labels, _, _ in table_rows(ROOT / "docs/reference/metrics.md")
    }
    existing = {name: (kind, labels) for found in metrics.values() for name, (kind, labels) in found.items()}
    assert documented == existing


def test_a_documented_metric_exists_in_each_of_its_processes(metrics: dict[str, dict[str, Any]]) -> None:
    for name, _, _, _, processes in table_rows(ROOT / "docs/reference/metrics.md"):
        for role in roles(processes):
            assert code_names(name)[0] in metrics[role], f"{role} has no {name}"


def settings() -> dict[str, dict[str, Any]]:
    """Return for each variable the processes that read it, with its default."""
    found: dict[str, dict[str, Any]] = {}
    for role, path in SETTINGS.items():
        module, _, name = path.partition(":")
        cls: type[Settings] = getattr(importlib.import_module(module), name)
        for field, info in cls.variables().items():
            if field.upper() not in UNUSED.get(role, ()):
                found.setdefault(field.upper(), {})[role] = info.default
    return found


def test_settings_are_documented_with_the_processes_that_read_them() -> None:
    documented = {
        code_names(name)[0]: roles(read_by)
        for name, _, _, read_by in table_rows(ROOT / "docs/reference/configuration.md")
    }
    assert documented == {name: set(by_role) for name, by_role in settings().items()}


def test_settings_are_documented_with_their_defaults() -> None:
    existing = settings()
    for name, default, _, _ in table_rows(ROOT / "docs/reference/configuration.md"):
        for value in existing[code_names(name)[0]].values():
            assert spelled(code_names(name)[0], value) in [*code_names(default), default], (
                f"{name} is {value!r} by default"
            )


def spelled(name: str, value: object) -> str:
    """Return a default as the page spells it."""
    if value is None:  # it depends on another variable
        return FOLLOWING[name]
    if isinstance(value, Path):
        return value.name
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) or "none"


def test_the_example_environment_holds_variables_that_exist() -> None:
    names = re.findall(r"^#?([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert names
    assert set(names) <= set(settings())


def pages() -> list[Path]:
    """Return every page that the project wrote."""
    return [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub generates them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_existing_targets(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{target} does not exist"
        assert not anchor or anchor in anchors(linked), f"{target} has no such heading"


def test_runbooks_match_the_alerts() -> None:
    alerts = {path.stem for path in (ROOT / "charts/webhook-service/files/alerts").glob("*.yaml")}
    runbooks = {path.stem for path in (ROOT / "docs/operations/runbooks").glob("*.md")} - {"README"}
    assert runbooks == alerts
    table = (ROOT / "docs/operations/runbooks/README.md").read_text()
    assert sorted(re.findall(r"^\| \[(\w+)\]\(\1\.md\)", table, re.MULTILINE)) == sorted(alerts)


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/operations/runbooks/Webhook*.md")), ids=lambda page: page.stem)
def test_runbooks_have_the_same_headings(page: Path) -> None:
    headings = [page.stem, "Meaning", "Impact", "Diagnosis", "Mitigation"]
    assert re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE) == headings


def test_the_make_targets_that_pages_name_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in pages():
        named = set(re.findall(r"`make ([a-z-]+)", page.read_text()))
        assert named <= targets, f"{page.name} names {named - targets}"
    assert {"run", "test", "demo"} <= set(re.findall(r"make ([a-z-]+)", (ROOT / "README.md").read_text()))


def test_the_roles_that_pages_name_exist() -> None:
    services = importlib.import_module("services.__main__")
    for page in pages():
        for command in re.findall(r"-m services ([a-z]+(?: [a-z]+)*)`", page.read_text()):
            assert services.problem(command.split()) is None, (page.name, command)
        assert set(re.findall(r"-m services ([a-z]+)", page.read_text())) <= {*services.ROLES, *services.JOBS}


def test_the_role_table_of_the_docs_is_the_one_that_is_tested() -> None:
    documented = {}
    for line in (ROOT / "docs/guides/keys.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) == 2 + len(role_table.ROLES) and "Service." in cells[1]:
            assert set(cells[2:]) <= {"yes", "no"}, line
            allowed = {role for role, cell in zip(role_table.ROLES, cells[2:], strict=True) if cell == "yes"}
            documented[" ".join(code_names(cells[0])), code_names(cells[1])[0]] = allowed
    assert documented == role_table.ALLOWED
