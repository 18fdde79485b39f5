"""What a worker has in hand: claims, their attempts, and what those make of deliveries."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from services.domain.states import AttemptOutcome, DeliveryReason, DeliveryStatus, Hold

# What a claim returns of a delivery that was stored a moment ago and may be sent.
FRESH: Mapping[str, Any] = {
    "attempt_count": 0,
    "failure_count": 0,
    "expired": False,
    "deleted": False,
    "held_by": None,
    "probe": False,
    "erased": False,
}


# Structs of msgspec, not data classes: each delivery makes three of them, and they take a tenth of the time.


class Claim(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A delivery that this worker holds, with all that sending it takes."""

    id: UUID
    token: UUID
    event_id: UUID
    subscription_id: UUID
    tenant_id: str
    event_type: str | None
    # That its first attempt gets, from 1, unless a late outcome of an earlier claim is recorded meanwhile.
    number: int
    failures: int
    created_at: datetime
    claimed_at: datetime
    # The same moment on this process's monotonic clock, or a little before.
    claimed_monotonic: float
    expired: bool
    deleted: bool
    # Why it must not be sent now: its subscription's state, or BREAKER_OPEN; None when it may be.
    held_by: Hold | None
    # Whether its subscription's breaker is half open: this is the one delivery that tries.
    probe: bool
    # Whether the last attempt that was recorded of its subscription failed.
    failing: bool
    # Of its subscription; None where it has none of its own.
    timeout_seconds: float | None
    retry_policy: str | None
    target_url: str
    # Of its endpoint: another target_url makes another one.
    endpoint_version: int
    # As they are stored, for services/domain/secrets/vault.py.
    sealed_secrets: bytes | None
    sealed_headers: bytes | None
    sealed_client_certificate: bytes | None
    content_type: str | None
    payload_bytes: int | None
    payload: bytes | None
    # None: the payload is not encoded.
    content_encoding: str | None = None
    # Of the span that its event was accepted in, if it is traced.
    traceparent: str | None = None
    # Of its subscription, if that has a template or is pinned to versions, which destinations/templates.py reads.
    template_version: int | None = None
    # Whether its event is there, and has no payload any more.
    erased: bool = False
    # Whether the headers of its event's provider are sent, and what the sender said of the event
    # (services/domain/sender_context.py).
    relay_headers: bool = False
    sender_context: str | None = None

    @property
    def is_of_new(self) -> bool:
        """Whether it is a test event of a subscription that is not created."""
        return self.id == self.subscription_id

    def at(self, monotonic: float) -> datetime:
        """Convert a moment of this process's monotonic clock to the database's clock."""
        return self.claimed_at + timedelta(seconds=monotonic - self.claimed_monotonic)


class Attempt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An attempt to record, which gives it its number."""

    started_at: datetime
    duration_ms: int | None
    status_code: int | None
    outcome: AttemptOutcome
    error_message: str | None
    response_body: str | None
    # As destinations/details.py encodes them; None: they are not recorded.
    details: str | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a claim's attempts make of its delivery."""

    claim: Claim
    status: DeliveryStatus
    delay_seconds: float = 0.0
    # Attempts that count toward the retry limit.
    failures: int = 0
    reason: DeliveryReason | None = None
    # The requests of the claim, in their order: at most two.
    attempts: Sequence[Attempt] = ()


def claim_of(row: Any, token: UUID, asked_at: float) -> Claim:
    """Return the claim of a row that a claiming statement returned."""
    return Claim(
        id=row["id"],
        token=token,
        event_id=row["event_id"],
        subscription_id=row["subscription_id"],
        tenant_id=row["tenant_id"],
        event_type=row["event_type"],
        number=row["attempt_count"] + 1,
        failures=row["failure_count"],
        created_at=row["created_at"],
        claimed_at=row["claimed_at"],
        claimed_monotonic=asked_at,
        expired=row["expired"],
        deleted=row["deleted"],
        held_by=None if row["held_by"] is None else Hold(row["held_by"]),
        probe=row["probe"],
        failing=row["failing"],
        timeout_seconds=row["timeout_seconds"],
        retry_policy=row["retry_policy"],
        target_url=row["target_url"],
        endpoint_version=row["endpoint_version"],
        sealed_secrets=row["sealed_secrets"],
        sealed_headers=row["sealed_headers"],
        sealed_client_certificate=row["sealed_client_certificate"],
        template_version=row["template_version"],
        content_type=row["content_type"],
        payload_bytes=row["payload_bytes"],
        payload=row["payload"],
        content_encoding=row["content_encoding"],
        traceparent=row["traceparent"],
        erased=row["erased"],
        relay_headers=row["relay_headers"],
        sender_context=row["sender_context"],
    )


def claim_of_message(row: Any, asked_at: float, message_id: UUID, event_type: str, *, number: int = 1) -> Claim:
    """Return what is sent like a delivery and is none; `row` is its subscription, and the time as `now`."""
    return Claim(
        id=message_id,
        token=message_id,
        event_id=message_id,
        subscription_id=row["id"],
        tenant_id=row["tenant_id"],
        event_type=event_type,
        number=number,
        failures=0,
        created_at=row["now"],
        claimed_at=row["now"],
        claimed_monotonic=asked_at,
        expired=False,
        deleted=False,
        held_by=None,
        probe=False,
        failing=False,
        timeout_seconds=row["timeout_seconds"],
        retry_policy=None,
        target_url=row["target_url"],
        endpoint_version=row["endpoint_version"],
        sealed_secrets=row["sealed_secrets"],
        sealed_headers=row["sealed_headers"],
        sealed_client_certificate=row["sealed_client_certificate"],
        template_version=row.get("template_version"),
        content_type=None,
        payload_bytes=None,
        payload=None,
    )
