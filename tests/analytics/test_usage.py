"""The sums that show how much of its quotas each tenant uses."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from dev.harness import deliveries
from dev.harness.waiting import wait_until
from services.analytics.settings import AnalyticsSettings
from services.analytics.usage import loop
from services.analytics.usage.store import UsageStore
from services.domain.tenants.quotas import Quota
from services.platform import ids
from services.platform.process.background import QUIET_SECONDS
from tests.analytics.conftest import Rows

DEFAULTS = AnalyticsSettings(_env_file=None).quotas


@pytest.fixture
def store(rows: Rows) -> UsageStore:
    return UsageStore(rows.pool)


async def sum_up(rows: Rows, store: UsageStore) -> None:
    """Update the sums."""
    await rows.pool.execute("UPDATE usage_state SET due_at = now()")
    await loop.run_once(store)


async def used(rows: Rows, tenant_id: str) -> dict[str, float] | None:
    """Return the sums of a tenant."""
    row = await rows.pool.fetchrow("SELECT * FROM tenant_usage WHERE tenant_id = $1", tenant_id)
    return None if row is None else dict(row)


async def wait(rows: Rows, subscription_id: UUID, tenant_id: str, number: int, status: str = "pending") -> None:
    """Store deliveries of a subscription."""
    pairs = [(ids.new(), ids.new()) for _ in range(number)]
    await deliveries.insert(rows.pool, pairs, subscription_id=subscription_id, tenant_id=tenant_id, status=status)


async def store_bytes(rows: Rows, tenant_id: str, *, events: int, number: int, age: timedelta = timedelta()) -> None:
    """Record that a tenant stored events with this many bytes."""
    await rows.pool.execute(
        "INSERT INTO tenant_storage (day, tenant_id, events, bytes) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (day, tenant_id) DO UPDATE"
        " SET events = tenant_storage.events + excluded.events, bytes = tenant_storage.bytes + excluded.bytes",
        (datetime.now(UTC) - age).date(), tenant_id, events, number,
    )  # fmt: skip


@pytest.fixture
async def acme(rows: Rows) -> str:
    await rows.pool.execute("INSERT INTO tenants (id, name) VALUES ('acme', 'Acme'), ('other', 'Other')")
    return "acme"


async def test_tenant_usage_is_summed_up(rows: Rows, store: UsageStore, acme: str) -> None:
    first, second = await rows.subscription(tenant_id=acme), await rows.subscription(tenant_id=acme)
    gone = await rows.subscription(tenant_id=acme, deleted=True)
    others = await rows.subscription(tenant_id="other")
    await wait(rows, first, acme, 2)
    await wait(rows, second, acme, 1, "scheduled")
    await wait(rows, second, acme, 1, "in_flight")
    await wait(rows, gone, acme, 1)
    await wait(rows, first, acme, 4, "delivered")
    await wait(rows, others, "other", 7)
    await rows.pool.execute(
        "INSERT INTO event_expansions (event_id, tenant_id, event_type, stored_at, targets, made)"
        " VALUES ($1, $2, 'a', now(), 120, 20)", ids.new(), acme,
    )  # fmt: skip
    await store_bytes(rows, acme, events=3, number=500)
    await store_bytes(rows, acme, events=1, number=70, age=timedelta(days=1))
    await sum_up(rows, store)
    found = await used(rows, acme)
    assert found is not None
    assert (found["subscriptions"], found["waiting_deliveries"], found["stored_bytes"]) == (2, 5 + 100, 570)
    assert await used(rows, "default") is None
    assert ((await used(rows, "other")) or {})["waiting_deliveries"] == 7


async def test_tenant_usage_is_removed_when_nothing_is_left(rows: Rows, store: UsageStore, acme: str) -> None:
    subscription = await rows.subscription(tenant_id=acme)
    await wait(rows, subscription, acme, 2)
    await sum_up(rows, store)
    waiting = [row["delivery_id"] for row in await rows.pool.fetch("SELECT delivery_id FROM delivery_queue")]
    await deliveries.put(rows.pool, *waiting, status="cancelled")
    await rows.pool.execute("UPDATE subscriptions SET deleted_at = now()")
    await sum_up(rows, store)
    assert await used(rows, acme) is None


async def test_the_rate_of_events_is_that_since_the_sums_before(rows: Rows, store: UsageStore, acme: str) -> None:
    await store_bytes(rows, acme, events=1000, number=1)
    await sum_up(rows, store)
    assert ((await used(rows, acme)) or {})["events_per_second"] == 0
    await store_bytes(rows, acme, events=50, number=1)
    await rows.pool.execute("UPDATE usage_state SET measured_at = measured_at - interval '10 seconds'")
    await sum_up(rows, store)
    assert 1 < ((await used(rows, acme)) or {})["events_per_second"] <= 5
    await sum_up(rows, store)
    assert ((await used(rows, acme)) or {})["events_per_second"] == 0


async def test_days_whose_partition_was_dropped_no_longer_count(rows: Rows, store: UsageStore, acme: str) -> None:
    await store_bytes(rows, acme, events=1, number=100, age=timedelta(days=400))
    await store_bytes(rows, acme, events=1, number=5)
    await sum_up(rows, store)
    assert ((await used(rows, acme)) or {})["stored_bytes"] == 5


async def test_a_row_that_is_right_is_not_written(rows: Rows, store: UsageStore, acme: str) -> None:
    await rows.subscription(tenant_id=acme)
    await sum_up(rows, store)
    before = await rows.pool.fetchval("SELECT xmin::text FROM tenant_usage WHERE tenant_id = $1", acme)
    await sum_up(rows, store)
    assert await rows.pool.fetchval("SELECT xmin::text FROM tenant_usage WHERE tenant_id = $1", acme) == before


async def test_copies_take_turns(rows: Rows, store: UsageStore) -> None:
    await rows.pool.execute("UPDATE usage_state SET due_at = now()")
    async with store.turn() as turn:
        assert turn is not None
        async with store.turn() as second:
            assert second is None
    await loop.run_once(store)
    assert 0 < await loop.run_once(store) <= QUIET_SECONDS


async def test_the_tenants_nearest_to_their_quotas_are_named_and_no_others(
    rows: Rows, store: UsageStore, acme: str
) -> None:
    for number in range(5):
        await rows.pool.execute("INSERT INTO tenants (id, name) VALUES ($1, $1)", f"t{number}")
        await rows.pool.execute(
            "INSERT INTO tenant_usage VALUES ($1, $2, 0, 0, 0, 0)", f"t{number}", 100 * (number + 1)
        )
    await rows.pool.execute("UPDATE tenants SET max_subscriptions = 200 WHERE id = 't0'")
    async with store.turn() as turn:
        assert turn is not None
        await loop.measure(turn, 2, DEFAULTS)
    values = {
        sample.labels["tenant"]: sample.value
        for metric in REGISTRY.collect()
        if metric.name == "webhook_top_tenant_quota_used_ratio"
        for sample in metric.samples
        if sample.labels["quota"] == Quota.SUBSCRIPTIONS
    }
    assert values == {"t0": 0.5, "t4": pytest.approx(500 / DEFAULTS.subscriptions)}
    del acme


async def test_the_loop_sums_up_by_itself(rows: Rows, store: UsageStore, acme: str) -> None:
    await rows.subscription(tenant_id=acme)
    running = asyncio.create_task(loop.run_forever(store, DEFAULTS, most_named=10))
    try:

        async def known() -> bool:
            return await used(rows, acme) is not None

        await wait_until(known, what="the sums to be made")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
