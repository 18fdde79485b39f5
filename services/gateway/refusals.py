"""What a service's refusal of a call is to whoever called the gateway."""

import dataclasses

import grpc
import structlog

from services.platform import errors
from services.platform.auth.authenticator import FORWARDED
from services.platform.grpc import errors as grpc_errors

# As requests of gRPC name it.
_TENANT = "tenant_id"
log = structlog.get_logger(__name__)


def of(error: grpc.aio.AioRpcError, *, tenant_field: str = "") -> errors.WebhookError:
    """Return the error to answer with. That a service refuses our own key is no fault of the caller's.

    `tenant_field` is where the caller stated the tenant, if it did.
    """
    refused = grpc_errors.from_rpc_error(error)
    if tenant_field and any(violation.field == _TENANT for violation in refused.violations):
        renamed = [
            dataclasses.replace(violation, field=tenant_field) if violation.field == _TENANT else violation
            for violation in refused.violations
        ]
        message = refused.message.replace(f"{_TENANT}:", f"{tenant_field}:")
        refused = type(refused)(message, reason=refused.reason, violations=renamed)
    if not isinstance(refused, errors.Unauthenticated | errors.PermissionDenied):
        return refused
    if isinstance(refused, errors.SignatureMismatch):
        return refused
    if any(violation.field in FORWARDED for violation in refused.violations):
        # Of the caller's key, such as one that was revoked a second ago.
        return type(refused)(refused.message, reason=refused.reason)
    log.error(
        "a service refuses our service key: SERVICE_KEY, or the service's own key, must be the same in both",
        reason=refused.reason,
        message=refused.message,
    )
    return errors.Unavailable("the service cannot be reached; try again")
