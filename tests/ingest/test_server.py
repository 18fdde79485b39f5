"""The process around the services: reflection, health, partitions, and its bells."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import asyncpg
import redis.asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos.webhook.v1 import subscriptions_pb2
from services.domain import doorbell
from services.ingest.__main__ import SERVICES
from services.platform import errors
from services.platform.stores.postgres import Connection
from tests.ingest.conftest import Breakable, Ingest, eventually, refused, serving

STATUS = health_pb2.HealthCheckResponse
PARTITIONED = ("webhook_events", "event_tags", "webhook_deliveries", "unsuccessful_deliveries", "delivery_attempts")


async def test_reflection_lists_the_services(ingest: Ingest) -> None:
    stub = cast("Any", reflection_pb2_grpc.ServerReflectionStub)(ingest.channel)
    answers = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    names = [service.name async for answer in answers for service in answer.list_services_response.service]
    assert {
        "webhook.v1.IngestService",
        "webhook.v1.SubscriptionService",
        "webhook.v1.AccessService",
        "webhook.v1.AuditService",
        "webhook.v1.CatalogService",
        "webhook.v1.SystemService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    } == set(names)


async def _health(ingest: Ingest, service: str) -> int:
    stub: Any = health_pb2_grpc.HealthStub(ingest.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=60)
    return int(answer.status)


async def test_health_follows_postgres(breakable: Breakable) -> None:
    async with serving(breakable.database_url, breakable.redis_url) as ingest:

        async def healthy(service: str, status: int) -> bool:
            return await _health(ingest, service) == status

        for service in ("", *SERVICES):
            await eventually(lambda service=service: healthy(service, STATUS.SERVING), f"{service} to serve")  # type: ignore[misc]
        breakable.postgres.kill()
        for service in ("", *SERVICES):
            await eventually(lambda service=service: healthy(service, STATUS.NOT_SERVING), f"{service} to be away")  # type: ignore[misc]
        breakable.postgres.start()
        await eventually(lambda: healthy("", STATUS.SERVING), "to serve again")


# -- partitions --


def _today() -> datetime:
    return datetime.now(UTC)


async def _age(connection: Connection, days: int) -> None:
    """Make the database look as if nothing had run for this many days."""
    last = _today().date() - timedelta(days=days)
    await connection.execute("SELECT create_partitions($1::date - 8, $1::date)", last)
    for parent in PARTITIONED:
        for row in await connection.fetch(
            "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relname ~ $1", f"^{parent}_[0-9]{{8}}$"
        ):
            if row["relname"] > f"{parent}_{last:%Y%m%d}":
                await connection.execute(f"DROP TABLE {row['relname']}")


async def test_a_database_that_nothing_ran_on_for_ten_days_still_accepts(database: str, redis_url: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        await _age(connection, 10)
        newest = await connection.fetchval(
            "SELECT max(relname) FROM pg_class WHERE relname ~ '^webhook_events_[0-9]{8}$'"
        )
        assert newest == f"webhook_events_{_today() - timedelta(days=10):%Y%m%d}"
    finally:
        await connection.close()
    async with serving(database, redis_url) as ingest:
        accepted = await ingest.send((await ingest.create()).id)
        assert len(await ingest.deliveries(accepted.event_id)) == 1
        for ahead in range(-1, 8):
            day = f"{_today() + timedelta(days=ahead):%Y%m%d}"
            for parent in PARTITIONED:
                assert await ingest.pool.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{parent}_{day}"), (
                    parent,
                    day,
                )


async def test_an_event_whose_partition_is_not_made_yet_is_worth_another_try(alone: Ingest) -> None:
    made = await alone.create()
    async with alone.pool.acquire() as connection:
        await _age(connection, 10)
    error = await refused(alone.send(made.id))
    assert isinstance(error, errors.Unavailable)
    await alone.pool.execute("SELECT create_current_partitions()")
    assert (await alone.send(made.id)).deliveries == 1


# -- bells --


async def _bells(redis_url: str) -> list[UUID]:
    """Return the ids of all messages in the stream, as a worker reads them."""
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        entries: Any = await client.xrange(doorbell.PROMPT)
    bells = [doorbell.heard(fields[b"data"]) for _, fields in entries]
    return [one for bell in bells for delivered in bell.values() for one in delivered]


async def test_an_accepted_delivery_is_rung_for_and_left_alone_by_the_dispatcher_meanwhile(
    alone: Ingest, redis_url: str
) -> None:
    accepted = await alone.send((await alone.create()).id)

    async def rung() -> bool:
        return await _bells(redis_url) == [UUID(accepted.delivery_id)]

    await eventually(rung, "the bell")
    (row,) = await alone.deliveries(accepted.event_id)
    assert doorbell.RUNG_SECONDS - 5 < row["due_in_seconds"] <= doorbell.RUNG_SECONDS


async def test_bells_carry_every_delivery_of_a_batch_and_of_a_fan_out(alone: Ingest, redis_url: str) -> None:
    made = [await alone.create(event_types=["a"]) for _ in range(3)]
    await alone.batch(*(alone.item(one.id) for one in made), alone.item(event_type="a"), alone.item(event_type="b"))
    stored = {row["id"] for row in await alone.pool.fetch("SELECT id FROM webhook_deliveries")}
    assert len(stored) == 6

    async def rung() -> bool:
        return sorted(await _bells(redis_url)) == sorted(stored)

    await eventually(rung, "every bell")


async def test_a_repeated_call_rings_no_second_time(alone: Ingest, redis_url: str) -> None:
    made = await alone.create()
    item = alone.item(made.id, event_id="")
    first = await alone.send_item(item)
    item.event_id = first.event_id
    await alone.send_item(item)
    last = await alone.send(made.id)

    async def rung() -> bool:
        return UUID(last.delivery_id) in await _bells(redis_url)

    await eventually(rung, "the last bell")
    assert await _bells(redis_url) == [UUID(first.delivery_id), UUID(last.delivery_id)]


async def test_delivery_that_is_not_rung_for_gives_its_subscription_a_turn_unless_it_has_one(alone: Ingest) -> None:
    limited, paused = (await alone.create(rate_limit_per_second=10.0)).id, (await alone.create()).id
    rung = (await alone.create()).id
    await alone.set_status(paused, subscriptions_pb2.SUBSCRIPTION_ACTION_PAUSE)
    turns = "SELECT subscription_id, turn_at, due_from, xmin::text, xmax::text FROM due_subscriptions"
    await alone.pool.execute("DELETE FROM due_subscriptions")
    for made in (paused, rung, limited):
        await alone.send(made)
    ((turn, *_), *others) = before = await alone.pool.fetch(turns)
    assert (str(turn), others) == (limited, [])
    await alone.send(limited)
    assert await alone.pool.fetch(turns) == before
    # One that waits for a retry.
    await alone.pool.execute("UPDATE due_subscriptions SET (turn_at, due_from) = (now() + '1 hour', now() + '1 hour')")
    await alone.send(limited)
    assert await alone.pool.fetchval("SELECT turn_at <= now() AND due_from <= now() FROM due_subscriptions")


async def test_bells_of_one_tenant_that_nobody_reads_keep_no_other_tenant_from_being_rung_for(alone: Ingest) -> None:
    busy, quiet = await alone.of("busy"), await alone.of("quiet")
    (made, own) = (await busy.create()).id, (await quiet.create()).id

    async def left() -> bool:
        accepted = await busy.send(made)
        (row,) = await busy.deliveries(accepted.event_id)
        return bool(row["due_in_seconds"] <= 0)

    await eventually(left, "a delivery that is left to the dispatcher")
    accepted = await quiet.send(own)
    (row,) = await quiet.deliveries(accepted.event_id)
    assert row["due_in_seconds"] > 0
    assert await left()


async def test_a_stream_that_is_full_leaves_new_deliveries_to_the_dispatcher(alone: Ingest, redis_url: str) -> None:
    made = await alone.create()
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        pipeline = client.pipeline()
        for _ in range(doorbell.NEW_MARK.messages):
            pipeline.xadd(doorbell.PROMPT, {b"data": b"x"})
        await pipeline.execute()

        async def left() -> bool:
            accepted = await alone.send(made.id)
            (row,) = await alone.deliveries(accepted.event_id)
            return bool(row["due_in_seconds"] <= 0)

        await eventually(left, "a delivery that is due at once")
        assert await client.xlen(doorbell.PROMPT) <= doorbell.NEW_MARK.messages + 2
