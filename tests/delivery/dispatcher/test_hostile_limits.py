"""Limits that the API would refuse, as in a row written by hand, do not affect other subscriptions."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator

import pytest

from dev.harness.receiver import Receiver
from tests.delivery.world import World, until_true

CHECKS = ("rate_limit_per_second", "rate_limit_burst")
HOSTILE = (1e-300, -1e-300, 5e-324, 0.0, -0.0, 1e300, float("nan"), float("inf"), float("-inf"))


@contextlib.asynccontextmanager
async def _without_checks(world: World) -> AsyncIterator[None]:
    """Allow any limit, until all rows are deleted."""
    for column in CHECKS:
        await world.pool.execute(f"ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_{column}_check")
    try:
        yield
    finally:
        await world.clear()
        await world.pool.execute(
            "ALTER TABLE subscriptions ADD CONSTRAINT subscriptions_rate_limit_per_second_check"
            " CHECK (rate_limit_per_second BETWEEN 0.001 AND 100000),"
            " ADD CONSTRAINT subscriptions_rate_limit_burst_check CHECK (rate_limit_burst BETWEEN 1 AND 1000000)"
        )


@pytest.mark.parametrize("redis_is_there", [True, pytest.param(False, marks=pytest.mark.without_redis)])
async def test_rates_that_cannot_be_used_in_calculations_delay_no_other_subscription(
    world: World, receiver: Receiver, *, redis_is_there: bool
) -> None:
    limit = "UPDATE subscriptions SET rate_limit_per_second = $2, rate_limit_burst = $3 WHERE id = $1"
    async with _without_checks(world):
        for number, rate in enumerate(HOSTILE):
            hostile = await world.subscription(receiver.url("/hostile"))
            await world.pool.execute(limit, hostile, rate, (None, 2**31 - 1, -1)[number % 3])
            await world.deliver(hostile)
        quiet = await world.subscription(receiver.url("/quiet"))
        await world.pool.execute(limit, quiet, 50.0, None)
        for _ in range(20):
            await world.deliver(quiet)
        running = world if redis_is_there else dataclasses.replace(world, redis_url="redis://127.0.0.1:1/0")
        async with running.running():

            async def delivered() -> bool:
                return await world.statuses(quiet) == {"delivered": 20}

            await until_true(delivered, "the deliveries of the other subscription")
