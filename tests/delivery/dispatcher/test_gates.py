"""A bad endpoint never affects others: its deliveries are held in Postgres, unchanged, without cost to others."""

import asyncio
import dataclasses
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import structlog

from dev.harness.receiver import Receiver, Reply
from dev.harness.waiting import wait_until
from protos.webhook.v1 import deliveries_pb2 as pb
from services.delivery.destinations.http.sender import HttpSender
from services.delivery.worker.deliverer import Deliverer
from services.delivery.worker.outcomes import Recorder
from services.delivery.worker.scheduler import Scheduler
from services.delivery.worker.store import WorkerStore
from services.domain.doorbell import Ringer
from services.domain.gates import Gates
from services.domain.states import StatusReason
from services.platform import ids
from services.platform.stores import redis
from services.platform.stores.signals import Signals
from tests.delivery import sending
from tests.delivery.world import PATIENT, RUNG, Client, Counted, World, one_failure, outcomes, ring, until_true

TURNS = "webhook_dispatcher_turn_duration_seconds_count"
# A breaker that opens after the third failure and then waits for the test.
BREAKER: dict[str, Any] = {
    "worker_concurrency": 4,
    "retry_base_seconds": 0.05,
    "retry_limit": 50,
    "breaker_failures": 3,
    "breaker_cooldown_seconds": 100.0,
    "breaker_cooldown_cap_seconds": 10_000.0,
}


@pytest.fixture
async def away(world: World) -> World:
    """A world without Redis."""
    return dataclasses.replace(world, redis_url="redis://127.0.0.1:1/0")


async def health(world: World, subscription: UUID) -> dict[str, Any]:
    """Return the state of an endpoint, with the length of its cool-down; empty if there is none."""
    query = (
        "SELECT *, extract(epoch FROM probe_at - breaker_since)::float8 AS cooldown"
        " FROM subscription_health WHERE subscription_id = $1"
    )
    row = await world.pool.fetchrow(query, subscription)
    return dict(row) if row else {}


async def breaker(world: World, subscription: UUID, state: str, *, openings: int | None = None) -> dict[str, Any]:
    """Wait until a breaker is in this state, after `openings` openings if given, and return its row."""
    found: dict[str, Any] = {}

    async def reached() -> bool:
        found.update(await health(world, subscription))
        return found.get("breaker") == state and openings in {None, found["openings"]}

    await until_true(reached, f"a breaker that is {state}")
    return found


async def open_breaker(world: World, subscription: UUID) -> None:
    """Open a breaker as of a minute ago, for an hour."""
    await world.pool.execute(
        "INSERT INTO subscription_health (subscription_id, breaker, breaker_since, breaker_reason, probe_at, openings,"
        " consecutive_failures, failing_since) VALUES ($1, 'open', now() - interval '1 minute', '10 failures in a row',"
        " now() + interval '1 hour', 1, 10, now() - interval '1 minute')",
        subscription,
    )


async def cool_down(world: World, subscription: UUID) -> None:
    """End a breaker's cool-down."""
    await world.pool.execute("UPDATE subscription_health SET probe_at = now() WHERE subscription_id = $1", subscription)


async def rows(world: World, subscription: UUID) -> list[asyncpg.Record]:
    """Return the row versions of a subscription's deliveries: equal if none was written."""
    found: list[asyncpg.Record] = await world.pool.fetch(
        "SELECT d.id, d.xmin::text AS written, q.xmin::text AS queued, q.claim_token, q.due_at,"
        # A worker has yet to hear of it.
        " q.claim_token IS NULL AND NOT q.scheduled AND q.due_at > clock_timestamp() AS rung,"
        " coalesce(q.attempt_count, d.attempt_count) AS attempt_count"
        " FROM webhook_deliveries d LEFT JOIN delivery_queue q ON q.delivery_id = d.id"
        " WHERE d.subscription_id = $1 ORDER BY d.id",
        subscription,
    )
    return found


