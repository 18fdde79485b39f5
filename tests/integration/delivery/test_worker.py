"""A worker: what it claims, holds, hands back, and does about bells that say nothing new."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
import redis.asyncio

from services.common import errors, ids
from services.common.doorbell import GROUP, STREAM, Broker, Ringer
from services.delivery.worker import aiohttp_sender
from services.delivery.worker.deliverer import ClaimLost, Deliverer, Held
from services.delivery.worker.outcomes import Recorder
from services.delivery.worker.scheduler import Scheduler
from services.delivery.worker.store import Store
from tests.integration.delivery import raw
from tests.integration.delivery.world import LOOPBACK, Counted, World, outcomes
from tests.support.receiver import Receiver, Reply
from tests.support.waiting import wait_until

BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
# Of a worker that is told to stop: half a second for requests in flight, the rest for handing back.
SHORT_GRACE = 4.0
# Bells of 64 ids that a worker with one slot takes in: it holds up to 100 ids, and finds that when it has more.
ACCEPTED = 2
# Rung and not yet due: what ingest stores when it rings.
RUNG = 10.0


async def until_true(predicate: Any, what: str, timeout_seconds: float = 10.0) -> None:
    await wait_until(predicate, timeout_seconds, what=what)


@pytest.fixture
async def ringer(world: World) -> AsyncIterator[Ringer]:
    """Rings as ingest does."""
    broker = Broker(world.delivery_settings(), socket_timeout=1)
    yield Ringer(broker, world.pool)
    await broker.shutdown()


async def ring(ringer: Ringer, *delivery_ids: UUID) -> None:
    for start in range(0, len(delivery_ids), 64):
        assert await ringer.try_ring(delivery_ids[start : start + 64])


# -- bells --


async def test_a_bell_is_heard_at_once(world: World, receiver: Receiver, ringer: Ringer) -> None:
    async with world.worker():
        subscription = await world.subscription(receiver.url())
        await heard_one(world, ringer, subscription)
        delivery_id = await world.deliver(subscription, due_in=RUNG)
        started = time.monotonic()
        await ring(ringer, delivery_id)
        await receiver.wait_for(2)
        assert time.monotonic() - started < 0.5
        assert (await world.in_state(delivery_id))["status"] == "delivered"


async def heard_one(world: World, ringer: Ringer, subscription: UUID) -> None:
    """Waits until the worker hears bells: from then on it does not look in Postgres."""
    delivery_id = await world.deliver(subscription, due_in=RUNG)
    await ring(ringer, delivery_id)
    await world.in_state(delivery_id)


async def test_a_bell_for_nothing_is_a_no_op_and_counted(world: World, receiver: Receiver, ringer: Ringer) -> None:
    async with world.worker():
        subscription = await world.subscription(receiver.url())
        ended = [await world.deliver(subscription, status=status) for status in ("delivered", "failed", "cancelled")]
        scheduled = await world.deliver(subscription, status="scheduled", due_in=60)
        leased = await world.deliver(subscription, due_in=60)
        await world.lease(leased, seconds=60)
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


async def test_bells_that_are_not_ours_keep_nobody_from_hearing_the_next(
    world: World, receiver: Receiver, ringer: Ringer
) -> None:
    async with world.worker(), redis.asyncio.Redis.from_url(world.redis_url) as client:
        subscription = await world.subscription(receiver.url())
        await heard_one(world, ringer, subscription)
        for fields in (
            {"data": "x"},
            {"other": "x"},
            {"data": '{"task_id":"1","task_name":"other","labels":{},"args":[],"kwargs":{}}'},
        ):
            await client.xadd(STREAM, fields)
        delivery_id = await world.deliver(subscription, due_in=RUNG)
        await ring(ringer, delivery_id)
        assert (await world.in_state(delivery_id))["status"] == "delivered"


async def test_a_stream_that_was_flushed_is_heard_again(world: World, receiver: Receiver, ringer: Ringer) -> None:
    async with world.worker(), redis.asyncio.Redis.from_url(world.redis_url) as client:
        subscription = await world.subscription(receiver.url())
        await heard_one(world, ringer, subscription)
        await client.flushdb()
        delivery_id = await world.deliver(subscription, due_in=60)

        async def rung_until_heard() -> bool:
            await ring(ringer, delivery_id)
            return bool((await world.row(delivery_id))["status"] == "delivered")

        await until_true(rung_until_heard, "a bell to be heard")


async def test_heard_bells_are_taken_off_the_stream(world: World, receiver: Receiver, ringer: Ringer) -> None:
    async with world.worker(), redis.asyncio.Redis.from_url(world.redis_url) as client:
        subscription = await world.subscription(receiver.url())
        delivery_ids = await world.deliver_many(subscription, 200, due_in=RUNG)
        await ring(ringer, *delivery_ids)
        await world.all_in(subscription, "delivered", 200)

        async def empty() -> bool:
            pending = await client.xpending(STREAM, GROUP)
            return await client.xlen(STREAM) == 0 and pending["pending"] == 0

        await until_true(empty, "the stream to be empty")


# -- what it holds --


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


async def test_what_was_rung_twice_and_lost_its_lease_is_not_claimed_beside_itself(
    world: World, receiver: Receiver, ringer: Ringer
) -> None:
    """The second bell waits behind a full worker; then the row is pending again, and the first claim's outcome comes."""
    receiver.script(then=Reply(delay_seconds=0.6))
    async with world.worker(worker_concurrency=2):
        first, second = await world.deliver_many(await world.subscription(receiver.url()), 2, due_in=RUNG)
        await ring(ringer, first, second, first)
        await receiver.wait_for(2)
        await ring(ringer, first)
        await world.set(first, status="pending", claim_token=None)
        await world.in_state(second)
        assert (await world.in_state(first))["status"] == "delivered"
    assert len(receiver.requests) == 2


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
            await world.pool.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            row = await world.in_state(second, "pending")
        assert (row["due"], row["claim_token"], row["attempt_count"]) == (True, None, 0)
        await ring(ringer, second)
        assert (await world.in_state(second))["attempt_count"] == 1
        assert outcomes(await world.attempts(second)) == ["success"]


