"""Doorbells on a real Valkey: messages, acks, sweeping, and behavior while it is unavailable."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import redis.asyncio
from taskiq import AckableMessage

from dev.embedded import EmbeddedValkey
from dev.harness import deliveries
from dev.harness.waiting import PATIENCE_SECONDS, wait_until
from services.delivery.worker import broker as worker_broker
from services.delivery.worker.broker import Broker
from services.domain import doorbell
from services.domain.doorbell import Ringer, Rung
from services.domain.tenants import weights
from services.platform import ids
from services.platform.process.lifecycle import Process
from services.platform.settings import RedisSettings
from services.platform.stores import redis as redis_store
from services.platform.stores.postgres import Pool

SUBSCRIPTION = ids.new()
# Shorter than the age of what an earlier test left behind, longer than the age of what this test just created.
ABANDONED_MILLISECONDS = 50
NEVER_MILLISECONDS = 3_600_000


@pytest.fixture(autouse=True)
def _patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no slow response on a busy machine count as an outage, except in tests that cause one."""
    monkeypatch.setattr(doorbell, "FINISH_SECONDS", 10.0)
    if "valkey" not in request.fixturenames:
        monkeypatch.setattr(redis_store, "TIMEOUT_SECONDS", 10.0)
        monkeypatch.setattr(doorbell, "RING_TIMEOUT_SECONDS", 10.0)


@contextlib.asynccontextmanager
async def _broker(redis_url: str, name: str) -> AsyncIterator[Broker]:
    async with redis_store.connect(RedisSettings(redis_url=redis_url, _env_file=None), timeout_seconds=10) as client:
        broker = Broker(client, consumer_name=name)
        await broker.startup()
        try:
            yield broker
        finally:
            await broker.shutdown()


@pytest.fixture
async def broker(redis_url: str) -> AsyncIterator[Broker]:
    """A worker's broker."""
    async with _broker(redis_url, "worker-1") as created:
        yield created


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator["redis.asyncio.Redis"]:
    """A client to inspect Valkey."""
    async with redis.asyncio.Redis.from_url(redis_url) as created:
        yield created


def _rung(*delivery_ids: UUID) -> list[Rung]:
    """Deliveries of one subscription."""
    return [Rung(SUBSCRIPTION, delivery_id) for delivery_id in delivery_ids]


async def _ring(broker: Broker, *delivery_ids: UUID) -> None:
    await broker.stream.add(doorbell.bell(_rung(*delivery_ids)))


def _heard(broker: Broker, message: AckableMessage) -> list[UUID]:
    assert isinstance(message.data, bytes)
    return doorbell.heard(broker.formatter.loads(message.data).args[0])[SUBSCRIPTION]


async def _next(messages: AsyncIterator[AckableMessage]) -> AckableMessage:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await anext(messages)


async def _ack(message: AckableMessage) -> None:
    acknowledged = message.ack()
    assert acknowledged is not None
    await acknowledged


async def _consumers(client: "redis.asyncio.Redis") -> set[bytes]:
    return {consumer["name"] for consumer in await client.xinfo_consumers(doorbell.PROMPT, doorbell.GROUP)}


async def _eventually(number: Callable[[], Awaitable[int]], expected: int, what: str) -> None:
    async def check() -> bool:
        return await number() == expected

    untyped: Any = check  # mypy finds no T in wait_until for a coroutine function
    await wait_until(untyped, what=what)


# -- the broker --


async def test_a_message_carries_its_delivery_ids(broker: Broker) -> None:
    delivery_ids = [ids.new() for _ in range(3)]
    await _ring(broker, *delivery_ids)
    assert _heard(broker, await _next(broker.listen())) == delivery_ids


async def test_bells_rung_before_the_first_worker_came_are_heard(redis_url: str) -> None:
    async with _broker(redis_url, "ringer") as ringer:
        await ringer.stream.client.delete(doorbell.PROMPT)
        first, second = ids.new(), ids.new()
        await _ring(ringer, first)
        await _ring(ringer, second)
        async with _broker(redis_url, "worker-1") as worker:
            assert _heard(worker, await _next(worker.listen())) == [first, second]


async def test_a_bell_learns_the_length_of_the_stream(broker: Broker) -> None:
    for expected in (1, 2, 3):
        await _ring(broker, ids.new())
        assert broker.stream.length == expected


