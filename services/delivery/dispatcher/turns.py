"""Turns among subscriptions: who gets how many of its due deliveries rung now. The gate stands before the bell.

A delivery that its subscription's gate does not let through stays where it is, unchanged, until its turn comes.
"""

import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from services.delivery.dispatcher.limiter import Demand, Limiter, bucket_size
from services.delivery.dispatcher.store import DispatcherStore, Endpoint, Walk
from services.delivery.dispatcher.windows import RECOVERY_SECONDS, Windows
from services.domain.doorbell import RUNG_SECONDS, Rung
from services.domain.gates import Gates
from services.domain.states import BreakerState, Hold

# Deliveries that expire behind a closed gate are looked for so often.
EXPIRE_HELD_SECONDS = 10.0
# What keeps a subscription from having more when it is not its endpoint: so much is on its way to the workers already.
# Its bells are withheld, too, but nothing holds its deliveries: one more worker would send them.
_WORKERS: Final = "workers"
_Held = Hold | Literal["workers"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What a turn took in hand, and what it ended."""

    rung: list[Rung]
    expired: int
    # Whether subscriptions have more that is due, and may have it next turn.
    more: bool = False
    # Until a rate limit lets the next one through; None when none waits for that.
    wait_seconds: float | None = None


@dataclass(slots=True)
class _Limit:
    number: int
    # What keeps it from having more; None when it is only its turn that ends.
    reason: _Held | None


class Turns:
    """The gates of one process; those of several agree by what stands in Postgres and Redis."""

    def __init__(self, store: DispatcherStore, limiter: Limiter, gates: Gates) -> None:
        self._store = store
        self._limiter = limiter
        self._gates = gates
        self._windows = Windows()
        self._held: dict[UUID, Hold] = {}
        self._held_looked_at = time.monotonic()

    @property
    def held(self) -> Mapping[UUID, Hold]:
        """The subscriptions whose due deliveries were held at the last turn, and what holds them."""
        return self._held

    async def take(self, deliveries: int, walk: Walk | None = None) -> Taken:
        """One turn over at most so many deliveries: what it takes is pending, workers are to hear of it."""
        walk = walk or await self._store.walk()
        held: dict[UUID, _Held] = {
            endpoint.subscription_id: endpoint.held_by for endpoint in walk.waiting.values() if endpoint.held_by
        }
        expired = await self._expire(held)
        limits, probes = await self._limits(walk, deliveries)
        found = await self._store.find_due({name: limit.number for name, limit in limits.items() if limit.number})
        more = False
        for name, limit in limits.items():
            if len(found.get(name, ())) >= limit.number:
                if limit.reason:
                    held[name] = limit.reason
                more = more or not limit.reason
        wait_seconds = await self._ration(found, walk, held)
        await self._admit_probes(walk, found, probes, held)
        rung, ended = await self._store.take_due(found, hold_seconds=RUNG_SECONDS)
        if lost := probes & found.keys() - {name for name, _ in rung}:  # it expired, or somebody else has it
            await self._store.give_up_probes(lost)
        numbers = Counter(name for name, _ in rung)
        await self._limiter.give_back(_demands(walk, {name: len(ids) - numbers[name] for name, ids in found.items()}))
        for name, number in numbers.items():
            self._windows[name].rang(number)
        self._gates.close(held)
        self._held = {name: reason for name, reason in held.items() if isinstance(reason, Hold)}
        return Taken(rung=rung, expired=expired + ended, more=more, wait_seconds=wait_seconds)

    async def _limits(self, walk: Walk, deliveries: int) -> tuple[dict[UUID, _Limit], set[UUID]]:
        """For those that may have some: how many, and who of them gets its one probe."""
        asked = [endpoint for endpoint in walk.waiting.values() if not endpoint.held_by]
        outstanding = await self._store.survey([endpoint.subscription_id for endpoint in asked])
        now = time.monotonic()
        self._windows.sweep(now)
        due = [endpoint for endpoint in asked if endpoint.subscription_id in outstanding]
        share = max(1, deliveries // max(1, len(due)))
        probes = {endpoint.subscription_id for endpoint in due if endpoint.breaker is not BreakerState.CLOSED}
        limits: dict[UUID, _Limit] = {}
        for endpoint in due:
            name = endpoint.subscription_id
            limits[name] = (
                _Limit(1, Hold.BREAKER_OPEN) if name in probes else self._limit(endpoint, share, outstanding[name], now)
            )
        return limits, probes

    def _limit(self, endpoint: Endpoint, share: int, outstanding: int, now: float) -> _Limit:
        window = self._windows.to(endpoint.subscription_id, endpoint.endpoint_version)
        full, short = self._gates.is_full(endpoint.subscription_id), self._gates.is_short(endpoint.subscription_id)
        limit = _Limit(share, None)
        room = window.allowance(outstanding, full=full, short=short, now=now)
        if room < limit.number:
            limit = _Limit(room, Hold.CONCURRENCY if window.is_endpoints or (full and not short) else _WORKERS)
        if endpoint.rate_limit_per_second is not None:
            # No more than there can be tokens for; how many there are is asked when it is known what is due.
            room = int(bucket_size(endpoint.rate_limit_per_second, endpoint.rate_limit_burst))
            if room < limit.number:
                limit = _Limit(room, Hold.RATE_LIMIT)
        if endpoint.closed_seconds is not None and endpoint.closed_seconds < RECOVERY_SECONDS:
            room = window.recovery_allowance(endpoint.closed_seconds, now)
            if room < limit.number:
                limit = _Limit(room, Hold.RECOVERING)
        return limit

    async def _ration(self, found: dict[UUID, list[UUID]], walk: Walk, held: dict[UUID, _Held]) -> float | None:
        """Leave of what was found what the rate limits allow; return when they allow more."""
        demands = _demands(walk, {name: len(delivery_ids) for name, delivery_ids in found.items()})
        waits = []
        for demand, grant in zip(demands, await self._limiter.take(demands), strict=True):
            if grant.number < demand.wanted:
                del found[demand.subscription_id][grant.number :]
                held[demand.subscription_id] = Hold.RATE_LIMIT
                waits.append(grant.more_in_seconds)
        return min(waits, default=None)

    async def _admit_probes(
        self, walk: Walk, found: dict[UUID, list[UUID]], probes: set[UUID], held: dict[UUID, _Held]
    ) -> None:
        """Of the breakers whose cool-down is over, one delivery each; another process may have been first.

        It is the longest due one, unless somebody retried another by hand.
        """
        for name in probes & found.keys():
            if found[name] and (retried := walk.waiting[name].probe_asked_for):
                found[name] = [retried]
        asked = {name: found[name][0] for name in probes if found.get(name)}
        admitted = await self._store.begin_probes(asked) if asked else set()
        for name in asked:
            held[name] = Hold.BREAKER_OPEN
            if name not in admitted:
                del found[name]

    async def _expire(self, held: Collection[UUID]) -> int:
        """End what expired behind gates that let nothing through; return how many."""
        if not held or time.monotonic() - self._held_looked_at < EXPIRE_HELD_SECONDS:
            return 0
        self._held_looked_at = time.monotonic()
        return await self._store.expire_held(list(held))


def _demands(walk: Walk, numbers: Mapping[UUID, int]) -> list[Demand]:
    """Of those with a rate limit, if it is any."""
    return [
        Demand(subscription_id=name, rate=rate, burst=walk.waiting[name].rate_limit_burst, wanted=number)
        for name, number in numbers.items()
        if number and (rate := walk.waiting[name].rate_limit_per_second) is not None
    ]
