"""Every error as an RFC 9457 problem document: a table of statuses, and a handler for each kind of exception.

    {"type": "urn:webhook-service:error:INVALID_ARGUMENT", "title": "Unprocessable Content", "status": 422,
     "detail": "target_url: is required", "reason": "INVALID_ARGUMENT",
     "errors": [{"field": "target_url", "message": "is required"}],
     "request_id": "5acbd1f8d7cd832170ac28e2e7f8b0b6"}

`reason` is stable and for programs; `errors` names each invalid field as the caller wrote it; `request_id` is also in
the X-Request-Id header and in the log lines about the request.
"""

import dataclasses
import difflib
import re
import typing
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any

import grpc
import msgspec
import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

from services.platform import errors, ids
from services.platform.auth.authenticator import FORWARDED
from services.platform.errors import ErrorReason
from services.platform.grpc import errors as grpc_errors

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
# For suggestions of field names; the time of a comparison grows with the square of the length.
MAX_SUGGESTED_LENGTH = 64
SIMILARITY = 0.7
_WORDS = re.compile(r"[A-Z]*[a-z0-9]+|[A-Z]+")


def unknown_field(name: str, known: Collection[str]) -> str:
    """Return the error message for a field that is not one of the known ones."""
    meant = near_field(name, known)
    return f"is not a known field; did you mean {meant}?" if meant else "is not a known field"


def near_field(name: str, known: Collection[str]) -> str | None:
    """Return the known field with the most similar name, or the only one that shares a word."""
    words = set(_words(name[:MAX_SUGGESTED_LENGTH]))
    spelled = {"".join(_words(candidate)): candidate for candidate in known}
    close = difflib.get_close_matches("".join(_words(name[:MAX_SUGGESTED_LENGTH])), spelled, n=1, cutoff=SIMILARITY)
    if close:
        return spelled[close[0]]
    sharing = [candidate for candidate in known if words.intersection(_words(candidate))]
    return sharing[0] if len(sharing) == 1 else None


def _words(name: str) -> list[str]:
    """Return the words of a name, whether it is in snake_case, camelCase or kebab-case."""
    return [word.lower() for word in _WORDS.findall(name)]


def fields_at(route: APIRoute, place: str, path: Sequence[str | int]) -> Collection[str]:
    """Return the known field names at a path in the body or the query of a route."""
    if place == "body":
        found = [route.body_field] if route.body_field is not None else []
    else:
        found = list(route.dependant.query_params)
    models = [model for field in found if (model := _model(field.field_info.annotation)) is not None]
    for part in path:
        inner = [model.model_fields[str(part)] for model in models if str(part) in model.model_fields]
        models = [model for field in inner if (model := _model(field.annotation)) is not None]
    return [field.alias or name for model in models for name, field in model.model_fields.items()]


