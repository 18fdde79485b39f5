"""Expansion: an event that goes to more subscriptions than the bound gets its deliveries after it was answered.

Accepting such an event stores it with a row in event_expansions, which costs the same whatever the fan-out. Its
targets are the subscriptions that were created before it was stored, with their filters as they are when their chunk is
made. Tenants take turns, of which each has as many as its weight, with its events in their order. A chunk's deliveries
and the cursor behind them are one transaction under the lock of the event's row, and others skip a locked row: so any
number of processes make each delivery exactly once, and one that dies leaves nothing that another does not continue.
"""

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn
from uuid import UUID

import structlog

from services.domain import events as rules
from services.domain.doorbell import RUNG_SECONDS, Ringer, Rung
from services.domain.filters.evaluation import Evaluation, OutOfTimeError
from services.domain.filters.expression import compiled
from services.domain.gates import Gates
from services.domain.tenants import quotas
from services.ingest import metrics
from services.platform import errors, ids
from services.platform.process import background
from services.platform.process.shares import WeightOf, part, same_weight
from services.platform.stores import postgres, sql
from services.platform.stores.availability import is_store_away
from services.platform.stores.signals import Signals

log = structlog.get_logger(__name__)

SQL = sql.Queries("services.ingest.events")
# The signal that there is an event to expand.
EXPANDING = "expanding"
# Deliveries of a chunk, and the subscriptions that are looked at for them. More would keep other work of the process
# waiting for more than some milliseconds.
CHUNK_DELIVERIES = 250
CHUNK_SUBSCRIPTIONS = 2_000
# What evaluating filters may take of a chunk, and how many times as long the next chunk of the tenant waits then: those
# of a tenant take a tenth of the time of each process.
CHUNK_FILTER_SECONDS = 0.02
FILTER_REST = 9
# Expanding begins so long after a commit, so that the answer comes first.
ANSWER_SECONDS = 0.005
# How soon others help with an event that a process accepted. How often a process looks for such events while it has
# some itself; and for those that are older than clocks differ, which nobody has in memory.
IDLE_SECONDS = 0.25
BUSY_SECONDS = 1.0
ALL_SECONDS = 60.0
# Events that a process knows of at once, and those of a tenant among them before the next one is refused.
MAX_EVENTS = 10_000
MAX_TENANT_EVENTS = 1_000
# How much longer than a chunk takes the pause after it is while workers have enough to do and others' events come.
REST = 4
# An event that cannot be expanded is tried again after this.
SET_ASIDE_SECONDS = 10.0
# Ids of events are made by clocks that may be so far behind, and stored within seconds.
CLOCKS = timedelta(seconds=ids.MAX_CLOCK_DIFFERENCE_SECONDS + 60)
TOO_MANY = "too many events of this tenant wait for their deliveries; slow down and try again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """What one transaction made of an event."""

    # The deliveries that are new and that a worker may be told of.
    rung: Sequence[Rung]
    made: int
    finished: bool
    # What was evaluated for it; None if there were no filters.
    evaluation: Evaluation | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfinished:
    """An event that is not expanded."""

    event_id: UUID
    tenant_id: str
    # Deliveries that it is still to get, as far as that is known.
    unmade: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Expansion:
    """A row of event_expansions."""

    event_id: UUID
    tenant_id: str
    event_type: str
    stored_at: datetime
    # Of its deliveries. None: as long after stored_at as any other's.
    expires_at: datetime | None
    after_id: UUID
    # The only subscription that it was sent to.
    addressed_to: UUID | None


class ExpansionStore:
    """What expanding asks of Postgres."""

    def __init__(self, pool: postgres.Pool, *, expiry_hours: int) -> None:
        self._pool = pool
        self._expiry = timedelta(hours=expiry_hours)
        # The event whose filters were evaluated last.
        self._evaluated: tuple[UUID, Evaluation] | None = None

    async def unfinished(self, since: UUID, limit: int) -> list[Unfinished]:
        """Return events from an id on that are not expanded, in the order of their ids."""
        return [sql.record(Unfinished, row) for row in await self._pool.fetch(SQL["select_expansions"], since, limit)]

    async def expand(
        self, event_id: UUID, *, is_open: Callable[[UUID], bool], room: int, deliveries: int, subscriptions: int
    ) -> Chunk | None:
        """Make the next deliveries of an event; None if it is finished, or another process is at it.

        At most `room` of those whose gate is open are hidden from the dispatcher, because workers are notified.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(SQL["lock_expansion"], event_id)
            if row is None:
                return None
            expansion = sql.record(_Expansion, row)
            found = await self._targets(connection, expansion, subscriptions, deliveries)
            wanting = [row for row in found if not row["beyond"]]
            # Where the next chunk begins: after the last target, or after the last one that was looked at.
            beyond = [row["id"] for row in found if row["beyond"]]
            after = [wanting[-1]["id"]] if len(wanting) == deliveries else beyond
            evaluation = None
            if any(row["filter"] is not None for row in wanting):
                evaluation = await self._evaluation(connection, event_id)
                wanting, cut = _passed(wanting, evaluation)
                evaluation.end()
                after = cut or after
            targets = [(row["id"], row["steady"]) for row in wanting]
            made, rung = await self._insert(connection, expansion, targets, is_open=is_open, room=room)
            if after:
                await connection.execute(SQL["move_expansion"], event_id, after[0], made)
            else:
                await connection.execute(SQL["finish_expansion"], event_id)
        return Chunk(rung=rung, made=made, finished=not after, evaluation=evaluation)

    async def _targets(
        self, connection: postgres.Connection, expansion: _Expansion, subscriptions: int, deliveries: int
    ) -> Sequence[Any]:
        if expansion.addressed_to is not None:
            return await connection.fetch(SQL["select_addressed_target"], expansion.tenant_id, expansion.addressed_to)
        return await connection.fetch(
            SQL["select_targets"],
            expansion.tenant_id,
            expansion.after_id,
            expansion.stored_at,
            rules.entries_wanting(expansion.event_type),
            subscriptions,
            deliveries,
        )

    async def _evaluation(self, connection: postgres.Connection, event_id: UUID) -> Evaluation:
        """Return what evaluates filters on an event. The last is kept: chunks of an event follow each other."""
        if self._evaluated is not None and self._evaluated[0] == event_id:
            self._evaluated[1].renew()
            return self._evaluated[1]
        row = await connection.fetchrow(SQL["select_filtered_event"], event_id)
        assert row is not None, "an event is kept until it is expanded"
        evaluation = Evaluation(
            event_id=event_id,
            event_type=row["event_type"],
            content_type=row["content_type"],
            content_encoding=row["content_encoding"],
            tags=rules.tags_of(row["tags"]),
            payload=row["payload"] or b"",
            seconds=CHUNK_FILTER_SECONDS,
        )
        self._evaluated = (event_id, evaluation)
        return evaluation

    async def _insert(
        self,
        connection: postgres.Connection,
        expansion: _Expansion,
        targets: Sequence[tuple[UUID, bool]],
        *,
        is_open: Callable[[UUID], bool],
        room: int,
    ) -> tuple[int, list[Rung]]:
        if not targets:
            return 0, []
        steady = [target for target, is_steady in targets if is_steady and is_open(target)][:room]
        ringing = dict.fromkeys(steady, float(RUNG_SECONDS))
        delivery_ids = {ids.of_delivery(expansion.event_id, target): target for target, _ in targets}
        rows = await connection.fetch(
            SQL["insert_expanded"],
            list(delivery_ids),
            list(delivery_ids.values()),
            [ringing.get(target, 0.0) for target in delivery_ids.values()],
            expansion.event_id,
            expansion.tenant_id,
            expansion.event_type,
            expansion.expires_at or expansion.stored_at + self._expiry,
        )
        made = [row["id"] for row in rows]
        rung = [Rung(target, made_id) for made_id in made if (target := delivery_ids[made_id]) in ringing]
        return len(made), rung


