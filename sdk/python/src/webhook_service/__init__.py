"""Client for the webhook delivery service: publish events, manage subscriptions, and receive what they get."""

from webhook_service.client import AsyncClient, Client
from webhook_service.errors import (
    ApiError,
    AuthenticationFailed,
    Conflict,
    ConnectionFailed,
    Gone,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServiceUnavailable,
    VerificationFailed,
    WebhookServiceError,
)
from webhook_service.verification import Verified, verify
from webhook_service.version import VERSION

__version__ = VERSION
__all__ = [
    "ApiError",
    "AsyncClient",
    "AuthenticationFailed",
    "Client",
    "Conflict",
    "ConnectionFailed",
    "Gone",
    "InvalidRequest",
    "NotFound",
    "PermissionDenied",
    "RateLimited",
    "ServiceUnavailable",
    "VerificationFailed",
    "Verified",
    "WebhookServiceError",
    "__version__",
    "verify",
]
