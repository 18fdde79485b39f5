"""Events to store, events as stored, and the results of storing them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import msgspec

from services.domain.idempotency import Key
from services.platform import errors


class Accepted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result of a committed event, as it is kept for a repeated call."""

    event_id: UUID
    # Set if exactly one delivery was created.
    delivery_id: UUID | None
    # 0 while it is expanding.
    deliveries: int
    # Whether its deliveries are still being created.
    expanding: bool = False
    # Whether the sender wants a response without a body.
    empty_answer: bool = False
    # Whether it was committed by an earlier call.
    repeated: bool = False
    # When it is due; None: it was when it was accepted.
    deliver_at: datetime | None = None

    @property
    def wanted(self) -> bool:
        """Return whether it has, or is to get, deliveries."""
        return self.expanding or self.deliveries > 0


Result = Accepted | errors.WebhookError

# A delivery to create: its id, its subscription's id, and whether it is steady: nothing holds it back, so a worker may
# be told as soon as it is committed. A plain tuple, because each event makes one.
NewDelivery: TypeAlias = tuple[UUID, UUID, bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class NewEvent:
    """An event to store, and the deliveries to create for it."""

    id: UUID
    tenant_id: str
    event_type: str | None
    content_type: str
    payload: bytes
    deliveries: Sequence[NewDelivery]
    # More than 0: its deliveries are created later (expansions.py), about so many.
    targets: int = 0
    # None: the payload is not encoded.
    content_encoding: str | None = None
    # As they are stored, such as "order=42".
    tags: Sequence[str] = ()
    # Whether the sender wants a response without a body.
    empty_answer: bool = False
    key: Key | None = None
    # Of its span, if it is traced.
    traceparent: str | None = None
    # The subscription that it is sent to; None: it goes to all that want its type.
    addressed_to: UUID | None = None
    # As SenderContext is stored; None: nothing is kept besides the payload.
    sender_context: str | None = None
    # When it becomes due, and gets its deliveries. None: at once.
    deliver_at: datetime | None = None
    # For how long after that its deliveries may be made. None: DELIVERY_EXPIRY_HOURS.
    within_seconds: int | None = None
    # When it was accepted, if it was scheduled, and is due now. None: now.
    accepted_at: datetime | None = None

    @property
    def was_scheduled(self) -> bool:
        """Return whether it was scheduled: its deliveries expire so long after the time in its id."""
        return self.accepted_at is not None

    @property
    def accepted(self) -> Accepted:
        """Return the result once it is committed."""
        if self.deliver_at is not None:
            return Accepted(event_id=self.id, delivery_id=None, deliveries=0, deliver_at=self.deliver_at)
        only = self.deliveries[0][0] if len(self.deliveries) == 1 else None
        return Accepted(
            event_id=self.id,
            delivery_id=only,
            deliveries=len(self.deliveries),
            expanding=bool(self.targets),
            empty_answer=self.empty_answer,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Handshake:
    """A provider's check that the URL works: nothing to store, and what to respond."""

    challenge: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredEvent:
    """An event as stored."""

    id: UUID
    tenant_id: str
    event_type: str | None
    content_type: str
    payload: bytes
    content_encoding: str | None
    created_at: datetime
    # Whether its deliveries are still being created.
    expanding: bool
    tags: Sequence[str]
    sender_context: str | None
    # When it is due; None: it was scheduled no longer, or never. And for how long after that it may be delivered.
    deliver_at: datetime | None = None
    deliver_within_seconds: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedEvent:
    """An event without its payload."""

    id: UUID
    tenant_id: str
    event_type: str | None
    content_type: str
    content_encoding: str | None
    created_at: datetime
    payload_bytes: int
    expanding: bool
    tags: Sequence[str]
    # None: it is not erased.
    erased_at: datetime | None
    # None: it has none.
    event_version: int | None
    # As of StoredEvent.
    deliver_at: datetime | None = None
    deliver_within_seconds: int | None = None


# The result of an item.
Answer: TypeAlias = Result | Handshake
