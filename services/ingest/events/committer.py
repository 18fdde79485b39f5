"""Group commit: events that arrive while one commit is in flight share the next, and tenants share the commits.

What a call has of a tenant is cut into pieces. Small pieces of all tenants share commits. Large ones, and those of
tenants that held up others, go in commits of their tenant's own, beside the shared ones.
"""

import asyncio
import dataclasses
import enum
import functools
import itertools
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar
from uuid import UUID

import asyncpg
import structlog

from services.domain import idempotency
from services.domain.deliveries import Handover, Lease, Leased
from services.domain.doorbell import MAX_WAITING_IDS, RUNG_SECONDS, Ringer, Rung
from services.ingest import metrics
from services.ingest.events.records import Accepted, NewEvent, Result
from services.ingest.events.store import MAY_BE_STORED, EventStore
from services.ingest.settings import IngestSettings
from services.platform import errors
from services.platform.process.batching import Batcher, Bounds
from services.platform.process.bounds import BoundedCache
from services.platform.process.shares import WeightOf, same_weight
from services.platform.stores import postgres
from services.platform.stores.availability import is_store_away

log = structlog.get_logger(__name__)

# Events that share a commit.
MAX_EVENTS = 1_000
# Of a transaction; an event with more of them gets one of its own.
MAX_DELIVERIES = 1_000
# Of a commit whose deliveries may be handed over. With more there is much going on: bells then make larger batches, and
# their way is the one that is fair among tenants.
MAX_HANDED_OVER = 16
# Between tries to give back what may have been stored under a lease: the first and the longest.
GIVE_BACK_SECONDS = 0.25
MAX_GIVE_BACK_SECONDS = 8.0
# How long a process that stops waits for that.
LEFT_SECONDS = 1.0
# What a row takes besides its payload, for the bounds in bytes and for the shares of tenants.
EVENT_OVERHEAD_BYTES = 512
DELIVERY_OVERHEAD_BYTES = 1_024
# A piece is at most so large, unless a single event is; and goes in a shared commit if it is not larger than this.
PIECE_BYTES = 256 << 10
SHARED_BYTES = 64 << 10
# How long a shared commit waits for another request with one of its keys. One that waited for longer is done again
# tenant by tenant.
SHARED_KEY_WAIT_SECONDS = 0.05
# How long an event waits for another request with its key, when its group has waited for it already.
KEY_WAIT_AGAIN_SECONDS = 0.02
# How long, and how many of, the tenants that held up others are kept apart.
APART_SECONDS = 10.0
MAX_APART = 10_000


@dataclass(frozen=True, slots=True)
class _Failed:
    """An event has no result, because its commit failed with this."""

    error: BaseException


class _Apart(enum.Enum):
    """An event has no result yet: it was not stored, and goes in a commit of its tenant's own."""

    APART = enum.auto()


_Outcome: TypeAlias = Result | _Failed | _Apart
_Piece: TypeAlias = Sequence[NewEvent]
_T = TypeVar("_T")


class Insert(Protocol):
    """Commits a group of events in one transaction."""

    async def __call__(
        self, events: Sequence[NewEvent], /, *, hidden_seconds: float, lease: Lease | None
    ) -> list[Result]:
        """Return the results in order."""
        ...