async def at_rest(world: World, subscription: UUID) -> list[asyncpg.Record]:
    """Wait until no delivery of a subscription is in flight or held by a worker, and return its rows."""
    found: list[asyncpg.Record] = []

    async def resting() -> bool:
        nonlocal found
        found = await rows(world, subscription)
        for _ in range(5):
            await asyncio.sleep(0.1)
            if await rows(world, subscription) != found:
                return False
        return all(row["claim_token"] is None and not row["rung"] for row in found)

    await until_true(resting, "the deliveries to be at rest")
    return found


async def some_turns(number: int = 8) -> None:
    """Wait until dispatchers have finished this many turns from now."""
    turns = Counted(TURNS)
    await wait_until(lambda: turns() >= number, what=f"{number} turns")


async def set_status(world: World, subscription: UUID, status: str) -> None:
    """Pause, disable, or enable a subscription as ingest does."""
    await world.pool.execute("UPDATE subscriptions SET status = $2 WHERE id = $1", subscription, status)


async def limit_rate(world: World, subscription: UUID, rate: float, burst: int | None = None) -> None:
    await world.pool.execute(
        "UPDATE subscriptions SET rate_limit_per_second = $2, rate_limit_burst = $3 WHERE id = $1",
        subscription, rate, burst,
    )  # fmt: skip


async def held_by(world: World, client: Client, delivery_id: UUID) -> str:
    """Return what the API shows of a delivery."""
    request = pb.GetDeliveryRequest(tenant_id=world.tenant_id, delivery_id=str(delivery_id))
    return (await client.GetDelivery(request)).delivery.held_by


async def held_by_is(world: World, client: Client, delivery_id: UUID, reason: str) -> None:
    async def so() -> bool:
        return await held_by(world, client, delivery_id) == reason

    await until_true(so, f"held_by {reason}")


async def total_attempts(world: World, subscription: UUID) -> int:
    query = "SELECT sum(attempt_count) FROM deliveries WHERE subscription_id = $1"
    return int(await world.pool.fetchval(query, subscription))


# -- bounds --


async def test_an_endpoint_that_hangs_holds_its_bound_and_no_other_endpoint(world: World, receiver: Receiver) -> None:
    receiver.script(then=Reply(hang=True), path="/hang")
    hanging, other = await world.subscription(receiver.url("/hang")), await world.subscription(receiver.url())
    await world.deliver_many(hanging, 200)
    async with world.running(worker_concurrency=16, **PATIENT):
        await receiver.wait_for(12, path="/hang")
        await world.deliver_many(other, 50)
        await world.all_in(other, "delivered", 50)
        assert len(receiver.on("/hang")) == 12
        held = await world.statuses(hanging)
        assert held.get("in_flight", 0) <= 13  # one may be on its way back
        assert (
            await world.pool.fetchval("SELECT count(*) FROM delivery_attempts WHERE subscription_id = $1", hanging) == 0
        )
        receiver.release()
        await world.all_in(hanging, "delivered", 200)
        assert await total_attempts(world, hanging) == 200


async def test_a_turn_that_comes_to_nothing_is_not_a_claim(
    world: World, receiver: Receiver, sender: HttpSender
) -> None:
    settings = world.worker_settings()
    store = WorkerStore(world.pool, settings)
    async with redis.client(settings) as client:
        heard = Signals(client)
        deliverer = Deliverer(store, sending.destinations(sender), settings)
        recorder = Recorder(store, heard, bound=100)
        scheduler = Scheduler(store, deliverer, recorder, Gates(heard), heard, settings, lambda *_: None)
        lane, delivery_id = scheduler._lanes.lane(ids.new()), ids.new()
        await scheduler.offer({lane.subscription_id: [delivery_id]}, source="doorbell")
        scheduler._lanes.discard(lane, delivery_id)
        with structlog.testing.capture_logs() as logs:
            running = asyncio.create_task(scheduler.run())
            await wait_until(lambda: not scheduler._lanes.can_claim, what="the turn to end")
            subscription = await world.subscription(receiver.url())
            sent = await world.deliver(subscription, due_in=RUNG)
            await scheduler.offer({subscription: [sent]}, source="doorbell")
            assert (await world.in_state(sent))["status"] == "delivered"
            scheduler.stop_claiming()
            await running
        await recorder.stop(grace_seconds=1)
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


