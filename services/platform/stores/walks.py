"""Walks: lists in the order of the ids whose pages read a bounded number of rows.

Where no index has what is wanted, a page must not read until it is full. A walk goes through the rows between two ids
in steps. It may merge several sources, such as the rows of each of some subscriptions, each in the order of the ids. A
statement of a step takes $1: what it may see, $2 and $3: the ids between which it reads, $4: how many rows of each
source, $5: how many it returns, and then whatever its conditions need. A source that has more ends the step where its
last row is: before that, no row of any source was left out. The statement returns `rows_read`, `sources_left`: how many
sources have more, `last`: the id at which the step ended, and `found`: the ids of the rows up to there that are wanted.
Steps grow until the page is full, nothing is left, or WALK_ROWS were read. Then the page says how far it got, and the
next one goes on from there.
"""

import dataclasses
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol, TypeVar
from uuid import UUID

from services.platform import ids, paging
from services.platform.stores import postgres
from services.platform.stores.sql import Queries

# Rows that a page reads of a place at most, and those of its first step.
WALK_ROWS = 10_000
FIRST_ROWS = 250
STEP_GROWTH = 4
# The part of a walk by tags, which is written once for those through several places.
TAGGED = "tagged"

# How far back a search goes by default, where nothing else bounds it.
WINDOW = timedelta(hours=24)

_T = TypeVar("_T")

_BEFORE_ALL = UUID(int=0)
# Nothing was made before.
_EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)


class Period(Protocol):
    """A time, as filters have it."""

    @property
    def from_time(self) -> datetime | None:
        """Its beginning, which is in it."""
        ...

    @property
    def to_time(self) -> datetime | None:
        """Its end, which is not."""
        ...


def default_from(period: Period) -> datetime:
    """Return where a search begins by default: WINDOW before now, or before its end if that is in the past."""
    now = datetime.now(UTC)
    return max(min(period.to_time or now, now), _EARLIEST) - WINDOW


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """The ids between which is searched, both excluded, and from which end."""

    after: UUID = _BEFORE_ALL
    before: UUID = paging.NEWEST
    ascending: bool = False

    @classmethod
    def of(cls, wanted: Period, *, ascending: bool = False) -> "Span":
        """Return the span of the ids that were made in a period."""
        after, before = _BEFORE_ALL, paging.NEWEST
        if wanted.from_time is not None:
            after = UUID(int=max(ids.least_at(wanted.from_time).int - 1, 0))
        if wanted.to_time is not None:
            before = ids.least_at(wanted.to_time)
        return cls(after=after, before=before, ascending=ascending)

    @property
    def from_time(self) -> datetime | None:
        """The time of its first ids; None if it has all from the beginning."""
        return ids.moment_of(UUID(int=self.after.int + 1)) if self.after.int else None

    def until(self, moment: datetime) -> "Span":
        """Return the part of it that may have been made by then; ids come from clocks that may differ."""
        latest = ids.least_at(moment + timedelta(seconds=ids.MAX_CLOCK_DIFFERENCE_SECONDS))
        return dataclasses.replace(self, before=min(self.before, latest))

    def beyond(self, place: UUID) -> "Span":
        """Return what is left of it beyond an id."""
        if self.ascending:
            return dataclasses.replace(self, after=max(place, self.after))
        return dataclasses.replace(self, before=min(place, self.before))


