"""Finds deliveries: turns a filter into statements that each read a bounded number of rows.

A delivery is in one of three places: the queue while it is unfinished, the list of those that failed or were cancelled,
and history, which has all of them. A filter says which places can have what it wants. Each is walked in the order of
the ids, which is that of acceptance, by an index that leads with the tenant or the subscription where there is one, or
only through the deliveries of the events that are asked for: few that have a key or a provider's id, or any number that
have a tag.

So a page costs about the same whatever the filter and however many deliveries there are. Those that failed, were
cancelled or are unfinished are found without passing others; only a filter that few of them match may need several
pages.
"""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from services.delivery.api.filters import LISTED, Filter
from services.domain import events, lookups
from services.domain.lookups import Kind
from services.domain.states import UNFINISHED, DeliveryStatus
from services.platform import ids
from services.platform.stores import postgres, sql, walks
from services.platform.stores.walks import Found, Part, Span, Walker

SQL = sql.Queries("services.delivery.api")

# A tenant with no more subscriptions is searched by those, which others' deliveries do not lie between: its part of the
# queue, and history, where each subscription costs a walk of its own.
OWNERS_LIMIT = 1_000
WALKERS_LIMIT = 50
# What it costs to look a delivery up in history, which may be far from the others, and so on disk: as much as so many
# rows of a list.
LOOK_UP = 3
# Look-ups for each event that is passed because it has a tag, besides that of the tag itself.
TAGGED_COST = 2


async def find(connection: postgres.Connection, tenant_id: str, wanted: Filter, span: Span, limit: int) -> Found:
    """Return the first `limit` deliveries of a tenant that are wanted; NotFound for a subscription of another tenant.

    The connection has a transaction whose statements all see the same: what moves from one place to another is in one.
    """
    owners = list(wanted.subscription_ids)
    if owners:
        unknown = await connection.fetchval(SQL["find_unknown_subscription"], tenant_id, owners)
        if unknown is not None:
            raise await lookups.missing(connection, tenant_id, Kind.SUBSCRIPTION, unknown)
    elif not wanted.names_events:
        rows = await connection.fetch(SQL["select_owners"], tenant_id, OWNERS_LIMIT + 1)
        owners = [row["id"] for row in rows] if len(rows) <= OWNERS_LIMIT else []
    of_events = await named_events(connection, tenant_id, wanted)
    walker = Walker(connection, SQL, tenant_id, span, limit)
    places = _Places(walker, wanted, owners, of_events)
    possible = wanted.possible
    parts = []
    if possible == frozenset(DeliveryStatus):
        parts.append(await places.history(None))
    else:
        if DeliveryStatus.DELIVERED in possible:
            parts.append(await places.history(DeliveryStatus.DELIVERED))
        if listed := possible & LISTED:
            parts += await places.unsuccessful(listed)
        if unfinished := possible & UNFINISHED:
            parts.append(await places.queue(unfinished))
    return walker.page(parts)


async def named_events(connection: postgres.Connection, tenant_id: str, wanted: Filter) -> Sequence[UUID] | None:
    """Return the events that can be wanted, where these are certain ones; None where they are not, or only by tags.

    An id that is given may be of no event of the tenant.
    """
    named: Sequence[UUID] = wanted.event_ids
    if wanted.idempotency_keys or wanted.provider_ids:
        keyed = await lookups.keyed_events(
            connection, tenant_id, keys=wanted.idempotency_keys, provider_ids=wanted.provider_ids
        )
        asked = set(wanted.event_ids)
        named = [name for name in keyed if name in asked] if asked else keyed
    elif not wanted.event_ids:
        return None
    return await lookups.tagged(connection, named, wanted.tags) if wanted.tags else named


