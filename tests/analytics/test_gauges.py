"""Metrics of the analytics process about Postgres and the worst subscriptions, over a real Postgres."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from prometheus_client import REGISTRY, Gauge

from services.analytics import gauges as loop
from services.analytics import rollup
from services.analytics.gauges import TABLES, GaugeStore
from services.analytics.store import StatsStore
from services.platform.process.metrics import Growth
from services.platform.stores.postgres import Pool
from tests.analytics.conftest import Rows, eventually

RETENTION = timedelta(hours=72)


@pytest.fixture
def gauges(pool: Pool) -> GaugeStore:
    """The parts that the gauges read."""
    return GaugeStore(pool)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Clear the registry, so that tests do not affect each other."""
    yield
    for gauge in (loop.TOP_FAILED_ATTEMPTS, loop.TOP_ATTEMPTS, loop.TOP_ATTEMPT_SECONDS):
        gauge.clear()
    loop.TOP_FAILING_SECONDS.clear()


def exported(gauge: Gauge) -> dict[str, float]:
    """Return the values of a gauge by their last label."""
    (family,) = gauge.collect()
    return {list(sample.labels.values())[-1]: sample.value for sample in family.samples}


async def roll_up(store: StatsStore, rows: Rows) -> None:
    await rows.make_due()
    await rollup.run_once(store, interval_seconds=5, retention=RETENTION)


async def fail(pool: Pool, subscription: UUID, *, breaker: str = "open", minutes: int) -> None:
    """Record that an endpoint has only failed for this long."""
    await pool.execute(
        "INSERT INTO subscription_health (subscription_id, breaker, failing_since)"
        " VALUES ($1, $2, now() - make_interval(mins => $3))",
        subscription, breaker, minutes,
    )  # fmt: skip


async def test_size_is_exported_for_every_table_that_grows(gauges: GaugeStore, rows: Rows) -> None:
    await rows.day(3)

    await loop.measure_server(gauges, Growth())

    sizes = exported(loop.TABLE_BYTES)
    assert sizes.keys() == set(TABLES)
    assert all(size > 0 for size in sizes.values())
    assert exported(loop.PARTITIONS) == dict.fromkeys(TABLES[:5], 10)
    assert exported(loop.LARGEST_PARTITION_BYTES)["webhook_events"] < sizes["webhook_events"]
    assert loop.DATABASE_BYTES._value.get() > sum(sizes.values())


async def test_a_detached_partition_still_counts(gauges: GaugeStore, pool: Pool, rows: Rows) -> None:
    await rows.day(3)
    name = next(name for name in await rows.partitions() if name.startswith("webhook_events"))
    # Else the counters of the rows that were just written would show at any time.
    await pool.execute("SELECT pg_stat_force_next_flush()")
    await pool.execute("SELECT 1")
    before = {table.name: table for table in await gauges.tables()}

    await pool.execute(f"ALTER TABLE webhook_events DETACH PARTITION {name}")

    assert {table.name: table for table in await gauges.tables()} == before


async def test_rows_are_the_servers_estimates(gauges: GaugeStore, pool: Pool, rows: Rows) -> None:
    for _ in range(20):
        await rows.subscription()
    await pool.execute("DELETE FROM subscriptions WHERE id IN (SELECT id FROM subscriptions LIMIT 8)")
    # Make a session's counters visible to others now, instead of at its next pause.
    await pool.execute("SELECT pg_stat_force_next_flush()")
    await pool.execute("SELECT 1")

    (found,) = (table for table in await gauges.tables() if table.name == "subscriptions")

    assert (found.live_rows, found.dead_rows) == (12, 8)


async def test_the_totals_of_the_server_count_from_the_first_look(gauges: GaugeStore, pool: Pool, rows: Rows) -> None:
    growth = Growth()
    before = loop.WAL_BYTES._value.get()
    await loop.measure_server(gauges, growth)
    assert loop.WAL_BYTES._value.get() == before

    async def grown() -> bool:
        # A session publishes its counters when it is idle, and at most once a second.
        await rows.subscription()
        await loop.measure_server(gauges, growth)
        return bool(loop.WAL_BYTES._value.get() > before)

    await eventually(grown)


