"""The OpenAPI document: what FastAPI generates from the routes, and the parts that it cannot know."""

import json
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from services.gateway.web import callers
from services.gateway.web import problems as problem_documents
from services.gateway.web.problems import Malformed, Problem, UnsupportedMediaType
from services.gateway.web.routing import least_role
from services.platform import errors
from services.platform.auth import keys

TITLE = "Webhook delivery service"
DESCRIPTION = """
Stores events and delivers them to subscribed URLs. Deliveries are signed and retried, and every attempt is logged.

1. Create a subscription with a `target_url`.
2. Send a webhook to it, or publish an event to all subscriptions of its type. **202** means that it is stored.
3. Get the delivery: its status and every attempt.

* Send an API key as `Authorization: Bearer whk_…` (use the *Authorize* button). A key belongs to a tenant: objects of
  other tenants return **404**. If the key's role does not allow an operation, it returns **403**.
* Errors are problem documents ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) that name each invalid field;
  `reason` is a stable code. Unknown fields are errors. If a response has `Retry-After`, such as **429** or **503**,
  try again after that many seconds.
* A key with role `admin` can act in another tenant with `X-Tenant: acme`, and list all tenants with `?tenant=*`.
* Every response has an `X-Request-Id`: your own if you send one. Keys with a rate limit also get `RateLimit` headers.
* Times are RFC 3339 in UTC. Ids are UUIDv7, which sort by time.
"""
LICENSE = {"name": "Apache License 2.0", "identifier": "Apache-2.0"}
# In the order in which a new user needs them.
TAGS = [
    {"name": "subscriptions", "description": "Which events are sent where."},
    {"name": "webhooks", "description": "Send a webhook to one subscription."},
    {"name": "events", "description": "Publish an event to all subscriptions of its type."},
    {"name": "catalog", "description": "Which types of events there are, and what is in them."},
    {"name": "deliveries", "description": "The status and the attempts of each delivery."},
    {"name": "jobs", "description": "Retry, replay, or cancel many deliveries at once."},
    {"name": "statistics", "description": "Counts and latencies of attempts."},
    {"name": "portal", "description": "Let customers see and steer what is theirs."},
    {"name": "admin", "description": "Tenants, API keys, the audit log and the system. Requires role `admin`."},
    {"name": "operations", "description": "Health and metrics. No API key is needed."},
    {"name": "received", "description": "What receivers get."},
]