# -- breakers --


async def test_failures_in_a_row_open_the_breaker_and_what_waits_is_left_alone(
    world: World, receiver: Receiver
) -> None:
    receiver.script(then=500)
    subscription = await world.subscription(receiver.url())
    changes = Counted("webhook_breaker_changes_total", state="open")
    began = datetime.now(UTC)
    async with world.running(**BREAKER) as client:
        await world.deliver_many(subscription, 40)
        row = await breaker(world, subscription, "open")
        before = await at_rest(world, subscription)
        requests = len(receiver.requests)
        await some_turns()
        assert await rows(world, subscription) == before
        assert len(receiver.requests) == requests == await total_attempts(world, subscription)
        # Those in flight when it opened, and no more.
        assert 3 <= requests <= 300
        assert await held_by(world, client, before[0]["id"]) == "breaker_open"
    assert changes() == 1
    assert row["breaker_reason"].endswith(" failures in a row; the last: the receiver responded with 500")
    assert began - timedelta(seconds=1) <= row["failing_since"] <= row["breaker_since"] <= datetime.now(UTC)
    assert row["consecutive_failures"] >= 3
    assert row["openings"] == 1
    assert 89 <= row["cooldown"] <= 111


async def test_a_probe_is_one_request_which_makes_the_cool_down_longer_or_closes_the_breaker(
    world: World, receiver: Receiver
) -> None:
    receiver.script(then=500)
    subscription = await world.subscription(receiver.url())
    with structlog.testing.capture_logs() as logs:
        async with world.running(**BREAKER):
            await world.deliver_many(subscription, 40)
            await breaker(world, subscription, "open")
            await at_rest(world, subscription)
            requests = len(receiver.requests)
            for openings, cooldown in ((2, 200), (3, 400)):
                await cool_down(world, subscription)
                row = await breaker(world, subscription, "open", openings=openings)
                await some_turns()
                requests += 1
                assert len(receiver.requests) == requests
                assert row["breaker_reason"] == "the probe failed; the last: the receiver responded with 500"
                assert cooldown * 0.89 <= row["cooldown"] <= cooldown * 1.11
            receiver.script(then=200)
            await cool_down(world, subscription)
            row = await breaker(world, subscription, "closed")
            await world.all_in(subscription, "delivered", 40)
            row = await health(world, subscription)
    assert len(receiver.requests) == requests + 40 == await total_attempts(world, subscription)
    assert (row["breaker_reason"], row["probe_at"], row["probe_delivery_id"]) == (None, None, None)
    assert (row["consecutive_failures"], row["failing_since"]) == (0, None)
    # Failed probes are not logged: one line when it opened, one when it closed.
    told = [entry for entry in logs if entry.get("subscription_id") == str(subscription)]
    assert [entry["event"] for entry in told] == [
        "an endpoint started failing; its deliveries wait",
        "an endpoint recovered",
    ]
    assert told[0]["reason"].endswith(" failures in a row; the last: the receiver responded with 500")
    assert told[0]["host"] == told[1]["host"] == "127.0.0.1"
    assert told[0]["failures"] >= BREAKER["breaker_failures"]
    assert datetime.fromisoformat(told[0]["next_probe"]) > datetime.now(UTC)


async def test_breaker_is_half_open_and_sends_nothing_else_during_a_probe(world: World, receiver: Receiver) -> None:
    receiver.script(then=Reply(hang=True))
    subscription = await world.subscription(receiver.url())
    await open_breaker(world, subscription)
    await world.deliver_many(subscription, 20)
    async with world.delivery(), world.delivery(), world.worker(**PATIENT), world.worker(**PATIENT):
        await some_turns()
        assert not receiver.requests
        await cool_down(world, subscription)
        await receiver.wait_for(1)
        row = await breaker(world, subscription, "half_open")
        await some_turns()
        assert len(receiver.requests) == 1
        in_flight = await world.pool.fetchval("SELECT delivery_id FROM delivery_queue WHERE claim_token IS NOT NULL")
        assert row["probe_delivery_id"] == in_flight
        receiver.release()
        await world.all_in(subscription, "delivered", 20)


