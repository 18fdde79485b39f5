"""Searches of events: by type, time, idempotency key and provider's id."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from protos.webhook.v1 import ingest_pb2 as pb
from services.platform import errors, ids, paging
from services.platform.grpc import conversion
from services.platform.stores import walks
from tests.ingest.conftest import CALL_SECONDS, Ingest, fields, refused

TYPES = ("order.created", "order.paid", "order_paid", "orders", "")


@pytest.fixture
async def tenant(ingest: Ingest) -> Ingest:
    """A tenant that has nothing, beside events of another."""
    await ingest.send((await ingest.create()).id, event_type="order.created")
    return await ingest.of(f"t{secrets.token_hex(8)}")


async def asked(tenant: Ingest, *, token: str = "", page_size: int = 0, **wanted: Any) -> pb.ListEventsResponse:
    ascending = wanted.pop("ascending", False)
    request = pb.ListEventsRequest(
        tenant_id=tenant.tenant_id, filter=pb.EventFilter(**wanted), ascending=ascending, page_size=page_size,
        page_token=token,
    )  # fmt: skip
    return await tenant.events.ListEvents(request, timeout=CALL_SECONDS)


async def searched(tenant: Ingest, **wanted: Any) -> list[str]:
    """Return the ids on all pages."""
    found, token = list[str](), ""
    while True:
        answer = await asked(tenant, token=token, **wanted)
        found += [event.id for event in answer.events]
        token = answer.next_page_token
        if not token:
            return found


async def send(tenant: Ingest, number: int = 10) -> dict[str, str]:
    """Return the types of events by their ids, the oldest first."""
    subscription = (await tenant.create()).id
    sent = [(await tenant.send(subscription, event_type=TYPES[each % len(TYPES)])).event_id for each in range(number)]
    return {event_id: TYPES[sent.index(event_id) % len(TYPES)] for event_id in sorted(sent)}


@pytest.mark.parametrize("ascending", [False, True], ids=["newest", "oldest"])
@pytest.mark.parametrize("rows", [1, 20_000], ids=["in small steps", "at once"])
async def test_events_are_found_by_type_in_order_and_none_of_other_tenants(
    tenant: Ingest, monkeypatch: pytest.MonkeyPatch, rows: int, *, ascending: bool
) -> None:
    monkeypatch.setattr(walks, "WALK_ROWS", rows)
    monkeypatch.setattr(walks, "FIRST_ROWS", 1)
    sent = await send(tenant)
    for wanted, types in (
        ([], set(TYPES)),
        (["order.*"], {"order.created", "order.paid"}),
        (["order_paid"], {"order_paid"}),
        (["orders", "order.paid"], {"orders", "order.paid"}),
        (["none"], set()),
    ):
        expected = [event_id for event_id, event_type in sent.items() if event_type in types]
        expected = expected if ascending else expected[::-1]
        for page_size in (2, 200):
            found = await searched(tenant, event_type=wanted, ascending=ascending, page_size=page_size)
            assert found == expected


async def test_a_listed_event_has_everything_but_its_payload(tenant: Ingest) -> None:
    subscription = await tenant.create()
    accepted = await tenant.send(
        subscription.id, event_type="a", payload=b"x" * 9000, content_type="text/plain", content_encoding="gzip"
    )
    (listed,) = (await asked(tenant)).events
    whole = await tenant.event(accepted.event_id)
    assert whole.payload_bytes == 9000
    whole.ClearField("payload")
    assert listed == whole


async def test_events_are_found_by_the_senders_key_and_the_providers_id(tenant: Ingest) -> None:
    subscription = (await tenant.create()).id
    await send(tenant, 3)
    to_one = (await tenant.send(subscription, event_type="a.b", idempotency_key="order 1")).event_id
    to_all = (await tenant.send(event_type="a.c", idempotency_key="order 1")).event_id
    other = (await tenant.send(event_type="a.c", idempotency_key="order 2")).event_id
    provided = UUID((await tenant.send(event_type="a.d")).event_id)
    await tenant.pool.execute(
        "INSERT INTO idempotency_keys (tenant_id, route, key, object_id, expires_at, request_hash, response)"
        " VALUES ($1, $2, 'evt_1', $3, now() + interval '1 hour', '', '')",
        tenant.tenant_id, f"ingest/{subscription}/provider", provided,
    )  # fmt: skip
    newest = sorted([to_one, to_all], reverse=True)
    assert await searched(tenant, idempotency_key=["order 1"]) == newest
    assert await searched(tenant, idempotency_key=["order 1"], page_size=1) == newest
    assert await searched(tenant, idempotency_key=["order 1", "order 2"], event_type=["a.c"]) == [other, to_all]
    assert await searched(tenant, provider_id=["evt_1"]) == [str(provided)]
    assert await searched(tenant, provider_id=["order 1"]) == []
    assert await searched(tenant, idempotency_key=["evt_1"]) == []
    assert await searched(await tenant.of("another"), idempotency_key=["order 1"]) == []


@pytest.mark.parametrize("rows", [2, 20_000], ids=["in small steps", "at once"])
async def test_events_are_found_by_their_tags(tenant: Ingest, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(walks, "WALK_ROWS", rows)
    monkeypatch.setattr(walks, "FIRST_ROWS", 1)
    subscription = (await tenant.create()).id
    await send(tenant, 3)
    given = [{"order": "1"}, {"order": "1", "customer": "acme"}, {"customer": "acme"}, {"order": "2"}]
    sent = [(await tenant.send(subscription, event_type="a.b", tags=tags)).event_id for tags in given]
    keyed = (await tenant.send(event_type="a.c", idempotency_key="k", tags={"order": "1"})).event_id
    for ascending in (False, True):
        for page_size in (1, 200):

            async def found(**wanted: Any) -> list[str]:
                return await searched(tenant, ascending=ascending, page_size=page_size, **wanted)  # noqa: B023 - called here

            def in_order(*names: str) -> list[str]:
                return sorted(names, reverse=not ascending)  # noqa: B023 - called here

            assert await found(tag=["order=1"]) == in_order(sent[0], sent[1], keyed)
            assert await found(tag=["order=1", "customer=acme"]) == in_order(*sent[:3], keyed)
            assert await found(tag=["order=1"], event_type=["a.c"]) == [keyed]
            assert await found(tag=["order=1"], idempotency_key=["k"]) == [keyed]
            assert await found(tag=["order=2"], idempotency_key=["k"]) == []
            assert await found(tag=["order=3"]) == []
    assert await searched(await tenant.of("another"), tag=["order=1"]) == []
    (event,) = (await asked(tenant, tag=["order=2"])).events
    assert dict(event.tags) == dict((await tenant.event(sent[3])).tags) == {"order": "2"}
    assert not (await asked(tenant, tag=["order=1"])).HasField("from_time")


async def test_the_time_is_that_of_the_id_and_goes_back_a_day_by_default(tenant: Ingest) -> None:
    sent = list(await send(tenant))
    first, last = (ids.moment_of(UUID(sent[place])) for place in (0, -1))
    since, until = conversion.stamp(first), conversion.stamp(last)
    found = await searched(tenant, from_time=since, to_time=until)
    assert found == [name for name in reversed(sent) if first <= ids.moment_of(UUID(name)) < last]
    answer = await asked(tenant, page_size=1)
    day_ago = datetime.now(UTC) - timedelta(hours=24)
    assert abs(answer.from_time.ToDatetime(UTC) - day_ago) < timedelta(minutes=5)
    assert (await asked(tenant, token=answer.next_page_token)).from_time == answer.from_time
    assert not (await asked(tenant, idempotency_key=["a"])).HasField("from_time")


async def streamed(tenant: Ingest, *, token: str = "", ascending: bool = False, **wanted: Any) -> list[list[str]]:
    """Return the ids of each message of a stream; only the last one has no token."""
    request = pb.StreamEventsRequest(
        tenant_id=tenant.tenant_id, filter=pb.EventFilter(**wanted), ascending=ascending, page_token=token
    )
    answers = [answer async for answer in tenant.events.StreamEvents(request, timeout=CALL_SECONDS)]
    assert [bool(answer.next_page_token) for answer in answers] == [*[True] * (len(answers) - 1), False]
    return [[event.id for event in answer.events] for answer in answers]


@pytest.mark.parametrize("ascending", [False, True], ids=["newest", "oldest"])
async def test_a_stream_has_all_events_that_are_found_in_order_and_goes_on_from_a_page(
    tenant: Ingest, monkeypatch: pytest.MonkeyPatch, *, ascending: bool
) -> None:
    monkeypatch.setattr(paging, "MAX_PAGE_SIZE", 3)
    sent = await send(tenant)
    expected = sorted(sent, reverse=not ascending)
    assert await streamed(tenant, ascending=ascending) == [expected[:3], expected[3:6], expected[6:9], expected[9:]]
    orders = [name for name in expected if sent[name].startswith("order.")]
    found = await streamed(tenant, ascending=ascending, event_type=["order.*"])
    assert [name for names in found for name in names] == orders
    page = await asked(tenant, page_size=2, ascending=ascending)
    rest = await streamed(tenant, token=page.next_page_token, ascending=ascending)
    assert [name for names in rest for name in names] == expected[2:]


async def test_a_stream_of_what_is_wrong_names_the_field(ingest: Ingest) -> None:
    error = await refused(streamed(ingest, event_type=["*"]))
    assert isinstance(error, errors.InvalidArgument)
    assert fields(error) == ["event_type.0"]


async def test_a_search_that_stops_early_says_how_far_it_got(tenant: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walks, "WALK_ROWS", 2)
    monkeypatch.setattr(walks, "FIRST_ROWS", 2)
    sent = sorted(await send(tenant))
    answer = await asked(tenant, event_type=["none"], page_size=1)
    assert list(answer.events) == []
    assert answer.next_page_token
    # The page read the newest two. It goes backward, and ends where the millisecond of one of them ends.
    scanned_to = answer.scanned_to.ToDatetime(UTC)
    assert scanned_to > ids.moment_of(UUID(sent[0]))
    assert scanned_to in {ids.moment_of(UUID(name)) + timedelta(milliseconds=1) for name in sent[-2:]}


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"event_type": ["*"]}, "event_type.0"),
        ({"idempotency_key": [""]}, "idempotency_key"),
        ({"provider_id": ["a"] * 51}, "provider_id"),
        ({"tag": ["order"]}, "tag"),
        ({"from_time": datetime(2026, 1, 2, tzinfo=UTC), "to_time": datetime(2026, 1, 1, tzinfo=UTC)}, "to_time"),
    ],
)
async def test_a_wrong_field_of_a_filter_is_named(ingest: Ingest, wanted: dict[str, Any], field: str) -> None:
    error = await refused(asked(ingest, **wanted))
    assert isinstance(error, errors.InvalidArgument)
    assert fields(error) == [field]