async def test_a_message_is_deleted_when_it_is_acked(broker: Broker, client: "redis.asyncio.Redis") -> None:
    messages = broker.listen()
    await _ring(broker, ids.new())
    acked = await _next(messages)
    await _ring(broker, ids.new())
    await _next(messages)
    await _ack(acked)
    assert await broker.stream.measure() == 1
    assert (await client.xpending(doorbell.PROMPT, doorbell.GROUP))["pending"] == 1


async def test_messages_of_one_read_are_heard_as_one_and_its_ack_counts_for_all(broker: Broker) -> None:
    delivery_ids = [ids.new() for _ in range(worker_broker.READ_MESSAGES + 1)]
    for delivery_id in delivery_ids:
        await _ring(broker, delivery_id)
    messages = broker.listen()
    read = await _next(messages)
    assert _heard(broker, read) == delivery_ids[:-1]
    await _ack(read)
    assert await broker.stream.measure() == 1
    assert _heard(broker, await _next(messages)) == delivery_ids[-1:]


@pytest.mark.parametrize(
    ("each", "room", "messages"),
    [
        (64, 0, worker_broker.READ_MESSAGES),
        (64, 512, 8),
        (64, 100_000, worker_broker.READ_MESSAGES_IN_HASTE),
        (2, 40, 20),
        (2, 512, worker_broker.READ_MESSAGES_IN_HASTE),
    ],
)
async def test_a_worker_reads_as_many_messages_as_it_has_room_for(
    broker: Broker, each: int, room: int, messages: int
) -> None:
    for _ in range(worker_broker.READ_MESSAGES_IN_HASTE + 2):
        await _ring(broker, *(ids.new() for _ in range(each)))
    read = broker.listen()
    assert len(_heard(broker, await _next(read))) == worker_broker.READ_MESSAGES * each
    broker.read_for(room)
    expected = min(messages, worker_broker.READ_MESSAGES_IN_HASTE + 2 - worker_broker.READ_MESSAGES)
    assert len(_heard(broker, await _next(read))) == expected * each


async def test_what_is_no_bell_is_heard_alone_and_refused(broker: Broker, client: "redis.asyncio.Redis") -> None:
    before, after = ids.new(), ids.new()
    await _ring(broker, before)
    await client.xadd(doorbell.PROMPT, {"data": b"not a bell"})
    await client.xadd(doorbell.PROMPT, {"other": b""})
    await _ring(broker, after)
    messages = broker.listen()
    assert _heard(broker, await _next(messages)) == [before, after]
    refused = [await _next(messages), await _next(messages)]
    assert {message.data for message in refused} == {b"not a bell", b""}
    for message in refused:
        assert isinstance(message.data, bytes)
        with pytest.raises(ValueError, match="no bell"):
            broker.formatter.loads(message.data)
        await _ack(message)
    assert await broker.stream.measure() == 2


async def test_a_group_that_is_lost_with_everything_else_is_made_again(
    broker: Broker, client: "redis.asyncio.Redis"
) -> None:
    messages = broker.listen()
    await _ring(broker, ids.new())
    await _next(messages)
    await client.flushdb()
    delivery_id = ids.new()
    await _ring(broker, delivery_id)
    assert _heard(broker, await _next(messages)) == [delivery_id]


async def test_a_group_that_is_lost_in_the_middle_of_a_blocking_read_is_made_again(
    broker: Broker, client: "redis.asyncio.Redis"
) -> None:
    listening = asyncio.create_task(_next(broker.listen()))

    async def blocked() -> int:
        return sum("xreadgroup" in entry["cmd"] for entry in await client.client_list())

    await _eventually(blocked, 1, "the worker to listen")
    await client.flushdb()
    delivery_id = ids.new()
    await _ring(broker, delivery_id)
    assert _heard(broker, await listening) == [delivery_id]


async def test_sweep_removes_the_messages_and_the_name_of_a_dead_worker(
    broker: Broker, redis_url: str, client: "redis.asyncio.Redis"
) -> None:
    async with _broker(redis_url, "dead") as dead:
        await _ring(dead, ids.new())
        await _next(dead.listen())
    assert b"dead" in await _consumers(client)
    swept = 0

    async def sweep() -> int:
        nonlocal swept
        swept += await broker.stream.sweep(abandoned_milliseconds=ABANDONED_MILLISECONDS)
        return len(await _consumers(client) & {b"dead"})

    await _eventually(sweep, 0, "the dead worker to be swept")
    assert swept == 1
    assert await broker.stream.measure() == 0
    assert (await client.xpending(doorbell.PROMPT, doorbell.GROUP))["pending"] == 0


