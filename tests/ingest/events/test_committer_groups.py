"""How waiting events are divided into transactions."""

from collections.abc import Sequence
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.domain.idempotency import Key
from services.ingest.events.committer import MAX_DELIVERIES, _groups
from services.ingest.events.records import NewEvent
from services.platform import ids

IDS = [ids.new() for _ in range(4)]
TARGET = ids.new()


def _event(event_id: UUID | None = None, *, deliveries: int = 1, key: str = "") -> NewEvent:
    return NewEvent(
        id=event_id or ids.new(),
        tenant_id="default",
        event_type=None,
        content_type="text/plain",
        payload=b"",
        deliveries=[(TARGET, TARGET, True)] * deliveries,
        key=Key(tenant_id="default", route="events", key=key, request_hash=b"") if key else None,
    )


EVENTS = st.lists(
    st.builds(
        lambda event_id, deliveries, key: _event(event_id, deliveries=deliveries, key=key),
        st.sampled_from([*IDS, None]),
        st.sampled_from([0, 1, 2, 500, 1_000, 1_001, 5_000]),
        st.sampled_from(["", "", "a", "b"]),
    )
)


def _numbers(events: Sequence[NewEvent]) -> list[list[int]]:
    places = {id(event): place for place, event in enumerate(events)}
    return [[places[id(event)] for event in group] for group in _groups(events)]


def test_events_of_their_own_share_one_transaction() -> None:
    assert _numbers([_event() for _ in range(500)]) == [list(range(500))]


def test_an_empty_group_makes_no_transaction() -> None:
    assert _numbers([]) == []


def test_a_repeated_batch_of_ids_makes_a_second_transaction_and_not_one_for_each() -> None:
    again = [_event(event_id) for event_id in IDS]
    assert _numbers([*(_event(event_id) for event_id in IDS), *again]) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_events_with_keys_go_apart_from_those_without() -> None:
    assert _numbers([_event(key="a"), _event(), _event(key="b"), _event()]) == [[1, 3], [0, 2]]


def test_a_repeated_key_makes_a_second_transaction() -> None:
    assert _numbers([_event(key="a"), _event(key="b"), _event(key="a")]) == [[0, 1], [2]]


def test_a_large_fan_out_goes_alone() -> None:
    assert _numbers([_event(), _event(deliveries=1_001), _event()]) == [[0], [1], [2]]


def test_small_fan_outs_are_divided_by_their_deliveries() -> None:
    assert _numbers([_event(deliveries=400) for _ in range(5)]) == [[0, 1], [2, 3], [4]]


@given(EVENTS)
def test_events_go_into_one_transaction_each_and_groups_keep_their_limits(events: list[NewEvent]) -> None:
    groups = list(_groups(events))
    assert sorted(id(event) for group in groups for event in group) == sorted(id(event) for event in events)
    for group in groups:
        event_ids = [event.id for event in group]
        keys = [event.key.scope for event in group if event.key]
        assert len(set(event_ids)) == len(event_ids)
        assert len(set(keys)) == len(keys)
        assert len(keys) in {0, len(group)}
        assert len(group) == 1 or sum(len(event.deliveries) for event in group) <= MAX_DELIVERIES


@given(EVENTS)
def test_events_of_one_id_and_kind_keep_their_order(events: list[NewEvent]) -> None:
    flat = [event for group in _groups(events) for event in group]
    for event_id in IDS:
        for keyed in (False, True):
            expected = [event for event in events if event.id == event_id and (event.key is not None) is keyed]
            found = [event for event in flat if event.id == event_id and (event.key is not None) is keyed]
            assert list(map(id, found)) == list(map(id, expected))
