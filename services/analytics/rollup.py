"""The loops that keep delivery_stats in step with attempts, ends of deliveries and events, and hourly_stats with it.

A run adds to the minutes what was recorded since the run before. An attempt belongs to the minute of its recorded_at,
which is the begin of the transaction that wrote it, and shows with its commit; so a run ends a second before the
present, and each minute is counted again SETTLE_AFTER its end, and replaced where that gives something else: by what
committed later than that second, by attempts whose outcome came to be known, or by types that are among the largest
after all. What commits later than the last of these is not counted.

After a pause the minutes that passed in it are counted and replaced in the same way, so nothing is counted twice.

Copies take turns: a run locks the one row of rollup_state, which says how far statistics go and when the next
run is due. The first process continues from there, also after a stop of minutes or days.

An hour is summed up once, when its last minute has settled, in a transaction of its own: it may be large, and minutes
do not wait for it.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.analytics import metrics
from services.analytics.store import MINUTE, StatsStore
from services.platform.process import background

# How long after its end a minute is computed again: for what was in the middle of its commit, for what a slow
# database held up, and for what a stalled one did.
SETTLE_AFTER = (timedelta(seconds=5), timedelta(minutes=1), timedelta(minutes=10))
# What is added ends so long before the present: nearly all that was recorded by then has been committed.
LAG = timedelta(seconds=1)
# After a longer pause minutes are replaced, and nothing is added.
MAX_ADDED = timedelta(seconds=30)
# One statement adds so much: the least while there is much to count, and up to the most while there is little. It takes
# about so long, and rests so many times as long.
LEAST_PART, MOST_PART = timedelta(seconds=1), timedelta(seconds=8)
QUICK_SECONDS, SLOW_SECONDS = 0.01, 0.04
REST = 3
# What one run goes ahead at most when it has to catch up: bounds its time and memory.
MAX_ADVANCE = timedelta(minutes=5)
HOURS_INTERVAL_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one run counts."""

    # From here on to `until` it is added; None after a pause.
    added_from: datetime | None
    # Whole minutes that are counted again, in spans from a begin to before an end.
    spans: tuple[tuple[datetime, datetime], ...]
    # Where statistics end afterwards.
    until: datetime
    # Whether that is not yet the present.
    behind: bool


def plan(rolled_up_to: datetime, now: datetime, retention: timedelta) -> Plan:
    """Return the run at `now` that follows one at `rolled_up_to`, without what is older than `retention`."""
    begin = max(min(rolled_up_to, now), now - retention)
    adds = begin == rolled_up_to and now - begin <= MAX_ADDED
    until = max(begin, now - LAG) if adds else min(now, begin + MAX_ADVANCE)
    spans = [] if adds else [(_floor(begin), _floor(until) + MINUTE)]
    for age in SETTLE_AFTER:
        # The minutes that reached this age since the run before.
        start, end = _floor(begin - age), _floor(until - age)
        if start < end:
            spans.append((start, end))
    return Plan(added_from=begin if adds else None, spans=_merge(spans), until=until, behind=not adds and until < now)


class Parts:
    """Divides what is added, which may be much, into what others hardly wait for."""

    def __init__(self) -> None:
        self.part = LEAST_PART

    def of(self, begin: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield the parts, each of the size that is right then."""
        while begin < until:
            end = min(until, begin + self.part)
            yield begin, end
            begin = end

    def took(self, seconds: float) -> None:
        """Learn from how long a part took to be added."""
        if seconds > SLOW_SECONDS:
            self.part = max(LEAST_PART, self.part / 2)
        elif seconds < QUICK_SECONDS:
            self.part = min(MOST_PART, self.part * 2)


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


async def run_once(
    store: StatsStore, *, interval_seconds: float, retention: timedelta, parts: Parts | None = None
) -> float:
    """Roll up what is due, unless another copy is at it; return in how many seconds to come again."""
    started = time.perf_counter()
    parts = parts or Parts()
    async with store.turn() as turn:
        if turn is None:
            return interval_seconds
        if turn.due_in_seconds > 0:
            metrics.ROLLUP_LAST_SUCCESS.set(turn.rolled_up_to.timestamp())
            # Never longer than an interval: the copy that set it may have had another setting, or another clock.
            return min(turn.due_in_seconds, interval_seconds)
        work = plan(turn.rolled_up_to, turn.now, retention)
        rows = 0
        for begin, end in parts.of(work.added_from or work.until, work.until):
            began = time.perf_counter()
            rows += await turn.add(begin, end)
            took = time.perf_counter() - began
            parts.took(took)
            await asyncio.sleep(REST * took)
        for start, end in work.spans:
            rows += await turn.replace(start, end, work.until)
        due_in_seconds = await turn.finish(work.until, 0.0 if work.behind else interval_seconds)
    metrics.ROLLUP_SECONDS.observe(time.perf_counter() - started)
    metrics.ROLLUP_ROWS.set(rows)
    metrics.ROLLUP_LAST_SUCCESS.set(work.until.timestamp())
    return max(due_in_seconds, 0.0)


async def run_forever(store: StatsStore, *, interval_seconds: float, retention: timedelta) -> None:
    """Roll up until cancelled; what fails is logged and tried again after the interval."""
    parts = Parts()
    await background.repeat(
        lambda: run_once(store, interval_seconds=interval_seconds, retention=retention, parts=parts),
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
