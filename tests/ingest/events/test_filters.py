"""Filters of subscriptions: which events they let through, and what becomes of slow ones."""

import asyncio
import itertools
from typing import Any
from uuid import UUID

import pytest

from protos.webhook.v1 import ingest_pb2
from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain.filters import evaluation
from services.ingest.events import expansions, filter_checks
from services.ingest.subscriptions import slow_filters
from services.platform import errors
from tests.ingest.conftest import CALL_SECONDS, Ingest, counted, eventually, fields, refused

TYPE = "filters.order"
FILTER = "event.data.amount > 100 && event.data.country in ['DE', 'FR']"


async def _got(ingest: Ingest, event_id: str) -> set[str]:
    return {str(row["subscription_id"]) for row in await ingest.deliveries(event_id)}


async def _send(ingest: Ingest, payload: bytes = b'{"amount": 200, "country": "DE"}', **given: Any) -> set[str]:
    accepted = await ingest.send(event_type=TYPE, payload=payload, **given)
    return await _got(ingest, accepted.event_id)


async def test_an_event_goes_to_those_whose_filters_it_passes(ingest: Ingest) -> None:
    plain = await ingest.create(event_types=[TYPE])
    wanting = await ingest.create(event_types=[TYPE], filter=FILTER)
    other = await ingest.create(event_types=[TYPE], filter="event.data.amount < 100")
    lost = counted("webhook_filter_no_matches_total")
    assert wanting.spec.filter == FILTER
    assert wanting.spec.filter_on_error == pb.FILTER_ON_ERROR_DELIVER
    assert await _send(ingest) == {plain.id, wanting.id}
    assert await _send(ingest, b'{"amount": 1}') == {plain.id, other.id}
    assert counted("webhook_filter_no_matches_total") >= lost + 2


async def test_an_event_that_a_filter_cannot_be_evaluated_for_is_delivered_or_skipped(ingest: Ingest) -> None:
    delivers = await ingest.create(event_types=[TYPE], filter=FILTER)
    await ingest.create(event_types=[TYPE], filter=FILTER, filter_on_error=pb.FILTER_ON_ERROR_SKIP)
    failed = counted("webhook_filter_errors_total")
    assert await _send(ingest, b"{}") == {delivers.id}
    assert await _send(ingest, b"text", content_type="text/plain") == {delivers.id}
    assert counted("webhook_filter_errors_total") >= failed + 4


async def test_an_event_to_one_subscription_passes_its_filter_or_is_filtered(ingest: Ingest) -> None:
    made = await ingest.create(
        filter="event.data.amount > 100 && event.tags.order == '42'", tag_paths={"order": "/order"}
    )
    accepted = await ingest.send(made.id, payload=b'{"amount": 200, "order": "42"}')
    assert accepted.deliveries == 1
    accepted = await ingest.send(made.id, payload=b'{"amount": 1, "order": "42"}')
    assert accepted.status == ingest_pb2.INGEST_STATUS_FILTERED


async def test_a_filter_is_changed_and_removed(ingest: Ingest) -> None:
    made = await ingest.create(event_types=[TYPE], filter=FILTER)
    assert await _send(ingest, b'{"amount": 1}') == set()
    await ingest.update(made.id, event_types=[TYPE], filter="event.data.amount == 1")
    assert await _send(ingest, b'{"amount": 1}') == {made.id}
    updated = await ingest.update(made.id, event_types=[TYPE])
    assert not updated.spec.HasField("filter")
    assert await _send(ingest) == {made.id}


async def test_a_wrong_filter_is_refused_with_its_line_and_column(ingest: Ingest) -> None:
    error = await refused(ingest.create(filter="event.data.amount >\n&& 3"))
    assert fields(error) == ["filter"]
    assert error.violations[0].description.startswith("line 2, column 1: ")
    error = await refused(ingest.create(filter="true", kind=pb.SUBSCRIPTION_KIND_SYSTEM))
    assert error.violations[0].description == "cannot be combined with kind system"


async def test_filters_decide_who_gets_a_large_fan_out(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expansions, "CHUNK_DELIVERIES", 10)
    subscriptions = [
        await ingest.create(event_types=[TYPE], filter=f"event.data.amount > {number}") for number in range(30)
    ]
    for _ in range(101):
        await _insert(ingest)
    await ingest.create(event_types=["something.else"])
    accepted = await ingest.send(event_type=TYPE, payload=b'{"amount": 15}')
    assert accepted.expanding
    await _expanded(ingest)
    got = await _got(ingest, accepted.event_id)
    assert len(got) == 15 + 101
    assert {each.id for each in subscriptions} & got == {each.id for each in subscriptions[:15]}


