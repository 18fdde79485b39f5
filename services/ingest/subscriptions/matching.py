"""An index of one tenant's subscriptions by the entries of their event types.

An event is matched by a few look-ups, however many subscriptions there are: one of its type, and one for each prefix of
it. A change replaces one subscription.
"""

import functools
import itertools
import operator
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any
from uuid import UUID

import msgspec

from services.domain import events
from services.domain.filters.evaluation import Evaluation
from services.domain.filters.expression import EXPRESSION_BYTES, Expression, OnError, compiled
from services.domain.subscriptions import Flag
from services.ingest.subscriptions.record import Kind, Subscription, Target

# What an index takes in memory, each of its subscriptions, and each entry of their types besides its text; measured,
# and rounded up (tests/ingest/subscriptions/test_matching.py).
INDEX_BYTES = 2_000
SUBSCRIPTION_BYTES = 400
ENTRY_BYTES = 200


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What decides whether a subscription gets an event, as of one of its versions."""

    id: UUID
    version: int
    event_types: tuple[str, ...]
    # Whether it takes events at all; a system subscription and some disabled ones do not.
    takes: bool
    # Whether its deliveries may be rung for at once.
    steady: bool
    flags: Flag = Flag.NONE
    # What events have to fulfill besides; None: nothing, as when it was stopped.
    filter: str | None = None
    filter_on_error: str = OnError.DELIVER
    # Whether it is not deleted.
    live: bool = True

    @classmethod
    def of(cls, subscription: Subscription) -> "Filter":
        """Return the filter of a subscription."""
        targets = subscription.targets if subscription.kind is Kind.NORMAL else ()
        return cls(
            id=subscription.id,
            version=subscription.version,
            event_types=subscription.event_types,
            takes=bool(targets),
            steady=any(steady for _, steady in targets),
            flags=subscription.flags,
            filter=subscription.filter if Flag.FILTER in subscription.flags else None,
            filter_on_error=subscription.filter_on_error,
        )

    @classmethod
    def of_row(cls, row: Any) -> "Filter":
        """Return the filter of a row of `subscription_filters`."""
        return cls(
            id=row["id"],
            version=row["version"],
            event_types=tuple(row["event_types"]),
            takes=row["takes"],
            steady=row["steady"],
            flags=Flag(row["flags"]),
            filter=row["filter"],
            filter_on_error=row["filter_on_error"],
            live=row["live"],
        )

    @classmethod
    def deleted(cls, subscription_id: UUID, version: int) -> "Filter":
        """Return what is known of a subscription that was deleted, which made this version of it."""
        return cls(id=subscription_id, version=version, event_types=(), takes=False, steady=False, live=False)


class _Indexed:
    """A subscription in the index. It is hashed by identity, which is cheaper than by its id."""

    __slots__ = (
        *("entries", "flags", "steady", "subscription_id", "takes", "version"),
        *("expression", "filter", "filter_on_error"),
    )

    def __init__(self, found: Filter) -> None:
        self.subscription_id = found.id
        self.version = found.version
        self.steady = found.steady
        self.takes = found.takes
        self.flags = found.flags if found.takes else Flag.NONE
        self.filter = found.filter
        self.filter_on_error = OnError(found.filter_on_error)
        # Compiled with the first event.
        self.expression: Expression | None = None
        # Texts that many subscriptions share are kept once.
        self.entries = tuple(map(sys.intern, dict.fromkeys(found.event_types)))

    @property
    def size_bytes(self) -> int:
        filter_bytes = 0 if self.filter is None else EXPRESSION_BYTES + len(self.filter)
        return SUBSCRIPTION_BYTES + filter_bytes + sum(ENTRY_BYTES + len(entry) for entry in self.entries)

    def compiled(self) -> Expression:
        """Compile its filter, which it has."""
        self.expression = compiled(self.filter or "")
        return self.expression


class Index:
    """The subscriptions of one tenant. An older version of one never replaces a newer one."""

    def __init__(self) -> None:
        self._by_id: dict[UUID, _Indexed] = {}
        # Those that want every event.
        self._all: set[_Indexed] = set()
        # By entry of event_types: most entries have one subscription, or many.
        self._by_entry: dict[str, _Indexed | set[_Indexed]] = {}
        # Versions of those that were deleted while older rows may be on their way here.
        self._deleted: dict[UUID, int] = {}
        # Of those that take events, how many have each combination of flags but none.
        self._by_flags: Counter[Flag] = Counter()
        # All of these together.
        self.flags = Flag.NONE
        # An estimate.
        self.size_bytes = INDEX_BYTES

    def __len__(self) -> int:
        return len(self._by_id)

    def version(self, subscription_id: UUID) -> int:
        """Return the version of a subscription that is known; 0 for none."""
        known = self._by_id.get(subscription_id)
        return self._deleted.get(subscription_id, 0) if known is None else known.version

    def put(self, found: Filter) -> None:
        """Take in a subscription, or that it was deleted, unless a version as new is known."""
        if self.version(found.id) >= found.version:
            return
        self._remove(found.id)
        if not found.live:
            self._deleted[found.id] = found.version
            return
        self._deleted.pop(found.id, None)
        indexed = self._by_id[found.id] = _Indexed(found)
        self.size_bytes += indexed.size_bytes
        if not indexed.takes:
            return
        if indexed.flags:
            self._count_flags(indexed.flags, 1)
        if not indexed.entries:
            self._all.add(indexed)
        for entry in indexed.entries:
            group = self._by_entry.get(entry)
            if group is None:
                self._by_entry[entry] = indexed
            elif isinstance(group, set):
                group.add(indexed)
            else:
                self._by_entry[entry] = {group, indexed}

    def forget_deleted(self) -> None:
        """Forget the versions of those that were deleted: no older row of one is on its way here."""
        self._deleted.clear()

    def matching(
        self, event_type: str, limit: int | None = None, event: Callable[[], Evaluation] | None = None
    ) -> list[Target]:
        """Return up to `limit` subscriptions to events of this type; the cost is that of those returned.

        With `event`, only those whose filters it passes, for the cost of these filters. Raise OutOfTimeError if they
        take too long.
        """
        found = self._matching(event_type)
        if event is not None and self.flags & Flag.FILTER:
            return _passed(found, limit, event())
        return [(indexed.subscription_id, indexed.steady) for indexed in itertools.islice(found, limit)]

    def count(self, event_type: str) -> int:
        """Return how many there are at most: one that wants the type by two of its entries counts twice."""
        return sum(map(len, self._groups(event_type))) if event_type else len(self._by_id)

    def _matching(self, event_type: str) -> Iterable[_Indexed]:
        if not event_type:  # it passes every filter
            return (indexed for indexed in self._by_id.values() if indexed.takes)
        groups = self._groups(event_type)
        return groups[0] if len(groups) == 1 else _once(groups)

    def _groups(self, event_type: str) -> list[Collection[_Indexed]]:
        groups: list[Collection[_Indexed]] = [self._all] if self._all else []
        for entry in events.entries_wanting(event_type):
            group = self._by_entry.get(entry)
            if group is not None:
                groups.append(group if isinstance(group, set) else (group,))
        return groups

    def _remove(self, subscription_id: UUID) -> None:
        indexed = self._by_id.pop(subscription_id, None)
        if indexed is None:
            return
        self.size_bytes -= indexed.size_bytes
        self._all.discard(indexed)
        if not indexed.takes:
            return
        if indexed.flags:
            self._count_flags(indexed.flags, -1)
        for entry in indexed.entries:
            group = self._by_entry[entry]
            if isinstance(group, set):
                group.discard(indexed)
            if group is indexed or not group:
                del self._by_entry[entry]

    def _count_flags(self, flags: Flag, number: int) -> None:
        self._by_flags[flags] += number
        self._by_flags = +self._by_flags
        self.flags = functools.reduce(operator.or_, self._by_flags, Flag.NONE)


def _passed(found: Iterable[_Indexed], limit: int | None, event: Evaluation) -> list[Target]:
    """Return up to `limit` of those whose filters an event passes."""
    targets: list[Target] = []
    passes = event.passes
    for one in found:
        if len(targets) == limit:
            break
        if one.filter is None or passes(one.subscription_id, one.expression or one.compiled(), one.filter_on_error):
            targets.append((one.subscription_id, one.steady))
    return targets


def _once(groups: Iterable[Iterable[_Indexed]]) -> Iterator[_Indexed]:
    """Yield what is in any of the groups: a subscription may want a type by several of its entries."""
    seen: set[_Indexed] = set()
    for indexed in itertools.chain.from_iterable(groups):
        if indexed not in seen:
            seen.add(indexed)
            yield indexed