async def retry(world: World, client: Client, delivery_id: UUID) -> None:
    await client.RetryDelivery(pb.RetryDeliveryRequest(tenant_id=world.tenant_id, delivery_id=str(delivery_id)))


async def test_a_retry_by_hand_is_the_probe_of_an_open_breaker_and_the_next_one_waits(
    world: World, receiver: Receiver
) -> None:
    receiver.script(then=Reply(hang=True))
    subscription = await world.subscription(receiver.url())
    await open_breaker(world, subscription)
    delivery_ids = await world.deliver_many(subscription, 10)
    async with world.running(**PATIENT) as client:
        await some_turns()
        assert not receiver.requests
        await retry(world, client, delivery_ids[6])
        (request,) = await receiver.wait_for(1)
        assert request.headers["webhook-id"] == str(delivery_ids[6])
        for later in delivery_ids[3:6]:
            await retry(world, client, later)
        await some_turns()
        assert len(receiver.requests) == 1
        assert (await health(world, subscription))["probe_delivery_id"] == delivery_ids[6]
        assert await held_by(world, client, delivery_ids[3]) == "breaker_open"
        receiver.script(then=200)
        receiver.release()
        await breaker(world, subscription, "closed")
        await world.all_in(subscription, "delivered", 10)


async def test_a_retry_by_hand_that_fails_opens_the_breaker_for_longer(world: World, receiver: Receiver) -> None:
    receiver.script(then=Reply(status=500, hang=True))
    subscription = await world.subscription(receiver.url())
    await open_breaker(world, subscription)
    delivery_ids = await world.deliver_many(subscription, 10)
    await world.put(delivery_ids[3], status="failed", reason="retries_exhausted")
    async with world.running(**BREAKER, **PATIENT) as client:
        for delivery_id in delivery_ids[3:6]:
            await retry(world, client, delivery_id)
        receiver.release()
        row = await breaker(world, subscription, "open", openings=2)
        await some_turns()
        (request,) = receiver.requests
        assert request.headers["webhook-id"] == str(delivery_ids[3])
        assert (row["probe_delivery_id"], row["breaker_reason"][:16]) == (None, "the probe failed")


async def test_a_retried_delivery_that_is_cancelled_before_its_probe_leaves_it_to_another(
    world: World, receiver: Receiver
) -> None:
    subscription = await world.subscription(receiver.url())
    await open_breaker(world, subscription)
    delivery_ids = await world.deliver_many(subscription, 3)
    async with world.running() as client:
        await set_status(world, subscription, "paused")
        await retry(world, client, delivery_ids[2])
        await client.CancelDelivery(
            pb.CancelDeliveryRequest(tenant_id=world.tenant_id, delivery_id=str(delivery_ids[2]))
        )
        await set_status(world, subscription, "active")
        await breaker(world, subscription, "closed")
        await world.in_state(delivery_ids[1], "delivered")
    assert {request.headers["webhook-id"] for request in receiver.requests} == set(map(str, delivery_ids[:2]))


async def test_workers_add_up_what_they_see(world: World, receiver: Receiver) -> None:
    receiver.script(500)
    subscription = await world.subscription(receiver.url())
    await world.pool.execute(
        "INSERT INTO subscription_health (subscription_id, consecutive_failures, failing_since)"
        " VALUES ($1, 9, now() - interval '1 minute')",
        subscription,
    )
    async with world.running(**{**BREAKER, "breaker_failures": 10, "retry_base_seconds": 600.0}):
        delivery_id = await world.deliver(subscription)
        row = await breaker(world, subscription, "open")
        assert row["breaker_reason"].startswith("10 failures in a row")
        await world.in_state(delivery_id, "scheduled")


