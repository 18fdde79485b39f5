"""The cost of turns depends on sendable deliveries, turns are fair among tenants, and no due delivery is missed."""

import asyncio
import contextlib
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from dev.harness.receiver import Receiver
from services.delivery.dispatcher import sweeper
from services.delivery.dispatcher import turns as of_turns
from services.delivery.dispatcher.limiter import Limiter
from services.delivery.dispatcher.store import BEGINNING, Move
from services.delivery.dispatcher.turns import Turns
from services.delivery.worker.claims import Outcome
from services.delivery.worker.store import WorkerStore
from services.domain import deliveries
from services.domain.gates import Gates
from services.domain.states import DeliveryStatus
from services.domain.tenants.weights import Weights
from services.platform import ids
from services.platform.stores import postgres, redis
from services.platform.stores.signals import Signals
from tests.delivery.world import RUNG, World, until_true

ADDRESS = "http://127.0.0.1:1/"


@pytest.fixture
async def turns(world: World) -> AsyncIterator[Turns]:
    """The turns of a process, run by the test."""
    async with made_turns(world) as made:
        yield made


@contextlib.asynccontextmanager
async def made_turns(world: World) -> AsyncIterator[Turns]:
    store, weights = (
        world.dispatcher_store(),
        Weights(world.pool),
    )
    await weights.refresh()
    async with redis.client(world.delivery_settings()) as client:
        yield Turns(store, Limiter(client, store.count_workers), Gates(Signals(client)), weights.of)
    await weights.close()


async def tenant(world: World, name: str, *, weight: int = 1) -> World:
    """Return the same world for another tenant."""
    await world.pool.execute(
        "INSERT INTO tenants (id, name, weight) VALUES ($1, $1, $2) ON CONFLICT (id) DO UPDATE SET weight = $2",
        name, weight,
    )  # fmt: skip
    return dataclasses.replace(world, tenant_id=name)


async def many(world: World, number: int, *, due_in: float = 0.0, status: str = "active") -> list[UUID]:
    """Create this many subscriptions with a delivery each; return the subscriptions."""
    names, events = [ids.new() for _ in range(number)], [ids.new() for _ in range(number)]
    made = [ids.of_delivery(event, name) for event, name in zip(events, names, strict=True)]
    await world.pool.execute(
        "INSERT INTO subscriptions (id, tenant_id, target_url, status) SELECT id, $2, 'http://x', $3"
        " FROM unnest($1::uuid[]) AS id",
        names, world.tenant_id, status,
    )  # fmt: skip
    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO webhook_deliveries (id, event_id, subscription_id, tenant_id)"
            " SELECT *, $4 FROM unnest($1::uuid[], $2::uuid[], $3::uuid[])",
            made, events, names, world.tenant_id,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO delivery_queue (delivery_id, event_id, subscription_id, tenant_id, due_at, expires_at)"
            " SELECT *, $4, now() + $5::interval, now() + interval '1 hour'"
            " FROM unnest($1::uuid[], $2::uuid[], $3::uuid[])",
            made, events, names, world.tenant_id, timedelta(seconds=due_in),
        )  # fmt: skip
    return names


async def listed(world: World) -> dict[UUID, asyncpg.Record]:
    """Return the subscriptions that have turns."""
    rows = await world.pool.fetch("SELECT *, turn_at <= clock_timestamp() AS come, xmin::text FROM due_subscriptions")
    return {row["subscription_id"]: row for row in rows}


async def sweep(turns: Turns) -> None:
    """Sweep everything at once."""
    turns.sweeper._sweep_at = 0.0
    await turns.sweeper.sweep(leases=True)
    while turns.sweeper.has_more:
        await turns.sweeper.sweep(leases=True)


async def check(turns: Turns) -> None:
    """Run one complete pass over the queue."""
    await turns.sweeper.check(leases=True)
    while turns.sweeper._place.subscription_id.int:
        await turns.sweeper.check(leases=True)


