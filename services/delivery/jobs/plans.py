"""What a job is to do, what one would do, and what one has done."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from google.protobuf import json_format

from protos.webhook.v1 import deliveries_pb2
from services.delivery.api import filters
from services.delivery.api.filters import Filter
from services.delivery.jobs import erasure, missed
from services.delivery.jobs.missed import Only
from services.domain.states import WAITING, DeliveryStatus, JobKind, JobStatus
from services.platform import errors

# Of what is called a job's current rate, the first second says nothing.
MIN_WINDOW_SECONDS = 1.0

STATUSES: Mapping[JobKind, frozenset[DeliveryStatus]] = {
    JobKind.RETRY: frozenset(DeliveryStatus) - {DeliveryStatus.PENDING, DeliveryStatus.IN_FLIGHT},
    JobKind.REPLAY: frozenset(DeliveryStatus),
    JobKind.CANCEL: WAITING,
    JobKind.ERASE: frozenset(),
}
_IMPLIED: Mapping[JobKind, frozenset[DeliveryStatus]] = {
    JobKind.RETRY: frozenset({DeliveryStatus.FAILED}),
    JobKind.REPLAY: frozenset(),
    JobKind.CANCEL: WAITING,
    JobKind.ERASE: frozenset(),
}


def reaches_beyond(
    limit: Collection[UUID], message: deliveries_pb2.DeliveryFilter, to_subscription_id: UUID | None, only: Only | None
) -> bool:
    """Return whether a job does something to other subscriptions than these."""
    if to_subscription_id is not None and to_subscription_id not in limit:
        return True
    named = {UUID(text) for text in message.subscription_id}
    # Without a name it is about all of the tenant, but for a replay of events, which is for its target alone.
    return not named <= set(limit) or not (named or only is not None)


# What these have done to deliveries has no outcome to wait for.
WITHOUT_RESULTS = frozenset((JobKind.CANCEL, JobKind.ERASE))


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a job is to do: its deliveries, or events, are those that the filter matches at the moment `frozen_at`."""

    kind: JobKind
    filter: deliveries_pb2.DeliveryFilter
    frozen_at: datetime
    # Of a replay: who gets the new deliveries; None: the subscription of each.
    to_subscription_id: UUID | None = None
    # Of a replay of events to it, in place of deliveries.
    only: Only | None = None

    @classmethod
    def of(
        cls,
        kind: JobKind,
        message: deliveries_pb2.DeliveryFilter,
        now: datetime,
        to_subscription_id: UUID | None,
        only: Only | None,
    ) -> "Plan":
        """Return the plan for what is asked now; InvalidArgument for what cannot be done to deliveries."""
        if only is not None and to_subscription_id is None:
            raise errors.InvalidArgument.field("only", "requires to_subscription_id")
        if to_subscription_id is not None and kind is not JobKind.REPLAY:
            raise errors.InvalidArgument.field("to_subscription_id", f"requires kind {JobKind.REPLAY}")
        wanted = parsed(kind, message)
        if wanted.from_time is not None and wanted.from_time >= now:
            raise errors.InvalidArgument.field("filter.from", "must be in the past")
        if kind is JobKind.ERASE:
            erasure.check(message, wanted)
            return cls(kind=kind, filter=message, frozen_at=now)
        if only is not None:
            missed.check(message, wanted)
            return cls(kind=kind, filter=message, frozen_at=now, to_subscription_id=to_subscription_id, only=only)
        if not (wanted.subscription_ids or wanted.names_events) and wanted.from_time is None:
            raise errors.InvalidArgument.field(
                "filter",
                "must have a from time, a subscription_id, event_ids, a tag, an idempotency_key or a provider_id",
            )
        if wanted.statuses - STATUSES[kind]:
            names = ", ".join(sorted(STATUSES[kind]))
            raise errors.InvalidArgument.field("filter.status", f"must be one of {names} for kind {kind}")
        filled = deliveries_pb2.DeliveryFilter()
        filled.CopyFrom(message)
        if not filled.status:
            filled.status.extend(
                deliveries_pb2.DeliveryStatus.Value(f"DELIVERY_STATUS_{status.upper()}")
                for status in sorted(_IMPLIED[kind])
            )
        if wanted.to_time is None or wanted.to_time > now:
            filled.to_time.FromDatetime(now)
        return cls(kind=kind, filter=filled, frozen_at=now, to_subscription_id=to_subscription_id)

    @property
    def is_of_events(self) -> bool:
        """Whether it walks through events, and counts them."""
        return self.kind is JobKind.ERASE or self.only is not None

    @property
    def touches(self) -> Sequence[UUID]:
        """The subscriptions whose deliveries it changes or makes; none stands for all of the tenant."""
        if self.to_subscription_id is not None:
            return [self.to_subscription_id]
        return [UUID(text) for text in self.filter.subscription_id]

    @property
    def json(self) -> str:
        """The filter as it is stored."""
        return str(json_format.MessageToJson(self.filter, preserving_proto_field_name=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A row of `jobs`."""

    id: UUID
    tenant_id: str
    kind: JobKind
    status: JobStatus
    filter: deliveries_pb2.DeliveryFilter
    to_subscription_id: UUID | None
    only: Only | None
    rate_per_second: int
    created_by: str
    created_at: datetime
    frozen_at: datetime
    started_at: datetime | None
    moved_at: datetime | None
    ended_at: datetime | None
    at_delivery: UUID
    at_event: UUID
    in_event: UUID | None
    chunks: int
    matched: int
    matched_exact: bool
    done: int
    skipped: int
    gone: int
    delivered: int
    failed: int
    error: str | None
    # Since when its pace is measured, and how many deliveries it had looked at by then.
    window_at: datetime | None
    window_from: int | None
    # When this was read.
    now: datetime

    @property
    def looked_at(self) -> int:
        """Return how many of the matched deliveries it has looked at."""
        return self.done + self.skipped + self.gone

    @property
    def current_rate_per_second(self) -> float | None:
        """Return how many it has looked at in a second lately; None while it does nothing, and in its first second."""
        if self.status is not JobStatus.RUNNING or self.window_at is None or self.window_from is None:
            return None
        seconds = (self.now - self.window_at).total_seconds()
        return round((self.looked_at - self.window_from) / seconds, 2) if seconds >= MIN_WINDOW_SECONDS else None

    @property
    def estimated_end_at(self) -> datetime | None:
        """Return when it will have looked at all deliveries at its current rate; None if that is not known."""
        if not self.current_rate_per_second or not self.matched_exact:
            return None
        left = max(self.matched - self.looked_at, 0)
        return self.now + timedelta(seconds=left / self.current_rate_per_second)


@dataclass(kw_only=True, slots=True)
class Preview:
    """What a job would do."""

    matched: int = 0
    exact: bool = False
    skipped: int = 0
    gone: int = 0
    oldest_at: datetime | None = None
    newest_at: datetime | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    samples: Sequence[Any] = ()
    token: str = ""
    token_expires_at: datetime | None = None


def parsed(kind: JobKind, message: deliveries_pb2.DeliveryFilter) -> Filter:
    """Return what the filter of a job wants; InvalidArgument for what cannot be wanted."""
    if kind is JobKind.ERASE:
        return filters.parse(message, max_events=erasure.MAX_NAMED)
    return filters.parse(message)