class Committer:
    """Commits events, then rings for their deliveries, or has them expanded: `expand` gets tenant, id, and targets.

    While little is going on, deliveries are handed over to the worker of the same process, if there is one.
    """

    def __init__(
        self,
        store: EventStore,
        ringer: Ringer,
        settings: IngestSettings,
        expand: Callable[[str, UUID, int], None],
        weight_of: WeightOf = same_weight,
        handover: Handover | None = None,
    ) -> None:
        self._store = store
        self._ringer = ringer
        self._expand = expand
        self._handover = handover or Handover()
        self._weight_of = weight_of
        self._waiting_events = 0
        self._commits = 0
        # Of calls that wait for more than one commit, and of leases that are given back.
        self._tasks: set[asyncio.Task[Any]] = set()
        bounds = Bounds(
            batch_items=MAX_EVENTS,
            waiting_items=settings.ingest_queue_events,
            waiting_bytes=settings.ingest_queue_bytes,
            concurrency=2,
            spare=2,
        )
        self._shared: Batcher[_Piece, list[_Outcome]] = Batcher("commits", self._commit_pieces, bounds)
        own = dataclasses.replace(bounds, mixed=False)
        self._apart: Batcher[_Piece, list[_Outcome]] = Batcher("commits", self._commit_pieces, own)
        self._kept_apart: BoundedCache[str, _Apart] = BoundedCache(MAX_APART, ttl_seconds=APART_SECONDS)

    async def commit(self, events: Sequence[NewEvent]) -> list[Result]:
        """Hand over a call's events as `begin` does, and wait for their results."""
        return await self.begin(events)

    def begin(self, events: Sequence[NewEvent]) -> "asyncio.Future[list[Result]]":
        """Hand over a call's events of one tenant, and return what will have their results in order.

        The result of an event that may not wait is Overloaded. What failed a commit is the error of all; OutcomeUnknown
        if other events of the call were stored. They are committed whether anybody waits for that or not.
        """
        done: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
        pieces = list(_pieces(events))
        if not pieces:
            done.set_result([])
            return done
        self._count_waiting(len(events))
        made = self._enqueue(*pieces[0]) if len(pieces) == 1 else self._own(self._enqueue_all(pieces))
        made.add_done_callback(functools.partial(self._end, events, done))
        return done

    def committed(self) -> int:
        """Return how many commits there have been."""
        return self._commits

    async def drained(self) -> None:
        """Wait for the commits in flight, and for a moment for what they leave."""
        await self._shared.drained()
        await self._apart.drained()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=LEFT_SECONDS)
            for task in late:
                task.cancel()

    def _count_waiting(self, number: int) -> None:
        self._waiting_events += number
        metrics.WAITING.set(self._waiting_events)

    def _enqueue(self, piece: _Piece, size_bytes: int, *, apart: bool = False) -> "asyncio.Future[list[_Outcome]]":
        """Hand over a piece, and return what will have the outcome of each event."""
        tenant_id = piece[0].tenant_id
        apart = apart or size_bytes > SHARED_BYTES or tenant_id in self._kept_apart
        batcher = self._apart if apart else self._shared
        try:
            return batcher.enqueue(
                piece, size_bytes, items=len(piece), tenant=tenant_id, weight=self._weight_of(tenant_id)
            )
        except errors.Overloaded as refused:
            made: asyncio.Future[list[_Outcome]] = asyncio.get_running_loop().create_future()
            made.set_exception(refused)
            return made

    async def _enqueue_all(self, pieces: Sequence[tuple[_Piece, int]]) -> list[_Outcome]:
        made = [self._enqueue(piece, size) for piece, size in pieces]
        await asyncio.wait(made)
        return [
            outcome
            for (piece, _), outcomes in zip(pieces, made, strict=True)
            for outcome in _outcomes(outcomes, len(piece))
        ]

    async def _enqueue_again(self, events: Sequence[NewEvent], outcomes: Sequence[_Outcome]) -> list[_Outcome]:
        """Hand over the events that have no result yet, to go in commits of their tenant's own."""
        again = [event for event, outcome in zip(events, outcomes, strict=True) if outcome is _Apart.APART]
        made = self._enqueue(again, _size(again), apart=True)
        await asyncio.wait([made])
        results = iter(_outcomes(made, len(again)))
        return [next(results) if outcome is _Apart.APART else outcome for outcome in outcomes]

    def _own(self, work: Coroutine[Any, Any, _T]) -> "asyncio.Task[_T]":
        task = asyncio.create_task(work, name="commits")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _end(
        self,
        events: Sequence[NewEvent],
        done: "asyncio.Future[list[Result]]",
        made: "asyncio.Future[list[_Outcome]]",
    ) -> None:
        """Give a call the results of its events, unless some are to be handed over again."""
        if made.cancelled():  # the process ends
            done.cancel()
            return
        outcomes = _outcomes(made, len(events))
        if any(outcome is _Apart.APART for outcome in outcomes):
            again = self._own(self._enqueue_again(events, outcomes))
            again.add_done_callback(functools.partial(self._end, events, done))
            return
        self._count_waiting(-len(events))
        if done.done():  # the caller went away
            return
        try:
            done.set_result(_results(outcomes))
        except Exception as error:  # noqa: BLE001 - handed to the caller, who decides
            done.set_exception(error)

    async def _commit_pieces(self, pieces: list[_Piece]) -> list[list[_Outcome]]:
        events = [event for piece in pieces for event in piece]
        groups = list(_groups(events))
        if len(groups) == 1:  # in the same order
            rest = iter(await self._commit(groups[0]))
            return [list(itertools.islice(rest, len(piece))) for piece in pieces]
        # By identity: pieces of several calls may repeat an event's id.
        outcomes: dict[int, _Outcome] = {}
        away: _Failed | None = None
        for group in groups:
            # After one that failed the next would only wait for the store, too.
            made = [away] * len(group) if away else await self._commit(group)
            away = next((outcome for outcome in made if isinstance(outcome, _Failed)), None)
            outcomes |= zip(map(id, group), made, strict=True)
        return [[outcomes[id(event)] for event in piece] for piece in pieces]

    async def _commit(self, group: Sequence[NewEvent]) -> Sequence[_Outcome]:
        """Commit a group in one transaction. When an event fails that of one tenant, each gets one of its own."""
        tenant_id = group[0].tenant_id
        mixed = any(event.tenant_id != tenant_id for event in group)
        outcomes = await self._try(group, SHARED_KEY_WAIT_SECONDS if mixed else idempotency.WAIT_SECONDS)
        if not isinstance(outcomes, errors.WebhookError):
            return outcomes
        if mixed:
            return [_Apart.APART] * len(group)
        self._kept_apart.put(tenant_id, _Apart.APART)
        if len(group) == 1:
            return [outcomes]
        made: list[_Outcome] = []
        for event in group:
            alone = await self._try([event], KEY_WAIT_AGAIN_SECONDS)
            made += [alone] if isinstance(alone, errors.WebhookError) else alone
            if isinstance(made[-1], _Failed):
                break
        return [*made, *made[-1:] * (len(group) - len(made))]

    async def _try(self, group: Sequence[NewEvent], wait_seconds: float) -> Sequence[_Outcome] | errors.WebhookError:
        """Commit a group; return an error when nothing was stored because of one of its events."""
        try:
            return await self._insert(group, wait_seconds)
        except asyncpg.LockNotAvailableError:  # another request with one of the keys is still running
            return idempotency.in_use()
        except asyncpg.CheckViolationError as error:  # the tables check nothing but that there is a partition
            failed = errors.Unavailable("the database is not ready for today's events yet; try again")
            failed.__cause__ = error
            return [_Failed(failed)] * len(group)
        except Exception as error:
            if not isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError) or is_store_away(error):
                return [_Failed(error)] * len(group)
            if len(group) == 1:
                log.exception("an event cannot be stored", event_id=str(group[0].id))
            return errors.WebhookError("the event cannot be stored; the reason was logged")

    async def _insert(self, group: Sequence[NewEvent], wait_seconds: float) -> list[Result]:
        if group[0].key is None:
            return await self.store(group, self._store.insert_events)
        return await self.store(group, functools.partial(self._store.insert_keyed_events, wait_seconds=wait_seconds))

    async def store(self, group: Sequence[NewEvent], insert: Insert) -> list[Result]:
        """Commit a group, and then have its deliveries made: handed over, rung for, or left to the dispatcher."""
        number = sum(len(event.deliveries) for event in group)
        lease = self._reserve(group) if number <= MAX_HANDED_OVER else None
        open_to = {tenant_id: self._ringer.open_to(tenant_id) for tenant_id in {event.tenant_id for event in group}}
        ringing = any(open_to.values()) and number <= MAX_WAITING_IDS
        hidden_seconds = RUNG_SECONDS if ringing else 0
        if ringing and not all(open_to.values()):
            group = [event if open_to[event.tenant_id] else _unsteady(event) for event in group]
        started = time.perf_counter()
        try:
            results = await postgres.repeat_rolled_back(
                functools.partial(insert, group, hidden_seconds=hidden_seconds, lease=lease)
            )
        except BaseException as error:
            if lease is not None:
                self._free(lease, error)
            raise
        self._commits += 1
        metrics.COMMIT_SECONDS.observe(time.perf_counter() - started)
        metrics.COMMIT_EVENTS.observe(len(group))
        new = [
            event
            for event, result in zip(group, results, strict=True)
            if isinstance(result, Accepted) and not result.repeated
        ]
        handed_over = self._send(lease, new) if lease is not None else ()
        metrics.DELIVERIES.inc(sum(len(event.deliveries) for event in new))
        for event in new:
            if event.targets:
                self._expand(event.tenant_id, event.id, event.targets)
        self._ring(new, handed_over, ringing=ringing)
        return results

    def _ring(self, new: Iterable[NewEvent], handed_over: Collection[UUID], *, ringing: bool) -> None:
        """Ring for what is not handed over; tell the dispatcher of the rest.

        It rings for what is held back or limited by a rate, and for those with enough in the stream.
        """
        left = False
        for event in new:
            own = [each for each in event.deliveries if each[0] not in handed_over]
            rung = [Rung(to, delivery_id) for delivery_id, to, steady in own if steady] if ringing else []
            if rung:
                self._ringer.ring(rung, tenant_id=event.tenant_id)
            left = left or len(rung) < len(own)
        if left:
            self._ringer.leave()

    def _reserve(self, group: Sequence[NewEvent]) -> Lease | None:
        """Have the worker of this process keep slots for what is to be stored; None if it has none."""
        worker = self._handover.worker
        if worker is None:
            return None
        return worker.reserve((to, made) for event in group for made, to, steady in event.deliveries if steady)

    def _send(self, lease: Lease, new: Iterable[NewEvent]) -> Collection[UUID]:
        """Hand over what was stored under a lease; return its deliveries."""
        events = {event.id: event for event in new}
        stored = [Leased(row, events[row["event_id"]]) for row in lease.rows]
        leased = {row["id"] for row in lease.rows}
        if not lease.worker.send(lease, stored) and leased:
            self._own(self._give_back(lease, set(leased)))
        return leased

    def _free(self, lease: Lease, error: BaseException) -> None:
        """Give slots back after a commit that failed, and the deliveries, too, if they may have been stored."""
        lease.worker.free(lease)
        if isinstance(error, errors.OutcomeUnknown):
            self._own(self._give_back(lease, set(lease.delivery_ids)))

    async def _give_back(self, lease: Lease, leased: set[UUID]) -> None:
        """Make deliveries due that are stored under a lease, and that nobody sends: once it ends, they are so anyway.

        A commit whose outcome is not known may still be in progress, so those that are not found are looked for again.
        """
        pause_seconds = GIVE_BACK_SECONDS
        give_up_at = time.monotonic() + lease.seconds
        while leased and time.monotonic() < give_up_at:
            try:
                due = await self._store.give_back(list(leased), lease)
                if due:
                    self._ringer.leave()
                leased -= due
            except Exception as error:
                if not is_store_away(error):
                    log.exception("deliveries could not be given back; they are due when their leases end")
                    return
            if leased:
                await asyncio.sleep(pause_seconds)
                pause_seconds = min(2 * pause_seconds, MAX_GIVE_BACK_SECONDS)


