"""Finds deliveries: turns a filter into statements that each read a bounded number of rows.

A delivery is in one of three places: the queue while it is unfinished, the list of those that failed or were cancelled,
and history, which has all of them. A filter says which places can have what it wants. Each is walked in the order of
the ids, which is that of acceptance, by an index that leads with the tenant or the subscription where there is one. A
step of a walk reads so many rows, and says which of them are wanted. Steps grow until the page is full, the range is at
its end, or WALK_ROWS were read. Then the page says how far it got, and the next one goes on from there.

So a page costs about the same whatever the filter and however many deliveries there are. Those that failed, were
cancelled or are unfinished are found without passing others; only a filter that few of them match may need several
pages.
"""

import dataclasses
import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from services.delivery.api.filters import LISTED, Filter
from services.domain import events
from services.domain.states import UNFINISHED, DeliveryStatus
from services.platform import errors, ids
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.delivery.api")

# Rows that a page reads of a place at most, and those of its first step.
WALK_ROWS = 20_000
FIRST_ROWS = 250
STEP_GROWTH = 4
# A tenant with no more subscriptions is searched by those, which others' deliveries do not lie between: its part of the
# queue, and history, where each subscription costs a walk of its own.
OWNERS_LIMIT = 1_000
WALKERS_LIMIT = 20