# -- leases --


@pytest.fixture
async def scheduler(world: World) -> AsyncIterator[tuple[Scheduler, Store]]:
    """A scheduler and its store, with nothing running."""
    settings = world.worker_settings(lease_seconds=6.0)
    store = Store(world.pool, settings)
    async with aiohttp_sender.sender(LOOPBACK, max_response_bytes=1) as sender:
        yield Scheduler(store, Deliverer(store, sender, settings), Recorder(store, bound=10), settings), store


async def hold(world: World, store: Store, scheduler: Scheduler, *, lease_left: float) -> Held:
    """A claim in the hands of the scheduler, whose lease has so many seconds left."""
    delivery_id = await world.deliver(await world.subscription("http://127.0.0.1:1/"), due_in=RUNG)
    (claim,) = await store.claim([delivery_id])
    held = Held(claim=claim, lease_until=time.monotonic() + lease_left)
    scheduler._held[claim.id] = held
    return held


@contextlib.asynccontextmanager
async def renewing(scheduler: Scheduler) -> AsyncIterator[None]:
    task = asyncio.create_task(scheduler.renew_leases())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_lease_that_is_half_used_up_is_renewed_and_a_fresh_one_is_not(
    world: World, scheduler: tuple[Scheduler, Store]
) -> None:
    old = await hold(world, scheduler[1], scheduler[0], lease_left=2.9)
    fresh = await hold(world, scheduler[1], scheduler[0], lease_left=60)
    before = [await world.row(held.claim.id) for held in (old, fresh)]
    async with renewing(scheduler[0]):
        await wait_until(lambda: old.lease_until > time.monotonic() + 5, what="a renewal")
    after = [await world.row(held.claim.id) for held in (old, fresh)]
    assert (after[0]["next_attempt_at"] - before[0]["next_attempt_at"]).total_seconds() > 0.5
    assert after[1] == before[1]


async def test_the_lease_of_a_foreign_claim_is_never_renewed(world: World, scheduler: tuple[Scheduler, Store]) -> None:
    foreign = await hold(world, scheduler[1], scheduler[0], lease_left=1)
    pending = await hold(world, scheduler[1], scheduler[0], lease_left=1)
    own = await hold(world, scheduler[1], scheduler[0], lease_left=1)
    await world.set(foreign.claim.id, claim_token=ids.new())
    await world.set(pending.claim.id, status="pending", claim_token=None)
    before = [await world.row(held.claim.id) for held in (foreign, pending)]
    leases = [held.lease_until for held in (foreign, pending)]
    async with renewing(scheduler[0]):
        await wait_until(lambda: own.lease_until > time.monotonic() + 5, what="a renewal")
    assert [await world.row(held.claim.id) for held in (foreign, pending)] == before
    assert [held.lease_until for held in (foreign, pending)] == leases


