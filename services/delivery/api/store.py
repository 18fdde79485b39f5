"""What the API of deliveries asks of Postgres."""

import contextlib
import dataclasses
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from services.delivery.api import search
from services.delivery.api.filters import LISTED, Filter
from services.domain import deliveries, lookups
from services.domain.doorbell import RUNG_SECONDS, Rung
from services.domain.lookups import Kind
from services.domain.notices import audit
from services.domain.notices.audit import Action, FieldChange
from services.domain.states import FINAL, DeliveryReason, DeliveryStatus
from services.domain.tenants import quotas, scopes
from services.platform import errors, ids
from services.platform.auth import identity
from services.platform.stores import postgres, sql
from services.platform.stores.walks import Found, Span

SQL = sql.Queries("services.delivery.api")

# Of a subscription's deliveries so many are looked at for those in a state before all in that state are sorted.
NEWEST_LIMIT = 5_000
# What a summary counts at once.
COUNTED = 10_000
# And a statement of it, which looks each up in two more tables.
COUNTED_AT_ONCE = 2_500
# Each needs somebody who retries, or ends, the same delivery in the same moment.
LOCK_TRIES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """A row of delivery_attempts."""

    number: int
    started_at: datetime
    duration_ms: int | None
    status_code: int | None
    outcome: str
    error_message: str | None
    response_body: str | None
    # As services/delivery/destinations/details.py encodes them; None: they are not recorded.
    details: str | None
    # Who asked for it, as in the audit log; None: nobody.
    actor: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A delivery as it is now, with its attempts where they were asked for."""

    id: UUID
    event_id: UUID
    subscription_id: UUID
    tenant_id: str
    event_type: str | None
    status: DeliveryStatus
    attempt_count: int
    created_at: datetime
    completed_at: datetime | None
    # While it is unfinished: when the dispatcher looks at it next, and when it fails.
    due_at: datetime | None
    expires_at: datetime | None
    reason: str | None
    attempts: Sequence[Attempt] = field(default=())
    # What keeps it from being sent though it is due; '' if nothing does.
    held_by: str | None = None
    # When its endpoint is tried again, while its breaker is open.
    probe_at: datetime | None = None
    # What its last attempt got, unless it is delivered.
    last_status_code: int | None = None
    last_error_kind: str | None = None
    # Of its event, if that is traced and still retained; not of those in lists.
    traceparent: str | None = None
    # Of its event as it was sent, if that is still retained.
    event_version: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Retried:
    """A delivery that was retried by hand."""

    delivery: Delivery
    # What workers are to be told of; None if the dispatcher finds it.
    rung: Rung | None
    # Of its event, if that is traced.
    traceparent: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reopened:
    """Which of many deliveries are pending now, and what kept others from it."""

    ids: Sequence[UUID]
    gone: int
    # Those that ended too late to be meant.
    late: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Locked:
    """A delivery whose rows are locked."""

    row: Any
    status: DeliveryStatus


def attempt_of(row: Any) -> Attempt:
    """Return the attempt of a row."""
    return sql.record(Attempt, row)


class DeliveryStore:
    """Deliveries of a tenant. Every method raises what stores.availability.STORE_AWAY lists when Postgres is away."""

    def __init__(
        self, pool: postgres.Pool, *, expiry_hours: int, retention_hours: int, recovery_hours: int, max_waiting: int
    ) -> None:
        self._pool = pool
        self._expiry_hours = expiry_hours
        self._retention = timedelta(hours=retention_hours)
        self._recovery = timedelta(hours=recovery_hours)
        # Unfinished deliveries of a tenant that has no quota of its own.
        self._max_waiting = max_waiting

    async def delivery(self, tenant_id: str, delivery_id: UUID) -> Delivery:
        """One delivery with its attempts; NotFound when there is none."""
        async with self._pool.acquire() as connection:
            for delivery in await self._read_all(connection, tenant_id, [delivery_id]):
                return delivery
            raise await lookups.missing(connection, tenant_id, Kind.DELIVERY, delivery_id)

    async def of_subscription(
        self, tenant_id: str | None, subscription_id: UUID, *, status: DeliveryStatus | None, before: UUID, limit: int
    ) -> list[Delivery]:
        """Up to `limit` deliveries with ids below `before`, newest first; NotFound for an unknown subscription."""
        if not await self._pool.fetchval(SQL["subscription_exists"], subscription_id, tenant_id):
            raise await lookups.missing(self._pool, tenant_id, Kind.SUBSCRIPTION, subscription_id)
        async with self._snapshot() as connection:
            found = await _find(connection, subscription_id, status, before, limit)
            return await self._select(connection, tenant_id, found)

    async def of_event(
        self, tenant_id: str | None, event_id: UUID, *, status: DeliveryStatus | None, before: UUID, limit: int
    ) -> list[Delivery]:
        """Up to `limit` deliveries with ids below `before`, newest first; NotFound for an unknown event."""
        if not await self._pool.fetchval(SQL["event_exists"], event_id, tenant_id):
            raise await lookups.missing(self._pool, tenant_id, Kind.EVENT, event_id)
        least, greatest = ids.delivery_range(event_id)
        above = min(before, UUID(int=greatest.int + 1))
        async with self._snapshot() as connection:
            rows = await connection.fetch(SQL["find_of_event"], event_id, least, above, status, limit)
            return await self._select(connection, tenant_id, [row["id"] for row in rows])

    async def check_subscriptions(self, tenant_id: str, subscription_ids: Collection[UUID]) -> None:
        """Raise NotFound for a subscription that the tenant does not have, and never had."""
        if subscription_ids:
            unknown = await self._pool.fetchval(SQL["find_unknown_subscription"], tenant_id, list(subscription_ids))
            if unknown is not None:
                raise await lookups.missing(self._pool, tenant_id, Kind.SUBSCRIPTION, unknown)

    async def search(self, tenant_id: str, wanted: Filter, span: Span, limit: int) -> tuple[Sequence[Delivery], Found]:
        """Return the first `limit` deliveries that are wanted; NotFound for a subscription that is not the tenant's."""
        async with self._snapshot() as connection:
            found = await search.find(connection, tenant_id, wanted, span, limit)
            return await self._select(connection, tenant_id, found.ids), found

    async def count(self, tenant_id: str, wanted: Filter, span: Span, group: str) -> tuple[Mapping[str, int], Found]:
        """Return how many of the first COUNTED deliveries that are wanted are in each group, the largest first.

        They are found page by page, so that no statement takes long.
        """
        counts, number = Counter[str](), 0
        async with self._snapshot() as connection:
            while True:
                limit = min(COUNTED_AT_ONCE, COUNTED - number)
                found = await search.find(connection, tenant_id, wanted, span, limit)
                counts.update(await _count(connection, found.ids, group))
                number += len(found.ids)
                if found.reached is None or found.cut or number >= COUNTED:
                    break
                span = span.beyond(found.reached)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))), found

    async def hidden(self, delivery_ids: Sequence[UUID]) -> set[UUID]:
        """Return those of the deliveries that the caller's portal link does not reach."""
        return await scopes.hidden_deliveries(self._pool, delivery_ids)

    async def retry(
        self, tenant_id: str, delivery_ids: Sequence[UUID], *, actor: str, may_ring: Callable[[UUID], bool]
    ) -> list[Retried | errors.WebhookError]:
        """Make different deliveries pending, whatever they were, in one transaction; return what each is now.

        `may_ring` says of a subscription whether workers may be told of its deliveries at once; if not, or when
        something holds one back, it is the dispatcher's. In place of one that is not retried: Conflict while it is in
        flight or when its subscription is deleted or disabled; Gone without its payload, or past the retention of its
        day; QuotaExceeded when the tenant has too many that are unfinished.
        """
        found: dict[UUID, Retried | errors.WebhookError] = {}
        async with self._locked(tenant_id, delivery_ids, found) as (connection, locked):
            full = await self._too_many_waiting(connection, tenant_id, locked.values())
            for delivery_id, one in locked.items():
                if refused := self._refusal(one, full):
                    found[delivery_id] = refused
            changed = {delivery_id: one for delivery_id, one in locked.items() if delivery_id not in found}
            if changed:
                ringing = {name for name, one in changed.items() if _is_ringing(one.row, may_ring)}
                await self._make_pending(connection, changed, ringing, actor=actor)
                await _tell(connection, Action.RETRY_DELIVERY, changed, after=DeliveryStatus.PENDING, actor=actor)
                for delivery in await self._read_all(connection, tenant_id, list(changed)):
                    rung = Rung(delivery.subscription_id, delivery.id) if delivery.id in ringing else None
                    (traceparent,) = changed[delivery.id].row["event"]
                    found[delivery.id] = Retried(delivery=delivery, rung=rung, traceparent=traceparent)
        return [found[delivery_id] for delivery_id in delivery_ids]

    async def reopen(
        self,
        connection: postgres.Connection,
        tenant_id: str,
        delivery_ids: Sequence[UUID],
        *,
        statuses: Collection[DeliveryStatus],
        ended_by: datetime,
        actor: str,
    ) -> Reopened:
        """Make those deliveries pending that are in one of these states still, in the transaction of a connection.

        They are the dispatcher's, and none is a probe. QuotaExceeded when the tenant has too many that are unfinished.
        """
        refused: dict[UUID, Retried | errors.WebhookError] = {}
        locked = await _lock(connection, tenant_id, delivery_ids, refused)
        late = {name for name, one in locked.items() if one.status in FINAL and one.row["completed_at"] > ended_by}
        wanted = {name: one for name, one in locked.items() if one.status in statuses and name not in late}
        if full := await self._too_many_waiting(connection, tenant_id, wanted.values()):
            raise full
        refusals = {name: refusal for name, one in wanted.items() if (refusal := self._refusal(one, None))}
        changed = {name: one for name, one in wanted.items() if name not in refusals}
        if changed:
            await self._make_pending(connection, changed, (), actor=actor, probing=False)
        gone = sum(isinstance(refusal, errors.Gone) for refusal in refusals.values())
        return Reopened(ids=list(changed), gone=gone, late=len(late))

    async def check_quota(self, connection: postgres.Connection, tenant_id: str) -> None:
        """QuotaExceeded when a tenant has as many unfinished deliveries as it may have."""
        if full := await self._full(connection, tenant_id):
            raise full

    async def _make_pending(
        self,
        connection: postgres.Connection,
        changed: Mapping[UUID, _Locked],
        ringing: Collection[UUID],
        *,
        actor: str,
        probing: bool = True,
    ) -> None:
        names, rows = list(changed), [one.row for one in changed.values()]
        bounds = min(names), max(names)
        hold_seconds = [float(RUNG_SECONDS) if name in ringing else 0.0 for name in names]
        asked_by = None if actor == audit.SYSTEM else actor
        await connection.execute(SQL["retry_deliveries"], names, hold_seconds, self._expiry_hours, *bounds, asked_by)
        listed = [row for row in rows if row["status"] in LISTED]
        if listed:
            columns = ([row[name] for row in listed] for name in ("id", "subscription_id", "status"))
            await connection.execute(SQL["unlist"], *columns, *bounds)
        probes = {row["subscription_id"]: row["id"] for row in reversed(rows) if row["wants_probe"]}
        if probes and probing:
            await connection.execute(SQL["ask_for_probes"], list(probes), list(probes.values()))

    async def _too_many_waiting(
        self, connection: postgres.Connection, tenant_id: str, locked: Iterable[_Locked]
    ) -> errors.QuotaExceeded | None:
        """Return the error for what would be unfinished besides, if the tenant has its quota of that already."""
        if all(one.status not in FINAL for one in locked):
            return None
        return await self._full(connection, tenant_id)

    async def _full(self, connection: postgres.Connection, tenant_id: str) -> errors.QuotaExceeded | None:
        arguments = tenant_id, self._max_waiting, quotas.FRESH_SECONDS
        row = await connection.fetchrow(SQL["select_waiting"], *arguments)
        return quotas.too_many_waiting(row["waiting"], row["quota"]) if row else None

    def _refusal(self, one: _Locked, full: errors.QuotaExceeded | None) -> errors.WebhookError | None:
        """Return why a delivery cannot be retried, if it cannot."""
        row = one.row
        if row["subscription_deleted"]:
            return errors.Conflict(
                "the subscription of this delivery is deleted", reason=errors.ErrorReason.SUBSCRIPTION_DELETED
            )
        if row["subscription_disabled"]:
            message = "the subscription of this delivery is disabled; enable it first"
            return errors.Conflict(message, reason=errors.ErrorReason.SUBSCRIPTION_DISABLED)
        if row["event"] is None or row["erased"]:
            return _without_payload(row)
        failed_lately = one.status is DeliveryStatus.FAILED and row["completed_at"] > row["now"] - self._recovery
        if row["now"] >= ids.end_of_day(row["id"]) + self._retention and not failed_lately:
            # Retention only waits for other deliveries of the day: a retry would keep all of it for days more.
            return errors.Gone(
                "this delivery is older than LOG_RETENTION_HOURS and RECOVERY_HOURS and is about to be removed"
            )
        if full and one.status in FINAL:
            quotas.REFUSALS.labels(quotas.Quota.WAITING_DELIVERIES).inc()
            return full
        return None

    async def cancel(self, tenant_id: str, delivery_id: UUID) -> tuple[Delivery, bool]:
        """Cancel a waiting delivery, and return whether it was waiting; a cancelled one stays so.

        Conflict while it is in flight, or when it ended otherwise.
        """
        refused: dict[UUID, Retried | errors.WebhookError] = {}
        async with self._locked(tenant_id, [delivery_id], refused) as (connection, locked):
            if isinstance(error := refused.get(delivery_id), errors.WebhookError):
                raise error
            status = locked[delivery_id].status
            waiting = status not in FINAL
            if not waiting and status is not DeliveryStatus.CANCELLED:
                raise errors.Conflict(f"the delivery is {status}", reason=errors.ErrorReason.DELIVERY_FINISHED)
            if waiting:
                await deliveries.end_waiting(
                    connection, [delivery_id], status=DeliveryStatus.CANCELLED, reason=DeliveryReason.CANCELLED
                )
                actor = identity.CALLER.get().key_id
                await _tell(connection, Action.CANCEL_DELIVERY, locked, after=DeliveryStatus.CANCELLED, actor=actor)
            return await self._read(connection, tenant_id, delivery_id), waiting

    @contextlib.asynccontextmanager
    async def _locked(
        self, tenant_id: str, delivery_ids: Sequence[UUID], refused: dict[UUID, Retried | errors.WebhookError]
    ) -> AsyncIterator[tuple[postgres.Connection, dict[UUID, _Locked]]]:
        """Yield a transaction that has deliveries locked; those that nobody may change now are `refused`.

        Conflict for one in flight, NotFound for one that the tenant does not have.
        """
        async with self._pool.acquire() as connection:
            for tried in range(LOCK_TRIES):
                async with connection.transaction():
                    locked = await _lock(connection, tenant_id, delivery_ids, refused)
                    moved = [name for name in delivery_ids if name not in locked and name not in refused]
                    if not moved or tried == LOCK_TRIES - 1:
                        refused |= dict.fromkeys(moved, _in_flight("the delivery is being changed; try again"))
                        yield connection, locked
                        return
                refused.clear()

    async def _read(self, connection: postgres.Connection, tenant_id: str, delivery_id: UUID) -> Delivery:
        for delivery in await self._read_all(connection, tenant_id, [delivery_id]):
            return delivery
        raise _no_delivery(delivery_id)

    async def _read_all(
        self, connection: postgres.Connection, tenant_id: str, delivery_ids: Sequence[UUID]
    ) -> list[Delivery]:
        """Return those of the deliveries that the tenant has, with their attempts."""
        found = await self._select(connection, tenant_id, delivery_ids, traces=True)
        bounds = min(delivery_ids), max(delivery_ids)
        attempts: defaultdict[UUID, list[Attempt]] = defaultdict(list)
        for row in await connection.fetch(SQL["select_attempts"], [delivery.id for delivery in found], *bounds):
            attempts[row["delivery_id"]].append(attempt_of(row))
        return [dataclasses.replace(delivery, attempts=attempts[delivery.id]) for delivery in found]

    async def _select(
        self,
        connection: postgres.Connection,
        tenant_id: str | None,
        delivery_ids: Sequence[UUID],
        *,
        traces: bool = False,
    ) -> list[Delivery]:
        """Return those of the deliveries that the tenant has, in this order, without attempts; with their `traces`."""
        if not delivery_ids:
            return []
        bounds = min(delivery_ids), max(delivery_ids)
        rows = await connection.fetch(SQL["select_whole"], delivery_ids, tenant_id, *bounds, traces)
        by_id = {row["id"]: row for row in rows}
        return [
            sql.record(Delivery, row, status=DeliveryStatus(row["status"]), attempts=())
            for row in (by_id.get(name) for name in delivery_ids)
            if row is not None
        ]

    @contextlib.asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[postgres.Connection]:
        """Yield a transaction whose statements see the same.

        What leaves a state between them must not make a page look like the last.
        """
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection


