"""Quotas of a tenant: what it may have and do, so that none takes what others need.

A tenant has the quotas of the settings, unless an operator gave it others.
"""

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from prometheus_client import Counter
from pydantic import Field

from services.domain import limits
from services.domain.limits import Range
from services.platform import errors
from services.platform.errors import ErrorReason
from services.platform.settings import Settings

REFUSALS = Counter(
    "webhook_quota_refusals_total", "Events and retries by hand refused because of a tenant's quota.", ["quota"]
)
# Sums of what tenants use that are older are not used: without them, nothing is refused for what a tenant once had.
FRESH_SECONDS = 900.0
# The signal that those of a tenant were changed.
CHANGED = "quotas"
WAITING_RETRY_SECONDS = 5


class Quota(enum.StrEnum):
    """The kinds, by their names in REST and gRPC."""

    SUBSCRIPTIONS = "subscriptions"
    EVENTS_PER_SECOND = "events_per_second"
    WAITING_DELIVERIES = "waiting_deliveries"
    STORED_BYTES = "stored_bytes"
    SCHEDULED_EVENTS = "scheduled_events"
    SCHEDULED_BYTES = "scheduled_bytes"

    @property
    def column(self) -> str:
        """Of `tenants`, where a tenant's own quota is."""
        return f"max_{self}"

    @property
    def reason(self) -> ErrorReason:
        """Of the error for a tenant that would exceed it."""
        return ErrorReason(f"QUOTA_{self.upper()}")


RANGES: Mapping[Quota, Range] = {
    Quota.SUBSCRIPTIONS: limits.SUBSCRIPTIONS,
    Quota.EVENTS_PER_SECOND: limits.EVENTS_PER_SECOND,
    Quota.WAITING_DELIVERIES: limits.WAITING_DELIVERIES,
    Quota.STORED_BYTES: limits.STORED_BYTES,
    Quota.SCHEDULED_EVENTS: limits.SCHEDULED_EVENTS,
    Quota.SCHEDULED_BYTES: limits.SCHEDULED_BYTES,
}


def _within(quota: Quota, **more: Any) -> Any:
    return Field(ge=RANGES[quota].least, le=RANGES[quota].most, **more)


@dataclass(frozen=True, kw_only=True, slots=True)
class Quotas:
    """All quotas of a tenant."""

    subscriptions: int
    events_per_second: float
    # Deliveries that are not finished.
    waiting_deliveries: int
    # Payloads of the events that are retained.
    stored_bytes: int
    # Events that are not due yet, and their payloads.
    scheduled_events: int
    scheduled_bytes: int

    def with_own(self, own: Mapping[Quota, float | None]) -> "Quotas":
        """Return the same with a tenant's own quotas; None: it has none of its own."""
        given = {quota.value: value for quota, value in own.items() if value is not None}
        return dataclasses.replace(self, **given) if given else self  # type: ignore[arg-type]  # each has its own type


def exceeded(quota: Quota, found: str, remedy: str, *, retry_after_seconds: int) -> errors.QuotaExceeded:
    """Return the error for a tenant that has used up a quota."""
    message = f"{quota}: {found}; {remedy}, or ask the operator for more"
    return errors.QuotaExceeded(message, reason=quota.reason, retry_after_seconds=retry_after_seconds)


def too_many_waiting(waiting: int, quota: int) -> errors.QuotaExceeded | None:
    """Return the error for a tenant with so many unfinished deliveries, if its quota allows no more."""
    if waiting < quota:
        return None
    return exceeded(
        Quota.WAITING_DELIVERIES,
        f"{waiting} deliveries of the tenant are not finished, of at most {quota}",
        "wait until receivers have taken some, cancel some",
        retry_after_seconds=WAITING_RETRY_SECONDS,
    )


class QuotaSettings(Settings):
    """The quotas of a tenant that has none of its own."""

    quota_subscriptions: Annotated[int, _within(Quota.SUBSCRIPTIONS)] = 200_000
    quota_events_per_second: Annotated[float, _within(Quota.EVENTS_PER_SECOND, allow_inf_nan=False)] = 10_000.0
    quota_waiting_deliveries: Annotated[int, _within(Quota.WAITING_DELIVERIES)] = 10_000_000
    quota_stored_bytes: Annotated[int, _within(Quota.STORED_BYTES)] = 1 << 40
    quota_scheduled_events: Annotated[int, _within(Quota.SCHEDULED_EVENTS)] = 1_000_000
    quota_scheduled_bytes: Annotated[int, _within(Quota.SCHEDULED_BYTES)] = 10 << 30

    @property
    def quotas(self) -> Quotas:
        """The same as a record."""
        return Quotas(
            subscriptions=self.quota_subscriptions,
            events_per_second=self.quota_events_per_second,
            waiting_deliveries=self.quota_waiting_deliveries,
            stored_bytes=self.quota_stored_bytes,
            scheduled_events=self.quota_scheduled_events,
            scheduled_bytes=self.quota_scheduled_bytes,
        )