async def test_breaker_is_shared_by_two_workers(world: World, receiver: Receiver) -> None:
    receiver.script(then=500)
    subscription = await world.subscription(receiver.url())
    changes = Counted("webhook_breaker_changes_total", state="open")
    async with world.delivery(), world.worker(**BREAKER), world.worker(**BREAKER):
        await world.deliver_many(subscription, 60)
        await breaker(world, subscription, "open")
        before = await at_rest(world, subscription)
        requests = len(receiver.requests)
        await some_turns()
        assert await rows(world, subscription) == before
        assert len(receiver.requests) == requests <= 500
    assert changes() == 1


async def test_a_success_between_failures_keeps_the_breaker_closed(world: World, receiver: Receiver) -> None:
    receiver.script(*([500, 200] * 20))
    subscription = await world.subscription(receiver.url())
    async with world.running(**{**BREAKER, "worker_concurrency": 1, "retry_base_seconds": 600.0}):
        await world.deliver_many(subscription, 40)
        await receiver.wait_for(40)
        await at_rest(world, subscription)
    row = await health(world, subscription)
    assert (row["breaker"], row["openings"]) == ("closed", 0)
    assert await world.statuses(subscription) == {"delivered": 20, "scheduled": 20}


async def test_a_rate_of_failures_opens_the_breaker(world: World, receiver: Receiver) -> None:
    receiver.script(*([500, 200] * 100))
    subscription = await world.subscription(receiver.url())
    rate = {"breaker_failures": 1000, "breaker_failure_rate": 0.5, "breaker_min_attempts": 10}
    async with world.running(**{**BREAKER, **rate, "worker_concurrency": 1, "retry_base_seconds": 600.0}):
        await world.deliver_many(subscription, 200)
        row = await breaker(world, subscription, "open")
        await at_rest(world, subscription)
        assert len(receiver.requests) < 100
    found, _, reason = row["breaker_reason"].partition(" attempts ")
    failures, attempts = map(int, found.split(" of "))
    assert reason == "within 60 s failed; the last: the receiver responded with 500"
    assert attempts >= 10
    assert failures >= attempts / 2


async def test_a_breaker_is_kept_over_a_restart_of_all_processes(world: World, receiver: Receiver) -> None:
    receiver.script(then=500)
    subscription = await world.subscription(receiver.url())
    async with world.running(**BREAKER):
        await world.deliver_many(subscription, 20)
        await breaker(world, subscription, "open")
        await at_rest(world, subscription)
    before = await rows(world, subscription)
    requests = len(receiver.requests)
    receiver.script(then=200)
    async with world.running(**BREAKER):
        await some_turns()
        assert await rows(world, subscription) == before
        assert len(receiver.requests) == requests
        await cool_down(world, subscription)
        await world.all_in(subscription, "delivered", 20)


@pytest.mark.without_redis
async def test_breaker_opens_holds_and_closes_without_redis(away: World, receiver: Receiver) -> None:
    receiver.script(then=500)
    subscription = await away.subscription(receiver.url())
    async with away.worker(**BREAKER):
        await away.deliver_many(subscription, 20)
        await breaker(away, subscription, "open")
        before = await at_rest(away, subscription)
        requests = len(receiver.requests)
        for _ in range(2):  # longer than a worker waits between looks in Postgres
            assert await at_rest(away, subscription) == before
        assert len(receiver.requests) == requests
        receiver.script(then=200)
        await cool_down(away, subscription)
        await away.all_in(subscription, "delivered", 20)
    assert len(receiver.requests) == requests + 20


