"""Group commit: while one batch is in flight the next one collects.

A lone item is flushed at once; under load a batch is as large as what arrived while the one before it was being
flushed, up to a bound of items and of bytes. A pace, where there is one, is how soon a batch that is not full may
follow the one before: it makes company for items that come one after the other, and none wait that come alone. When
flushing takes long, because whoever does it is busy, the pace slackens: fewer and larger batches are less work.
"""

import asyncio
import contextvars
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from services.platform import errors

# The pace is at least so many times what a flush takes of late, and at most so many times what it was asked to be.
PACE_PER_FLUSH = 1.5
MAX_SLACKENING = 4.0
# The weight of the latest flush in the mean.
LATEST = 0.1

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
    # Between the beginnings of two batches at least.
    pace_seconds: float = 0.0


@dataclass(slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    size_bytes: int
    done: "asyncio.Future[Result]"


@dataclass(slots=True)
class _State:
    bytes_waiting: int = 0
    began_at: float = -math.inf
    # The mean of late.
    flush_seconds: float = 0.0
    flushing: set["asyncio.Task[None]"] = field(default_factory=set)


class Batcher(Generic[Item, Result]):
    """Collects items and flushes them in batches.

    `flush` returns a result, or an exception, for each item in order; if it raises, every item of
    its batch gets what it raised. A caller that is cancelled leaves its item in the batch.
    """

    def __init__(self, name: str, flush: type_of_flush[Item, Result], bounds: Bounds) -> None:
        self.name = name
        self._flush = flush
        self._bounds = bounds
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._state = _State()
        # The creator's context: a batch belongs to none of the callers whose items it contains, nor to their traces.
        self._context = contextvars.copy_context()

    def __len__(self) -> int:
        """Items that wait for a batch."""
        return len(self._waiting)

    async def submit(self, item: Item, size_bytes: int = 0) -> Result:
        """Hand over an item and wait for its result; Overloaded if too much waits already."""
        bounds, state = self._bounds, self._state
        if len(self._waiting) >= bounds.waiting_items or (
            state.bytes_waiting and state.bytes_waiting + size_bytes > bounds.waiting_bytes
        ):
            raise errors.Overloaded("too many requests are waiting; try again")
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(item, size_bytes, done))
        state.bytes_waiting += size_bytes
        if len(state.flushing) < bounds.concurrency:
            task = asyncio.create_task(self._drain(), name=f"batch:{self.name}", context=self._context)
            state.flushing.add(task)  # until _drain takes itself out
        return await done

    async def drained(self) -> None:
        """Wait until nothing waits and nothing is in flight; for a clean stop."""
        while self._state.flushing:
            await asyncio.wait(tuple(self._state.flushing))

    def _take(self) -> list[_Waiting[Item, Result]]:
        batch: list[_Waiting[Item, Result]] = []
        size = 0
        while self._waiting and len(batch) < self._bounds.batch_items:
            size += self._waiting[0].size_bytes
            if batch and size > self._bounds.batch_bytes:
                break
            batch.append(self._waiting.popleft())
        self._state.bytes_waiting -= sum(entry.size_bytes for entry in batch)
        return batch

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await self._keep_pace()
                if batch := self._take():
                    began_at = time.monotonic()
                    await self._flush_batch(batch)
                    took = time.monotonic() - began_at
                    self._state.flush_seconds += LATEST * (took - self._state.flush_seconds)
        finally:
            # Here and not in a callback of the task: who hands an item over before that ran would start no task for it.
            self._state.flushing.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _keep_pace(self) -> None:
        asked, state = self._bounds.pace_seconds, self._state
        if asked and len(self._waiting) < self._bounds.batch_items:
            pace = min(max(asked, PACE_PER_FLUSH * state.flush_seconds), MAX_SLACKENING * asked)
            wait = state.began_at + pace - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
        state.began_at = time.monotonic()

    async def _flush_batch(self, batch: list[_Waiting[Item, Result]]) -> None:
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
        for entry, result in zip(batch, results, strict=True):
            if entry.done.done():  # the caller went away
                continue
            if isinstance(result, Exception):
                entry.done.set_exception(result)
            else:
                entry.done.set_result(result)
