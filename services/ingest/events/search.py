"""Finds events: by type and time or by a tag on a walk, and by an idempotency key or a provider's id at once."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from protos.webhook.v1 import ingest_pb2 as pb
from services.domain import events, lookups
from services.platform import errors
from services.platform.grpc import conversion
from services.platform.stores import postgres, sql, walks
from services.platform.stores.walks import Found, Paged, Part, Span, Walker

SQL = sql.Queries("services.ingest.events")


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """What is wanted of an event: one of the values of each field that has any."""

    # As subscriptions have them: one that ends in ".*" is a prefix.
    event_types: Sequence[str] = ()
    idempotency_keys: Sequence[str] = ()
    provider_ids: Sequence[str] = ()
    # As they are stored, such as "order=42".
    tags: Sequence[str] = ()
    # When it was accepted; from_time is included, to_time is not.
    from_time: datetime | None = None
    to_time: datetime | None = None
    # Whether those are wanted that are not due yet, whose times are when they are.
    scheduled: bool = False

    @property
    def names_events(self) -> bool:
        """Whether only certain events can have it, which are found by an index."""
        return bool(self.idempotency_keys or self.provider_ids or self.tags)


def parse(message: pb.EventFilter) -> Filter:
    """Return what a message wants; InvalidArgument, which names its field, for what no event can have."""
    from_time, to_time, violations = conversion.period(message)
    violations += [
        *events.type_violations("event_type", message.event_type),
        *events.text_violations("idempotency_key", message.idempotency_key),
        *events.text_violations("provider_id", message.provider_id),
        *events.searched_tag_violations("tag", message.tag),
    ]
    if violations:
        raise errors.InvalidArgument.of(*violations)
    return Filter(
        event_types=list(message.event_type),
        idempotency_keys=list(message.idempotency_key),
        provider_ids=list(message.provider_id),
        tags=sorted(set(message.tag)),
        from_time=from_time,
        to_time=to_time,
        scheduled=message.scheduled,
    )


def paged(request: pb.ListEventsRequest | pb.StreamEventsRequest) -> tuple[Filter, Paged]:
    """Return what a request wants, and the page of it that it asks for."""
    wanted = parse(request.filter)
    if wanted.from_time is None and not wanted.names_events and not wanted.scheduled:
        wanted = dataclasses.replace(wanted, from_time=walks.default_from(wanted))
    span = Span.of(wanted, ascending=request.ascending)
    by_default = not request.filter.HasField("from_time") and not wanted.scheduled
    return wanted, Paged.of(span, request.page_token, by_default=by_default)


async def find(connection: postgres.Connection, tenant_id: str, wanted: Filter, span: Span, limit: int) -> Found:
    """Return the first `limit` events of a tenant that are wanted."""
    walker = Walker(connection, SQL, tenant_id, span, limit)
    patterns = [events.like_pattern(entry) for entry in wanted.event_types] or None
    if not wanted.names_events:
        return walker.page([await walker.walk("find_events", "events", [patterns])])
    if not wanted.idempotency_keys and not wanted.provider_ids:
        arguments = [patterns, wanted.tags]
        return walker.page([await walker.walk("find_events", "tagged_events", arguments, cost=len(wanted.tags) + 1)])
    named: Sequence[UUID] = await lookups.keyed_events(
        connection, tenant_id, keys=wanted.idempotency_keys, provider_ids=wanted.provider_ids
    )
    if wanted.tags:
        named = await lookups.tagged(connection, named, wanted.tags)
    if not named:
        return walker.page([Part((), None)])
    return walker.page([await walker.walk("find_events", "named_events", [patterns, named])])
