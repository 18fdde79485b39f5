"""The queue depth, which scales workers: the number of deliveries that one more worker could send."""

import asyncio
import statistics

import pytest

from dev.harness.receiver import Receiver, Reply
from dev.harness.waiting import wait_until
from services.delivery.dispatcher.windows import MAX_WINDOW
from services.platform import ids
from tests.delivery.world import Counted, World


@pytest.fixture(autouse=True)
def _measured_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.delivery.dispatcher.metrics.INTERVAL_SECONDS", 0.1)


def gauges() -> tuple[float, float]:
    """Return the depth, and what waits for an endpoint at its limit."""
    held = Counted.now("webhook_held_deliveries", reason="concurrency")
    return Counted.now("webhook_queue_depth"), held


async def test_depth_counts_deliveries_that_wait_because_workers_have_enough(world: World) -> None:
    subscription = await world.subscription("http://127.0.0.1:1/")
    await world.deliver_many(subscription, MAX_WINDOW, due_in=600)  # rung, and no worker has handed any back
    async with world.delivery():
        await wait_until(lambda: gauges() == (MAX_WINDOW, 0), what="what is rung to be counted")
        await world.deliver_many(subscription, 500)
        await wait_until(lambda: gauges() == (MAX_WINDOW + 500, 0), what="what waits behind it to be counted")


async def test_depth_counts_deliveries_that_workers_hand_back_for_lack_of_slots(
    world: World, receiver: Receiver
) -> None:
    receiver.script(then=Reply(delay_seconds=0.5))  # slow enough to be handed back, within the limits of endpoints
    subscription = await world.subscription(receiver.url())
    handed_back = Counted("webhook_deliveries_handed_back_total", reason="concurrency")
    async with world.running(worker_concurrency=4):
        # Eight a second are delivered meanwhile, however long that takes.
        await world.deliver_many(subscription, 3_000)
        # How many come back at once depends on how many were rung before the worker said that it has enough.
        await wait_until(lambda: handed_back() > 0, what="deliveries to be given back")
        await wait_until(lambda: gauges()[0] >= 1_500, what="them to be counted")
        measured = []
        for _ in range(40):
            measured.append(gauges())
            await asyncio.sleep(0.05)
    # Its gate is closed for moments in between, when a worker says so late.
    depths, held = zip(*measured, strict=True)
    assert statistics.median(depths) >= 1_300
    assert statistics.median(held) == 0


async def test_depth_does_not_count_deliveries_that_wait_for_an_endpoint_at_its_limit(
    world: World, receiver: Receiver
) -> None:
    receiver.script(then=Reply(delay_seconds=2.2))  # so slow that it gets half as many at a time
    subscription = await world.subscription(receiver.url())

    def measured() -> bool:
        depth, held = gauges()
        return depth <= 50 and held >= 800

    async with world.running(worker_concurrency=8):
        await world.deliver_many(subscription, 1_000)
        await wait_until(measured, what="the deliveries to be held")


async def test_deliveries_that_are_yet_to_be_created_are_work_for_another_one(world: World) -> None:
    await world.pool.execute(
        "INSERT INTO event_expansions (event_id, tenant_id, event_type, stored_at, targets, made)"
        " VALUES ($1, 'default', 'a', now(), 700, 200), ($2, 'default', 'a', now(), 101, 300)",
        ids.new(),
        ids.new(),
    )
    try:
        async with world.delivery():
            await wait_until(lambda: gauges() == (501, 0), what="what is to be created to be counted")
    finally:
        await world.pool.execute("DELETE FROM event_expansions")
