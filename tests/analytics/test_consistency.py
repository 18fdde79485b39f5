"""The check that exactly the unfinished deliveries are in the queue: services/analytics/consistency.py."""

from datetime import timedelta

import pytest
import structlog

from services.analytics.consistency import MISMATCHES, Check, ConsistencyStore
from services.platform.stores.postgres import Pool
from tests.analytics.conftest import Rows, today

STATES = ("pending", "scheduled", "in_flight", "delivered", "failed", "cancelled")
# Smaller than a day's rows, so that chunks end among them.
CHUNK = 4


def found() -> tuple[float, float]:
    """Return how many were counted so far."""
    return MISMATCHES.labels("missing")._value.get(), MISMATCHES.labels("orphaned")._value.get()


@pytest.fixture
async def check(pool: Pool, rows: Rows) -> Check:
    """A check of twelve deliveries, two in each state, that starts before the first."""
    for age_days in (1, 0):
        for status in STATES:
            await rows.delivery(today() - timedelta(days=age_days), status=status)
    return Check(ConsistencyStore(pool), begin=timedelta(days=3), chunk=CHUNK)


async def rounds(check: Check, number: int = 1) -> tuple[float, float]:
    """Return the counts after this many rounds of twelve deliveries."""
    missing, orphaned = found()
    for _ in range(number * (2 * len(STATES) // CHUNK + 1)):
        await check.step()
    after = found()
    return after[0] - missing, after[1] - orphaned


async def test_a_queue_that_matches_history_is_not_reported(check: Check) -> None:
    assert await rounds(check, 2) == (0, 0)


async def test_a_delivery_that_is_pending_and_not_in_the_queue_is_found_in_every_round(
    check: Check, pool: Pool
) -> None:
    lost = await pool.fetchval("DELETE FROM delivery_queue WHERE scheduled RETURNING delivery_id")
    lost_too = await pool.fetchval("SELECT count(*) FROM deliveries WHERE history = 'pending' AND NOT queued")
    with structlog.testing.capture_logs() as logs:
        assert await rounds(check, 2) == (2 * lost_too, 0)
    assert str(lost) in {delivery_id for entry in logs for delivery_id in entry["delivery_ids"]}


async def test_a_row_of_the_queue_whose_delivery_has_ended_or_is_unknown_is_found(check: Check, pool: Pool) -> None:
    await pool.execute("UPDATE webhook_deliveries SET status = 'delivered' WHERE status = 'pending'")
    assert await rounds(check) == (0, 6)
    await pool.execute("DELETE FROM webhook_deliveries")
    await check.step()
    missing, orphaned = found()
    await check.step()
    assert found() == (missing, orphaned + 6)
