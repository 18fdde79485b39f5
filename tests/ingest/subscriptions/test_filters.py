"""The indexes of a process: what is read when, that no change is missed, and that they stay bounded."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from dev.harness.keys import vault
from services.domain import subscriptions
from services.ingest.subscriptions import filters as indexes
from services.ingest.subscriptions.filters import Filters
from services.ingest.subscriptions.matching import Filter
from services.ingest.subscriptions.store import SQL, Looked, SubscriptionStore
from services.platform import errors, ids
from services.platform.process.bounds import BoundedCache
from services.platform.stores import sql
from services.platform.stores.postgres import Pool
from tests.ingest.conftest import Breakable, counted, eventually

ROOT = Path(__file__).parents[3]
TENANT = "default"
# How long an index is used without a check, for tests that do not want one.
LONG_SECONDS = 1000.0


class Watched(SubscriptionStore):
    """A store that reports how many rows were read, and can be paused before it returns them."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool, vault(), key_hours=1, quota=1_000_000)
        self.pool = pool
        # Rows that each statement read.
        self.read: list[int] = []
        self.may_return = asyncio.Event()
        self.may_return.set()
        self.waiting = 0

    async def filters_page(self, tenant_id: str, after: UUID, limit: int) -> Looked | None:
        return await self._watch(await super().filters_page(tenant_id, after, limit))

    async def changed_filters(self, tenant_id: str, since: datetime, after: UUID, limit: int) -> Looked | None:
        return await self._watch(await super().changed_filters(tenant_id, since, after, limit))

    async def filters_of(self, tenant_id: str, subscription_ids: Sequence[UUID]) -> Looked | None:
        return await self._watch(await super().filters_of(tenant_id, subscription_ids))

    async def _watch(self, looked: Looked | None) -> Looked | None:
        self.read.append(len(looked.filters) if looked else 0)
        self.waiting += 1
        await self.may_return.wait()
        self.waiting -= 1
        return looked

    # -- what other processes do --

    async def insert(self, number: int, *event_types: str, tenant_id: str = TENANT, age: str = "1 hour") -> list[UUID]:
        """Create subscriptions that were written a while ago."""
        made = [ids.new() for _ in range(number)]
        await self.pool.execute("INSERT INTO tenants (id, name) VALUES ($1, $1) ON CONFLICT DO NOTHING", tenant_id)
        await self.pool.execute(
            "INSERT INTO subscriptions (id, tenant_id, target_url, event_types, updated_at)"
            " SELECT id, $2, 'http://x', $3, now() - $4::text::interval FROM unnest($1::uuid[]) AS id",
            made,
            tenant_id,
            event_types,
            age,
        )
        return made

    async def change(self, subscription_id: UUID, event_type: str, connection: Any = None) -> int:
        """Change the event types of a subscription as an update does, and return its new version."""
        version: int = await (connection or self.pool).fetchval(
            "UPDATE subscriptions SET event_types = ARRAY[$2::text], version = version + 1,"
            " updated_at = statement_timestamp() WHERE id = $1 RETURNING version",
            subscription_id,
            event_type,
        )
        return version

    async def delete(self, subscription_id: UUID) -> int:
        """Delete a subscription, and return its new version."""
        async with self.pool.acquire() as connection:
            return (await subscriptions.delete(connection, [subscription_id]))[subscription_id]


@pytest.fixture
async def store(database: str) -> AsyncIterator[Watched]:
    async with asyncpg.create_pool(database, min_size=0, max_size=3) as pool:
        yield Watched(pool)


@pytest.fixture
def filters(store: Watched, monkeypatch: pytest.MonkeyPatch) -> Filters:
    """Indexes that events wait for, however busy the machine is."""
    monkeypatch.setattr(indexes, "PATIENCE_SECONDS", 30.0)
    return Filters(store)


async def _wanting(filters: Filters, event_type: str, *, ttl_seconds: float = LONG_SECONDS) -> set[UUID]:
    found = await filters.matching(TENANT, event_type, limit=None, ttl_seconds=ttl_seconds)
    return {subscription_id for subscription_id, _ in found}


