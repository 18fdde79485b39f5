"""The errors of this service, and what each becomes on the wire.

    WebhookError                     gRPC                  HTTP   retryable
    ├── InvalidArgument              INVALID_ARGUMENT      422
    ├── PayloadTooLarge              INVALID_ARGUMENT      413
    ├── PayloadInvalid               INVALID_ARGUMENT      422
    ├── Unauthenticated              UNAUTHENTICATED       401
    │   └── SignatureMismatch        UNAUTHENTICATED       401
    │       ├── SignatureMissing     UNAUTHENTICATED       401
    │       └── SignatureExpired     UNAUTHENTICATED       401
    ├── PermissionDenied             PERMISSION_DENIED     403
    ├── NotFound                     NOT_FOUND             404
    ├── Conflict                     FAILED_PRECONDITION   409
    │   └── IdempotencyKeyInUse      FAILED_PRECONDITION   409    yes
    ├── Gone                         FAILED_PRECONDITION   410
    │   └── Erased                   FAILED_PRECONDITION   410
    ├── Outdated                     ABORTED               412
    ├── RequestTimeout               DEADLINE_EXCEEDED     408    yes
    ├── Overloaded                   RESOURCE_EXHAUSTED    429    yes
    │   ├── TenantOverloaded         RESOURCE_EXHAUSTED    429    yes
    │   └── QuotaExceeded            RESOURCE_EXHAUSTED    429    yes
    └── Unavailable                  UNAVAILABLE           503    yes
        ├── OutcomeUnknown           UNAVAILABLE           503    yes
        └── StreamEnded              UNAVAILABLE           503    yes

Anything else that escapes is a bug: INTERNAL, 500, logged with its trace and answered without it.
The gRPC side is in grpc/errors.py; the HTTP side in the gateway's problems.py.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

RETRY_AFTER_SECONDS = 1
# An error lists so many fields at fault, and says how many more there are; a client's own names are cut.
MAX_VIOLATIONS = 20
MAX_NAME_LENGTH = 100
MAX_DESCRIPTION_LENGTH = 500


class Code(enum.IntEnum):
    """The codes of gRPC by their numbers; a worker, which serves no calls, does without the library."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class ErrorReason(enum.StrEnum):
    """Every reason code, over REST and gRPC. They are stable; docs/reference/errors.md says what to do about each."""

    INTERNAL = "INTERNAL"

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    MALFORMED_REQUEST = "MALFORMED_REQUEST"
    MALFORMED_BODY = "MALFORMED_BODY"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    PAYLOAD_INVALID = "PAYLOAD_INVALID"

    HEADER_REPEATED = "HEADER_REPEATED"
    HEADERS_TOO_LARGE = "HEADERS_TOO_LARGE"
    HOST_INVALID = "HOST_INVALID"
    TARGET_TOO_LONG = "TARGET_TOO_LONG"
    TRANSFER_ENCODING_UNSUPPORTED = "TRANSFER_ENCODING_UNSUPPORTED"
    REQUEST_TIMEOUT = "REQUEST_TIMEOUT"

    UNKNOWN_PATH = "UNKNOWN_PATH"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"

    KEY_MISSING = "KEY_MISSING"
    KEY_INVALID = "KEY_INVALID"
    KEY_EXPIRED = "KEY_EXPIRED"
    SIGNATURE_MISSING = "SIGNATURE_MISSING"
    SIGNATURE_MISMATCH = "SIGNATURE_MISMATCH"
    SIGNATURE_EXPIRED = "SIGNATURE_EXPIRED"

    PERMISSION_DENIED = "PERMISSION_DENIED"
    ROLE_INSUFFICIENT = "ROLE_INSUFFICIENT"
    CAPABILITY_MISSING = "CAPABILITY_MISSING"
    TENANT_FORBIDDEN = "TENANT_FORBIDDEN"
    SUBSCRIPTION_FORBIDDEN = "SUBSCRIPTION_FORBIDDEN"
    HOST_FORBIDDEN = "HOST_FORBIDDEN"
    CROSS_SITE_REQUEST = "CROSS_SITE_REQUEST"

    NOT_FOUND = "NOT_FOUND"
    PAYLOAD_GONE = "PAYLOAD_GONE"
    EVENT_ERASED = "EVENT_ERASED"
    ETAG_MISMATCH = "ETAG_MISMATCH"

    CONFLICT = "CONFLICT"
    IDEMPOTENCY_KEY_IN_USE = "IDEMPOTENCY_KEY_IN_USE"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
    EVENT_ID_TAKEN = "EVENT_ID_TAKEN"
    EVENT_NOT_SCHEDULED = "EVENT_NOT_SCHEDULED"

    DELIVERY_FINISHED = "DELIVERY_FINISHED"
    DELIVERY_IN_FLIGHT = "DELIVERY_IN_FLIGHT"

    JOB_CONFLICT = "JOB_CONFLICT"
    JOB_FINISHED = "JOB_FINISHED"
    TOO_MANY_JOBS = "TOO_MANY_JOBS"

    SUBSCRIPTION_DELETED = "SUBSCRIPTION_DELETED"
    SUBSCRIPTION_DISABLED = "SUBSCRIPTION_DISABLED"
    SUBSCRIPTION_PAUSED = "SUBSCRIPTION_PAUSED"
    SUBSCRIPTION_UNVERIFIED = "SUBSCRIPTION_UNVERIFIED"
    SUBSCRIPTION_IS_SYSTEM = "SUBSCRIPTION_IS_SYSTEM"
    SYSTEM_SUBSCRIPTION_EXISTS = "SYSTEM_SUBSCRIPTION_EXISTS"
    NAME_TAKEN = "NAME_TAKEN"
    EVENT_TYPE_EXISTS = "EVENT_TYPE_EXISTS"
    VERSION_PUBLISHED = "VERSION_PUBLISHED"
    CATALOG_FULL = "CATALOG_FULL"
    WRONG_DESTINATION = "WRONG_DESTINATION"

    SECRET_UNREADABLE = "SECRET_UNREADABLE"  # noqa: S105 - a reason code
    TOO_MANY_SECRETS = "TOO_MANY_SECRETS"

    TENANT_EXISTS = "TENANT_EXISTS"
    TENANT_IN_USE = "TENANT_IN_USE"
    TENANT_IS_DEFAULT = "TENANT_IS_DEFAULT"

    OVERLOADED = "OVERLOADED"
    TENANT_OVERLOADED = "TENANT_OVERLOADED"
    RATE_LIMITED = "RATE_LIMITED"
    QUOTA_SUBSCRIPTIONS = "QUOTA_SUBSCRIPTIONS"
    QUOTA_EVENTS_PER_SECOND = "QUOTA_EVENTS_PER_SECOND"
    QUOTA_WAITING_DELIVERIES = "QUOTA_WAITING_DELIVERIES"
    QUOTA_STORED_BYTES = "QUOTA_STORED_BYTES"
    QUOTA_SCHEDULED_EVENTS = "QUOTA_SCHEDULED_EVENTS"
    QUOTA_SCHEDULED_BYTES = "QUOTA_SCHEDULED_BYTES"
    UNAVAILABLE = "UNAVAILABLE"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    STREAM_ENDED = "STREAM_ENDED"

    @property
    def uri(self) -> str:
        """Return the `type` of problem documents with this reason.

        A URN, because there is no public site for a URL: it is the same in every installation.
        """
        return f"urn:webhook-service:error:{self}"

    @classmethod
    def parse(cls, text: str) -> "ErrorReason | None":
        """Return the reason that another process sent; None if this version does not know it."""
        return cls.__members__.get(text)


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A field at fault, by its name in the request, and what was expected of it."""

    field: str
    description: str

    def bounded(self) -> "Violation":
        """Return the same, with what is too long cut."""
        field, description = cut(self.field, MAX_NAME_LENGTH), cut(self.description, MAX_DESCRIPTION_LENGTH)
        return Violation(field=field, description=description)


def cut(text: str, length: int) -> str:
    """Return a text of at most so many characters; one that was cut ends in an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"


