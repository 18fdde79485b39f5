"""Which deliveries a scheduled event gets once it is due: as if it had just been accepted."""

from collections.abc import Sequence

from protos.webhook.v1.ingest_pb2 import IngestItem
from services.domain import events as rules
from services.domain.gates import Gates
from services.ingest.events.filtering import Filtering
from services.ingest.events.records import NewDelivery
from services.ingest.scheduled.rows import Scheduled
from services.ingest.subscriptions.cache import SubscriptionCache
from services.ingest.subscriptions.record import Target
from services.ingest.subscriptions.secrets import TYPED
from services.platform import ids


class Matcher:
    """Matches scheduled events with subscriptions as they are now."""

    def __init__(self, cache: SubscriptionCache, gates: Gates, filtering: Filtering) -> None:
        self._cache = cache
        self._gates = gates
        self._filtering = filtering

    async def deliveries(self, due: Scheduled) -> tuple[Sequence[NewDelivery], int]:
        """Return the deliveries to make with an event or, if they are too many, about how many are made later."""
        targets, more = await self._targets(due)
        made = [(ids.of_delivery(due.id, to), to, steady and self._gates.is_open(to)) for to, steady in targets]
        return made, more

    async def _targets(self, due: Scheduled) -> tuple[Sequence[Target], int]:
        event_type = due.event_type or ""
        # What filtering asks of an item besides.
        item = IngestItem(content_encoding=due.content_encoding or "")
        arguments = (due.id, event_type, due.content_type, item, due.payload, lambda: rules.tags_of(due.tags))
        if due.addressed_to is None:
            return await self._filtering.wanting(due.tenant_id, *arguments)
        subscription = await self._cache.get(due.addressed_to)
        if subscription is None:
            return (), 0
        if not subscription.types.wants(event_type, typed=subscription.verification in TYPED):
            return (), 0
        return self._filtering.addressed(subscription, *arguments)
