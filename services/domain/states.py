"""The states of deliveries, breakers and subscriptions, and every change that is allowed between them.

    deliveries                     CLAIM
      stored ───▶ pending ───────────────────▶ in_flight ── RECORD ─────────▶ delivered
                  ▲ ▲ ▲                         │  │  │                       failed
                  │ │ └─ RECORD, EXPIRE_LEASE ──┘  │  └─── EXPIRE_LEASE ────▶ failed
                  │ │                              │
                  │ └─ TAKE_DUE ── scheduled ◀─────┴────── RECORD ──────────▶ cancelled
                  │
                  └─ RETRY ── scheduled, delivered, failed, cancelled

      stored ── handed over to a worker of the same process ──▶ in_flight ── GIVE_BACK ──▶ pending
      pending or scheduled ── PULL ──▶ in_flight
      pending, scheduled or in_flight ── ERASE ──▶ cancelled
      pending or scheduled ── END_WAITING ──▶ failed, cancelled
      pending, scheduled or in_flight ── RECORD_LATE ──▶ delivered

    breakers                       RECORD (failures)           BEGIN_PROBE
      closed ───────────────────────────▶ open ──────────────────────────▶ half_open
                                           ▲                                │  │
      closed ◀── RECORD (success), RESET ──┼────────────────────────────────┘  │
                                           └──────── RECORD (failure) ─────────┘
      open ── RECORD (a late success of its probe), RESET ──▶ closed

    subscriptions
      active ── PAUSE ──▶ paused; paused ── RESUME ──▶ active; disabled ── ENABLE ──▶ active
      active or paused ── DISABLE, DISABLE_DEAD ──▶ disabled
      with ENDPOINT_VERIFICATION, RESUME and ENABLE lead to unverified first, as does another target
      (active ── RETARGET ──▶ unverified); unverified ── VERIFY ──▶ active; and what PAUSE and DISABLE do to active

    jobs
      queued ── first chunk ──▶ running ── last chunk ──▶ succeeded, or failed at a limit
      queued or running ── PAUSE ──▶ paused ── RESUME ──▶ queued or running
      queued, running or paused ── CANCEL ──▶ cancelled

Only SQL changes a state: tests/delivery/rows/test_states.py runs every such statement against rows in every state, and
each makes the changes of its entry below and no other. Postgres and JSON hold the values of these enums. A delivery is
in the queue if and only if it is pending, scheduled or in flight; history has the states it can end in, and `pending`
for all that comes before.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeVar


class DeliveryStatus(StrEnum):
    """Where a delivery is: its row in `delivery_queue` says it while there is one, then `webhook_deliveries.status`."""

    PENDING = "pending"
    # Waits for its next retry.
    SCHEDULED = "scheduled"
    # A worker has claimed it.
    IN_FLIGHT = "in_flight"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


WAITING = frozenset({DeliveryStatus.PENDING, DeliveryStatus.SCHEDULED})
UNFINISHED = WAITING | {DeliveryStatus.IN_FLIGHT}
FINAL = frozenset(DeliveryStatus) - UNFINISHED


class DeliveryReason(StrEnum):
    """Why a delivery failed or was cancelled: `webhook_deliveries.reason`."""

    RETRIES_EXHAUSTED = "retries_exhausted"
    EXPIRED = "expired"
    # Its payload is no longer retained.
    PAYLOAD_GONE = "payload_gone"
    # Its leases ran out again and again.
    WORKER_LOST = "worker_lost"
    # Somebody cancelled it.
    CANCELLED = "cancelled"
    SUBSCRIPTION_DELETED = "subscription_deleted"
    # Its event was erased.
    ERASED = "erased"


class AttemptOutcome(StrEnum):
    """How a request to a receiver ended: `delivery_attempts.outcome`."""

    SUCCESS = "success"
    HTTP_3XX = "http_3xx"
    HTTP_4XX = "http_4xx"
    HTTP_5XX = "http_5xx"
    TIMEOUT = "timeout"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    CONNECTION_LOST = "connection_lost"
    INVALID_RESPONSE = "invalid_response"
    EGRESS_DENIED = "egress_denied"
    INVALID_REQUEST = "invalid_request"
    SECRET_UNREADABLE = "secret_unreadable"  # noqa: S105 - an outcome
    # The subscription's template made nothing that can be sent.
    TEMPLATE_FAILED = "template_failed"
    # The worker stopped, or was lost, before it knew.
    INTERRUPTED = "interrupted"
    # Of a pulled delivery: the consumer reported that it failed, or nothing before its lease ended.
    CONSUMER_FAILED = "consumer_failed"
    LEASE_EXPIRED = "lease_expired"


class SubscriptionState(StrEnum):
    """Whether a subscription gets deliveries: `subscriptions.status`."""

    ACTIVE = "active"
    # Deliveries wait, and new events are kept.
    PAUSED = "paused"
    # Deliveries wait; new events are kept only with keep_when_disabled.
    DISABLED = "disabled"
    # Its target has not answered a challenge yet: deliveries wait, and new events are kept.
    UNVERIFIED = "unverified"


class StatusReason(StrEnum):
    """Why a subscription is disabled: `subscriptions.status_reason`."""

    MANUAL = "manual"
    # Its receiver answered 410.
    GONE = "gone"
    # Its receiver only failed for DISABLE_AFTER_HOURS.
    FAILING = "failing"


class BreakerState(StrEnum):
    """Whether an endpoint is tried: `subscription_health.breaker`."""

    CLOSED = "closed"
    OPEN = "open"
    # One delivery, the probe, is on its way.
    HALF_OPEN = "half_open"


class Probe(StrEnum):
    """What became of the one delivery that a half open breaker lets through."""

    SUCCESS = "success"
    FAILURE = "failure"


class JobKind(StrEnum):
    """What a job does to each delivery, or to each event: `jobs.kind`."""

    RETRY = "retry"
    # A new delivery of the same event.
    REPLAY = "replay"
    CANCEL = "cancel"
    # Of events: the payload, and all that was kept of what was sent and answered.
    ERASE = "erase"


class JobStatus(StrEnum):
    """Where a job is: `jobs.status`."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    # It has looked at all of its deliveries.
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED_JOBS = frozenset({JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED})


