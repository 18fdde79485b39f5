"""How tenants share a batcher: turns in batches, space in the queue, and places for slow batches."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev.harness.waiting import wait_until
from services.platform import errors
from services.platform.process.batching import Batcher, Bounds

PATIENCE_SECONDS = 60.0
Named = tuple[str, int]


class Sink:
    """A target for a batcher that records every batch, and delays those with items of a slow tenant."""

    def __init__(self) -> None:
        self.batches: list[list[Named]] = []
        self.gate = asyncio.Event()
        self.slow: set[str] = set()

    async def flush(self, items: list[Named]) -> Sequence[Named]:
        self.batches.append(items)
        if not self.slow.isdisjoint(name for name, _ in items):
            await self.gate.wait()
        return items

    def batcher(self, **bounds: Any) -> Batcher[Named, Named]:
        return Batcher("test", self.flush, Bounds(**{"batch_items": 4, "waiting_items": 1_000, **bounds}))


Tasks = list["asyncio.Task[Named]"]


async def submit(
    batcher: Batcher[Named, Named], tenant: str, number: int, *, size_bytes: int = 0, weight: int = 1
) -> Tasks:
    """Submit items of a tenant, and return when all of them wait or are refused."""
    tasks = [
        asyncio.create_task(batcher.submit((tenant, place), size_bytes, tenant=tenant, weight=weight))
        for place in range(number)
    ]
    await asyncio.sleep(0)
    return tasks


async def held_up(sink: Sink, batcher: Batcher[Named, Named]) -> Tasks:
    """Fill all ordinary places with a slow tenant's batches of one."""
    sink.slow.add("slow")
    tasks = await submit(batcher, "slow", 1)
    await wait_until(lambda: sink.batches, PATIENCE_SECONDS)
    return tasks


async def test_a_tenant_with_one_item_is_in_the_next_batch_beside_any_backlog() -> None:
    sink = Sink()
    batcher = sink.batcher()
    tasks = await held_up(sink, batcher)
    tasks += await submit(batcher, "busy", 100)
    tasks += await submit(batcher, "quiet", 1)
    sink.gate.set()
    await asyncio.gather(*tasks)
    assert ("quiet", 0) in sink.batches[1]
    # The other tenant gets what it leaves.
    assert [len(batch) for batch in sink.batches[1:-1]] == [4] * 25
    assert [number for batch in sink.batches for name, number in batch if name == "busy"] == list(range(100))


async def test_tenants_get_the_same_number_of_bytes() -> None:
    sink = Sink()
    batcher = sink.batcher(batch_items=1)
    tasks = await held_up(sink, batcher)
    tasks += await submit(batcher, "large", 50, size_bytes=10_000)
    tasks += await submit(batcher, "small", 50, size_bytes=1_000)
    sink.gate.set()
    await asyncio.gather(*tasks)
    order = [batch[0][0] for batch in sink.batches[1:]]
    before_the_last_small = order[: len(order) - order[::-1].index("small")]
    assert 4 <= before_the_last_small.count("large") <= 8


async def test_tenant_of_weight_3_gets_three_times_the_places_and_all_of_them_alone() -> None:
    sink = Sink()
    batcher = sink.batcher()
    tasks = await held_up(sink, batcher)
    tasks += await submit(batcher, "light", 40)
    tasks += await submit(batcher, "heavy", 40, weight=3)
    sink.gate.set()
    await asyncio.gather(*tasks)
    in_each = [[name for name, _ in batch].count("heavy") for batch in sink.batches[1:]]
    assert sum(in_each[:10]) == 30
    sink.batches.clear()
    await asyncio.gather(*await submit(batcher, "heavy", 12, weight=3))
    assert max(map(len, sink.batches)) == 4


async def test_tenant_of_weight_3_may_have_three_times_as_much_waiting() -> None:
    sink = Sink()
    batcher = sink.batcher(waiting_items=50)
    tasks = await held_up(sink, batcher)
    light = await submit(batcher, "light", 50)
    # A fifth of the places is the share of the tenant with a batch in flight, which the other one keeps meanwhile.
    heavy = await submit(batcher, "heavy", 50, weight=3)
    refused = [*light[20:], *heavy[30:]]
    await asyncio.wait(refused)
    assert len(batcher) == 50
    assert {type(task.exception()) for task in refused} == {errors.TenantOverloaded}
    sink.gate.set()
    await asyncio.gather(*tasks, *light[:20], *heavy[:30])


