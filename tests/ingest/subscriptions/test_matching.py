"""The index of a tenant's subscriptions: what it finds, the cost of a change, and its memory."""

import random
import tracemalloc
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg.pgproto.pgproto
import msgspec
import pytest

from services.domain import events
from services.domain.events import TypeFilter
from services.domain.subscriptions import Flag
from services.ingest.subscriptions.matching import INDEX_BYTES, Filter, Index
from services.platform import ids

WORDS = ("order", "invoice", "created", "paid", "item", "v1/x", "a-b", "")


def _filter(*event_types: str, version: int = 1, subscription_id: UUID | None = None, **fields: Any) -> Filter:
    given = {"takes": True, "steady": True} | fields
    return Filter(id=subscription_id or ids.new(), version=version, event_types=event_types, **given)


def _index(*filters: Filter) -> Index:
    index = Index()
    for found in filters:
        index.put(found)
    return index


def _found(index: Index, event_type: str) -> set[UUID]:
    targets = index.matching(event_type)
    found = {subscription_id for subscription_id, _ in targets}
    assert len(found) == len(targets), "no subscription is found twice"
    assert index.count(event_type) >= len(found)
    return found


def _random_type(rng: random.Random) -> str:
    return ".".join(rng.choices(WORDS, k=rng.randint(1, 4))) or "x"


def test_the_index_matches_the_filters_after_any_changes() -> None:
    rng = random.Random(7)
    index = Index()
    current: dict[UUID, Filter] = {}
    for step in range(4_000):
        known = rng.choice(list(current)) if current and rng.random() < 0.6 else None
        entries = {_random_type(rng) + rng.choice(["", "", ".*"]) for _ in range(rng.choice([0, 1, 1, 2, 5]))}
        version = current[known].version + 1 if known else 1
        new = _filter(*entries, version=version, subscription_id=known, takes=rng.random() < 0.9)
        if known and rng.random() < 0.3:
            index.put(Filter.deleted(known, version))
            del current[known]
        else:
            index.put(new)
            current[new.id] = new
        if step % 20 == 0:
            event_type = _random_type(rng)
            wanted = {one.id for one in current.values() if one.takes and TypeFilter(one.event_types).wants(event_type)}
            assert _found(index, event_type) == wanted, event_type
    assert len(index) == len(current)
    for name in tuple(current):
        index.put(Filter.deleted(name, current[name].version + 1))
    assert len(index) == 0
    assert index.size_bytes == INDEX_BYTES
    assert not index._by_entry


@pytest.mark.parametrize(
    ("event_type", "entries"),
    [
        ("order", ["order"]),
        ("order.item.added", ["order.item.added", "order.*", "order.item.*"]),
        ("order.", ["order.", "order.*"]),
        ("a..b", ["a..b", "a.*", "a..*"]),
    ],
)
def test_entries_that_want_a_type_are_those_whose_filter_does(event_type: str, entries: Sequence[str]) -> None:
    assert events.entries_wanting(event_type) == entries
    assert all(TypeFilter([entry]).wants(event_type) for entry in entries)


def test_an_event_without_a_type_passes_every_filter() -> None:
    every, some, none = _filter(), _filter("order.*"), _filter(takes=False)
    assert _found(_index(every, some, none), "") == {every.id, some.id}


def test_a_limit_bounds_what_is_returned_and_no_subscription_counts_twice() -> None:
    index = _index(*(_filter("order.*", "order.created") for _ in range(10)), _filter())
    assert len(index.matching("order.created", 5)) == 5
    assert len(index.matching("order.created", 11)) == len(index.matching("order.created", 12)) == 11
    assert index.matching("order.created", 0) == []


def test_an_older_version_that_comes_late_changes_nothing() -> None:
    made = _filter("a")
    index = _index(made)
    index.put(_filter("b", version=3, subscription_id=made.id, steady=False))
    index.put(_filter("c", version=2, subscription_id=made.id))
    assert index.matching("b") == [(made.id, False)]
    assert not index.matching("a")
    assert not index.matching("c")
    index.put(Filter.deleted(made.id, 5))
    index.put(_filter("b", version=4, subscription_id=made.id))
    assert not index.matching("b")
    assert index.version(made.id) == 5


def test_a_subscription_that_takes_no_events_is_known_and_not_found() -> None:
    made = _filter("a", takes=False)
    index = _index(made)
    assert not index.matching("a")
    assert index.version(made.id) == 1
    index.put(msgspec.structs.replace(made, version=2, takes=True))
    assert _found(index, "a") == {made.id}


def test_the_flags_of_a_tenant_are_those_of_the_subscriptions_that_take_events() -> None:
    first, second = _filter("a", flags=Flag.FILTER), _filter("b", flags=Flag.FILTER)
    index = _index(first, second, _filter("a"))
    assert index.flags is Flag.FILTER
    index.put(msgspec.structs.replace(first, version=2, takes=False))
    assert index.flags is Flag.FILTER
    index.put(Filter.deleted(second.id, 2))
    assert not index.flags


@pytest.mark.parametrize(
    "types_of",
    [
        lambda _: ("order.created",),
        lambda number: (f"customer-{number}.order.*",),
        lambda number: tuple(f"{number}-{entry}-{'x' * 100}" for entry in range(50)),
        lambda _: (),
    ],
    ids=["shared", "own", "many", "all"],
)
def test_the_estimate_of_memory_is_not_below_what_an_index_takes(types_of: "object") -> None:
    assert callable(types_of)
    number = 4_000
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        index = Index()
        for each in range(number):
            # As a row contains it.
            subscription_id = asyncpg.pgproto.pgproto.UUID(ids.new().bytes)
            types = types_of(each)
            index.put(Filter(id=subscription_id, version=1, event_types=types, takes=True, steady=True))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before <= index.size_bytes <= 3 * (after - before)