async def _count(connection: postgres.Connection, delivery_ids: Sequence[UUID], group: str) -> Mapping[str, int]:
    """Return how many of some deliveries are in each group."""
    if group == "hour":
        return Counter(ids.moment_of(name).strftime("%Y-%m-%dT%H:00:00Z") for name in delivery_ids)
    if not delivery_ids:
        return {}
    rows = await connection.fetch(SQL["count_by"], delivery_ids, min(delivery_ids), max(delivery_ids), group)
    return {row["key"]: row["deliveries"] for row in rows}


async def _find(
    connection: postgres.Connection, subscription_id: UUID, status: DeliveryStatus | None, before: UUID, limit: int
) -> list[UUID]:
    """Return the newest deliveries of a subscription, or of those in a state.

    Where many wait, the newest of them are among the newest of all; where few do, they are soon sorted.
    """
    if status is None or status is DeliveryStatus.DELIVERED:
        query = "find_of_subscription" if status is None else "find_delivered"
        return [row["id"] for row in await connection.fetch(SQL[query], subscription_id, before, limit)]
    arguments = subscription_id, before, status, limit
    if status in FINAL:
        return [row["id"] for row in await connection.fetch(SQL["find_unsuccessful"], *arguments)]
    row = await connection.fetchrow(SQL["find_newest_in"], *arguments, NEWEST_LIMIT)
    assert row is not None, "it counts"
    found: list[UUID] = row["found"]
    if len(found) == limit or row["passed"] < NEWEST_LIMIT:
        return found
    return [row["id"] for row in await connection.fetch(SQL["find_in_queue"], *arguments)]