class _Places:
    """Searches each of the places for what is wanted of one tenant.

    `owners` are the subscriptions that can have it, or none if they are too many to look at each; `of_events` the
    events, if only theirs are wanted.
    """

    def __init__(
        self, walker: Walker, wanted: Filter, owners: Sequence[UUID], of_events: Sequence[UUID] | None
    ) -> None:
        self._walker = walker
        self._wanted = wanted
        self._owners = owners
        self._types = [events.like_pattern(entry) for entry in wanted.event_types] or None
        # What is wanted of the last attempt.
        self._last = list(wanted.status_codes) or None, list(wanted.error_kinds) or None
        self._asked = list(wanted.subscription_ids) or None
        # The events, and between which ids those of their deliveries are; events of a millisecond share those.
        self._events = None
        if of_events is not None:
            ranges = sorted({ids.delivery_range(event_id) for event_id in of_events})
            self._events = [list(of_events), [least for least, _ in ranges], [most for _, most in ranges]]

    async def history(self, status: DeliveryStatus | None) -> Part:
        """Search the history of what ended with a status, or of everything."""
        wanted = self._wanted
        arguments = [status, self._types, wanted.min_attempts, self._asked]
        if self._events is not None:
            return await self._of_events("find_in_history", "history_of_events", arguments)
        if wanted.tags:
            return await self._tagged("find_in_history", "history_of_tags", arguments)
        if self._asked or 0 < len(self._owners) <= WALKERS_LIMIT:
            walk = "history_of_subscriptions"
            return await self._walk("find_in_history", walk, [*arguments, self._owners], sources=len(self._owners))
        return await self._walk("find_in_history", "history", arguments)

    async def unsuccessful(self, statuses: Collection[DeliveryStatus]) -> Sequence[Part]:
        """Search what failed or was cancelled: by tenant, unless only some of its subscriptions are wanted."""
        wanted, find = self._wanted, "find_unsuccessful_like"
        reasons = list(wanted.reasons) or None
        rest = [reasons, self._types, *self._last, wanted.min_attempts, self._asked]
        if self._events is not None:
            walk = "unsuccessful_of_events"
            return [await self._of_events(find, walk, [[status], *rest]) for status in sorted(statuses)]
        arguments, sources = [sorted(statuses), *rest], len(statuses)
        if wanted.tags:
            return [await self._tagged(find, "unsuccessful_of_tags", arguments)]
        cost = LOOK_UP if reasons or self._types else 1
        if self._asked:
            sources *= len(self._asked)
            return [await self._walk(find, "unsuccessful_of_subscriptions", arguments, sources=sources, cost=cost)]
        return [await self._walk(find, "unsuccessful", arguments, sources=sources, cost=cost)]

    async def queue(self, statuses: Collection[DeliveryStatus]) -> Part:
        """Search what is unfinished.

        If what waits of the subscriptions is not too much to be sorted, it is: others' deliveries cost nothing then.
        """
        wanted, find = self._wanted, "find_unfinished"
        holds = list(wanted.held_by) or None
        arguments = [sorted(statuses), self._types, *self._last, wanted.min_attempts, holds, self._asked]
        if self._events is not None:
            return await self._of_events(find, "queue_of_events", arguments)
        if wanted.tags:
            return await self._tagged(find, "queue_of_tags", arguments)
        cost = LOOK_UP if self._types else 1
        if self._owners:
            rows = walks.WALK_ROWS // cost // 2
            row = await self._walker.step(find, "queue_of_subscriptions", [*arguments, self._owners], rows)
            if row["rows_read"] < rows:
                return Part(row["found"], None)
        return await self._walk(find, "queue", arguments, cost=cost)

    async def _of_events(self, find: str, walk: str, arguments: Sequence[Any]) -> Part:
        assert self._events is not None, "they are asked for"
        if not self._events[0]:
            return Part((), None)
        return await self._walk(find, walk, [*arguments, *self._events])

    async def _tagged(self, find: str, walk: str, arguments: Sequence[Any]) -> Part:
        tags = self._wanted.tags
        return await self._walk(find, walk, [*arguments, tags], cost=TAGGED_COST + len(tags))

    async def _walk(self, find: str, walk: str, arguments: Sequence[Any], *, sources: int = 1, cost: int = 1) -> Part:
        return await self._walker.walk(find, walk, arguments, sources=sources, cost=cost)