# -- what is read --


async def test_a_tenant_is_loaded_in_chunks_and_then_only_what_changed_is_read(
    store: Watched, filters: Filters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "CHUNK", 10)
    made = await store.insert(35, "a")
    assert await _wanting(filters, "a") == set(made)
    assert store.read == [10, 10, 10, 5, 0], "pages, and what was written meanwhile"
    store.read.clear()
    assert await _wanting(filters, "a") == set(made)
    assert store.read == []
    await store.change(made[3], "b")
    deleted = made[4]
    await store.delete(deleted)
    assert await _wanting(filters, "b", ttl_seconds=0) == {made[3]}
    assert store.read == [2]
    assert await _wanting(filters, "a") == {*made} - {made[3], deleted}


async def test_changes_written_at_one_moment_are_all_found_beyond_a_chunk(
    store: Watched, filters: Filters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "CHUNK", 10)
    await _wanting(filters, "a")
    made = await store.insert(25, "a", age="0 s")
    assert await _wanting(filters, "a", ttl_seconds=0) == set(made)


async def test_a_change_that_was_heard_of_is_loaded_alone(store: Watched, filters: Filters) -> None:
    made = await store.insert(20, "a")
    await _wanting(filters, "a")
    store.read.clear()
    filters.heard(TENANT, made[0], await store.change(made[0], "b"))
    filters.heard(TENANT, made[1], await store.delete(made[1]))
    assert await _wanting(filters, "b") == {made[0]}
    assert store.read == [2]
    assert await _wanting(filters, "a") == {*made[2:]}


async def test_known_changes_are_not_loaded_again(store: Watched, filters: Filters) -> None:
    (made,) = await store.insert(1, "a")
    await _wanting(filters, "a")
    version = await store.change(made, "b")
    filters.changed(TENANT, _filter(made, version, "b"))
    store.read.clear()
    for heard in range(version + 1):
        filters.heard(TENANT, made, heard)
    assert await _wanting(filters, "b") == {made}
    assert store.read == []


async def test_changes_beyond_the_number_remembered_are_loaded(
    store: Watched, filters: Filters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "MAX_HEARD", 3)
    made = await store.insert(10, "a")
    await _wanting(filters, "a")
    for name in made[:6]:
        filters.heard(TENANT, name, await store.change(name, "b"))
    assert await _wanting(filters, "b") == set(made[:6])


async def test_looks_while_changes_are_not_heard_of_are_as_rare_as_they_may_be(
    store: Watched, filters: Filters
) -> None:
    await store.insert(20, "a")
    await _wanting(filters, "a")
    store.read.clear()
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() < began + 1.0:
        await asyncio.gather(*(_wanting(filters, "a", ttl_seconds=0.25) for _ in range(20)))
        await asyncio.sleep(0.01)
    # The first one may be due at once.
    assert 1 <= len(store.read) <= (loop.time() - began) / 0.25 + 1
    assert not any(store.read), "nothing changed"


async def test_the_plans_of_looks_read_no_more_than_what_they_return(store: Watched) -> None:
    made = await store.insert(5_000, "a")
    await store.change(made[17], "b")
    await store.pool.execute("ANALYZE subscriptions")
    for statement, values, most in (
        ("select_changed_filters", [TENANT, datetime.now(UTC) - timedelta(seconds=30), UUID(int=0), 1000], 50),
        ("select_filters_page", [TENANT, made[-10], 1000], 50),
        ("select_filters_of", [TENANT, made[:3]], 50),
    ):
        assert await _buffers(store.pool, SQL[statement], statement, values) <= most, statement


async def _buffers(pool: Pool, query: str, name: str, values: list[Any]) -> int:
    shown = ", ".join(_literal(value) for value in values)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE {name} AS {query}")
        plan = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE {name} ({shown})")
        await connection.execute("DEALLOCATE ALL")
    top = json.loads(plan)[0]["Plan"]
    return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"'{{{','.join(map(str, value))}}}'"
    return str(value) if isinstance(value, int) else f"'{value}'"