KEY_IN_USE = "The first request with this `Idempotency-Key` is still running (`IDEMPOTENCY_KEY_IN_USE`): try again."
KEY_REUSED = (
    "Fields are unknown, missing, or invalid; `errors` names each. Or the `Idempotency-Key` was used with a different "
    "request (`IDEMPOTENCY_KEY_REUSED`)."
)
# The header of a response that repeats an earlier one.
REPLAYED = "Idempotent-Replayed"
REPLAYED_HEADER: dict[str, Any] = {
    REPLAYED: {
        "description": "`true` if this repeats an earlier response and nothing was created; otherwise absent.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}
IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": (
        "Identifies a request and its retries. A second request with the same key and body creates nothing and gets "
        "the same response, with `Idempotent-Replayed: true`. With a different body it returns 422. While the first "
        "request is still running it waits briefly, then returns 409. Keys are kept for 24 hours."
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}

# Statuses of every request with a body, in addition to those of every request.
WITH_BODY = (400, 408, 413, 415)
_ALWAYS = (401, 403, 422, 429, 500, 503)
_SCHEME = "bearerAuth"
_SCHEMA_PREFIX = "#/components/schemas/"

_EXAMPLES: dict[int, tuple[str, errors.WebhookError]] = {
    400: ("The body does not match its content type.", Malformed("the body is not valid JSON: invalid number")),
    401: ("The API key is missing, unknown, revoked, or expired.", keys.missing()),
    403: (
        "The API key's role does not allow this operation.",
        errors.PermissionDenied(
            "this requires an API key with role write; this key has role read",
            reason=errors.ErrorReason.ROLE_INSUFFICIENT,
        ),
    ),
    404: (
        "The object is unknown, deleted, or belongs to another tenant.",
        errors.NotFound("subscription 019ced6f-8a27-7c3e-9b1a-5d0f4e2c7b61 not found"),
    ),
    408: ("The body did not arrive in time.", errors.RequestTimeout("the body did not arrive within 30 s")),
    409: (
        "The state of the object does not allow this.",
        errors.Conflict("a worker is sending this delivery; try again", reason=errors.ErrorReason.DELIVERY_IN_FLIGHT),
    ),
    410: (
        "The payload is no longer retained, or was erased (`EVENT_ERASED`).",
        errors.Gone("the payload is no longer retained"),
    ),
    412: (
        "The subscription was changed since its `ETag` was read.",
        errors.Outdated('the subscription was changed; its ETag is "8"'),
    ),
    413: (
        "The body or its payload is too large.",
        errors.PayloadTooLarge.field("payload", "must be at most 1048576 bytes"),
    ),
    415: (
        "The body has an unsupported content type or encoding.",
        UnsupportedMediaType.field("Content-Type", "must be application/json"),
    ),
    422: (
        "Fields are unknown, missing, or invalid; `errors` names each.",
        errors.InvalidArgument.field("event_type", "must be 1 to 128 characters of A-Z a-z 0-9 . _ - / :"),
    ),
    429: (
        "Too many requests are waiting, the key has made too many requests, or the tenant has used up a quota.",
        errors.Overloaded("too many requests are waiting; try again"),
    ),
    500: (
        "A bug in the service; it was logged.",
        errors.WebhookError("internal error; it was logged with this instance id"),
    ),
    503: (
        "A store or a service cannot be reached.",
        errors.Unavailable("the database or Redis cannot be reached; try again"),
    ),
}
_IN_USE = errors.IdempotencyKeyInUse("the first request with this Idempotency-Key is still running; try again")
# Operations that do not act in a tenant.
_WITHOUT_TENANT = frozenset(
    ("create_tenant", "list_tenants", "delete_tenant", "revoke_api_key", "revoke_session", "get_system")
)
_TENANT: dict[str, Any] = {
    "name": callers.TENANT,
    "in": "header",
    "required": False,
    "description": (
        "The tenant to act in. Default: the key's tenant. Another tenant requires a key with role `admin`, and is "
        "recorded in the audit log."
    ),
    # No example, because Swagger UI would send it.
    "schema": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$"},
}
_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait before trying again.", "schema": {"type": "integer"}, "example": 1}
}


def problems(*statuses: int, described: dict[int, str] | None = None) -> dict[int | str, dict[str, Any]]:
    """Return the error responses of a route: these, those described, and those of every route."""
    described = described or {}
    found: dict[int | str, dict[str, Any]] = {
        status: _problem(status, described.get(status)) for status in sorted({*statuses, *described, *_ALWAYS})
    }
    found["default"] = {
        "description": (
            "Any other error: 400 for a repeated header that must not be repeated, 405 for an unsupported method, "
            "414 for a path and query over 8 KiB, 431 for more than 100 headers or 64 KiB of headers."
        ),
        "content": {problem_documents.MEDIA_TYPE: {"schema": ref("Problem")}},
    }
    return found


def _problem(status: int, description: str | None) -> dict[str, Any]:
    usual, error = _EXAMPLES[status]
    if description is not None and description.startswith(KEY_IN_USE):
        error = _IN_USE
    media = {"schema": ref("Problem"), "example": msgspec.to_builtins(problem_documents.document(error))}
    response: dict[str, Any] = {
        "description": description or usual,
        "content": {problem_documents.MEDIA_TYPE: media},
    }
    if error.retry_after_seconds is not None:
        response["headers"] = _RETRY_AFTER
    return response


def ref(name: str) -> dict[str, str]:
    """Return a reference to a schema of the document."""
    return {"$ref": _SCHEMA_PREFIX + name}


