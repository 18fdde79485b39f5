"""IngestService: validates items, finds their subscriptions, and commits what is valid."""

import asyncio
import contextlib
import enum
import functools
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

import msgspec
import structlog
from google.protobuf import timestamp_pb2

from protos.webhook.v1 import ingest_pb2, ingest_pb2_grpc
from services.domain import event_versions, sender_context
from services.domain import events as rules
from services.domain.gates import Gates
from services.domain.idempotency import Key, key_of
from services.domain.notices.activity import Activity
from services.domain.secrets.vault import Vault
from services.domain.sender_context import SenderContext
from services.ingest.catalog.cache import Catalogs
from services.ingest.events import answers, cloudevents, item_spans, search
from services.ingest.events.committer import Committer
from services.ingest.events.expansions import Expander
from services.ingest.events.filter_checks import FilterChecks
from services.ingest.events.filtering import Filtering
from services.ingest.events.records import Accepted, Answer, Handshake, ListedEvent, NewEvent, Result
from services.ingest.events.routing import RoutingStore
from services.ingest.events.store import MAY_BE_STORED, EventStore
from services.ingest.events.verification import NOTHING, Verifier, relayed
from services.ingest.quotas.guard import Guard
from services.ingest.scheduled import times
from services.ingest.scheduled.mover import Mover
from services.ingest.scheduled.store import ScheduledStore
from services.ingest.subscriptions import secrets
from services.ingest.subscriptions.cache import SubscriptionCache
from services.ingest.subscriptions.filter_schemas import FilterSchemas
from services.ingest.subscriptions.record import Kind, Subscription, Target
from services.ingest.subscriptions.secrets import TYPED, Verification
from services.ingest.subscriptions.store import no_subscription
from services.ingest.subscriptions.tag_paths import TagPaths
from services.platform import errors, ids, paging
from services.platform.auth import identity
from services.platform.auth.roles import PortalCapability
from services.platform.clock import Clock
from services.platform.grpc import conversion
from services.platform.grpc.calls import Context
from services.platform.http import json_text
from services.platform.http.json_text import NotJson
from services.platform.stores import walks
from services.platform.stores.walks import Found, Paged
from services.platform.tracing.spans import Tracer

log = structlog.get_logger(__name__)

NOTHING_KEPT = itertools.repeat(None)
MAX_BATCH_ITEMS = 1_000
# A call is answered without the tenants that take longer than this, and than so many times what half of them take.
PATIENCE_SECONDS = 0.5
LATE = 3.0


