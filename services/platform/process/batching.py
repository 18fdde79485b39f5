"""Group commit: while one batch is in flight the next one collects.

A lone item is flushed at once; under load a batch is as large as what arrived while the one before it was being
flushed, up to a bound of items and of bytes. A pace, where there is one, is how soon a batch that is not full may
follow the one before: it makes company for items that come one after the other, and none wait that come alone. When
flushing takes long, because whoever does it is busy, the pace slackens: fewer and larger batches are less work.

Items belong to tenants, who share what there is by their weights:

- Batches are filled in the order of start-time fair queueing: each tenant with something waiting gets bytes by its
  weight, and what one leaves goes to the others. A tenant that was idle is next.
- When no more may wait, a tenant with less than its share drives out the newest items of the one with the most.
- A batch that takes longer than PATIENCE_SECONDS holds up no tenant that has nothing in flight: for those there are
  spare places.
"""

import asyncio
import contextvars
import functools
import heapq
import itertools
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar, cast

from services.platform import errors
from services.platform.process.bounds import BoundedCache
from services.platform.process.shares import part

# The pace is at least so many times what a flush takes of late, and at most so many times what it was asked to be.
PACE_PER_FLUSH = 1.5
MAX_SLACKENING = 4.0
# The weight of the latest flush in the mean.
LATEST = 0.1
# After so long a batch in flight opens a spare place.
PATIENCE_SECONDS = 0.1
# Owners whose batchers are remembered; that of the one who was longest without an item is forgotten.
MAX_OWNERS = 10_000
# What an item costs its tenant besides its bytes.
ITEM_BYTES = 256
FULL = "too many requests are waiting; try again"
TENANT_FULL = "too many requests of this tenant are waiting; slow down and try again"