def _outcomes(made: "asyncio.Future[list[_Outcome]]", number: int) -> Sequence[_Outcome]:
    """Return the outcomes of so many events that were handed over together."""
    error = made.exception()
    if error is None:
        return made.result()
    # It was refused, perhaps later than at once: another tenant needed the place.
    return [error if isinstance(error, errors.Overloaded) else _Failed(error)] * number


def _unsteady(event: NewEvent) -> NewEvent:
    """Return an event whose deliveries are all left to the dispatcher."""
    deliveries = [(delivery_id, subscription_id, False) for delivery_id, subscription_id, _ in event.deliveries]
    return dataclasses.replace(event, deliveries=deliveries)


def _results(outcomes: Sequence[_Outcome]) -> list[Result]:
    """Return the results if each event has one. Raise what failed; OutcomeUnknown if results are lost by that."""
    results = [outcome for outcome in outcomes if not isinstance(outcome, _Failed | _Apart)]
    if len(results) == len(outcomes):
        return results
    failed = [outcome.error for outcome in outcomes if isinstance(outcome, _Failed)]
    error = next((error for error in failed if isinstance(error, errors.OutcomeUnknown)), failed[0])
    stored = any(isinstance(result, Accepted) for result in results)
    if stored and isinstance(error, Exception) and isinstance(errors.classify(error), errors.Unavailable):
        raise errors.OutcomeUnknown(MAY_BE_STORED) from error
    raise error