async def open_breaker(world: World, subscription: UUID, *, seconds: float) -> None:
    """Open a breaker, as workers do."""
    await world.pool.execute("INSERT INTO subscription_health (subscription_id) VALUES ($1)", subscription)
    await world.pool.execute(
        "UPDATE subscription_health SET breaker = 'open', probe_at = now() + $2::interval WHERE subscription_id = $1",
        subscription, timedelta(seconds=seconds),
    )  # fmt: skip


# -- who has a turn --


async def test_subscription_has_a_turn_from_its_first_due_delivery_until_none_is_due(
    world: World, turns: Turns
) -> None:
    subscription = await world.subscription(ADDRESS)
    delivery_ids = await world.deliver_many(subscription, 3)
    await sweep(turns)
    assert set(await listed(world)) == {subscription}
    taken = await turns.take(100)
    assert {delivery_id for _, delivery_id in taken.rung} == set(delivery_ids)
    assert await listed(world) == {}


async def test_deliveries_that_were_rung_for_do_not_cause_a_turn(world: World, turns: Turns) -> None:
    subscription = await world.subscription(ADDRESS)
    await world.deliver_many(subscription, 3, due_in=RUNG)
    await sweep(turns)
    await check(turns)
    assert await listed(world) == {}


async def test_a_busy_subscription_is_written_once(world: World, turns: Turns) -> None:
    subscription = await world.subscription(ADDRESS)
    await world.deliver_many(subscription, 50)
    await sweep(turns)
    first = (await listed(world))[subscription]["xmin"]
    for _ in range(3):
        await world.deliver_many(subscription, 10)
        await sweep(turns)
        await turns.take(10)
    assert (await listed(world))[subscription]["xmin"] == first


@pytest.mark.parametrize("status", ["paused", "disabled"])
async def test_a_subscription_that_takes_nothing_has_none_until_it_does(
    world: World, turns: Turns, status: str
) -> None:
    names = await many(world, 200, status=status)
    await sweep(turns)
    await check(turns)
    assert await listed(world) == {}
    assert turns.sweeper.held == {status: 200}
    await world.pool.execute("UPDATE subscriptions SET status = 'active' WHERE id = $1", names[7])
    assert set(await listed(world)) == {names[7]}
    taken = await turns.take(100)
    assert [rung.subscription_id for rung in taken.rung] == [names[7]]


async def test_paused_subscription_loses_its_turn(world: World, turns: Turns) -> None:
    subscription = await world.subscription(ADDRESS)
    await world.deliver(subscription)
    await sweep(turns)
    await world.pool.execute("UPDATE subscriptions SET status = 'paused'")
    assert (await turns.take(100)).rung == []
    assert await listed(world) == {}


async def test_an_open_breaker_has_its_turn_when_a_probe_may_be_sent(world: World, turns: Turns) -> None:
    subscription = await world.subscription(ADDRESS)
    await world.deliver_many(subscription, 5)
    await open_breaker(world, subscription, seconds=600)
    assert not (await listed(world))[subscription]["come"]
    before = await listed(world)
    for _ in range(3):
        await world.deliver(subscription)
        await sweep(turns)
        await check(turns)
        assert (await turns.take(100)).rung == []
    assert await listed(world) == before
    assert turns.sweeper.held == {"breaker_open": 8}
    await world.pool.execute("UPDATE subscription_health SET probe_at = now()")
    assert (await listed(world))[subscription]["come"]
    assert len((await turns.take(100)).rung) == 1
    row = (await listed(world))[subscription]
    assert row["turn_at"] > datetime.now(UTC) + timedelta(seconds=30)  # when the probe counts as lost
    await world.pool.execute("UPDATE subscription_health SET breaker = 'closed', probe_at = NULL")
    assert len((await turns.take(100)).rung) == 7


async def test_subscription_with_an_open_breaker_has_no_turn_before_its_probe(world: World, turns: Turns) -> None:
    subscription = await world.subscription(ADDRESS)
    await open_breaker(world, subscription, seconds=60)
    await world.pool.execute("DELETE FROM due_subscriptions")
    await world.deliver(subscription)
    await sweep(turns)
    assert not (await listed(world))[subscription]["come"]


