"""Statistics over time: the steps and groups that a request asks for, what they come to, and what is remembered."""

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID
from weakref import WeakValueDictionary

from protos.webhook.v1 import analytics_pb2
from services.analytics import metrics, statistics
from services.analytics.statistics import ACCEPTED, Bucket
from services.analytics.store import ALL_SUBSCRIPTIONS, ALL_TYPES, MOST_TYPES, OTHER_TYPES, Cell, StatsStore
from services.platform import errors, ids
from services.platform.grpc import conversion

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
STEPS: Mapping[timedelta, str] = {MINUTE: "1m", timedelta(minutes=5): "5m", HOUR: "1h", DAY: "1d"}
DEFAULT_RANGE = timedelta(hours=24)
# Of the step that is chosen when none is asked for.
DEFAULT_POINTS = 300
MOST_POINTS = 1_500
# In all groups together: bounds the time and memory that one response takes here and in the gateway.
MOST_GROUPED_POINTS = 5_000
MOST_SUBSCRIPTIONS = 100
DEFAULT_GROUPS = 10
MOST_GROUPS = MOST_TYPES
OTHER = OTHER_TYPES
# What a caller may ask for that the clock has just left behind.
LATENESS = timedelta(minutes=5)
# What is remembered, by all points of all series.
REMEMBERED_POINTS = 50_000


class Group(StrEnum):
    """What the groups are."""

    OUTCOME = "outcome"
    SUBSCRIPTION = "subscription"
    EVENT_TYPE = "event-type"


# Requests that say from when to when, and for which subscriptions.
Ranged: TypeAlias = analytics_pb2.GetStatsSeriesRequest | analytics_pb2.GetRefusalsRequest


@dataclass(frozen=True, kw_only=True)
class Query:
    """A valid request; equal ones have the same answer."""

    # None: all tenants.
    tenant_id: str | None
    subscription_ids: tuple[UUID, ...]
    start: datetime
    end: datetime
    step: timedelta
    group_by: Group | None
    # Groups that are listed.
    limit: int

    @property
    def named(self) -> bool:
        """Whether the groups are the subscriptions that the caller named."""
        return self.group_by is Group.SUBSCRIPTION and bool(self.subscription_ids)

    @property
    def steps(self) -> int:
        """The number of points of each series."""
        return (self.end - self.start) // self.step

    @property
    def points(self) -> int:
        """The number of points of all series, at most."""
        return self.steps * (1 + (0 if self.group_by is None else self.limit + (not self.named)))


@dataclass(frozen=True, kw_only=True)
class Ages:
    """How far back statistics go."""

    minutes: timedelta
    hours: timedelta

    def of(self, step: timedelta) -> timedelta:
        """Return how far back a step goes."""
        return self.minutes if step < HOUR else max(self.minutes, self.hours)


