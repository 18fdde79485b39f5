"""What a service's refusal of a call is to whoever called the gateway."""

import grpc
import structlog

from services.common import errors, grpc_errors

log = structlog.get_logger(__name__)


def of(error: grpc.aio.AioRpcError) -> errors.WebhookError:
    """The error to answer with. That a service does not take our own key is no fault of the caller's."""
    refused = grpc_errors.from_rpc_error(error)
    ours = isinstance(refused, errors.Unauthenticated | errors.PermissionDenied)
    if not ours or isinstance(refused, errors.SignatureMismatch):
        return refused
    log.error("a service does not take SERVICE_KEY: it has to be the same in all processes", reason=refused.reason)
    return errors.Unavailable("the service cannot be reached; try again")
