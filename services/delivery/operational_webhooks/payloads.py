"""Operational events as they are sent; docs/guides/operational-events.md shows them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from services.domain.egress import targets
from services.domain.operational_facts import EventType


@dataclass(frozen=True, kw_only=True, slots=True)
class Telling:
    """What an event says, and of which subscription."""

    event_type: EventType
    tenant_id: str
    subscription_id: UUID
    happened_at: datetime
    reason: str | None
    last_error: str | None
    # Of delivery.exhausted: how many ended since `first_at`, and the last of them.
    deliveries: int = 0
    first_at: datetime | None = None
    last_delivery_id: UUID | None = None
    last_event_id: UUID | None = None
    last_attempts: int | None = None

    @classmethod
    def of_fact(cls, row: Any) -> "Telling":
        """From a row of `operational_facts`."""
        return cls(
            event_type=EventType(row["event_type"]),
            happened_at=row["happened_at"],
            **{name: row[name] for name in ("tenant_id", "subscription_id", "reason", "last_error")},
        )

    @classmethod
    def of_exhausted(cls, row: Any) -> "Telling":
        """From a row of `exhausted_deliveries`."""
        own = ("deliveries", "first_at", "last_delivery_id", "last_event_id", "last_attempts")
        return cls(
            event_type=EventType.EXHAUSTED,
            happened_at=row["last_at"],
            **{name: row[name] for name in ("tenant_id", "subscription_id", "reason", "last_error", *own)},
        )

    def payload(self, target_url: str) -> bytes:
        """The JSON that is sent."""
        data: dict[str, Any] = {
            "subscription_id": self.subscription_id,
            "target_host": targets.host_of(target_url),
            "reason": self.reason,
            "last_error": self.last_error,
        }
        if self.event_type is EventType.EXHAUSTED:
            data |= {
                "deliveries": self.deliveries,
                "since": _time(self.first_at or self.happened_at),
                "last_delivery_id": self.last_delivery_id,
                "last_event_id": self.last_event_id,
                "last_attempts": self.last_attempts,
            }
        document = {"type": self.event_type, "timestamp": _time(self.happened_at), "data": data}
        return msgspec.json.encode(document)


def _time(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, as everywhere."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