class IngestService(ingest_pb2_grpc.IngestServiceServicer):
    """Servicer of webhook.v1.IngestService."""

    def __init__(
        self,
        store: EventStore,
        routing: RoutingStore,
        cache: SubscriptionCache,
        gates: Gates,
        committer: Committer,
        expander: Expander,
        vault: Vault,
        clock: Clock,
        guard: Guard,
        filtering: Filtering,
        catalogs: Catalogs,
        *,
        scheduled: ScheduledStore,
        mover: Mover,
        max_payload_bytes: int,
        tracer: Tracer | None = None,
        activity: Activity | None = None,
    ) -> None:
        self._store = store
        self._routing = routing
        self._verifier = Verifier(vault, clock)
        self._scheduled = scheduled
        self._cache = cache
        self._gates = gates
        self._mover = mover
        self._committer = committer
        self._expander = expander
        self._clock = clock
        self._guard = guard
        self._filtering = filtering
        self._filter_checks = FilterChecks(store, cache, FilterSchemas(catalogs), max_payload_bytes=max_payload_bytes)
        self._catalogs = catalogs
        self._max_payload_bytes = max_payload_bytes
        self._tracer = tracer
        self._activity = activity
        # What the calls have of each tenant; those that a call was answered without go on.
        self._taking: set[asyncio.Task[Sequence[Answer]]] = set()

    async def Ingest(self, request: ingest_pb2.IngestRequest, _context: Context) -> ingest_pb2.IngestResponse:
        """Accept one event."""
        result = (await self._accept([request.item]))[0]
        if isinstance(result, errors.WebhookError):
            raise result
        return ingest_pb2.IngestResponse(accepted=answers.accepted_message(result))

    async def BatchIngest(
        self, request: ingest_pb2.BatchIngestRequest, _context: Context
    ) -> ingest_pb2.BatchIngestResponse:
        """Accept many events, with a result for each."""
        if len(request.items) > MAX_BATCH_ITEMS:
            raise errors.InvalidArgument.field("items", f"must be at most {MAX_BATCH_ITEMS}")
        results = [answers.result_message(result) for result in await self._accept(request.items)]
        seconds, rest = divmod(self._clock.now(), 1)
        now = timestamp_pb2.Timestamp(seconds=int(seconds), nanos=int(rest * 1e9))
        return ingest_pb2.BatchIngestResponse(results=results, server_time=now)

    async def GetEvent(self, request: ingest_pb2.GetEventRequest, _context: Context) -> ingest_pb2.GetEventResponse:
        """Return an event."""
        event = await self._store.event(identity.tenant_of(request.tenant_id), ids.parse("event_id", request.event_id))
        withheld = not identity.has(PortalCapability.PAYLOADS)
        sender = sender_context.parse(event.sender_context)
        found = conversion.message(
            ingest_pb2.Event,
            event,
            payload=b"" if withheld else event.payload,
            payload_bytes=len(event.payload),
            payload_withheld=withheld,
            relayed_headers={} if withheld else sender.headers,
            cloudevent={} if withheld else cloudevents.values(sender.cloudevent),
            event_version=sender.event_version or 0,
            tags=rules.tags_of(event.tags),
        )
        return ingest_pb2.GetEventResponse(event=found)

    async def ListEvents(
        self, request: ingest_pb2.ListEventsRequest, _context: Context
    ) -> ingest_pb2.ListEventsResponse:
        """Return a page of the events that are wanted."""
        tenant_id = identity.tenant_of(request.tenant_id)
        size = paging.page_size(request.page_size)
        wanted, paged = search.paged(request)
        found, reached = await self._search(wanted)(tenant_id, wanted, paged.rest, size)
        return _page(ingest_pb2.ListEventsResponse, wanted, paged, found, reached)

    async def StreamEvents(
        self, request: ingest_pb2.StreamEventsRequest, _context: Context
    ) -> AsyncIterator[ingest_pb2.StreamEventsResponse]:
        """Read page after page."""
        tenant_id = identity.tenant_of(request.tenant_id)
        wanted, paged = search.paged(request)
        found_on = functools.partial(self._search(wanted), tenant_id, wanted)
        async for page, found, reached in walks.pages(paged, found_on):
            yield _page(ingest_pb2.StreamEventsResponse, wanted, page, found, reached)

    def _search(self, wanted: search.Filter) -> "_Search":
        return self._scheduled.search if wanted.scheduled else self._store.search

    async def CancelEvent(
        self, request: ingest_pb2.CancelEventRequest, _context: Context
    ) -> ingest_pb2.CancelEventResponse:
        """Cancel an event that is scheduled."""
        event_id = ids.parse("event_id", request.event_id)
        await self._scheduled.cancel(identity.tenant_of(request.tenant_id), event_id)
        return ingest_pb2.CancelEventResponse(event_id=str(event_id))

    async def ListEventRoutes(
        self, request: ingest_pb2.ListEventRoutesRequest, _context: Context
    ) -> ingest_pb2.ListEventRoutesResponse:
        """Return a page of why subscriptions got an event, or did not."""
        tenant_id = identity.tenant_of(request.tenant_id)
        event_id = ids.parse("event_id", request.event_id)
        size = paging.page_size(request.page_size)
        before = paging.before(request.page_token)
        if request.subscription_id:
            only = ids.parse("subscription_id", request.subscription_id)
            page = [await self._routing.route(tenant_id, event_id, only)]
        elif (subscriptions := identity.limited_to()) is not None:
            page = await self._routing.routes_of(tenant_id, event_id, subscriptions, before=before)
        else:
            page = await self._routing.routes(tenant_id, event_id, before=before, limit=size + 1)
        return ingest_pb2.ListEventRoutesResponse(
            routes=[conversion.message(ingest_pb2.EventRoute, route) for route in page[:size]],
            next_page_token=paging.token(page[size - 1].subscription_id) if len(page) > size else "",
        )

    async def CheckFilter(
        self, request: ingest_pb2.CheckFilterRequest, _context: Context
    ) -> ingest_pb2.CheckFilterResponse:
        """Return what a filter says of events."""
        tenant_id = identity.tenant_of(request.tenant_id)
        results, warnings = await self._filter_checks.results(tenant_id, request)
        return ingest_pb2.CheckFilterResponse(results=results, warnings=warnings)

    async def _accept(self, items: Sequence[ingest_pb2.IngestItem]) -> Sequence[Answer]:
        """Return the results of `_take`, with a span for each traced item."""
        if self._tracer is None:
            return await self._take(items, itertools.repeat(None))
        begun = item_spans.begin_spans(self._tracer, items)
        try:
            results = await self._take(items, [span.traceparent if span else None for span in begun])
        except BaseException as error:
            item_spans.fail_spans(begun, error)
            raise
        item_spans.end_spans(begun, items, results)
        return results

    async def _take(
        self, items: Sequence[ingest_pb2.IngestItem], traceparents: Iterable[str | None]
    ) -> Sequence[Answer]:
        """For each item what it is answered with, once it is committed, or why it was refused.

        Tenants do not wait for each other: once most of those in a gateway's call have their results, it is answered,
        with OutcomeUnknown for the items of the others, which are carried out all the same. A store that is away ends
        the whole call, and at once.
        """
        seen: set[UUID] = set()
        by_tenant: dict[str, list[_Traced]] = {}
        traced = list(zip(itertools.count(), items, traceparents, strict=False))
        for one in traced:
            by_tenant.setdefault(one[1].tenant_id or one[1].subscription_id, []).append(one)
        if len(by_tenant) <= 1:
            return await self._take_together(traced, seen)
        parts = [await self._begin_beside(own, seen) for own in by_tenant.values()]
        await _wait_for_most([part.done for part in parts], wait_for_all=not identity.CALLER.get().internal)
        failures = [error for part in parts if part.done.done() and (error := part.done.exception())]
        if len(failures) == len(parts):
            raise next((error for error in failures if isinstance(error, errors.OutcomeUnknown)), failures[0])
        results: dict[int, Answer] = {}
        for part, own in zip(parts, by_tenant.values(), strict=True):
            results |= zip((place for place, _, _ in own), _results_of(part, len(own)), strict=True)
        return [results[place] for place in range(len(items))]

    async def _begin_beside(self, items: Sequence["_Traced"], seen: set[UUID]) -> "_Part":
        """Begin with what a call has of a tenant as `_begin` does, but let no other tenant wait for its look-ups."""
        kept = [self._kept(item) for _, item, _ in items]
        if None in kept:
            task = asyncio.create_task(self._take_together(items, seen), name="tenant_items")
            self._taking.add(task)  # who goes away takes nothing back
            task.add_done_callback(self._taken)
            return _Part(task)
        try:
            return await self._begin(items, seen, kept)  # which waits for nothing
        except Exception as error:  # noqa: BLE001 - of this tenant alone
            failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return _Part(failed)

    async def _take_together(self, items: Sequence["_Traced"], seen: set[UUID]) -> Sequence[Answer]:
        """Return the results of items of one tenant."""
        part = await self._begin(items, seen)
        # Not cancelled with the call: its events are stored, and must be counted.
        return part.results(await asyncio.shield(part.done))

    def _taken(self, task: "asyncio.Task[Sequence[Answer]]") -> None:
        self._taking.discard(task)
        if not task.cancelled():
            task.exception()  # whether anybody still asks for it or not

    def _kept(self, item: ingest_pb2.IngestItem) -> "_Kept":
        """Return an item's subscription, or that it needs none; None if something must be waited for."""
        if item.WhichOneof("target") != "subscription_id":
            needs_nothing = self._cache.is_current(item.tenant_id) and not self._catalogs.has(item.tenant_id)
            return _NoSubscription.NEEDED if needs_nothing else None
        with contextlib.suppress(errors.InvalidArgument):
            found = self._cache.kept(ids.parse("subscription_id", item.subscription_id))
            return None if found is None or self._catalogs.has(found.tenant_id) else found
        return _NoSubscription.NEEDED

    async def _begin(
        self, items: Sequence["_Traced"], seen: set[UUID], kept: Iterable["_Kept"] = NOTHING_KEPT
    ) -> "_Part":
        """Hand over the events of one tenant to be committed. `seen` has the ids of events in the same call."""
        prepared: list[NewEvent | Handshake | errors.WebhookError] = []
        expanding: list[NewEvent] = []
        done: asyncio.Future[list[Result]] | None = None
        try:
            for (_, item, traceparent), subscription in zip(items, kept, strict=False):
                try:
                    event = await self._prepare(item, traceparent, subscription)
                    if isinstance(event, NewEvent):
                        if event.id in seen:
                            raise errors.InvalidArgument.field("event_id", "appears more than once in this request")
                        seen.add(event.id)
                        self._guard.check(event.tenant_id)
                        if event.deliver_at is not None:
                            self._guard.check_scheduled(event.tenant_id)
                        if event.targets:
                            self._admit(event)
                            expanding.append(event)
                    prepared.append(event)
                except errors.WebhookError as refused:
                    prepared.append(refused)
            events = [event for event in prepared if isinstance(event, NewEvent)]
            done = self._committer.begin(events)
        finally:
            if done is None:
                self._settle(expanding)
        done.add_done_callback(functools.partial(self._note, prepared, events))
        if expanding:
            done.add_done_callback(lambda _: self._settle(expanding))
        return _Part(done, prepared)

    def _admit(self, event: NewEvent) -> None:
        max_waiting = self._guard.quotas_of(event.tenant_id).waiting_deliveries
        self._expander.admit(event.tenant_id, event.targets, max_waiting=max_waiting)

    def _settle(self, expanding: Iterable[NewEvent]) -> None:
        for event in expanding:
            self._expander.settled(event.tenant_id, event.targets)

    def _note(
        self,
        prepared: "Sequence[NewEvent | Handshake | errors.WebhookError]",
        events: Sequence[NewEvent],
        done: "asyncio.Future[list[Result]]",
    ) -> None:
        """Count what became of items, and tell of it, whether somebody waits for it or not."""
        if done.cancelled() or done.exception() is not None:
            return
        results = done.result()
        new = [
            (event, result)
            for event, result in zip(events, results, strict=True)
            if isinstance(result, Accepted) and not result.repeated
        ]
        self._guard.note(event for event, _ in new if event.deliver_at is None)
        self._mover.note(event.id for event, _ in new if event.deliver_at is not None)
        answers.count(_merged(prepared, results))
        if self._activity is not None:
            answers.tell(self._activity, new)

    async def _prepare(
        self, item: ingest_pb2.IngestItem, traceparent: str | None, kept: "_Kept"
    ) -> NewEvent | Handshake:
        tenant_id = identity.tenant_of(item.tenant_id)
        event_id = ids.parse("event_id", item.event_id) if item.event_id else self._clock.new_id()
        ids.check_fresh("event_id", event_id, self._clock.now())
        event_id, deliver_at, within_seconds = times.due(item, event_id)
        payload = _payload(item)
        self._check_size(payload)
        event_type, content_type = item.event_type, item.content_type or rules.DEFAULT_CONTENT_TYPE
        _check_described(event_type, content_type, item.content_encoding)
        targets: Sequence[Target]
        addressed_to = None
        content = NOTHING
        paths: TagPaths | None = None
        sender = cloudevents.context_of(item)
        more, version = 0, item.event_version
        target = item.WhichOneof("target")
        if target == "subscription_id":
            subscription = await self._subscription(tenant_id, item.subscription_id, item.ingest_token, kept)
            tenant_id, addressed_to = subscription.tenant_id, subscription.id
            if subscription.verification is not Verification.AUTO or item.HasField("hub_signature"):
                content = self._verifier.verified(subscription, item)
                if content.challenge:
                    return Handshake(challenge=content.challenge)
                event_type = content.event_type or event_type
                # A provider's URL states a version of whatever it sends.
                version = version if event_type or subscription.verification not in TYPED else 0
                if subscription.relay_headers:
                    payload = item.payload  # what is signed, whole
                    self._check_size(payload)
                    sender = SenderContext(headers=relayed(subscription.verification, item))
            paths = subscription.paths
            targets = ()
            if deliver_at is None and subscription.types.wants(event_type, typed=subscription.verification in TYPED):
                targets, more = self._filtering.addressed(
                    subscription,
                    event_id,
                    event_type,
                    content_type,
                    item,
                    payload,
                    lambda: rules.tags_of(_tags(item, subscription.paths, payload)),
                )
            route = f"ingest/{subscription.id}"
        elif target == "fan_out":
            _check_fan_out(item)
            matched = self._wanting if deliver_at is None else self._matched_later
            targets, more = await matched(tenant_id, event_id, event_type, content_type, item, payload)
            route = "events"
        else:
            raise errors.InvalidArgument.field("target", "must be subscription_id or fan_out")
        if version:
            _check_version(version, event_type)
        if event_type and self._catalogs.has(tenant_id):
            version = await self._catalogs.check(
                tenant_id, event_type, version, payload, content_type, item.content_encoding
            )
        if version:
            sender = msgspec.structs.replace(sender, event_version=version)
        return NewEvent(
            id=event_id,
            tenant_id=tenant_id,
            event_type=event_type or None,
            content_type=content_type,
            payload=payload,
            deliveries=[
                (ids.of_delivery(event_id, to), to, steady and self._gates.is_open(to)) for to, steady in targets
            ],
            targets=more,
            content_encoding=item.content_encoding or None,
            tags=_tags(item, paths, payload) if item.tags or paths is not None else (),
            empty_answer=content.empty_answer,
            key=_key(tenant_id, route, content.delivery_id, item, event_type, content_type, payload, sender),
            traceparent=traceparent,
            addressed_to=addressed_to,
            sender_context=sender.text,
            deliver_at=deliver_at,
            within_seconds=within_seconds,
        )

    async def _wanting(
        self,
        tenant_id: str,
        event_id: UUID,
        event_type: str,
        content_type: str,
        item: ingest_pb2.IngestItem,
        payload: bytes,
    ) -> tuple[Sequence[Target], int]:
        tags = functools.partial(_named_tags, item, payload)
        return await self._filtering.wanting(tenant_id, event_id, event_type, content_type, item, payload, tags)

    async def _matched_later(self, tenant_id: str, *_: object) -> tuple[Sequence[Target], int]:
        """Find only out whether there is such a tenant: the subscriptions are matched when the event is due."""
        await self._cache.matching(tenant_id, "", 1)
        return (), 0

    def _check_size(self, payload: bytes) -> None:
        if len(payload) > self._max_payload_bytes:
            raise errors.PayloadTooLarge.field("payload", f"must be at most {self._max_payload_bytes} bytes")

    async def _subscription(self, tenant_id: str, text: str, ingest_token: str, kept: "_Kept") -> Subscription:
        """One of the tenant, or of whichever tenant when its own token is shown; NotFound without a word on why.

        Conflict for a system subscription.
        """
        subscription: Subscription | None
        if isinstance(kept, Subscription):
            subscription_id, subscription = kept.id, kept
        else:
            subscription_id = ids.parse("subscription_id", text)
            subscription = await self._cache.get(subscription_id)
        if subscription is None or not (
            secrets.matches_ingest_token(ingest_token, subscription.ingest_token_hash)
            if ingest_token
            else subscription.tenant_id == tenant_id
        ):
            raise no_subscription(subscription_id)
        if subscription.kind is Kind.SYSTEM:
            message = "a system subscription receives only operational webhooks"
            raise errors.Conflict(message, reason=errors.ErrorReason.SUBSCRIPTION_IS_SYSTEM)
        return subscription


