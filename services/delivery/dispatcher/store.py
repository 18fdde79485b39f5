"""What the dispatcher asks of Postgres. Safe in any number of copies: rows are locked, and locked ones skipped."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from services.delivery.dispatcher.windows import MAX_WINDOW
from services.domain import deliveries
from services.domain.doorbell import Rung
from services.domain.states import BreakerState, DeliveryReason, DeliveryStatus, Hold, SubscriptionState
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.delivery.dispatcher")

# Leases of one delivery that may expire before it ends, so that a poison delivery ends, too.
MAX_INTERRUPTIONS = 10
CANCEL_LIMIT = 1_000
# Looked at for expiry behind each closed gate.
EXPIRE_LIMIT = 200
# A probe that nothing was heard of for so long is taken for lost: longer than any timeout, its bell and its recording.
PROBE_SECONDS = 45.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """A subscription with waiting deliveries, and what its gate depends on."""

    subscription_id: UUID
    status: SubscriptionState
    breaker: BreakerState
    # Whether the breaker's cool-down is over, or the probe that was out is taken for lost.
    probe_due: bool
    # The delivery that somebody retried by hand while the breaker was open: it is to be the probe.
    probe_asked_for: UUID | None
    # How long ago the breaker closed; None when it never opened.
    closed_seconds: float | None
    rate_limit_per_second: float | None
    rate_limit_burst: int | None
    # Another target_url is another endpoint.
    endpoint_version: int

    @property
    def held_by(self) -> Hold | None:
        """What keeps all its deliveries from being sent: PAUSED, DISABLED or BREAKER_OPEN; None when nothing does."""
        if self.status is not SubscriptionState.ACTIVE:
            return Hold(self.status)
        return Hold.BREAKER_OPEN if self.breaker is not BreakerState.CLOSED and not self.probe_due else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """The subscriptions with unfinished deliveries."""

    waiting: dict[UUID, Endpoint] = field(default_factory=dict)
    # Those of them with pending ones, and with scheduled ones.
    pending: list[UUID] = field(default_factory=list)
    scheduled: list[UUID] = field(default_factory=list)
    in_flight: list[UUID] = field(default_factory=list)
    # Waiting, but their subscription is gone.
    deleted: list[UUID] = field(default_factory=list)


class DispatcherStore:
    """What there is to do, and doing it."""

    def __init__(self, pool: postgres.Pool, *, lease_seconds: float) -> None:
        self._pool = pool
        self._lease_seconds = lease_seconds

    async def walk(self) -> Walk:
        """Who has unfinished deliveries. Its cost grows with the subscriptions that do, not with the deliveries."""
        found = Walk()
        for row in await self._pool.fetch(SQL["walk_unfinished"]):
            name = row["subscription_id"]
            if row["state"] == DeliveryStatus.IN_FLIGHT:
                found.in_flight.append(name)
            elif row["deleted"]:
                found.deleted.append(name)
            else:
                (found.pending if row["state"] == DeliveryStatus.PENDING else found.scheduled).append(name)
                if name not in found.waiting:
                    status, breaker = SubscriptionState(row["status"]), BreakerState(row["breaker"])
                    found.waiting[name] = sql.record(Endpoint, row, status=status, breaker=breaker)
        return found

    async def cancel_deleted(self, subscription_ids: Sequence[UUID]) -> int:
        """Cancel waiting deliveries of deleted subscriptions, due or not; return how many."""
        return await deliveries.cancel_waiting(self._pool, list(set(subscription_ids)), limit=CANCEL_LIMIT)

    async def survey(self, subscription_ids: Sequence[UUID]) -> dict[UUID, int]:
        """Return subscriptions with due deliveries, and how many are rung or in flight (counted as far as needed)."""
        if not subscription_ids:
            return {}
        rows = await self._pool.fetch(SQL["survey"], subscription_ids, MAX_WINDOW)
        return {row["subscription_id"]: row["outstanding"] for row in rows}

    async def find_due(self, limits: Mapping[UUID, int]) -> dict[UUID, list[UUID]]:
        """Due deliveries by subscription, the longest due first, at most so many of each."""
        if not limits:
            return {}
        found: dict[UUID, list[UUID]] = {}
        for row in await self._pool.fetch(SQL["find_due"], list(limits), list(limits.values())):
            found.setdefault(row["subscription_id"], []).append(row["id"])
        return found

    async def begin_probes(self, probes: Mapping[UUID, UUID]) -> set[UUID]:
        """Half-open breakers whose cool-down is over, each for one delivery; return those changed by this process."""
        rows = await self._pool.fetch(SQL["begin_probes"], list(probes), list(probes.values()), PROBE_SECONDS)
        return {row["subscription_id"] for row in rows}

    async def give_up_probes(self, subscription_ids: Collection[UUID]) -> None:
        """Let another delivery be the probe, for this one is not sent after all."""
        await self._pool.execute(SQL["give_up_probes"], list(subscription_ids))

    async def take_due(self, found: Mapping[UUID, Sequence[UUID]], *, hold_seconds: float) -> tuple[list[Rung], int]:
        """Make due deliveries pending, and those past their expiry failed; return those, and how many of these.

        Deliveries that another process takes meanwhile are skipped. Those taken are not due for `hold_seconds`.
        """
        taken = [delivery_id for delivery_ids in found.values() for delivery_id in delivery_ids]
        if not taken:
            return [], 0
        rows = await self._pool.fetch(SQL["take_due"], taken, min(taken), max(taken), hold_seconds)
        rung = [Rung(row["subscription_id"], row["id"]) for row in rows if row["pending"]]
        return rung, len(rows) - len(rung)

    async def expire_held(self, subscription_ids: Sequence[UUID]) -> int:
        """End held deliveries that are past their expiry, looking at the first of each; return how many."""
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(SQL["find_expired"], subscription_ids, EXPIRE_LIMIT)
            await deliveries.end_waiting(
                connection, [row["id"] for row in rows], status=DeliveryStatus.FAILED, reason=DeliveryReason.EXPIRED
            )
        return len(rows)

    async def count_workers(self) -> int:
        """Count the workers that reported within the last fifteen seconds."""
        return int(await self._pool.fetchval(SQL["count_workers"]))

    async def expire_leases(self, subscription_ids: Sequence[UUID], *, per_subscription: int) -> tuple[int, int]:
        """Make deliveries due again whose lease ran out; return how many leases, and how many ended failed."""
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(SQL["lock_leases"], subscription_ids, per_subscription)
            leased = [row["id"] for row in rows]
            if not leased:
                return 0, 0
            least, greatest = min(leased), max(leased)
            ended = await connection.fetch(
                SQL["expire_leases"],
                leased,
                least,
                greatest,
                MAX_INTERRUPTIONS,
                self._lease_seconds,
                [row["claim_token"] for row in rows],
            )
        return len(leased), sum(row["status"] == DeliveryStatus.FAILED for row in ended)

    async def count_waiting(self, state: DeliveryStatus, subscription_ids: Sequence[UUID], *, limit: int) -> int:
        """Count the pending or the scheduled deliveries of subscriptions, up to a limit."""
        return int(await self._pool.fetchval(SQL["count_waiting"], state, subscription_ids, limit))

    async def count_in_flight(self, *, limit: int) -> int:
        """Deliveries under a lease, up to a limit."""
        return int(await self._pool.fetchval(SQL["count_in_flight"], limit))

    async def count_held(self, subscription_ids: Sequence[UUID], *, limit: int) -> int:
        """Due deliveries of subscriptions, up to a limit."""
        return int(await self._pool.fetchval(SQL["count_held"], subscription_ids, limit))

    async def breakers(self) -> dict[BreakerState, int]:
        """Count the breakers that are not closed by their state."""
        return {BreakerState(row["breaker"]): row["number"] for row in await self._pool.fetch(SQL["count_breakers"])}

    async def forget_workers(self) -> None:
        """Remove workers that died without a word."""
        await self._pool.execute(SQL["forget_workers"])

    async def oldest_waiting_seconds(self, subscription_ids: Sequence[UUID], *, hold_seconds: float) -> float:
        """How long the longest waiting pending delivery has waited."""
        return float(await self._pool.fetchval(SQL["oldest_waiting"], subscription_ids, hold_seconds))
