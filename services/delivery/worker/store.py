"""What a worker asks of Postgres: claims, renewals, outcomes. No connection is held while a request is out."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from services.delivery.settings import WorkerSettings
from services.domain.deliveries import Lease, Leased
from services.domain.notices import audit, operational_facts
from services.domain.notices.audit import Action, FieldChange
from services.domain.notices.operational_facts import EventType, Fact
from services.domain.states import (
    AttemptOutcome,
    BreakerState,
    DeliveryReason,
    DeliveryStatus,
    Hold,
    Probe,
    StatusReason,
    SubscriptionState,
)
from services.platform import clock, ids
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.delivery.worker")

# Each needs somebody who retries the same delivery by hand in the same moment.
LATE_TRIES = 5
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
    # Whether its event is there, and has no payload any more.
    erased: bool = False

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


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker saw of an endpoint since it wrote last."""

    subscription_id: UUID
    endpoint_version: int
    successes: int
    failures: int
    # Of the failures, those after the last success.
    unbroken: int
    # What became of the delivery that a half open breaker let through.
    probe: Probe | None
    # Whether the receiver responded with 410.
    gone: bool
    # Why there were too many failures, or None.
    too_many: str | None
    last_error: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an endpoint's breaker."""

    subscription_id: UUID
    breaker: BreakerState
    # What it was before.
    before: BreakerState
    # Why it opened; when it is open, when the next probe may be sent.
    breaker_reason: str | None
    probe_at: datetime | None
    consecutive_failures: int
    # How long it has only failed, by the database's clock; None when it does not.
    failing_for: timedelta | None

    @property
    def changed(self) -> bool:
        """Whether this call moved it."""
        return self.breaker != self.before


