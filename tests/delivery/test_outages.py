"""Redis and Postgres become unavailable and come back, and every accepted delivery is still delivered."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import redis.asyncio
import structlog

from dev.embedded import EmbeddedPostgres, EmbeddedValkey, StopMode
from dev.harness.receiver import Receiver, Reply
from dev.harness.redis.primaries import KINDS
from dev.harness.stores import make_database
from dev.harness.waiting import wait_until
from services.domain.doorbell import STREAMS
from tests.delivery.world import PATIENT, Counted, World, opened, outcomes, until_true

pytestmark = pytest.mark.without_redis

DATABASE = "webhook"


# -- Redis --


@pytest.fixture
def valkey(short_folder: Path, free_port: int) -> Iterator[EmbeddedValkey]:
    """A separate Redis for the test."""
    with EmbeddedValkey(short_folder / f"valkey-{free_port}", port=free_port) as running:
        yield running


@pytest.fixture
async def on_valkey(world: World, valkey: EmbeddedValkey) -> World:
    """A world on it."""
    return dataclasses.replace(world, redis_url=valkey.url())


@pytest.fixture
async def away(world: World) -> World:
    """A world without Redis."""
    return dataclasses.replace(world, redis_url="redis://127.0.0.1:1/0")


def heard(source: str) -> Counted:
    """Return how many ids workers got by bells, or found in Postgres."""
    return Counted("webhook_worker_ids_total", source=source)


async def test_a_dispatcher_that_cannot_reach_redis_does_not_stall_the_retries(
    world: World, away: World, receiver: Receiver
) -> None:
    receiver.script(500)
    found = heard("postgres")
    async with world.worker(), away.delivery():
        subscription = await world.subscription(receiver.url())
        delivery = await world.deliver(subscription)
        await world.in_state(delivery, "delivered")
    assert len(receiver.requests) == 2
    assert found() >= 1


async def test_deliveries_and_retries_continue_from_postgres_without_redis(away: World, receiver: Receiver) -> None:
    receiver.script(500, 500)
    found, rung = heard("postgres"), heard("doorbell")
    async with away.running():
        subscription = await away.subscription(receiver.url())
        delivery_ids = [await away.deliver(subscription) for _ in range(20)]
        await away.all_in(subscription, "delivered", 20)
        assert found() >= 22
        assert rung() == 0
    assert len(receiver.requests) == len(delivery_ids) + 2


async def test_workers_without_redis_share_the_work_and_send_each_delivery_once(
    away: World, receiver: Receiver
) -> None:
    async with away.delivery(), away.worker(), away.worker():
        subscription = await away.subscription(receiver.url())
        await away.deliver_many(subscription, 500)
        await away.all_in(subscription, "delivered", 500)
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == len(receiver.requests) == 500


async def test_expired_deleted_and_lost_deliveries_end_without_redis_too(away: World, receiver: Receiver) -> None:
    async with away.running():
        expired = await away.deliver(await away.subscription(receiver.url()), expires_in=-1)
        subscription = await away.subscription(receiver.url())
        deleted = await away.deliver(subscription, due_in=600)
        await away.delete_subscription(subscription)
        leased = await away.deliver(await away.subscription(receiver.url()), due_in=600)
        await away.lease(leased, seconds=-0.1)
        assert (await away.in_state(expired))["reason"] == "expired"
        assert (await away.in_state(deleted))["reason"] == "subscription_deleted"
        assert (await away.in_state(leased))["status"] == "delivered"


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_redis_goes_away_and_comes_back_empty_and_nothing_stops(
    on_valkey: World, valkey: EmbeddedValkey, receiver: Receiver, end: str
) -> None:
    async with on_valkey.running():
        subscription = await on_valkey.subscription(receiver.url())
        rung = heard("doorbell")
        await on_valkey.deliver_many(subscription, 10)
        await on_valkey.all_in(subscription, "delivered", 10)
        await on_valkey.deliver(subscription)
        await on_valkey.all_in(subscription, "delivered", 11)
        await wait_until(lambda: rung() > 0, what="bells to be heard")

        await asyncio.to_thread(valkey.kill if end == "kill" else valkey.stop)
        found = heard("postgres")
        await on_valkey.deliver_many(subscription, 10)
        await on_valkey.all_in(subscription, "delivered", 21)
        assert found() >= 10

        await asyncio.to_thread(valkey.start)
        rung = heard("doorbell")

        async def one_more_by_bell() -> bool:
            await on_valkey.in_state(await on_valkey.deliver(subscription))
            return rung() > 0

        await until_true(one_more_by_bell, "bells to be heard again")
        async with redis.asyncio.Redis.from_url(valkey.url()) as client:

            async def empty() -> bool:
                return not any([await client.xlen(name) for name in STREAMS])

            await until_true(empty, "the stream to be empty")
    ids_seen = [request.headers["webhook-id"] for request in receiver.requests]
    assert len(set(ids_seen)) == len(ids_seen)


# -- Postgres --


@pytest.fixture(scope="module")
def postgres(short_folder: Path) -> Iterator[EmbeddedPostgres]:
    """A separate Postgres for tests that stop it."""
    with EmbeddedPostgres(short_folder / "postgres-delivery", settings={"fsync": "off"}) as running:
        make_database(running, DATABASE)
        yield running


@pytest.fixture
async def on_postgres(postgres: EmbeddedPostgres, redis_url: str) -> AsyncIterator[World]:
    """A world on it."""
    async with opened(postgres.url(DATABASE), redis_url) as made:
        yield made


async def stop(postgres: EmbeddedPostgres) -> None:
    await asyncio.to_thread(postgres.stop, StopMode.IMMEDIATE)


async def start(postgres: EmbeddedPostgres) -> None:
    await asyncio.to_thread(postgres.start)


async def test_outcomes_are_held_while_postgres_is_away_and_recorded_though_their_leases_ran_out(
    on_postgres: World, postgres: EmbeddedPostgres, receiver: Receiver
) -> None:
    receiver.script(then=Reply(hang=True))
    # Until Postgres is away the requests are not to time out, however long that takes.
    leases: dict[str, Any] = {"lease_seconds": 15.0}
    async with on_postgres.delivery(**leases), on_postgres.worker(**leases, delivery_timeout_seconds=10.0):
        subscription = await on_postgres.subscription(receiver.url())
        await on_postgres.deliver_many(subscription, 20)
        await wait_until(lambda: receiver.in_flight == 20, what="all requests to be out")
        began = time.monotonic()
        await stop(postgres)
        receiver.release()
        await wait_until(lambda: time.monotonic() > began + 15.5, what="the leases to run out")
        await start(postgres)
        await all_delivered(on_postgres, subscription, 20)
        rows = await on_postgres.pool.fetch(
            "SELECT outcome, number FROM delivery_attempts WHERE subscription_id = $1", subscription
        )
    assert [(row["outcome"], row["number"]) for row in rows] == [("success", 1)] * 20
    assert len(receiver.requests) == 20


async def run_out(world: World, delivery_id: UUID) -> None:
    """Let a lease be one that ran out, as soon as Postgres is there."""

    async def changed() -> bool:
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await world.lease(delivery_id, seconds=-0.1)
            return True
        return False

    await until_true(changed, "the lease to run out")


async def all_delivered(world: World, subscription: Any, number: int) -> None:
    async def so() -> bool:
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return await world.statuses(subscription) == {"delivered": number}
        return False

    await until_true(so, "all to be delivered")


async def test_leases_are_not_taken_back_for_a_while_after_an_outage(
    on_postgres: World, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.delivery.dispatcher.dispatcher.GUARD_SECONDS", 2.0)
    turns = Counted("webhook_dispatcher_turn_duration_seconds_count")
    with structlog.testing.capture_logs() as logs:
        async with on_postgres.delivery():
            delivery_id = await on_postgres.deliver(await on_postgres.subscription("http://127.0.0.1:1/"), due_in=600)
            await wait_until(lambda: turns() > 0, what="a turn")
            await on_postgres.lease(delivery_id, seconds=600.0)
            await stop(postgres)
            await wait_until(
                lambda: any("a store is unavailable" in each["event"] for each in logs), what="a failed turn"
            )
            # It is there at some time after this.
            back = time.monotonic()
            await start(postgres)
            await run_out(on_postgres, delivery_id)
            await on_postgres.in_state(delivery_id, "pending")
            assert time.monotonic() - back > 1.9
            assert outcomes(await on_postgres.attempts(delivery_id)) == ["interrupted"]


async def test_deliveries_that_waited_before_an_outage_are_delivered_after_it(
    on_postgres: World, postgres: EmbeddedPostgres, receiver: Receiver
) -> None:
    async with on_postgres.running():
        subscription = await on_postgres.subscription(receiver.url())
        await on_postgres.deliver_many(subscription, 50, due_in=0.3)
        await stop(postgres)
        await start(postgres)
        await all_delivered(on_postgres, subscription, 50)
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == len(receiver.requests) == 50


async def test_processes_start_while_postgres_is_away_and_work_once_it_is_there(
    on_postgres: World, postgres: EmbeddedPostgres, receiver: Receiver
) -> None:
    subscription = await on_postgres.subscription(receiver.url())
    delivery_id = await on_postgres.deliver(subscription)
    await stop(postgres)
    starting = asyncio.create_task(start(postgres))
    async with on_postgres.running():
        await starting
        assert (await on_postgres.in_state(delivery_id))["status"] == "delivered"


async def test_a_worker_stops_in_time_while_postgres_is_away(
    on_postgres: World, postgres: EmbeddedPostgres, receiver: Receiver
) -> None:
    receiver.script(then=Reply(hang=True))
    try:
        async with on_postgres.delivery():
            async with on_postgres.worker(**PATIENT, shutdown_grace_seconds=5.0):
                delivery_id = await on_postgres.deliver(await on_postgres.subscription(receiver.url()))
                await receiver.wait_for(1)
                await stop(postgres)
                receiver.release()
                stopping = time.monotonic()
            assert time.monotonic() - stopping < 60
    finally:
        await start(postgres)
    # Claims do not wait for the disk, so Postgres may have lost this one.
    assert (await on_postgres.row(delivery_id))["status"] in {"in_flight", "pending"}


# -- the primary of Redis dies --


@pytest.mark.parametrize("kind", KINDS)
async def test_deliveries_accepted_during_a_failover_are_delivered_and_bells_work_again(
    world: World, receiver: Receiver, kind: str
) -> None:
    with KINDS[kind]() as primaries:
        async with dataclasses.replace(world, redis_url=primaries.url).running():
            subscription = await world.subscription(receiver.url())
            heard = Counted("webhook_worker_ids_total", source="doorbell")

            async def one_by_bell() -> bool:
                await world.in_state(await world.deliver(subscription))
                return heard() > 0

            await until_true(one_by_bell, "bells to be heard")
            failing = asyncio.create_task(asyncio.to_thread(primaries.fail_over))
            meanwhile = [await world.deliver(subscription) for _ in range(20)]
            await failing
            for delivery in meanwhile:
                assert (await world.in_state(delivery))["status"] == "delivered"
            heard = Counted("webhook_worker_ids_total", source="doorbell")
            await until_true(one_by_bell, "bells to be heard again")
