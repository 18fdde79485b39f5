"""Leases of a worker's deliveries: renewed while it owns them; nothing is sent under a lost one."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
import structlog

from dev.harness.receiver import Receiver, Reply
from dev.harness.waiting import PATIENCE_SECONDS, wait_until
from services.delivery.worker.claims import Outcome
from services.delivery.worker.deliverer import ClaimLost, Deliverer, Held
from services.delivery.worker.outcomes import Recorder
from services.delivery.worker.scheduler import Scheduler
from services.delivery.worker.store import WorkerStore
from services.domain.doorbell import Ringer
from services.domain.gates import Gates
from services.domain.states import DeliveryReason, DeliveryStatus
from services.platform import ids
from services.platform.stores import redis
from services.platform.stores.signals import Signals
from tests.delivery import sending
from tests.delivery.world import LOOPBACK, PATIENT, RUNG, Counted, World, attempt, ring, until_true


@pytest.fixture
async def scheduler(world: World) -> AsyncIterator[tuple[Scheduler, WorkerStore]]:
    """A scheduler and its store, with nothing running."""
    settings = world.worker_settings(lease_seconds=6.0, delivery_timeout_seconds=1.0)
    store = WorkerStore(world.pool, settings)
    async with sending.sender(LOOPBACK) as sender, redis.client(settings) as client:
        heard = Signals(client)
        deliverer, recorder = Deliverer(store, sending.destinations(sender), settings), Recorder(store, heard, bound=10)
        yield Scheduler(store, deliverer, recorder, Gates(heard), heard, settings, lambda *_: None), store


async def hold(world: World, store: WorkerStore, scheduler: Scheduler, *, lease_left: float) -> Held:
    """Give the scheduler a claim whose lease has this many seconds left."""
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
    world: World, scheduler: tuple[Scheduler, WorkerStore]
) -> None:
    old = await hold(world, scheduler[1], scheduler[0], lease_left=2.9)
    fresh = await hold(world, scheduler[1], scheduler[0], lease_left=60)
    before = [await world.row(held.claim.id) for held in (old, fresh)]
    async with renewing(scheduler[0]):
        await wait_until(lambda: old.lease_until > time.monotonic() + 5, what="a renewal")
    after = [await world.row(held.claim.id) for held in (old, fresh)]
    assert (after[0]["lease_until"] - before[0]["lease_until"]).total_seconds() > 0.5
    assert after[1] == before[1]


async def test_the_lease_of_a_foreign_claim_is_never_renewed(
    world: World, scheduler: tuple[Scheduler, WorkerStore]
) -> None:
    foreign = await hold(world, scheduler[1], scheduler[0], lease_left=1)
    pending = await hold(world, scheduler[1], scheduler[0], lease_left=1)
    own = await hold(world, scheduler[1], scheduler[0], lease_left=1)
    await world.set(foreign.claim.id, claim_token=ids.new())
    await world.put(pending.claim.id, status="pending")
    before = [await world.row(held.claim.id) for held in (foreign, pending)]
    leases = [held.lease_until for held in (foreign, pending)]
    async with renewing(scheduler[0]):
        await wait_until(lambda: own.lease_until > time.monotonic() + 5, what="a renewal")
    assert [await world.row(held.claim.id) for held in (foreign, pending)] == before
    assert [held.lease_until for held in (foreign, pending)] == leases


async def test_renewals_go_on_after_postgres_refused_one(
    world: World, scheduler: tuple[Scheduler, WorkerStore]
) -> None:
    held = await hold(world, scheduler[1], scheduler[0], lease_left=1)
    await world.pool.execute("ALTER TABLE delivery_queue RENAME COLUMN claim_token TO gone")
    async with renewing(scheduler[0]):
        with structlog.testing.capture_logs() as logs:
            await wait_until(lambda: logs, what="a renewal to be refused")
        await world.pool.execute("ALTER TABLE delivery_queue RENAME COLUMN gone TO claim_token")
        await wait_until(lambda: held.lease_until > time.monotonic() + 5, what="a renewal")


async def test_request_is_not_sent_under_a_lost_lease(
    world: World, receiver: Receiver, scheduler: tuple[Scheduler, WorkerStore]
) -> None:
    held = await hold(world, scheduler[1], scheduler[0], lease_left=1)
    await world.pool.execute("UPDATE subscriptions SET target_url = $1", receiver.url())
    await world.set(held.claim.id, claim_token=ids.new())
    with pytest.raises(ClaimLost):
        await scheduler[0]._deliverer.deliver(held)
    assert receiver.requests == []


async def test_delivery_held_by_a_worker_for_longer_than_a_lease_is_sent_once(
    world: World, receiver: Receiver, ringer: Ringer
) -> None:
    """Large payloads take turns, and each receiver hangs: the last one is held for longer than its lease."""
    receiver.script(then=Reply(hang=True))
    renewed = Counted("webhook_lease_renewals_total")
    async with (
        world.delivery(lease_seconds=6.0),
        world.worker(
            lease_seconds=6.0,
            delivery_timeout_seconds=1.0,
            claimed_payload_bytes=10,
            large_payload_budget_bytes=100,
            retry_limit=0,
        ),
    ):
        subscription = await world.subscription(receiver.url())
        for _ in range(8):
            await world.deliver(subscription, b"x" * 100)
        await world.all_in(subscription, "failed", 8)
    assert renewed() > 0
    # On a busy machine the time of a request may be up before the receiver has it.
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == len(receiver.requests) <= 8
    rows = await world.pool.fetch("SELECT outcome, number FROM delivery_attempts")
    assert {(row["outcome"], row["number"]) for row in rows} == {("timeout", 1)}


@pytest.mark.parametrize("status", [200, 500])
async def test_an_outcome_under_a_lost_claim_is_recorded_and_only_a_success_changes_the_delivery(
    world: World, receiver: Receiver, ringer: Ringer, status: int
) -> None:
    receiver.script(Reply(status=status, hang=True))
    async with world.worker(**PATIENT):
        delivery_id = await world.deliver(await world.subscription(receiver.url()), due_in=RUNG)
        lost = Counted("webhook_claims_lost_total")
        await ring(ringer, delivery_id)
        await receiver.wait_for(1)
        token = await world.lease(delivery_id, seconds=RUNG)
        receiver.release()

        async def recorded() -> bool:
            return bool(await world.attempts(delivery_id))

        await until_true(recorded, "the attempt")
        (attempt,) = await world.attempts(delivery_id)
        assert (attempt["number"], attempt["status_code"]) == (1, status)
        # A success ends its delivery by a separate statement.
        row = await world.in_state(delivery_id, "delivered" if status == 200 else "in_flight")
        if status == 200:
            assert (row["status"], row["claim_token"]) == ("delivered", None)
        else:
            assert (row["status"], row["claim_token"]) == ("in_flight", token)
            assert (row["attempt_count"], row["failure_count"]) == (1, 0)
            await wait_until(lambda: lost() == 1, what="the loss to be counted")


# -- outcomes that Postgres refuses --


async def test_an_outcome_that_cannot_be_recorded_keeps_no_other_from_being_recorded(
    world: World, scheduler: tuple[Scheduler, WorkerStore]
) -> None:
    """Neither one that the driver cannot encode nor one that the server refuses."""
    subscription = await world.subscription("http://127.0.0.1:1/")
    claims = await scheduler[1].claim(await world.deliver_many(subscription, 4, due_in=RUNG))
    recorder = Recorder(scheduler[1], scheduler[0]._signals, bound=10)
    made = [
        Outcome(
            claim=claim,
            status=DeliveryStatus.FAILED,
            reason=DeliveryReason.RETRIES_EXHAUSTED,
            attempts=[attempt("http_4xx", claim, status_code=status_code, error_message=message)],
        )
        for claim, status_code, message in zip(
            claims,
            [400, 99_999, 400, 400],
            ["a lone surrogate: \udcff", "out of range", "a NUL: \x00", "fine"],
            strict=True,
        )
    ]
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*(recorder.record(outcome) for outcome in made))
    states = [(await world.row(claim.id))["status"] for claim in claims]
    assert states == ["in_flight", "in_flight", "in_flight", "failed"]


async def test_outcomes_of_a_tenant_that_are_not_recorded_leave_others_something_to_claim(
    world: World, scheduler: tuple[Scheduler, WorkerStore]
) -> None:
    made, store = scheduler
    held = await hold(world, store, made, lease_left=60)
    most = made._max_held
    while (more := made._may_hold("busy")) > 0:
        made._held |= {ids.new(): held for _ in range(more)}
        made._held_of["busy"] += more
    assert most * 3 // 4 < len(made._held) < most
    assert made._may_hold("quiet") > 0
    # The first claims of endpoints whose tenants are not known leave something, too.
    while (more := made._may_hold("")) > 0:
        made._held |= {ids.new(): held for _ in range(more)}
    assert made._may_hold("quiet") > 0
