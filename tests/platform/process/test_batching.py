"""Group commit without a timer."""

import asyncio
import contextvars
import itertools
import time
from collections.abc import Sequence
from typing import Any

import pytest

from dev.harness.waiting import wait_until
from services.platform import errors
from services.platform.process import batching
from services.platform.process.batching import Batcher, Batchers, Bounds

PATIENCE_SECONDS = 60.0


class Sink:
    """A target for a batcher that records every batch, and returns when its gate is open."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails: Exception | None = None
        self.answers: list[int | Exception] | None = None

    async def flush(self, items: list[int]) -> Sequence[int | Exception]:
        self.batches.append(items)
        await self.gate.wait()
        if self.fails:
            raise self.fails
        return self.answers if self.answers is not None else [item * 10 for item in items]


def _batcher(sink: Sink, **bounds: Any) -> Batcher[int, int]:
    return Batcher("test", sink.flush, Bounds(**{"batch_items": 100, "waiting_items": 1000, **bounds}))


async def _submit(batcher: Batcher[int, int], *items: int, size_bytes: int = 0) -> list[asyncio.Task[int]]:
    """Submit items in order, and return when all of them wait or are in flight."""
    tasks = [asyncio.create_task(batcher.submit(item, size_bytes)) for item in items]
    await asyncio.sleep(0)
    return tasks


async def _in_flight(sink: Sink, batches: int) -> None:
    await wait_until(lambda: len(sink.batches) == batches, PATIENCE_SECONDS, what=f"{batches} batches in flight")


async def test_a_lone_item_is_flushed_at_once() -> None:
    sink = Sink()
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await _batcher(sink).submit(1) == 10
    assert sink.batches == [[1]]


async def test_items_that_arrive_while_a_batch_is_in_flight_form_the_next_in_order() -> None:
    sink = Sink()
    sink.gate.clear()
    batcher = _batcher(sink)
    first = await _submit(batcher, 1)
    await _in_flight(sink, 1)
    rest = await _submit(batcher, 2, 3, 4)
    assert len(batcher) == 3
    sink.gate.set()
    assert await asyncio.gather(*first, *rest) == [10, 20, 30, 40]
    assert sink.batches == [[1], [2, 3, 4]]


@pytest.mark.parametrize("bounds", [{"batch_items": 2}, {"batch_bytes": 100}])
async def test_a_batch_holds_no_more_than_its_bounds(bounds: dict[str, int]) -> None:
    sink = Sink()
    tasks = await _submit(_batcher(sink, **bounds), *range(5), size_bytes=50)
    assert await asyncio.gather(*tasks) == [0, 10, 20, 30, 40]
    assert sink.batches == [[0, 1], [2, 3], [4]]


async def test_an_item_larger_than_batch_bytes_goes_alone() -> None:
    sink = Sink()
    batcher = _batcher(sink, batch_bytes=100)
    tasks = [
        *await _submit(batcher, 1, size_bytes=10),
        *await _submit(batcher, 2, size_bytes=5_000),
        *await _submit(batcher, 3, size_bytes=10),
    ]
    await asyncio.gather(*tasks)
    assert [2] in sink.batches
    assert sorted(item for batch in sink.batches for item in batch) == [1, 2, 3]


@pytest.mark.parametrize("bounds", [{"waiting_items": 2}, {"waiting_bytes": 100}])
async def test_items_beyond_the_queue_limit_are_rejected_as_overloaded(bounds: dict[str, int]) -> None:
    sink = Sink()
    sink.gate.clear()
    batcher = _batcher(sink, **bounds)
    accepted = await _submit(batcher, 1, size_bytes=50)
    await _in_flight(sink, 1)
    accepted += await _submit(batcher, 2, 3, size_bytes=50)
    with pytest.raises(errors.Overloaded):
        await batcher.submit(4, 50)
    sink.gate.set()
    assert await asyncio.gather(*accepted) == [10, 20, 30]


async def test_an_item_over_waiting_bytes_is_taken_when_nothing_waits() -> None:
    assert await _batcher(Sink(), waiting_bytes=100).submit(1, 1_000) == 10


async def test_room_that_was_taken_is_given_back_after_the_flush() -> None:
    batcher = _batcher(Sink(), waiting_items=1, waiting_bytes=10)
    assert [await batcher.submit(item, 10) for item in range(20)] == [item * 10 for item in range(20)]


async def test_the_item_of_a_cancelled_caller_is_flushed_all_the_same() -> None:
    sink = Sink()
    sink.gate.clear()
    batcher = _batcher(sink)
    first = await _submit(batcher, 1)
    await _in_flight(sink, 1)
    gone, stays = await _submit(batcher, 2, 3)
    gone.cancel()
    await asyncio.wait([gone])
    sink.gate.set()
    assert await stays == 30
    assert sink.batches == [[1], [2, 3]]
    assert await asyncio.gather(*first) == [10]


async def test_a_caller_cancelled_in_flight_does_not_disturb_its_neighbours() -> None:
    sink = Sink()
    sink.gate.clear()
    gone, stays = await _submit(_batcher(sink), 1, 2)
    await _in_flight(sink, 1)
    gone.cancel()
    sink.gate.set()
    assert await stays == 20


async def test_items_of_a_failed_flush_all_get_its_error_and_the_next_batch_continues() -> None:
    sink = Sink()
    sink.fails = errors.Unavailable("gone")
    batcher = _batcher(sink)
    tasks = await _submit(batcher, 1, 2)
    assert await asyncio.gather(*tasks, return_exceptions=True) == [sink.fails] * 2
    sink.fails = None
    assert await batcher.submit(3) == 30


async def test_an_exception_in_the_place_of_a_result_goes_to_its_item_alone() -> None:
    sink = Sink()
    refused = errors.NotFound("no")
    sink.answers = [1, refused, 3]
    tasks = await _submit(_batcher(sink), 1, 2, 3)
    assert await asyncio.gather(*tasks, return_exceptions=True) == [1, refused, 3]


@pytest.mark.parametrize("answers", [[], [1], [1, 2, 3]])
async def test_a_wrong_number_of_results_fails_every_item_instead_of_leaving_them_waiting(
    answers: list[int | Exception],
) -> None:
    sink = Sink()
    sink.answers = answers
    tasks = await _submit(_batcher(sink), 1, 2)
    async with asyncio.timeout(PATIENCE_SECONDS):
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [RuntimeError, RuntimeError]


async def test_batches_in_flight_reach_and_never_exceed_the_concurrency() -> None:
    sink = Sink()
    sink.gate.clear()
    batcher = _batcher(sink, batch_items=1, concurrency=2)
    tasks = await _submit(batcher, 1, 2, 3)
    await _in_flight(sink, 2)
    assert len(batcher) == 1
    sink.gate.set()
    assert await asyncio.gather(*tasks) == [10, 20, 30]
    assert len(sink.batches) == 3


async def test_drained_waits_for_what_waits_and_what_is_in_flight() -> None:
    sink = Sink()
    sink.gate.clear()
    batcher = _batcher(sink, batch_items=1)
    tasks = await _submit(batcher, 1, 2, 3)
    await _in_flight(sink, 1)
    drained = asyncio.create_task(batcher.drained())
    await asyncio.sleep(0)
    assert not drained.done()
    sink.gate.set()
    await drained
    assert len(batcher) == 0
    assert sink.batches == [[1], [2], [3]]
    assert all(task.done() for task in tasks)


async def test_an_idle_batcher_is_drained_at_once() -> None:
    await _batcher(Sink()).drained()


async def test_an_item_that_is_handed_over_in_the_moment_a_batch_ends_is_not_left_behind() -> None:
    batcher = _batcher(Sink())
    async with asyncio.timeout(PATIENCE_SECONDS):
        # A result wakes each caller, which submits the next item before anything else runs.
        assert [await batcher.submit(item) for item in range(100)] == [item * 10 for item in range(100)]


class Clock:
    """A target for a batcher that records when each batch started, and takes some time."""

    def __init__(self, flush_seconds: float = 0.0) -> None:
        self.began: list[float] = []
        self.batches: list[list[int]] = []
        self.flush_seconds = flush_seconds

    async def flush(self, items: list[int]) -> Sequence[int]:
        self.began.append(time.monotonic())
        self.batches.append(items)
        await asyncio.sleep(self.flush_seconds)
        return items

    def batcher(self, pace_seconds: float, *, batch_items: int = 100) -> Batcher[int, int]:
        bounds = Bounds(batch_items=batch_items, waiting_items=1000, concurrency=2, pace_seconds=pace_seconds)
        return Batcher("test", self.flush, bounds)

    @property
    def apart(self) -> list[float]:
        """Return the seconds between the starts of batches."""
        return [later - earlier for earlier, later in itertools.pairwise(self.began)]


async def test_items_that_arrive_within_the_pace_share_a_batch() -> None:
    clock = Clock()
    batcher = clock.batcher(0.2)
    await batcher.submit(0)
    await asyncio.gather(batcher.submit(1), batcher.submit(2))
    assert clock.batches == [[0], [1, 2]]
    assert clock.apart[0] >= 0.2


async def test_a_full_batch_does_not_wait_for_the_pace() -> None:
    clock = Clock()
    batcher = clock.batcher(600.0, batch_items=2)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*(batcher.submit(item) for item in range(6)))
    assert clock.batches == [[0, 1], [2, 3], [4, 5]]


async def test_the_pace_slackens_when_flushing_takes_long_and_only_so_far() -> None:
    clock = Clock(flush_seconds=0.05)
    batcher = clock.batcher(0.01)
    for item in range(30):  # until the mean reaches it
        await batcher.submit(item)
    clock.began.clear()
    clock.flush_seconds = 0.0
    for item in range(2):
        await batcher.submit(item)
    # One and a half times the 0.05 s would be more than four times the configured pace.
    assert clock.apart[0] >= batching.MAX_SLACKENING * 0.01 > 0.01


async def test_a_batch_runs_in_the_context_of_none_of_its_items() -> None:
    whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="nobody's")
    seen = []

    async def flush(items: list[int]) -> list[int]:
        seen.append(whose.get())
        return items

    batcher: Batcher[int, int] = Batcher("test", flush, Bounds(batch_items=1, waiting_items=10))

    async def submit(name: str) -> None:
        whose.set(name)
        await batcher.submit(1)

    await asyncio.gather(submit("one caller's"), submit("another's"))
    assert seen == ["nobody's"] * 2


# -- a batcher for each owner --


class Sinks:
    """Targets for the batchers of owners, which record every batch and the context that it runs in."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.caller: contextvars.ContextVar[str] = contextvars.ContextVar("caller", default="nobody")
        self.callers: set[str] = set()

    async def flush(self, owner: str, items: list[int]) -> list[int]:
        self.batches.append((owner, items))
        self.callers.add(self.caller.get())
        if owner in self.gates:
            await self.gates[owner].wait()
        return [item * 10 for item in items]


