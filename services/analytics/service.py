"""AnalyticsService: validates requests, and responds from the roll-ups."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from google.protobuf import duration_pb2

from protos.webhook.v1 import analytics_pb2, analytics_pb2_grpc
from services.analytics import refusals, series, statistics
from services.analytics.settings import AnalyticsSettings
from services.analytics.store import StatsStore
from services.platform import errors, ids
from services.platform.auth import identity
from services.platform.grpc.calls import Context

DEFAULT_WINDOW = timedelta(hours=24)
_NANOS_PER_SECOND = 1_000_000_000
_NANOS_PER_MINUTE = 60 * _NANOS_PER_SECOND


class AnalyticsService(analytics_pb2_grpc.AnalyticsServiceServicer):
    """Servicer of webhook.v1.AnalyticsService."""

    def __init__(self, store: StatsStore, settings: AnalyticsSettings) -> None:
        self._store = store
        self._retention = settings.retention
        self._stats_retention = settings.stats_retention
        self._ages = series.Ages(minutes=settings.retention, hours=settings.stats_retention)
        self._series = series.Reader(store, age_seconds=settings.rollup_interval_seconds)

    async def GetStats(
        self, request: analytics_pb2.GetStatsRequest, _context: Context
    ) -> analytics_pb2.GetStatsResponse:
        """Sum up a window that ends at the newest roll-up.

        InvalidArgument names `window`, `subscription_id` or `tenant_id`; NotFound when the tenant never
        had that subscription. A deleted one is still answered.
        """
        window = window_of(request.window if request.HasField("window") else None, self._retention)
        tenant_id = identity.tenant_of_list(request.tenant_id)
        limit = identity.limited_to()
        if request.subscription_id:
            subscription_id = ids.parse("subscription_id", request.subscription_id)
            await self._check_subscriptions(tenant_id, [subscription_id])
            answers = [await self._store.stats(tenant_id, window, subscription_id)]
        elif limit is not None:
            answers = [await self._store.stats(tenant_id, window, one) for one in sorted(limit)]
        else:
            answers = [await self._store.stats(tenant_id, window)]
        stats = statistics.summarise(bucket for answer in answers for bucket in answer.buckets)
        if request.subscription_id or limit is not None:
            stats.ClearField("events")
        stats.window_start.FromDatetime(answers[0].start)
        stats.window_end.FromDatetime(answers[0].end)
        return analytics_pb2.GetStatsResponse(stats=stats)

    async def GetStatsSeries(
        self, request: analytics_pb2.GetStatsSeriesRequest, _context: Context
    ) -> analytics_pb2.GetStatsSeriesResponse:
        """Return statistics over time, from memory while no newer roll-up can be there.

        InvalidArgument names the field; NotFound when the tenant never had one of the subscriptions.
        """
        tenant_id = identity.tenant_of_list(request.tenant_id)
        query = series.parse(request, tenant_id, datetime.now(UTC), self._ages)
        if query.subscription_ids:
            await self._check_subscriptions(tenant_id, query.subscription_ids)
        return await self._series.get(query)

    async def GetRefusals(
        self, request: analytics_pb2.GetRefusalsRequest, _context: Context
    ) -> analytics_pb2.GetRefusalsResponse:
        """Sum up refused events by subscription and reason.

        InvalidArgument names the field; NotFound when the tenant never had one of the subscriptions.
        """
        tenant_id = identity.tenant_of_list(request.tenant_id)
        query = refusals.parse(request, datetime.now(UTC), self._stats_retention)
        if query.subscription_ids:
            await self._check_subscriptions(tenant_id, query.subscription_ids)
        found = await self._store.refusals(tenant_id, query.subscription_ids, query.start, query.end, query.limit)
        return refusals.message(query, *found)

    async def AddRefusals(
        self, request: analytics_pb2.AddRefusalsRequest, _context: Context
    ) -> analytics_pb2.AddRefusalsResponse:
        """Add the refused events that a gateway counted; InvalidArgument names the field."""
        if counts := refusals.added(request):
            await self._store.add_refusals(counts)
        return analytics_pb2.AddRefusalsResponse()

    async def _check_subscriptions(self, tenant_id: str | None, subscription_ids: Sequence[UUID]) -> None:
        missing = await self._store.missing_subscriptions(tenant_id, subscription_ids)
        if missing:
            raise errors.NotFound(f"subscription {missing[0]} not found")


def window_of(requested: duration_pb2.Duration | None, retention: timedelta) -> timedelta:
    """Return the window in whole minutes, rounded up; InvalidArgument unless it is 1 minute to `retention`."""
    if requested is None:
        return min(DEFAULT_WINDOW, retention)
    nanos = requested.seconds * _NANOS_PER_SECOND + requested.nanos
    if not _NANOS_PER_MINUTE <= nanos <= retention.total_seconds() * _NANOS_PER_SECOND:
        hours = int(retention.total_seconds()) // 3600
        raise errors.InvalidArgument.field("window", f"must be between 1 minute and {hours} hours")
    return timedelta(minutes=-(-nanos // _NANOS_PER_MINUTE))