@dataclass(frozen=True, kw_only=True, slots=True)
class Paged:
    """A span, and what is left of it on a page."""

    whole: Span
    rest: Span

    @classmethod
    def of(cls, span: Span, page_token: str, *, by_default: bool) -> "Paged":
        """Return the page of a token. `by_default`: the span's beginning was not asked for, and stays what it was."""
        if not page_token:
            return cls(whole=span, rest=span)
        last, after = paging.span(page_token)
        whole = dataclasses.replace(span, after=after) if by_default else span
        return cls(whole=whole, rest=whole.beyond(last))

    def after(self, found: "Found") -> "Paged | None":
        """Return the next page; None if there is none."""
        return None if found.reached is None else dataclasses.replace(self, rest=self.rest.beyond(found.reached))

    def token(self, found: "Found") -> str:
        """Return the token of the next page; '' if there is none."""
        return "" if found.reached is None else paging.span_token(found.reached, self.whole.after)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a page has, in the order of the span, and whether there may be more."""

    ids: Sequence[UUID]
    # The last one that was looked at, if the span has more; it is not one of those found if few were wanted.
    reached: UUID | None
    # Whether the page is short because it read as much as a page may.
    cut: bool

    @property
    def scanned_to(self) -> datetime | None:
        """How far a page got that ended before it was full."""
        return ids.moment_of(self.reached) if self.reached is not None and self.cut else None


async def pages(
    paged: Paged, search: Callable[[Span, int], Awaitable[tuple[Sequence[_T], Found]]]
) -> AsyncIterator[tuple[Paged, Sequence[_T], Found]]:
    """Yield page after page of a search; one that Postgres rolls back is searched again."""
    page: Paged | None = paged
    while page is not None:
        found, reached = await postgres.repeat_rolled_back(functools.partial(search, page.rest, paging.MAX_PAGE_SIZE))
        yield page, found, reached
        page = page.after(reached)


class Part(NamedTuple):
    """What was found in one place, and the last one that was looked at, unless nothing is left there."""

    ids: Sequence[UUID]
    cut: UUID | None


class Walker:
    """Takes the walks of one page, whose statements have their first parameters alike."""

    def __init__(self, connection: postgres.Connection, queries: Queries, sees: object, span: Span, limit: int) -> None:
        self._connection = connection
        self._queries = queries
        self._sees = sees
        self._span = span
        self._limit = limit

    async def walk(self, find: str, walk: str, arguments: Sequence[Any], *, sources: int = 1, cost: int = 1) -> Part:
        """Walk in growing steps. `sources`: how many the statement merges; `cost`: that of a row to that of others."""
        # One more than the page has says whether there is another page.
        span, found, most = self._span, list[UUID](), self._limit + 1
        left = max(WALK_ROWS // cost, most)
        least = rows = max(1, max(most, FIRST_ROWS) // sources)
        while True:
            row = await self.step(find, walk, arguments, rows, span)
            found += row["found"]
            if not row["sources_left"] or len(found) >= most:
                return Part(found, None)
            left -= row["rows_read"]
            span = span.beyond(row["last"])
            # Of the other sources there is no more to read than there was now.
            others = row["rows_read"] - row["sources_left"] * rows
            rows = min(rows * STEP_GROWTH, (left - others) // row["sources_left"])
            if rows < least:
                return Part(found, row["last"])

    async def step(self, find: str, walk: str, arguments: Sequence[Any], rows: int, span: Span | None = None) -> Any:
        """Take a single step of so many rows of each source."""
        span = span or self._span
        parameters = self._sees, span.after, span.before, rows, self._limit + 1, *arguments
        made = statement(self._queries, find, walk, ascending=span.ascending, parameters=len(parameters))
        return await self._connection.fetchrow(made, *parameters)

    def page(self, parts: Sequence[Part]) -> Found:
        """Return the page of what was found in several places, no further than the walks of each of them got."""
        ascending = self._span.ascending
        found = sorted((name for part in parts for name in part.ids), reverse=not ascending)
        cuts = [part.cut for part in parts if part.cut is not None]
        shortest = (min(cuts) if ascending else max(cuts)) if cuts else None
        if shortest is not None:
            found = [name for name in found if (name <= shortest if ascending else name >= shortest)]
        if len(found) > self._limit:
            return Found(ids=found[: self._limit], reached=found[self._limit - 1], cut=False)
        if shortest is None:
            return Found(ids=found, reached=None, cut=False)
        return self._cut(found, shortest)

    def _cut(self, found: Sequence[UUID], shortest: UUID) -> Found:
        """Return a page that ends at a row which may be of another tenant: before the millisecond of its id.

        So no cursor names it. Unless that millisecond has all that the page read: then the next one has to go on in it.
        """
        if self._span.ascending:
            reached = ids.before_millisecond(shortest)
            if reached > self._span.after:
                return Found(ids=[name for name in found if name <= reached], reached=reached, cut=True)
        else:
            reached = ids.after_millisecond(shortest)
            if reached < self._span.before:
                return Found(ids=[name for name in found if name >= reached], reached=reached, cut=True)
        return Found(ids=found, reached=shortest, cut=True)


def statement(queries: Queries, find: str, walk: str, *, ascending: bool, parameters: int) -> str:
    """Return the statement that finds what is wanted on a walk in this direction, with so many parameters."""
    return _made(queries[find], queries[walk], queries.get(TAGGED, ""), ascending=ascending, last=parameters)


@functools.cache  # bounded by the number of statements
def _made(find: str, walk: str, tagged: str, *, ascending: bool, last: int) -> str:
    names = {"direction": "ASC" if ascending else "DESC", "last": f"${last}"}
    # Up to the end of a step, and the end of all steps.
    within, end = ("<=", "$3") if ascending else (">=", "$2")
    walk = walk.format(**names, tagged=tagged.format(**names))
    return find.format(**names, walk=walk, within=within, end=end)