async def test_changed_rate_limit_gives_a_turn_at_once(world: World, turns: Turns) -> None:
    subscription = await world.subscription(ADDRESS)
    await world.pool.execute("UPDATE subscriptions SET rate_limit_per_second = 0.001, rate_limit_burst = 1")
    await world.deliver_many(subscription, 5)
    await sweep(turns)
    assert len((await turns.take(100)).rung) == 1
    row = (await listed(world))[subscription]
    assert (row["held_by"], row["come"]) == ("rate_limit", False)
    assert (await turns.take(100)).rung == []
    await world.pool.execute("UPDATE subscriptions SET rate_limit_per_second = NULL, rate_limit_burst = NULL")
    assert len((await turns.take(100)).rung) == 4
    assert await listed(world) == {}


async def test_a_deleted_subscription_is_named_so_that_it_is_cancelled(world: World, turns: Turns) -> None:
    subscription = await world.subscription(ADDRESS)
    await world.deliver(subscription, due_in=600)
    await world.delete_subscription(subscription)
    taken = await turns.take(100)
    assert (taken.rung, taken.deleted) == ([], [subscription])


# -- nothing is missed --


async def test_delivery_handed_back_to_its_place_is_rung_for_in_the_next_turn(world: World, turns: Turns) -> None:
    subscription = await world.subscription(ADDRESS)
    early, *_ = await world.deliver_many(subscription, 1)
    await sweep(turns)
    await turns.take(100)
    late = await world.deliver_many(subscription, 20)
    await sweep(turns)
    await turns.take(10)
    await deliveries.mark_due(world.pool, [early])
    row = await world.row(early)
    assert row["due_at"] == row["created_at"]
    taken = await turns.take(5)
    assert early in {delivery_id for _, delivery_id in taken.rung}
    await turns.take(100)
    assert {delivery_id for delivery_id in late if (await world.row(delivery_id))["due"]} == set()


async def test_delivery_that_a_worker_hands_back_causes_a_turn(world: World, turns: Turns) -> None:
    subscription = await world.subscription(ADDRESS)
    delivery_id = await world.deliver(subscription)
    await sweep(turns)
    await turns.take(10)
    store = WorkerStore(world.pool, world.worker_settings())
    (claim,) = await store.claim([delivery_id])
    assert await listed(world) == {}
    await store.record([Outcome(claim=claim, status=DeliveryStatus.PENDING, delay_seconds=-60)])
    assert set(await listed(world)) == {subscription}


async def fail(world: World, delivery_id: UUID, *, retry_in: float) -> None:
    """Claim a delivery and record a failed attempt, as a worker does."""
    store = WorkerStore(world.pool, world.worker_settings())
    (claim,) = await store.claim([delivery_id])
    await store.record([Outcome(claim=claim, status=DeliveryStatus.SCHEDULED, failures=1, delay_seconds=retry_in)])


async def test_retry_has_its_turn_when_it_is_due_without_a_sweep(world: World, turns: Turns) -> None:
    delivery_id = await world.deliver(await world.subscription(ADDRESS))
    await fail(world, delivery_id, retry_in=0.1)
    (row,) = (await listed(world)).values()
    assert row["turn_at"] == row["due_from"] == (await world.row(delivery_id))["due_at"]
    taken: list[UUID] = []

    async def is_rung() -> bool:
        taken.extend(rung.delivery_id for rung in (await turns.take(10)).rung)
        return bool(taken)

    await until_true(is_rung, "the retry to be rung for")
    assert taken == [delivery_id]
    assert await listed(world) == {}


