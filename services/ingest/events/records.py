"""Events to store, and the results of storing them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import msgspec

from services.ingest.events.idempotency import Key
from services.platform import errors


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a committed event, as it is kept for a repeated call."""

    event_id: UUID
    # Set if exactly one delivery was created.
    delivery_id: UUID | None
    deliveries: int
    # Whether the sender wants a response without a body.
    empty_answer: bool = False
    # Whether it was committed by an earlier call.
    repeated: bool = False


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
    # None: the payload is not encoded.
    content_encoding: str | None = None
    # Whether the sender wants a response without a body.
    empty_answer: bool = False
    key: Key | None = None
    # Of its span, if it is traced.
    traceparent: str | None = None

    @property
    def accepted(self) -> Accepted:
        """Return the result once it is committed."""
        only = self.deliveries[0][0] if len(self.deliveries) == 1 else None
        return Accepted(
            event_id=self.id, delivery_id=only, deliveries=len(self.deliveries), empty_answer=self.empty_answer
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


# The result of an item.
Answer: TypeAlias = Result | Handshake
