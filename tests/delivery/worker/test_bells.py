"""Bells: how a worker reacts to them, and to those without news."""

import time
from typing import Any
from uuid import UUID

import redis.asyncio

from dev.harness.receiver import Receiver, Reply
from dev.harness.waiting import wait_until
from services.domain.doorbell import GROUP, PROMPT, Ringer
from services.platform import ids
from tests.delivery.world import RUNG, Counted, World, heard_one, ring, until_true


async def test_a_bell_is_heard_at_once(world: World, receiver: Receiver, ringer: Ringer) -> None:
    async with world.worker():
        subscription = await world.subscription(receiver.url())
        await heard_one(world, ringer, subscription)
        delivery_id = await world.deliver(subscription, due_in=RUNG)
        started = time.monotonic()
        await ring(ringer, delivery_id)
        await receiver.wait_for(2)
        # Before anyone would find it in Postgres.
        assert time.monotonic() - started < RUNG / 2
        assert (await world.in_state(delivery_id))["status"] == "delivered"


async def test_a_bell_for_nothing_is_a_no_op_and_counted(world: World, receiver: Receiver, ringer: Ringer) -> None:
    async with world.worker():
        subscription = await world.subscription(receiver.url())
        ended = [await world.deliver(subscription, status=status) for status in ("delivered", "failed", "cancelled")]
        scheduled = await world.deliver(subscription, status="scheduled", due_in=RUNG)
        leased = await world.deliver(subscription, due_in=RUNG)
        await world.lease(leased, seconds=RUNG)
        stale = Counted("webhook_doorbells_stale_total")
        before = [await world.row(delivery_id) for delivery_id in (*ended, scheduled, leased)]
        await ring(ringer, *ended, scheduled, leased, ids.new(), UUID(int=0))
        await wait_until(lambda: stale() == 7, what="seven stale ids")
        assert [await world.row(row["id"]) for row in before] == before
    assert receiver.requests == []


async def test_a_bell_that_is_rung_twice_sends_once(world: World, receiver: Receiver, ringer: Ringer) -> None:
    receiver.script(then=Reply(delay_seconds=0.3))
    async with world.worker():
        delivery_id = await world.deliver(await world.subscription(receiver.url()), due_in=RUNG)
        stale = Counted("webhook_doorbells_stale_total")
        await ring(ringer, delivery_id)
        await receiver.wait_for(1)
        await ring(ringer, delivery_id)
        await wait_until(lambda: stale() == 1, what="the second bell to be counted")
        assert (await world.in_state(delivery_id))["status"] == "delivered"
        await ring(ringer, delivery_id)
        await wait_until(lambda: stale() == 2, what="the third bell to be counted")
    assert len(receiver.requests) == 1


async def test_the_same_bell_to_two_workers_sends_once(world: World, receiver: Receiver, ringer: Ringer) -> None:
    async with world.worker(), world.worker():
        subscription = await world.subscription(receiver.url())
        delivery_ids = await world.deliver_many(subscription, 300, due_in=RUNG)
        for _ in range(3):
            await ring(ringer, *delivery_ids)
        await world.all_in(subscription, "delivered", 300)
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == len(receiver.requests) == 300


async def test_foreign_bells_do_not_keep_workers_from_hearing_the_next(
    world: World, receiver: Receiver, ringer: Ringer
) -> None:
    async with redis.asyncio.Redis.from_url(world.redis_url) as client:
        strange: list[Any] = [
            {"data": "x"},
            {"other": "x"},
            {"data": '{"task_id":"1","task_name":"other","labels":{},"args":[],"kwargs":{}}'},
        ]
        for fields in strange:
            await client.xadd(PROMPT, fields)
    delivery_id = await world.deliver(await world.subscription(receiver.url()), due_in=RUNG)
    await ring(ringer, delivery_id)
    async with world.worker():
        assert (await world.in_state(delivery_id))["status"] == "delivered"


async def test_heard_bells_are_taken_off_the_stream(world: World, receiver: Receiver, ringer: Ringer) -> None:
    async with world.worker(), redis.asyncio.Redis.from_url(world.redis_url) as client:
        subscription = await world.subscription(receiver.url())
        delivery_ids = await world.deliver_many(subscription, 200, due_in=RUNG)
        await ring(ringer, *delivery_ids)
        await world.all_in(subscription, "delivered", 200)

        async def empty() -> bool:
            pending = await client.xpending(PROMPT, GROUP)
            return await client.xlen(PROMPT) == 0 and pending["pending"] == 0

        await until_true(empty, "the stream to be empty")