class Disabled(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription that was disabled by this call and no other."""

    subscription_id: UUID
    tenant_id: str
    version: int
    reason: StatusReason


class WorkerStore:
    """Every method raises what stores.availability.STORE_AWAY lists when Postgres is away."""

    def __init__(self, pool: postgres.Pool, settings: WorkerSettings) -> None:
        self.pool = pool
        self._lease_seconds = settings.lease_seconds
        self._claimed_payload_bytes = settings.claimed_payload_bytes

    async def claim(self, delivery_ids: Sequence[UUID]) -> list[Claim]:
        """Claim those of the deliveries that are pending, under a token of this call."""
        token = ids.new()
        least, greatest = min(delivery_ids), max(delivery_ids)
        asked_at = time.monotonic()
        rows = await self.pool.fetch(
            SQL["claim"],
            delivery_ids,
            token,
            self._lease_seconds,
            self._claimed_payload_bytes,
            ids.delivery_range(least)[0],
            ids.delivery_range(greatest)[1],
        )
        return [_claim(row, token, asked_at) for row in rows]

    def claims(self, lease: Lease, stored: Sequence[Leased]) -> list[Claim]:
        """Return the claims of deliveries that were stored under a lease: as `claim` would return them."""
        return [
            _claim(
                {
                    **FRESH,
                    **row,
                    "created_at": row["claimed_at"],
                    "event_type": content.event_type,
                    "content_type": content.content_type,
                    "content_encoding": content.content_encoding,
                    "traceparent": content.traceparent,
                    "payload_bytes": len(content.payload),
                    "payload": content.payload if len(content.payload) <= self._claimed_payload_bytes else None,
                },
                lease.token,
                lease.asked_at,
            )
            for row, content in stored
        ]

    async def payload(self, event_id: UUID, size_bytes: int) -> bytes | None:
        """Return a payload that did not come with its claim; None if it is no longer retained."""
        payload: bytes | None = await self.pool.fetchval(
            SQL["select_payload"],
            event_id,
            timeout=postgres.STATEMENT_TIMEOUT_SECONDS + clock.extra_seconds(size_bytes),
        )
        return payload

    async def renew(self, claims: Sequence[Claim]) -> set[UUID]:
        """Renew leases and return the deliveries whose claim is still held."""
        rows = await self.pool.fetch(
            SQL["renew"],
            [claim.id for claim in claims],
            [claim.token for claim in claims],
            self._lease_seconds,
        )
        return {row["id"] for row in rows}

    async def record(self, outcomes: Sequence[Outcome]) -> dict[UUID, DeliveryStatus]:
        """Record outcomes with their attempts, and return the new states of the deliveries they changed.

        A claim that was lost changes nothing, except that a success still ends its delivery. Recording the
        same outcome twice is the same as once.
        """
        outcomes = sorted(outcomes, key=_delivery_id)
        delivery_ids = [outcome.claim.id for outcome in outcomes]
        attempts = [
            (outcome.claim, request, attempt, attempt is outcome.attempts[-1])
            for outcome in outcomes
            for request, attempt in enumerate(outcome.attempts, 1)
        ]
        rows = await self.pool.fetch(
            SQL["record"],
            delivery_ids,
            [outcome.claim.token for outcome in outcomes],
            [outcome.status for outcome in outcomes],
            [outcome.delay_seconds for outcome in outcomes],
            [outcome.failures for outcome in outcomes],
            [outcome.reason for outcome in outcomes],
            [len(outcome.attempts) for outcome in outcomes],
            [claim.id for claim, _, _, _ in attempts],
            [request for _, request, _, _ in attempts],
            [claim.subscription_id for claim, _, _, _ in attempts],
            [claim.tenant_id for claim, _, _, _ in attempts],
            [attempt.started_at for _, _, attempt, _ in attempts],
            [attempt.duration_ms for _, _, attempt, _ in attempts],
            [attempt.status_code for _, _, attempt, _ in attempts],
            [attempt.outcome for _, _, attempt, _ in attempts],
            [attempt.error_message for _, _, attempt, _ in attempts],
            [attempt.response_body for _, _, attempt, _ in attempts],
            [is_last for _, _, _, is_last in attempts],
            delivery_ids[0],
            delivery_ids[-1],
            [claim.event_type for claim, _, _, _ in attempts],
            [attempt.details for _, _, attempt, _ in attempts],
        )
        changed = {row["id"]: DeliveryStatus(row["status"]) for row in rows}
        late = [outcome for outcome in outcomes if outcome.attempts and outcome.claim.id not in changed]
        if late:
            changed |= dict.fromkeys(await self._record_late(late), DeliveryStatus.DELIVERED)
        return changed

    async def record_health(self, sums: Sequence[Sum], settings: WorkerSettings) -> list[Verdict]:
        """Add what this worker saw to what all saw, move breakers accordingly, and note those that were moved.

        What was seen of an endpoint that its subscription no longer has is left out, and has no verdict.
        """
        async with self.pool.acquire() as connection, connection.transaction():
            versions = [seen.endpoint_version for seen in sums]
            rows = await connection.fetch(SQL["lock_endpoints"], [seen.subscription_id for seen in sums], versions)
            current = {row["id"] for row in rows}
            sums = [seen for seen in sums if seen.subscription_id in current]
            names = [seen.subscription_id for seen in sums]
            await connection.execute(SQL["insert_health"], names)
            locked = await connection.fetch(SQL["lock_health"], names)
            before = {row["subscription_id"]: BreakerState(row["breaker"]) for row in locked}
            rows = await connection.fetch(
                SQL["record_health"],
                names,
                [seen.successes for seen in sums],
                [seen.failures for seen in sums],
                [seen.unbroken for seen in sums],
                [seen.probe for seen in sums],
                [seen.too_many for seen in sums],
                [seen.last_error for seen in sums],
                settings.breaker_failures,
                settings.breaker_cooldown_seconds,
                settings.breaker_cooldown_cap_seconds,
            )
            errors = {seen.subscription_id: seen.last_error for seen in sums}
            moved = (_breaker_fact(row, before[row["subscription_id"]], errors[row["subscription_id"]]) for row in rows)
            await operational_facts.note(connection, *filter(None, moved))
        return [
            Verdict(
                subscription_id=row["subscription_id"],
                breaker=BreakerState(row["breaker"]),
                before=before[row["subscription_id"]],
                breaker_reason=row["breaker_reason"],
                probe_at=row["probe_at"],
                consecutive_failures=row["consecutive_failures"],
                failing_for=row["failing_for"],
            )
            for row in rows
        ]

    async def disable(self, reasons: Mapping[UUID, StatusReason], sums: Sequence[Sum]) -> list[Disabled]:
        """Disable subscriptions for these reasons; return those that were not disabled before, and note them.

        `sums` are what was seen of them.
        """
        last_errors = {seen.subscription_id: seen.last_error for seen in sums}
        versions = {seen.subscription_id: seen.endpoint_version for seen in sums}
        async with self.pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(
                SQL["disable"], list(reasons), list(reasons.values()), [versions[name] for name in reasons]
            )
            if rows:
                await audit.record(connection, *(_disabled_entry(row) for row in rows), actor=audit.SYSTEM)
                facts = (_disabled_fact(row, last_errors.get(row["id"])) for row in rows)
                await operational_facts.note(connection, *facts)
        return [
            Disabled(
                subscription_id=row["id"],
                tenant_id=row["tenant_id"],
                version=row["version"],
                reason=StatusReason(row["status_reason"]),
            )
            for row in rows
        ]

    async def endpoint_versions(self, subscription_ids: Sequence[UUID]) -> dict[UUID, int]:
        """Return which endpoint each of the subscriptions has now."""
        rows = await self.pool.fetch(SQL["select_endpoint_versions"], subscription_ids)
        return {row["id"]: row["endpoint_version"] for row in rows}

    async def keep_worker(self, worker_id: UUID) -> int:
        """Say that a worker is there; return how many there are."""
        return int(await self.pool.fetchval(SQL["keep_worker"], worker_id))

    async def remove_worker(self, worker_id: UUID) -> None:
        """Say that a worker is gone."""
        await self.pool.execute(SQL["remove_worker"], worker_id)

    async def _record_late(self, outcomes: Sequence[Outcome]) -> list[UUID]:
        """Record attempts of claims that were lost, and return the deliveries that a success among them ends.

        An attempt is known by its claim and the request of it, so a late one takes no other's place: it is new, it is
        the true outcome of one that was taken for interrupted, or it was recorded before and changes nothing.
        """
        for _ in range(LATE_TRIES - 1):
            with contextlib.suppress(_QueuedAgain):
                return await self._try_record_late(outcomes)
        return await self._try_record_late(outcomes)

    async def _try_record_late(self, outcomes: Sequence[Outcome]) -> list[UUID]:
        delivery_ids = [outcome.claim.id for outcome in outcomes]
        bounds = min(delivery_ids), max(delivery_ids)
        tokens = list({outcome.claim.token for outcome in outcomes})
        async with self.pool.acquire() as connection, connection.transaction():
            queued = {row["id"]: row["attempt_count"] for row in await connection.fetch(SQL["lock_late"], delivery_ids)}
            others = [delivery_id for delivery_id in delivery_ids if delivery_id not in queued]
            ended: dict[UUID, int] = {}
            for row in await connection.fetch(SQL["lock_late_ended"], others, *bounds) if others else ():
                if row["queued_again"]:
                    raise _QueuedAgain
                ended[row["id"]] = row["attempt_count"]
            known = {
                (row["delivery_id"], row["claim_token"], row["request"]): row
                for row in await connection.fetch(SQL["select_attempts_of_claims"], delivery_ids, *bounds, tokens)
            }
            rows, settled = _late(outcomes, queued, ended, known)
            if rows:
                await connection.execute(SQL["record_late"], *map(list, zip(*rows, strict=True)))
                await connection.execute(SQL["settle_late"], *map(list, zip(*settled, strict=True)), *bounds)
        return [each.id for each in settled if each.delivered]


class _Settled(NamedTuple):
    """What late attempts make of a delivery, in the order of the parameters of settle_late."""

    id: UUID
    new_attempts: int
    delivered: bool
    # Whether one of them is the delivery's last attempt, and what that got.
    is_last: bool
    status_code: int | None
    error_kind: str | None


class _QueuedAgain(Exception):
    """A delivery was retried by hand between the two locks: the queue comes first, so both are taken again."""


def _late(
    outcomes: Sequence[Outcome],
    queued: Mapping[UUID, int],
    ended: Mapping[UUID, int],
    known: Mapping[tuple[UUID, UUID, int], Any],
) -> tuple[list[tuple[Any, ...]], list[_Settled]]:
    """Return the rows of late attempts to write, and what they make of each delivery.

    `queued` and `ended` are the attempts so far of deliveries that are unfinished, and of those that are not.
    """
    rows: list[tuple[Any, ...]] = []
    settled: list[_Settled] = []
    for outcome in outcomes:
        claim = outcome.claim
        before_count = queued.get(claim.id, ended.get(claim.id))
        if before_count is None:  # retention dropped its day
            continue
        count = before_count
        written: dict[int, Attempt] = {}
        for request, attempt in enumerate(outcome.attempts, 1):
            before = known.get((claim.id, claim.token, request))
            if before is not None and before["outcome"] != AttemptOutcome.INTERRUPTED:
                continue
            if before is None:
                count += 1
            number = count if before is None else before["number"]
            delivers = _delivers(attempt) and claim.id in queued
            written[number] = attempt
            rows.append(
                (
                    claim.id,
                    claim.token,
                    request,
                    number,
                    claim.subscription_id,
                    claim.tenant_id,
                    attempt.started_at,
                    attempt.duration_ms,
                    attempt.status_code,
                    attempt.outcome,
                    attempt.error_message,
                    attempt.response_body,
                    delivers or (before is not None and before["final"]),
                    claim.event_type,
                    attempt.details,
                    claim.event_id,
                )
            )
        if written:
            last = written.get(count)
            settled.append(
                _Settled(
                    id=claim.id,
                    new_attempts=count - before_count,
                    delivered=claim.id in queued and any(map(_delivers, written.values())),
                    is_last=last is not None,
                    status_code=None if last is None else last.status_code,
                    error_kind=None if last is None or _delivers(last) else last.outcome,
                )
            )
    return rows, settled


def _delivers(attempt: Attempt) -> bool:
    return attempt.outcome == AttemptOutcome.SUCCESS


def _delivery_id(outcome: Outcome) -> UUID:
    return outcome.claim.id


def _claim(row: Any, token: UUID, asked_at: float) -> Claim:
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
        content_type=row["content_type"],
        payload_bytes=row["payload_bytes"],
        payload=row["payload"],
        content_encoding=row["content_encoding"],
        traceparent=row["traceparent"],
        erased=row["erased"],
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
        content_type=None,
        payload_bytes=None,
        payload=None,
    )


def _disabled_entry(row: Any) -> audit.Entry:
    return audit.Entry(
        action=Action.DISABLE_SUBSCRIPTION,
        tenant_id=row["tenant_id"],
        resource_id=str(row["id"]),
        changes=[
            FieldChange(field="status", before=row["status_before"], after=SubscriptionState.DISABLED),
            FieldChange(field="status_reason", after=row["status_reason"]),
        ],
    )


def _disabled_fact(row: Any, last_error: str | None) -> Fact:
    """Return the fact for the tenant's system subscription, from the same row."""
    return Fact(
        subscription_id=row["id"],
        event_type=EventType.DISABLED,
        reason=row["status_reason"],
        last_error=last_error or None,
    )


def _breaker_fact(row: Any, before: BreakerState, last_error: str) -> Fact | None:
    """Return that a breaker opened or closed; None when a probe failed, which the fact before covers."""
    name, now = row["subscription_id"], row["breaker"]
    if before is BreakerState.CLOSED and now == BreakerState.OPEN:
        return Fact(
            subscription_id=name,
            event_type=EventType.FAILING,
            reason=row["breaker_reason"],
            last_error=last_error or None,
        )
    if before is not BreakerState.CLOSED and now == BreakerState.CLOSED:
        return Fact(subscription_id=name, event_type=EventType.RECOVERED)
    return None