def _batchers(sinks: Sinks, **bounds: Any) -> Batchers[str, int, int]:
    return Batchers("test", sinks.flush, Bounds(**{"batch_items": 100, "waiting_items": 1000, **bounds}))


async def test_owners_share_no_batch_and_do_not_wait_for_each_other() -> None:
    sinks = Sinks()
    sinks.gates["slow"] = asyncio.Event()
    batchers = _batchers(sinks)
    slow = [asyncio.create_task(batchers.submit("slow", item)) for item in range(3)]
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await asyncio.gather(*(batchers.submit("quick", item) for item in range(3))) == [0, 10, 20]
        sinks.gates["slow"].set()
        assert await asyncio.gather(*slow) == [0, 10, 20]
    flushed = {
        name: [item for owner, items in sinks.batches if owner == name for item in items] for name in ("slow", "quick")
    }
    assert flushed == {"slow": [0, 1, 2], "quick": [0, 1, 2]}


async def test_an_owner_with_too_many_items_is_refused_and_no_other_is() -> None:
    sinks = Sinks()
    sinks.gates["busy"] = asyncio.Event()
    batchers = _batchers(sinks, batch_items=1, waiting_items=2)
    tasks = [asyncio.create_task(batchers.submit("busy", 0))]
    await wait_until(lambda: len(sinks.batches) == 1, PATIENCE_SECONDS, what="a batch in flight")
    tasks += [asyncio.create_task(batchers.submit("busy", item)) for item in (1, 2)]
    await asyncio.sleep(0)
    with pytest.raises(errors.TenantOverloaded):
        await batchers.submit("busy", 4)
    assert await batchers.submit("quiet", 1) == 10
    sinks.gates["busy"].set()
    assert await asyncio.gather(*tasks) == [0, 10, 20]


async def test_a_batch_of_an_owner_runs_in_the_context_of_none_of_its_items() -> None:
    sinks = Sinks()
    batchers = _batchers(sinks)
    sinks.caller.set("somebody")
    assert await batchers.submit("owner", 1) == 10
    assert sinks.callers == {"nobody"}


async def test_the_batcher_of_the_owner_that_was_longest_without_an_item_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "MAX_OWNERS", 2)
    sinks = Sinks()
    sinks.gates["first"] = asyncio.Event()
    batchers = _batchers(sinks)
    first = asyncio.create_task(batchers.submit("first", 1))
    for owner in ("second", "third", "fourth"):
        assert await batchers.submit(owner, 2) == 20
    sinks.gates["first"].set()
    assert await first == 10
    assert len(batchers._made) == 2
