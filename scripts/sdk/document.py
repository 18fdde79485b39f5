"""The OpenAPI document as the SDKs are made from it."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from services.gateway import app

# What the service checks, so that an SDK need not; and what only people read.
_DROPPED = frozenset(
    (
        *("minLength", "maxLength", "pattern", "minimum", "maximum", "minItems", "maxItems", "maxProperties"),
        *("propertyNames", "examples", "example", "writeOnly", "default", "additionalProperties", "title"),
    )
)
# Formats of strings that stay strings.
_PLAIN_FORMATS = frozenset(("uuid", "uri", "binary"))
# A value that is one of these objects becomes one object that has the fields of all.
_UNIONS = {
    frozenset(("ExponentialRetries", "ExplicitRetries", "NamedRetries")): (
        "RetryPolicy",
        "When a failed delivery is retried: exponentially, by `delays_seconds`, or by the schedule called `name`.",
    ),
    frozenset(("BatchedEventAccepted", "BatchedEventRefused")): (
        "BatchResult",
        "What became of an event of a batch: it was stored as `event_id`, or there is an `error`.",
    ),
}
# Of each operation that is not simply named by its path: the resource and the method.
_NAMES = {
    "ingest_webhook": ("webhooks", "send"),
    "ingest_webhook_with_token": ("webhooks", "send_with_token"),
    "publish_event": ("events", "publish"),
    "publish_events": ("events", "publish_batch"),
    "get_delivery": ("deliveries", "get"),
    "retry_delivery": ("deliveries", "retry"),
    "cancel_delivery": ("deliveries", "cancel"),
    "list_event_deliveries": ("events", "deliveries"),
    "list_event_routes": ("events", "routing"),
    "cancel_event": ("events", "cancel"),
    "check_filter": ("filters", "check"),
    "get_delivery_summary": ("deliveries", "summary"),
    "pull_deliveries": ("subscriptions", "pull"),
    "report_pull_results": ("subscriptions", "report"),
    "rotate_subscription_secret": ("subscriptions", "rotate_secret"),
    "list_public_keys": ("subscriptions", "public_keys"),
    "test_new_subscription": ("subscriptions", "test_new"),
    "list_subscription_deliveries": ("subscriptions", "deliveries"),
    "export_catalog": ("catalog", "export_document"),
    "import_catalog": ("catalog", "import_document"),
    "get_subscription_stats": ("subscriptions", "stats"),
    "get_stats": ("stats", "get"),
    "get_stats_series": ("stats", "series"),
    "get_refusals": ("stats", "refusals"),
    "get_system": ("system", "get"),
    "list_audit_entries": ("audit", "list"),
}
# Headers of an event that its body may have as fields, by which SDKs send them.
IN_BODY = {"X-Webhook-Tags": "tags", "X-Webhook-Event-Version": "event_version"}
# Other paths of operations that have a better one, what needs no client, what no method can return, such as a stream,
# and what CloudEvents have SDKs of their own for.
_SKIPPED = frozenset(
    (
        *("get_webhook_delivery", "retry_webhook_delivery", "cancel_webhook_delivery", "livez", "stream"),
        "publish_cloudevents",
    )
)
_PREFIX = "#/components/schemas/"
JSON = "application/json"
# The field of a body that says how long the service may wait before it responds.
WAITS = "wait_seconds"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A value that an operation takes, in its path, query, or headers."""

    name: str
    place: str
    required: bool
    schema: dict[str, Any]
    description: str


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A call of the REST API, as a method of a resource."""

    resource: str
    method: str
    http_method: str
    path: str
    summary: str
    description: str
    parameters: tuple[Parameter, ...]
    # The name of the schema of its body; None without a JSON object as its body.
    body: str | None
    # Whether its body may be anything.
    raw: bool
    # By status: the name of the schema of the response; None for an empty one.
    responses: dict[int, str | None]
    # Whether it may be repeated as it is: it reads, or sets something to a value.
    repeatable: bool
    # Whether repeated requests are recognized by an Idempotency-Key.
    keyed: bool
    # The schema of what a list has, if it is one.
    listed: str | None


@functools.cache
def load() -> tuple[dict[str, Any], list[Operation]]:
    """Return the schemas and the operations, those of a resource together."""
    document = app.described().openapi()
    merged: dict[str, Any] = {}
    schemas = document["components"]["schemas"]
    plain = {name: _plain(schema, schemas, merged) for name, schema in schemas.items()}
    plain |= merged
    for schema in plain.values():
        if "const" in schema:  # an enum with a single value, so far
            schema["enum"] = [schema.pop("const")]
    operations = [
        _operation(path, http_method, operation, plain)
        for path, item in document["paths"].items()
        for http_method, operation in item.items()
        if operation["operationId"] not in _SKIPPED
    ]
    resources = list(dict.fromkeys(operation.resource for operation in operations))
    operations.sort(key=lambda operation: resources.index(operation.resource))
    for problem in _repeated(operations):
        raise ValueError(problem)
    return plain, operations


def _repeated(operations: list[Operation]) -> Iterator[str]:
    seen: set[tuple[str, str]] = set()
    for operation in operations:
        name = (operation.resource, operation.method)
        if name in seen:
            yield f"{'.'.join(name)} would be two operations: give one another name in _NAMES"
        seen.add(name)


def _plain(node: Any, schemas: dict[str, Any], merged: dict[str, Any], *, names: bool = False) -> Any:
    """Return a schema without what an SDK does not need; `names`: the keys are names of fields."""
    if isinstance(node, list):
        return [_plain(item, schemas, merged) for item in node]
    if not isinstance(node, dict):
        return node
    if names:
        return {name: _plain(schema, schemas, merged) for name, schema in node.items()}
    found = {
        key: _plain(value, schemas, merged, names=key == "properties")
        for key, value in node.items()
        if key not in _DROPPED or (key == "additionalProperties" and isinstance(value, dict))
    }
    if found.get("format") in _PLAIN_FORMATS:
        del found["format"]
    if "anyOf" in found:
        found["anyOf"] = _without_anything(found["anyOf"])
        refs = {one["$ref"].removeprefix(_PREFIX) for one in found["anyOf"] if "$ref" in one}
        objects = frozenset(ref for ref in refs if schemas[ref].get("type") == "object")
        if len(objects) > 1:
            name = _merge(objects, schemas, merged)
            rest = [one for one in found["anyOf"] if "$ref" not in one]
            found["anyOf"] = [{"$ref": _PREFIX + name}, *rest]
        if len(found["anyOf"]) == 1:
            found |= found.pop("anyOf")[0]
    return found


def _without_anything(options: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the schema that everything matches, beside one that says what is meant."""
    return [one for one in options if one] or options