Owner = TypeVar("Owner", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")

type_of_flush = Callable[[list[Item]], Awaitable[Sequence[Result | Exception]]]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Limits of a batcher. An item larger than `batch_bytes` is a batch of its own."""

    batch_items: int
    batch_bytes: int = 1 << 20
    waiting_items: int
    waiting_bytes: int = 64 << 20
    concurrency: int = 1
    # Further batches at the same time, only of tenants that have nothing in flight.
    spare: int = 0
    # Whether items of several tenants share a batch.
    mixed: bool = True
    # Between the beginnings of two batches at least.
    pace_seconds: float = 0.0


@dataclass(slots=True, eq=False)
class _Tenant(Generic[Item, Result]):
    name: Hashable
    weight: int = 1
    # In virtual time, which is the bytes that a tenant of weight 1 was served: when its first item is due.
    start: float = 0.0
    waiting: "deque[_Waiting[Item, Result]]" = field(default_factory=deque)
    waiting_items: int = 0
    waiting_bytes: int = 0
    in_flight: int = 0
    # Whether it stands among the turns.
    queued: bool = False


@dataclass(slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    size_bytes: int
    items: int
    done: "asyncio.Future[Result]"
    tenant: _Tenant[Item, Result]


_Batch: TypeAlias = list[_Waiting[Item, Result]]


@dataclass(slots=True)
class _State:
    waiting: int = 0
    waiting_items: int = 0
    waiting_bytes: int = 0
    # Virtual time: the start of the item that was taken last.
    served: float = 0.0
    began_at: float = -math.inf
    # The mean of late.
    flush_seconds: float = 0.0
    # With when their batch began, and not those that collect.
    flushing: "dict[asyncio.Task[None], float]" = field(default_factory=dict)
    spare: "dict[asyncio.Task[None], float]" = field(default_factory=dict)
    looking: asyncio.TimerHandle | None = None


class Batcher(Generic[Item, Result]):
    """Collects items and flushes them in batches.

    `flush` returns a result, or an exception, for each item in order; if it raises, every item of
    its batch gets what it raised. A caller that is cancelled leaves its item in the batch.
    """

    def __init__(self, name: str, flush: type_of_flush[Item, Result], bounds: Bounds) -> None:
        self.name = name
        self._flush = flush
        self._bounds = bounds
        # Those with something waiting or in flight.
        self._tenants: dict[Hashable, _Tenant[Item, Result]] = {}
        # A heap of those with something waiting, by when their first item is due.
        self._turns: list[tuple[float, int, _Tenant[Item, Result]]] = []
        self._order = itertools.count()
        self._state = _State()
        # The creator's context: a batch belongs to none of the callers whose items it contains, nor to their traces.
        self._context = contextvars.copy_context()

    def __len__(self) -> int:
        """Items that wait for a batch."""
        return self._state.waiting

    async def submit(
        self, item: Item, size_bytes: int = 0, *, items: int = 1, tenant: Hashable = "", weight: int = 1
    ) -> Result:
        """Hand over an item and wait for its result."""
        return await self.enqueue(item, size_bytes, items=items, tenant=tenant, weight=weight)

    def enqueue(
        self, item: Item, size_bytes: int = 0, *, items: int = 1, tenant: Hashable = "", weight: int = 1
    ) -> "asyncio.Future[Result]":
        """Hand over an item, which counts as so many, of a tenant of this weight; return what will have its result.

        Overloaded if too much waits already, TenantOverloaded if that is because of this tenant: raised at once, or
        the result when another tenant needs the place before the item is in a batch.
        """
        self._make_room(tenant, weight, size_bytes, items)
        whose = self._tenants.get(tenant)
        if whose is None:
            whose = self._tenants[tenant] = _Tenant(tenant)
        whose.weight = weight
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._put(_Waiting(item, size_bytes, items, done, whose))
        state, bounds = self._state, self._bounds
        if len(state.flushing) < bounds.concurrency:
            task = asyncio.create_task(self._drain(), name=f"batch:{self.name}", context=self._context)
            state.flushing[task] = math.inf  # until _drain takes itself out
        elif bounds.spare and state.looking is None:
            self._look_later()
        return done

    async def drained(self) -> None:
        """Wait until nothing waits and nothing is in flight; for a clean stop."""
        while running := (*self._state.flushing, *self._state.spare):
            await asyncio.wait(running)

    def _make_room(self, tenant: Hashable, weight: int, size_bytes: int, items: int) -> None:
        """Refuse the new item, or what waits of the tenant furthest above its share, when more would wait than may."""
        state, bounds = self._state, self._bounds
        while True:
            if state.waiting_items and state.waiting_items + items > bounds.waiting_items:
                bound, new, used = bounds.waiting_items, items, _items
            elif state.waiting_bytes and state.waiting_bytes + size_bytes > bounds.waiting_bytes:
                bound, new, used = bounds.waiting_bytes, size_bytes, _bytes
            else:
                return
            own = self._tenants.get(tenant)
            others = sum(other.weight for other in self._tenants.values() if other is not own)
            if not others:
                raise errors.Overloaded(FULL)
            share = part(bound, weight, others + weight)
            if (used(own) if own else 0) + new > share:
                # With so many tenants that one item is more than a share, it is nobody's doing.
                raise errors.TenantOverloaded(TENANT_FULL) if new <= share else errors.Overloaded(FULL)
            most = max(self._tenants.values(), key=lambda other: used(other) / other.weight)
            if not most.waiting or most is own:
                raise errors.Overloaded(FULL)
            driven_out = most.waiting.pop()
            self._count_out(driven_out)
            if not driven_out.done.done():
                driven_out.done.set_exception(errors.TenantOverloaded(TENANT_FULL))

    def _put(self, entry: _Waiting[Item, Result]) -> None:
        state, tenant = self._state, entry.tenant
        if not tenant.waiting:
            tenant.start = max(tenant.start, state.served)
        tenant.waiting.append(entry)
        tenant.waiting_items += entry.items
        tenant.waiting_bytes += entry.size_bytes
        state.waiting += 1
        state.waiting_items += entry.items
        state.waiting_bytes += entry.size_bytes
        self._queue(tenant)

    def _count_out(self, entry: _Waiting[Item, Result]) -> None:
        """Count out an item that no longer waits."""
        state, tenant = self._state, entry.tenant
        tenant.waiting_items -= entry.items
        tenant.waiting_bytes -= entry.size_bytes
        state.waiting -= 1
        state.waiting_items -= entry.items
        state.waiting_bytes -= entry.size_bytes

    def _take(self, *, spare: bool = False) -> _Batch[Item, Result]:
        """Return the next batch; for a spare place, of tenants that have nothing in flight."""
        state, bounds = self._state, self._bounds
        batch: _Batch[Item, Result] = []
        passed: list[_Tenant[Item, Result]] = []
        items = size = 0
        tenant = self._next(spare, passed)
        while tenant is not None and items < bounds.batch_items:
            entry = tenant.waiting[0]
            if batch and size + entry.size_bytes > bounds.batch_bytes:
                break
            tenant.waiting.popleft()
            self._count_out(entry)
            batch.append(entry)
            items += entry.items
            size += entry.size_bytes
            state.served = max(state.served, tenant.start)
            tenant.start += (entry.size_bytes + ITEM_BYTES * entry.items) / tenant.weight
            if not tenant.waiting:
                tenant = self._next(spare, passed) if bounds.mixed else None
            elif bounds.mixed and self._turns:
                self._queue(tenant)
                tenant = self._next(spare, passed)
        if tenant is not None:
            self._queue(tenant)
        for other in passed:
            self._queue(other)
        for entry in batch:
            entry.tenant.in_flight += 1
        return batch

    def _next(self, spare: bool, passed: list[_Tenant[Item, Result]]) -> _Tenant[Item, Result] | None:  # noqa: FBT001 - of _take
        """Take the tenant whose turn it is out of the turns."""
        while self._turns:
            tenant = heapq.heappop(self._turns)[2]
            tenant.queued = False
            if not tenant.waiting:  # all of it was driven out
                self._forget(tenant)
            elif spare and tenant.in_flight:
                passed.append(tenant)
            else:
                return tenant
        return None

    def _queue(self, tenant: _Tenant[Item, Result]) -> None:
        if not tenant.queued:
            tenant.queued = True
            heapq.heappush(self._turns, (tenant.start, next(self._order), tenant))

    def _forget(self, tenant: _Tenant[Item, Result]) -> None:
        if not tenant.waiting and not tenant.in_flight and not tenant.queued:
            self._tenants.pop(tenant.name, None)

    async def _drain(self) -> None:
        state = self._state
        task = cast("asyncio.Task[None]", asyncio.current_task())
        try:
            while state.waiting:
                await self._keep_pace()
                if batch := self._take():
                    began_at = state.flushing[task] = time.monotonic()
                    await self._flush_batch(batch)
                    state.flushing[task] = math.inf
                    took = time.monotonic() - began_at
                    state.flush_seconds += LATEST * (took - state.flush_seconds)
        finally:
            # Here and not in a callback of the task: who hands an item over before that ran would start no task for it.
            state.flushing.pop(task, None)

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._state.looking = loop.call_later(PATIENCE_SECONDS, self._look, context=self._context)

    def _look(self) -> None:
        """Use a spare place for each batch that takes too long, as far as others than its tenants wait."""
        state = self._state
        state.looking = None
        late = time.monotonic() - PATIENCE_SECONDS
        slow = sum(began_at <= late for began_at in (*state.flushing.values(), *state.spare.values()))
        while state.waiting and len(state.spare) < min(slow, self._bounds.spare) and (batch := self._take(spare=True)):
            task = asyncio.create_task(self._flush_spare(batch), name=f"batch:{self.name}", context=self._context)
            state.spare[task] = time.monotonic()
        if state.waiting:
            self._look_later()

    async def _flush_spare(self, batch: _Batch[Item, Result]) -> None:
        state = self._state
        try:
            await self._flush_batch(batch)
        finally:
            state.spare.pop(cast("asyncio.Task[None]", asyncio.current_task()), None)
            if state.looking is not None:
                state.looking.cancel()
            self._look()

    async def _keep_pace(self) -> None:
        asked, state = self._bounds.pace_seconds, self._state
        if asked and state.waiting_items < self._bounds.batch_items:
            pace = min(max(asked, PACE_PER_FLUSH * state.flush_seconds), MAX_SLACKENING * asked)
            wait = state.began_at + pace - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
        state.began_at = time.monotonic()

    async def _flush_batch(self, batch: _Batch[Item, Result]) -> None:
        results: Sequence[Result | Exception]
        try:
            results = await self._flush([entry.item for entry in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{self.name}: {len(results)} results for {len(batch)} items")
        except asyncio.CancelledError:
            for entry in batch:
                entry.done.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - handed to every waiting caller, who decides
            results = [error] * len(batch)
        finally:
            for entry in batch:
                entry.tenant.in_flight -= 1
                self._forget(entry.tenant)
        for entry, result in zip(batch, results, strict=True):
            if entry.done.done():  # the caller went away
                continue
            if isinstance(result, Exception):
                entry.done.set_exception(result)
            else:
                entry.done.set_result(result)


def _items(tenant: _Tenant[Item, Result]) -> int:
    return tenant.waiting_items


def _bytes(tenant: _Tenant[Item, Result]) -> int:
    return tenant.waiting_bytes


class Batchers(Generic[Owner, Item, Result]):
    """A batcher for each owner, where no batch is of two: each has its own pace and bounds.

    `flush` also gets the owner. How many batches of all owners are in flight depends on what flushing them takes.
    """

    def __init__(
        self, name: str, flush: Callable[[Owner, list[Item]], Awaitable[Sequence[Result | Exception]]], bounds: Bounds
    ) -> None:
        self.name = name
        self._flush = flush
        self._bounds = bounds
        self._made: BoundedCache[Owner, Batcher[Item, Result]] = BoundedCache(MAX_OWNERS, keep_used=True)
        # A batcher is created in the middle of a call, whose context is not the batches'.
        self._context = contextvars.copy_context()

    async def submit(self, owner: Owner, item: Item, *, items: int = 1) -> Result:
        """Hand over an item and wait for its result; TenantOverloaded if too many of its owner wait already."""
        batcher = self._made.get(owner)
        if batcher is None:
            flush = functools.partial(self._flush, owner)
            batcher = self._context.copy().run(Batcher[Item, Result], self.name, flush, self._bounds)
            self._made.put(owner, batcher)
        try:
            return await batcher.submit(item, items=items)
        except errors.Overloaded as refused:
            raise (errors.TenantOverloaded(TENANT_FULL) if refused.message == FULL else refused) from None
