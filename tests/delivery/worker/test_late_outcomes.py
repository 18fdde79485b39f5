"""Outcomes that arrive after their claim was lost: each attempt is kept, under its own number."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from dev.embedded import EmbeddedPostgres, Guard
from dev.embedded.cluster import StopMode
from dev.harness.stores import make_database
from services.delivery.worker import decisions
from services.delivery.worker.claims import Claim, Outcome
from services.delivery.worker.store import WorkerStore
from services.domain.retry_policy import RetryPolicy
from services.domain.states import DeliveryStatus
from services.platform import errors
from tests.delivery.world import World, attempt

POLICY = RetryPolicy(limit=5, base_seconds=100, factor=1, cap_seconds=100, jitter=0)


@pytest.fixture
async def store(world: World) -> WorkerStore:
    return WorkerStore(world.pool, world.worker_settings())


async def made(world: World) -> UUID:
    return await world.deliver(await world.subscription("http://127.0.0.1:1/"))


async def claim(store: WorkerStore, delivery_id: UUID) -> Claim:
    (claimed,) = await store.claim([delivery_id])
    return claimed


async def lose(world: World, *claimed: Claim) -> None:
    """Let the leases of claims run out."""
    await world.pool.execute("UPDATE delivery_queue SET lease_until = now() - interval '1 second'")
    await world.dispatcher_store().expire_leases([each.id for each in claimed])


async def retry(world: World, delivery_id: UUID) -> None:
    await world.retry(delivery_id)


def outcome(claimed: Claim, *kinds: str) -> Outcome:
    return decisions.decide(claimed, [attempt(kind, claimed) for kind in kinds], POLICY)


async def test_attempts_have_the_type_of_their_event_whoever_records_them(world: World, store: WorkerStore) -> None:
    subscription = await world.subscription("http://127.0.0.1:1/")
    recorded, lost = [await world.deliver(subscription, event_type="order.created") for _ in range(2)]
    claimed = [await claim(store, delivery_id) for delivery_id in (recorded, lost)]
    await lose(world, claimed[1])
    await store.record([outcome(claimed[0], "connection_lost", "http_5xx")])
    interrupted = await world.attempts(lost)
    await store.record([outcome(claimed[1], "http_5xx", "success")])

    assert [each["outcome"] for each in interrupted] == ["interrupted"]
    attempts = [*interrupted, *await world.attempts(recorded), *await world.attempts(lost)]
    assert [each["event_type"] for each in attempts] == ["order.created"] * 5


async def log(world: World, delivery_id: UUID) -> list[tuple[int, str]]:
    return [(each["number"], each["outcome"]) for each in await world.attempts(delivery_id)]


async def state(world: World, delivery_id: UUID) -> tuple[Any, ...]:
    row = await world.row(delivery_id)
    return row["status"], row["attempt_count"]


async def test_a_late_success_after_a_repeated_request_is_beside_what_a_further_claim_recorded(
    world: World, store: WorkerStore
) -> None:
    delivery_id = await made(world)
    first = await claim(store, delivery_id)
    await lose(world, first)
    await store.record([outcome(await claim(store, delivery_id), "http_5xx")])
    assert await state(world, delivery_id) == ("scheduled", 2)
    assert await store.record([outcome(first, "connection_lost", "success")]) == {delivery_id: "delivered"}
    assert await state(world, delivery_id) == ("delivered", 3)
    assert await log(world, delivery_id) == [(1, "connection_lost"), (2, "http_5xx"), (3, "success")]
    assert [each["final"] for each in await world.attempts(delivery_id)] == [False, False, True]


async def test_a_late_failure_leaves_the_number_of_the_claim_that_is_out(world: World, store: WorkerStore) -> None:
    delivery_id = await made(world)
    first = await claim(store, delivery_id)
    await lose(world, first)
    second = await claim(store, delivery_id)
    await store.record([outcome(first, "connection_lost", "http_5xx")])
    await store.record([outcome(second, "success")])
    assert await state(world, delivery_id) == ("delivered", 3)
    assert await log(world, delivery_id) == [(1, "connection_lost"), (2, "http_5xx"), (3, "success")]


async def test_a_late_success_ends_a_delivery_that_another_worker_has(world: World, store: WorkerStore) -> None:
    delivery_id = await made(world)
    first = await claim(store, delivery_id)
    await lose(world, first)
    second = await claim(store, delivery_id)
    assert await store.record([outcome(first, "success")]) == {delivery_id: "delivered"}
    assert await state(world, delivery_id) == ("delivered", 1)
    await store.record([outcome(second, "http_5xx")])
    assert (await state(world, delivery_id))[0] == "delivered"


async def test_claim_handed_back_without_a_request_leaves_no_gap_in_the_attempt_numbers(
    world: World, store: WorkerStore
) -> None:
    delivery_id = await made(world)
    first = await claim(store, delivery_id)
    await lose(world, first)
    second = await claim(store, delivery_id)
    await store.record([outcome(first, "connection_lost", "http_5xx")])
    await store.record([Outcome(claim=second, status=DeliveryStatus.PENDING)])
    await store.record([outcome(await claim(store, delivery_id), "success")])
    assert await log(world, delivery_id) == [(1, "connection_lost"), (2, "http_5xx"), (3, "success")]


async def test_an_outcome_that_is_recorded_again_does_not_end_a_retry_by_hand(world: World, store: WorkerStore) -> None:
    """The first response was lost, and someone requested the delivery again in the meantime."""
    delivery_id = await made(world)
    recorded = outcome(await claim(store, delivery_id), "success")
    await store.record([recorded])
    await retry(world, delivery_id)
    assert await store.record([recorded]) == {}
    assert await state(world, delivery_id) == ("pending", 1)
    await store.record([outcome(await claim(store, delivery_id), "success")])
    assert await log(world, delivery_id) == [(1, "success"), (2, "success")]


@pytest.mark.parametrize("ended", ["failed", "cancelled"])
async def test_a_late_success_is_recorded_and_leaves_what_has_ended(
    world: World, store: WorkerStore, ended: str
) -> None:
    delivery_id = await made(world)
    first = await claim(store, delivery_id)
    await lose(world, first)
    await world.put(delivery_id, status=ended)
    assert await store.record([outcome(first, "success")]) == {}
    assert await state(world, delivery_id) == (ended, 1)
    assert await log(world, delivery_id) == [(1, "success")]


async def test_the_last_attempt_of_a_delivery_that_lost_its_workers_stays_the_last(
    world: World, store: WorkerStore
) -> None:
    delivery_id = await made(world)
    await world.set(delivery_id, interrupted_count=9)
    first = await claim(store, delivery_id)
    await lose(world, first)
    assert (await world.row(delivery_id))["reason"] == "worker_lost"
    await store.record([outcome(first, "http_5xx")])
    (last,) = await world.attempts(delivery_id)
    assert (last["outcome"], last["final"]) == ("http_5xx", True)


CODES = {"success": 200, "http_4xx": 404, "http_5xx": 503}


def answered(claimed: Claim, *kinds: str) -> Outcome:
    """Return an outcome whose attempts have status codes."""
    attempts = [attempt(kind, claimed, status_code=CODES.get(kind)) for kind in kinds]
    return decisions.decide(claimed, attempts, POLICY)


async def last_answer(world: World, delivery_id: UUID) -> tuple[Any, ...]:
    """Return what searches know of the last attempt: number, status code and error."""
    row = await world.pool.fetchrow(
        "SELECT attempt_count, last_status_code, last_error_kind FROM delivery_queue WHERE delivery_id = $1"
        " UNION ALL"
        " SELECT attempt_count, last_status_code, last_error_kind FROM unsuccessful_deliveries WHERE id = $1",
        delivery_id,
    )
    return tuple(row or ())


async def test_what_a_late_attempt_got_is_what_the_last_attempt_got_if_it_is_the_last(
    world: World, store: WorkerStore
) -> None:
    delivery_id = await made(world)
    first = await claim(store, delivery_id)
    await lose(world, first)
    assert await last_answer(world, delivery_id) == (1, None, "interrupted")
    second = await claim(store, delivery_id)
    await store.record([answered(first, "http_5xx")])
    assert await last_answer(world, delivery_id) == (1, 503, "http_5xx")
    await lose(world, second)
    third = await claim(store, delivery_id)
    await store.record([answered(third, "timeout")])
    # The second is not the last any more.
    await store.record([answered(second, "http_4xx")])
    assert await last_answer(world, delivery_id) == (3, None, "timeout")


async def test_what_a_late_attempt_got_is_found_of_a_delivery_that_has_ended(world: World, store: WorkerStore) -> None:
    delivery_id = await made(world)
    await world.set(delivery_id, interrupted_count=9)
    first = await claim(store, delivery_id)
    await lose(world, first)
    assert await last_answer(world, delivery_id) == (1, None, "interrupted")
    await store.record([answered(first, "connection_lost", "http_5xx")])
    assert await last_answer(world, delivery_id) == (2, 503, "http_5xx")
    again = await made(world)
    first = await claim(store, again)
    await lose(world, first)
    await world.put(again, status="failed")
    await store.record([answered(first, "success")])
    assert await last_answer(world, again) == (1, 200, None)


async def test_late_outcomes_of_several_deliveries_are_recorded_together(world: World, store: WorkerStore) -> None:
    subscription = await world.subscription("http://127.0.0.1:1/")
    delivery_ids = await world.deliver_many(subscription, 5)
    claims = await store.claim(delivery_ids)
    await lose(world, *claims)
    late = [outcome(each, "success" if index % 2 else "http_5xx") for index, each in enumerate(claims)]
    changed = await store.record(late)
    assert changed == {each.id: "delivered" for each in claims[1::2]}
    assert await world.statuses(subscription) == {"delivered": 2, "pending": 3}


async def test_a_delivery_whose_day_is_no_longer_kept_is_passed_over(world: World, store: WorkerStore) -> None:
    delivery_id = await made(world)
    first = await claim(store, delivery_id)
    for table, key in (("delivery_queue", "delivery_id"), ("webhook_deliveries", "id")):
        await world.pool.execute(f"DELETE FROM {table} WHERE {key} = $1", delivery_id)
    assert await store.record([outcome(first, "success")]) == {}
    with pytest.raises(errors.NotFound):
        await world.store().delivery("default", delivery_id)
    assert await world.attempts(delivery_id) == []


@pytest.fixture
def forgetful() -> Iterator[EmbeddedPostgres]:
    """A Postgres that writes what nobody waits for 10 s later."""
    folder = Path(tempfile.mkdtemp(prefix="tests-"))
    try:
        with (
            Guard() as guard,
            EmbeddedPostgres(folder / "postgres", guard=guard, settings={"wal_writer_delay": "10s"}) as postgres,
        ):
            make_database(postgres, "claims")
            # The 10 s begin with its start.
            postgres.stop()
            postgres.start()
            yield postgres
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def test_attempts_under_claims_that_a_crash_of_postgres_undid_are_recorded(forgetful: EmbeddedPostgres) -> None:
    """A claim does not wait for the disk. What was accepted, and outcomes, do."""
    url = forgetful.url("claims")
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool:
        world = World(pool=pool, database_url=url, redis_url="")
        subscription = await world.subscription("http://127.0.0.1:1/")
        kept, *lost = [await world.deliver(subscription) for _ in range(3)]
        store = WorkerStore(pool, world.worker_settings())
        await store.record([outcome(await claim(store, kept), "success")])
        claims = [await claim(store, each) for each in lost]
        forgetful.stop(StopMode.IMMEDIATE)
    forgetful.start()
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool:
        world = World(pool=pool, database_url=url, redis_url="")
        assert [(await world.row(each))["status"] for each in (kept, *lost)] == ["delivered", "pending", "pending"]
        store = WorkerStore(pool, world.worker_settings())
        delivered, failed = claims
        recorded = await store.record([outcome(delivered, "success"), outcome(failed, "timeout")])
        assert recorded == {delivered.id: DeliveryStatus.DELIVERED}
        assert [(await world.row(each))["status"] for each in lost] == ["delivered", "pending"]
        assert [await log(world, each) for each in lost] == [[(1, "success")], [(1, "timeout")]]
        await world.agrees()
