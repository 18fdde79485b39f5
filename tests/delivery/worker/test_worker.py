"""What a worker claims and holds."""

import contextlib
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest
import redis.asyncio

from dev.harness.receiver import Receiver, Reply
from dev.harness.stores import as_superuser
from dev.harness.waiting import wait_until
from services.delivery.worker import broker
from services.domain.doorbell import GROUP, PROMPT, Ringer
from tests.delivery import sending
from tests.delivery.world import PATIENT, RUNG, Counted, World, heard_one, outcomes, ring, until_true

# Sessions belong to another role, so pg_stat_activity does not show them.
BLOCKED = "SELECT count(*) FROM pg_locks WHERE NOT granted"
# Half a second for requests in flight, the rest for handing back.
SHORT_GRACE = 4.0
# For a busy machine; without an end, the requests and locks of these tests would last for minutes.
STOPPED_SECONDS = SHORT_GRACE + 40.0


async def test_worker_claims_only_deliveries_that_have_a_slot(world: World, receiver: Receiver, ringer: Ringer) -> None:
    receiver.script(then=Reply(hang=True))
    async with world.worker(worker_concurrency=2, **PATIENT, shutdown_grace_seconds=SHORT_GRACE):
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
            # One of four is left to other tenants.
            await receiver.wait_for(3)
            await wait_until(
                lambda: Counted.now("webhook_worker_recording_outcomes") == 3, what="three outcomes to wait"
            )
            assert await world.statuses(subscription) == {"in_flight": 3, "pending": 7}
        # Once they are recorded, it continues.
        await world.all_in(subscription, "delivered", 10)
    assert len(receiver.requests) == 10


async def test_delivery_rung_for_again_while_claimed_is_not_claimed_twice(
    world: World, receiver: Receiver, ringer: Ringer
) -> None:
    """Its lease expires while the first outcome waits to be recorded: the worker must not claim it again."""
    receiver.script(200, then=Reply(hang=True))
    async with world.worker(worker_concurrency=1, **PATIENT):
        subscription = await world.subscription(receiver.url())
        await heard_one(world, ringer, subscription)
        delivery_id = await world.deliver(subscription, due_in=RUNG)
        heard = Counted("webhook_worker_ids_total", source="doorbell")
        async with locked(world, "delivery_queue"):
            await ring(ringer, delivery_id, subscription=subscription)
            await until_true(lambda: world.pool.fetchval(BLOCKED), "the claim to wait")
            await ring(ringer, delivery_id, subscription=subscription)
            await wait_until(lambda: heard() == 2, what="the second bell")
        async with locked(world, "delivery_attempts"):
            await receiver.wait_for(2)
            await world.put(delivery_id, status="pending")
            receiver.release()
            await until_true(lambda: world.pool.fetchval(BLOCKED), "the outcome to wait")
        assert (await world.in_state(delivery_id))["status"] == "delivered"
    assert len(receiver.requests) == 2


@contextlib.asynccontextmanager
async def locked(world: World, table: str) -> AsyncIterator[None]:
    """Lock the table, so that others wait."""
    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


async def test_a_delivery_is_handed_back_when_postgres_fails_before_it_is_sent(
    world: World, receiver: Receiver, ringer: Ringer
) -> None:
    """Two large payloads, and a budget for one: the second is claimed, and read after the first is sent."""
    receiver.script(Reply(hang=True))
    async with world.worker(claimed_payload_bytes=10, large_payload_budget_bytes=100, **PATIENT):
        subscription = await world.subscription(receiver.url())
        first = await world.deliver(subscription, b"x" * 100, due_in=RUNG)
        second = await world.deliver(subscription, b"y" * 100, due_in=RUNG)
        await ring(ringer, first, second)
        await receiver.wait_for(1)
        await world.in_state(second, "in_flight")
        async with world.pool.acquire() as connection, connection.transaction():
            await connection.execute("LOCK TABLE webhook_events IN ACCESS EXCLUSIVE MODE")
            receiver.release()
            await until_true(lambda: world.pool.fetchval(BLOCKED), "the payload to be asked for")
            async with asyncpg.create_pool(as_superuser(world.database_url), min_size=0, max_size=1) as superuser:
                await superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")
            row = await world.in_state(second, "pending")
        assert (row["due"], row["claim_token"], row["attempt_count"]) == (True, None, 0)
        await ring(ringer, second)
        assert (await world.in_state(second))["attempt_count"] == 1
        assert outcomes(await world.attempts(second)) == ["success"]


# A worker that is told to stop finishes what it can and hands back the rest at once.

# A worker with one slot hears no more bells while 100 ids wait for it. Of bells with 64 ids each it takes two, and
# another one when the endpoint of the first has not responded for a moment, whose ids then wait for nobody else.
ACCEPTED = 3


async def test_a_request_in_flight_is_finished_within_the_grace_period(
    world: World, receiver: Receiver, ringer: Ringer
) -> None:
    receiver.script(then=Reply(delay_seconds=0.8))
    async with world.worker(shutdown_grace_seconds=100.0):
        delivery_id = await world.deliver(await world.subscription(receiver.url()), due_in=RUNG)
        await ring(ringer, delivery_id)
        await receiver.wait_for(1)
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 60
    assert (await world.row(delivery_id))["status"] == "delivered"
    assert outcomes(await world.attempts(delivery_id)) == ["success"]