class Expander:
    """Expands events: what this process accepted at once, and what others left within a second."""

    def __init__(
        self,
        store: ExpansionStore,
        ringer: Ringer,
        gates: Gates,
        heard: Signals,
        weight_of: WeightOf = same_weight,
        note: Callable[[str, Evaluation], None] = lambda _tenant_id, _evaluation: None,
    ) -> None:
        self._weight_of = weight_of
        self._note = note
        # Until when tenants rest whose filters took their part of the time, on time.monotonic().
        self._resting: dict[str, float] = {}
        self._store = store
        self._signals = heard
        self._ringer = ringer
        self._gates = gates
        # Of each tenant with unfinished events these in their order, with the deliveries that each is still to get.
        self._turns: OrderedDict[str, OrderedDict[UUID, int]] = OrderedDict()
        # In virtual time, which is the chunks of a tenant of weight 1: when each has its next one, and when the last
        # one was. A tenant that comes is next, and one that comes back not before it would have been.
        self._next: dict[str, float] = {}
        self._served = 0.0
        self._number = 0
        # Whether workers were to be told of the last chunk.
        self._has_room = True
        # By tenant the sum of these, and the deliveries of events that are admitted and not committed.
        self._unmade: Counter[str] = Counter()
        self._admitted: Counter[str] = Counter()
        self._wake = heard.alarm(EXPANDING)
        # On time.monotonic(): when events of others were looked for, when all are next; until when one is set aside.
        self._looked_at = -math.inf
        self._look_at_all_at = 0.0
        self._set_aside: dict[UUID, float] = {}

    def admit(self, tenant_id: str, targets: int, *, max_waiting: int) -> None:
        """Let an event with so many targets be committed; it counts until `settled`, and from `committed` on.

        TenantOverloaded if the tenant has more unfinished events than may wait. QuotaExceeded if those are to get as
        many deliveries as its quota allows: the sums that quotas are judged by know them only seconds later.
        """
        own = len(self._turns.get(tenant_id, ()))
        if own >= MAX_TENANT_EVENTS or (own and self._number >= MAX_EVENTS and own >= self._share(tenant_id)):
            raise errors.TenantOverloaded(TOO_MANY)
        if refused := quotas.too_many_waiting(self._unmade[tenant_id] + self._admitted[tenant_id], max_waiting):
            quotas.REFUSALS.labels(quotas.Quota.WAITING_DELIVERIES).inc()
            raise refused
        self._admitted[tenant_id] += targets

    def _share(self, tenant_id: str) -> float:
        """Return how many of all events a tenant that has some may have."""
        return part(self._number, self._weight_of(tenant_id), sum(map(self._weight_of, self._turns)))

    def settled(self, tenant_id: str, targets: int) -> None:
        """Count out an admitted event, committed or not."""
        _take(self._admitted, tenant_id, targets)

    def committed(self, tenant_id: str, event_id: UUID, targets: int) -> None:
        """Expand an event that this process has committed, and answers now."""
        self._add(Unfinished(event_id=event_id, tenant_id=tenant_id, unmade=targets))
        self._wake.set(ANSWER_SECONDS)
        self._signals.wake(EXPANDING, IDLE_SECONDS)

    def _add(self, event: Unfinished) -> None:
        if event.tenant_id not in self._turns:
            self._turns[event.tenant_id] = OrderedDict()
            self._next[event.tenant_id] = max(self._next.get(event.tenant_id, 0.0), self._served)
        events = self._turns[event.tenant_id]
        if event.event_id not in events:
            self._number += 1
            metrics.UNEXPANDED.set(self._number)
        self._unmade[event.tenant_id] += event.unmade - events.get(event.event_id, 0)
        events[event.event_id] = event.unmade

    async def run(self, commits: Callable[[], int]) -> NoReturn:
        """Expand until cancelled. While `commits`, which counts those of this process, grows, take a part of the time.

        That is half of it, or a fifth while workers have enough to do: deliveries that only wait would take from others
        the time in which theirs are made.
        """

        async def step() -> float:
            began_at, before = time.monotonic(), commits()
            pause_seconds = await self._step(began_at)
            if pause_seconds or commits() == before:
                return pause_seconds
            return (time.monotonic() - began_at) * (1 if self._has_room else REST)

        await background.repeat(step, interval_seconds=IDLE_SECONDS, wake=self._wake)

    async def _step(self, now: float) -> float:
        """Make one chunk; return the seconds until there is another one."""
        # An event that another process is at is found by each look, and is nothing to do.
        wait_seconds = self._looked_at + (BUSY_SECONDS if self._turns else IDLE_SECONDS) - now
        if wait_seconds <= 0:
            self._looked_at = now
            await self._look()
        if not self._turns:
            if wait_seconds > 0:
                return wait_seconds
            return IDLE_SECONDS if self._set_aside else self._signals.pace(IDLE_SECONDS)
        resting_until = self._rest(now)
        waiting = [name for name in self._turns if name not in self._resting]
        if not waiting:
            return min(IDLE_SECONDS, resting_until - now)
        tenant_id = min(waiting, key=self._next.__getitem__)
        events = self._turns[tenant_id]
        self._served = self._next[tenant_id]
        self._next[tenant_id] += 1 / self._weight_of(tenant_id)
        event_id = next(iter(events))
        finished, made = await self._expand(tenant_id, event_id)
        if finished:
            self._forget(tenant_id, event_id)
        else:
            fewer = min(made, events[event_id])
            events[event_id] -= fewer
            _take(self._unmade, tenant_id, fewer)
        return 0.0

    def _rest(self, now: float) -> float:
        """Forget who has rested, and return when the next tenant has."""
        if self._resting:
            self._resting = {name: until for name, until in self._resting.items() if until > now}
        return min(self._resting.values(), default=now)

    async def _expand(self, tenant_id: str, event_id: UUID) -> tuple[bool, int]:
        """Make a chunk of an event; return whether it is done with for now, and how many deliveries were made."""
        started = time.perf_counter()
        try:
            room = await self._ringer.room()
            self._has_room = room > 0
            chunk = await self._store.expand(
                event_id,
                is_open=self._gates.is_open,
                room=room,
                deliveries=CHUNK_DELIVERIES,
                subscriptions=CHUNK_SUBSCRIPTIONS,
            )
        except Exception as error:
            if is_store_away(error):
                raise
            log.exception("an event cannot be expanded; trying again", event_id=str(event_id))
            self._set_aside[event_id] = time.monotonic() + SET_ASIDE_SECONDS
            return True, 0
        if chunk is None:
            return True, 0
        metrics.EXPANSION_SECONDS.observe(time.perf_counter() - started)
        metrics.DELIVERIES.inc(chunk.made)
        if chunk.evaluation is not None:
            self._note(tenant_id, chunk.evaluation)
            self._resting[tenant_id] = time.monotonic() + FILTER_REST * chunk.evaluation.spent_seconds
        if chunk.rung:
            self._ringer.ring(chunk.rung, tenant_id=tenant_id)
        if chunk.made > len(chunk.rung):
            self._ringer.leave()
        if chunk.finished:
            metrics.EXPANDED.inc()
        return chunk.finished, chunk.made

    async def _look(self) -> None:
        """Look for events that other processes accepted, or left."""
        now = time.monotonic()
        self._set_aside = {event_id: until for event_id, until in self._set_aside.items() if until > now}
        if now >= self._look_at_all_at:
            since = UUID(int=0)
            self._look_at_all_at = now + ALL_SECONDS
        else:
            # Entries of finished events stay in the index while anybody has an old snapshot: they are not passed again.
            recent = ids.least_at(datetime.now(UTC) - CLOCKS)
            since = min([recent, *(next(iter(events)) for events in self._turns.values())])
        for event in await self._store.unfinished(since, MAX_EVENTS):
            if event.event_id not in self._set_aside:
                self._add(event)

    def _forget(self, tenant_id: str, event_id: UUID) -> None:
        events = self._turns[tenant_id]
        if event_id in events:
            _take(self._unmade, tenant_id, events.pop(event_id))
            self._number -= 1
            metrics.UNEXPANDED.set(self._number)
        if not events:
            del self._turns[tenant_id]
            self._next = {name: at for name, at in self._next.items() if name in self._turns or at > self._served}


def _passed(rows: Sequence[Any], evaluation: Evaluation) -> tuple[list[Any], list[UUID]]:
    """Return the rows whose filters an event passes; and the last one that was looked at, if the time was over then."""
    passed = []
    for place, row in enumerate(rows):
        try:
            text = row["filter"]
            if text is None or evaluation.passes(row["id"], compiled(text), row["filter_on_error"]):
                passed.append(row)
        except OutOfTimeError:
            return passed, [rows[place - 1]["id"]]
    return passed, []


def _take(counts: Counter[str], tenant_id: str, number: int) -> None:
    """Count a tenant down; one with nothing has no entry."""
    counts[tenant_id] -= number
    if counts[tenant_id] <= 0:
        del counts[tenant_id]