async def test_retries_write_a_turn_only_for_the_first_of_a_subscription(world: World, turns: Turns) -> None:
    subscription = await world.subscription(ADDRESS)
    later, first, last = await world.deliver_many(subscription, 3)
    await fail(world, later, retry_in=200)
    await fail(world, first, retry_in=100)
    before = (await listed(world))[subscription]
    assert before["turn_at"] == before["due_from"] == (await world.row(first))["due_at"]
    await fail(world, last, retry_in=300)
    assert (await listed(world))[subscription] == before
    await world.set(first, due_at=datetime.now(UTC))
    await world.pool.execute("UPDATE due_subscriptions SET turn_at = now(), due_from = now() - interval '1 minute'")
    assert [rung.delivery_id for rung in (await turns.take(10)).rung] == [first]
    after = (await listed(world))[subscription]
    assert after["turn_at"] == after["due_from"] == (await world.row(later))["due_at"]


@pytest.mark.parametrize("find", [sweep, check])
async def test_delivery_due_before_a_retry_has_a_turn_at_once(
    world: World, turns: Turns, find: Callable[[Turns], Awaitable[None]]
) -> None:
    subscription = await world.subscription(ADDRESS)
    retried = await world.deliver(subscription)
    await fail(world, retried, retry_in=600)
    assert not (await listed(world))[subscription]["come"]
    delivery_id = await world.deliver(subscription)
    await find(turns)
    assert [rung.delivery_id for rung in (await turns.take(10)).rung] == [delivery_id]
    row = (await listed(world))[subscription]
    assert row["turn_at"] == row["due_from"] == (await world.row(retried))["due_at"]


async def test_retry_of_a_subscription_with_a_turn_writes_nothing(world: World, turns: Turns) -> None:
    subscription = await world.subscription(ADDRESS)
    failed, *_ = await world.deliver_many(subscription, 5)
    await sweep(turns)
    before = await listed(world)
    await fail(world, failed, retry_in=60)
    assert await listed(world) == before


async def test_sweep_locks_no_subscription_that_is_listed_already(world: World, turns: Turns) -> None:
    await many(world, 20)
    await sweep(turns)
    rows = "SELECT subscription_id, xmin::text, xmax::text FROM due_subscriptions ORDER BY subscription_id"
    before = await world.pool.fetch(rows)
    await sweep(turns)
    assert await world.pool.fetch(rows) == before


async def test_delivery_stored_by_a_long_transaction_is_found(
    world: World, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "OVERLAP_SECONDS", 0.0)
    subscription = await world.subscription(ADDRESS)
    delivery_id = await world.deliver(subscription, due_in=60)
    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute("UPDATE delivery_queue SET due_at = now()")
        await sweep(turns)
    turns.sweeper._looks_back[0].at = 0.0
    await sweep(turns)
    assert [rung.delivery_id for rung in (await turns.take(10)).rung] == [delivery_id]


@pytest.mark.parametrize("find", [sweep, check])
async def test_delivery_found_late_before_the_position_of_its_turn_is_rung_for_in_the_next(
    world: World, turns: Turns, monkeypatch: pytest.MonkeyPatch, find: Callable[[Turns], Awaitable[None]]
) -> None:
    monkeypatch.setattr(sweeper, "OVERLAP_SECONDS", sweeper.LATEST_SECONDS)
    subscription = await world.subscription(ADDRESS)
    early = await world.deliver(subscription, due_in=60)
    async with world.pool.acquire() as connection, connection.transaction():
        # Stored before the others, and seen after a turn has passed the place of some of them.
        await connection.execute("UPDATE delivery_queue SET due_at = now() WHERE delivery_id = $1", early)
        await world.deliver_many(subscription, 20)
        await sweep(turns)
        await turns.take(10)
    await find(turns)
    assert early in {delivery_id for _, delivery_id in (await turns.take(5)).rung}


async def test_a_turn_that_begins_after_what_is_due_is_corrected_by_a_pass_of_any_process(
    world: World, turns: Turns
) -> None:
    subscription = await world.subscription(ADDRESS)
    delivery_id = await world.deliver(subscription)
    await sweep(turns)
    await world.pool.execute("UPDATE due_subscriptions SET due_from = now() + interval '1 hour'")
    async with made_turns(world) as another:
        await check(another)
    assert [rung.delivery_id for rung in (await turns.take(10)).rung] == [delivery_id]