def install(
    app: FastAPI,
    paths: dict[str, dict[str, Any]],
    *structs: type[msgspec.Struct],
    webhooks: dict[str, dict[str, Any]],
    schemas: dict[str, dict[str, Any]],
) -> None:
    """Add these paths, webhooks, schemas, and the schemas of these structs to the OpenAPI document of `app`."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            built = _build(app, paths, structs)
            built["webhooks"] = webhooks
            built["components"]["schemas"].update(schemas)
            _name_schemas(built)
            app.openapi_schema = built
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's manual has it


def _build(app: FastAPI, paths: dict[str, dict[str, Any]], structs: tuple[type[msgspec.Struct], ...]) -> dict[str, Any]:
    built = get_openapi(
        title=app.title,
        version=app.version,
        summary="Events in, signed and retried webhooks out.",
        description=DESCRIPTION,
        routes=app.routes,
        tags=TAGS,
        servers=[{"url": "/", "description": "This server"}],
        license_info=LICENSE,
    )
    # Within a tag the plain ASGI routes come first, then those of the resources in their order.
    described = dict(paths)
    for path, operations in built["paths"].items():
        described[path] = described.get(path, {}) | operations
    built["paths"] = {
        path: {method: operation | _access(operation) for method, operation in operations.items()}
        for path, operations in described.items()
    }
    _, schemas = msgspec.json.schema_components((Problem, *structs), ref_template=_SCHEMA_PREFIX + "{name}")
    components = built.setdefault("components", {})
    components.setdefault("schemas", {}).update(schemas)
    components["securitySchemes"] = {
        _SCHEME: {"type": "http", "scheme": "bearer", "description": "An API key: `whk_…`"}
    }
    return built


def _name_schemas(document: dict[str, Any]) -> None:
    """Move every object and enum with a title out of the operations: generators name their types by the schemas.

    Titles of fields go, which repeat the fields' names: generators would make a type of each.
    """
    schemas = document["components"]["schemas"]

    def named(node: Any, *, field: bool = False) -> Any:
        if isinstance(node, list):
            return [named(item) for item in node]
        if not isinstance(node, dict):
            return node
        found = {
            key: value
            if key in {"example", "examples", "default", "enum"}
            else {name: named(schema, field=True) for name, schema in value.items()}
            if key == "properties"
            else named(value, field=key in {"schema", "items", "additionalProperties"})
            for key, value in node.items()
        }
        if "enum" in found:  # msgspec leaves the type out
            found.setdefault("type", "string")
        title = found.get("title")
        if isinstance(title, str) and {"properties", "enum"} & found.keys():
            schemas[title] = found
            return ref(title)
        if field and isinstance(title, str):
            del found["title"]
        return found

    for part in ("paths", "webhooks"):
        document[part] = named(document[part])
    for name, schema in list(schemas.items()):
        schemas[name] = {key: value for key, value in schema.items() if key != "title"}
        schemas[name] = named(schemas[name])
        for field, value in schemas[name].get("properties", {}).items():
            schemas[name]["properties"][field] = _without_default(value, said=not name.endswith("Patch"))


def _without_default(schema: dict[str, Any], *, said: bool) -> dict[str, Any]:
    """Say the default of a field in words: generators take a field that has one for a field that is always there."""
    if "default" not in schema:
        return schema
    found = {key: value for key, value in schema.items() if key != "default"}
    default, described = schema["default"], schema.get("description", "")
    if said and default not in (None, "", [], (), {}) and "default" not in described.lower():
        found["description"] = f"{described} Default: `{json.dumps(default)}`.".lstrip()
    return found


def _access(operation: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of an operation that say which key it requires, and X-Tenant. Probes need no key."""
    role = least_role(operation["operationId"])
    if role is None:
        return {"security": []}
    described = f"{operation['description']}\n\nRequires a key with role `{role}`."
    found = {"security": [{_SCHEME: []}], "description": described}
    if operation["operationId"] not in _WITHOUT_TENANT:
        found["parameters"] = [*operation.get("parameters", ()), _TENANT]
    return found