async def test_sessions_are_counted_by_state(gauges: GaugeStore, pool: Pool) -> None:
    async with pool.acquire() as idler, idler.transaction():
        await idler.execute("SELECT pg_sleep(0.05)")
        await loop.measure_server(gauges, Growth())

        found = exported(loop.SESSIONS)
        assert found["active"] == 1
        assert found["idle_in_transaction"] == 1
        assert loop.OLDEST_TRANSACTION._value.get() >= 0.05
        assert loop.MAX_SESSIONS._value.get() > sum(found.values())


async def test_subscriptions_with_the_most_failed_attempts_come_first(
    gauges: GaugeStore, store: StatsStore, rows: Rows
) -> None:
    made = [await rows.subscription(tenant_id="default") for _ in range(4)]
    for failures, subscription in enumerate(made):
        await rows.attempt(subscription_id=subscription)
        for _ in range(failures):
            await rows.attempt(subscription_id=subscription, outcome="http_5xx")
    await roll_up(store, rows)

    await loop.measure_top(gauges, 2)

    assert exported(loop.TOP_FAILED_ATTEMPTS) == {str(made[3]): 3, str(made[2]): 2}
    assert exported(loop.TOP_ATTEMPTS) == {str(made[3]): 4, str(made[2]): 3}


async def test_subscriptions_whose_attempts_take_the_most_time_come_first(
    gauges: GaugeStore, store: StatsStore, rows: Rows
) -> None:
    slow, busy, quick = [await rows.subscription() for _ in range(3)]
    await rows.attempt(subscription_id=slow, duration_ms=9_000)
    for _ in range(3):
        await rows.attempt(subscription_id=busy, duration_ms=4_000)
    await rows.attempt(subscription_id=quick, duration_ms=5)
    await roll_up(store, rows)

    await loop.measure_top(gauges, 2)

    assert exported(loop.TOP_ATTEMPT_SECONDS) == {str(busy): 12.0, str(slow): 9.0}


async def test_subscriptions_that_have_failed_for_longest_come_first(
    gauges: GaugeStore, pool: Pool, rows: Rows
) -> None:
    minutes = {await rows.subscription(): age for age in (5, 50, 500)}
    for subscription, age in minutes.items():
        await fail(pool, subscription, minutes=age, breaker="half_open" if age == 5 else "open")
    await fail(pool, await rows.subscription(deleted=True), minutes=9_999)
    await fail(pool, await rows.subscription(), minutes=9_999, breaker="closed")

    await loop.measure_top(gauges, 3)

    found = exported(loop.TOP_FAILING_SECONDS)
    assert {name: round(seconds / 60) for name, seconds in found.items()} == {
        str(name): age for name, age in minutes.items()
    }


async def test_a_subscription_that_is_no_longer_among_the_worst_is_not_exported(
    gauges: GaugeStore, store: StatsStore, pool: Pool, rows: Rows
) -> None:
    first, second = await rows.subscription(), await rows.subscription()
    await rows.attempt(subscription_id=first, outcome="timeout")
    await fail(pool, first, minutes=1)
    await roll_up(store, rows)
    await loop.measure_top(gauges, 1)
    assert exported(loop.TOP_FAILED_ATTEMPTS) == {str(first): 1}

    for _ in range(2):
        await rows.attempt(subscription_id=second, outcome="timeout")
    await pool.execute("UPDATE subscription_health SET breaker = 'closed'")
    await roll_up(store, rows)
    await loop.measure_top(gauges, 1)

    assert exported(loop.TOP_FAILED_ATTEMPTS) == {str(second): 2}
    assert exported(loop.TOP_ATTEMPTS) == {str(second): 2}
    assert exported(loop.TOP_FAILING_SECONDS) == {}


async def test_attempts_of_more_than_five_minutes_ago_are_left_out(
    gauges: GaugeStore, store: StatsStore, rows: Rows
) -> None:
    await rows.attempt(subscription_id=await rows.subscription(), outcome="timeout", age=timedelta(minutes=7))
    await rows.make_due(rolled_up=timedelta(minutes=8))
    await rollup.run_once(store, interval_seconds=5, retention=RETENTION)

    await loop.measure_top(gauges, 10)

    assert exported(loop.TOP_FAILED_ATTEMPTS) == {}


def test_a_process_that_stands_by_reports_nothing() -> None:
    loop.TABLE_BYTES.labels("webhook_events").set(7)
    loop.DATABASE_BYTES.set(7)
    loop.forget()
    assert REGISTRY.get_sample_value("webhook_postgres_table_bytes", {"table": "webhook_events"}) is None
    assert REGISTRY.get_sample_value("webhook_postgres_database_bytes") == 0
