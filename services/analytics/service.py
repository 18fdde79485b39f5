"""AnalyticsService: validates requests, and responds from the roll-ups."""

from datetime import timedelta

from google.protobuf import duration_pb2

from protos.webhook.v1 import analytics_pb2, analytics_pb2_grpc
from services.analytics import statistics
from services.analytics.store import StatsStore
from services.platform import errors, ids
from services.platform.auth import identity
from services.platform.grpc.calls import Context

DEFAULT_WINDOW = timedelta(hours=24)
_NANOS_PER_SECOND = 1_000_000_000
_NANOS_PER_MINUTE = 60 * _NANOS_PER_SECOND


class AnalyticsService(analytics_pb2_grpc.AnalyticsServiceServicer):
    """Servicer of webhook.v1.AnalyticsService."""

    def __init__(self, store: StatsStore, *, retention: timedelta) -> None:
        self._store = store
        self._retention = retention

    async def GetStats(
        self, request: analytics_pb2.GetStatsRequest, _context: Context
    ) -> analytics_pb2.GetStatsResponse:
        """Sum up a window that ends at the newest roll-up.

        InvalidArgument names `window`, `subscription_id` or `tenant_id`; NotFound when the tenant never
        had that subscription. A deleted one is still answered.
        """
        window = window_of(request.window if request.HasField("window") else None, self._retention)
        tenant_id = identity.tenant_of_list(request.tenant_id)
        if request.subscription_id:
            subscription_id = ids.parse("subscription_id", request.subscription_id)
            if not await self._store.has_subscription(tenant_id, subscription_id):
                raise errors.NotFound(f"subscription {subscription_id} not found")
            answer = await self._store.stats(tenant_id, window, subscription_id)
        else:
            answer = await self._store.stats(tenant_id, window)
        stats = statistics.summarise(answer.buckets)
        stats.window_start.FromDatetime(answer.start)
        stats.window_end.FromDatetime(answer.end)
        return analytics_pb2.GetStatsResponse(stats=stats)


def window_of(requested: duration_pb2.Duration | None, retention: timedelta) -> timedelta:
    """Return the window in whole minutes, rounded up; InvalidArgument unless it is 1 minute to `retention`."""
    if requested is None:
        return min(DEFAULT_WINDOW, retention)
    nanos = requested.seconds * _NANOS_PER_SECOND + requested.nanos
    if not _NANOS_PER_MINUTE <= nanos <= retention.total_seconds() * _NANOS_PER_SECOND:
        hours = int(retention.total_seconds()) // 3600
        raise errors.InvalidArgument.field("window", f"must be between 1 minute and {hours} hours")
    return timedelta(minutes=-(-nanos // _NANOS_PER_MINUTE))