# -- what is not missed --

# Statements that write no version: the first is followed by one that does, in the same transaction; the second changes
# nothing that anybody sees.
WITHOUT_VERSION = {"begin_endpoint", "reseal"}


def test_statements_that_change_a_subscription_raise_its_version() -> None:
    found = set()
    for path in sorted(ROOT.glob("services/**/queries.sql")):
        package = ".".join(path.relative_to(ROOT).parent.parts)
        for name, statement in sql.Queries(package).items():
            assert "DELETE FROM subscriptions" not in statement, "a look would miss it"
            if "UPDATE subscriptions" in statement and name not in WITHOUT_VERSION:
                found.add(name)
                assert "version = version + 1" in statement, name
                assert "updated_at = statement_timestamp()" in statement, name
    assert {"update_subscription", "set_status", "delete_subscriptions", "disable"} <= found


def _filter(subscription_id: UUID, version: int, *event_types: str) -> Filter:
    return Filter(id=subscription_id, version=version, event_types=event_types, takes=True, steady=True)


async def test_a_change_that_is_committed_after_later_looks_is_not_missed(store: Watched, filters: Filters) -> None:
    made = await store.insert(2, "a")
    await _wanting(filters, "a")
    async with store.pool.acquire() as connection, connection.transaction():
        await store.change(made[0], "b", connection)
        await store.change(made[1], "c")
        assert await _wanting(filters, "c", ttl_seconds=0) == {made[1]}
        assert await _wanting(filters, "b", ttl_seconds=0) == set()
    assert await _wanting(filters, "b", ttl_seconds=0) == {made[0]}


async def test_lookup_after_a_reported_change_sees_it_even_if_a_load_is_in_progress(
    store: Watched, filters: Filters
) -> None:
    (made,) = await store.insert(1, "a")
    await _wanting(filters, "a")
    store.may_return.clear()
    early = asyncio.create_task(_wanting(filters, "b", ttl_seconds=0))
    await eventually(_is(lambda: store.waiting == 1), "the look to have read its rows")
    filters.heard(TENANT, made, await store.change(made, "b"))
    late = asyncio.create_task(_wanting(filters, "b"))
    await asyncio.sleep(0)
    store.may_return.set()
    assert await late == {made}
    await early


async def test_a_change_of_this_process_is_seen_at_once_and_not_undone_by_a_load_under_way(
    store: Watched, filters: Filters
) -> None:
    made = await store.insert(3, "a")
    store.may_return.clear()
    loading = asyncio.create_task(_wanting(filters, "a"))
    await eventually(_is(lambda: store.waiting == 1), "the load to have read its rows")
    filters.changed(TENANT, _filter(made[0], await store.change(made[0], "b"), "b"))
    filters.changed(TENANT, Filter.deleted(made[1], await store.delete(made[1])))
    (new,) = await store.insert(1, "a")
    filters.changed(TENANT, _filter(new, 1, "a"))
    store.may_return.set()
    assert await loading == {made[2], new}
    assert await _wanting(filters, "b") == {made[0]}


async def test_a_change_of_what_a_load_in_chunks_has_read_already_is_not_missed(
    store: Watched, filters: Filters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "CHUNK", 10)
    made = await store.insert(25, "a")
    store.may_return.clear()
    loading = asyncio.create_task(_wanting(filters, "b"))
    await eventually(_is(lambda: store.read == [10]), "the first chunk")
    await store.change(made[0], "b")
    store.may_return.set()
    assert await loading == {made[0]}


async def test_event_after_a_doubt_waits_for_a_load(store: Watched, filters: Filters) -> None:
    (made,) = await store.insert(1, "a")
    await _wanting(filters, "a")
    await store.change(made, "b")
    assert await _wanting(filters, "b") == set()
    filters.doubt()
    assert await _wanting(filters, "b") == {made}