async def test_renewals_go_on_after_postgres_refused_one(world: World, scheduler: tuple[Scheduler, Store]) -> None:
    held = await hold(world, scheduler[1], scheduler[0], lease_left=1)
    await world.pool.execute("ALTER TABLE webhook_deliveries RENAME COLUMN claim_token TO gone")
    async with renewing(scheduler[0]):
        await asyncio.sleep(1.2)
        await world.pool.execute("ALTER TABLE webhook_deliveries RENAME COLUMN gone TO claim_token")
        await wait_until(lambda: held.lease_until > time.monotonic() + 5, what="a renewal")


async def test_nothing_is_sent_under_a_lease_that_was_lost(
    world: World, receiver: Receiver, scheduler: tuple[Scheduler, Store]
) -> None:
    held = await hold(world, scheduler[1], scheduler[0], lease_left=1)
    await world.pool.execute("UPDATE subscriptions SET target_url = $1", receiver.url())
    await world.set(held.claim.id, claim_token=ids.new())
    with pytest.raises(ClaimLost):
        await scheduler[0]._deliverer.deliver(held)
    assert receiver.requests == []


async def test_what_waits_in_a_workers_hands_for_longer_than_a_lease_is_sent_once(
    world: World, receiver: Receiver, ringer: Ringer
) -> None:
    """Large payloads take turns, and each receiver hangs: the last one is in hand for longer than its lease."""
    receiver.script(then=Reply(hang=True))
    renewed = Counted("webhook_lease_renewals_total")
    async with (
        world.delivery(lease_seconds=6.0),
        world.worker(lease_seconds=6.0, claimed_payload_bytes=10, large_payload_budget_bytes=100, retry_limit=0),
    ):
        subscription = await world.subscription(receiver.url())
        for _ in range(8):
            await world.deliver(subscription, b"x" * 100)
        await world.all_in(subscription, "failed", 8)
    assert renewed() > 0
    assert len(receiver.requests) == 8
    rows = await world.pool.fetch("SELECT outcome, number FROM delivery_attempts")
    assert {(row["outcome"], row["number"]) for row in rows} == {("timeout", 1)}


@pytest.mark.parametrize("status", [200, 500])
async def test_an_outcome_under_a_lost_claim_is_recorded_and_only_a_success_changes_the_delivery(
    world: World, receiver: Receiver, ringer: Ringer, status: int
) -> None:
    receiver.script(Reply(status=status, delay_seconds=0.5))
    async with world.worker():
        delivery_id = await world.deliver(await world.subscription(receiver.url()), due_in=RUNG)
        lost = Counted("webhook_claims_lost_total")
        await ring(ringer, delivery_id)
        await receiver.wait_for(1)
        token = await world.lease(delivery_id, seconds=60)

        async def recorded() -> bool:
            return bool(await world.attempts(delivery_id))

        await until_true(recorded, "the attempt")
        (attempt,) = await world.attempts(delivery_id)
        assert (attempt["number"], attempt["status_code"]) == (1, status)
        row = await world.row(delivery_id)
        if status == 200:
            assert (row["status"], row["claim_token"]) == ("delivered", None)
        else:
            assert (row["status"], row["claim_token"]) == ("in_flight", token)
            assert (row["attempt_count"], row["failure_count"]) == (2, 0)
            await wait_until(lambda: lost() == 1, what="the loss to be counted")


# -- the stop --


async def test_a_request_in_flight_is_finished_within_the_grace_period(
    world: World, receiver: Receiver, ringer: Ringer
) -> None:
    receiver.script(then=Reply(delay_seconds=0.8))
    async with world.worker():
        delivery_id = await world.deliver(await world.subscription(receiver.url()), due_in=RUNG)
        await ring(ringer, delivery_id)
        await receiver.wait_for(1)
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 3
    assert (await world.row(delivery_id))["status"] == "delivered"
    assert outcomes(await world.attempts(delivery_id)) == ["success"]


