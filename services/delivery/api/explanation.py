"""What to tell people about a delivery: a sentence on where it is and why, and what it waits for.

Written here once, so that nobody who shows a delivery has to put states together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from services.domain.states import AttemptOutcome, DeliveryReason, DeliveryStatus, Hold


class Wait(StrEnum):
    """What an unfinished delivery waits for, beside the holds: `waits_for.kind`."""

    # A worker that is free.
    WORKER = "worker"
    # The time of its next attempt.
    RETRY = "retry"
    # The receiver, to which it is being sent.
    RESPONSE = "response"


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitsFor:
    """What a delivery waits for, and until when at the latest that is known."""

    # A Wait or a Hold.
    kind: str
    until: datetime | None


class Known(Protocol):
    """What is known of a delivery."""

    @property
    def status(self) -> DeliveryStatus:
        """Its state."""
        ...

    @property
    def attempt_count(self) -> int:
        """Its attempts."""
        ...

    @property
    def due_at(self) -> datetime | None:
        """When it is due, while it is unfinished."""
        ...

    @property
    def expires_at(self) -> datetime | None:
        """When it fails, while it is unfinished."""
        ...

    @property
    def reason(self) -> str | None:
        """Why it failed or was cancelled."""
        ...

    @property
    def held_by(self) -> str | None:
        """What keeps it from being sent though it is due; '' if nothing does."""
        ...

    @property
    def probe_at(self) -> datetime | None:
        """When the endpoint is tried again, while its breaker is open."""
        ...

    @property
    def last_status_code(self) -> int | None:
        """The status code that its last attempt got, unless it is delivered."""
        ...

    @property
    def last_error_kind(self) -> str | None:
        """How its last attempt failed, unless it is delivered."""
        ...


# By their values, so that one of a later version, which is being rolled out, has no sentence and no error.
_HOLDS: Mapping[str, str] = {
    Hold.PAUSED: "its subscription is paused",
    Hold.DISABLED: "its subscription is disabled",
    Hold.UNVERIFIED: "its subscription's target has not answered a challenge yet",
    Hold.BREAKER_OPEN: "its endpoint keeps failing, so only a probe is sent to it from time to time",
    Hold.RECOVERING: "its endpoint has just recovered and gets deliveries little by little",
    Hold.CONCURRENCY: "as many requests as are allowed are already being sent",
    Hold.PULL: "no consumer has pulled it yet",
    Hold.RATE_LIMIT: "its subscription's rate limit is used up for the moment",
}
_ERRORS: Mapping[str, str] = {
    AttemptOutcome.TIMEOUT: "the receiver did not answer in time",
    AttemptOutcome.DNS: "the name of the receiver could not be resolved",
    AttemptOutcome.CONNECT: "no connection to the receiver could be made",
    AttemptOutcome.TLS: "the TLS connection to the receiver failed",
    AttemptOutcome.CONNECTION_LOST: "the receiver closed the connection",
    AttemptOutcome.INVALID_RESPONSE: "the receiver's answer was not valid HTTP",
    AttemptOutcome.EGRESS_DENIED: "the target is not an address that deliveries may go to",
    AttemptOutcome.INVALID_REQUEST: "the request could not be made from the subscription's settings",
    AttemptOutcome.SECRET_UNREADABLE: "the subscription's secrets could not be decrypted",
    AttemptOutcome.TEMPLATE_FAILED: "the subscription's template made nothing that could be sent",
    AttemptOutcome.CONSUMER_FAILED: "the consumer that pulled it reported a failure",
    AttemptOutcome.LEASE_EXPIRED: "the consumer that pulled it did not report what became of it before its lease ended",
    AttemptOutcome.INTERRUPTED: "the worker stopped before it knew the outcome",
}
_REASONS: Mapping[str, str] = {
    DeliveryReason.RETRIES_EXHAUSTED: "no retries are left",
    DeliveryReason.EXPIRED: "its lifetime ended",
    DeliveryReason.PAYLOAD_GONE: "its payload is no longer retained",
    DeliveryReason.WORKER_LOST: "workers were lost while they were sending it, again and again",
    DeliveryReason.CANCELLED: "somebody cancelled it",
    DeliveryReason.SUBSCRIPTION_DELETED: "its subscription was deleted",
    DeliveryReason.ERASED: "its event was erased",
}


def waits_for(delivery: Known) -> WaitsFor | None:
    """Return what a delivery waits for; None if it has ended."""
    if delivery.status is DeliveryStatus.IN_FLIGHT:
        return WaitsFor(kind=Wait.RESPONSE, until=None)
    if delivery.status not in {DeliveryStatus.PENDING, DeliveryStatus.SCHEDULED}:
        return None
    if delivery.held_by:
        return WaitsFor(kind=delivery.held_by, until=delivery.probe_at)
    if delivery.status is DeliveryStatus.SCHEDULED:
        return WaitsFor(kind=Wait.RETRY, until=delivery.due_at)
    return WaitsFor(kind=Wait.WORKER, until=None)


def explain(delivery: Known) -> str:
    """Return a sentence on where a delivery is and why."""
    waiting = waits_for(delivery)
    if delivery.status is DeliveryStatus.DELIVERED:
        return f"Delivered after {delivery.attempt_count} attempt{'' if delivery.attempt_count == 1 else 's'}."
    if waiting is None:
        why = _REASONS.get(delivery.reason) if delivery.reason else None
        head = delivery.status.capitalize() + (f": {why}" if why else "")
    elif waiting.kind == Wait.RESPONSE:
        return f"Being sent: attempt {delivery.attempt_count + 1} waits for the receiver's answer."
    elif waiting.kind == Wait.WORKER:
        head = "Waiting for a free worker"
    elif waiting.kind == Wait.RETRY:
        head = f"Waiting for attempt {delivery.attempt_count + 1}{_at(waiting.until)}"
    else:
        until = f"; the next probe may be sent{_at(waiting.until)}" if waiting.until else ""
        head = f"Waiting: {_HOLDS.get(waiting.kind, waiting.kind)}{until}"
    return f"{head}.{_last(delivery)}"


def _at(moment: datetime | None) -> str:
    return f" at {moment:%Y-%m-%dT%H:%M:%SZ}" if moment else ""


def _last(delivery: Known) -> str:
    """Return a sentence on the last attempt, if something is known of it."""
    if not delivery.attempt_count:
        return " It has not been attempted."
    if delivery.last_status_code is not None:
        return (
            f" The receiver responded to attempt {delivery.attempt_count} with status code {delivery.last_status_code}."
        )
    if delivery.last_error_kind is None:
        return ""
    said = _ERRORS.get(delivery.last_error_kind, delivery.last_error_kind)
    return f" Attempt {delivery.attempt_count} failed: {said}."