async def test_changes_of_a_failed_load_are_loaded_again(store: Watched, filters: Filters) -> None:
    (made,) = await store.insert(1, "a")
    await _wanting(filters, "a")
    filters.heard(TENANT, made, await store.change(made, "b"))
    async with store.pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE tenants")
        asking = asyncio.create_task(_wanting(filters, "b"))
        cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        await eventually(lambda: store.pool.fetchval(cancel), "the load to wait for the lock, and to be cancelled")
        with pytest.raises(asyncpg.QueryCanceledError):
            await asking
    assert await _wanting(filters, "b") == {made}


async def test_database_server_that_lacks_a_change_is_trusted(breakable: Breakable) -> None:
    """As if a standby without the last changes took over: the same version means another row."""
    async with asyncpg.create_pool(breakable.database_url, min_size=0, max_size=2) as pool:
        store = Watched(pool)
        filters = Filters(store)
        kept, lost = await store.insert(2, "a")
        version = await store.change(kept, "b")
        await store.change(lost, "b")
        assert await _wanting(filters, "b") == {kept, lost}
        await pool.execute("UPDATE subscriptions SET event_types = '{c}', version = $2 WHERE id = $1", kept, version)
        await pool.execute("UPDATE subscriptions SET deleted_at = now(), version = 1 WHERE id = $1", lost)
        breakable.postgres.stop()
        breakable.postgres.start()
        await pool.expire_connections()
        assert await _wanting(filters, "c", ttl_seconds=0) == {kept}
        assert await _wanting(filters, "b") == set()


async def test_a_load_whose_caller_leaves_goes_on(store: Watched, filters: Filters) -> None:
    made = await store.insert(3, "a")
    store.may_return.clear()
    asking = asyncio.create_task(_wanting(filters, "a"))
    await eventually(_is(lambda: store.waiting == 1), "the load to begin")
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    store.may_return.set()
    assert await _wanting(filters, "a") == set(made)
    assert store.read == [3]


async def test_a_tenant_that_does_not_exist_or_is_deleted_is_refused_and_not_kept(
    store: Watched, filters: Filters
) -> None:
    for _ in range(3):
        with pytest.raises(errors.InvalidArgument, match="tenant not found"):
            await filters.matching(f"made-up-{ids.new()}", "a", limit=1, ttl_seconds=LONG_SECONDS)
    assert not filters._tenants
    assert not filters._rounds
    await store.insert(1, "a", tenant_id="gone")
    assert await filters.matching("gone", "a", limit=1, ttl_seconds=LONG_SECONDS)
    await store.pool.execute("UPDATE tenants SET deleted_at = now() WHERE id = 'gone'")
    with pytest.raises(errors.InvalidArgument, match="tenant not found"):
        await filters.matching("gone", "a", limit=1, ttl_seconds=0)
    assert filters._size_bytes == 0


async def test_events_are_matched_in_postgres_while_their_tenant_is_loaded_for_the_first_time(
    store: Watched, filters: Filters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "PATIENCE_SECONDS", 0.01)
    made = await store.insert(5, "a")
    store.may_return.clear()
    for _ in range(2):
        assert await _wanting(filters, "a") == set(made)
    assert store.read == [5], "the load is under way, once"
    await store.change(made[0], "b")
    assert await _wanting(filters, "b") == {made[0]}
    store.may_return.set()
    await eventually(_is_kept(filters), "the tenant to be indexed")
    filters.doubt()
    assert await _wanting(filters, "b") == {made[0]}


# -- limits --