_Search: TypeAlias = Callable[[str, search.Filter, walks.Span, int], Awaitable[tuple[Sequence[ListedEvent], Found]]]
_Page = TypeVar("_Page", ingest_pb2.ListEventsResponse, ingest_pb2.StreamEventsResponse)


def _page(
    kind: type[_Page], wanted: search.Filter, paged: Paged, found: Sequence[ListedEvent], reached: Found
) -> _Page:
    return kind(
        events=[
            conversion.message(
                ingest_pb2.Event, event, tags=rules.tags_of(event.tags), event_version=event.event_version or 0
            )
            for event in found
        ],
        next_page_token=paged.token(reached),
        from_time=conversion.stamp(paged.whole.from_time),
        to_time=conversion.stamp(wanted.to_time),
        scanned_to=conversion.stamp(reached.scanned_to),
    )


class _NoSubscription(enum.Enum):
    """An item needs no subscription: it has another target, or is refused."""

    NEEDED = enum.auto()


# What is there without a look-up; None: nothing.
_Kept: TypeAlias = Subscription | _NoSubscription | None
# An item with its place in the call, and with the trace that it belongs to.
_Traced: TypeAlias = tuple[int, ingest_pb2.IngestItem, str | None]


@dataclass(frozen=True, slots=True)
class _Part:
    """What a call has of one tenant."""

    # What becomes of its events, or of its items if they are not prepared yet.
    done: "asyncio.Future[Any]"
    prepared: Sequence[NewEvent | Handshake | errors.WebhookError] | None = None

    def results(self, made: Sequence[Any]) -> Sequence[Answer]:
        """Return the results of its items."""
        return made if self.prepared is None else _merged(self.prepared, made)


