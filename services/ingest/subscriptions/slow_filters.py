"""What filters cost: those that are too slow are stopped, and each tenant has a share of the time of those that accept.

A slow evaluation is of one event and one filter. Each process counts for itself.
"""

import asyncio
import math
import time
from uuid import UUID

import structlog

from services.domain.filters.evaluation import EVENT_SECONDS, Evaluation
from services.ingest import metrics
from services.ingest.subscriptions.cache import SubscriptionCache
from services.ingest.subscriptions.store import SubscriptionStore
from services.platform.process.bounds import BoundedCache, TokenBucket
from services.platform.stores.availability import is_store_away

log = structlog.get_logger(__name__)

# A filter is stopped after so many slow evaluations within this time.
MAX_SLOW = 100
SLOW_SECONDS = 3_600.0
MAX_KNOWN = 10_000
# What the filters of a tenant may take of the time in which events of all tenants are accepted: of each second, and at
# once. What goes beyond is evaluated where large fan-outs are expanded.
SHARE = 0.25
BURST_SECONDS = 0.1


class SlowFilters:
    """Counts slow evaluations, and the time that tenants spend."""

    def __init__(self, store: SubscriptionStore, cache: SubscriptionCache) -> None:
        self._store = store
        self._cache = cache
        # How many of a filter there were, and since when. A text that was replaced begins again.
        self._counts: BoundedCache[tuple[UUID, str], tuple[int, float]] = BoundedCache(MAX_KNOWN)
        self._spent: BoundedCache[str, TokenBucket] = BoundedCache(MAX_KNOWN)
        self._stopping: set[asyncio.Task[None]] = set()

    def seconds_of(self, tenant_id: str) -> float:
        """Return how long the filters of a tenant may take now where an event is accepted."""
        bucket = self._spent.get(tenant_id)
        if bucket is None:
            return EVENT_SECONDS
        bucket.fill(per_second=SHARE, most=BURST_SECONDS)
        return min(EVENT_SECONDS, bucket.tokens)

    def accepted(self, tenant_id: str, evaluation: Evaluation) -> None:
        """Count what the filters of a tenant took of an event that is being accepted."""
        bucket = self._spent.get(tenant_id)
        if bucket is None:
            bucket = TokenBucket(BURST_SECONDS)
            self._spent.put(tenant_id, bucket)
        bucket.tokens -= evaluation.end()
        self.note(tenant_id, evaluation)

    def note(self, tenant_id: str, evaluation: Evaluation) -> None:
        """Count evaluations, and stop filters that were slow too often."""
        metrics.FILTER_EVALUATIONS.inc(evaluation.matches + evaluation.no_matches + evaluation.errors)
        metrics.FILTER_NO_MATCHES.inc(evaluation.no_matches)
        if evaluation.errors:
            metrics.FILTER_ERRORS.inc(evaluation.errors)
        metrics.FILTER_SECONDS.inc(evaluation.spent_seconds)
        for key in evaluation.slow:
            metrics.SLOW_FILTERS.inc()
            count, since = self._counts.get(key) or (0, time.monotonic())
            if time.monotonic() - since > SLOW_SECONDS:
                count, since = 0, time.monotonic()
            self._counts.put(key, (count + 1, since if count + 1 < MAX_SLOW else -math.inf))
            if count + 1 == MAX_SLOW:
                task = asyncio.create_task(self._stop(tenant_id, *key), name="stop_filter")
                self._stopping.add(task)
                task.add_done_callback(self._stopping.discard)

    async def _stop(self, tenant_id: str, subscription_id: UUID, text: str) -> None:
        try:
            stopped = await self._store.stop_filter(tenant_id, subscription_id, text)
        except Exception as error:
            if not is_store_away(error):  # otherwise it is stopped when it was slow as often again
                log.exception("a slow filter could not be stopped", subscription_id=str(subscription_id))
            return
        if stopped is not None:
            log.warning("a filter is too slow and was stopped", subscription_id=str(subscription_id))
            await self._cache.changed(subscription_id, tenant_id, stopped, stopped.version)
