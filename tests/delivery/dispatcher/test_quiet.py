"""The dispatcher waits where nothing is due, and is there when something is: told by signals, or by what it knows.

Here nobody looks without a reason for longer than a test waits, so that what comes in time was told of.
"""

import dataclasses
from collections.abc import AsyncIterator

import pytest

from dev.harness.receiver import Receiver, Reply
from dev.harness.waiting import PATIENCE_SECONDS, wait_until
from services.domain.deliveries import DUE
from services.platform.stores import redis, signals
from services.platform.stores.signals import Signals
from tests.delivery.world import Counted, World

TURNS = "webhook_dispatcher_turn_duration_seconds_count"
LONG = 10 * PATIENCE_SECONDS


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "QUIET_SECONDS", LONG)
    monkeypatch.setattr("services.delivery.worker.bells.SILENCE_SECONDS", LONG)
    monkeypatch.setattr("services.delivery.dispatcher.sweeper.CHECK_SECONDS", LONG)


@pytest.fixture
async def others(world: World) -> AsyncIterator[Signals]:
    """The signals of another process."""
    async with redis.client(world.delivery_settings()) as client:
        yield Signals(client)


async def until_quiet() -> None:
    """Wait until no turn was taken for half a second."""
    turns = Counted(TURNS)
    last, unchanged = -1.0, 0

    def is_quiet() -> bool:
        nonlocal last, unchanged
        unchanged = unchanged + 1 if turns() == last else 0
        last = turns()
        return unchanged > 25

    await wait_until(is_quiet, what="no more turns")


async def test_nothing_is_looked_at_while_nothing_is_due(world: World) -> None:
    async with world.running():
        await until_quiet()


async def test_what_another_process_tells_of_is_rung_for_at_once(
    world: World, receiver: Receiver, others: Signals
) -> None:
    async with world.running():
        await until_quiet()
        delivery_id = await world.deliver(await world.subscription(receiver.url()))
        others.wake(DUE)
        await others.flush()
        assert (await world.in_state(delivery_id))["status"] == "delivered"


@pytest.mark.parametrize("away", [False, True], ids=["with Redis", "without Redis"])
async def test_a_retry_that_is_due_soon_is_not_late(world: World, receiver: Receiver, *, away: bool) -> None:
    receiver.script(500, then=200)
    if away:
        world = dataclasses.replace(world, redis_url="redis://127.0.0.1:1/0")
    async with world.running(retry_base_seconds=0.3):
        subscription = await world.subscription(receiver.url())
        if not away:
            await until_quiet()
        delivery_id = await world.deliver(subscription)
        async with redis.client(world.delivery_settings()) as client:
            told = Signals(client)
            told.wake(DUE)
            if not away:
                await told.flush()
        row = await world.in_state(delivery_id)
        assert (row["status"], row["attempt_count"]) == ("delivered", 2)


async def test_a_retry_that_was_known_before_comes_without_a_signal(world: World, receiver: Receiver) -> None:
    delivery_id = await world.deliver(await world.subscription(receiver.url()), status="scheduled", due_in=2.0)
    async with world.running():
        assert (await world.in_state(delivery_id))["status"] == "delivered"


async def test_a_lease_that_runs_out_is_taken_back_without_a_signal(world: World, receiver: Receiver) -> None:
    delivery_id = await world.deliver(await world.subscription(receiver.url()), due_in=600)
    await world.lease(delivery_id, seconds=1.0)
    async with world.running():
        row = await world.in_state(delivery_id)
        assert (row["status"], row["attempt_count"]) == ("delivered", 2)


async def test_a_breaker_is_probed_when_its_time_has_come(world: World, receiver: Receiver, others: Signals) -> None:
    receiver.script(500, 500, 500, then=200)
    settings = {"breaker_failures": 3, "breaker_cooldown_seconds": 0.5, "retry_base_seconds": 0.05, "retry_factor": 1.0}
    async with world.running(**settings):
        await until_quiet()
        delivery_id = await world.deliver(await world.subscription(receiver.url()))
        others.wake(DUE)
        await others.flush()
        assert (await world.in_state(delivery_id))["status"] == "delivered"


async def test_what_a_worker_hands_back_when_it_stops_is_sent_by_another(
    world: World, receiver: Receiver, others: Signals
) -> None:
    receiver.script(Reply(hang=True))
    async with world.delivery():
        async with world.worker(shutdown_grace_seconds=3.5):
            delivery_id = await world.deliver(await world.subscription(receiver.url(), timeout_seconds=30))
            others.wake(DUE)
            await others.flush()
            await receiver.wait_for(1)
        async with world.worker():
            assert (await world.in_state(delivery_id))["status"] == "delivered"