async def test_a_request_that_hangs_at_the_stop_is_handed_back_with_an_interrupted_attempt(
    world: World, receiver: Receiver, ringer: Ringer
) -> None:
    receiver.script(Reply(hang=True))
    settings = {"delivery_timeout_seconds": 30.0, "shutdown_grace_seconds": SHORT_GRACE}
    async with world.worker(**settings):
        delivery_id = await world.deliver(await world.subscription(receiver.url()), due_in=60)
        await ring(ringer, delivery_id)
        await receiver.wait_for(1)
        stopping = time.monotonic()
    assert time.monotonic() - stopping < SHORT_GRACE
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
    async def answer(connection: raw.Connection) -> None:
        await connection.request()
        if len(server.connections) == 1:
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await connection.request()
        else:
            await connection.closed()

    async with raw.serving(answer) as server:
        subscription = await world.subscription(server.url())
        async with world.worker(delivery_timeout_seconds=30.0, shutdown_grace_seconds=SHORT_GRACE):
            await heard_one(world, ringer, subscription)
            delivery_id = await world.deliver(subscription, due_in=60)
            await ring(ringer, delivery_id)
            await wait_until(lambda: len(server.connections) == 2, what="the repeated request")
    assert outcomes(await world.attempts(delivery_id)) == ["connection_lost", "interrupted"]
    assert (await world.row(delivery_id))["attempt_count"] == 2


async def test_ids_and_bells_that_were_not_claimed_are_due_at_once_after_a_stop(
    world: World, receiver: Receiver, ringer: Ringer
) -> None:
    receiver.script(then=Reply(hang=True))
    delivery_ids = await world.deliver_many(await world.subscription(receiver.url()), 512, due_in=60)
    await ring(ringer, *delivery_ids)
    async with world.worker(worker_concurrency=1, delivery_timeout_seconds=30.0, shutdown_grace_seconds=SHORT_GRACE):
        await receiver.wait_for(1)
        async with redis.asyncio.Redis.from_url(world.redis_url) as client:

            async def all_read() -> bool:
                pending = await client.xpending(STREAM, GROUP)
                return bool(pending["pending"] == 8 - ACCEPTED)

            await until_true(all_read, "all bells to be read, and those to be taken for which there is room")
        stopping = time.monotonic()
    assert time.monotonic() - stopping < SHORT_GRACE
    due = await world.pool.fetchval(
        "SELECT count(*) FROM webhook_deliveries WHERE status = 'pending' AND next_attempt_at <= now()"
    )
    assert due == 512
    assert len(receiver.requests) == 1


async def test_what_a_worker_took_from_postgres_is_due_at_once_after_a_stop(world: World, receiver: Receiver) -> None:
    receiver.script(then=Reply(hang=True))
    async with world.worker(
        redis_url="redis://127.0.0.1:1/0", worker_concurrency=1, shutdown_grace_seconds=SHORT_GRACE
    ):
        subscription = await world.subscription(receiver.url())
        await world.deliver_many(subscription, 400)
        await receiver.wait_for(1)
    due = await world.pool.fetchval(
        "SELECT count(*) FROM webhook_deliveries WHERE next_attempt_at <= now() AND status <> 'scheduled'"
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
        assert time.monotonic() - stopping < SHORT_GRACE + 2


# -- outcomes that Postgres refuses --


async def test_an_outcome_that_cannot_be_recorded_keeps_no_other_from_being_recorded(
    world: World, scheduler: tuple[Scheduler, Store]
) -> None:
    """Neither one that the driver cannot encode nor one that the server refuses."""
    from services.delivery.worker.store import Attempt, Outcome  # noqa: PLC0415

    subscription = await world.subscription("http://127.0.0.1:1/")
    claims = await scheduler[1].claim(await world.deliver_many(subscription, 3, due_in=RUNG))
    recorder = Recorder(scheduler[1], bound=10)
    messages = ["a lone surrogate: \udcff", "a NUL: \x00", "fine"]
    made = [
        Outcome(
            claim=claim,
            status="failed",
            reason="retries_exhausted",
            attempts=[
                Attempt(
                    number=1,
                    started_at=claim.claimed_at,
                    duration_ms=1,
                    status_code=None,
                    outcome="connect",
                    error_message=message,
                    response_body=None,
                )
            ],
        )
        for claim, message in zip(claims, messages, strict=True)
    ]
    async with asyncio.timeout(5):
        await asyncio.gather(*(recorder.record(outcome) for outcome in made))
    assert (await world.row(claims[2].id))["status"] == "failed"
    assert (await world.row(claims[0].id))["status"] == "in_flight"
    assert errors.classify(ValueError()) is None