def _model(annotation: object) -> type[BaseModel] | None:
    """Return the model of an annotation such as `Model` or `Model | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in typing.get_args(annotation) if (model := _model(part)) is not None), None)


# The field of gRPC requests.
_TENANT = "tenant_id"
# What fields of requests are called in REST.
_REST = {
    "page_size": "limit",
    "page_token": "cursor",
    "subscription_ids": "subscription_id",
    "from_time": "from",
    "to_time": "to",
}


def refusal_of(error: grpc.aio.AioRpcError, *, tenant_field: str = "") -> errors.WebhookError:
    """Return the error to respond with for a service's refusal; one of the gateway's own key is not the caller's fault.

    `tenant_field` is the field in which the caller named the tenant, if it did.
    """
    refused = grpc_errors.from_rpc_error(error)
    spelled = _REST | ({_TENANT: tenant_field} if tenant_field else {})
    if any(violation.field in spelled for violation in refused.violations):
        renamed = [
            dataclasses.replace(violation, field=spelled.get(violation.field, violation.field))
            for violation in refused.violations
        ]
        message = refused.message
        for field, name in spelled.items():
            message = message.replace(f"{field}:", f"{name}:")
        refused = type(refused)(message, reason=refused.reason, violations=renamed)
    if not isinstance(refused, errors.Unauthenticated | errors.PermissionDenied):
        return refused
    if isinstance(refused, errors.SignatureMismatch):
        return refused
    if any(violation.field in FORWARDED for violation in refused.violations):
        # It is about the caller's key, such as one that was revoked a second ago.
        return type(refused)(refused.message, reason=refused.reason)
    log.error(
        "a service refused the gateway's service key; SERVICE_KEY must match, or the service's own key if it has one",
        reason=refused.reason,
        message=refused.message,
    )
    return errors.Unavailable("the service cannot be reached; try again")


class Malformed(errors.InvalidArgument):
    """The body does not match its content type."""

    reason = ErrorReason.MALFORMED_BODY


class UnsupportedMediaType(errors.InvalidArgument):
    """The body has a content type or an encoding that is not supported."""

    reason = ErrorReason.UNSUPPORTED_MEDIA_TYPE


class RateLimited(errors.Overloaded):
    """The key has made more requests than its rate allows."""

    reason = ErrorReason.RATE_LIMITED

    def __init__(self, *, retry_after_seconds: int) -> None:
        super().__init__("rate limit exceeded; retry after the delay in Retry-After")
        self.retry_after_seconds = retry_after_seconds


class RepeatedHeader(errors.InvalidArgument):
    """A header that has one value appears more than once."""

    reason = ErrorReason.HEADER_REPEATED


class TargetTooLong(errors.InvalidArgument):
    """The path and the query are too long together."""

    reason = ErrorReason.TARGET_TOO_LONG


# An error has the status of the first of its classes in this table.
STATUS: dict[type[Exception], int] = {
    Malformed: 400,
    RepeatedHeader: 400,
    UnsupportedMediaType: 415,
    errors.RequestTimeout: 408,
    TargetTooLong: 414,
    errors.PayloadTooLarge: 413,
    errors.PayloadInvalid: 422,
    errors.InvalidArgument: 422,
    errors.SignatureMismatch: 401,
    errors.SignatureMissing: 401,
    errors.SignatureExpired: 401,
    errors.Unauthenticated: 401,
    errors.PermissionDenied: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.IdempotencyKeyInUse: 409,
    errors.Gone: 410,
    errors.Erased: 410,
    errors.Outdated: 412,
    RateLimited: 429,
    errors.Overloaded: 429,
    errors.TenantOverloaded: 429,
    errors.QuotaExceeded: 429,
    errors.Unavailable: 503,
    errors.OutcomeUnknown: 503,
    errors.StreamEnded: 503,
    errors.WebhookError: 500,
}

# Methods that change nothing, so that their outcome does not matter if there is no response.
_READS = ("GET", "HEAD")

# The phrases of RFC 9110; those of the standard library differ between Python versions.
TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    412: "Precondition Failed",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class FieldError(msgspec.Struct, frozen=True):
    """A field with an error: its name in the request, and what is wrong."""

    field: str
    message: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error. `type` is `urn:webhook-service:error:` and the `reason`, or `about:blank` without one."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    reason: ErrorReason | None = None
    errors: tuple[FieldError, ...] = ()
    request_id: str | None = None


def status_of(error: errors.WebhookError) -> int:
    """Return the HTTP status of an error."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def document(error: errors.WebhookError) -> Problem:
    """Return the problem document of an error."""
    return _document(status_of(error), error.message, reason=error.reason, violations=error.violations)


def response(error: errors.WebhookError) -> Response:
    """Return the response to an error."""
    headers = {}
    if error.retry_after_seconds is not None:
        headers["retry-after"] = str(error.retry_after_seconds)
    if isinstance(error, errors.Unauthenticated):
        headers["www-authenticate"] = _challenge(error)
    return _answer(document(error), headers)


def _challenge(error: errors.Unauthenticated) -> str:
    """Return the WWW-Authenticate header of a 401 (RFC 9110, 15.5.2; RFC 6750, 3 for an invalid key)."""
    if isinstance(error, errors.SignatureMismatch):
        return error.violations[0].field if error.violations else "X-Hub-Signature-256"
    return "Bearer" if error.reason == ErrorReason.KEY_MISSING else 'Bearer error="invalid_token"'


def bug(error: Exception) -> Response:
    """Log an unexpected error with its trace, and return a response that has only the id of the log line."""
    return _answer(_logged(error))