async def test_the_tenant_that_was_used_least_recently_leaves_first(
    store: Watched, filters: Filters, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("used", "unused", "new"):
        await store.insert(10, "a", tenant_id=name)
    await filters.matching("used", "a", limit=1, ttl_seconds=LONG_SECONDS)
    monkeypatch.setattr(indexes, "MAX_BYTES", 2 * filters._size_bytes)
    for name in ("unused", "used", "new"):
        await filters.matching(name, "a", limit=1, ttl_seconds=LONG_SECONDS)
        assert filters._size_bytes <= indexes.MAX_BYTES
    assert list(filters._tenants) == ["used", "new"]


async def test_a_tenant_that_needs_too_much_memory_is_matched_in_postgres(
    store: Watched, filters: Filters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "MAX_TENANT_BYTES", 30_000)
    small = await store.insert(10, "a.*", tenant_id="small")
    kept = await filters.matching("small", "a.b", limit=None, ttl_seconds=LONG_SECONDS)
    prefixed, exact, every = await store.insert(50, "a.*"), await store.insert(20, "a.b"), await store.insert(10)
    await store.insert(20, "a")
    for _ in range(2):
        assert await _wanting(filters, "a.b") == {*prefixed, *exact, *every}
    assert len(await filters.matching(TENANT, "a.b", limit=7, ttl_seconds=LONG_SECONDS)) == 7
    assert await filters.count(TENANT, "a.b", ttl_seconds=LONG_SECONDS) == 0
    assert list(filters._tenants) == ["small"]
    assert {name for name, _ in kept} == set(small)
    assert filters._size_bytes <= 30_000
    await store.pool.execute("UPDATE subscriptions SET status = 'paused' WHERE id = $1", every[0])
    await store.pool.execute("UPDATE subscriptions SET kind = 'system' WHERE id = $1", every[1])
    assert (every[0], False) in await filters.matching(TENANT, "x", limit=None, ttl_seconds=LONG_SECONDS)
    assert every[1] not in await _wanting(filters, "x")


async def test_a_tenant_that_takes_long_in_postgres_pauses_and_no_other_does(
    store: Watched, filters: Filters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "MAX_TENANT_BYTES", 10_000)
    monkeypatch.setattr(indexes, "PAUSE_FACTOR", 1e6)
    monkeypatch.setattr(indexes, "SLOW_SECONDS", 3600.0)
    for name in (TENANT, "other"):
        await store.insert(40, "a", tenant_id=name)
    with monkeypatch.context() as patch:
        patch.setattr(indexes, "SLOW_SECONDS", 0.0)
        assert len(await _wanting(filters, "a")) == 40
    paused = asyncio.create_task(_wanting(filters, "a"))
    for _ in range(3):
        assert len(await filters.matching("other", "a", limit=None, ttl_seconds=LONG_SECONDS)) == 40
    assert not paused.done()
    paused.cancel()


async def test_a_tenant_that_grows_too_large_leaves_and_comes_back_once_it_is_small(
    store: Watched, filters: Filters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "MAX_TENANT_BYTES", 10_000)
    monkeypatch.setattr(filters, "_too_large", BoundedCache(10, ttl_seconds=0.05))
    made = await store.insert(5, "a")
    assert await _wanting(filters, "a") == set(made)
    more = await store.insert(30, "a")
    for name in more:
        filters.changed(TENANT, _filter(name, 1, "a"))
    assert await _wanting(filters, "a") == {*made, *more}
    assert TENANT not in filters._tenants
    for name in more:
        await store.delete(name)
    assert await _wanting(filters, "a") == set(made)
    await eventually(_is_kept(filters), "the tenant to be indexed again")


async def test_look_ups_of_filters_are_counted(store: Watched, filters: Filters) -> None:
    def number(result: str) -> float:
        return counted("webhook_subscription_cache_total", level="process", result=result)

    before = number("hit"), number("miss")
    for _ in range(3):
        await _wanting(filters, "a")
    assert (number("hit") - before[0], number("miss") - before[1]) == (2, 1)
    assert not store.read[1:]


def _is(check: Callable[[], bool]) -> Callable[[], Any]:
    async def asked() -> bool:
        return check()

    return asked


def _is_kept(filters: Filters) -> Callable[[], Any]:
    async def asked() -> bool:
        await _wanting(filters, "a")
        return TENANT in filters._tenants

    return asked