async def test_a_recovered_endpoint_is_fed_with_a_growing_rate(world: World, receiver: Receiver) -> None:
    receiver.script(then=Reply(delay_seconds=0.2))
    subscription = await world.subscription(receiver.url())
    await open_breaker(world, subscription)
    await world.deliver_many(subscription, 300)
    # A busy machine responds late; a request that timed out would be sent again.
    async with world.running(**PATIENT):
        await some_turns()
        assert not receiver.requests
        await cool_down(world, subscription)
        row = await breaker(world, subscription, "closed")
        await world.all_in(subscription, "delivered", 300)
    since: datetime = row["breaker_since"]
    within = [
        sum(request.at <= since + timedelta(seconds=seconds) for request in receiver.requests) for seconds in (1, 2)
    ]
    # The probe, 24 in the first second, 53 until the second, and as many from a worker that polls Postgres.
    assert within[0] <= 50
    assert within[1] <= 110
    assert len(receiver.requests) == 300
    # Not one after the other, as the probe was sent.
    assert receiver.max_in_flight >= 4


async def test_deliveries_behind_an_open_breaker_are_counted_and_not_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.delivery.dispatcher.metrics.INTERVAL_SECONDS", 0.5)
    subscription = await world.subscription("http://127.0.0.1:1/")
    await open_breaker(world, subscription)
    await world.deliver_many(subscription, 5_000)

    def gauges() -> tuple[float, float, float]:
        held = Counted.now("webhook_held_deliveries", reason="breaker_open")
        return held, Counted.now("webhook_breakers", state="open"), Counted.now("webhook_queue_depth")

    async with world.running():
        await wait_until(lambda: gauges() == (5_000, 1, 0), what="the gauges")
        before = await rows(world, subscription)
        await some_turns(12)
        assert await rows(world, subscription) == before
        assert gauges() == (5_000, 1, 0)


# -- paused, disabled --


@pytest.mark.parametrize("status", ["paused", "disabled"])
async def test_a_subscription_that_takes_nothing_is_left_alone_until_it_does(
    world: World, receiver: Receiver, status: str
) -> None:
    subscription, other = [await world.subscription(receiver.url(path)) for path in ("/held", "/hook")]
    await set_status(world, subscription, status)
    delivery_id, *_ = await world.deliver_many(subscription, 20)
    before = await rows(world, subscription)
    async with world.running() as client:
        await world.deliver_many(other, 5)
        await world.all_in(other, "delivered", 5)
        await some_turns()
        assert await rows(world, subscription) == before
        assert not receiver.on("/held")
        assert await held_by(world, client, delivery_id) == status
        await set_status(world, subscription, "active")
        await world.all_in(subscription, "delivered", 20)
        assert await held_by(world, client, delivery_id) == ""
    assert {row["attempt_count"] for row in await rows(world, subscription)} == {1}


@pytest.mark.parametrize("status", ["paused", "disabled"])
async def test_delivery_rung_for_before_its_gate_closed_is_put_back_without_an_attempt(
    world: World, receiver: Receiver, ringer: Ringer, status: str
) -> None:
    subscription = await world.subscription(receiver.url())
    await set_status(world, subscription, status)
    delivery_id = await world.deliver(subscription, due_in=RUNG)
    handed_back = Counted("webhook_deliveries_handed_back_total", reason=status)
    async with world.worker():
        await ring(ringer, delivery_id)
        await wait_until(lambda: handed_back() == 1, what="the delivery to be put back")
        row = await world.in_state(delivery_id, "pending")
        assert (row["attempt_count"], row["claim_token"]) == (0, None)
        assert row["due"]
        assert row["due_at"] - row["created_at"] < timedelta(seconds=RUNG / 2)
        assert await world.attempts(delivery_id) == []
    assert not receiver.requests


