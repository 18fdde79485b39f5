"""Turns among tenants and their subscriptions: who gets how many of its due deliveries rung now.

The gate stands before the bell. A delivery that its subscription does not let through stays where it is, unchanged,
until its turn comes.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from services.delivery.dispatcher.limiter import Demand, Grant, Limiter, bucket_size
from services.delivery.dispatcher.starts import Starts
from services.delivery.dispatcher.store import BEGINNING, DispatcherStore, Due, Endpoint, Move
from services.delivery.dispatcher.sweeper import Sweeper
from services.delivery.dispatcher.windows import RECOVERY_SECONDS, Windows
from services.domain.doorbell import RUNG_SECONDS, Rung
from services.domain.gates import Gates
from services.domain.states import BreakerState, Hold
from services.platform.process.shares import WeightOf, divide, same_weight

# What holds a subscription for less than this is not written down: it is looked at in the next turn anyway.
REST_SECONDS = 0.25
# A deleted subscription is cancelled meanwhile.
CANCEL_SECONDS = 5.0
# How far what Postgres knows of a subscription's start may lag behind.
LAG = timedelta(seconds=10)
# A turn looks back so far for those that were given by transactions that took long,
OVERLAP = timedelta(seconds=1)
# and so often at all that there are.
LOOK_THROUGH_SECONDS = 10.0
# A tenant that has no more than so many deliveries due counts as prompt: it waits behind no backlog.
FEW = 32
# Looks for what is due in a turn: for the shares of all, and for what those did not use.
ROUNDS = 3
# What keeps a subscription from having more when it is not its endpoint: so much is on its way to the workers already.
# Its bells are withheld, too, but nothing holds its deliveries: one more worker would send them.
_WORKERS: Final = "workers"
_Held = Hold | Literal["workers"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What a turn took in hand, and what it ended."""

    rung: list[Rung]
    expired: int
    # Subscriptions that are gone; what waits for them is to be cancelled.
    deleted: list[UUID]
    # Whether subscriptions have more that is due, and may have it next turn.
    more: bool = False
    # Until a rate limit lets the next one through; None when none waits for that.
    wait_seconds: float | None = None
    # Of those rung for, the subscriptions of tenants with few due deliveries.
    prompt: Collection[UUID] = frozenset()


@dataclass(slots=True)
class _Limit:
    number: int
    # What keeps it from having more; None when it is only its turn that ends.
    reason: _Held | None


@dataclass(kw_only=True, slots=True)
class _Turn:
    """What there is to a turn, by subscription."""

    asked: dict[UUID, Endpoint] = field(default_factory=dict)
    limits: dict[UUID, _Limit] = field(default_factory=dict)
    # Those that get their one probe.
    probes: set[UUID] = field(default_factory=set)
    # How many were looked for, and what was found.
    numbers: dict[UUID, int] = field(default_factory=dict)
    found: dict[UUID, list[Due]] = field(default_factory=dict)
    # Those that have more than that, as far as it is known.
    have_more: set[UUID] = field(default_factory=set)
    # What of it is to be rung for.
    wanted: dict[UUID, list[UUID]] = field(default_factory=dict)
    grants: dict[UUID, Grant] = field(default_factory=dict)
    rung: set[UUID] = field(default_factory=set)
    # For whom, and for how long, nothing more is let through.
    held: dict[UUID, tuple[_Held, float]] = field(default_factory=dict)

    def of_few(self) -> set[UUID]:
        """Return the subscriptions of tenants with few due deliveries."""
        found: Counter[str] = Counter()
        for name, endpoint in self.asked.items():
            found[endpoint.tenant_id] += len(self.found.get(name, ())) + FEW * (name in self.have_more)
        return {name for name, endpoint in self.asked.items() if found[endpoint.tenant_id] <= FEW}

    def keep(self, names: set[UUID]) -> None:
        """Leave all others as they are, as if it was not their turn."""
        for each in (self.asked, self.found, self.wanted):
            for name in each.keys() - names:
                del each[name]
        self.probes &= names