async def test_a_tenant_that_comes_later_gets_its_share_and_nothing_for_the_time_before() -> None:
    sink = Sink()
    sink.slow.add("busy")
    batcher = sink.batcher()
    tasks = [
        asyncio.create_task(batcher.submit(("busy", place), size, tenant="busy"))
        for place, size in enumerate((10_000, 10_000, 10_000, 0))
    ]
    await wait_until(lambda: sink.batches, PATIENCE_SECONDS)
    tasks += await submit(batcher, "busy", 8)
    tasks += await submit(batcher, "new", 8)
    sink.gate.set()
    await asyncio.gather(*tasks)
    in_each = [[name for name, _ in batch].count("new") for batch in sink.batches[1:]]
    assert in_each == [2, 2, 2, 2]


async def test_an_item_that_counts_as_many_costs_its_tenant_as_many_turns() -> None:
    sink = Sink()
    batcher = sink.batcher()
    tasks = await held_up(sink, batcher)
    for place in range(8):
        tasks.append(asyncio.create_task(batcher.submit(("heavy", place), tenant="heavy", items=4)))
    tasks += await submit(batcher, "light", 32)
    sink.gate.set()
    await asyncio.gather(*tasks)
    order = [name for batch in sink.batches[1:] for name, _ in batch]
    assert 3 <= order[:20].count("heavy") <= 5


async def test_a_batch_that_is_not_mixed_has_items_of_one_tenant() -> None:
    sink = Sink()
    batcher = Batcher("test", sink.flush, Bounds(batch_items=4, waiting_items=1_000, mixed=False))
    tasks = await held_up(sink, batcher)
    for name in "ab":
        tasks += await submit(batcher, name, 6)
    sink.gate.set()
    await asyncio.gather(*tasks)
    assert [{name for name, _ in batch} for batch in sink.batches[1:]] == [{"a"}, {"b"}, {"a"}, {"b"}]
    assert [len(batch) for batch in sink.batches[1:]] == [4, 4, 2, 2]


@pytest.mark.parametrize("bounds", [{"waiting_items": 10}, {"waiting_bytes": 1_000}])
async def test_tenant_may_use_the_space_that_others_leave_until_they_need_it(
    bounds: dict[str, int],
) -> None:
    sink = Sink()
    batcher = sink.batcher(**bounds)
    tasks = await held_up(sink, batcher)
    busy = await submit(batcher, "busy", 10, size_bytes=100)
    assert len(batcher) == 10
    quiet = await submit(batcher, "quiet", 2, size_bytes=100)
    assert len(batcher) == 10
    await asyncio.wait(busy[8:])
    # The newest items of the busy tenant were driven out.
    assert [type(task.exception()) for task in busy[8:]] == [errors.TenantOverloaded] * 2
    with pytest.raises(errors.TenantOverloaded):
        await batcher.submit(("busy", 10), 100, tenant="busy")
    sink.gate.set()
    await asyncio.gather(*tasks, *busy[:8], *quiet)


async def test_a_tenant_within_its_share_is_not_driven_out() -> None:
    sink = Sink()
    batcher = sink.batcher(waiting_items=9)
    tasks = await held_up(sink, batcher)
    for name in "abc":  # of four, with the slow one
        tasks += await submit(batcher, name, 2)
    greedy = await submit(batcher, "greedy", 10)
    assert len(batcher) == 9
    sink.gate.set()
    await asyncio.gather(*tasks)
    refused = [task for task in greedy if task.done() and task.exception()]
    assert [type(task.exception()) for task in refused] == [errors.TenantOverloaded] * 7


async def test_a_service_that_is_full_of_everybodys_items_refuses_a_new_tenant_without_blaming_it() -> None:
    sink = Sink()
    batcher = sink.batcher(waiting_items=3)
    tasks = await held_up(sink, batcher)
    for name in "abc":
        tasks += await submit(batcher, name, 1)
    with pytest.raises(errors.Overloaded) as raised:
        await batcher.submit(("d", 0), tenant="d")
    assert raised.value.reason is errors.ErrorReason.OVERLOADED
    sink.gate.set()
    await asyncio.gather(*tasks)


