"""Every path to Postgres through a real PgBouncer that changes the server connection after each transaction."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from dev.harness import stores as pooler
from dev.harness.keys import ENCRYPTION_KEY, OTHER_KEY
from dev.harness.receiver import Receiver, Reply
from dev.harness.stores import Stores
from dev.harness.waiting import wait_until
from protos.webhook.v1 import ingest_pb2
from services.analytics import metrics, retention, rollup
from services.analytics.settings import AnalyticsSettings
from services.analytics.store import StatsStore, partitions
from services.ingest import reencryption
from services.platform import ids
from services.platform.process.lifecycle import Process
from services.platform.settings import PostgresSettings
from services.platform.stores import postgres
from services.platform.stores.availability import is_store_away
from services.schema.wait import Say, to_stdout, wait
from tests.analytics.conftest import Rows, today
from tests.delivery.world import World
from tests.ingest.conftest import serving

pytestmark = pytest.mark.skipif(pooler.PGBOUNCER is None, reason="run `python3 scripts/tools.py pgbouncer`")

SERVERS = 2
CLIENTS = 8
THROUGH: dict[str, Any] = {"postgres_pooler": "transaction", "postgres_pool_size": CLIENTS}


@dataclass(frozen=True, kw_only=True)
class Place:
    """The URLs of one database, direct and through the pooler."""

    direct: str
    pooled: str

    def settings(self) -> PostgresSettings:
        """Settings of a process behind the pooler."""
        return PostgresSettings(database_url=self.pooled, **THROUGH)

    def analytics(self) -> AnalyticsSettings:
        """Settings of the analytics process behind it."""
        return AnalyticsSettings(database_url=self.pooled, log_retention_hours=72, delivery_expiry_hours=168, **THROUGH)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def port(stores: Stores) -> AsyncIterator[int]:
    """The pooler's URL."""
    async with pooler.pooling(stores, servers=SERVERS) as listening:
        yield listening


@pytest.fixture
def place(port: int, database: str) -> Place:
    """A database behind the pooler."""
    name = urlsplit(database).path.lstrip("/")
    return Place(direct=database, pooled=f"postgresql://webhook@127.0.0.1:{port}/{name}")


@pytest.fixture
async def pool(place: Place) -> AsyncIterator[postgres.Pool]:
    """The pool of a process behind it."""
    async with postgres.pool(Process("test"), place.settings()) as pooled:
        yield pooled


@pytest.fixture
async def rows(place: Place) -> AsyncIterator[Rows]:
    """A direct connection to inspect rows."""
    async with asyncpg.create_pool(place.direct, min_size=0, max_size=4) as direct:
        yield Rows(direct)


async def test_pooler_rejects_connections_without_the_setting(place: Place) -> None:
    settings = PostgresSettings(database_url=place.pooled, postgres_pooler="none")
    async with postgres.pool(Process("test"), settings) as pool:
        with pytest.raises(asyncpg.ProtocolViolationError, match="unsupported startup parameter") as raised:
            await pool.fetchval("SELECT 1")
    assert is_store_away(raised.value)


async def test_statements_are_right_while_their_connections_change_servers(pool: postgres.Pool) -> None:
    servers: dict[int, set[int]] = {}

    async def client(number: int) -> None:
        async with pool.acquire() as connection:
            for turn in range(50):
                numbers = [number, turn]
                row = await connection.fetchrow(
                    "SELECT pg_backend_pid() AS server, $1::bigint[] AS numbers, $2::uuid AS id", numbers, ids.new()
                )
                assert row
                assert row["numbers"] == numbers
                servers.setdefault(number, set()).add(row["server"])
                await connection.execute("SELECT pg_sleep($1)", (number + turn) % 3 / 1000)
                await connection.execute("SELECT 1")

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    assert len(set.union(*servers.values())) == SERVERS
    assert all(len(seen) == SERVERS for seen in servers.values()), servers


async def test_a_transaction_stays_on_its_server(pool: postgres.Pool) -> None:
    async def client() -> set[int]:
        async with pool.acquire() as connection, connection.transaction():
            return {await connection.fetchval("SELECT pg_backend_pid() + $1 - $1", 1) for _ in range(20)}

    for servers in await asyncio.gather(*(client() for _ in range(CLIENTS))):
        assert len(servers) == 1


async def test_database_defaults_do_not_change_the_settings_that_can_be_pinned(
    stores: Stores, place: Place, pool: postgres.Pool
) -> None:
    name = urlsplit(place.direct).path.lstrip("/")
    for setting in (
        "default_transaction_isolation = 'serializable'",
        "timezone = 'Asia/Tokyo'",
        "datestyle = 'German'",
    ):
        stores.postgres.execute(f"ALTER DATABASE {name} SET {setting}")
    async with pool.acquire() as connection, connection.transaction():
        assert await connection.fetchval("SHOW transaction_isolation") == "read committed"
        assert await connection.fetchval("SHOW TimeZone") == "UTC"
        assert await connection.fetchval("SHOW DateStyle") == "ISO, MDY"


async def test_a_failed_statement_leaves_its_connection_usable(pool: postgres.Pool) -> None:
    async with pool.acquire() as connection:
        for _ in range(20):
            with pytest.raises(asyncpg.UndefinedTableError):
                await connection.fetch("SELECT FROM nothing WHERE id = $1", 1)
            with pytest.raises(asyncpg.DivisionByZeroError):
                await connection.fetchval("SELECT 1 / $1::int", 0)
            assert await connection.fetchval("SELECT $1::int", 7) == 7