@pytest.mark.parametrize("by", ["put_turns", "leave_turns"])
async def test_a_turn_that_was_given_while_one_was_taken_stays(world: World, turns: Turns, by: str) -> None:
    subscription = await world.subscription(ADDRESS)
    await world.deliver(subscription)
    await sweep(turns)
    store = world.dispatcher_store()
    ((endpoint,), *_) = await store.turns(BEGINNING, limit=10)
    await world.pool.execute("UPDATE subscriptions SET status = 'paused'")
    await world.pool.execute("UPDATE subscriptions SET status = 'active'")
    if by == "put_turns":
        await store.put_turns([Move(endpoint=endpoint, seconds=60, held_by=None, due_from=endpoint.due_from)])
    else:
        await store.leave_turns({}, [endpoint])
    assert (await listed(world))[subscription]["come"]


@pytest.mark.parametrize("scheduled", [True, False])
async def test_a_turn_is_not_left_when_something_became_due_meanwhile(
    world: World, turns: Turns, *, scheduled: bool
) -> None:
    subscription = await world.subscription(ADDRESS)
    await world.deliver(subscription)
    await sweep(turns)
    store = world.dispatcher_store()
    ((endpoint,), *_) = await store.turns(BEGINNING, limit=10)
    await world.pool.execute("UPDATE delivery_queue SET due_at = now(), scheduled = $1", scheduled)
    await store.leave_turns({subscription: endpoint.due_from}, [endpoint])
    assert set(await listed(world)) == {subscription}


async def test_a_deletion_is_a_turn_though_nothing_is_due(world: World) -> None:
    subscription = await world.subscription(ADDRESS)
    await world.deliver(subscription, due_in=60)
    await world.pool.execute("UPDATE subscriptions SET status = 'disabled'")
    assert await listed(world) == {}
    await world.pool.execute("UPDATE subscriptions SET deleted_at = now()")
    assert (await listed(world))[subscription]["come"]


