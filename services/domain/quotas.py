"""Quotas of a tenant: what it may have and do, so that none takes what others need.

A tenant has the quotas of the settings, unless an operator gave it others.
"""

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pydantic import Field

from services.platform.errors import ErrorReason
from services.platform.settings import Settings


class Quota(enum.StrEnum):
    """The kinds, by their names in REST and gRPC."""

    SUBSCRIPTIONS = "subscriptions"
    EVENTS_PER_SECOND = "events_per_second"
    WAITING_DELIVERIES = "waiting_deliveries"
    STORED_BYTES = "stored_bytes"

    @property
    def column(self) -> str:
        """Of `tenants`, where a tenant's own quota is."""
        return f"max_{self}"

    @property
    def reason(self) -> ErrorReason:
        """Of the error for a tenant that would exceed it."""
        return ErrorReason(f"QUOTA_{self.upper()}")


class Bounds(NamedTuple):
    """The least and the largest value of a quota."""

    least: float
    most: float


BOUNDS: Mapping[Quota, Bounds] = {
    Quota.SUBSCRIPTIONS: Bounds(1, 10_000_000),
    Quota.EVENTS_PER_SECOND: Bounds(0.01, 1_000_000),
    Quota.WAITING_DELIVERIES: Bounds(1, 1_000_000_000),
    Quota.STORED_BYTES: Bounds(1 << 20, 1 << 50),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Quotas:
    """All quotas of a tenant."""

    subscriptions: int
    events_per_second: float
    # Deliveries that are not finished.
    waiting_deliveries: int
    # Payloads of the events that are retained.
    stored_bytes: int

    def with_own(self, own: Mapping[Quota, float | None]) -> "Quotas":
        """Return the same with a tenant's own quotas; None: it has none of its own."""
        given = {quota.value: value for quota, value in own.items() if value is not None}
        return dataclasses.replace(self, **given) if given else self  # type: ignore[arg-type]  # each has its own type


class QuotaSettings(Settings):
    """The quotas of a tenant that has none of its own."""

    quota_subscriptions: Annotated[int, Field(ge=1, le=10_000_000)] = 200_000
    quota_events_per_second: Annotated[float, Field(ge=0.01, le=1_000_000, allow_inf_nan=False)] = 10_000.0
    quota_waiting_deliveries: Annotated[int, Field(ge=1, le=1_000_000_000)] = 10_000_000
    quota_stored_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 50)] = 1 << 40

    @property
    def quotas(self) -> Quotas:
        """The same as a record."""
        return Quotas(
            subscriptions=self.quota_subscriptions,
            events_per_second=self.quota_events_per_second,
            waiting_deliveries=self.quota_waiting_deliveries,
            stored_bytes=self.quota_stored_bytes,
        )