async def test_a_statement_that_takes_too_long_is_cancelled_at_its_server(pool: postgres.Pool) -> None:
    with pytest.raises(TimeoutError):
        await pool.execute("SELECT pg_sleep($1)", 60, timeout=0.2)

    async def is_gone() -> bool:
        query = (
            "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active')"
        )
        gone: bool = await pool.fetchval(query)
        return gone

    await wait_until(is_gone, what="the statement to end")


async def test_events_are_all_delivered_and_counted(
    place: Place, redis_url: str, receiver: Receiver, rows: Rows
) -> None:
    number = 400
    receiver.script(*(Reply(status=500) for _ in range(20)))
    world = World(pool=rows.pool, database_url=place.pooled, redis_url=redis_url)
    async with (
        serving(place.pooled, redis_url, **THROUGH) as ingest,
        serving(place.pooled, redis_url, **THROUGH) as other,
        world.delivery(**THROUGH),
        world.worker(**THROUGH),
        world.worker(**THROUGH),
    ):
        made = await ingest.create(receiver.url(), event_types=["order.*"])
        # Fewer at once than a server lets through on a connection.
        places = asyncio.Semaphore(64)

        async def send(turn: int) -> ingest_pb2.Accepted:
            async with places:
                return await (ingest if turn % 2 else other).send(event_type="order.made", payload=f"{turn}".encode())

        accepted = await asyncio.gather(*(send(turn) for turn in range(number)))
        assert {answer.deliveries for answer in accepted} == {1}
        # Without bells, the dispatcher finds what is due.
        await world.deliver_many(UUID(made.id), number)

        async def all_delivered() -> bool:
            counts = await rows.pool.fetch("SELECT status, count(*) FROM deliveries GROUP BY 1")
            return {row["status"]: row["count"] for row in counts} == {"delivered": 2 * number}

        await wait_until(all_delivered, what="everything to be delivered")
    bodies = Counter(request.body for request in receiver.requests)
    assert bodies.keys() == {b"{}", *(f"{turn}".encode() for turn in range(number))}

    async with postgres.pool(Process("analytics"), place.analytics()) as pooled:
        store = StatsStore(pooled)
        await rows.make_due(rolled_up=timedelta(minutes=4))
        await rollup.run_once(store, interval_seconds=5, retention=timedelta(hours=72))
        answer = await store.stats("default", timedelta(hours=1))
    assert await rows.difference() == []
    assert sum(bucket.deliveries for bucket in answer.buckets) == 2 * number


async def test_old_days_are_dropped_by_copies_that_race(place: Place, pool: postgres.Pool, rows: Rows) -> None:
    for age_days in (8, 7, 6):
        await rows.day(age_days)

    await asyncio.gather(*(retention.run_once(StatsStore(pool), place.analytics()) for _ in range(3)))

    for age_days in (8, 7, 6):
        assert await rows.partitions(today() - timedelta(days=age_days)) == []


async def test_lock_is_held_by_one_process_for_as_long_as_it_works(place: Place, rows: Rows) -> None:
    async with (
        partitions(place.analytics(), lock_timeout_seconds=1) as first,
        partitions(place.analytics(), lock_timeout_seconds=1) as second,
    ):
        async with first.lock() as locked:
            assert locked
            # On another server connection than its lock.
            await first.create()
            async with second.lock() as also:
                assert not also
        left = (
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        assert await rows.pool.fetchval(left) == 0
        async with second.lock() as locked:
            assert locked


async def test_a_blocked_detach_ends_in_time_and_is_finished_later(
    place: Place, pool: postgres.Pool, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rows.day(6)
    partitions = await rows.partitions(today() - timedelta(days=6))
    stats, held = StatsStore(pool), metrics.RETENTION_PARTITIONS_DROPPED._value.get()
    async with rows.pool.acquire() as reader, reader.transaction():
        await reader.fetch("SELECT FROM webhook_deliveries")
        with monkeypatch.context() as patch:
            patch.setattr(retention, "LOCK_TIMEOUT_SECONDS", 0.2)
            with pytest.raises(TimeoutError):
                await retention.run_once(stats, place.analytics())

    await retention.run_once(stats, place.analytics())

    assert metrics.RETENTION_PARTITIONS_DROPPED._value.get() == held + len(partitions)
    assert await rows.partitions(today() - timedelta(days=6)) == []


async def test_a_pod_that_waits_for_the_schema_finds_it(place: Place) -> None:
    async with asyncio.timeout(60):
        await wait(place.settings(), Say(to_stdout))


async def test_secrets_are_reencrypted(place: Place, redis_url: str, rows: Rows) -> None:
    async with serving(place.pooled, redis_url, **THROUGH) as ingest:
        await ingest.create(secret_key="a-secret-of-a-receiver")
    settings = reencryption.ReencryptionSettings(
        database_url=place.pooled, encryption_keys=f"{OTHER_KEY},{ENCRYPTION_KEY}", **THROUGH
    )
    report = await reencryption.run(settings)
    assert (report.rewritten, report.unreadable) == (1, [])
