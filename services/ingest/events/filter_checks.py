"""Filters that are tried on events, before they are saved."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from protos.webhook.v1 import ingest_pb2 as pb
from services.domain import events
from services.domain.filters import expression
from services.domain.filters.evaluation import Evaluation
from services.domain.filters.expression import Verdict
from services.ingest.events import search
from services.ingest.events.records import StoredEvent
from services.ingest.events.routing import false_part
from services.ingest.events.store import EventStore
from services.ingest.subscriptions.cache import SubscriptionCache
from services.ingest.subscriptions.filter_schemas import FilterSchemas
from services.ingest.subscriptions.store import no_subscription
from services.platform import errors, ids
from services.platform.stores.walks import Span

MAX_EVENTS = 20
# How far back the latest events of a subscription are looked for.
LATEST = timedelta(days=7)
_CHOICES = ("event", "event_ids", "latest")
_VERDICTS = {
    Verdict.MATCH: pb.FILTER_VERDICT_MATCH,
    Verdict.NO_MATCH: pb.FILTER_VERDICT_NO_MATCH,
    Verdict.ERROR: pb.FILTER_VERDICT_ERROR,
}


class FilterChecks:
    """Tries filters, each on a few events."""

    def __init__(
        self, store: EventStore, cache: SubscriptionCache, schemas: FilterSchemas, *, max_payload_bytes: int
    ) -> None:
        self._store = store
        self._schemas = schemas
        self._cache = cache
        self._max_payload_bytes = max_payload_bytes

    async def results(
        self, tenant_id: str, request: pb.CheckFilterRequest
    ) -> tuple[list[pb.FilterResult], Sequence[str]]:
        """Return what a filter says of each event, and what the schemas of their types say of the filter.

        Raise InvalidArgument if it, or the choice of events, is wrong.
        """
        given = [field.name for field, _ in request.ListFields() if field.name in _CHOICES]
        if len(given) != 1:
            raise errors.InvalidArgument.field(
                "event", "one of event, event_ids, and subscription_id is required, and no other"
            )
        if found := expression.violations(request.filter):
            raise errors.InvalidArgument.of(*found)
        if given == ["event"]:
            tried = self._tried(request.event)
            types = [request.event.event_type] if request.event.event_type else []
            return [_result("", request.filter, tried)], await self._warnings(tenant_id, request.filter, types)
        types = []
        if given == ["event_ids"]:
            event_ids = _parsed(request.event_ids)
        else:
            event_ids, types = await self._latest(tenant_id, request.latest)
        results = []
        async for event, one in self._stored(tenant_id, event_ids):
            results.append(_result(str(event.id), request.filter, one))
            if given == ["event_ids"] and event.event_type and event.event_type not in types:
                types.append(event.event_type)
        is_of_all = given == ["latest"]
        return results, await self._warnings(tenant_id, request.filter, types, is_of_all=is_of_all)

    async def _warnings(
        self, tenant_id: str, text: str, types: Sequence[str], *, is_of_all: bool = False
    ) -> Sequence[str]:
        if not types and not is_of_all:
            return ()
        return (await self._schemas.check(tenant_id, text, types)).warnings

    def _tried(self, event: pb.TriedEvent) -> Evaluation:
        if len(event.payload) > self._max_payload_bytes:
            raise errors.PayloadTooLarge.field("payload", f"must be at most {self._max_payload_bytes} bytes")
        if event.event_type:
            events.check_type("event_type", event.event_type)
        if violations := events.tag_violations("tags", event.tags):
            raise errors.InvalidArgument.of(*violations)
        return Evaluation(
            event_id=ids.new(),
            event_type=event.event_type,
            content_type=event.content_type or events.DEFAULT_CONTENT_TYPE,
            content_encoding=None,
            tags=dict(event.tags),
            payload=event.payload,
        )

    async def _stored(self, tenant_id: str, event_ids: Sequence[UUID]) -> AsyncIterator[tuple[StoredEvent, Evaluation]]:
        for event_id in event_ids:
            event = await self._store.event(tenant_id, event_id)
            yield (
                event,
                Evaluation(
                    event_id=event_id,
                    event_type=event.event_type,
                    content_type=event.content_type,
                    content_encoding=event.content_encoding,
                    tags=events.tags_of(event.tags),
                    payload=event.payload,
                ),
            )
            await asyncio.sleep(0)  # others' turn

    async def _latest(self, tenant_id: str, latest: pb.LatestEvents) -> tuple[list[UUID], list[str]]:
        last = latest.last or MAX_EVENTS
        if not 1 <= last <= MAX_EVENTS:
            raise errors.InvalidArgument.field("last", f"must be between 1 and {MAX_EVENTS}")
        subscription_id = ids.parse("subscription_id", latest.subscription_id)
        subscription = await self._cache.get(subscription_id)
        if subscription is None or subscription.tenant_id != tenant_id:
            raise no_subscription(subscription_id)
        wanted = search.Filter(event_types=subscription.event_types, from_time=datetime.now(UTC) - LATEST)
        found, _ = await self._store.search(tenant_id, wanted, Span.of(wanted, ascending=False), last)
        return [event.id for event in found if event.erased_at is None], list(subscription.event_types)


def _parsed(texts: Sequence[str]) -> list[UUID]:
    if len(texts) > MAX_EVENTS:
        raise errors.InvalidArgument.field("event_ids", f"must have at most {MAX_EVENTS} entries")
    return [ids.parse("event_ids", text) for text in texts]


def _result(event_id: str, text: str, event: Evaluation) -> pb.FilterResult:
    verdict, why = event.evaluate(expression.compiled(text))
    if verdict is Verdict.NO_MATCH:
        why = false_part(text, event)
    return pb.FilterResult(event_id=event_id, verdict=_VERDICTS[verdict], explanation=why)