class Hold(StrEnum):
    """What keeps a due delivery from being sent: `held_by` of a delivery, and the label of its gauge."""

    SUBSCRIPTION_DELETED = "subscription_deleted"
    PAUSED = "paused"
    DISABLED = "disabled"
    UNVERIFIED = "unverified"
    BREAKER_OPEN = "breaker_open"
    # The breaker closed a moment ago: the endpoint gets more little by little.
    RECOVERING = "recovering"
    # The endpoint has as many requests as it takes.
    CONCURRENCY = "concurrency"
    RATE_LIMIT = "rate_limit"
    # Its consumers pull: it waits for one of them.
    PULL = "pull"


State = TypeVar("State", bound=StrEnum)
# From a state to those that a change may lead to; a state that is not there stays.
Changes = Mapping[State, frozenset[State]]


def _changes(before: Iterable[State], *after: State) -> Changes[State]:
    return {state: frozenset(after) - {state} for state in before}


class DeliveryChange(StrEnum):
    """What changes the status of a delivery."""

    CLAIM = "claim"
    # By a consumer, due retries too: a lease of its own.
    PULL = "pull"
    # By the outcome of its attempts, under the claim that made them.
    RECORD = "record"
    # By an attempt whose claim was lost meanwhile, if it succeeded.
    RECORD_LATE = "record_late"
    TAKE_DUE = "take_due"
    # Handed over by ingest to a worker that stopped, or stored by a commit whose outcome was not known.
    GIVE_BACK = "give_back"
    EXPIRE_LEASE = "expire_lease"
    # Without an attempt: it expired, its subscription was deleted, or somebody cancelled it.
    END_WAITING = "end_waiting"
    # With its event, whatever a worker does with it.
    ERASE = "erase"
    # By hand.
    RETRY = "retry"


_PENDING, _FAILED, _CANCELLED = DeliveryStatus.PENDING, DeliveryStatus.FAILED, DeliveryStatus.CANCELLED
_IN_FLIGHT = {DeliveryStatus.IN_FLIGHT}