async def test_sweep_leaves_alone_what_is_young_or_unread(broker: Broker, client: "redis.asyncio.Redis") -> None:
    await _ring(broker, ids.new())
    await _next(broker.listen())
    await _ring(broker, ids.new())
    assert await broker.stream.sweep(abandoned_milliseconds=NEVER_MILLISECONDS) == 0
    assert await broker.stream.measure() == 2
    assert b"worker-1" in await _consumers(client)


async def test_sweep_makes_the_group_where_there_is_none(broker: Broker, client: "redis.asyncio.Redis") -> None:
    await client.flushdb()
    assert await broker.stream.sweep() == 0


# -- the ringer --


class Rows:
    """Deliveries in Postgres that are about to be rung for."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    async def make(self, count: int) -> list[UUID]:
        """Create pending rows that nobody looks at for an hour."""
        made = [ids.new() for _ in range(count)]
        await deliveries.insert(self.pool, [(each, each) for each in made], subscription_id=ids.new(), due_in=3600.0)
        return made

    async def due(self) -> int:
        """Return how many rows are due."""
        number: int = await self.pool.fetchval("SELECT count(*) FROM delivery_queue WHERE due_at <= now()")
        return number


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    """A pool on a new database."""
    async with asyncpg.create_pool(database, min_size=0, max_size=2) as created:
        yield created


@pytest.fixture
def rows(pool: Pool) -> Rows:
    """Rows to ring for."""
    return Rows(pool)


@pytest.fixture
def valkey(short_folder: Path, free_port: int) -> Iterator[EmbeddedValkey]:
    """A separate Valkey, which the test may stop."""
    with EmbeddedValkey(short_folder / f"bells-{free_port}") as running:
        yield running


@contextlib.contextmanager
def _frozen(valkey: EmbeddedValkey) -> Iterator[None]:
    """Valkey accepts connections and never responds."""
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(valkey.pid, signal.SIGCONT)


@contextlib.asynccontextmanager
async def _ringing(redis_url: str, pool: Pool) -> AsyncIterator[Ringer]:
    process = Process("test")
    async with (
        doorbell.ringer(process, RedisSettings(redis_url=redis_url, _env_file=None), pool) as created,
        weights.of_process(process, pool) as known,
    ):
        await known.refresh()
        yield created
    assert not process.failed


async def _fill(client: "redis.asyncio.Redis", number: int) -> None:
    """Add messages that say nothing."""
    for _ in range(number):
        await client.xadd(doorbell.PROMPT, {b"data": b"x"})


async def _until_old(ringer: Ringer) -> None:
    """Wait until the first unread message has waited for so long that nobody should ring who makes new rows."""

    async def is_old() -> bool:
        await ringer.room()
        return not ringer.open

    untyped: Any = is_old  # mypy finds no T in wait_until for a coroutine function
    await wait_until(untyped, what="the message to be old")


async def _length(client: "redis.asyncio.Redis") -> int:
    return int(await client.xlen(doorbell.PROMPT))


async def _stream(client: "redis.asyncio.Redis") -> list[list[UUID]]:
    """Return the ids in every message of the stream."""
    entries: Any = await client.xrange(doorbell.PROMPT)
    bells = [doorbell.heard(fields[b"data"]) for _, fields in entries]
    return [bell[SUBSCRIPTION] for bell in bells]


async def test_the_ringer_rings_for_every_id_in_few_messages(
    redis_url: str, pool: Pool, client: "redis.asyncio.Redis", broker: Broker
) -> None:
    delivery_ids = [ids.new() for _ in range(2 * doorbell.IDS_PER_BELL + 1)]
    async with _ringing(redis_url, pool) as ringer:
        assert ringer.open
        ringer.ring(_rung(*delivery_ids))
        await _eventually(lambda: _length(client), 3, "three bells")
    bells = await _stream(client)
    assert [one for bell in bells for one in bell] == delivery_ids
    assert max(map(len, bells)) == doorbell.IDS_PER_BELL


async def test_waiting_ids_are_rung_when_the_ringer_stops(
    redis_url: str, pool: Pool, client: "redis.asyncio.Redis", broker: Broker
) -> None:
    delivery_ids = [ids.new() for _ in range(10 * doorbell.IDS_PER_BELL)]
    async with _ringing(redis_url, pool) as ringer:
        ringer.ring(_rung(*delivery_ids))
    assert [one for bell in await _stream(client) for one in bell] == delivery_ids


async def test_a_bell_that_is_under_way_at_the_end_is_not_lost(valkey: EmbeddedValkey, pool: Pool, rows: Rows) -> None:
    with _frozen(valkey):
        async with _ringing(valkey.url(), pool) as ringer:
            ringer.ring(_rung(*await rows.make(1)))
            connections = ringer._stream.client.connection_pool._in_use_connections
            await wait_until(lambda: len(connections) == 1, what="the bell to be under way")
        assert await rows.due() == 1


async def test_rows_whose_bell_fails_are_due_at_once_and_the_ringer_is_closed_until_redis_is_back(
    valkey: EmbeddedValkey, pool: Pool, rows: Rows
) -> None:
    async with _ringing(valkey.url(), pool) as ringer:
        valkey.kill()
        made = await rows.make(3 * doorbell.IDS_PER_BELL)
        assert await rows.due() == 0
        ringer.ring(_rung(*made))
        await _eventually(rows.due, len(made), "the rows to be due")
        assert not ringer.open
        valkey.start()
        await wait_until(lambda: ringer.open, what="the ringer to open again")


async def test_rows_whose_bell_is_stuck_are_due_after_the_timeout(
    valkey: EmbeddedValkey, pool: Pool, rows: Rows
) -> None:
    async with _ringing(valkey.url(), pool) as ringer:
        ringer.ring(_rung(*await rows.make(1)))
        await wait_until(lambda: ringer._stream.length == 1, what="a first bell, and a connection with it")
        with _frozen(valkey):
            ringer.ring(_rung(*await rows.make(1)))
            await _eventually(rows.due, 1, "the row to be due")
            assert not ringer.open
        async with redis.asyncio.Redis.from_url(valkey.url()) as client:
            await client.delete(doorbell.PROMPT)
        await wait_until(lambda: ringer.open, what="the ringer to open again")


async def test_deliveries_are_made_due_only_if_still_pending(valkey: EmbeddedValkey, pool: Pool, rows: Rows) -> None:
    async with _ringing(valkey.url(), pool) as ringer:
        valkey.kill()
        waiting, ended = await rows.make(2)
        await deliveries.put(pool, ended, status="delivered")
        ringer.ring(_rung(waiting, ended))
        await _eventually(rows.due, 1, "the pending row to be due")
    assert await rows.due() == 1


async def test_ringer_is_closed_while_too_many_messages_are_not_acknowledged(
    redis_url: str, pool: Pool, client: "redis.asyncio.Redis", broker: Broker
) -> None:
    async with _ringing(redis_url, pool) as ringer:
        await _fill(client, doorbell.NEW_MARK.messages)
        messages = broker.listen()
        for _ in range(doorbell.NEW_MARK.messages):
            await _next(messages)
        assert await ringer.room() == 0
        assert ringer._stream.waited_milliseconds == 0
        assert not ringer.open
        await client.xtrim(doorbell.PROMPT, maxlen=doorbell.NEW_MARK.messages - 1, approximate=False)
        await wait_until(lambda: ringer.open, what="the ringer to open again")


async def test_ringer_is_closed_while_nobody_reads_a_message(
    redis_url: str, pool: Pool, client: "redis.asyncio.Redis", broker: Broker
) -> None:
    async with _ringing(redis_url, pool) as ringer:
        await _fill(client, 1)
        await _until_old(ringer)
        assert not ringer.open
        assert await ringer.room() == 0
        await _next(broker.listen())
        await wait_until(lambda: ringer.open, what="the ringer to open again")
        assert await ringer.room() > 0


async def test_marks_of_those_who_make_rows_are_below_that_of_the_dispatcher(redis_url: str) -> None:
    async with _broker(redis_url, "ringer") as ringer:
        stream = ringer.stream
        stream.length, stream.waited_milliseconds = doorbell.NEW_MARK
        assert not stream.is_below(doorbell.NEW_MARK)
        assert stream.is_below(doorbell.DUE_MARK)
        stream.length, stream.waited_milliseconds = doorbell.EXPANSION_MARK
        assert not stream.is_below(doorbell.EXPANSION_MARK)
        assert stream.is_below(doorbell.NEW_MARK)


async def test_ringer_over_a_full_stream_is_open_for_longer_to_a_tenant_that_has_it_alone(
    redis_url: str, pool: Pool
) -> None:
    async with _ringing(redis_url, pool) as ringer:
        ringer.ring(_rung(ids.new()), tenant_id="only")
        await wait_until(lambda: not ringer.waiting, what="the bell to be sent")
        ringer._stream.waited_milliseconds = doorbell.NEW_MARK.milliseconds
        assert not ringer.open
        assert ringer.open_to("only")
        ringer._stream.waited_milliseconds = doorbell.LONE_MARK.milliseconds
        assert not ringer.open_to("only")
        assert ringer.open_to("another")


async def test_ringer_over_a_full_stream_is_open_to_a_tenant_with_less_than_an_even_share(
    redis_url: str, pool: Pool, client: "redis.asyncio.Redis", broker: Broker
) -> None:
    async with _ringing(redis_url, pool) as ringer:
        ringer.ring(_rung(*(ids.new() for _ in range(100))), tenant_id="busy")
        ringer.ring(_rung(ids.new()), tenant_id="quiet")
        await wait_until(lambda: not ringer.waiting, what="the bells to be sent")
        await _until_old(ringer)
        assert [ringer.open_to(tenant) for tenant in ("busy", "quiet", "another")] == [False, True, True]
        # They are two: 64 ids of the busy tenant, then the rest with the quiet one's.
        await _ack(await _next(broker.listen()))
        await wait_until(lambda: ringer.open_to("busy"), what="what was read to be no longer in the stream")


def test_weight_of_a_tenant_whose_bells_were_read_takes_no_share_from_others() -> None:
    in_stream = doorbell._InStream({"heavy": 100, "busy": 1, "quiet": 1}.__getitem__)
    in_stream.add("heavy", 10)
    in_stream.sent(10, (1, 0))
    in_stream.add("busy", 6)
    in_stream.add("quiet", 2)
    in_stream.sent(8, (2, 0))
    assert not in_stream.has_share("quiet")
    in_stream.read_until((2, 0))
    assert in_stream.has_share("quiet")
    assert not in_stream.has_share("busy")


async def test_ringer_over_a_full_stream_leaves_a_tenant_of_weight_3_three_times_as_much(
    redis_url: str, pool: Pool
) -> None:
    await pool.execute("INSERT INTO tenants (id, name, weight) VALUES ('heavy', 'Heavy', 3)")
    async with _ringing(redis_url, pool) as ringer:

        def ring(tenant_id: str, number: int) -> None:
            ringer.ring(_rung(*(ids.new() for _ in range(number))), tenant_id=tenant_id)

        ring("light", 10)
        ring("heavy", 29)
        await wait_until(lambda: not ringer.waiting, what="the bells to be sent")
        await _until_old(ringer)
        assert [ringer.open_to(name) for name in ("light", "heavy")] == [False, True]
        ring("heavy", 2)
        await wait_until(lambda: not ringer.waiting, what="the bell to be sent")
        await _until_old(ringer)
        assert [ringer.open_to(name) for name in ("light", "heavy")] == [True, False]


async def test_what_workers_have_read_is_no_longer_in_the_share_of_its_tenant(
    redis_url: str, pool: Pool, broker: Broker
) -> None:
    async with _ringing(redis_url, pool) as ringer:
        ringer.ring(_rung(*(ids.new() for _ in range(doorbell.IDS_PER_BELL))), tenant_id="read")
        ringer.ring(_rung(ids.new()), tenant_id="unread")
        await wait_until(lambda: not ringer.waiting, what="both messages to be sent")
        await _until_old(ringer)
        assert not ringer.open_to("read")
        broker.count = 1
        await _ack(await _next(broker.listen()))
        await wait_until(
            lambda: ringer.open_to("read") and not ringer.open_to("unread"), what="the first message to be forgotten"
        )


async def test_ringer_is_closed_while_too_many_ids_wait(redis_url: str, pool: Pool) -> None:
    async with _ringing(redis_url, pool) as ringer:
        ringer.ring(_rung(*(ids.new() for _ in range(doorbell.MAX_WAITING_IDS))))
        assert not ringer.open
        await wait_until(lambda: not ringer._waiting, what="everything to be rung")
