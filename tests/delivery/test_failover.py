"""The primary of Redis dies while deliveries are made."""

import asyncio
import dataclasses

import pytest

from dev.harness.receiver import Receiver
from dev.harness.redis.primaries import KINDS
from tests.delivery.world import Counted, World, until_true


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_accepted_in_a_failover_is_delivered_and_bells_are_heard_again(
    world: World, receiver: Receiver, kind: str
) -> None:
    with KINDS[kind]() as primaries:
        async with dataclasses.replace(world, redis_url=primaries.url).running():
            subscription = await world.subscription(receiver.url())
            heard = Counted("webhook_worker_ids_total", source="doorbell")

            async def one_by_bell() -> bool:
                await world.in_state(await world.deliver(subscription))
                return heard() > 0

            await until_true(one_by_bell, "bells to be heard")
            failing = asyncio.create_task(asyncio.to_thread(primaries.fail_over))
            meanwhile = [await world.deliver(subscription) for _ in range(20)]
            await failing
            for delivery in meanwhile:
                assert (await world.in_state(delivery))["status"] == "delivered"
            heard = Counted("webhook_worker_ids_total", source="doorbell")
            await until_true(one_by_bell, "bells to be heard again", timeout_seconds=5.0)
