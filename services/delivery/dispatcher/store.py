"""What the dispatcher asks of Postgres. Safe in any number of copies: rows are locked, and locked ones skipped."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from services.delivery.destinations.pull import leases
from services.delivery.destinations.pull import metrics as pull_metrics
from services.delivery.worker import decisions
from services.delivery.worker.claims import Outcome
from services.delivery.worker.live import Live
from services.delivery.worker.recording import OutcomeStore
from services.domain import deliveries
from services.domain.doorbell import Rung
from services.domain.retry_policy import RetryPolicy
from services.domain.states import AttemptOutcome, BreakerState, DeliveryReason, DeliveryStatus, Hold, SubscriptionState
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.delivery.dispatcher")

# Leases of one delivery that may expire before it ends, so that a poison delivery ends, too.
MAX_INTERRUPTIONS = 10
CANCEL_LIMIT = 1_000
# Counting what is due looks at so many subscriptions in one statement, and rests so many times as long before the next.
COUNT_SUBSCRIPTIONS = 500
COUNT_REST = 3
# A probe that nothing was heard of for so long is taken for lost: longer than any timeout, its bell and its recording.
PROBE_SECONDS = 45.0
# Before anything in the queue.
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = UUID(int=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """A subscription whose turn has come, and what its gate depends on."""

    subscription_id: UUID
    tenant_id: str
    # Its turn, as it was seen: who changes it says that something has changed.
    turn_at: datetime
    # What it has due is not due earlier.
    due_from: datetime
    # What held it at its last turn.
    was_held_by: Hold | None
    deleted: bool
    status: SubscriptionState
    # Whether its consumers pull: workers are to hear of none of its deliveries.
    pulled: bool
    breaker: BreakerState
    # Whether the breaker's cool-down is over, or the probe that was out is taken for lost; if not, in how many seconds.
    probe_due: bool
    probe_seconds: float | None
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
        """What keeps all its deliveries from being sent: its state, PULL, or BREAKER_OPEN; None when nothing does."""
        if self.status is not SubscriptionState.ACTIVE:
            return Hold(self.status)
        if self.pulled:
            return Hold.PULL
        return Hold.BREAKER_OPEN if self.breaker is not BreakerState.CLOSED and not self.probe_due else None


class Due(NamedTuple):
    """A due delivery."""

    id: UUID
    due_at: datetime
    expired: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept:
    """What became due."""

    now: datetime
    deliveries: int
    # Of the last of them; None when there are none.
    last_due_at: datetime | None
    # Subscriptions that had a turn already, and since when something of them is due.
    listed: list[tuple[UUID, datetime]]
    # For how many seconds the breakers of those that were given a turn stay open.
    open_seconds: dict[UUID, float]
    # In flight.
    claimed: list[UUID]
    # Until the next delivery becomes due; None where some were, and where there is none.
    next_seconds: float | None


class Place(NamedTuple):
    """Where a pass over the queue has come to, in the order of its subscriptions."""

    subscription_id: UUID = _FIRST
    scheduled: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """A part of a pass over the queue."""

    # How many deliveries it read, and where it ended; None when it read none.
    deliveries: int
    place: Place | None
    # Of the subscription at its end, which may have more: what holds it, and how many due ones were read.
    last_held_by: Hold | None
    last_deliveries: int
    held: dict[Hold, int]
    # Those that may be sent to, and since when something is due.
    due: list[tuple[UUID, datetime]]
    # In flight, though it is due.
    claimed: list[UUID]


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """When a subscription has its next turn, and what is known until then."""

    endpoint: Endpoint
    # From now.
    seconds: float
    held_by: Hold | None
    due_from: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Depths:
    """What there is in the queue, each counted up to a limit."""

    in_flight: int
    scheduled: int
    # Rung for, or due and not held.
    pending: int
    oldest_seconds: float
    # Due, and held at their subscription's last turn.
    held: dict[Hold, int]
    # Yet to be created, as far as that is known.
    unexpanded: int
    # Those that are not closed, by their state; None where they were not asked for.
    breakers: dict[BreakerState, int] | None
    # What counting took, without rests.
    took_seconds: float


@dataclass(kw_only=True, slots=True)
class _CountedDue:
    """What is due and may be sent."""

    deliveries: int = 0
    oldest_seconds: float = 0.0
    # How long counting rested.
    rest_seconds: float = 0.0


class DispatcherStore:
    """What there is to do, and doing it."""

    def __init__(
        self, pool: postgres.Pool, *, lease_seconds: float, policy: RetryPolicy, live: Live | None = None
    ) -> None:
        self._pool = pool
        # Told of what consumers did not report.
        self._live = live
        self._lease_seconds = lease_seconds
        # Of subscriptions without one of their own, for consumers that let leases expire.
        self._policy = policy
        self._outcomes = OutcomeStore(pool)

    # -- what became due --

    async def sweep(self, since: datetime | None, *, limit: int, overlap_seconds: float) -> Swept:
        """Read what became due since then, or in the last `overlap_seconds`, and give its subscriptions turns."""
        (row,) = await self._pool.fetch(SQL["sweep"], since, limit, overlap_seconds)
        return Swept(
            now=row["now"],
            deliveries=row["deliveries"],
            last_due_at=row["last_due_at"],
            listed=list(zip(row["listed"] or (), row["due_from"] or (), strict=True)),
            open_seconds={UUID(name): seconds for name, seconds in json.loads(row["open_seconds"] or "{}").items()},
            claimed=row["claimed"] or [],
            next_seconds=row["next_seconds"],
        )

    async def check_queue(self, after: Place, *, limit: int) -> Checked:
        """Read a part of the queue, and give those subscriptions a turn that were missed."""
        (row,) = await self._pool.fetch(SQL["check_queue"], *after, limit)
        last = row["last_subscription_id"]
        return Checked(
            deliveries=row["read"],
            place=Place(last, row["last_scheduled"]) if last else None,
            last_held_by=Hold(row["last_held_by"]) if row["last_held_by"] else None,
            last_deliveries=row["last_deliveries"] or 0,
            held={Hold(reason): int(number) for reason, number in json.loads(row["held"] or "{}").items()},
            due=list(zip(row["due"] or (), row["due_from"] or (), strict=True)),
            claimed=row["claimed"] or [],
        )

    async def count_run(self, place: Place, *, limit: int) -> int:
        """Count the due deliveries of a subscription that are scheduled, or those that are not."""
        return int(await self._pool.fetchval(SQL["count_run"], *place, limit))

    async def find_expired(self, after: UUID, *, limit: int) -> tuple[list[UUID], UUID | None]:
        """Read so many deliveries after this one; return what is past its expiry, and the last; None at the end."""
        (row,) = await self._pool.fetch(SQL["find_expired"], after, limit)
        return row["expired"] or [], row["last_id"] if row["read"] == limit else None

    async def end_expired(self, delivery_ids: Sequence[UUID]) -> int:
        """End waiting deliveries that are past their expiry; return how many."""
        if not delivery_ids:
            return 0

        async def end() -> int:
            async with self._pool.acquire() as connection, connection.transaction():
                ended = await deliveries.end_waiting(
                    connection, delivery_ids, status=DeliveryStatus.FAILED, reason=DeliveryReason.EXPIRED
                )
            return len(ended)

        return await postgres.repeat_rolled_back(end)

    async def cancel_deleted(self, subscription_id: UUID) -> int:
        """Cancel waiting deliveries of a deleted subscription, due or not; return how many.

        It has another turn while something of it is in flight.
        """
        cancelled = await deliveries.cancel_waiting(self._pool, subscription_id, limit=CANCEL_LIMIT)
        await self._pool.execute(SQL["remove_turn"], subscription_id)
        return cancelled

    # -- leases --

    async def keep_leases(self, delivery_ids: Sequence[UUID], *, guard_seconds: float = 0.0) -> None:
        """Look at deliveries in flight again when their lease ends, or after `guard_seconds` whether it is valid."""
        if delivery_ids:
            await self._pool.execute(SQL["keep_leases"], sorted(delivery_ids), guard_seconds)

    async def expire_leases(self, delivery_ids: Sequence[UUID]) -> tuple[int, int]:
        """Make deliveries due again whose lease ran out; return how many leases of workers, and how many ended failed.

        Where it was a consumer's, the attempt has failed, and is retried by the policy.
        """
        if not delivery_ids:
            return 0, 0
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(SQL["lock_leases"], sorted(delivery_ids))
            of_workers = [row for row in rows if not row["pulled"]]
            of_consumers = [row for row in rows if row["pulled"]]
            ended: Sequence[Any] = ()
            if of_workers:
                leased = [row["delivery_id"] for row in of_workers]
                ended = await connection.fetch(
                    SQL["expire_leases"],
                    leased,
                    min(leased),
                    max(leased),
                    MAX_INTERRUPTIONS,
                    self._lease_seconds,
                    [row["claim_token"] for row in of_workers],
                )
            made: Sequence[Outcome] = ()
            changed: Mapping[UUID, DeliveryStatus] = {}
            if of_consumers:
                made = leases.expired(of_consumers, self._policy)
                changed = await self._outcomes.record_held(connection, made)
        if self._live is not None and made:
            self._live.note([outcome for outcome in made if outcome.claim.id in changed])
        decisions.count_ended(changed.values())
        pull_metrics.RESULTS.labels(AttemptOutcome.LEASE_EXPIRED).inc(len(of_consumers))
        return len(of_workers), sum(row["status"] == DeliveryStatus.FAILED for row in ended)

    # -- turns --

    async def turns(self, since: datetime, *, limit: int) -> tuple[list[Endpoint], datetime, float | None]:
        """Return those whose turn came since then, in turns among tenants if there are more, and the time.

        Without any, return also in how many seconds the next turn comes, if one does.
        """
        rows = await self._pool.fetch(SQL["select_turns"], since, limit)
        if len(rows) == limit:
            rows = await self._pool.fetch(SQL["select_turns_of_tenants"], since, limit, limit)
        endpoints = [_endpoint(row) for row in rows if row["subscription_id"]]
        return endpoints, rows[0]["now"], None if endpoints else rows[0]["next_seconds"]

    async def put_turns(self, moves: Sequence[Move]) -> None:
        """Move turns, unless somebody else changed them meanwhile."""
        if moves:
            await self._pool.execute(
                SQL["put_turns"],
                [move.endpoint.subscription_id for move in moves],
                [move.endpoint.turn_at for move in moves],
                [move.seconds for move in moves],
                [move.held_by for move in moves],
                [move.due_from for move in moves],
            )

    async def leave_turns(self, starts: Mapping[UUID, datetime], endpoints: Sequence[Endpoint]) -> None:
        """Take the turns of those away that have nothing due from these times on, or that may be sent nothing."""
        if endpoints:
            names = [endpoint.subscription_id for endpoint in endpoints]
            await self._pool.execute(
                SQL["leave_turns"],
                names,
                [endpoint.turn_at for endpoint in endpoints],
                [starts.get(name, BEGINNING) for name in names],
                [name not in starts for name in names],
            )

    async def find_deleted(self, *, limit: int) -> list[UUID]:
        """Return deleted subscriptions that have turns."""
        return [row["subscription_id"] for row in await self._pool.fetch(SQL["find_deleted"], limit)]

    async def count_outstanding(self, most: Mapping[UUID, int]) -> dict[UUID, int]:
        """How many deliveries of subscriptions are rung or in flight, each counted up to so many."""
        if not most:
            return {}
        rows = await self._pool.fetch(SQL["count_outstanding"], list(most), list(most.values()))
        return {row["subscription_id"]: row["outstanding"] for row in rows}

    async def find_due(self, numbers: Mapping[UUID, int], starts: Mapping[UUID, datetime]) -> dict[UUID, list[Due]]:
        """Due deliveries by subscription, the longest due first, at most so many of each, from these times on."""
        if not numbers:
            return {}
        arguments = list(numbers), [starts.get(name, BEGINNING) for name in numbers], list(numbers.values())
        found: defaultdict[UUID, list[Due]] = defaultdict(list)
        for name, delivery_id, due_at, expired in await self._pool.fetch(SQL["find_due"], *arguments):
            found[name].append(Due(delivery_id, due_at, expired))
        return dict(found)

    async def begin_probes(self, probes: Mapping[UUID, UUID]) -> set[UUID]:
        """Half-open breakers whose cool-down is over, each for one delivery; return those changed by this process."""
        rows = await self._pool.fetch(SQL["begin_probes"], list(probes), list(probes.values()), PROBE_SECONDS)
        return {row["subscription_id"] for row in rows}

    async def give_up_probes(self, subscription_ids: Collection[UUID]) -> None:
        """Let another delivery be the probe, for this one is not sent after all."""
        await self._pool.execute(SQL["give_up_probes"], list(subscription_ids))

    async def take_due(self, delivery_ids: Sequence[UUID], *, hold_seconds: float) -> list[Rung]:
        """Make due deliveries pending, and not due for `hold_seconds`; return them.

        What another process takes meanwhile is skipped, and so is what is past its expiry.
        """
        if not delivery_ids:
            return []
        rows = await self._pool.fetch(SQL["take_due"], sorted(delivery_ids), hold_seconds)
        return [Rung(row["subscription_id"], row["delivery_id"]) for row in rows]

    # -- what it tells --

    async def count_workers(self) -> int:
        """Count the workers that reported within the last fifteen seconds."""
        return int(await self._pool.fetchval(SQL["count_workers"]))

    async def depths(self, *, limit: int, hold_seconds: float, breakers: bool) -> Depths:
        """Count what there is, looking at no more rows than `limit` of each kind; and `breakers`, if asked."""
        began = time.monotonic()
        # One snapshot for all of it: a turn that moves meanwhile is counted once.
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            (queued,) = await connection.fetch(SQL["count_queue"], 2 * limit, hold_seconds)
            due = await _count_due(connection, limit, hold_seconds)
            held = await connection.fetch(SQL["count_held"], limit)
            unexpanded = await connection.fetchval(SQL["count_unexpanded"], limit)
            not_closed = await connection.fetch(SQL["count_breakers"]) if breakers else []
        return Depths(
            in_flight=min(limit, queued["in_flight"]),
            scheduled=min(limit, queued["scheduled"]),
            pending=min(limit, queued["rung"] + due.deliveries),
            oldest_seconds=max(queued["oldest_seconds"], due.oldest_seconds),
            held={Hold(row["held_by"]): row["deliveries"] for row in held},
            unexpanded=unexpanded,
            breakers={BreakerState(row["breaker"]): row["number"] for row in not_closed} if breakers else None,
            took_seconds=time.monotonic() - began - due.rest_seconds,
        )

    async def forget_workers(self) -> None:
        """Remove workers that died without a word."""
        await self._pool.execute(SQL["forget_workers"])


async def _count_due(connection: postgres.Connection, limit: int, hold_seconds: float) -> _CountedDue:
    """Count what is due in parts, with rests between them: it may be that of many subscriptions."""
    counted = _CountedDue()
    place: tuple[datetime, UUID] | None = BEGINNING, _FIRST
    while place is not None and counted.deliveries < limit:
        began = time.monotonic()
        (row,) = await connection.fetch(
            SQL["count_due"], limit - counted.deliveries, hold_seconds, *place, COUNT_SUBSCRIPTIONS
        )
        counted.deliveries += row["deliveries"]
        counted.oldest_seconds = max(counted.oldest_seconds, row["oldest_seconds"])
        place = None if row["turn_at"] is None else (row["turn_at"], row["subscription_id"])
        if place is not None:
            rest_seconds = COUNT_REST * (time.monotonic() - began)
            counted.rest_seconds += rest_seconds
            await asyncio.sleep(rest_seconds)
    return counted


def _endpoint(row: Any) -> Endpoint:
    return sql.record(
        Endpoint,
        row,
        was_held_by=Hold(row["was_held_by"]) if row["was_held_by"] else None,
        status=SubscriptionState(row["status"]),
        breaker=BreakerState(row["breaker"]),
    )