def _size(events: Iterable[NewEvent]) -> int:
    return sum(
        len(event.payload) + EVENT_OVERHEAD_BYTES + DELIVERY_OVERHEAD_BYTES * len(event.deliveries) for event in events
    )


def _pieces(events: Sequence[NewEvent]) -> Iterator[tuple[_Piece, int]]:
    """Cut events into pieces of at most PIECE_BYTES, or of a single event; each with its size in bytes."""
    size = _size(events)
    if size <= PIECE_BYTES:
        if events:
            yield events, size
        return
    piece: list[NewEvent] = []
    size = 0
    for event in events:
        own = _size([event])
        if piece and size + own > PIECE_BYTES:
            yield piece, size
            piece, size = [], 0
        piece.append(event)
        size += own
    yield piece, size


def _groups(events: Sequence[NewEvent]) -> Iterator[list[NewEvent]]:
    """Events by the transactions they go in: those without idempotency keys, then those with; those to expand apart.

    So do those that are scheduled.

    A repeated event id or key goes into a later transaction, where it finds the first.
    """
    if _are_one_group(events):
        yield list(events)
        return
    group: list[NewEvent] = []
    names: set[object] = set()
    deliveries = 0
    for event in sorted(events, key=_kind):
        own = {event.id} if event.key is None else {event.id, event.key.scope}
        full = deliveries + len(event.deliveries) > MAX_DELIVERIES
        if group and (full or own & names or _kind(group[0]) != _kind(event)):
            yield group
            group, names, deliveries = [], set(), 0
        group.append(event)
        names |= own
        deliveries += len(event.deliveries)
    if group:
        yield group


def _are_one_group(events: Sequence[NewEvent]) -> bool:
    """Return whether events have neither keys nor targets, nor anything in common, and are few: so are most of them."""
    return (
        bool(events)
        and not any(event.key is not None or event.targets or event.deliver_at is not None for event in events)
        and len({event.id for event in events}) == len(events)
        and sum(len(event.deliveries) for event in events) <= MAX_DELIVERIES
    )


def _kind(event: NewEvent) -> tuple[bool, bool, bool]:
    return event.key is not None, event.targets > 0, event.deliver_at is not None