async def test_deliveries_that_expire_behind_a_closed_gate_fail(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.delivery.dispatcher.sweeper.EXPIRE_SECONDS", 0.3)
    paused, broken = [await world.subscription(receiver.url()) for _ in range(2)]
    await set_status(world, paused, "paused")
    await open_breaker(world, broken)
    ended = Counted("webhook_deliveries_ended_total", status="failed")
    expiring = [await world.deliver(one, expires_in=1, status=status) for one, status in (
        (paused, "pending"), (paused, "scheduled"), (broken, "pending"),
    )]  # fmt: skip
    kept = await world.deliver(paused)
    async with world.running():
        for delivery_id in expiring:
            row = await world.in_state(delivery_id)
            assert (row["status"], row["reason"]) == ("failed", "expired")
        assert (await world.row(kept))["status"] == "pending"
        await wait_until(lambda: ended() == 3, what="the ends to be counted")
    assert not receiver.requests


# -- disabled because of the receiver --


async def subscription_row(world: World, subscription: UUID) -> asyncpg.Record:
    row: asyncpg.Record | None = await world.pool.fetchrow("SELECT * FROM subscriptions WHERE id = $1", subscription)
    assert row
    return row


async def disabled(world: World, subscription: UUID) -> asyncpg.Record:
    """Wait until a subscription is disabled, and return it."""

    async def so() -> bool:
        return bool((await subscription_row(world, subscription))["status"] == "disabled")

    await until_true(so, "the subscription to be disabled")
    return await subscription_row(world, subscription)


async def test_410_disables_once_for_all_workers(world: World, receiver: Receiver) -> None:
    receiver.script(then=410)
    subscription = await world.subscription(receiver.url())
    version = (await subscription_row(world, subscription))["version"]
    count = Counted("webhook_subscriptions_disabled_total", reason="gone")
    settings = {**BREAKER, "breaker_failures": 10_000, "breaker_failure_rate": 2.0, "worker_concurrency": 16}
    with structlog.testing.capture_logs() as logs:
        async with world.delivery() as client, world.worker(**settings), world.worker(**settings):
            await world.deliver_many(subscription, 100)
            row = await disabled(world, subscription)
            before = await at_rest(world, subscription)
            await some_turns()
            assert await rows(world, subscription) == before
            assert len(receiver.requests) == await total_attempts(world, subscription)
            assert await held_by(world, client, before[0]["id"]) == "disabled"
            row = await subscription_row(world, subscription)
    assert (row["status_reason"], row["version"]) == ("gone", version + 1)
    assert count() == 1
    (told,) = [entry for entry in logs if entry["event"] == "a subscription was disabled"]
    assert (told["host"], told["reason"]) == ("127.0.0.1", "gone")
    assert told["last_error"] == "the receiver responded with 410"
    (entry,) = await world.pool.fetch("SELECT * FROM audit_entries WHERE resource_id = $1", str(subscription))
    assert (entry["actor"], entry["actor_name"]) == ("system", None)
    assert (entry["action"], entry["tenant_id"]) == ("subscription.disable", world.tenant_id)
    assert json.loads(entry["changes"]) == [
        {"field": "status", "before": "active", "after": "disabled"},
        {"field": "status_reason", "after": "gone"},
    ]


async def test_racing_workers_disable_once(world: World) -> None:
    subscription = await world.subscription("http://127.0.0.1:1/")
    version = (await subscription_row(world, subscription))["version"]
    store = WorkerStore(world.pool, world.worker_settings())
    seen = one_failure(subscription, gone=True)
    answers = await asyncio.gather(*(store.disable({subscription: StatusReason.GONE}, [seen]) for _ in range(8)))
    assert sum(map(len, answers)) == 1
    row = await subscription_row(world, subscription)
    assert (row["status"], row["status_reason"], row["version"]) == ("disabled", "gone", version + 1)


@pytest.mark.parametrize(("hours", "status"), [(121, "disabled"), (119, "active")])
async def test_an_endpoint_that_only_failed_for_days_is_disabled(
    world: World, receiver: Receiver, hours: int, status: str
) -> None:
    receiver.script(then=500)
    subscription = await world.subscription(receiver.url())
    await world.pool.execute(
        "INSERT INTO subscription_health (subscription_id, consecutive_failures, failing_since)"
        " VALUES ($1, 5, now() - make_interval(hours => $2))",
        subscription, hours,
    )  # fmt: skip
    async with world.running(**{**BREAKER, "breaker_failures": 1_000, "retry_base_seconds": 600.0}):
        await world.deliver(subscription)

        async def noted() -> bool:
            return bool((await health(world, subscription))["consecutive_failures"] == 6)

        await until_true(noted, "the failure to be recorded")
        if status == "disabled":
            await disabled(world, subscription)
        await some_turns(2)
        row = await subscription_row(world, subscription)
    assert (row["status"], row["status_reason"]) == (status, "failing" if status == "disabled" else None)


async def test_a_success_ends_the_days_of_failures(world: World, receiver: Receiver) -> None:
    subscription = await world.subscription(receiver.url())
    await world.pool.execute(
        "INSERT INTO subscription_health (subscription_id, consecutive_failures, failing_since)"
        " VALUES ($1, 5, now() - interval '30 days')",
        subscription,
    )
    async with world.running():
        await world.deliver(subscription)

        async def noted() -> bool:
            return (await health(world, subscription))["failing_since"] is None

        await until_true(noted, "the success to be recorded")
        row = await subscription_row(world, subscription)
    assert row["status"] == "active"


# -- rate limits --


async def test_a_rate_limit_holds_over_all_workers_and_costs_no_attempt(world: World, receiver: Receiver) -> None:
    rate, burst = 20.0, 10
    subscription = await world.subscription(receiver.url())
    await limit_rate(world, subscription, rate, burst)
    await world.deliver_many(subscription, 2_000)
    began = time.monotonic()
    async with world.delivery() as client, world.worker(), world.worker(), world.worker():
        await receiver.wait_for(70)

        async def one_is_held() -> bool:
            query = "SELECT delivery_id FROM delivery_queue WHERE claim_token IS NULL AND due_at <= now() LIMIT 1"
            waiting = await world.pool.fetchval(query)
            return waiting is not None and await held_by(world, client, waiting) == "rate_limit"

        await until_true(one_is_held, "one that is held for the rate")
        await world.pool.execute(
            "WITH gone AS (DELETE FROM delivery_queue WHERE claim_token IS NULL RETURNING delivery_id)"
            " UPDATE webhook_deliveries d SET status = 'cancelled' FROM gone WHERE d.id = gone.delivery_id"
        )
        await at_rest(world, subscription)
    found = receiver.requests[:70]
    assert all(number <= rate * (each.monotonic - began) + burst for number, each in enumerate(found, 1))
    attempts = await world.pool.fetch("SELECT status, attempt_count, count(*) FROM deliveries GROUP BY 1, 2 ORDER BY 1")
    assert {(row["status"], row["attempt_count"]) for row in attempts} == {("cancelled", 0), ("delivered", 1)}


async def test_a_rate_limit_of_one_is_none_of_another(world: World, receiver: Receiver) -> None:
    limited, other = [await world.subscription(receiver.url(path)) for path in ("/limited", "/hook")]
    await limit_rate(world, limited, 0.001, 2)
    await world.deliver_many(limited, 100)
    async with world.running() as client:
        await receiver.wait_for(2, path="/limited")
        await world.deliver_many(other, 100)
        await world.all_in(other, "delivered", 100)
        assert len(receiver.on("/limited")) == 2
        waiting = await world.pool.fetchval(
            "SELECT id FROM deliveries WHERE subscription_id = $1 AND status = 'pending' LIMIT 1", limited
        )
        await held_by_is(world, client, waiting, "rate_limit")
        assert await total_attempts(world, limited) == 2


async def test_retries_keep_the_rate_too(world: World, receiver: Receiver) -> None:
    receiver.script(then=500)
    subscription = await world.subscription(receiver.url())
    await limit_rate(world, subscription, 0.001, 3)
    async with world.running(retry_base_seconds=0.5, breaker_failures=1_000):
        delivery_id = await world.deliver(subscription)
        await receiver.wait_for(3)
        await some_turns()
        assert len(receiver.requests) == 3

        async def recorded() -> bool:
            return outcomes(await world.attempts(delivery_id)) == ["http_5xx"] * 3

        await until_true(recorded, "the attempts to be recorded")