async def _lock(
    connection: postgres.Connection,
    tenant_id: str,
    delivery_ids: Sequence[UUID],
    refused: dict[UUID, Retried | errors.WebhookError],
) -> dict[UUID, _Locked]:
    """Lock deliveries, in the queue first as everywhere, in the order of their ids.

    Those that came there after they were looked for are neither locked nor `refused`.
    """
    bounds = min(delivery_ids), max(delivery_ids)
    rows = await connection.fetch(SQL["lock_queued"], delivery_ids, tenant_id)
    queued = {row["delivery_id"]: row for row in rows}
    history = {
        row["id"]: row for row in await connection.fetch(SQL["lock_deliveries"], delivery_ids, tenant_id, *bounds)
    }
    alone = [name for name, row in history.items() if name not in queued and row["status"] == DeliveryStatus.PENDING]
    rows = await connection.fetch(SQL["select_queued"], alone) if alone else []
    moved = {row["delivery_id"] for row in rows}
    locked: dict[UUID, _Locked] = {}
    for name in delivery_ids:
        if name not in history:
            refused[name] = _no_delivery(name)
        elif name not in queued:
            if name not in moved:
                locked[name] = _Locked(row=history[name], status=DeliveryStatus(history[name]["status"]))
        elif queued[name]["in_flight"]:
            refused[name] = _in_flight("a worker is sending this delivery; try again")
        else:
            status = DeliveryStatus.SCHEDULED if queued[name]["scheduled"] else DeliveryStatus.PENDING
            locked[name] = _Locked(row=history[name], status=status)
    return locked


def _is_ringing(row: Any, may_ring: Callable[[UUID], bool]) -> bool:
    return row["steady"] and may_ring(row["subscription_id"])


async def _tell(
    connection: postgres.Connection,
    action: Action,
    changed: Mapping[UUID, _Locked],
    *,
    after: DeliveryStatus,
    actor: str,
) -> None:
    entries = (
        audit.Entry(
            action=action,
            tenant_id=one.row["tenant_id"],
            resource_id=str(name),
            changes=[FieldChange(field="status", before=one.status, after=after)],
        )
        for name, one in changed.items()
    )
    await audit.record(connection, *entries, actor=actor)


def _without_payload(row: Any) -> errors.Gone:
    if row["erased"]:
        return errors.Erased("the event of this delivery was erased")
    return errors.Gone("the payload of this delivery is no longer retained")


def _no_delivery(delivery_id: UUID) -> errors.NotFound:
    return errors.NotFound(f"delivery {delivery_id} not found")


def _in_flight(message: str) -> errors.Conflict:
    return errors.Conflict(message, reason=errors.ErrorReason.DELIVERY_IN_FLIGHT)