_BEFORE_ALL = UUID(int=0)
_AFTER_ALL = UUID(int=2**128 - 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """The ids between which is searched, both excluded, and from which end."""

    after: UUID = _BEFORE_ALL
    before: UUID = _AFTER_ALL
    ascending: bool = False

    @classmethod
    def of(cls, wanted: Filter, *, ascending: bool = False) -> "Span":
        """Return the span of what was accepted in the time of a filter, by the time in the ids."""
        after, before = _BEFORE_ALL, _AFTER_ALL
        if wanted.from_time is not None:
            after = UUID(int=max(ids.least_at(wanted.from_time).int - 1, 0))
        if wanted.to_time is not None:
            before = ids.least_at(wanted.to_time)
        return cls(after=after, before=before, ascending=ascending)

    @property
    def from_time(self) -> datetime | None:
        """The time from which on it has deliveries; None if from the beginning."""
        return ids.moment_of(UUID(int=self.after.int + 1)) if self.after.int else None

    def beyond(self, place: UUID) -> "Span":
        """Return what is left of it beyond a delivery."""
        if self.ascending:
            return dataclasses.replace(self, after=max(place, self.after))
        return dataclasses.replace(self, before=min(place, self.before))


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Deliveries in the order of the span, and whether there may be more."""

    ids: Sequence[UUID]
    # The last delivery that was looked at, if the span has more; it is not one of those found if few were wanted.
    reached: UUID | None
    # Whether the page is short because it read as much as a page may.
    cut: bool


class _Part(NamedTuple):
    """What was found in one place, and the last delivery that was looked at, unless nothing is left there."""

    ids: Sequence[UUID]
    cut: UUID | None


async def find(connection: postgres.Connection, tenant_id: str, wanted: Filter, span: Span, limit: int) -> Found:
    """Return the first `limit` deliveries of a tenant that are wanted; NotFound for a subscription of another tenant.

    The connection has a transaction whose statements all see the same: what moves from one place to another is in one.
    """
    owners = list(wanted.subscription_ids)
    if owners:
        unknown = await connection.fetchval(SQL["find_unknown_subscription"], tenant_id, owners)
        if unknown is not None:
            raise errors.NotFound(f"subscription {unknown} not found")
    else:
        rows = await connection.fetch(SQL["select_owners"], tenant_id, OWNERS_LIMIT + 1)
        owners = [row["id"] for row in rows] if len(rows) <= OWNERS_LIMIT else []
    places = _Places(connection, tenant_id, wanted, owners, span, limit)
    possible = wanted.possible
    parts = []
    if possible == frozenset(DeliveryStatus):
        parts.append(await places.history(None))
    else:
        if DeliveryStatus.DELIVERED in possible:
            parts.append(await places.history(DeliveryStatus.DELIVERED))
        if listed := possible & LISTED:
            parts.append(await places.unsuccessful(listed))
        if unfinished := possible & UNFINISHED:
            parts.append(await places.queue(unfinished))
    return _merged(parts, span, limit)


def _merged(parts: Sequence[_Part], span: Span, limit: int) -> Found:
    """Return the page of what was found in several places, no further than the search of each of them got."""
    found = sorted((name for part in parts for name in part.ids), reverse=not span.ascending)
    cuts = [part.cut for part in parts if part.cut is not None]
    shortest = (min(cuts) if span.ascending else max(cuts)) if cuts else None
    if shortest is not None:
        found = [name for name in found if (name <= shortest if span.ascending else name >= shortest)]
    if len(found) > limit:
        return Found(ids=found[:limit], reached=found[limit - 1], cut=False)
    return Found(ids=found, reached=shortest, cut=shortest is not None)


class _Places:
    """Searches each of the places for what is wanted of one tenant.

    `owners` are the subscriptions that can have it, or none if they are too many to look at each.
    """

    def __init__(
        self,
        connection: postgres.Connection,
        tenant_id: str,
        wanted: Filter,
        owners: Sequence[UUID],
        span: Span,
        limit: int,
    ) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._wanted = wanted
        self._owners = owners
        self._span = span
        # One more says whether there is another page.
        self._most = limit + 1
        self._types = [_pattern(entry) for entry in wanted.event_types] or None
        # What is wanted of the last attempt.
        self._last = list(wanted.status_codes) or None, list(wanted.error_kinds) or None

    async def history(self, status: DeliveryStatus | None) -> _Part:
        """Search the history of what ended with a status, or of everything."""
        arguments = [status, self._types, self._wanted.min_attempts]
        if self._wanted.subscription_ids or 0 < len(self._owners) <= WALKERS_LIMIT:
            walk = _made("find_in_history", "history_of_subscriptions", self._span)
            return await self._walk(walk, [*arguments, self._owners], cost=len(self._owners))
        return await self._walk(_made("find_in_history", "history", self._span), arguments)

    async def unsuccessful(self, statuses: Collection[DeliveryStatus]) -> _Part:
        """Search what failed or was cancelled: by tenant, unless only some of its subscriptions are wanted."""
        wanted = self._wanted
        reasons = list(wanted.reasons) or None
        arguments = [sorted(statuses), reasons, self._types, *self._last, wanted.min_attempts]
        if wanted.subscription_ids:
            walk = _made("find_unsuccessful_like", "unsuccessful_of_subscriptions", self._span)
            cost = len(statuses) * len(wanted.subscription_ids)
            return await self._walk(walk, [*arguments, list(wanted.subscription_ids)], cost=cost)
        walk = _made("find_unsuccessful_like", "unsuccessful", self._span)
        return await self._walk(walk, arguments, cost=len(statuses))

    async def queue(self, statuses: Collection[DeliveryStatus]) -> _Part:
        """Search what is unfinished.

        If what waits of the subscriptions is not too much to be sorted, it is: others' deliveries cost nothing then.
        """
        wanted = self._wanted
        holds = list(wanted.held_by) or None
        arguments = [sorted(statuses), self._types, *self._last, wanted.min_attempts, holds]
        if self._owners:
            whole = _made("find_unfinished", "queue_of_subscriptions", self._span)
            row = await self._step(whole, self._span, WALK_ROWS, [*arguments, self._owners])
            if row["passed"] < WALK_ROWS:
                return _Part(row["found"], None)
        walk = _made("find_unfinished", "queue", self._span)
        return await self._walk(walk, [*arguments, list(wanted.subscription_ids) or None])

    async def _walk(self, statement: str, arguments: Sequence[Any], *, cost: int = 1) -> _Part:
        """Walk in growing steps. `cost`: the rows that a step reads for each that it passes."""
        span, found, left = self._span, list[UUID](), WALK_ROWS
        rows = max(self._most, FIRST_ROWS // cost)
        while True:
            row = await self._step(statement, span, rows, arguments)
            found += row["found"]
            if len(found) >= self._most or row["passed"] < rows:
                return _Part(found, None)
            left -= rows * cost
            span = span.beyond(row["last"])
            if left < self._most * cost:
                return _Part(found, row["last"])
            rows = min(rows * STEP_GROWTH, left // cost)

    async def _step(self, statement: str, span: Span, rows: int, arguments: Sequence[Any]) -> Any:
        return await self._connection.fetchrow(
            statement, self._tenant_id, span.after, span.before, rows, self._most, *arguments
        )


@functools.cache  # bounded by the number of statements
def _statement(find: str, walk: str, *, ascending: bool) -> str:
    """Return a statement that finds what is wanted on a walk in this direction."""
    direction, opposite = ("ASC", "DESC") if ascending else ("DESC", "ASC")
    return SQL[find].format(walk=SQL[walk].format(direction=direction), direction=direction, opposite=opposite)


def _made(find: str, walk: str, span: Span) -> str:
    return _statement(find, walk, ascending=span.ascending)


def _pattern(entry: str) -> str:
    """Return the LIKE pattern of an exact type, or of a prefix."""
    begin = entry.removesuffix(events.WILDCARD)
    escaped = begin.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")
    return escaped if begin == entry else f"{escaped}.%"