def _merged(prepared: Sequence[NewEvent | Handshake | errors.WebhookError], results: Sequence[Result]) -> list[Answer]:
    """Return what items are answered with: the results of those that are events, in their order."""
    if len(results) == len(prepared):
        return list(results)
    made = iter(results)
    return [next(made) if isinstance(item, NewEvent) else item for item in prepared]


async def _wait_for_most(parts: "Sequence[asyncio.Future[Any]]", *, wait_for_all: bool) -> None:
    """Wait for all but those that take much longer than half of them: if most take long, it is no tenant's doing."""
    loop = asyncio.get_running_loop()
    began_at, left = loop.time(), len(parts)
    half, everything = loop.create_future(), loop.create_future()

    def count(_: object) -> None:
        nonlocal left
        left -= 1
        for future, number in ((half, len(parts) // 2), (everything, 0)):
            if left == number and not future.done():
                future.set_result(None)

    for part in parts:
        part.add_done_callback(count)
    if not wait_for_all:
        await half
        took = loop.time() - began_at
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(PATIENCE_SECONDS, LATE * took) - took):
                await everything
    else:
        await everything


def _results_of(part: _Part, number: int) -> Sequence[Answer]:
    """Return the results of a tenant's items, or the same error for each."""
    if not part.done.done():
        return [errors.OutcomeUnknown(MAY_BE_STORED)] * number
    error = part.done.exception()
    if error is None:
        return part.results(part.done.result())
    refused = errors.classify(error)
    if refused is None:
        log.error("a call failed for one of its tenants because of a bug", exc_info=error)
        refused = errors.WebhookError("internal error; it was logged")
    return [refused] * number


def _payload(item: ingest_pb2.IngestItem) -> bytes:
    """Return the bytes to deliver: never any others than those that a signature is verified over, or a part of them."""
    if not item.enveloped:
        return item.payload
    if item.content_encoding:
        raise errors.InvalidArgument.field("enveloped", "cannot be combined with content_encoding")
    try:
        payload = json_text.enveloped_payload(item.payload)
    except NotJson as error:
        raise errors.InvalidArgument.field("payload", str(error)) from None
    if payload is None:
        raise errors.InvalidArgument.field("payload", 'must be the object {"payload": …} when enveloped is true')
    return payload


def _check_described(event_type: str, content_type: str, content_encoding: str) -> None:
    if event_type:
        rules.check_type("event_type", event_type)
    if content_type != rules.DEFAULT_CONTENT_TYPE and not rules.is_valid_text(content_type):
        raise errors.InvalidArgument.field("content_type", rules.TEXT_EXPECTED)
    if content_encoding and not rules.is_valid_encoding(content_encoding):
        raise errors.InvalidArgument.field("content_encoding", rules.ENCODING_EXPECTED)


def _check_version(version: int, event_type: str) -> None:
    if not event_type:
        raise errors.InvalidArgument.field("event_version", "requires event_type")
    if violations := event_versions.NUMBER.violations("event_version", version):
        raise errors.InvalidArgument.of(*violations)


def _tags(item: ingest_pb2.IngestItem, paths: TagPaths | None, payload: bytes) -> Sequence[str]:
    """Return the tags that an item states, and those at its subscription's paths, as they are stored.

    InvalidArgument for what is stated and is no tag.
    """
    if violations := rules.tag_violations("tags", item.tags):
        raise errors.InvalidArgument.of(*violations)
    found = {} if paths is None or item.content_encoding else paths.tags(payload)
    return rules.tag_texts({**found, **item.tags})


def _named_tags(item: ingest_pb2.IngestItem, payload: bytes) -> Mapping[str, str]:
    return rules.tags_of(_tags(item, None, payload))


def _check_fan_out(item: ingest_pb2.IngestItem) -> None:
    """InvalidArgument for an event to all with what requires one subscription, or without its type."""
    if item.enveloped:
        raise errors.InvalidArgument.field("enveloped", "requires subscription_id")
    for signature in ("hub_signature", "verification"):
        if item.HasField(signature):
            raise errors.InvalidArgument.field(signature, "requires subscription_id")
    if item.ingest_token:
        raise errors.InvalidArgument.field("ingest_token", "requires subscription_id")
    if not item.event_type:
        raise errors.InvalidArgument.field("event_type", "is required with fan_out")


def _key(
    tenant_id: str,
    route: str,
    delivery_id: str,
    item: ingest_pb2.IngestItem,
    event_type: str,
    content_type: str,
    payload: bytes,
    sender: SenderContext,
) -> Key | None:
    """Return what identifies repeats: the provider's id, the sender's idempotency key, or a CloudEvent's source and id.

    A provider's id identifies a webhook even if bodies differ: Stripe's count how many endpoints have yet to respond.
    Ids of providers and keys of senders do not collide.
    """
    if delivery_id:
        return key_of(tenant_id, f"{route}/provider", delivery_id)
    key = item.idempotency_key
    if sender.cloudevent:
        route, key = "cloudevents", cloudevents.key_of(sender.cloudevent)
    if key:
        described = (event_type.encode(), content_type.encode(), item.content_encoding.encode())
        tags = (text.encode() for text in rules.tag_texts(item.tags)) if item.tags else ()
        version = (f"version {item.event_version}".encode(),) if item.event_version else ()
        return key_of(tenant_id, route, key, *described, payload, *tags, *version, *times.described(item))
    return None
