"""What a worker asks of Postgres: claims, renewals, outcomes. No connection is held while a request is out."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from services.delivery.settings import WorkerSettings
from services.delivery.worker.claims import FRESH, Claim, claim_of
from services.delivery.worker.recording import OutcomeStore
from services.domain.deliveries import Lease, Leased
from services.domain.notices import audit, operational_facts
from services.domain.notices.audit import Action, FieldChange
from services.domain.notices.operational_facts import EventType, Fact
from services.domain.states import BreakerState, Probe, StatusReason, SubscriptionState
from services.platform import clock, ids
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.delivery.worker")


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


class WorkerStore(OutcomeStore):
    """Every method raises what stores.availability.STORE_AWAY lists when Postgres is away."""

    def __init__(self, pool: postgres.Pool, settings: WorkerSettings) -> None:
        super().__init__(pool)
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
        return [claim_of(row, token, asked_at) for row in rows]

    def claims(self, lease: Lease, stored: Sequence[Leased]) -> list[Claim]:
        """Return the claims of deliveries that were stored under a lease: as `claim` would return them."""
        return [
            claim_of(
                {
                    **FRESH,
                    **row,
                    "created_at": row["claimed_at"],
                    "event_type": content.event_type,
                    "content_type": content.content_type,
                    "content_encoding": content.content_encoding,
                    "traceparent": content.traceparent,
                    "sender_context": content.sender_context,
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
