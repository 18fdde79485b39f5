"""Another target_url is another endpoint: what was learned of the one before does not hold it back."""

from typing import Any
from uuid import UUID

import pytest

from dev.harness.receiver import Receiver, Reply
from services.delivery.worker.health import EndpointHealth
from services.delivery.worker.store import Attempt, Claim, Sum, WorkerStore
from services.domain.states import AttemptOutcome, StatusReason
from services.domain.subscription_changes import Copies
from services.platform.stores import redis
from tests.delivery.world import World, until_true

SOON = 15.0
QUICK: dict[str, Any] = {"retry_base_seconds": 0.05, "retry_limit": 50, "breaker_failures": 3}


def seen(subscription: UUID, endpoint_version: int, *, gone: bool = False) -> Sum:
    """One failure of an endpoint."""
    return Sum(
        subscription_id=subscription,
        endpoint_version=endpoint_version,
        successes=0,
        failures=1,
        unbroken=1,
        probe=None,
        gone=gone,
        too_many=None,
        last_error="the receiver answered 500",
    )


def failed(claim: Claim) -> Attempt:
    return Attempt(
        started_at=claim.claimed_at,
        duration_ms=1,
        status_code=500,
        outcome=AttemptOutcome.HTTP_5XX,
        error_message="the receiver answered 500",
        response_body=None,
    )


async def failures(world: World, subscription: UUID) -> int | None:
    query = "SELECT consecutive_failures FROM subscription_health WHERE subscription_id = $1"
    found: int | None = await world.pool.fetchval(query, subscription)
    return found


async def status(world: World, subscription: UUID) -> str:
    return str(await world.pool.fetchval("SELECT status FROM subscriptions WHERE id = $1", subscription))


async def test_what_waits_behind_the_breaker_of_an_endpoint_goes_to_the_next_one_at_once(
    world: World, receiver: Receiver
) -> None:
    receiver.script(then=500, path="/old")
    subscription = await world.subscription(receiver.url("/old"))
    async with world.running(**QUICK, breaker_cooldown_seconds=300.0, breaker_cooldown_cap_seconds=300.0):
        await world.deliver_many(subscription, 30)

        async def opened() -> bool:
            query = "SELECT breaker FROM subscription_health WHERE subscription_id = $1"
            return bool(await world.pool.fetchval(query, subscription) == "open")

        await until_true(opened, "an open breaker", SOON)
        await world.change_target(subscription, receiver.url("/new"))
        await world.all_in(subscription, "delivered", 30, timeout_seconds=SOON)
    assert len(receiver.on("/new")) == 30
    assert await failures(world, subscription) is None


async def test_requests_that_hang_at_an_endpoint_leave_the_next_one_its_lane(world: World, receiver: Receiver) -> None:
    """They fill the lane until their time-out: without a look at Postgres nothing would be claimed."""
    receiver.script(then=Reply(hang=True), path="/old")
    subscription = await world.subscription(receiver.url("/old"))
    async with world.running(worker_concurrency=128, delivery_timeout_seconds=30.0):
        await world.deliver_many(subscription, 100)
        await receiver.wait_for(32, SOON, path="/old")
        await world.change_target(subscription, receiver.url("/new"))
        await receiver.wait_for(100 - len(receiver.on("/old")), SOON, path="/new")
        receiver.release()


async def test_an_answer_of_the_endpoint_before_neither_disables_nor_counts(world: World, receiver: Receiver) -> None:
    receiver.script(then=Reply(status=410, delay_seconds=1.0), path="/old")
    subscription = await world.subscription(receiver.url("/old"))
    async with world.running(**QUICK):
        await world.deliver_many(subscription, 5)
        await receiver.wait_for(5, SOON, path="/old")
        await world.change_target(subscription, receiver.url("/new"))
        await world.all_in(subscription, "delivered", 5, timeout_seconds=SOON)
    assert len(receiver.on("/new")) == 5
    assert await status(world, subscription) == "active"
    assert await failures(world, subscription) is None


async def test_only_what_was_seen_of_the_current_endpoint_is_added(world: World) -> None:
    settings = world.worker_settings()
    store = WorkerStore(world.pool, settings)
    changed, kept = [await world.subscription("http://127.0.0.1:1/") for _ in range(2)]
    await world.change_target(changed, "http://127.0.0.1:2/")
    verdicts = await store.record_health([seen(changed, 1), seen(kept, 1)], settings)
    assert [verdict.subscription_id for verdict in verdicts] == [kept]
    assert (await failures(world, changed), await failures(world, kept)) == (None, 1)
    await store.record_health([seen(changed, 2)], settings)
    assert await failures(world, changed) == 1


@pytest.mark.parametrize(("endpoint_version", "expected"), [(1, "active"), (2, "disabled")])
async def test_only_the_current_endpoint_disables(world: World, endpoint_version: int, expected: str) -> None:
    subscription = await world.subscription("http://127.0.0.1:1/")
    await world.change_target(subscription, "http://127.0.0.1:2/")
    store = WorkerStore(world.pool, world.worker_settings())
    await store.disable({subscription: StatusReason.GONE}, [seen(subscription, endpoint_version, gone=True)])
    assert await status(world, subscription) == expected


async def test_a_worker_counts_the_failures_of_each_endpoint_by_themselves(world: World) -> None:
    settings = world.worker_settings(**QUICK)
    store = WorkerStore(world.pool, settings)
    subscription = await world.subscription("http://127.0.0.1:1/")
    (old,) = await store.claim(await world.deliver_many(subscription, 1))
    await world.change_target(subscription, "http://127.0.0.1:2/")
    (new,) = await store.claim(await world.deliver_many(subscription, 1))
    async with redis.client(settings) as client:
        health = EndpointHealth(store, settings, Copies(client))
        for claim in (old, old, new, old, old):
            health.note(claim, failed(claim))
        assert await health.flush() == set()
        assert await failures(world, subscription) == 1
        for claim in (new, new):
            health.note(claim, failed(claim))
        assert await health.flush() == {subscription}
