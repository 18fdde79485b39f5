"""Retention on a real Postgres: it drops what is old, never what is needed, and never blocks others."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from dev.harness.waiting import wait_until
from services.analytics import metrics, retention
from services.analytics.settings import AnalyticsSettings
from services.analytics.store import Partition, PartitionStore, StatsStore
from services.platform import ids
from services.platform.stores.postgres import Pool
from tests.analytics.conftest import Rows, eventually, today

TABLES = ("delivery_attempts", "event_tags", "unsuccessful_deliveries", "webhook_deliveries", "webhook_events")


def _day(age_days: int) -> date:
    return today() - timedelta(days=age_days)


async def _expansion(rows: Rows, day: date) -> None:
    """Note that an event of a day is to get more deliveries."""
    await rows.pool.execute(
        "INSERT INTO event_expansions (event_id, tenant_id, event_type, stored_at, targets)"
        " VALUES ($1, 'default', 'a', now(), 1) ON CONFLICT DO NOTHING",
        ids.least_at(datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=5)),
    )


async def test_retention_drops_old_days_of_all_tables(
    store: StatsStore, rows: Rows, settings: AnalyticsSettings
) -> None:
    for age_days in (9, 6, 3, 1):
        await rows.day(age_days)

    await retention.run_once(store, settings)

    assert await rows.partitions(_day(9)) == []
    assert await rows.partitions(_day(6)) == []
    # Ended less than 72 hours ago.
    assert [name[:-9] for name in await rows.partitions(_day(3))] == list(TABLES)
    assert [name[:-9] for name in await rows.partitions(_day(1))] == list(TABLES)
    assert metrics.RETENTION_OVERDUE._value.get() == 0


@pytest.mark.parametrize("status", ["pending", "scheduled", "in_flight"])
async def test_retention_keeps_a_day_with_an_unfinished_delivery_until_it_ends(
    store: StatsStore, rows: Rows, settings: AnalyticsSettings, status: str
) -> None:
    unfinished = await rows.day(6, status=status)
    await rows.delivery(_day(6))
    await rows.day(5)

    await retention.run_once(store, settings)

    assert len(await rows.partitions(_day(6))) == len(TABLES)
    assert await rows.partitions(_day(5)) == []
    assert metrics.RETENTION_HELD._value.get() == len(TABLES)
    assert metrics.RETENTION_OVERDUE._value.get() == 0

    await rows.set_status(unfinished, "failed")
    await retention.run_once(store, settings)

    assert await rows.partitions(_day(6)) == []
    assert metrics.RETENTION_HELD._value.get() == 0


async def test_retention_keeps_a_day_while_a_delivery_failed_within_the_time_to_recover_it(
    store: StatsStore, rows: Rows, settings: AnalyticsSettings
) -> None:
    recovering = settings.model_copy(update={"recovery_hours": 72})
    failed = await rows.day(6)
    await rows.set_status(failed, "failed")
    await rows.day(5)
    await rows.pool.execute("UPDATE unsuccessful_deliveries SET ended_at = now() - interval '71 hours'")

    await retention.run_once(store, recovering)

    assert len(await rows.partitions(_day(6))) == len(TABLES)
    assert await rows.partitions(_day(5)) == []
    assert metrics.RETENTION_OVERDUE._value.get() == 0

    await rows.pool.execute("UPDATE unsuccessful_deliveries SET ended_at = now() - interval '73 hours'")
    await retention.run_once(store, recovering)

    assert await rows.partitions(_day(6)) == []


async def test_retention_keeps_a_day_with_an_event_that_is_to_get_more_deliveries(
    store: StatsStore, rows: Rows, settings: AnalyticsSettings
) -> None:
    await rows.day(6)
    await rows.day(5)
    await _expansion(rows, _day(6))

    await retention.run_once(store, settings)

    assert len(await rows.partitions(_day(6))) == len(TABLES)
    assert await rows.partitions(_day(5)) == []

    await rows.pool.execute("DELETE FROM event_expansions")
    await retention.run_once(store, settings)

    assert await rows.partitions(_day(6)) == []


async def test_a_day_held_past_expiry_is_overdue(store: StatsStore, rows: Rows, settings: AnalyticsSettings) -> None:
    await rows.day(9, status="pending")

    await retention.run_once(store, settings)

    assert metrics.RETENTION_OVERDUE._value.get() == len(TABLES)


async def test_retention_keeps_a_day_until_its_last_attempts_are_rolled_up(
    store: StatsStore, rows: Rows, settings: AnalyticsSettings
) -> None:
    await rows.day(6, attempt_age=timedelta(minutes=9))
    await rows.day(5, attempt_age=timedelta(minutes=16))

    await retention.run_once(store, settings)

    assert len(await rows.partitions(_day(6))) == len(TABLES)
    assert await rows.partitions(_day(5)) == []


async def test_a_database_ten_days_old_gets_its_partitions(
    store: StatsStore, rows: Rows, settings: AnalyticsSettings, pool: Pool
) -> None:
    for name in await rows.partitions():
        await pool.execute(f"DROP TABLE {name}")
    for age_days in (10, 9, 8, 7, 6, 5, 4, 3):
        await rows.day(age_days)
    with pytest.raises(asyncpg.CheckViolationError):
        await rows.delivery(today())

    await retention.run_once(store, settings)

    await rows.delivery(today())
    names = await rows.partitions()
    assert f"webhook_events_{today() + timedelta(days=7):%Y%m%d}" in names
    assert f"webhook_events_{_day(10):%Y%m%d}" not in names


async def test_retention_finishes_an_interrupted_detach(
    store: StatsStore, rows: Rows, settings: AnalyticsSettings, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rows.day(6)
    reader = await asyncpg.connect(database)
    transaction = reader.transaction()
    await transaction.start()
    await reader.fetch("SELECT FROM webhook_deliveries")

    detach = PartitionStore.detach

    async def impatient(self: PartitionStore, partition: Partition) -> None:
        self._lock_timeout_seconds = 0.2 if partition.name.startswith("webhook_deliveries") else 60.0
        await detach(self, partition)

    with monkeypatch.context() as patch:
        patch.setattr(PartitionStore, "detach", impatient)
        with pytest.raises(TimeoutError):
            await retention.run_once(store, settings)

    assert await _pending(rows.pool) == [f"webhook_deliveries_{_day(6):%Y%m%d}"]
    assert metrics.RETENTION_OVERDUE._value.get() == len(TABLES)
    await transaction.rollback()
    await reader.close()

    await retention.run_once(store, settings)

    assert await rows.partitions(_day(6)) == []
    assert metrics.RETENTION_OVERDUE._value.get() == 0


async def test_a_waiting_detach_does_not_block_others(
    store: StatsStore, rows: Rows, settings: AnalyticsSettings, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It waits for longer than this test takes.
    monkeypatch.setattr(retention, "LOCK_TIMEOUT_SECONDS", 120.0)
    old = await rows.day(6)
    recent = await rows.delivery(today(), status="pending")
    reader = await asyncpg.connect(database)
    transaction = reader.transaction()
    await transaction.start()
    await reader.fetch("SELECT FROM webhook_deliveries")
    running = asyncio.create_task(retention.run_once(store, settings))
    await eventually(rows.is_somebody_waiting_for_a_lock)

    await rows.delivery(today())
    await rows.set_status(recent, "in_flight")
    await rows.set_status(old, "failed")
    await rows.pool.fetch("SELECT FROM webhook_deliveries")

    assert not running.done()
    await transaction.rollback()
    await reader.close()
    await running
    assert await rows.partitions(_day(6)) == []


async def test_retention_puts_a_day_back_whose_delivery_was_retried_meanwhile(
    store: StatsStore, rows: Rows, settings: AnalyticsSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    retried = await rows.day(6, status="failed")
    detach = PartitionStore.detach

    async def retry_first(self: PartitionStore, partition: Partition) -> None:
        await rows.set_status(retried, "pending")
        await detach(self, partition)

    monkeypatch.setattr(PartitionStore, "detach", retry_first)

    await retention.run_once(store, settings)

    status = await rows.pool.fetchval("SELECT status FROM webhook_deliveries WHERE id = $1", retried)
    assert status == "pending"
    assert len(await rows.partitions(_day(6))) == len(TABLES)
    assert metrics.RETENTION_HELD._value.get() == len(TABLES)


async def test_retention_puts_a_day_back_with_an_event_that_is_to_get_more_deliveries_after_all(
    store: StatsStore, rows: Rows, settings: AnalyticsSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rows.day(6)
    detach = PartitionStore.detach

    async def expand_first(self: PartitionStore, partition: Partition) -> None:
        await _expansion(rows, _day(6))
        await detach(self, partition)

    monkeypatch.setattr(PartitionStore, "detach", expand_first)

    await retention.run_once(store, settings)

    assert len(await rows.partitions(_day(6))) == len(TABLES)


async def test_retention_goes_on_where_a_pass_died(
    store: StatsStore, rows: Rows, settings: AnalyticsSettings, pool: Pool
) -> None:
    for age_days in (8, 7, 6):
        await rows.day(age_days)
    unfinished = await rows.day(5, status="pending")
    # After dropping one of three, after detaching one, and after detaching one that must be attached again.
    await pool.execute(f"DROP TABLE webhook_deliveries_{_day(8):%Y%m%d}")
    for age_days in (7, 5):
        await pool.execute(
            f"ALTER TABLE webhook_deliveries DETACH PARTITION webhook_deliveries_{_day(age_days):%Y%m%d} CONCURRENTLY"
        )

    await retention.run_once(store, settings)

    for age_days in (8, 7, 6):
        assert await rows.partitions(_day(age_days)) == []
    assert await pool.fetchval("SELECT status FROM webhook_deliveries WHERE id = $1", unfinished) == "pending"


async def test_copies_that_race_are_harmless(store: StatsStore, rows: Rows, settings: AnalyticsSettings) -> None:
    for age_days in (8, 7, 6, 5):
        await rows.day(age_days)

    await asyncio.gather(*(retention.run_once(store, settings) for _ in range(3)))

    for age_days in (8, 7, 6, 5):
        assert await rows.partitions(_day(age_days)) == []


async def test_retention_leaves_other_tables_alone(
    store: StatsStore, rows: Rows, settings: AnalyticsSettings, pool: Pool
) -> None:
    await pool.execute("CREATE TABLE webhook_events_20200101_kept ()")
    await pool.execute("CREATE TABLE other_99999999 ()")

    await retention.run_once(store, settings)

    assert await pool.fetchval("SELECT to_regclass('webhook_events_20200101_kept') IS NOT NULL")
    assert await rows.partitions(today()) != []


async def test_retention_deletes_old_statistics_in_chunks(
    store: StatsStore, settings: AnalyticsSettings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "DELETE_ROWS", 100)
    await pool.execute(
        "INSERT INTO delivery_stats (minute, subscription_id, tenant_id, outcome, duration_bucket, attempts)"
        " SELECT date_trunc('minute', now()) - n * interval '1 hour', gen_random_uuid(), 'default', 'success', 3, 1"
        " FROM generate_series(0, 999) AS n"
    )

    await retention.run_once(store, settings)

    assert 72 <= await pool.fetchval("SELECT count(*) FROM delivery_stats") <= 73


async def test_retention_keeps_hours_for_the_days_that_are_set(
    store: StatsStore, settings: AnalyticsSettings, pool: Pool
) -> None:
    await pool.execute(
        "INSERT INTO hourly_stats (hour, subscription_id, tenant_id, event_type, outcome, duration_bucket, attempts,"
        " deliveries, events, duration_ms_total)"
        " SELECT date_trunc('hour', now()) - n * interval '1 day', gen_random_uuid(), 'default', '*', '{success}',"
        " '{3}', '{1}', '{1}', '{0}', '{10}' FROM generate_series(0, 99) AS n"
    )

    await retention.run_once(store, settings.model_copy(update={"stats_retention_days": 30}))

    assert 31 <= await pool.fetchval("SELECT count(*) FROM hourly_stats") <= 32


async def test_retention_keeps_refusals_for_the_days_that_are_set(
    store: StatsStore, settings: AnalyticsSettings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "DELETE_ROWS", 10)
    await pool.execute(
        "INSERT INTO refusals (hour, tenant_id, subscription_id, reason, events, last_at)"
        " SELECT date_trunc('hour', now()) - n * interval '1 day', 'default', gen_random_uuid(), 'NOT_FOUND', 1, now()"
        " FROM generate_series(0, 99) AS n"
    )

    await retention.run_once(store, settings.model_copy(update={"stats_retention_days": 30}))

    assert 31 <= await pool.fetchval("SELECT count(*) FROM refusals") <= 32


async def test_retention_keeps_ends_until_a_roll_up_has_settled_them(
    store: StatsStore, rows: Rows, settings: AnalyticsSettings, pool: Pool
) -> None:
    for minutes in (5, 40, 70):
        await rows.end("failed", age=timedelta(minutes=minutes))
    await rows.make_due(rolled_up=timedelta(minutes=50))

    await retention.run_once(store, settings)
    assert await pool.fetchval("SELECT count(*) FROM unattempted_ends") == 2

    await rows.make_due()
    await retention.run_once(store, settings)
    assert await pool.fetchval("SELECT count(*) FROM unattempted_ends") == 1


async def test_the_loop_survives_a_failure(
    store: StatsStore, rows: Rows, settings: AnalyticsSettings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RETRY_SECONDS", 0.05)
    await rows.day(6)
    await pool.execute("ALTER FUNCTION create_current_partitions() RENAME TO away")
    failures = metrics.RETENTION_ERRORS._value.get()
    loop = asyncio.create_task(retention.run_forever(store, settings))
    await wait_until(lambda: metrics.RETENTION_ERRORS._value.get() > failures)
    await pool.execute("ALTER FUNCTION away() RENAME TO create_current_partitions")

    async def is_dropped() -> bool:
        return not await rows.partitions(_day(6))

    await eventually(is_dropped)
    assert not loop.done()
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def _pending(pool: Pool) -> list[str]:
    rows = await pool.fetch("SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhdetachpending")
    return [row["name"] for row in rows]


async def test_retention_deletes_audit_entries_past_their_own_retention(
    store: StatsStore, settings: AnalyticsSettings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "DELETE_ROWS", 2)  # in several chunks
    for age_hours in (8780, 8775, 8770, 8765, 8761, 8759, 200, 0):
        created_at = datetime.now(UTC) - timedelta(hours=age_hours)
        await pool.execute(
            "INSERT INTO audit_entries (id, created_at, tenant_id, actor, action, resource_type, resource_id)"
            " VALUES ($1, $2, 'default', 'system', 'subscription.disable', 'subscription', $3)",
            ids.least_at(created_at), created_at, str(age_hours),
        )  # fmt: skip

    await retention.run_once(store, settings)

    kept = await pool.fetch("SELECT resource_id FROM audit_entries ORDER BY id")
    assert [row["resource_id"] for row in kept] == ["8759", "200", "0"]
