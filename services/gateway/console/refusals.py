"""What a refusal by the access service is, as an error."""

from protos.webhook.v1 import access_pb2 as pb
from services.platform import errors
from services.platform.errors import ErrorReason


def refused(refusal: pb.Refusal) -> errors.WebhookError:
    """Return the error of a refusal by the access service."""
    reason = ErrorReason.parse(refusal.reason)
    kind = errors.PermissionDenied if reason is ErrorReason.ROLE_INSUFFICIENT else errors.Unauthenticated
    return kind(refusal.message, reason=reason)