async def test_a_lone_tenant_that_fills_everything_is_refused_as_overloaded() -> None:
    sink = Sink()
    batcher = sink.batcher(waiting_items=2)
    tasks = await held_up(sink, batcher)
    tasks += await submit(batcher, "slow", 2)
    with pytest.raises(errors.Overloaded) as raised:
        await batcher.submit(("slow", 3), tenant="slow")
    assert raised.value.reason is errors.ErrorReason.OVERLOADED
    sink.gate.set()
    await asyncio.gather(*tasks)


async def test_an_item_may_count_as_many() -> None:
    sink = Sink()
    batcher = sink.batcher(waiting_items=100, batch_items=10)
    tasks = await held_up(sink, batcher)
    heavy = [asyncio.create_task(batcher.submit(("a", number), tenant="a", items=40)) for number in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(errors.Overloaded):
        await batcher.submit(("a", 2), tenant="a", items=40)
    sink.gate.set()
    await asyncio.gather(*tasks, *heavy)
    assert sink.batches[1:] == [[("a", 0)], [("a", 1)]]


async def test_a_slow_batch_does_not_delay_tenants_with_nothing_in_flight() -> None:
    sink = Sink()
    batcher = sink.batcher(concurrency=2, spare=2, batch_items=1)
    slow = await held_up(sink, batcher)
    slow += await submit(batcher, "slow", 5)
    async with asyncio.timeout(PATIENCE_SECONDS):
        # One after the other, and those that come together.
        for number in range(3):
            assert await batcher.submit(("quiet", number), tenant="quiet") == ("quiet", number)
        await asyncio.gather(*(batcher.submit((name, 0), tenant=name) for name in "abcdef"))
    assert sum(name == "slow" for batch in sink.batches for name, _ in batch) == 2
    assert not any(task.done() for task in slow)
    sink.gate.set()
    await asyncio.gather(*slow)
    await batcher.drained()


async def test_batches_in_flight_reach_and_never_exceed_the_places_with_the_spare_ones() -> None:
    sink = Sink()
    batcher = sink.batcher(concurrency=1, spare=2, batch_items=1)
    sink.slow |= set("abcdef")
    tasks = [task for name in "abcdef" for task in await submit(batcher, name, 1)]
    await wait_until(lambda: len(sink.batches) == 3, PATIENCE_SECONDS)
    await asyncio.sleep(0.2)
    assert len(sink.batches) == 3
    sink.gate.set()
    await asyncio.gather(*tasks)
    assert len(sink.batches) == 6


async def test_a_tenant_is_forgotten_once_it_has_nothing_left() -> None:
    sink = Sink()
    batcher = sink.batcher()
    await asyncio.gather(*(batcher.submit((str(number), 0), tenant=number) for number in range(50)))
    assert batcher._tenants == {}


@given(
    submissions=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 500), st.integers(1, 3)), max_size=60),
    mixed=st.booleans(),
)
async def test_items_get_their_own_result_or_a_rejection(
    submissions: list[tuple[str, int, int]],
    mixed: bool,  # noqa: FBT001 - a parameter
) -> None:
    sink = Sink()
    bounds = Bounds(
        batch_items=5, batch_bytes=1_000, waiting_items=20, waiting_bytes=4_000, concurrency=2, spare=1, mixed=mixed
    )
    batcher = Batcher("test", sink.flush, bounds)
    tasks = [
        asyncio.create_task(batcher.submit((name, place), size, tenant=name, items=items))
        for place, (name, size, items) in enumerate(submissions)
    ]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for place, ((name, _, _), result) in enumerate(zip(submissions, results, strict=True)):
        assert result == (name, place) or isinstance(result, errors.Overloaded)
    flushed = [item for batch in sink.batches for item in batch]
    assert sorted(flushed) == sorted(result for result in results if isinstance(result, tuple))
    assert (len(batcher), batcher._tenants) == (0, {})