def of(error: Exception) -> tuple[Problem, ErrorReason]:
    """Return the problem document of any error, and its reason, for a part of a response. A bug is logged."""
    if isinstance(error, errors.WebhookError):
        return document(error), error.reason
    return _logged(error), ErrorReason.INTERNAL


def _logged(error: Exception) -> Problem:
    instance = f"urn:uuid:{ids.new()}"
    log.error("a request failed because of a bug", instance=instance, exc_info=error)
    return _document(
        500, "internal error; it was logged with this instance id", reason=ErrorReason.INTERNAL, instance=instance
    )


def _document(
    status: int,
    detail: str,
    *,
    reason: ErrorReason | None = None,
    instance: str | None = None,
    violations: Sequence[errors.Violation] = (),
) -> Problem:
    return Problem(
        type=reason.uri if reason else "about:blank",
        title=TITLES.get(status, "Error"),
        status=status,
        detail=detail,
        instance=instance,
        reason=reason,
        errors=tuple(FieldError(violation.field, violation.description) for violation in violations),
        request_id=ids.CURRENT_REQUEST_ID.get(),
    )


def _answer(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(problem), problem.status, headers, MEDIA_TYPE)


async def _webhook_error(_: Request, error: errors.WebhookError) -> Response:
    return response(error)


async def _rpc_error(request: Request, error: grpc.aio.AioRpcError) -> Response:
    refused = refusal_of(error)
    if request.method in _READS and isinstance(refused, errors.OutcomeUnknown):
        return response(errors.Unavailable(grpc_errors.UNREACHABLE))
    return response(refused)


async def _invalid_request(request: Request, error: RequestValidationError) -> Response:
    found = error.errors()
    listed = [_violation(request, wrong) for wrong in found[: errors.MAX_VIOLATIONS]]
    return response(errors.InvalidArgument.of(*listed, more=len(found) - len(listed)))


def _violation(request: Request, found: Mapping[str, Any]) -> errors.Violation:
    place, *path = found["loc"]
    match found["type"]:
        case "value_error":
            message = str(found["ctx"]["error"])
        case "missing":
            message = "is required"
        case "extra_forbidden":
            message = unknown_field(str(path[-1]), fields_at(request.scope["route"], place, path[:-1]))
        case _:
            message = found["msg"][:1].lower() + found["msg"][1:]
    return errors.Violation(field=".".join(str(part) for part in path) or place, description=message)


async def _http_error(request: Request, error: HTTPException) -> Response:
    if error.status_code == 404:  # noqa: PLR2004 - plainer than a name
        return unknown_path()
    if error.status_code == 405:  # noqa: PLR2004
        return method_not_allowed(*_methods(request))
    return _answer(_document(error.status_code, str(error.detail)), error.headers)


def unknown_path(headers: Mapping[str, str] | None = None) -> Response:
    """Return the response to a path that does not exist."""
    detail = "this path does not exist; /docs lists the paths of the API"
    return _answer(_document(404, detail, reason=ErrorReason.UNKNOWN_PATH), headers)


def method_not_allowed(*supported: str) -> Response:
    """Return the response to a method that a path does not support."""
    allowed = ", ".join(supported)
    problem = _document(405, f"this path supports only {allowed}", reason=ErrorReason.METHOD_NOT_ALLOWED)
    return _answer(problem, {"allow": allowed})


def _methods(request: Request) -> list[str]:
    """Return the methods of a path over all of its routes, each of which knows only its own."""
    routes: list[BaseRoute] = request.app.routes

    def takes(method: str) -> bool:
        scope = {"type": "http", "method": method, "path": request.scope["path"], "root_path": ""}
        return any(route.matches(scope)[0] is Match.FULL for route in routes)

    found = [method for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") if takes(method)]
    return ["GET", "HEAD", *found[1:]] if found[:1] == ["GET"] else found


async def _bug(_: Request, error: Exception) -> Response:
    return bug(error)


Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]
HANDLERS: dict[int | type[Exception], Handler] = {
    errors.WebhookError: _webhook_error,
    grpc.aio.AioRpcError: _rpc_error,
    RequestValidationError: _invalid_request,
    HTTPException: _http_error,
    Exception: _bug,
}
