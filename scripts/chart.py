"""The files of the chart that are generated.

files/settings.json lists the variables that each process reads, files/defaults.json their defaults, and
values.schema.json the values that they take: all from the settings of the services. README.md ends with a table of the
values, from the `# --` comments in values.yaml.
"""

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # its types are in no lock

from services.domain import retry_policy

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts/webhook-service"
SETTINGS = {
    "gateway": "services.gateway.settings:GatewaySettings",
    "ingest": "services.ingest.settings:IngestSettings",
    "delivery": "services.delivery.settings:DeliverySettings",
    "worker": "services.delivery.settings:WorkerSettings",
    "analytics": "services.analytics.settings:AnalyticsSettings",
    "relay": "services.relay.settings:RelaySettings",
}
# What the chart decides by other values, or takes from a Secret. Everything else a user may set by `settings`.
MANAGED = frozenset(
    {
        *("ENV", "METRICS_PORT", "PORT", "GRPC_PORT", "EGRESS_ALLOW"),
        *("SHUTDOWN_GRACE_SECONDS", "DRAIN_SECONDS"),
        "DATA_DIR",
        *("INGEST_ADDR", "DELIVERY_ADDR", "ANALYTICS_ADDR"),
        "REDIS_CA_FILE",
        *("GRPC_TLS_CERT_FILE", "GRPC_TLS_KEY_FILE", "GRPC_TLS_CA_FILE"),
        *("DATABASE_URL", "POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"),
        *("OUTBOX_DATABASE_URL", "OUTBOX_API_KEY"),
        *("REDIS_URL", "REDIS_ADDR", "REDIS_PASSWORD", "REDIS_DB"),
        *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_CERTIFICATE"),
        *("OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER_ARG", "TRACING_TRUST_CALLERS", "TRACING_TO_RECEIVERS"),
        *("OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET", "OIDC_REDIRECT_URL", "OIDC_SCOPES"),
        *("OIDC_GROUPS_CLAIM", "OIDC_GROUP_ROLES"),
        *yaml.safe_load((CHART / "files/keys.yaml").read_text()),
    }
)
# Settings whose form templates/_checks.tpl explains better than a pattern.
EXPLAINED = frozenset({"EGRESS_PROXY", "EGRESS_DENY_PORTS", "BIND_HOST"})
# Of a field's schema, what Helm's validators check.
KEPT = ("type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern", "enum", "anyOf")
COMMENT = "# -- "
HEADING = "## Values\n"


def fields() -> dict[str, dict[str, dict[str, Any]]]:
    """For each component the whole JSON schema of each variable that it reads."""
    found = {}
    for component, path in SETTINGS.items():
        module, _, name = path.partition(":")
        properties = getattr(importlib.import_module(module), name).model_json_schema()["properties"]
        found[component] = {
            field.upper(): schema for field, schema in sorted(properties.items()) if "constant" not in schema
        }
    return found


def schemas() -> dict[str, dict[str, dict[str, Any]]]:
    """For each component what Helm's validators check of each variable that it reads."""
    return {
        component: {name: {key: schema[key] for key in KEPT if key in schema} for name, schema in found.items()}
        for component, found in fields().items()
    }


def variables() -> str:
    """Return the variables of each component, as files/settings.json has them."""
    return json.dumps({component: list(found) for component, found in fields().items()}, indent=2) + "\n"


def defaults() -> str:
    """Return the default of each variable, as files/defaults.json has it; null for no default."""
    found = {name: schema.get("default") for each in fields().values() for name, schema in each.items()}
    settable = {name: found[name] for name in sorted(found.keys() - MANAGED)}
    # No settings, but of the default policy: its delays while none of its settings is set, and its constants.
    settable["RETRY_DELAYS_SECONDS"] = list(retry_policy.DEFAULT_DELAYS_SECONDS)
    policy = retry_policy.RetrySettings.model_fields
    settable |= {name: policy[name.lower()].default for name in ("RETRY_FACTOR", "RETRY_JITTER")}
    return json.dumps(settable, indent=2) + "\n"


def nullable(field: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a setting that null leaves to its service, in the form whose refusal reads best."""
    alternatives = [each for each in field.get("anyOf", ()) if each != {"type": "null"}]
    if len(alternatives) == 1:
        field = alternatives[0]
    if words := re.fullmatch(r"\^\(([a-z|]+)\)\$", field.get("pattern", "")):
        return {"enum": [*words[1].split("|"), None]}
    if "enum" in field:
        return {"enum": [*field["enum"], None]}
    return field | {"type": [field["type"], "null"]}


def values_schema() -> str:
    """values.schema.json with the settings of today; null leaves a variable to its service."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    settings = {name: field for found in schemas().values() for name, field in found.items() if name not in MANAGED}
    for name in EXPLAINED & settings.keys():
        settings[name].pop("pattern", None)
    schema["$defs"]["settings"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: nullable(field) for name, field in sorted(settings.items())},
    }
    return json.dumps(schema, indent=2) + "\n"


def documented(lines: list[str], node: Any, values: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Name, default and meaning of each of `values`, whose meaning is the `# --` comment above its node of YAML."""
    for key, value in node.value:
        name, default = f"{path}.{key.value}".lstrip("."), values[key.value]
        first = key.start_mark.line
        while first > 0 and lines[first - 1].lstrip().startswith("#"):
            first -= 1
        comment = " ".join(line.strip() for line in lines[first : key.start_mark.line])
        if COMMENT in comment:
            shown = "" if default is None else f"`{json.dumps(default)}`"
            yield name, shown, comment.partition(COMMENT)[2].replace(" # ", " ").replace("|", "\\|")
        elif isinstance(default, dict):
            yield from documented(lines, value, default, name)
        else:
            sys.exit(f"values.yaml: {name} has no comment that begins with {COMMENT}")


def readme() -> str:
    """README.md: its own beginning, and the table of values."""
    beginning = (CHART / "README.md").read_text().partition(HEADING)[0]
    text = (CHART / "values.yaml").read_text()
    found = documented(text.splitlines(), yaml.compose(text), yaml.safe_load(text))
    rows = [f"| `{name}` | {default} | {meaning} |" for name, default, meaning in found]
    return "\n".join([beginning + HEADING, "| value | default | meaning |", "|---|---|---|", *rows, ""])


def files() -> dict[Path, str]:
    """Return the text of each generated file by its path."""
    return {
        CHART / "files/settings.json": variables(),
        CHART / "files/defaults.json": defaults(),
        CHART / "values.schema.json": values_schema(),
        CHART / "README.md": readme(),
    }
