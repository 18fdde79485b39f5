"""The gauges of the subscriptions that stand out: at most `limit` series each, and none of what no longer does."""

from collections.abc import Mapping

from prometheus_client import Gauge

from services.analytics.gauges import metrics
from services.analytics.gauges.store import Name, Store


async def measure(store: Store, limit: int) -> None:
    """Looks once."""
    top = await store.top(limit)
    failing = await store.failing(limit)
    _replace(metrics.TOP_FAILED_ATTEMPTS, {name: recent.failed_attempts for name, recent in top.failed.items()})
    _replace(metrics.TOP_ATTEMPTS, {name: recent.attempts for name, recent in top.failed.items()})
    _replace(metrics.TOP_ATTEMPT_SECONDS, {name: recent.seconds for name, recent in top.busy.items()})
    _replace(metrics.TOP_FAILING_SECONDS, failing)


def _replace(gauge: Gauge, values: Mapping[Name, float]) -> None:
    """Sets all series at once: nobody scrapes in between, for nothing is awaited."""
    gauge.clear()
    for name, value in values.items():
        gauge.labels(name.tenant_id, str(name.subscription_id)).set(value)
