"""The OpenAPI document: what FastAPI makes of the routes, and what it cannot know."""

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from services.gateway.web import callers
from services.gateway.web import problems as problem_documents
from services.gateway.web.problems import Malformed, Problem, RequestTimeout, UnsupportedMediaType
from services.gateway.web.role_route import LEAST
from services.platform import errors
from services.platform.auth import keys

TITLE = "Webhook delivery service"
DESCRIPTION = """
Stores events and delivers them to the URLs that subscribed to them: signed, retried, and logged attempt by attempt.

1. Create a subscription with a `target_url`.
2. Send a webhook to it, or publish an event to all subscriptions of its type. **202** means that it is stored.
3. Look up the delivery: its status and every attempt.

* Send an API key as `Authorization: Bearer whk_…` (the button *Authorize* does). A key belongs to a tenant: objects of
  other tenants are **404**. If the key's role does not allow an operation, it is **403**.
* Errors are problem documents ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) that name each field at fault;
  `reason` is stable. Unknown fields are errors. An answer with `Retry-After`, such as **429** or **503**,
  is worth another try after that many seconds.
* A key of role `admin` acts in another tenant by `X-Tenant: acme`, and lists those of all by `?tenant=*`.
* Every answer has an `X-Request-Id`: your own if you send one. Keys with a rate also get `RateLimit` fields.
* Times are RFC 3339 in UTC. Ids are UUIDv7, which sort by time.
"""
# In the order in which a newcomer needs them.
TAGS = [
    {"name": "subscriptions", "description": "Where events go, and which."},
    {"name": "webhooks", "description": "Send a webhook to one subscription."},
    {"name": "events", "description": "Publish an event to all subscriptions of its type."},
    {"name": "deliveries", "description": "The status and the attempts of each delivery."},
    {"name": "statistics", "description": "Counts and latencies of attempts."},
    {"name": "admin", "description": "Tenants, API keys and the audit log. Requires role `admin`."},
    {"name": "operations", "description": "Health and metrics. No key needed."},
]

KEY_IN_USE = "The first request with this `Idempotency-Key` is still running (`IDEMPOTENCY_KEY_IN_USE`): try again."
KEY_REUSED = (
    "Fields are unknown, missing or wrong; each is named. Or the `Idempotency-Key` was used with another request "
    "(`IDEMPOTENCY_KEY_REUSED`)."
)
# The header of an answer that repeats an earlier one.
REPLAYED = "Idempotent-Replayed"
REPLAYED_HEADER: dict[str, Any] = {
    REPLAYED: {
        "description": "`true` when this is the answer to an earlier request, and this one made nothing; else absent.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}
IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": (
        "Chosen by the caller, for one request and its repetitions: a second request with the same key and body makes "
        "nothing and gets the same answer, with `Idempotent-Replayed: true`. One with another body is 422. One that "
        "comes while the first is still running waits a moment for it, and then is 409. Keys are kept for 24 hours."
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}

# What every request with a body can be answered with, besides what every request can.
WITH_BODY = (400, 408, 413, 415)
_ALWAYS = (401, 403, 422, 429, 500, 503)
_SCHEME = "bearerAuth"
_SCHEMA_PREFIX = "#/components/schemas/"

_EXAMPLES: dict[int, tuple[str, errors.WebhookError]] = {
    400: ("The body is not what its content type says.", Malformed("the body is not valid JSON: invalid number")),
    401: ("The API key is missing, unknown, revoked or has expired.", keys.missing()),
    403: (
        "The API key's role does not allow it.",
        errors.PermissionDenied(
            "this requires an API key of role write; this key has role read",
            reason=errors.ErrorReason.ROLE_INSUFFICIENT,
        ),
    ),
    404: ("It is unknown, deleted, or another tenant's.", errors.NotFound("there is no such subscription")),
    408: ("The body did not arrive in time.", RequestTimeout("the body did not arrive within 30 s")),
    409: (
        "Its state forbids it.",
        errors.Conflict("a worker has the delivery in hand", reason=errors.ErrorReason.DELIVERY_IN_FLIGHT),
    ),
    410: ("Its payload is no longer retained.", errors.Gone("the payload is no longer retained")),
    412: (
        "It was changed since its `ETag` was read.",
        errors.Outdated('the subscription was changed; its ETag is "8"'),
    ),
    413: (
        "The body or its payload is too large.",
        errors.PayloadTooLarge.field("payload", "must be at most 1048576 bytes"),
    ),
    415: (
        "The body is of another type, or encoded.",
        UnsupportedMediaType.field("Content-Type", "must be application/json"),
    ),
    422: (
        "Fields are unknown, missing or wrong; each is named.",
        errors.InvalidArgument.field("event_type", "must be 1 to 128 characters of A-Z a-z 0-9 . _ - / :"),
    ),
    429: (
        "Too much waits already, or the key has made too many requests.",
        errors.Overloaded("too many requests wait; try again"),
    ),
    500: ("A bug of this service; it was logged.", errors.WebhookError("internal error; it was logged")),
    503: ("A store or a service cannot be reached.", errors.Unavailable("a store that this needs cannot be reached")),
}
_IN_USE = errors.IdempotencyKeyInUse("the first request with this Idempotency-Key is still running; try again")
# Operations that do not act in a tenant.
_OF_NO_TENANT = frozenset(("create_tenant", "list_tenants", "delete_tenant", "revoke_api_key"))
_TENANT: dict[str, Any] = {
    "name": callers.TENANT,
    "in": "header",
    "required": False,
    "description": (
        "The tenant to act in. Absent: that of the key. Another tenant requires a key of role `admin`, and leaves an "
        "entry in the audit log."
    ),
    # Without an example, which Swagger UI would send.
    "schema": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$"},
}
_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait before the next try.", "schema": {"type": "integer"}, "example": 1}
}


