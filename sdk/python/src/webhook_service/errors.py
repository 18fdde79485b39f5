"""What can go wrong.

WebhookServiceError
+- ConnectionFailed             no response: the service cannot be reached, or took too long
+- ApiError                     the service refused the request; `reason` is stable
|  +- InvalidRequest            400, 413, 415, 422
|  +- AuthenticationFailed      401
|  +- PermissionDenied          403
|  +- NotFound                  404
|  +- Conflict                  409, 412
|  +- Gone                      410
|  +- RateLimited               429
|  +- ServiceUnavailable        408, 503
+- VerificationFailed           a delivery is not what it claims to be
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec


class WebhookServiceError(Exception):
    """Anything that this package raises on purpose."""


class ConnectionFailed(WebhookServiceError):
    """There was no response, so it is not known whether the request had an effect."""


class VerificationFailed(WebhookServiceError):
    """The signature or the time of a delivery is missing or wrong."""


@dataclass(frozen=True, kw_only=True)
class FieldError:
    """What is wrong with a field of a request."""

    field: str
    message: str


class ApiError(WebhookServiceError):
    """The service refused a request (RFC 9457). `reason` is a stable code, and `errors` names each invalid field."""

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        reason: str | None = None,
        errors: tuple[FieldError, ...] = (),
        request_id: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.reason = reason
        self.errors = errors
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds


class InvalidRequest(ApiError):
    """The request is invalid; `errors` names each field."""


class AuthenticationFailed(ApiError):
    """The API key is missing, unknown, revoked, or expired."""


class PermissionDenied(ApiError):
    """The API key's role does not allow this."""


class NotFound(ApiError):
    """The object is unknown, deleted, or belongs to another tenant."""


class Conflict(ApiError):
    """The state of the object does not allow this."""


class Gone(ApiError):
    """The payload is no longer retained, or was erased."""


class RateLimited(ApiError):
    """There were too many requests, or a quota is used up."""


class ServiceUnavailable(ApiError):
    """The service cannot be reached or is overloaded: try again."""


_BY_STATUS: Mapping[int, type[ApiError]] = {
    400: InvalidRequest,
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: NotFound,
    408: ServiceUnavailable,
    409: Conflict,
    410: Gone,
    412: Conflict,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: RateLimited,
    503: ServiceUnavailable,
}


def of_response(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """Return the error that a response tells of, also if it is not from the service but from a proxy."""
    try:
        problem = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = None
    found: dict[str, Any] = problem if isinstance(problem, dict) else {}
    listed = found.get("errors")
    fields = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return _BY_STATUS.get(status, ApiError)(
        str(found.get("detail") or f"the response has status {status}"),
        status=status,
        reason=found.get("reason"),
        errors=tuple(FieldError(field=str(one.get("field")), message=str(one.get("message"))) for one in fields),
        request_id=found.get("request_id") or headers.get("x-request-id"),
        retry_after_seconds=retry_after(headers),
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of `Retry-After`; None without it, and for a date, which the service never sends."""
    text = headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None