class WebhookError(Exception):
    """Base of all errors that are answered to a caller; `reason` is stable and machine-readable."""

    code: Code = Code.INTERNAL
    reason: ErrorReason = ErrorReason.INTERNAL
    retry_after_seconds: int | None = None

    def __init__(
        self, message: str, *, reason: ErrorReason | None = None, violations: Sequence[Violation] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).reason
        self.violations = tuple(violations)


class InvalidArgument(WebhookError):
    """One or more fields are not what was expected."""

    code = Code.INVALID_ARGUMENT
    reason = ErrorReason.INVALID_ARGUMENT

    @classmethod
    def of(cls, *violations: Violation, more: int = 0) -> Self:
        """Return the error for these violations and `more` that are not given; it lists the first 20 of them."""
        listed = [violation.bounded() for violation in violations[:MAX_VIOLATIONS]]
        more += len(violations) - len(listed)
        texts = [f"{violation.field}: {violation.description}" for violation in listed]
        if more:
            texts.append(f"and {more} more")
        return cls("; ".join(texts), violations=listed)

    @classmethod
    def field(cls, field: str, description: str) -> Self:
        """Return the error for a single field."""
        return cls.of(Violation(field=field, description=description))


class PayloadInvalid(InvalidArgument):
    """The payload does not match the schema of its event type."""

    reason = ErrorReason.PAYLOAD_INVALID


