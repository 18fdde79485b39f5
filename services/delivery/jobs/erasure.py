"""Erases events: their payloads, and all that was kept of what was sent and answered.

Those that are scheduled are deleted, and what was wrong with the last invalid one of a type is forgotten, whichever
that was. Of others ids, times, types, states, outcomes, and status codes stay: statistics
and lists are made of them.

The payload goes first. From then on the event cannot be retried or replayed, no delivery is made of it, and what is
recorded late of it is recorded without what was sent and answered. Then its deliveries are locked, in the queue and in
history, in the order that all keep to: so what a worker records at the same moment is either there already, and is
erased, or comes late. An event with many deliveries takes several chunks, and is noted as erased in the last of them.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from protos.webhook.v1 import deliveries_pb2
from services.delivery.api import search
from services.delivery.api.filters import Filter
from services.domain import deliveries, events
from services.domain.states import DeliveryReason, DeliveryStatus
from services.platform import errors, ids
from services.platform.stores import postgres, sql
from services.platform.stores.walks import Found, Part, Span, Walker

SQL = sql.Queries("services.delivery.jobs")

# What a chunk erases at most: events, and deliveries of theirs.
CHUNK_EVENTS = 100
CHUNK_DELIVERIES = 250
# That a filter can name.
MAX_NAMED = 1_000

# What an event can be found by. The rest of a filter is about deliveries, which share the payload of their event.
_FIELDS = frozenset(("event_ids", "tag", "event_type", "idempotency_key", "provider_id", "from_time", "to_time"))
_BEFORE_ALL = UUID(int=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """How far a job is: done with the events up to `event`, and with those of `within` up to `delivery`."""

    event: UUID = _BEFORE_ALL
    within: UUID | None = None
    delivery: UUID = _BEFORE_ALL


@dataclass(frozen=True, kw_only=True, slots=True)
class Erased:
    """What a chunk did: the events that are erased, and deliveries that ended with them."""

    events: Sequence[UUID] = ()
    ended: int = 0
    # None: it has looked at all events.
    place: Place | None = None


def check(message: deliveries_pb2.DeliveryFilter, wanted: Filter) -> None:
    """InvalidArgument unless a filter is about events, and bounded."""
    for field, _ in message.ListFields():
        if field.name not in _FIELDS:
            description = "cannot be combined with kind erase: all deliveries of an event share its payload"
            raise errors.InvalidArgument.field(f"filter.{field.name}", description)
    if not wanted.names_events and wanted.from_time is None:
        raise errors.InvalidArgument.field(
            "filter", "must have a from time, event_ids, tag, idempotency_key, or provider_id for kind erase"
        )


async def find(
    connection: postgres.Connection, tenant_id: str, wanted: Filter, frozen_at: datetime, after: UUID, limit: int
) -> Found:
    """Return the first `limit` events beyond `after` that are wanted, accepted by `frozen_at`, and not erased."""
    # What is due by now may have been accepted before: it was scheduled, and was moved before the job came to it.
    now = await connection.fetchval(SQL["select_now"])
    span = Span.of(wanted, ascending=True).beyond(after).until(now)
    walker = Walker(connection, SQL, tenant_id, span, limit)
    arguments = [[events.like_pattern(entry) for entry in wanted.event_types] or None, frozen_at]
    named = await search.named_events(connection, tenant_id, wanted)
    if named is None and wanted.tags:
        found = [*arguments, wanted.tags]
        return walker.page([await walker.walk("find_erasable", "tagged_events", found, cost=len(wanted.tags) + 1)])
    if named is None:
        return walker.page([await walker.walk("find_erasable", "events", arguments)])
    if not named:
        return walker.page([Part((), None)])
    return walker.page([await walker.walk("find_erasable", "named_events", [*arguments, named])])


async def chunk(
    connection: postgres.Connection, tenant_id: str, wanted: Filter, frozen_at: datetime, place: Place, limit: int
) -> Erased:
    """Erase up to `limit` events, or a part of one with many deliveries, in the transaction of a connection."""
    if place.within is not None:
        return await _erase_part(connection, place.within, place)
    if place.event == _BEFORE_ALL:
        types = [events.like_pattern(entry) for entry in wanted.event_types] or None
        await connection.execute(SQL["erase_findings"], tenant_id, types)
    if place.event == _BEFORE_ALL and (gone := await _erase_scheduled(connection, tenant_id, wanted, frozen_at, limit)):
        return Erased(events=gone, place=place)
    found = await find(connection, tenant_id, wanted, frozen_at, place.event, min(limit, CHUNK_EVENTS))
    names = sorted(found.ids)
    if not names:
        return Erased(place=_beyond(found))
    rows = await connection.fetch(SQL["count_deliveries"], names, *_ranges(names), CHUNK_DELIVERIES + 1)
    # One that is to get more may get many.
    counts = [CHUNK_DELIVERIES + 1 if row["expanding"] else row["deliveries"] for row in rows]
    taken = sum(total <= CHUNK_DELIVERIES for total in itertools.accumulate(counts))
    some = names[: max(taken, 1)]
    released = await _erase_payloads(connection, some)
    if taken:
        rows = await connection.fetch(SQL["find_of_events"], some, *_ranges(some), _BEFORE_ALL, None)
        ended = await _erase_deliveries(connection, [row["id"] for row in rows])
        await _finish(connection, some)
        rest = Place(event=some[-1]) if taken < len(names) else _beyond(found)
        made = Erased(events=some, ended=ended, place=rest)
    else:
        made = await _erase_part(connection, some[0], place)
    # Last of all, because ingest adds to these rows.
    await connection.execute(SQL["release_bytes"], tenant_id, list(released), list(released.values()))
    return made


async def _erase_scheduled(
    connection: postgres.Connection, tenant_id: str, wanted: Filter, frozen_at: datetime, limit: int
) -> list[UUID]:
    """Delete events that are not due yet: nothing was sent of them. Return which."""
    # Their tags are with them, not in event_tags.
    named = await search.named_events(connection, tenant_id, dataclasses.replace(wanted, tags=()))
    rows = await connection.fetch(
        SQL["erase_scheduled"],
        tenant_id,
        frozen_at,
        [events.like_pattern(entry) for entry in wanted.event_types] or None,
        wanted.tags or None,
        named,
        wanted.from_time,
        wanted.to_time,
        min(limit, CHUNK_EVENTS),
    )
    gone = [row["id"] for row in rows]
    if gone:
        await connection.execute(SQL["erase_hashes"], gone)
    return gone


def _beyond(found: Found) -> Place | None:
    return None if found.reached is None else Place(event=found.reached)


async def _erase_part(connection: postgres.Connection, event_id: UUID, place: Place) -> Erased:
    """Erase the next deliveries of an event without payload, and the rest of it after the last of them."""
    arguments = [event_id], *_ranges([event_id]), place.delivery, CHUNK_DELIVERIES
    found = [row["id"] for row in await connection.fetch(SQL["find_of_events"], *arguments)]
    ended = await _erase_deliveries(connection, found)
    if len(found) == CHUNK_DELIVERIES:
        return Erased(ended=ended, place=Place(event=place.event, within=event_id, delivery=found[-1]))
    await _finish(connection, [event_id])
    return Erased(events=[event_id], ended=ended, place=Place(event=event_id))


async def _erase_payloads(connection: postgres.Connection, event_ids: Sequence[UUID]) -> Counter[date]:
    """Erase payloads and the hashes of what brought them; return how many bytes they had, by the day of the event."""
    rows = await connection.fetch(SQL["erase_payloads"], event_ids, min(event_ids), max(event_ids))
    await connection.execute(SQL["erase_hashes"], event_ids)
    released: Counter[date] = Counter()
    for row in rows:
        released[ids.moment_of(row["id"]).date()] += row["bytes"]
    return released


async def _erase_deliveries(connection: postgres.Connection, delivery_ids: Sequence[UUID]) -> int:
    """Erase what was kept of deliveries, and end those that are unfinished; return how many these were."""
    if not delivery_ids:
        return 0
    bounds = min(delivery_ids), max(delivery_ids)
    await connection.execute(SQL["lock_queue"], delivery_ids)
    await connection.execute(SQL["lock_history"], delivery_ids, *bounds)
    ended = await deliveries.end_waiting(
        connection, delivery_ids, status=DeliveryStatus.CANCELLED, reason=DeliveryReason.ERASED, in_flight=True
    )
    await connection.execute(SQL["erase_attempts"], delivery_ids, *bounds)
    return len(ended)


async def _finish(connection: postgres.Connection, event_ids: Sequence[UUID]) -> None:
    bounds = min(event_ids), max(event_ids)
    await connection.execute(SQL["erase_tags"], event_ids, *bounds)
    await connection.execute(SQL["finish_erasing"], event_ids, *bounds)


def _ranges(event_ids: Sequence[UUID]) -> tuple[list[UUID], list[UUID]]:
    """Return between which ids the deliveries of each of the events are."""
    ranges = [ids.delivery_range(event_id) for event_id in event_ids]
    return [least for least, _ in ranges], [most for _, most in ranges]
