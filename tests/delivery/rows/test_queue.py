"""The purpose of the queue: updates in place, and no work for deleted rows, even with an open snapshot."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from dev.harness.stores import Stores
from services.delivery.worker import decisions
from services.delivery.worker.claims import Claim, Outcome
from services.delivery.worker.store import WorkerStore
from services.domain import deliveries
from services.domain.states import DeliveryStatus
from services.platform.auth import identity
from services.platform.stores import postgres
from tests.delivery.worker.test_decisions import POLICY
from tests.delivery.world import World, attempt, until_true

BATCH = 100
# Deliveries that end while the snapshot is open.
ENDED = 3_000


@contextlib.asynccontextmanager
async def snapshot(world: World) -> AsyncIterator[None]:
    """Keep a snapshot open, as a backup does."""
    connection = await asyncpg.connect(world.database_url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.fetchval("SELECT count(*) FROM delivery_queue")
            yield
    finally:
        await connection.close()


@pytest.fixture
async def alone(world: World) -> AsyncIterator[World]:
    """A world with a single connection, whose statistics include all statements."""
    async with asyncpg.create_pool(world.database_url, min_size=1, max_size=1) as pool:
        yield dataclasses.replace(world, pool=pool)


def outcome(claim: Claim, kind: str = "success") -> Outcome:
    return decisions.decide(claim, [attempt(kind, claim)], POLICY)


async def send(world: World, delivery_ids: list[UUID]) -> None:
    """Claim and end deliveries, as workers do."""
    store = WorkerStore(world.pool, world.worker_settings())
    for start in range(0, len(delivery_ids), BATCH):
        claims = await store.claim(delivery_ids[start : start + BATCH])
        await store.record([outcome(claim) for claim in claims])


async def updates(world: World, table: str) -> tuple[int, int]:
    """Return the number of updates of a table with its partitions, and how many of them were in place."""
    await world.pool.execute("SELECT pg_stat_force_next_flush()")
    await world.pool.execute("SELECT 1")
    row = await world.pool.fetchrow(
        "SELECT sum(n_tup_upd)::int AS all, sum(n_tup_hot_upd)::int AS hot FROM pg_stat_user_tables"
        " WHERE relname ~ ('^' || $1 || '(_[0-9]{8})?$')",
        table,
    )
    assert row
    return row["all"], row["hot"]


async def blocks(world: World) -> int:
    """Return how many blocks of the queue and its indexes all statements have read so far."""
    await world.pool.execute("SELECT pg_stat_force_next_flush()")
    await world.pool.execute("SELECT 1")
    return int(
        await world.pool.fetchval(
            "SELECT heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read FROM pg_statio_user_tables"
            " WHERE relname = 'delivery_queue'"
        )
    )


async def test_claims_and_ends_are_in_place_while_a_snapshot_is_open(alone: World) -> None:
    before = {table: await updates(alone, table) for table in ("delivery_queue", "webhook_deliveries")}
    async with snapshot(alone):
        delivery_ids = await alone.deliver_many(await alone.subscription("http://127.0.0.1:1/"), ENDED)
        await send(alone, delivery_ids)
    for table, (all_before, hot_before) in before.items():
        every, hot = await updates(alone, table)
        assert (every - all_before, hot - hot_before) == (ENDED, ENDED), table


async def test_claims_and_outcomes_read_no_more_while_a_snapshot_keeps_what_has_ended(alone: World) -> None:
    subscription = await alone.subscription("http://127.0.0.1:1/")

    async def cost() -> int:
        delivery_ids = await alone.deliver_many(subscription, BATCH)
        started = await blocks(alone)
        await send(alone, delivery_ids)
        return await blocks(alone) - started

    async with snapshot(alone):
        before = await cost()
        await send(alone, await alone.deliver_many(subscription, ENDED))
        assert await cost() <= 2 * before


async def test_cancelling_in_chunks_passes_nothing_twice_while_a_snapshot_is_open(alone: World) -> None:
    async def cost(number: int) -> int:
        subscription = await alone.subscription("http://127.0.0.1:1/")
        for chunk in range(number // BATCH):
            await alone.deliver_many(subscription, BATCH, due_in=chunk)
        started = await blocks(alone)
        assert await deliveries.cancel_waiting(alone.pool, subscription, limit=BATCH) == number
        return await blocks(alone) - started

    async with snapshot(alone):
        few = await cost(5 * BATCH)
        assert await cost(ENDED) <= 2 * few * ENDED / (5 * BATCH)


@contextlib.asynccontextmanager
async def retried(world: World, delivery_id: UUID) -> AsyncIterator[None]:
    """While someone retries a delivery by hand and has not committed yet."""
    statement = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"

    async def waits() -> bool:
        return bool(await world.pool.fetchval(statement))

    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM webhook_deliveries WHERE id = $1 FOR UPDATE", delivery_id)
        await connection.execute(
            "INSERT INTO delivery_queue (delivery_id, event_id, subscription_id, tenant_id, due_at, expires_at)"
            " SELECT id, event_id, subscription_id, tenant_id, now(), now() + interval '1 hour'"
            " FROM webhook_deliveries WHERE id = $1",
            delivery_id,
        )
        await connection.execute(
            "UPDATE webhook_deliveries SET status = 'pending', completed_at = NULL WHERE id = $1", delivery_id
        )
        yield
        await until_true(waits, "the other to wait")


async def test_a_late_success_that_waits_for_a_retry_by_hand_ends_what_was_retried(world: World) -> None:
    delivery_id = await world.deliver(await world.subscription("http://127.0.0.1:1/"))
    store = WorkerStore(world.pool, world.worker_settings())
    (lost,) = await store.claim([delivery_id])
    await world.put(delivery_id, status="delivered")
    async with retried(world, delivery_id):
        late = asyncio.ensure_future(store.record([outcome(lost)]))
    assert await late == {delivery_id: DeliveryStatus.DELIVERED}
    assert (await world.row(delivery_id))["status"] == "delivered"
    await world.agrees()


@pytest.mark.parametrize("by", ["retry", "cancel"])
async def test_a_change_by_hand_that_waits_for_a_retry_by_hand_follows_it(world: World, by: str) -> None:
    identity.CALLER.set(identity.INTERNAL)
    delivery_id = await world.deliver(await world.subscription("http://127.0.0.1:1/"))
    await world.put(delivery_id, status="cancelled")
    await world.pool.execute("DELETE FROM unsuccessful_deliveries")  # as the retry does
    async with retried(world, delivery_id):
        change = world.retry(delivery_id) if by == "retry" else world.store().cancel("default", delivery_id)
        waiting: asyncio.Future[object] = asyncio.ensure_future(change)
    await waiting
    assert (await world.row(delivery_id))["status"] == ("pending" if by == "retry" else "cancelled")
    await world.agrees()


async def test_a_pending_delivery_that_the_queue_lost_is_repaired_by_a_retry(world: World) -> None:
    identity.CALLER.set(identity.INTERNAL)
    delivery_id = await world.deliver(await world.subscription("http://127.0.0.1:1/"))
    await world.pool.execute("DELETE FROM delivery_queue")
    await world.retry(delivery_id)
    row = await world.row(delivery_id)
    assert (row["status"], row["queued"]) == ("pending", True)


async def test_a_retry_by_hand_starts_the_schedule_of_what_has_ended_again(world: World) -> None:
    identity.CALLER.set(identity.INTERNAL)
    delivery_id = await world.deliver(await world.subscription("http://127.0.0.1:1/"))
    store = WorkerStore(world.pool, world.worker_settings())
    (claim,) = await store.claim([delivery_id])
    failed = Outcome(claim=claim, status=DeliveryStatus.FAILED, failures=1, attempts=[attempt("http_5xx", claim)])
    await store.record([failed])
    await world.agrees()
    await world.retry(delivery_id)
    row = await world.row(delivery_id)
    assert (row["status"], row["attempt_count"], row["failure_count"]) == ("pending", 1, 0)
    assert row["completed_at"] is None
    assert (row["expires_at"] - datetime.now(UTC)).total_seconds() > 167 * 3600
    await world.agrees()


async def test_plans_made_on_empty_tables_read_each_delivery_once(stores: Stores) -> None:
    """A plan is kept until the next ANALYZE, and the first one of a day is made while its partition is empty."""
    with stores.database() as url:
        async with asyncpg.create_pool(url, min_size=1, max_size=1, server_settings=postgres._POOL_SETTINGS) as pool:
            world = World(pool=pool, database_url=url, redis_url=stores.redis_url())
            subscription = await world.subscription("http://127.0.0.1:1/")
            await send(world, await world.deliver_many(subscription, 1))
            before = await fetched(world)
            await send(world, await world.deliver_many(subscription, ENDED))
            after = await fetched(world)
    # Once when they are created here, and once when they end.
    assert after["webhook_deliveries"] - before["webhook_deliveries"] <= 2 * ENDED + BATCH
    # Locked and claimed, locked and deleted.
    assert after["delivery_queue"] - before["delivery_queue"] <= 5 * ENDED + BATCH


async def test_plans_made_after_an_empty_queue_was_analyzed_read_only_the_batch(stores: Stores) -> None:
    """Else a batch reads everything that waits, until the queue is analyzed again."""
    with stores.database() as url:
        async with asyncpg.create_pool(url, min_size=1, max_size=1, server_settings=postgres._POOL_SETTINGS) as pool:
            world = World(pool=pool, database_url=url, redis_url=stores.redis_url())
            subscription = await world.subscription("http://127.0.0.1:1/")
            await send(world, await world.deliver_many(subscription, 50))
            await pool.execute("ANALYZE delivery_queue")
            await world.deliver_many(subscription, 2_000)
            before = await fetched(world)
            for _ in range(10):
                await send(world, await world.deliver_many(subscription, 20))
            after = await fetched(world)
    assert after["delivery_queue"] - before["delivery_queue"] <= 2_000


async def fetched(world: World) -> dict[str, int]:
    """Return how many rows index scans of tables, with their partitions, have fetched so far."""
    await world.pool.execute("SELECT pg_stat_force_next_flush()")
    await world.pool.execute("SELECT 1")
    rows = await world.pool.fetch(
        "SELECT regexp_replace(relname, '_[0-9]{8}$', '') AS name, sum(idx_tup_fetch)::int AS number"
        " FROM pg_stat_user_tables GROUP BY 1"
    )
    return {row["name"]: row["number"] or 0 for row in rows}