class PayloadTooLarge(InvalidArgument):
    """The payload is over MAX_PAYLOAD_BYTES."""

    reason = ErrorReason.PAYLOAD_TOO_LARGE


class Unauthenticated(WebhookError):
    """The API key is missing or not valid."""

    code = Code.UNAUTHENTICATED
    reason = ErrorReason.KEY_INVALID


class SignatureMismatch(Unauthenticated):
    """A signature was sent and does not hold."""

    reason = ErrorReason.SIGNATURE_MISMATCH

    @classmethod
    def header(cls, name: str, why: str) -> Self:
        """Return the error for the given header."""
        return cls(f"{name} {why}", violations=[Violation(field=name, description=why)])


class SignatureMissing(SignatureMismatch):
    """No signature was sent to a subscription that asks for one."""

    reason = ErrorReason.SIGNATURE_MISSING


class SignatureExpired(SignatureMismatch):
    """The signature is valid, but its timestamp is too far from the current time."""

    reason = ErrorReason.SIGNATURE_EXPIRED


class PermissionDenied(WebhookError):
    """The caller is known, and may not do this."""

    code = Code.PERMISSION_DENIED
    reason = ErrorReason.PERMISSION_DENIED


class NotFound(WebhookError):
    """The object is unknown, deleted, or another tenant's."""

    code = Code.NOT_FOUND
    reason = ErrorReason.NOT_FOUND


class Conflict(WebhookError):
    """The object's state forbids what was asked."""

    code = Code.FAILED_PRECONDITION
    reason = ErrorReason.CONFLICT


class IdempotencyKeyInUse(Conflict):
    """The first request with this idempotency key is still running."""

    reason = ErrorReason.IDEMPOTENCY_KEY_IN_USE
    retry_after_seconds = RETRY_AFTER_SECONDS


class Gone(WebhookError):
    """The requested data is no longer retained."""

    code = Code.FAILED_PRECONDITION
    reason = ErrorReason.PAYLOAD_GONE


class Erased(Gone):
    """The event was erased, which somebody asked for."""

    reason = ErrorReason.EVENT_ERASED


class Outdated(WebhookError):
    """The object was changed since the caller read it; nothing was changed by this request."""

    code = Code.ABORTED
    reason = ErrorReason.ETAG_MISMATCH


class RequestTimeout(WebhookError):
    """The caller did not send the whole request in time; nothing was done."""

    code = Code.DEADLINE_EXCEEDED
    reason = ErrorReason.REQUEST_TIMEOUT


class Overloaded(WebhookError):
    """A bounded queue is full; nothing was stored."""

    code = Code.RESOURCE_EXHAUSTED
    reason = ErrorReason.OVERLOADED
    retry_after_seconds = RETRY_AFTER_SECONDS


class QuotaExceeded(Overloaded):
    """The tenant would have or do more than its quota allows; nothing was stored. The reason names the quota."""

    def __init__(
        self,
        message: str,
        *,
        reason: ErrorReason | None = None,
        violations: Sequence[Violation] = (),
        retry_after_seconds: int = RETRY_AFTER_SECONDS,
    ) -> None:
        super().__init__(message, reason=reason, violations=violations)
        self.retry_after_seconds = retry_after_seconds


class TenantOverloaded(Overloaded):
    """A tenant has more waiting than its share of a bounded queue; nothing of this request was stored."""

    reason = ErrorReason.TENANT_OVERLOADED


class Unavailable(WebhookError):
    """A store or a service that is needed cannot be reached; try again."""

    code = Code.UNAVAILABLE
    reason = ErrorReason.UNAVAILABLE
    retry_after_seconds = RETRY_AFTER_SECONDS


class OutcomeUnknown(Unavailable):
    """Contact was lost before the outcome was known: what was asked may have been done."""

    reason = ErrorReason.OUTCOME_UNKNOWN


class StreamEnded(Unavailable):
    """A stream of responses is as old as it may be, or its process stops; another call goes on with it."""

    reason = ErrorReason.STREAM_ENDED


# Whether an error that is not of this tree means Unavailable: stores/availability.py adds to it where there are stores.
_UNAVAILABLE: list[Callable[[BaseException], bool]] = []


def add_unavailable(check: Callable[[BaseException], bool]) -> None:
    """Have classify() turn the errors that `check` accepts into Unavailable."""
    _UNAVAILABLE.append(check)


def classify(error: BaseException) -> WebhookError | None:
    """Return the error to answer with, or None when `error` is a bug of ours."""
    if isinstance(error, WebhookError):
        return error
    if any(check(error) for check in _UNAVAILABLE):
        return Unavailable("the database or Redis cannot be reached; try again")
    return None
