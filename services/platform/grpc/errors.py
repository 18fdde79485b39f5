"""WebhookError to gRPC status with google.rpc details, and back."""

import itertools
import re
from collections.abc import Mapping, Sequence

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from services.platform import errors

DOMAIN = "webhook.v1"
DETAILS_KEY = "grpc-status-details-bin"
# A client refuses trailers over 8 KiB, and then says RESOURCE_EXHAUSTED in place of the error. The message is in them
# twice, once with each byte that is not ASCII as three, and the details as base64.
MAX_MESSAGE_BYTES = 900
MAX_VIOLATIONS_BYTES = 2400

_AND_MORE = re.compile(r"(?:; and [0-9]+ more)?\Z")
UNREACHABLE = "the service cannot be reached; try again"
UNANSWERED = "the service did not answer in time; what was asked may have been done"


def to_status(error: errors.WebhookError) -> status_pb2.Status:
    """Return the google.rpc.Status of an error, bounded so that every client can read it.

    It has ErrorInfo always, BadRequest and RetryInfo where they apply.
    """
    details = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)]
    packed = [_pack(details[0])]
    if error.violations:
        packed.append(
            _pack(
                error_details_pb2.BadRequest(
                    field_violations=[
                        error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
                        for v in _fitting(error.violations)
                    ]
                )
            )
        )
    if error.retry_after_seconds is not None:
        delay = duration_pb2.Duration(seconds=error.retry_after_seconds)
        packed.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status_pb2.Status(code=error.code, message=_fitting_message(error.message), details=packed)


def _fitting(violations: Sequence[errors.Violation]) -> list[errors.Violation]:
    """Return the first violations that fit in a status; all but a client's own long names do."""
    sizes = itertools.accumulate(len(v.field.encode()) + len(v.description.encode()) + 8 for v in violations)
    return [v for v, size in zip(violations, sizes, strict=True) if size <= MAX_VIOLATIONS_BYTES]


def _fitting_message(message: str) -> str:
    """Return a message, cut before the count of what it leaves out if it is too long."""
    encoded = message.encode()
    if len(encoded) <= MAX_MESSAGE_BYTES:
        return message
    tail = _AND_MORE.search(message)[0]  # type: ignore[index]  # it matches at the end at least
    return encoded[: MAX_MESSAGE_BYTES - len(tail) - len("…".encode())].decode(errors="ignore") + "…" + tail


def _pack(
    detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def code_number(error: errors.WebhookError) -> int:
    """Return the google.rpc.Code number of an error, for results in a batch."""
    return int(error.code)


_CODES = {code.value[0]: code for code in grpc.StatusCode}


def status_code(error: errors.WebhookError) -> grpc.StatusCode:
    """Return the code of an error as gRPC's library has it."""
    return _CODES[error.code]


# The error classes by (number of the gRPC code, reason), then by number alone.
_BY_REASON: Mapping[tuple[int, str], type[errors.WebhookError]] = {
    (int(cls.code), cls.reason): cls
    for cls in (
        errors.PayloadTooLarge,
        errors.PayloadInvalid,
        errors.SignatureMismatch,
        errors.SignatureMissing,
        errors.SignatureExpired,
        errors.IdempotencyKeyInUse,
        errors.Gone,
        errors.Erased,
        errors.OutcomeUnknown,
        errors.StreamEnded,
        errors.RequestTimeout,
    )
}
_BY_CODE: Mapping[int, type[errors.WebhookError]] = {
    int(cls.code): cls
    for cls in (
        errors.InvalidArgument,
        errors.Unauthenticated,
        errors.PermissionDenied,
        errors.NotFound,
        errors.Conflict,
        errors.Outdated,
        errors.Overloaded,
        errors.Unavailable,
    )
} | {
    # The call was not answered in time, or was cut.
    grpc.StatusCode.DEADLINE_EXCEEDED.value[0]: errors.OutcomeUnknown,
    grpc.StatusCode.CANCELLED.value[0]: errors.OutcomeUnknown,
}


def make(
    code: int, message: str, *, reason: str = "", violations: tuple[errors.Violation, ...] = ()
) -> errors.WebhookError:
    """Return the error for a google.rpc.Code number and a reason; WebhookError (INTERNAL) for unknown ones."""
    cls = _BY_REASON.get((code, reason)) or _BY_CODE.get(code, errors.WebhookError)
    return cls(message, reason=errors.ErrorReason.parse(reason), violations=violations)


def is_answer(error: grpc.aio.AioRpcError) -> bool:
    """Whether this was said by one of our servers, and not by gRPC about the connection."""
    return bool(_details(error))


def from_rpc_error(error: grpc.aio.AioRpcError) -> errors.WebhookError:
    """Rebuild a server's error from its typed details."""
    message = error.details() or UNREACHABLE
    code = int(error.code().value[0])
    # Transport messages name addresses that do not concern the caller.
    if not _details(error):
        if error.code() in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}:
            message = UNANSWERED
        elif error.code() is grpc.StatusCode.UNAVAILABLE:
            message = UNREACHABLE
        elif error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return _exhausted(message)
    reason, violations, wait_seconds = "", [], 0
    for packed in _details(error):
        info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if packed.Unpack(info):
            reason = info.reason
        elif packed.Unpack(bad_request):
            violations += [
                errors.Violation(field=v.field, description=v.description) for v in bad_request.field_violations
            ]
        elif packed.Unpack(retry):
            wait_seconds = retry.retry_delay.seconds
    made = make(code, message, reason=reason, violations=tuple(violations))
    if wait_seconds:
        made.retry_after_seconds = wait_seconds
    return made


def _exhausted(message: str) -> errors.WebhookError:
    """Return what gRPC itself says by RESOURCE_EXHAUSTED: a size over its bound, or more calls than a server takes."""
    if "larger than max" in message or "metadata size exceeds" in message:
        return errors.PayloadTooLarge.field("body", "is larger than the service accepts")
    return errors.Overloaded("the service is handling too many calls; try again")


def _details(error: grpc.aio.AioRpcError) -> list[any_pb2.Any]:
    trailers = error.trailing_metadata()
    raw = trailers.get(DETAILS_KEY) if trailers is not None else None
    if not isinstance(raw, bytes):
        return []
    return list(status_pb2.Status.FromString(raw).details)


def to_code_name(error: errors.WebhookError) -> str:
    """Return the canonical name of an error's code, such as NOT_FOUND."""
    return str(code_pb2.Code.Name(code_pb2.Code.ValueType(code_number(error))))