async def test_a_request_that_hangs_at_the_stop_is_handed_back_with_an_interrupted_attempt(
    world: World, receiver: Receiver, ringer: Ringer
) -> None:
    receiver.script(Reply(hang=True))
    async with world.worker(**PATIENT, shutdown_grace_seconds=SHORT_GRACE):
        delivery_id = await world.deliver(await world.subscription(receiver.url()), due_in=RUNG)
        await ring(ringer, delivery_id)
        await receiver.wait_for(1)
        stopping = time.monotonic()
    assert time.monotonic() - stopping < STOPPED_SECONDS
    row = await world.row(delivery_id)
    assert (row["status"], row["due"], row["claim_token"]) == ("pending", True, None)
    assert (row["attempt_count"], row["failure_count"], row["interrupted_count"]) == (1, 0, 0)
    (attempt,) = await world.attempts(delivery_id)
    assert (attempt["number"], attempt["outcome"], attempt["final"]) == (1, "interrupted", False)
    assert attempt["duration_ms"] >= 400
    async with world.worker():
        await ring(ringer, delivery_id)
        assert (await world.in_state(delivery_id))["status"] == "delivered"
    assert outcomes(await world.attempts(delivery_id)) == ["interrupted", "success"]


async def test_a_repeated_request_that_hangs_at_the_stop_leaves_both_attempts(world: World, ringer: Ringer) -> None:
    async def answer(connection: sending.Connection) -> None:
        await connection.request()
        if len(server.connections) == 1:
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await connection.request()
        else:
            await connection.closed()

    async with sending.serving(answer) as server:
        subscription = await world.subscription(server.url())
        async with world.worker(**PATIENT, shutdown_grace_seconds=SHORT_GRACE):
            await heard_one(world, ringer, subscription)
            delivery_id = await world.deliver(subscription, due_in=RUNG)
            await ring(ringer, delivery_id)
            await wait_until(lambda: len(server.connections) == 2, what="the repeated request")
    assert outcomes(await world.attempts(delivery_id)) == ["connection_lost", "interrupted"]
    assert (await world.row(delivery_id))["attempt_count"] == 2


async def test_ids_and_bells_that_were_not_claimed_are_due_at_once_after_a_stop(
    world: World, receiver: Receiver, ringer: Ringer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "READ_MESSAGES", 1)
    monkeypatch.setattr(broker, "READ_MESSAGES_IN_HASTE", 1)
    receiver.script(then=Reply(hang=True))
    for _ in range(8):
        await ring(ringer, *await world.deliver_many(await world.subscription(receiver.url()), 64, due_in=RUNG))
    async with world.worker(worker_concurrency=1, **PATIENT, shutdown_grace_seconds=SHORT_GRACE):
        await receiver.wait_for(1)
        async with redis.asyncio.Redis.from_url(world.redis_url) as client:

            async def all_taken() -> bool:
                pending = await client.xpending(PROMPT, GROUP)
                return bool(pending["pending"]) and await client.xlen(PROMPT) == 8 - ACCEPTED

            await until_true(all_taken, "bells to be taken for which there is room, and others to be read")
        stopping = time.monotonic()
    assert time.monotonic() - stopping < STOPPED_SECONDS
    async with redis.asyncio.Redis.from_url(world.redis_url) as client:
        unread = await client.xlen(PROMPT)
    assert unread < 8 - ACCEPTED
    due = await world.pool.fetchval(
        "SELECT count(*) FROM deliveries WHERE status = 'pending' AND due_at <= clock_timestamp()"
    )
    assert due == 64 * (8 - unread)
    assert len(receiver.requests) == 1


@pytest.mark.without_redis
async def test_deliveries_that_a_worker_took_from_postgres_are_due_at_once_after_it_stops(
    world: World, receiver: Receiver
) -> None:
    receiver.script(then=Reply(hang=True))
    async with world.worker(
        redis_url="redis://127.0.0.1:1/0", worker_concurrency=1, **PATIENT, shutdown_grace_seconds=SHORT_GRACE
    ):
        subscription = await world.subscription(receiver.url())
        await world.deliver_many(subscription, 400)
        await receiver.wait_for(1)
    due = await world.pool.fetchval(
        "SELECT count(*) FROM deliveries WHERE status = 'pending' AND due_at <= clock_timestamp()"
    )
    scheduled = (await world.statuses(subscription)).get("scheduled", 0)
    assert due + scheduled == 400


async def test_a_worker_stops_in_time_while_its_outcomes_cannot_be_recorded(
    world: World, receiver: Receiver, ringer: Ringer
) -> None:
    async with world.pool.acquire() as connection, connection.transaction():
        async with world.worker(shutdown_grace_seconds=SHORT_GRACE):
            delivery_id = await world.deliver(await world.subscription(receiver.url()), due_in=RUNG)
            await connection.execute("LOCK TABLE delivery_attempts IN EXCLUSIVE MODE")
            await ring(ringer, delivery_id)
            await receiver.wait_for(1)
            stopping = time.monotonic()
        assert time.monotonic() - stopping < STOPPED_SECONDS
