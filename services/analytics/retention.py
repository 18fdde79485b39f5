"""The loop that makes the partitions ahead, drops those past LOG_RETENTION_HOURS, and deletes rows past their age.

Every pass first makes the partitions of the days to come. Then, in one process at a time, it looks at each day
that is past its retention. The day's partitions (webhook_deliveries, unsuccessful_deliveries, delivery_attempts,
event_tags, webhook_events: ids of a day are the same days in all five) go together, and only when no delivery of the
day is in the queue, none has failed within RECOVERY_HOURS, and the roll-ups have settled its attempts.

What each step locks, so that the hot path never waits:

- DETACH PARTITION … CONCURRENTLY takes SHARE UPDATE EXCLUSIVE on the parent and the partition, which reading
  and writing rows does not conflict with; marks the partition, which new statements leave out from then on; and
  waits, without a lock that others could queue behind, for the transactions that still use the parent. Only then it
  takes ACCESS EXCLUSIVE, only on the partition, which is no longer reachable.
- DROP TABLE takes ACCESS EXCLUSIVE on the table that was detached, and nothing else.
- Making and attaching a partition takes SHARE UPDATE EXCLUSIVE on the parent.

Every wait for a lock ends after LOCK_TIMEOUT_SECONDS: by the server's lock_timeout, and that of a detach by its being
cancelled. A detach that ends so, or is killed, stays half done, and a later pass finishes it. A day whose deliveries
were retried between the check and the detach is put back, and nothing is lost.
Partitions are known by the names that create_partitions() gives; a table to be kept must be renamed.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from itertools import groupby

import structlog

from services.analytics import metrics, rollup
from services.analytics.settings import AnalyticsSettings
from services.analytics.store import Partition, PartitionStore, StatsStore, partitions
from services.platform.process import background

log = structlog.get_logger(__name__)

# Longer than the server's deadlock_timeout (1 s), after which an autovacuum in the way gives up.
LOCK_TIMEOUT_SECONDS = 3.0
# Attempts younger than this are yet to be computed a last time.
SETTLE = rollup.SETTLE_AFTER[-1] + timedelta(minutes=5)
# Statistics outlast the longest window, so that it stays whole.
STATS_EXTRA = timedelta(minutes=5)
HOURS_EXTRA = timedelta(days=1)
DELETE_ROWS = 5_000
RETRY_SECONDS = 30.0


async def run_once(stats: StatsStore, settings: AnalyticsSettings) -> None:
    """One pass: makes partitions, drops old ones, deletes old statistics and audit entries. Raises what stopped it."""
    async with partitions(settings, lock_timeout_seconds=LOCK_TIMEOUT_SECONDS) as store:
        made = await store.create()
        if made:
            log.info("created partitions", count=made)
        # A copy that does not get the lock knows nothing of what is overdue, and says nothing.
        async with store.lock() as locked:
            if locked:
                await _drop_old(store, settings)
            else:
                metrics.RETENTION_HELD.set(0)
                metrics.RETENTION_OVERDUE.set(0)
    await _delete_all(stats.delete_old, settings.retention + STATS_EXTRA)
    await _delete_all(stats.delete_old_hours, settings.stats_retention + HOURS_EXTRA)
    await _delete_all(stats.delete_old_refusals, settings.stats_retention + HOURS_EXTRA)
    await _delete_all(stats.delete_old_ends, SETTLE)
    await _delete_all(stats.delete_old_audit_entries, settings.audit_retention)


async def _delete_all(delete: Callable[[timedelta, int], Awaitable[int]], age: timedelta) -> None:
    while True:
        deleted = await delete(age, DELETE_ROWS)
        metrics.RETENTION_ROWS_DELETED.inc(deleted)
        if deleted < DELETE_ROWS:
            return


async def _drop_old(store: PartitionStore, settings: AnalyticsSettings) -> None:
    latest = settings.delivery_expiry + settings.recovery
    due = await store.due(settings.retention, max(settings.retention, latest))
    held = overdue = 0
    failure: Exception | None = None
    for day, tables in groupby(due, key=lambda partition: partition.day):
        group = list(tables)
        try:
            kept = await store.day_is_in_use(day, SETTLE, settings.recovery)
            if kept:
                await _put_back(store, group)
            else:
                kept = not await _drop_day(store, group)
        except Exception as error:  # noqa: BLE001 - the other days are looked at all the same; raised below
            log.warning("partitions cannot be dropped; trying again", day=str(day), error=repr(error))
            overdue += len(group)
            failure = failure or error
            continue
        if kept:
            held += len(group)
            overdue += sum(partition.past_expiry for partition in group)
    metrics.RETENTION_HELD.set(held)
    metrics.RETENTION_OVERDUE.set(overdue)
    if failure is not None:
        raise failure


async def _drop_day(store: PartitionStore, tables: Sequence[Partition]) -> bool:
    """Drop a day's tables in their order; False when its deliveries turned out to be unfinished and were put back."""
    for partition in tables:
        await store.detach(partition)
        # From here on nobody can change a row of it, so what is seen now stays so.
        if await store.has_unfinished(partition):
            await store.attach(partition)
            return False
        await store.drop(partition)
        metrics.RETENTION_PARTITIONS_DROPPED.inc()
        log.info("dropped partition", partition=partition.name)
    return True


async def _put_back(store: PartitionStore, tables: Sequence[Partition]) -> None:
    """Attach what a pass that died had detached of a day whose deliveries turned out to be unfinished."""
    for partition in tables:
        if partition.detaching:
            await store.detach(partition)
        if partition.detaching or not partition.attached:
            await store.attach(partition)


async def run_forever(stats: StatsStore, settings: AnalyticsSettings) -> None:
    """Retain until cancelled; what fails is logged and tried again soon."""

    async def step() -> None:
        with metrics.RETENTION_SECONDS.time():
            await run_once(stats, settings)
        metrics.RETENTION_LAST_SUCCESS.set_to_current_time()

    await background.repeat(
        step,
        interval_seconds=settings.retention_interval_seconds,
        retry_seconds=min(settings.retention_interval_seconds, RETRY_SECONDS),
        on_error=metrics.RETENTION_ERRORS.inc,
    )
