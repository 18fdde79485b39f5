"""Batches lock rows by id, whatever order they get them in, so that two batches never deadlock."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from uuid import UUID

import asyncpg
import pytest

from services.delivery.worker import decisions
from services.delivery.worker.claims import Claim, Outcome
from services.delivery.worker.store import WorkerStore
from services.domain import deliveries
from services.ingest.events import store as ingest
from services.platform import ids
from services.platform.stores.postgres import Connection
from tests.delivery.worker.test_decisions import POLICY
from tests.delivery.world import World, attempt, until_true

ROWS = 8


def outcome(claim: Claim) -> Outcome:
    return decisions.decide(claim, [attempt("success", claim)], POLICY)


@contextlib.asynccontextmanager
async def waiting(world: World, held: Connection, statement: Awaitable[object]) -> AsyncIterator[None]:
    """Run while a statement waits for a lock of another transaction."""
    task = asyncio.ensure_future(statement)

    async def waits() -> bool:
        return bool(await world.pool.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))

    try:
        await until_true(waits, "the statement to wait")
        assert not task.done()
        yield
    finally:
        await held.execute("ROLLBACK")
        await task


# A plan that reads rows in the table's order, as a large batch may.
SCANNING = {"enable_indexscan": "off", "enable_bitmapscan": "off", "enable_indexonlyscan": "off"}


@pytest.fixture
async def scanning(world: World) -> AsyncIterator[World]:
    """A world whose statements use sequential scans."""
    async with asyncpg.create_pool(world.database_url, min_size=0, max_size=8, server_settings=SCANNING) as pool:
        yield dataclasses.replace(world, pool=pool)


async def prepared(world: World, name: str) -> tuple[list[UUID], Callable[[], Awaitable[object]]]:
    """Rows, and a statement over all of them; both are ordered from the greatest id to the least."""
    delivery_ids, statement = await _prepared(world, name)
    for delivery_id in delivery_ids:
        await world.set(delivery_id, failure_count=0)
    return delivery_ids, statement


async def _prepared(world: World, name: str) -> tuple[list[UUID], Callable[[], Awaitable[object]]]:
    subscription = await world.subscription("http://127.0.0.1:1/")
    delivery_ids = sorted(await world.deliver_many(subscription, ROWS), reverse=True)
    store = WorkerStore(world.pool, world.worker_settings())
    if name == "mark_due":
        return delivery_ids, lambda: deliveries.mark_due(world.pool, delivery_ids)
    claims = {claim.id: claim for claim in await store.claim(delivery_ids)}
    ordered = [claims[delivery_id] for delivery_id in delivery_ids]
    if name == "renew":
        return delivery_ids, lambda: store.renew(ordered)
    if name == "record_late":
        await world.pool.execute("UPDATE delivery_queue SET lease_until = now() - interval '1 second'")
        await world.dispatcher_store().expire_leases(delivery_ids)
    return delivery_ids, lambda: store.record([outcome(claim) for claim in ordered])


@pytest.mark.parametrize("name", ["mark_due", "renew", "record", "record_late"])
async def test_a_batch_that_waits_for_its_least_row_holds_no_other(scanning: World, name: str) -> None:
    world = scanning
    delivery_ids, statement = await prepared(world, name)
    async with world.pool.acquire() as held, world.pool.acquire() as looking:
        await held.execute("BEGIN")
        await held.execute("SELECT FROM delivery_queue WHERE delivery_id = $1 FOR UPDATE", delivery_ids[-1])
        async with waiting(world, held, statement()):
            free = await looking.fetch("SELECT delivery_id FROM delivery_queue FOR UPDATE SKIP LOCKED")
            assert {row["delivery_id"] for row in free} == set(delivery_ids[:-1])


@pytest.mark.parametrize("name", ["begin_probes", "give_up_probes"])
async def test_probes_are_begun_and_given_up_in_one_order(world: World, name: str) -> None:
    names: Sequence[UUID] = sorted((ids.new() for _ in range(ROWS)), reverse=True)
    state = "open" if name == "begin_probes" else "half_open"
    await world.pool.execute(
        "INSERT INTO subscription_health (subscription_id, breaker, probe_at)"
        " SELECT id, $2, now() FROM unnest($1::uuid[]) AS id",
        names, state,
    )  # fmt: skip
    store = world.dispatcher_store()
    async with world.pool.acquire() as held, world.pool.acquire() as looking:
        await held.execute("BEGIN")
        await held.execute("SELECT FROM subscription_health WHERE subscription_id = $1 FOR UPDATE", names[-1])
        if name == "begin_probes":  # it leaves locked rows to their owners
            assert await store.begin_probes(dict.fromkeys(names, ids.new())) == set(names[:-1])
            await held.execute("ROLLBACK")
            return
        async with waiting(world, held, store.give_up_probes(names)):
            query = "SELECT subscription_id FROM subscription_health WHERE subscription_id = ANY($1)"
            free = await looking.fetch(f"{query} FOR UPDATE SKIP LOCKED", names)
            assert {row["subscription_id"] for row in free} == set(names[:-1])


async def test_events_are_stored_in_the_order_of_their_ids(world: World) -> None:
    """A cancelled call continues in Postgres while its repetition arrives in another batch."""
    subscription = await world.subscription("http://127.0.0.1:1/")
    events = sorted((ids.new() for _ in range(ROWS)), reverse=True)
    arguments = [
        events, ["default"] * ROWS, [None] * ROWS, ["text/plain"] * ROWS, [b"x"] * ROWS,
        [ids.of_delivery(event, subscription) for event in events], events, [subscription] * ROWS, [0.0] * ROWS, 168,
        [None] * ROWS, [None] * ROWS, [False] * ROWS, None, 0.0, [None] * ROWS, [None] * ROWS,
    ]  # fmt: skip
    insert = (
        "INSERT INTO webhook_events (id, tenant_id, content_type, payload) VALUES ($1, 'default', 'text/plain', '')"
    )
    async with world.pool.acquire() as held, world.pool.acquire() as looking:
        await held.execute("BEGIN")
        await held.execute(insert, events[-1])
        async with waiting(world, held, world.pool.fetch(ingest.SQL["insert_events"], *arguments)):
            await looking.execute("SET lock_timeout = '1s'")
            async with looking.transaction():
                await looking.execute("SAVEPOINT before")
                for event in events[:-1]:
                    await looking.execute(insert, event)
                await looking.execute("ROLLBACK TO before")
            await looking.execute("RESET lock_timeout")
    assert await world.statuses(subscription) == {"pending": ROWS}