@pytest.mark.parametrize("by", ["looking back", "looking through"])
async def test_a_turn_that_is_given_by_a_transaction_that_takes_long_is_found(
    world: World, turns: Turns, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setattr(of_turns, "OVERLAP", timedelta(hours=by == "looking back"))
    subscription = await world.subscription(ADDRESS)
    await world.pool.execute("UPDATE subscriptions SET status = 'paused'")
    delivery_id = await world.deliver(subscription)
    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute("UPDATE subscriptions SET status = 'active'")
        await turns.take(10)
    if by == "looking through":
        assert (await turns.take(10)).rung == []
        turns._looked_through_at = float("-inf")
    assert [rung.delivery_id for rung in (await turns.take(10)).rung] == [delivery_id]


@pytest.mark.parametrize("limit", [40, 100])
async def test_sweep_finds_subscriptions_that_become_due_at_once_beyond_its_limit(
    world: World, turns: Turns, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(sweeper, "SWEEP_LIMIT", 10)
    monkeypatch.setattr(sweeper, "MOMENT_LIMIT", limit)
    turns.sweeper._limit = 10
    names = await many(world, 95)
    later = await many(world, 5)
    await sweep(turns)
    found = set(await listed(world))
    assert found >= set(later)
    assert len(found) == min(95, limit) + 5
    await check(turns)
    assert set(await listed(world)) == {*names, *later}


async def test_a_pass_reads_all_of_the_queue_in_parts(
    world: World, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "CHECK_LIMIT", 7)
    busy = await world.subscription(ADDRESS)
    await world.deliver_many(busy, 30)
    names = await many(world, 40)
    paused = await many(world, 20, status="paused")
    large = paused[3]
    await world.deliver_many(large, 25)
    await world.deliver_many(busy, 3, due_in=-60)
    await check(turns)
    assert set(await listed(world)) == {busy, *names}
    assert turns.sweeper.held == {"paused": 45}


async def test_the_list_is_made_again_when_it_is_lost_while_deliveries_go_on(world: World, receiver: Receiver) -> None:
    names = [await world.subscription(receiver.url()) for _ in range(40)]
    async with world.running(worker_concurrency=16):

        async def lose() -> None:
            while True:
                await world.pool.execute("DELETE FROM due_subscriptions")
                await asyncio.sleep(0.05)

        losing = asyncio.create_task(lose())
        try:
            for name in names:
                await world.deliver_many(name, 10)

            async def all_sent() -> bool:
                return not await world.pool.fetchval("SELECT count(*) FROM delivery_queue")

            await until_true(all_sent, "all to be delivered")
        finally:
            losing.cancel()


async def test_a_claim_that_lasts_is_looked_at_when_its_lease_ends(world: World, turns: Turns) -> None:
    subscription = await world.subscription(ADDRESS)
    lasting, lost = await world.deliver_many(subscription, 2)
    await world.lease(lasting, seconds=60)
    await world.lease(lost, seconds=-0.5)
    await world.set(lasting, due_at=datetime.now(UTC) - timedelta(seconds=0.5))
    await sweep(turns)
    row = await world.row(lasting)
    assert (row["status"], row["due_at"]) == ("in_flight", row["lease_until"])
    assert (await world.row(lost))["status"] == "pending"
    await sweep(turns)
    assert [rung.delivery_id for rung in (await turns.take(10)).rung] == [lost]


# -- fair --


def of(taken: Any, names: list[UUID]) -> int:
    wanted = set(names)
    return sum(rung.subscription_id in wanted for rung in taken.rung)


async def test_leases_do_not_expire_while_workers_could_not_renew_them(world: World, turns: Turns) -> None:
    subscription = await world.subscription(ADDRESS)
    delivery_id = await world.deliver(subscription)
    token = await world.lease(delivery_id, seconds=-1)
    await turns.sweeper.sweep(leases=True, guard_seconds=60)
    row = await world.row(delivery_id)
    assert (row["status"], row["claim_token"]) == ("in_flight", token)
    # It is looked at again when that time is over.
    assert row["due_at"] > datetime.now(UTC) + timedelta(seconds=30)


async def test_a_tenant_with_many_subscriptions_gets_no_more_than_one_with_one(world: World, turns: Turns) -> None:
    crowd = await many(await tenant(world, "crowd"), 300)
    quiet = await world.subscription(ADDRESS)
    await world.deliver_many(quiet, 200)
    await sweep(turns)
    taken = await turns.take(100)
    assert (of(taken, crowd), of(taken, [quiet])) == (50, 50)
    assert taken.more


async def test_tenant_of_weight_3_gets_three_times_as_much_of_a_turn_and_all_of_it_alone(world: World) -> None:
    light, heavy = await tenant(world, "light"), await tenant(world, "heavy", weight=3)
    of_light, of_heavy = [await each.subscription(ADDRESS) for each in (light, heavy)]
    await light.deliver_many(of_light, 30)
    await heavy.deliver_many(of_heavy, 300)
    async with made_turns(world) as turns:
        await sweep(turns)
        taken = await turns.take(100)
        assert (of(taken, [of_light]), of(taken, [of_heavy])) == (25, 75)
        # The other one has but five left.
        taken = await turns.take(100)
        assert (of(taken, [of_light]), of(taken, [of_heavy])) == (5, 95)
        assert of(await turns.take(100), [of_heavy]) == 100


async def test_tenants_with_crowds_of_subscriptions_take_turns_by_their_weights(world: World) -> None:
    light = await many(await tenant(world, "light"), 60)
    heavy = await many(await tenant(world, "heavy", weight=3), 60)
    async with made_turns(world) as turns:
        await sweep(turns)
        taken = await turns.take(40)
    assert (of(taken, light), of(taken, heavy)) == (10, 30)


async def test_turn_leaves_room_for_every_tenant_beside_a_crowd_of_subscriptions(world: World, turns: Turns) -> None:
    crowd = await many(await tenant(world, "crowd"), 300)
    await sweep(turns)
    quiet = await many(await tenant(world, "quiet"), 3)
    await sweep(turns)
    taken = await turns.take(10)
    assert of(taken, quiet) == 3
    assert of(taken, crowd) == 7


async def test_subscriptions_of_a_crowd_all_have_their_turn(world: World, turns: Turns) -> None:
    names = await many(world, 55)
    for name in names[:5]:
        await world.deliver_many(name, 30)
    await sweep(turns)
    served: Counter[UUID] = Counter()
    for _ in range(12):
        served.update(rung.subscription_id for rung in (await turns.take(10)).rung)
    assert set(served) == set(names)


async def test_a_crowd_whose_deliveries_all_went_has_no_second_turn(world: World, turns: Turns) -> None:
    await many(world, 25)
    await sweep(turns)
    assert [len((await turns.take(10)).rung) for _ in range(3)] == [10, 10, 5]
    assert await listed(world) == {}


async def test_turn_gives_unused_shares_to_subscriptions_with_more_deliveries(world: World, turns: Turns) -> None:
    one, many_due = [await world.subscription(ADDRESS) for _ in range(2)]
    await world.deliver(one)
    await world.deliver_many(many_due, 300)
    await sweep(turns)
    taken = await turns.take(200)
    assert (of(taken, [one]), of(taken, [many_due])) == (1, 199)


# -- cost --


async def blocks(world: World) -> int:
    """Return how many blocks of the queue and of the list all statements have read so far."""
    await world.pool.execute("SELECT pg_stat_force_next_flush()")
    await world.pool.execute("SELECT 1")
    return int(
        await world.pool.fetchval(
            "SELECT sum(heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read) FROM pg_statio_user_tables"
            " WHERE relname IN ('delivery_queue', 'due_subscriptions')"
        )
    )


@pytest.fixture
async def alone(world: World) -> AsyncIterator[World]:
    """A world with a single connection, whose statistics include all statements."""
    settings = postgres._POOL_SETTINGS
    async with asyncpg.create_pool(world.database_url, min_size=1, max_size=1, server_settings=settings) as pool:
        # It would read blocks at any time.
        for table in ("delivery_queue", "due_subscriptions"):
            await pool.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
        yield dataclasses.replace(world, pool=pool)


async def test_held_subscriptions_cost_a_turn_nothing(alone: World) -> None:
    async with made_turns(alone) as turns:

        async def cost() -> int:
            await sweep(turns)
            started = await blocks(alone)
            await turns.take(100)
            return await blocks(alone) - started

        before = await cost()
        await many(alone, 3_000, status="paused")
        broken = await many(alone, 1_000)
        for name in broken[:200]:
            await open_breaker(alone, name, seconds=600)
        await alone.pool.execute("DELETE FROM delivery_queue WHERE subscription_id = ANY($1)", broken[200:])
        await alone.pool.execute("DELETE FROM due_subscriptions WHERE subscription_id = ANY($1)", broken[200:])
        await cost()
        assert await cost() <= before + 10


async def test_a_turn_reads_no_more_while_a_snapshot_keeps_what_has_ended(alone: World) -> None:
    subscription = await alone.subscription(ADDRESS)
    other = await asyncpg.connect(alone.database_url)

    async def cost(turns: Turns) -> int:
        await alone.deliver_many(subscription, 50)
        await sweep(turns)
        started = await blocks(alone)
        assert len((await turns.take(50)).rung) == 50
        spent = await blocks(alone) - started
        await alone.pool.execute("DELETE FROM delivery_queue")
        return spent

    try:
        async with other.transaction(isolation="repeatable_read", readonly=True), made_turns(alone) as turns:
            await other.fetchval("SELECT count(*) FROM delivery_queue")
            first = [await cost(turns) for _ in range(5)]
            for _ in range(40):
                await cost(turns)
            last = [await cost(turns) for _ in range(5)]
            assert min(last) <= 2 * max(first)
    finally:
        await other.close()
