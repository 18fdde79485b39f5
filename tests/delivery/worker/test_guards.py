"""The guards between a claim and a request that must not be made, each tested without a dispatcher.

test_late_outcomes.py tests that a late success ends a scheduled delivery.
"""

from uuid import UUID

import pytest

from dev.harness.receiver import Receiver
from services.delivery.dispatcher.store import BEGINNING
from services.delivery.worker.store import WorkerStore
from services.domain.doorbell import Ringer
from services.domain.states import Probe
from tests.delivery.world import RUNG, World, one_failure, ring, until_true


async def half_open(world: World, subscription: UUID, probe: UUID) -> None:
    await world.pool.execute(
        "INSERT INTO subscription_health (subscription_id, breaker, probe_at, probe_delivery_id)"
        " VALUES ($1, 'half_open', now() + interval '1 minute', $2)",
        subscription, probe,
    )  # fmt: skip


@pytest.fixture
async def store(world: World) -> WorkerStore:
    return WorkerStore(world.pool, world.worker_settings())


# -- deliveries that can no longer be sent --


async def test_a_worker_that_is_rung_for_what_must_not_be_sent_ends_it_without_a_request(
    world: World, receiver: Receiver, ringer: Ringer
) -> None:
    subscription = await world.subscription(receiver.url())
    deleted = await world.deliver(subscription, due_in=RUNG)
    await world.delete_subscription(subscription)
    other = await world.subscription(receiver.url())
    expired = await world.deliver(other, due_in=RUNG, expires_in=-1)
    gone, sent = [await world.deliver(other, due_in=RUNG) for _ in range(2)]
    await world.drop_payload(gone)
    async with world.worker():
        await ring(ringer, deleted, expired, gone, sent)
        await world.in_state(sent, "delivered")
        rows = [await world.in_state(delivery_id) for delivery_id in (deleted, expired, gone)]
    assert [(row["status"], row["reason"]) for row in rows] == [
        ("cancelled", "subscription_deleted"),
        ("failed", "expired"),
        ("failed", "payload_gone"),
    ]
    assert [request.headers["webhook-id"] for request in receiver.requests] == [str(sent)]
    for row in rows:
        assert (row["attempt_count"], await world.attempts(row["id"])) == (0, [])
        assert row["completed_at"] is not None
    # No attempt tells the statistics of them.
    assert sorted(await world.unattempted_ends()) == sorted(
        [(subscription, None, "cancelled", 1), (other, None, "failed", 2)]
    )


# -- half open breakers --


async def test_a_half_open_breaker_holds_every_claim_but_its_probe(world: World, store: WorkerStore) -> None:
    subscription = await world.subscription("http://127.0.0.1:1/")
    probe, *others = await world.deliver_many(subscription, 3)
    await half_open(world, subscription, probe)
    claims = {claim.id: claim for claim in await store.claim([probe, *others])}
    assert (claims[probe].held_by, claims[probe].probe) == (None, True)
    for other in others:
        assert (claims[other].held_by, claims[other].probe) == ("breaker_open", False)


async def test_a_worker_that_is_rung_for_more_than_the_probe_sends_the_probe_alone(
    world: World, receiver: Receiver, ringer: Ringer
) -> None:
    receiver.script(then=500)
    subscription = await world.subscription(receiver.url())
    probe, *others = await world.deliver_many(subscription, 4, due_in=RUNG)
    await half_open(world, subscription, probe)
    async with world.worker(retry_base_seconds=600.0):
        await ring(ringer, *others, probe)
        await world.in_state(probe, "scheduled")

        async def handed_back() -> bool:
            return await world.statuses(subscription) == {"scheduled": 1, "pending": 3}

        await until_true(handed_back, "the others to be handed back")
    assert [request.headers["webhook-id"] for request in receiver.requests] == [str(probe)]


async def test_second_probe_does_not_begin_while_one_is_in_flight(world: World) -> None:
    subscription = await world.subscription("http://127.0.0.1:1/")
    probe, other = await world.deliver_many(subscription, 2)
    await half_open(world, subscription, probe)
    dispatcher = world.dispatcher_store()
    swept = await dispatcher.sweep(None, limit=10, overlap_seconds=60)
    assert subscription in swept.open_seconds
    assert (await dispatcher.turns(BEGINNING, limit=10))[0] == []
    assert await dispatcher.begin_probes({subscription: other}) == set()


# -- the cool-down --


@pytest.mark.parametrize(("openings", "seconds"), [(0, 10), (1, 20), (5, 320), (6, 600), (7, 600), (40, 600)])
async def test_the_cool_down_doubles_up_to_its_cap(
    world: World, store: WorkerStore, openings: int, seconds: int
) -> None:
    subscription = await world.subscription("http://127.0.0.1:1/")
    await half_open(world, subscription, UUID(int=1))
    await world.pool.execute("UPDATE subscription_health SET openings = $1", openings)
    await store.record_health([one_failure(subscription, probe=Probe.FAILURE)], world.worker_settings())
    row = await world.pool.fetchrow(
        "SELECT breaker, openings, extract(epoch FROM probe_at - breaker_since)::float8 AS cooldown"
        " FROM subscription_health WHERE subscription_id = $1",
        subscription,
    )
    assert row is not None
    assert (row["breaker"], row["openings"]) == ("open", openings + 1)
    assert 0.9 * seconds <= row["cooldown"] <= 1.1 * seconds
