"""Which subscriptions an event goes to, with what their filters say of it.

Filters of a tenant take a few milliseconds of an event that is being accepted, and a share of the process's time. What
goes beyond is left to the expansion of large fan-outs, as if the event went to many.
"""

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from protos.webhook.v1.ingest_pb2 import IngestItem
from services.domain.filters import expression
from services.domain.filters.evaluation import Evaluation, OutOfTimeError
from services.domain.subscriptions import Flag
from services.ingest.subscriptions.cache import SubscriptionCache
from services.ingest.subscriptions.record import Subscription, Target
from services.ingest.subscriptions.slow_filters import SlowFilters


class Filtering:
    """Finds the targets of events; of those that go to more than `inline_deliveries` only how many there may be."""

    def __init__(self, cache: SubscriptionCache, slow: SlowFilters, *, inline_deliveries: int) -> None:
        self._cache = cache
        self._slow = slow
        self._inline_deliveries = inline_deliveries

    async def wanting(
        self,
        tenant_id: str,
        event_id: UUID,
        event_type: str,
        content_type: str,
        item: IngestItem,
        payload: bytes,
        tags: Callable[[], Mapping[str, str]],
    ) -> tuple[Sequence[Target], int]:
        """Return the subscriptions that want an event, or how many may want it if it has to be expanded."""
        begun: list[Evaluation] = []

        def begin() -> Evaluation:
            begun.append(self._begin(tenant_id, event_id, event_type, content_type, item, payload, tags()))
            return begun[0]

        try:
            targets = await self._cache.matching(tenant_id, event_type, self._inline_deliveries + 1, begin)
        except OutOfTimeError:
            return (), max(1, await self._cache.count(tenant_id, event_type))
        finally:
            if begun:
                self._slow.accepted(tenant_id, begun[0])
        if len(targets) > self._inline_deliveries:
            return (), max(len(targets), await self._cache.count(tenant_id, event_type))
        return targets, 0

    def addressed(
        self,
        subscription: Subscription,
        event_id: UUID,
        event_type: str,
        content_type: str,
        item: IngestItem,
        payload: bytes,
        tags: Callable[[], Mapping[str, str]],
    ) -> tuple[Sequence[Target], int]:
        """Return the same of an event that is sent to this subscription, and whose type it wants."""
        if not subscription.flags & Flag.FILTER or not subscription.targets:
            return subscription.targets, 0
        tenant_id = subscription.tenant_id
        evaluation = self._begin(tenant_id, event_id, event_type, content_type, item, payload, tags())
        filter_ = expression.compiled(subscription.filter or "")
        try:
            passes = evaluation.passes(subscription.id, filter_, subscription.filter_on_error)
        except OutOfTimeError:
            return (), 1
        finally:
            self._slow.accepted(tenant_id, evaluation)
        return (subscription.targets if passes else ()), 0

    def _begin(
        self,
        tenant_id: str,
        event_id: UUID,
        event_type: str,
        content_type: str,
        item: IngestItem,
        payload: bytes,
        tags: Mapping[str, str],
    ) -> Evaluation:
        return Evaluation(
            event_id=event_id,
            event_type=event_type,
            content_type=content_type,
            content_encoding=item.content_encoding or None,
            tags=tags,
            payload=payload,
            seconds=self._slow.seconds_of(tenant_id),
        )