class Turns:
    """The gates of one process; those of several agree by what stands in Postgres and Redis."""

    def __init__(
        self, store: DispatcherStore, limiter: Limiter, gates: Gates, weight_of: WeightOf = same_weight
    ) -> None:
        self._store = store
        self._limiter = limiter
        self._gates = gates
        self._weight_of = weight_of
        self._windows = Windows()
        self._starts = Starts()
        self.sweeper = Sweeper(store, self._starts, gates)
        self._since = BEGINNING
        self._looked_through_at = time.monotonic()
        self._check_at = time.monotonic()
        # Until the next turn, when nobody had one at the last look.
        self.next_seconds = math.inf

    async def look(self, deliveries: int, *, sweeps: bool) -> Taken:
        """Take a turn in place of a dispatcher that cannot ring, or, if it `sweeps`, that may not be there at all."""
        if sweeps:
            await self.sweeper.sweep()
            if time.monotonic() >= self._check_at:
                pause_seconds, _ = await self.sweeper.check()
                self._check_at = time.monotonic() + pause_seconds
        return await self.take(deliveries, cancels=False)

    async def begin(self, deliveries: int) -> Sequence[Endpoint]:
        """Return the subscriptions whose turn it is, for a turn of so many deliveries."""
        now = time.monotonic()
        if now - self._looked_through_at > LOOK_THROUGH_SECONDS:
            self._since, self._looked_through_at = BEGINNING, now
        endpoints, at, next_seconds = await self._store.turns(self._since, limit=deliveries)
        self._since = min((endpoint.turn_at for endpoint in endpoints), default=at) - OVERLAP
        self.next_seconds = math.inf if next_seconds is None else next_seconds
        return endpoints

    async def take(
        self,
        deliveries: int,
        endpoints: Sequence[Endpoint] | None = None,
        *,
        cancels: bool = True,
        only_prompt: bool = False,
    ) -> Taken:
        """One turn over at most so many deliveries: what it takes is pending, workers are to hear of it.

        Who has not begun it with `begin` does so here. Who `cancels` what waits for deleted subscriptions is told of
        them. With `only_prompt` it is the turn of tenants with few due deliveries, and all others keep theirs.
        """
        if endpoints is None:
            endpoints = await self.begin(deliveries)
        crowded = len(endpoints) >= deliveries and not only_prompt
        if only_prompt:
            of_tenant = Counter(endpoint.tenant_id for endpoint in endpoints)
            endpoints = [endpoint for endpoint in endpoints if of_tenant[endpoint.tenant_id] <= FEW]
        self._windows.sweep(time.monotonic())
        self._starts.sweep()
        turn = _Turn()
        deleted = await self._sort_out(endpoints, turn, cancels=cancels)
        await self._set_limits(turn)
        await self._find(turn, deliveries)
        few = turn.of_few()
        if only_prompt:
            turn.keep(few)
        expired = [due.id for found in turn.found.values() for due in found if due.expired]
        await self._ration(turn)
        await self._admit_probes(turn)
        rung = await self._ring(turn)
        ended = await self._store.end_expired(expired)
        turn.rung.update(expired)
        more = await self._settle(turn, crowded=crowded)
        waits = [seconds for reason, seconds in turn.held.values() if reason is Hold.RATE_LIMIT]
        return Taken(
            rung=rung, expired=ended, deleted=deleted, more=more, wait_seconds=min(waits, default=None), prompt=few
        )

    async def _sort_out(self, endpoints: Sequence[Endpoint], turn: _Turn, *, cancels: bool) -> list[UUID]:
        """Take the turns of those away that may have none now; return the deleted ones."""
        deleted, moves, away = [], [], []
        breakers: dict[UUID, float] = {}
        for endpoint in endpoints:
            name = endpoint.subscription_id
            if endpoint.deleted:
                if not cancels:
                    continue
                deleted.append(name)
                moves.append(Move(endpoint=endpoint, seconds=CANCEL_SECONDS, held_by=None, due_from=BEGINNING))
            elif endpoint.held_by is Hold.BREAKER_OPEN:
                seconds = breakers[name] = endpoint.probe_seconds or REST_SECONDS
                moves.append(Move(endpoint=endpoint, seconds=seconds, held_by=None, due_from=endpoint.due_from))
            elif endpoint.held_by:
                away.append(endpoint)
            else:
                turn.asked[name] = endpoint
        self._gates.close_for(breakers)
        await self._store.put_turns(moves)
        await self._store.leave_turns({}, away)
        return deleted

    async def _set_limits(self, turn: _Turn) -> None:
        """Say for those that may have some how many, and who of them gets its one probe."""
        now = time.monotonic()
        await self._count_outstanding(turn.asked.values(), now)
        for name, endpoint in turn.asked.items():
            if endpoint.breaker is not BreakerState.CLOSED:
                turn.probes.add(name)
                turn.limits[name] = _Limit(1, Hold.BREAKER_OPEN)
            else:
                turn.limits[name] = self._limit(endpoint, now)

    async def _count_outstanding(self, endpoints: Collection[Endpoint], now: float) -> None:
        """Count what is rung or in flight of those whose window is so narrow that it matters."""
        most: dict[UUID, int] = {}
        for endpoint in endpoints:
            name = endpoint.subscription_id
            window = self._windows.to(name, endpoint.endpoint_version)
            if window.must_count(full=self._gates.is_full(name), now=now):
                most[name] = window.size + 1
        for name, outstanding in (await self._store.count_outstanding(most)).items():
            self._windows[name].count(outstanding, now)

    def _limit(self, endpoint: Endpoint, now: float) -> _Limit:
        name = endpoint.subscription_id
        window = self._windows[name]
        full, short = self._gates.is_full(name), self._gates.is_short(name)
        room = window.allowance(window.outstanding, full=full, short=short, now=now)
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

    async def _find(self, turn: _Turn, deliveries: int) -> None:
        """Find of what is due the share of each; what is left of it goes to those with more."""
        starts = {name: self._starts.of(endpoint) for name, endpoint in turn.asked.items()}
        hungry = [endpoint for name, endpoint in turn.asked.items() if turn.limits[name].number > 0]
        for _ in range(ROUNDS):
            spare = deliveries - sum(map(len, turn.found.values()))
            if spare <= 0 or not hungry:
                break
            more = {
                name: min(turn.numbers.get(name, 0) + share, turn.limits[name].number)
                for name, share in _shares(hungry, spare, self._weight_of).items()
            }
            turn.numbers |= more
            # One more of each says whether there is more.
            found = await self._store.find_due({name: number + 1 for name, number in more.items()}, starts)
            for name, number in more.items():
                (turn.have_more.add if len(found.get(name, ())) > number else turn.have_more.discard)(name)
            turn.found |= {name: due[: more[name]] for name, due in found.items()}
            hungry = [
                endpoint
                for endpoint in hungry
                if (endpoint.subscription_id in turn.have_more or endpoint.subscription_id not in turn.numbers)
                and turn.numbers.get(endpoint.subscription_id, 0) < turn.limits[endpoint.subscription_id].number
            ]
            # Those that were too many to get any come first.
            hungry.sort(key=lambda endpoint: turn.numbers.get(endpoint.subscription_id, 0))
        turn.wanted = {name: [due.id for due in found if not due.expired] for name, found in turn.found.items()}

    async def _ration(self, turn: _Turn) -> None:
        """Leave of what was found what the rate limits allow."""
        demands = _demands(turn.asked, {name: len(wanted) for name, wanted in turn.wanted.items()})
        for demand, grant in zip(demands, await self._limiter.take(demands), strict=True):
            name = demand.subscription_id
            turn.grants[name] = grant
            if grant.number < demand.wanted:
                del turn.wanted[name][grant.number :]
                turn.held[name] = Hold.RATE_LIMIT, grant.more_in_seconds

    async def _admit_probes(self, turn: _Turn) -> None:
        """Of the breakers whose cool-down is over, one delivery each; another process may have been first.

        It is the longest due one, unless somebody retried another by hand.
        """
        for name in turn.probes:
            if turn.wanted.get(name) and (retried := turn.asked[name].probe_asked_for):
                turn.wanted[name] = [retried]
        asked = {name: turn.wanted[name][0] for name in turn.probes if turn.wanted.get(name)}
        admitted = await self._store.begin_probes(asked) if asked else set()
        for name in asked.keys() - admitted:
            del turn.wanted[name]

    async def _ring(self, turn: _Turn) -> list[Rung]:
        """Take in hand what is wanted; give back what others were faster to take."""
        rung = await self._store.take_due(
            [each for wanted in turn.wanted.values() for each in wanted], hold_seconds=RUNG_SECONDS
        )
        turn.rung = {delivery_id for _, delivery_id in rung}
        numbers = Counter(name for name, _ in rung)
        if lost := {name for name in turn.probes if turn.wanted.get(name)} - numbers.keys():
            await self._store.give_up_probes(lost)  # it expired, or somebody else has it
        unused = {name: len(wanted) - numbers[name] for name, wanted in turn.wanted.items()}
        await self._limiter.give_back(_demands(turn.asked, unused))
        for name, number in numbers.items():
            self._windows[name].rang(number)
        return rung

    async def _settle(self, turn: _Turn, *, crowded: bool) -> bool:
        """Say when those that had a turn have their next; return whether some may have more at once."""
        moves: list[Move] = []
        starts: dict[UUID, datetime] = {}
        done: list[Endpoint] = []
        more = False
        for name, endpoint in turn.asked.items():
            limit, found, number = turn.limits[name], turn.found.get(name, ()), turn.numbers.get(name, 0)
            left = next((due for due in found if due.id not in turn.rung), None)
            if found:
                self._starts.advance(name, left.due_at if left else found[-1].due_at)
            if left is None and number and name not in turn.have_more:
                starts[name] = self._starts.of(endpoint)
                done.append(endpoint)
                continue
            if name in turn.probes:  # half open now: who changed its breaker moved its turn, too
                continue
            if name not in turn.held and limit.reason and limit.number <= number:
                grant = turn.grants.get(name)
                rate_limited = limit.reason is Hold.RATE_LIMIT and grant
                turn.held[name] = limit.reason, grant.more_in_seconds if rate_limited and grant else REST_SECONDS
            reason, seconds = turn.held.get(name, (None, 0.0))
            more = more or reason is None
            if move := self._move(endpoint, reason, seconds, crowded=crowded):
                moves.append(move)
        self._gates.close(turn.probes)
        self._gates.close(name for name, (reason, _) in turn.held.items() if reason is not Hold.RATE_LIMIT)
        self._gates.open(name for name in turn.asked if name not in turn.held and name not in turn.probes)
        await self._store.put_turns(moves)
        await self._store.leave_turns(starts, done)
        return more

    def _move(self, endpoint: Endpoint, reason: _Held | None, seconds: float, *, crowded: bool) -> Move | None:
        """Return what of a subscription's turn is to be written, if it is anything."""
        held_by = reason if isinstance(reason, Hold) else None
        start = self._starts.of(endpoint)
        rests = reason is not None and seconds >= REST_SECONDS
        if rests or crowded or held_by != endpoint.was_held_by or start > endpoint.due_from + LAG:
            return Move(endpoint=endpoint, seconds=seconds, held_by=held_by, due_from=start)
        return None


def _shares(endpoints: Sequence[Endpoint], deliveries: int, weight_of: WeightOf) -> dict[UUID, int]:
    """Divide deliveries among tenants by weight, and the share of each evenly among the first of its subscriptions."""
    tenants: defaultdict[str, list[UUID]] = defaultdict(list)
    for endpoint in endpoints:
        tenants[endpoint.tenant_id].append(endpoint.subscription_id)
    shares: dict[UUID, int] = {}
    for tenant_id, share in divide(deliveries, {tenant_id: weight_of(tenant_id) for tenant_id in tenants}).items():
        shares |= divide(share, dict.fromkeys(tenants[tenant_id][:share], 1))
    return shares


def _demands(endpoints: Mapping[UUID, Endpoint], numbers: Mapping[UUID, int]) -> list[Demand]:
    """Of those with a rate limit, if it is any."""
    return [
        Demand(subscription_id=name, rate=rate, burst=endpoints[name].rate_limit_burst, wanted=number)
        for name, number in numbers.items()
        if number and (rate := endpoints[name].rate_limit_per_second) is not None
    ]