DELIVERY_CHANGES: Mapping[DeliveryChange, Changes[DeliveryStatus]] = {
    DeliveryChange.CLAIM: _changes({_PENDING}, DeliveryStatus.IN_FLIGHT),
    DeliveryChange.PULL: _changes(WAITING, DeliveryStatus.IN_FLIGHT),
    DeliveryChange.RECORD: _changes(_IN_FLIGHT, *DeliveryStatus),
    DeliveryChange.RECORD_LATE: _changes(UNFINISHED, DeliveryStatus.DELIVERED),
    DeliveryChange.TAKE_DUE: _changes(WAITING, _PENDING),
    DeliveryChange.GIVE_BACK: _changes(_IN_FLIGHT, _PENDING),
    DeliveryChange.EXPIRE_LEASE: _changes(_IN_FLIGHT, _PENDING, _FAILED),
    DeliveryChange.END_WAITING: _changes(WAITING, _FAILED, _CANCELLED),
    DeliveryChange.ERASE: _changes(UNFINISHED, _CANCELLED),
    DeliveryChange.RETRY: _changes(frozenset(DeliveryStatus) - _IN_FLIGHT - {_PENDING}, _PENDING),
}


class BreakerChange(StrEnum):
    """What changes the state of a breaker."""

    # Failures trip it; what became of its probe opens it again or closes it, even when the probe was taken for lost.
    RECORD = "record"
    BEGIN_PROBE = "begin_probe"
    # By hand, when its subscription is enabled.
    RESET = "reset"


BREAKER_CHANGES: Mapping[BreakerChange, Changes[BreakerState]] = {
    BreakerChange.RECORD: {
        BreakerState.CLOSED: frozenset({BreakerState.OPEN}),
        BreakerState.HALF_OPEN: frozenset({BreakerState.OPEN, BreakerState.CLOSED}),
        BreakerState.OPEN: frozenset({BreakerState.CLOSED}),
    },
    BreakerChange.BEGIN_PROBE: _changes({BreakerState.OPEN}, BreakerState.HALF_OPEN),
    BreakerChange.RESET: _changes({BreakerState.OPEN, BreakerState.HALF_OPEN}, BreakerState.CLOSED),
}


class SubscriptionChange(StrEnum):
    """What changes the status of a subscription: its owner, or the service."""

    ENABLE = "enable"
    DISABLE = "disable"
    PAUSE = "pause"
    RESUME = "resume"
    # Its target is to be checked again, without a change of the status.
    CHECK = "check"
    # By the service, because its endpoint is gone or only fails.
    DISABLE_DEAD = "disable_dead"
    # By the service: it has another target, which is to be checked, and its target has answered a challenge.
    RETARGET = "retarget"
    VERIFY = "verify"


_ACTIVE, _PAUSED, _DISABLED, _UNVERIFIED = SubscriptionState

SUBSCRIPTION_CHANGES: Mapping[SubscriptionChange, Changes[SubscriptionState]] = {
    SubscriptionChange.ENABLE: _changes({_DISABLED, _UNVERIFIED}, _ACTIVE, _UNVERIFIED),
    SubscriptionChange.DISABLE: _changes({_ACTIVE, _PAUSED, _UNVERIFIED}, _DISABLED),
    SubscriptionChange.PAUSE: _changes({_ACTIVE, _UNVERIFIED}, _PAUSED),
    SubscriptionChange.RESUME: _changes({_PAUSED, _UNVERIFIED}, _ACTIVE, _UNVERIFIED),
    SubscriptionChange.CHECK: _changes({_UNVERIFIED}, _UNVERIFIED, _ACTIVE),
    SubscriptionChange.DISABLE_DEAD: _changes({_ACTIVE, _PAUSED, _UNVERIFIED}, _DISABLED),
    SubscriptionChange.RETARGET: _changes({_ACTIVE}, _UNVERIFIED),
    SubscriptionChange.VERIFY: _changes({_UNVERIFIED}, _ACTIVE),
}
