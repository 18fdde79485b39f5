"""What a worker claims and holds."""

import contextlib
from collections.abc import AsyncIterator

import asyncpg

from dev.harness.receiver import Receiver, Reply
from dev.harness.stores import as_superuser
from dev.harness.waiting import wait_until
from services.domain.doorbell import Ringer
from tests.delivery.ringing import RUNG, heard_one, ring
from tests.delivery.world import Counted, World, outcomes, until_true

# Sessions are another role's, of which pg_stat_activity says nothing.
BLOCKED = "SELECT count(*) FROM pg_locks WHERE NOT granted"
# Half a second for requests in flight, the rest for handing back.
SHORT_GRACE = 4.0


async def test_nothing_is_claimed_for_which_there_is_no_slot(world: World, receiver: Receiver, ringer: Ringer) -> None:
    receiver.script(then=Reply(hang=True))
    async with world.worker(worker_concurrency=2, shutdown_grace_seconds=SHORT_GRACE):
        subscription = await world.subscription(receiver.url())
        await ring(ringer, *await world.deliver_many(subscription, 20, due_in=RUNG))
        await receiver.wait_for(2)
        assert await world.statuses(subscription) == {"in_flight": 2, "pending": 18}
        assert receiver.in_flight == 2


async def test_outcomes_that_wait_hold_no_slot_but_bound_what_is_claimed(
    world: World, receiver: Receiver, ringer: Ringer
) -> None:
    async with world.worker(worker_concurrency=1):
        subscription = await world.subscription(receiver.url())
        delivery_ids = await world.deliver_many(subscription, 10, due_in=RUNG)
        async with world.pool.acquire() as connection, connection.transaction():
            await connection.execute("LOCK TABLE delivery_attempts IN EXCLUSIVE MODE")
            await ring(ringer, *delivery_ids)
            await receiver.wait_for(4)
            await wait_until(
                lambda: Counted.now("webhook_worker_recording_outcomes") == 4, what="four outcomes to wait"
            )
            assert await world.statuses(subscription) == {"in_flight": 4, "pending": 6}
        # Once they are recorded, it goes on by itself.
        await world.all_in(subscription, "delivered", 10, timeout_seconds=5)
    assert len(receiver.requests) == 10


async def test_what_was_rung_again_while_it_was_claimed_is_not_claimed_beside_itself(
    world: World, receiver: Receiver, ringer: Ringer
) -> None:
    """Its lease runs out while the first outcome waits to be recorded: the worker must not take it once more."""
    receiver.script(then=Reply(delay_seconds=0.3))
    async with world.worker(worker_concurrency=1):
        subscription = await world.subscription(receiver.url())
        await heard_one(world, ringer, subscription)
        delivery_id = await world.deliver(subscription, due_in=RUNG)
        heard = Counted("webhook_worker_ids_total", source="doorbell")
        async with locked(world, "webhook_deliveries"):
            await ring(ringer, delivery_id, subscription=subscription)
            await until_true(lambda: world.pool.fetchval(BLOCKED), "the claim to wait")
            await ring(ringer, delivery_id, subscription=subscription)
            await wait_until(lambda: heard() == 2, what="the second bell")
        async with locked(world, "delivery_attempts"):
            await receiver.wait_for(2)
            await world.set(delivery_id, status="pending", claim_token=None)
            await until_true(lambda: world.pool.fetchval(BLOCKED), "the outcome to wait")
        assert (await world.in_state(delivery_id))["status"] == "delivered"
    assert len(receiver.requests) == 2


@contextlib.asynccontextmanager
async def locked(world: World, table: str) -> AsyncIterator[None]:
    """Whoever uses the table waits."""
    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


async def test_a_delivery_is_handed_back_when_postgres_fails_before_it_is_sent(
    world: World, receiver: Receiver, ringer: Ringer
) -> None:
    """Two large payloads, and a budget for one: the second is claimed, and read when the first was sent."""
    receiver.script(Reply(delay_seconds=0.5))
    async with world.worker(claimed_payload_bytes=10, large_payload_budget_bytes=100):
        subscription = await world.subscription(receiver.url())
        first = await world.deliver(subscription, b"x" * 100, due_in=RUNG)
        second = await world.deliver(subscription, b"y" * 100, due_in=RUNG)
        await ring(ringer, first, second)
        await receiver.wait_for(1)
        await world.in_state(second, "in_flight")
        async with world.pool.acquire() as connection, connection.transaction():
            await connection.execute("LOCK TABLE webhook_events IN ACCESS EXCLUSIVE MODE")
            await until_true(lambda: world.pool.fetchval(BLOCKED), "the payload to be asked for")
            async with asyncpg.create_pool(as_superuser(world.database_url), min_size=0, max_size=1) as superuser:
                await superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")
            row = await world.in_state(second, "pending")
        assert (row["due"], row["claim_token"], row["attempt_count"]) == (True, None, 0)
        await ring(ringer, second)
        assert (await world.in_state(second))["attempt_count"] == 1
        assert outcomes(await world.attempts(second)) == ["success"]