def parse(request: analytics_pb2.GetStatsSeriesRequest, tenant_id: str | None, now: datetime, ages: Ages) -> Query:
    """Return what is asked for; InvalidArgument names the field at fault, and the smallest step that fits."""
    group_by = _group(request)
    subscription_ids = subscriptions(request)
    if subscription_ids and group_by is Group.EVENT_TYPE:
        raise errors.InvalidArgument.field("subscription_ids", "cannot be combined with group_by=event_type")
    start, end = period(request, now, oldest=max(ages.minutes, ages.hours), default=min(DEFAULT_RANGE, ages.minutes))
    groups = _groups(request, group_by, subscription_ids)
    step = _step(request, start, end, now, ages, groups)
    first, last = floor(start, step), ceil(end, step)
    steps = (last - first) // step
    if groups is None:
        groups = max(1, min(DEFAULT_GROUPS, MOST_GROUPED_POINTS // steps))
    return Query(
        tenant_id=tenant_id,
        subscription_ids=subscription_ids,
        start=first,
        end=last,
        step=step,
        group_by=group_by,
        limit=groups,
    )


def period(request: Ranged, now: datetime, *, oldest: timedelta, default: timedelta) -> tuple[datetime, datetime]:
    """Return from when to when a request asks, which goes back `oldest`; InvalidArgument names the field at fault.

    `default` is how long before its end it begins where it does not say.
    """
    first = now - oldest - LATENESS
    too_old = f"must be within the last {oldest.days} days (STATS_RETENTION_DAYS)"
    end = min(conversion.moment("to_time", request.to_time) if request.HasField("to_time") else now, now)
    if end <= first:
        raise errors.InvalidArgument.field("to_time", too_old)
    if request.HasField("from_time"):
        start = conversion.moment("from_time", request.from_time)
    else:
        start = max(end - default, first)
    if start >= end:
        raise errors.InvalidArgument.field("from_time", "must be before to, and before now")
    if start < first:
        raise errors.InvalidArgument.field("from_time", too_old)
    return start, end


def subscriptions(request: Ranged) -> tuple[UUID, ...]:
    """Return the subscriptions that a request names, each once; InvalidArgument for too many."""
    if len(request.subscription_ids) > MOST_SUBSCRIPTIONS:
        raise errors.InvalidArgument.field("subscription_ids", f"must be at most {MOST_SUBSCRIPTIONS}")
    parsed = (ids.parse("subscription_ids", text) for text in request.subscription_ids)
    return tuple(dict.fromkeys(parsed))


def _group(request: analytics_pb2.GetStatsSeriesRequest) -> Group | None:
    text = conversion.texts(analytics_pb2.StatsGroup.DESCRIPTOR).get(request.group_by)
    if text is None and request.group_by:
        raise errors.InvalidArgument.field("group_by", "must be outcome, subscription or event_type")
    return None if text is None else Group(text)


def _groups(
    request: analytics_pb2.GetStatsSeriesRequest, group_by: Group | None, subscription_ids: Sequence[UUID]
) -> int | None:
    """Return how many groups are listed; None for as many as fit."""
    if request.limit and not 1 <= request.limit <= MOST_GROUPS:
        raise errors.InvalidArgument.field("limit", f"must be between 1 and {MOST_GROUPS}")
    if group_by is None:
        return 0
    if group_by is Group.SUBSCRIPTION and subscription_ids:
        return len(subscription_ids)
    return request.limit or None


def _step(
    request: analytics_pb2.GetStatsSeriesRequest,
    start: datetime,
    end: datetime,
    now: datetime,
    ages: Ages,
    groups: int | None,
) -> timedelta:
    def fits(step: timedelta, most_points: int) -> bool:
        points = (ceil(end, step) - floor(start, step)) // step
        reaches = start >= now - ages.of(step) - LATENESS
        return reaches and points <= most_points and points * (groups or 1) <= MOST_GROUPED_POINTS

    def smallest(most_points: int) -> timedelta | None:
        return next((step for step in STEPS if fits(step, most_points)), None)

    if not request.HasField("step"):
        found = smallest(DEFAULT_POINTS) or smallest(MOST_POINTS)
        if found is None:
            raise errors.InvalidArgument.field("limit", _too_many(groups))
        return found
    step = next(
        (step for step in STEPS if step.total_seconds() == request.step.seconds and not request.step.nanos), None
    )
    if step is None:
        raise errors.InvalidArgument.field("step", f"must be one of {', '.join(STEPS.values())}")
    if fits(step, MOST_POINTS):
        return step
    found = smallest(MOST_POINTS)
    if found is None:
        raise errors.InvalidArgument.field("limit", _too_many(groups))
    if start < now - ages.of(step) - LATENESS:
        hours = int(ages.minutes.total_seconds()) // 3600
        reason = f"of {STEPS[step]} goes back {hours} hours (LOG_RETENTION_HOURS)"
    else:
        reason = (
            f"of {STEPS[step]} makes too many points: at most {MOST_POINTS}, and {MOST_GROUPED_POINTS} in all groups"
        )
    raise errors.InvalidArgument.field("step", f"{reason}; the smallest that fits is {STEPS[found]}")


def _too_many(groups: int | None) -> str:
    return f"{groups} groups make more than {MOST_GROUPED_POINTS} points in this time; ask for fewer, or for less time"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def floor(moment: datetime, step: timedelta) -> datetime:
    """Return the begin of the step that a moment is in."""
    return moment - (moment - _EPOCH) % step


def ceil(moment: datetime, step: timedelta) -> datetime:
    """Return the end of the step that a moment is in, or the moment if a step ends there."""
    return moment + (_EPOCH - moment) % step


# By outcome and duration bucket.
Sums = dict[tuple[str, int], Bucket]


@dataclass(kw_only=True)
class Series:
    """What happened to a group in each step."""

    steps: defaultdict[datetime, Sums] = field(default_factory=lambda: defaultdict(dict))

    def add(self, start: datetime, bucket: Bucket, sign: int = 1) -> None:
        """Add a bucket to a step, or with a sign of -1 take it away."""
        sums = self.steps[start]
        key = bucket.outcome, bucket.duration_bucket
        before = sums.get(key)
        if before is None and sign > 0:
            sums[key] = bucket
            return
        sums[key] = Bucket(
            outcome=bucket.outcome,
            duration_bucket=bucket.duration_bucket,
            attempts=sign * bucket.attempts + (before.attempts if before else 0),
            deliveries=sign * bucket.deliveries + (before.deliveries if before else 0),
            events=sign * bucket.events + (before.events if before else 0),
            duration_ms_total=sign * bucket.duration_ms_total + (before.duration_ms_total if before else 0),
        )

    def buckets(self) -> Iterator[tuple[datetime, Bucket]]:
        """Yield each bucket with its step."""
        return ((start, bucket) for start, sums in self.steps.items() for bucket in sums.values())

    @classmethod
    def sum(cls, parts: Iterable["Series"], *, less: Iterable["Series"] = ()) -> "Series":
        """Return the sum of series, less that of others."""
        made = cls()
        for sign, summed in ((1, parts), (-1, less)):
            for part in summed:
                for start, bucket in part.buckets():
                    made.add(start, bucket, sign)
        return made

    @property
    def volume(self) -> int:
        """How much happened."""
        return sum(bucket.attempts + bucket.deliveries + bucket.events for _, bucket in self.buckets())

    def message(self, query: Query, group: str = "") -> analytics_pb2.StatsSeries:
        """Return it with a point for each step, and their sum."""
        with_events = not query.subscription_ids and (not group or query.group_by is Group.EVENT_TYPE)
        with_rates = not group or query.group_by is not Group.OUTCOME
        whole = Series()
        for _, bucket in self.buckets():
            whole.add(query.start, bucket)

        def stats(sums: Sums, start: datetime, end: datetime) -> analytics_pb2.Stats:
            made = statistics.summarise(sums.values())
            made.window_start.FromDatetime(start)
            made.window_end.FromDatetime(end)
            if not with_events:
                made.ClearField("events")
            if not with_rates:
                made.ClearField("attempt_success_rate")
                made.ClearField("delivery_success_rate")
            return made

        starts = (query.start + number * query.step for number in range(query.steps))
        return analytics_pb2.StatsSeries(
            group=group,
            summary=stats(whole.steps[query.start], query.start, query.end),
            points=[stats(self.steps.get(start, {}), start, start + query.step) for start in starts],
        )


class Reader:
    """Computes series from the roll-ups, and remembers them for as long as those stay the same."""

    def __init__(self, store: StatsStore, *, age_seconds: float, points: int = REMEMBERED_POINTS) -> None:
        self._store = store
        self._age_seconds = age_seconds
        self._most_points = points
        # The oldest first, with the time at which each was computed.
        self._known: OrderedDict[Query, tuple[float, analytics_pb2.GetStatsSeriesResponse]] = OrderedDict()
        self._points = 0
        self._locks: WeakValueDictionary[Query, asyncio.Lock] = WeakValueDictionary()

    async def get(self, query: Query) -> analytics_pb2.GetStatsSeriesResponse:
        """Return the series; equal queries are computed once, however many ask at the same time."""
        lock = self._locks.get(query)
        if lock is None:
            lock = self._locks[query] = asyncio.Lock()
        async with lock:
            found = self._remembered(query)
            metrics.SERIES.labels("postgres" if found is None else "memory").inc()
            if found is None:
                begun = time.monotonic()
                found = await self._compute(query)
                self._remember(query, begun, found)
        return found

    @property
    def remembered_points(self) -> int:
        """How many points are remembered."""
        return self._points

    def _remembered(self, query: Query) -> analytics_pb2.GetStatsSeriesResponse | None:
        now = time.monotonic()
        while self._known:
            oldest, (computed_at, _) = next(iter(self._known.items()))
            if now - computed_at < self._age_seconds:
                break
            self._forget(oldest)
        found = self._known.get(query)
        return None if found is None else found[1]

    def _remember(self, query: Query, begun: float, response: analytics_pb2.GetStatsSeriesResponse) -> None:
        self._known[query] = begun, response
        self._points += query.points
        while self._points > self._most_points:
            self._forget(next(iter(self._known)))

    def _forget(self, query: Query) -> None:
        del self._known[query]
        self._points -= query.points

    async def _compute(self, query: Query) -> analytics_pb2.GetStatsSeriesResponse:
        progress = await self._store.progress()
        reading = _Reading(self._store, query, await self._store.tenants(query.tenant_id), progress.hours_to)
        total, groups = await reading.read()
        response = analytics_pb2.GetStatsSeriesResponse(total=total.message(query))
        for name, series in groups:
            # Each is some milliseconds of work, between which others have their turn.
            await asyncio.sleep(0)
            response.groups.append(series.message(query, name))
        response.from_time.FromDatetime(query.start)
        response.to_time.FromDatetime(query.end)
        response.step.FromTimedelta(query.step)
        response.complete_to.FromDatetime(progress.minutes_to)
        return response


class _Reading:
    """The reading of one query."""

    def __init__(self, store: StatsStore, query: Query, tenants: Sequence[str], hours_to: datetime) -> None:
        self._store = store
        self._query = query
        self._tenants = tenants
        self._hours_to = hours_to

    async def read(self) -> tuple[Series, list[tuple[str, Series]]]:
        """Return the total, and the groups with their names."""
        query = self._query
        subscriptions = query.subscription_ids or (ALL_SUBSCRIPTIONS,)
        by_subscription = await self._series(subscriptions, (ALL_TYPES,))
        total = Series.sum(by_subscription.values())
        if query.group_by is None:
            return total, []
        if query.named:
            return total, [(str(name), by_subscription.get(str(name), Series())) for name in query.subscription_ids]
        if query.group_by is Group.OUTCOME:
            return total, _by_outcome(total, query.limit)
        groups = await self._largest()
        other = Series.sum([total], less=(series for _, series in groups))
        if other.volume:
            groups.append((OTHER, other))
        return total, groups

    async def _largest(self) -> list[tuple[str, Series]]:
        query = self._query
        by_type = query.group_by is Group.EVENT_TYPE
        middle = min(max(self._hours_to, query.start), query.end)
        names = await self._store.largest(
            self._tenants, floor(query.start, HOUR), middle, query.end, query.limit, by_type=by_type
        )
        if by_type:
            found = await self._series((ALL_SUBSCRIPTIONS,), names, by_type=True)
        else:
            found = await self._series([UUID(name) for name in names], (ALL_TYPES,))
        # The hours that ranked them may be more than was asked for.
        return [(name, found[name]) for name in names if name in found]

    async def _series(
        self, subscription_ids: Sequence[UUID], event_types: Sequence[str], *, by_type: bool = False
    ) -> dict[str, Series]:
        """Return the series of subscriptions, or of event types, by their names: hours where there are, and minutes."""
        query = self._query
        middle = query.start
        cells: list[Cell] = []
        if query.step >= HOUR and self._hours_to > query.start:
            middle = min(self._hours_to, query.end)
            cells += await self._cells(subscription_ids, event_types, query.start, middle, hours=True)
        if middle < query.end:
            cells += await self._cells(subscription_ids, event_types, middle, query.end, hours=False)
        found: defaultdict[str, Series] = defaultdict(Series)
        for cell in cells:
            found[cell.event_type if by_type else str(cell.subscription_id)].add(cell.start, cell)
        return found

    async def _cells(
        self,
        subscription_ids: Sequence[UUID],
        event_types: Sequence[str],
        start: datetime,
        end: datetime,
        *,
        hours: bool,
    ) -> list[Cell]:
        return await self._store.cells(
            self._tenants, subscription_ids, event_types, start, end, self._query.step, hours=hours
        )


def _by_outcome(total: Series, limit: int) -> list[tuple[str, Series]]:
    """Split a series by outcome, the largest first; those beyond the limit are one."""
    found: defaultdict[str, Series] = defaultdict(Series)
    for start, bucket in total.buckets():
        if bucket.outcome != ACCEPTED:
            found[bucket.outcome].add(start, bucket)
    ranked = sorted(found.items(), key=lambda item: (-item[1].volume, item[0]))
    if len(ranked) > limit:
        ranked[limit:] = [(OTHER, Series.sum(series for _, series in ranked[limit:]))]
    return ranked