def _merge(objects: frozenset[str], schemas: dict[str, Any], merged: dict[str, Any]) -> str:
    if objects not in _UNIONS:
        raise ValueError(f"name the union of {', '.join(sorted(objects))} in _UNIONS")
    name, description = _UNIONS[objects]
    properties: dict[str, Any] = {}
    required = set.intersection(*(set(schemas[one].get("required", ())) for one in objects))
    for one in sorted(objects):
        properties |= schemas[one]["properties"]
    fields = _plain(properties, schemas, merged, names=True)
    merged[name] = {"type": "object", "description": description, "properties": fields, "required": sorted(required)}
    return name


def name_of(schema: dict[str, Any]) -> str | None:
    """Return the name of the schema that is referred to."""
    ref = schema.get("$ref")
    return ref.removeprefix(_PREFIX) if ref else None


def _operation(path: str, http_method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> Operation:
    operation_id = operation["operationId"]
    resource, method = _NAMES.get(operation_id) or _named(operation_id, path)
    content = operation.get("requestBody", {}).get("content", {})
    body = content.get(JSON, {}).get("schema", {})
    # A body that may be left out may be null.
    bodies = [one for one in body.get("anyOf", [body]) if one.get("type") != "null"]
    responses = {
        int(status): name_of(response.get("content", {}).get(JSON, {}).get("schema", {}))
        for status, response in operation["responses"].items()
        if status.startswith("2")
    }
    parameters = [
        Parameter(
            name=found["name"],
            place=found["in"],
            required=found.get("required", False),
            schema=_plain(found["schema"], schemas, {}),
            description=found.get("description") or "",
        )
        for found in operation.get("parameters", ())
        if found["name"] not in ({"X-Tenant"} if operation_id == "export_catalog" else {"X-Tenant", "format"})
    ]
    keyed = any(parameter.name == "Idempotency-Key" for parameter in parameters)
    page = schemas.get(next(iter(responses.values())) or "", {}).get("properties", {})
    listed = name_of(page["items"]["items"]) if "items" in page and "next_cursor" in page else None
    return Operation(
        resource=resource,
        method=method,
        http_method=http_method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation["description"].partition("\n\nRequires a key")[0],
        parameters=tuple(parameters),
        body=name_of(bodies[0]) if len(bodies) == 1 else None,
        raw="application/octet-stream" in content,
        responses=responses,
        repeatable=http_method in {"get", "put", "delete"},
        keyed=keyed,
        listed=listed,
    )


def _named(operation_id: str, path: str) -> tuple[str, str]:
    """Return the resource of a path such as /api/v1/jobs/{job_id}/pause, and the verb of `pause_job`."""
    parts = [part for part in path.removeprefix("/api/v1/").removeprefix("admin/").split("/") if "{" not in part]
    resource = parts[0].replace("-", "_")
    singular = resource.removesuffix("s")
    verb = operation_id.replace(f"_{resource}", "").replace(f"_{singular}", "")
    return resource, verb