async def _insert(ingest: Ingest) -> None:
    await ingest.pool.execute(
        "INSERT INTO subscriptions (id, tenant_id, target_url, event_types)"
        " VALUES (gen_random_uuid(), $1, 'http://x', ARRAY[$2])",
        ingest.tenant_id,
        TYPE,
    )


async def _expanded(ingest: Ingest) -> None:
    async def none_left() -> bool:
        return await ingest.count("event_expansions") == 0

    await eventually(none_left, "all events to be expanded")


@pytest.fixture
def _slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every evaluation be slow."""
    monkeypatch.setattr(evaluation, "SLOW_SECONDS", -1.0)


async def test_filters_that_take_too_long_are_evaluated_after_the_response(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_filters, "EVENT_SECONDS", 0.0)
    monkeypatch.setattr(expansions, "CHUNK_FILTER_SECONDS", 1e-9)
    wanting = [await ingest.create(event_types=[TYPE], filter=FILTER) for _ in range(3)]
    await ingest.create(event_types=[TYPE], filter="false")
    accepted = await ingest.send(event_type=TYPE, payload=b'{"amount": 200, "country": "DE"}')
    assert accepted.expanding
    await _expanded(ingest)
    assert await _got(ingest, accepted.event_id) == {each.id for each in wanting}
    # Without a type, and to one subscription.
    accepted = await ingest.send(wanting[0].id, payload=b'{"amount": 200, "country": "DE"}')
    assert accepted.expanding
    await _expanded(ingest)
    assert await _got(ingest, accepted.event_id) == {wanting[0].id}


async def test_slow_filters_beyond_the_time_of_an_event_delay_no_other_tenant(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count(1)
    clock = [0.0]

    def tick() -> float:
        clock[0] = next(ticks) / 1_000  # an evaluation reads it once, and so takes 1 ms
        return clock[0]

    monkeypatch.setattr(evaluation, "perf_counter", tick)
    monkeypatch.setattr(evaluation, "thread_time", lambda: clock[0])
    in_batches: list[int] = []
    accepted, expand = slow_filters.SlowFilters.accepted, expansions.ExpansionStore.expand
    may_expand = asyncio.Event()

    def counting(self: slow_filters.SlowFilters, tenant_id: str, spent: evaluation.Evaluation) -> None:
        in_batches.append(spent.matches)
        accepted(self, tenant_id, spent)

    async def held(self: expansions.ExpansionStore, *args: Any, **given: Any) -> expansions.Chunk | None:
        await may_expand.wait()
        return await expand(self, *args, **given)

    monkeypatch.setattr(slow_filters.SlowFilters, "accepted", counting)
    monkeypatch.setattr(expansions.ExpansionStore, "expand", held)
    other = await ingest.of("beside-slow-filters")
    plain = await other.create(event_types=[TYPE])
    slow = {(await ingest.create(event_types=[TYPE], filter=FILTER)).id for _ in range(30)}
    event = await ingest.send(event_type=TYPE, payload=b'{"amount": 200, "country": "DE"}')
    assert event.expanding
    assert [0 < number <= 5 for number in in_batches] == [True]
    assert await _send(other) == {plain.id}
    assert await _got(ingest, event.event_id) == set()
    may_expand.set()
    await _expanded(ingest)
    assert await _got(ingest, event.event_id) == slow
    assert len(in_batches) == 1


@pytest.mark.usefixtures("_slow")
async def test_a_filter_that_is_slow_too_often_is_stopped(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_filters, "MAX_SLOW", 3)
    await ingest.create(kind=pb.SUBSCRIPTION_KIND_SYSTEM)
    made = await ingest.create(event_types=[TYPE], filter="false", filter_on_error=pb.FILTER_ON_ERROR_DELIVER)
    for _ in range(3):
        await _send(ingest)

    async def stopped() -> bool:
        return (await ingest.get(made.id)).status.HasField("filter_stopped_at")

    await eventually(stopped, "the filter to be stopped")

    async def delivered() -> bool:
        return await _send(ingest) == {made.id}

    await eventually(delivered, "events to be delivered without it")
    facts = await ingest.pool.fetch("SELECT * FROM operational_facts WHERE subscription_id = $1", UUID(made.id))
    assert [(fact["event_type"], fact["reason"]) for fact in facts] == [("subscription.filter_stopped", "deliver")]
    monkeypatch.setattr(slow_filters, "MAX_SLOW", 1_000)
    updated = await ingest.update(made.id, event_types=[TYPE], filter="1 == 2")
    assert not updated.status.HasField("filter_stopped_at")
    assert await _send(ingest) == set()


async def test_filters_of_a_tenant_have_a_share_of_the_time(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_filters, "BURST_SECONDS", 1e-9)
    monkeypatch.setattr(slow_filters, "SHARE", 0.0)
    made = await ingest.create(event_types=[TYPE], filter=FILTER)
    item = ingest.item(event_type=TYPE, payload=b'{"amount": 200, "country": "DE"}')
    first, second = await asyncio.gather(ingest.send_item(item), ingest.send_item(item))
    assert sorted([first.expanding, second.expanding]) == [False, True]
    await _expanded(ingest)
    assert await _got(ingest, second.event_id) == {made.id}


async def _check(ingest: Ingest, text: str = FILTER, **given: Any) -> list[tuple[str, Any, str]]:
    request = ingest_pb2.CheckFilterRequest(tenant_id=ingest.tenant_id, filter=text, **given)
    response = await ingest.events.CheckFilter(request, timeout=CALL_SECONDS)
    return [(result.event_id, result.verdict, result.explanation) for result in response.results]


async def test_a_filter_is_tried_on_events(ingest: Ingest) -> None:
    match, no_match, error = (
        ingest_pb2.FILTER_VERDICT_MATCH,
        ingest_pb2.FILTER_VERDICT_NO_MATCH,
        ingest_pb2.FILTER_VERDICT_ERROR,
    )
    tried = ingest_pb2.TriedEvent(event_type=TYPE, payload=b'{"amount": 200, "country": "ES"}')
    assert await _check(ingest, event=tried) == [("", no_match, "event.data.country in ['DE', 'FR']")]
    subscription = await ingest.create(event_types=[TYPE])
    large = (await ingest.send(event_type=TYPE, payload=b'{"amount": 200, "country": "DE"}')).event_id
    small = (await ingest.send(event_type=TYPE, payload=b'{"amount": 5}')).event_id
    empty = (await ingest.send(event_type=TYPE)).event_id
    await ingest.send(subscription.id, event_type="filters.other")
    why = 'Key not found in map : "amount"'
    stored = [(large, match, ""), (small, no_match, "event.data.amount > 100"), (empty, error, why)]
    assert await _check(ingest, event_ids=[large, small, empty]) == stored
    latest = ingest_pb2.LatestEvents(subscription_id=subscription.id, last=2)
    assert await _check(ingest, latest=latest) == [stored[2], stored[1]]


async def test_a_filter_is_not_tried_on_what_the_caller_cannot_see(ingest: Ingest) -> None:
    other = await ingest.of("filters-other")
    subscription = await other.create(event_types=[TYPE])
    event_id = (await other.send(event_type=TYPE)).event_id
    error = await refused(_check(ingest, event_ids=[event_id]))
    assert isinstance(error, errors.NotFound)
    latest = ingest_pb2.LatestEvents(subscription_id=subscription.id)
    assert isinstance(await refused(_check(ingest, latest=latest)), errors.NotFound)


async def test_a_check_has_bounds(ingest: Ingest) -> None:
    many = [str(UUID(int=number)) for number in range(filter_checks.MAX_EVENTS + 1)]
    assert fields(await refused(_check(ingest, event_ids=many))) == ["event_ids"]
    large = ingest_pb2.TriedEvent(payload=b" " * ((1 << 20) + 1))
    assert (await refused(_check(ingest, event=large))).reason == "PAYLOAD_TOO_LARGE"


async def test_a_check_names_what_is_wrong_with_it(ingest: Ingest) -> None:
    tried = ingest_pb2.TriedEvent(payload=b"{}")
    assert fields(await refused(_check(ingest, "event.data.amount >", event=tried))) == ["filter"]
    assert fields(await refused(_check(ingest))) == ["event"]
    assert fields(await refused(_check(ingest, event=tried, event_ids=["x"]))) == ["event"]
    assert fields(await refused(_check(ingest, event_ids=["x"]))) == ["event_ids"]