def problems(*statuses: int, described: dict[int, str] | None = None) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route: these, those with a description of their own, and those of every route."""
    described = described or {}
    found: dict[int | str, dict[str, Any]] = {
        status: _problem(status, described.get(status)) for status in sorted({*statuses, *described, *_ALWAYS})
    }
    found["default"] = {
        "description": (
            "Any other error: 400 for a header that must not be repeated and is, 405 for another method, 414 for a "
            "path and query over 8 KiB, 431 for over 100 headers or 64 KiB of them."
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
    """A reference to a schema of the document."""
    return {"$ref": _SCHEMA_PREFIX + name}


def install(app: FastAPI, paths: dict[str, dict[str, Any]], *structs: type[msgspec.Struct]) -> None:
    """Makes `app` describe these paths and the schemas of these structs beside its own routes."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _build(app, paths, structs)
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
        license_info=None,
    )
    # Of each tag, what the resources' modules have comes in their order, and before it what is plain ASGI.
    described = dict(paths)
    for path, operations in built["paths"].items():
        described[path] = described.get(path, {}) | operations
    built["paths"] = {
        path: {method: operation | _who_may(operation) for method, operation in operations.items()}
        for path, operations in described.items()
    }
    _, schemas = msgspec.json.schema_components((Problem, *structs), ref_template=_SCHEMA_PREFIX + "{name}")
    components = built.setdefault("components", {})
    components.setdefault("schemas", {}).update(schemas)
    components["securitySchemes"] = {
        _SCHEME: {"type": "http", "scheme": "bearer", "description": "An API key: `whk_…`"}
    }
    return built


def _who_may(operation: dict[str, Any]) -> dict[str, Any]:
    """Describe the key that an operation requires, and how an admin names another tenant. Probes take no key."""
    role = LEAST.get(operation["operationId"])
    if role is None:
        return {"security": []}
    described = f"{operation['description']}\n\nRequires a key of role `{role}`."
    found = {"security": [{_SCHEME: []}], "description": described}
    if operation["operationId"] not in _OF_NO_TENANT:
        found["parameters"] = [*operation.get("parameters", ()), _TENANT]
    return found
