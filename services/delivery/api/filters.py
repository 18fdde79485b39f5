"""Which deliveries are wanted: the filter of searches and of what is done to many deliveries."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from protos.webhook.v1 import deliveries_pb2 as pb
from services.domain import events
from services.domain.states import FINAL, AttemptOutcome, DeliveryReason, DeliveryStatus, Hold
from services.platform import errors, ids
from services.platform.grpc import conversion

# The states of history that unsuccessful_deliveries lists.
LISTED = FINAL - {DeliveryStatus.DELIVERED}

_HOLDS = [hold for hold in Hold if hold is not Hold.SUBSCRIPTION_DELETED]
_ERRORS = [outcome for outcome in AttemptOutcome if outcome is not AttemptOutcome.SUCCESS]
_CODES = range(100, 600)
# What each text stands for: "503" for one, "5xx" for a hundred.
_CODES_OF = {str(code): [code] for code in _CODES} | {
    f"{first}xx": range(first * 100, first * 100 + 100) for first in range(1, 6)
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """What is wanted of a delivery: one of the values of each field that has any."""

    subscription_ids: Sequence[UUID] = ()
    statuses: frozenset[DeliveryStatus] = frozenset()
    reasons: Sequence[str] = ()
    # As subscriptions have them: one that ends in ".*" is a prefix.
    event_types: Sequence[str] = ()
    # Of the last attempt, which for a delivered one succeeded: so these find only others.
    status_codes: Sequence[int] = ()
    error_kinds: Sequence[str] = ()
    # What keeps one that is due from being sent.
    held_by: Sequence[str] = ()
    min_attempts: int = 0
    # Of its event.
    idempotency_keys: Sequence[str] = ()
    provider_ids: Sequence[str] = ()
    # As they are stored, such as "order=42".
    tags: Sequence[str] = ()
    event_ids: Sequence[UUID] = ()
    # When it was accepted; from_time is included, to_time is not.
    from_time: datetime | None = None
    to_time: datetime | None = None

    @property
    def names_events(self) -> bool:
        """Whether it can be only of certain events, which are found by an index."""
        return bool(self.idempotency_keys or self.provider_ids or self.tags or self.event_ids)

    @property
    def possible(self) -> frozenset[DeliveryStatus]:
        """The states that what is wanted can be in."""
        found = self.statuses or frozenset(DeliveryStatus)
        if self.reasons:
            found &= LISTED
        if self.status_codes or self.error_kinds:
            found -= {DeliveryStatus.DELIVERED}
        if self.held_by:
            found &= {DeliveryStatus.PENDING, DeliveryStatus.SCHEDULED}
        return found


def parse(message: pb.DeliveryFilter, *, max_events: int = events.MAX_SEARCHED) -> Filter:
    """Return what a message wants; InvalidArgument, which names its field, for what no delivery can have."""
    from_time, to_time, violations = conversion.period(message)
    violations += [
        *_unknown("status_code", message.status_code, _CODES_OF, "a status code such as 503, or a class such as 5xx"),
        *_unknown("reason", message.reason, DeliveryReason),
        *_unknown("error_kind", message.error_kind, _ERRORS),
        *_unknown("held_by", message.held_by, _HOLDS),
        *events.type_violations("event_type", message.event_type),
        *events.text_violations("idempotency_key", message.idempotency_key),
        *events.text_violations("provider_id", message.provider_id),
        *events.searched_tag_violations("tag", message.tag),
    ]
    if set(message.status) - set(conversion.texts(pb.DeliveryStatus.DESCRIPTOR)):
        violations.append(errors.Violation(field="status", description="must be a known delivery status"))
    if message.min_attempts < 0:
        violations.append(errors.Violation(field="min_attempts", description="must not be negative"))
    for field, values in message.ListFields():
        most = max_events if field.name == "event_ids" else events.MAX_SEARCHED
        if field.is_repeated and len(values) > most:
            description = f"must have at most {most} values"
            violations.append(errors.Violation(field=field.name, description=description))
    if violations:
        raise errors.InvalidArgument.of(*violations)
    statuses = conversion.texts(pb.DeliveryStatus.DESCRIPTOR)
    return Filter(
        subscription_ids=sorted({ids.parse("subscription_id", text) for text in message.subscription_id}),
        statuses=frozenset(DeliveryStatus(statuses[number]) for number in message.status),
        reasons=list(message.reason),
        event_types=list(message.event_type),
        status_codes=sorted({code for text in message.status_code for code in _CODES_OF[text]}),
        error_kinds=list(message.error_kind),
        held_by=list(message.held_by),
        min_attempts=message.min_attempts,
        idempotency_keys=list(message.idempotency_key),
        provider_ids=list(message.provider_id),
        tags=sorted(set(message.tag)),
        event_ids=sorted({ids.parse("event_ids", text) for text in message.event_ids}),
        from_time=from_time,
        to_time=to_time,
    )


def _unknown(field: str, values: Iterable[str], known: Iterable[str], expected: str = "") -> list[errors.Violation]:
    known = list(known)
    if set(values) <= set(known):
        return []
    return [errors.Violation(field=field, description=f"must be {expected or 'one of ' + ', '.join(known)}")]
