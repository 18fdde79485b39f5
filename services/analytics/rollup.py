"""The loops that keep delivery_stats in step with attempts, ends of deliveries and events, and hourly_stats with it.

Minutes are recomputed and replaced, so nothing is counted twice. An attempt belongs to the minute of its
recorded_at, which is the begin of the transaction that wrote it, and shows with its commit; so a minute is computed
in every run while it goes on, and again each of SETTLE_AFTER after its end. What commits later than the last of these
is not counted.

An event belongs to the minute in its id. Events are large rows, so in the minute that goes on a run reads only those
that came since the run before, and adds them; what settles is recomputed from all of its events.

Copies take turns: a run locks the one row of rollup_state, which says how far statistics go and when the next
run is due. The first process continues from there, also after a stop of minutes or days.

An hour is summed up once, when its last minute has settled, in a transaction of its own: it may be large, and minutes
do not wait for it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.analytics import metrics
from services.analytics.store import StatsStore
from services.platform.process import background

MINUTE = timedelta(minutes=1)
# How long after its end a minute is computed again: for what was in the middle of its commit, for what a slow
# database held up, and for what a stalled one did.
SETTLE_AFTER = (timedelta(seconds=5), timedelta(minutes=1), timedelta(minutes=10))
# What one run goes ahead at most when it has to catch up: bounds its time and memory.
MAX_ADVANCE = timedelta(minutes=5)
HOURS_INTERVAL_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one run computes: spans of whole minutes, each from a begin to before an end."""

    spans: tuple[tuple[datetime, datetime], ...]
    # Where statistics end afterwards.
    until: datetime
    # Whether that is not yet the present.
    behind: bool
    # From here on events are added to those of its minute that are counted; None: all are counted from the beginning.
    added_from: datetime | None


def plan(rolled_up_to: datetime, now: datetime, retention: timedelta) -> Plan:
    """Return the run at `now` that follows one at `rolled_up_to`, without what is older than `retention`."""
    begin = max(min(rolled_up_to, now), now - retention)
    until = min(now, begin + MAX_ADVANCE)
    spans = [(_floor(begin), _floor(until) + MINUTE)]
    for age in SETTLE_AFTER:
        # The minutes that reached this age since the run before.
        start, end = _floor(begin - age), _floor(until - age)
        if start < end:
            spans.append((start, end))
    merged = _merge(spans)
    added_from = begin if begin == rolled_up_to and spans[0] in merged else None
    return Plan(spans=merged, until=until, behind=until < now, added_from=added_from)


def _floor(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def _merge(spans: Sequence[tuple[datetime, datetime]]) -> tuple[tuple[datetime, datetime], ...]:
    merged: list[tuple[datetime, datetime]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return tuple(merged)


async def run_once(store: StatsStore, *, interval_seconds: float, retention: timedelta) -> float:
    """Roll up what is due, unless another copy is at it; return in how many seconds to come again."""
    started = time.perf_counter()
    async with store.turn() as turn:
        if turn is None:
            return interval_seconds
        if turn.due_in_seconds > 0:
            metrics.ROLLUP_LAST_SUCCESS.set(turn.rolled_up_to.timestamp())
            # Never longer than an interval: the copy that set it may have had another setting, or another clock.
            return min(turn.due_in_seconds, interval_seconds)
        work = plan(turn.rolled_up_to, turn.now, retention)
        rows = 0
        for start, end in work.spans:
            added = work.added_from is not None and start <= work.added_from < end
            rows += await turn.replace(start, end, work.until, work.added_from if added else None)
        due_in_seconds = await turn.finish(work.until, 0.0 if work.behind else interval_seconds)
    metrics.ROLLUP_SECONDS.observe(time.perf_counter() - started)
    metrics.ROLLUP_ROWS.set(rows)
    metrics.ROLLUP_LAST_SUCCESS.set(work.until.timestamp())
    return max(due_in_seconds, 0.0)


async def run_forever(store: StatsStore, *, interval_seconds: float, retention: timedelta) -> None:
    """Roll up until cancelled; what fails is logged and tried again after the interval."""
    await background.repeat(
        lambda: run_once(store, interval_seconds=interval_seconds, retention=retention),
        interval_seconds=interval_seconds,
        on_error=metrics.ROLLUP_ERRORS.inc,
    )


async def roll_up_hours(store: StatsStore) -> None:
    """Sum up the hours whose minutes have settled, each in a transaction of its own."""
    while (hour := await store.roll_up_hour(SETTLE_AFTER[-1])) is not None:
        metrics.ROLLUP_HOURS.set((hour + timedelta(hours=1)).timestamp())


async def roll_up_hours_forever(store: StatsStore) -> None:
    """Sum up hours until cancelled; what fails is logged and tried again after the interval."""
    await background.repeat(
        lambda: roll_up_hours(store), interval_seconds=HOURS_INTERVAL_SECONDS, on_error=metrics.ROLLUP_ERRORS.inc
    )
