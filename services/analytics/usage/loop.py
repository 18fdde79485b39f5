"""The loop that sums up what each tenant uses of its quotas, for all processes.

Copies take turns by the one row of usage_state, and summing up takes at most a twentieth of the time, however much
there is. Nothing else counts what a tenant has: an event changes no row of its tenant.
"""

from prometheus_client import Gauge

from services.analytics.usage.store import Turn, UsageStore
from services.domain.tenants.quotas import Quotas
from services.platform.process import background
from services.platform.process.background import QUIET_SECONDS

# While something changes; else QUIET_SECONDS.
INTERVAL_SECONDS = 2.0
# The pause after sums, as a multiple of the time that they took.
PAUSE_FACTOR = 19.0
# Tenants that are named for each quota, at most.
MOST_NAMED = 10

# Besides those of gauges.py the only metric that names anybody.
USED = Gauge(
    "webhook_top_tenant_quota_used_ratio",
    "How much of a quota a tenant uses, of the tenants that are nearest to it; 1 is all of it.",
    ["tenant", "quota"],
)


async def run_once(store: UsageStore, defaults: Quotas | None = None, *, most_named: int = 0) -> float:
    """Sum up if it is due, unless another copy is at it; return in how many seconds to come again.

    Name up to so many tenants; at 0 none.
    """
    async with store.turn() as turn:
        if turn is None:
            return INTERVAL_SECONDS
        due_in_seconds = min(turn.due_in_seconds, QUIET_SECONDS)
        if due_in_seconds <= 0:
            due_in_seconds = await turn.sum_up(
                interval_seconds=INTERVAL_SECONDS, quiet_seconds=QUIET_SECONDS, pause_factor=PAUSE_FACTOR
            )
        if most_named and defaults is not None:
            await measure(turn, most_named, defaults)
        return due_in_seconds


async def measure(turn: Turn, limit: int, defaults: Quotas) -> None:
    """Set all series at once: nobody scrapes in between, for nothing is awaited."""
    nearest = await turn.nearest(limit, defaults)
    USED.clear()
    for found in nearest:
        USED.labels(found.tenant_id, found.quota).set(found.used)


async def run_forever(store: UsageStore, defaults: Quotas, *, most_named: int) -> None:
    """Sum up until cancelled; at 0 no tenant is named."""

    async def step() -> float:
        return await run_once(store, defaults, most_named=min(MOST_NAMED, most_named))

    await background.repeat(step, interval_seconds=INTERVAL_SECONDS, quiet=True)
