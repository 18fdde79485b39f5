"""Searches of deliveries, over gRPC and by the statements behind them."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, cast
from uuid import UUID

import pytest

from dev.harness import deliveries
from dev.harness.stores import Stores
from dev.harness.waiting import wait_until
from protos.webhook.v1 import deliveries_pb2 as pb
from services.delivery.api import search, store
from services.delivery.api.filters import Filter
from services.domain import lookups
from services.domain.states import DeliveryStatus
from services.platform import errors, ids, paging
from services.platform.stores import walks
from services.platform.stores.postgres import Connection
from services.platform.stores.walks import Span
from tests.delivery.api.test_api import refusal, state
from tests.delivery.conftest import Shared
from tests.delivery.world import World, opened

LATER = 600.0
STATES = tuple(DeliveryStatus)
TYPES = ("order.created", "order.item.added", "order_paid", "orders", None)
ANSWERS = ((503, "http_5xx"), (429, "http_4xx"), (None, "timeout"), (None, None))
REASONS = ("retries_exhausted", "expired")
LISTED = ("failed", "cancelled")
TAGS = ("order=1", "order=2", "customer=acme")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a test knows of a delivery."""

    id: UUID
    subscription_id: UUID
    status: str
    event_type: str | None
    reason: str | None
    answer: tuple[int | None, str | None]
    attempts: int
    tags: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A tenant's deliveries in all states, beside those of another."""

    shared: Shared
    subscriptions: Sequence[UUID]
    paused: UUID
    all: Sequence[Row]
    other: Row


@pytest.fixture(scope="module")
async def rows(stores: Stores) -> AsyncIterator[Rows]:
    with stores.database() as database_url:
        async with opened(database_url, stores.redis_url()) as made, made.delivery() as client:
            await made.pool.execute("INSERT INTO tenants (id, name) VALUES ('other', 'other')")
            subscriptions = [await made.subscription("http://127.0.0.1:1/") for _ in range(3)]
            _, limited, paused = subscriptions
            await made.pool.execute("UPDATE subscriptions SET status = 'paused' WHERE id = $1", paused)
            await made.pool.execute("UPDATE subscriptions SET rate_limit_per_second = 0.001 WHERE id = $1", limited)
            await _use_up(made, limited)
            chance = random.Random(7)
            found = [await _row(made, subscriptions, number, chance) for number in range(120)]
            await _turn(made, limited, "SELECT true FROM due_subscriptions WHERE held_by = 'rate_limit'")
            theirs = ids.new()
            await made.pool.execute(
                "INSERT INTO subscriptions (id, tenant_id, target_url) VALUES ($1, 'other', 'http://127.0.0.1:1/')",
                theirs,
            )
            event_id = ids.new()
            other = ids.of_delivery(event_id, theirs)
            await made.pool.execute(
                "INSERT INTO event_tags (event_id, tenant_id, tag) VALUES ($1, 'other', $2)", event_id, TAGS[0]
            )
            await deliveries.insert(
                made.pool, [(other, event_id)], subscription_id=theirs, tenant_id="other", status="failed"
            )
            yield Rows(
                shared=Shared(world=made, client=client),
                subscriptions=subscriptions,
                paused=paused,
                all=found,
                other=Row(
                    id=other, subscription_id=theirs, status="failed", event_type=None, reason=None,
                    answer=(None, None), attempts=0,
                ),
            )  # fmt: skip


async def _use_up(world: World, subscription_id: UUID) -> None:
    """Have the dispatcher ring for all that the subscription's rate limit allows."""
    delivery_id = await world.deliver(subscription_id)
    await _turn(world, subscription_id, "SELECT true FROM delivery_queue WHERE due_at > now()")
    for table, key in (("delivery_queue", "delivery_id"), ("webhook_deliveries", "id")):
        await world.pool.execute(f"DELETE FROM {table} WHERE {key} = $1", delivery_id)


async def _turn(world: World, subscription_id: UUID, reached: str) -> None:
    """Have the dispatcher look at a subscription until a query finds what that leads to."""
    await world.pool.execute("UPDATE due_subscriptions SET turn_at = now() WHERE subscription_id = $1", subscription_id)
    await wait_until(lambda: world.pool.fetchval(reached), what="a turn")


async def _row(world: World, subscriptions: Sequence[UUID], number: int, chance: random.Random) -> Row:
    """Create a delivery in one of the states, with what its row has of its last attempt there."""
    status = STATES[number % len(STATES)]
    owner, event_type = chance.choice(subscriptions), chance.choice(TYPES)
    answer, attempts = chance.choice(ANSWERS), chance.randrange(4)
    ended = status in {"delivered", "failed", "cancelled"}
    # What is held is due.
    due_in = -1.0 if status == "pending" and owner != subscriptions[0] else LATER
    delivery_id = await world.deliver(owner, status=status, due_in=due_in, event_type=event_type)
    reason = None
    if ended:
        reason = chance.choice(REASONS) if status == "failed" else "cancelled" if status == "cancelled" else None
        await world.pool.execute(
            "UPDATE webhook_deliveries SET attempt_count = $2, reason = $3 WHERE id = $1", delivery_id, attempts, reason
        )
    if status != "delivered":
        table, key = ("unsuccessful_deliveries", "id") if ended else ("delivery_queue", "delivery_id")
        await world.pool.execute(
            f"UPDATE {table} SET attempt_count = $2, last_status_code = $3, last_error_kind = $4 WHERE {key} = $1",
            delivery_id, attempts, *answer,
        )  # fmt: skip
    tags = chance.sample(TAGS, number % 3)
    await world.pool.execute(
        "INSERT INTO event_tags (event_id, tenant_id, tag)"
        " SELECT event_id, tenant_id, unnest($2::text[]) FROM webhook_deliveries WHERE id = $1",
        delivery_id, tags,
    )  # fmt: skip
    return Row(
        id=delivery_id, subscription_id=owner, status=status, event_type=event_type, reason=reason,
        answer=answer if status != "delivered" else (None, None), attempts=attempts, tags=tags,
    )  # fmt: skip


def count_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the list to which each statement of a walk adds how many rows it has read."""
    read: list[int] = []
    step = walks.Walker.step

    async def counted(walker: walks.Walker, *arguments: Any) -> Any:
        row = await step(walker, *arguments)
        read.append(row["rows_read"])
        return row

    monkeypatch.setattr(walks.Walker, "step", counted)
    return read


async def searched(rows: Rows, *, page_size: int = 200, ascending: bool = False, **wanted: Any) -> list[UUID]:
    """Return what is found on all pages."""
    found, token = list[UUID](), ""
    for _ in range(len(rows.all)):
        answer = await rows.shared.client.SearchDeliveries(
            pb.SearchDeliveriesRequest(
                filter=pb.DeliveryFilter(**wanted), page_size=page_size, page_token=token, ascending=ascending
            )
        )
        found += [UUID(delivery.id) for delivery in answer.deliveries]
        token = answer.next_page_token
        if not token:
            return found
    raise AssertionError("the list does not end")


Wanted: TypeAlias = tuple[Callable[[Rows], dict[str, Any]], Callable[[Rows, Row], bool]]


def _of_status(status: DeliveryStatus) -> Wanted:
    return lambda _: {"status": [state(status)]}, lambda _, row: row.status == status


# Each filter as a message has it, and what it finds.
FILTERS: Mapping[str, Wanted] = {
    "nothing": (lambda _: {}, lambda _rows, _row: True),
    "a subscription": (
        lambda rows: {"subscription_id": [str(rows.subscriptions[0])]},
        lambda rows, row: row.subscription_id == rows.subscriptions[0],
    ),
    "two subscriptions": (
        lambda rows: {"subscription_id": [str(name) for name in rows.subscriptions[:2]]},
        lambda rows, row: row.subscription_id in rows.subscriptions[:2],
    ),
    **{f"status {status}": _of_status(status) for status in STATES},
    "statuses of two places": (
        lambda _: {"status": [state("failed"), state("scheduled")]},
        lambda _, row: row.status in {"failed", "scheduled"},
    ),
    "statuses of all places": (
        lambda _: {"status": [state("delivered"), state("cancelled"), state("in_flight")]},
        lambda _, row: row.status in {"delivered", "cancelled", "in_flight"},
    ),
    "a reason": (lambda _: {"reason": ["expired"]}, lambda _, row: row.reason == "expired"),
    "a reason of a subscription": (
        lambda rows: {"reason": ["retries_exhausted"], "subscription_id": [str(rows.subscriptions[1])]},
        lambda rows, row: row.reason == "retries_exhausted" and row.subscription_id == rows.subscriptions[1],
    ),
    "an exact type": (
        lambda _: {"event_type": ["order_paid"]},
        lambda _, row: row.event_type == "order_paid",
    ),
    "a prefix": (
        lambda _: {"event_type": ["order.*"]},
        lambda _, row: row.event_type in {"order.created", "order.item.added"},
    ),
    "a prefix of failed ones": (
        lambda _: {"event_type": ["order.*"], "status": [state("failed")]},
        lambda _, row: row.event_type in {"order.created", "order.item.added"} and row.status == "failed",
    ),
    "a type of those that wait": (
        lambda _: {"event_type": ["orders", "order.item.added"], "status": [state("pending"), state("scheduled")]},
        lambda _, row: row.event_type in {"orders", "order.item.added"} and row.status in {"pending", "scheduled"},
    ),
    "a status code": (lambda _: {"status_code": ["503"]}, lambda _, row: row.answer[0] == 503),
    "a class of status codes": (lambda _: {"status_code": ["4xx", "503"]}, lambda _, row: row.answer[0] is not None),
    "an error": (lambda _: {"error_kind": ["timeout"]}, lambda _, row: row.answer[1] == "timeout"),
    "an error and a status": (
        lambda _: {"error_kind": ["timeout", "http_4xx"], "status": [state("cancelled")]},
        lambda _, row: row.answer[1] in {"timeout", "http_4xx"} and row.status == "cancelled",
    ),
    "attempts": (lambda _: {"min_attempts": 2}, lambda _, row: row.attempts >= 2),
    "attempts of failed and unfinished ones": (
        lambda _: {"min_attempts": 3, "status": [state("failed"), state("in_flight")]},
        lambda _, row: row.attempts >= 3 and row.status in {"failed", "in_flight"},
    ),
    "a hold": (
        lambda _: {"held_by": ["paused"]},
        lambda rows, row: row.status == "pending" and row.subscription_id == rows.paused,
    ),
    "a hold of its turn": (
        lambda _: {"held_by": ["rate_limit"]},
        lambda rows, row: row.status == "pending" and row.subscription_id == rows.subscriptions[1],
    ),
    "two holds": (
        lambda _: {"held_by": ["rate_limit", "paused", "recovering"]},
        lambda rows, row: row.status == "pending" and row.subscription_id in rows.subscriptions[1:],
    ),
    "a tag": (lambda _: {"tag": ["order=1"]}, lambda _, row: "order=1" in row.tags),
    "two tags": (
        lambda _: {"tag": ["order=2", "customer=acme"]},
        lambda _, row: not {"order=2", "customer=acme"}.isdisjoint(row.tags),
    ),
    "a tag that none has": (lambda _: {"tag": ["order=3"]}, lambda _rows, _row: False),
    "a tag of what was delivered": (
        lambda _: {"tag": ["order=1"], "status": [state("delivered")]},
        lambda _, row: "order=1" in row.tags and row.status == "delivered",
    ),
    "a tag of failed and cancelled ones of a subscription": (
        lambda rows: {
            "tag": ["order=1", "order=2"],
            "status": [state("failed"), state("cancelled")],
            "subscription_id": [str(rows.subscriptions[0])],
        },
        lambda rows, row: (
            not {"order=1", "order=2"}.isdisjoint(row.tags)
            and row.status in {"failed", "cancelled"}
            and row.subscription_id == rows.subscriptions[0]
        ),
    ),
    "a tag of unfinished ones of a type": (
        lambda _: {
            "tag": ["customer=acme"],
            "status": [state("pending"), state("scheduled")],
            "event_type": ["order.*"],
        },
        lambda _, row: (
            "customer=acme" in row.tags
            and row.status in {"pending", "scheduled"}
            and row.event_type in {"order.created", "order.item.added"}
        ),
    ),
    "no hold": (lambda _: {"held_by": ["breaker_open"]}, lambda _rows, _row: False),
    "what cannot be": (
        lambda _: {"status": [state("delivered")], "error_kind": ["timeout"]},
        lambda _rows, _row: False,
    ),
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("ascending", [False, True], ids=["newest", "oldest"])
@pytest.mark.parametrize("page_size", [3, 200])
async def test_a_filter_finds_what_it_says_in_order_page_by_page_and_nothing_of_other_tenants(
    rows: Rows, name: str, page_size: int, *, ascending: bool
) -> None:
    wanted, matches = FILTERS[name]
    expected = sorted((row.id for row in rows.all if matches(rows, row)), reverse=not ascending)
    assert await searched(rows, page_size=page_size, ascending=ascending, **wanted(rows)) == expected


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("ascending", [False, True], ids=["newest", "oldest"])
async def test_a_page_that_may_read_few_rows_says_how_far_it_got_and_the_next_one_goes_on(
    rows: Rows, monkeypatch: pytest.MonkeyPatch, name: str, *, ascending: bool
) -> None:
    monkeypatch.setattr(walks, "WALK_ROWS", 8)
    monkeypatch.setattr(walks, "FIRST_ROWS", 2)
    wanted, matches = FILTERS[name]
    expected = sorted((row.id for row in rows.all if matches(rows, row)), reverse=not ascending)
    assert await searched(rows, page_size=2, ascending=ascending, **wanted(rows)) == expected


async def streamed(rows: Rows, **fields: Any) -> list[pb.StreamDeliveriesResponse]:
    """Return the messages of a stream."""
    return [each async for each in rows.shared.client.StreamDeliveries(pb.StreamDeliveriesRequest(**fields))]


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("ascending", [False, True], ids=["newest", "oldest"])
async def test_a_stream_has_all_that_a_filter_finds_in_order(
    rows: Rows, monkeypatch: pytest.MonkeyPatch, name: str, *, ascending: bool
) -> None:
    monkeypatch.setattr(paging, "MAX_PAGE_SIZE", 7)
    wanted, matches = FILTERS[name]
    expected = sorted((row.id for row in rows.all if matches(rows, row)), reverse=not ascending)
    answers = await streamed(rows, filter=pb.DeliveryFilter(**wanted(rows)), ascending=ascending)
    assert [UUID(found.id) for answer in answers for found in answer.deliveries] == expected
    assert [bool(answer.next_page_token) for answer in answers] == [*[True] * (len(answers) - 1), False]
    assert len(answers) >= len(expected) / 7


async def test_a_stream_goes_on_from_any_of_its_tokens_and_from_those_of_pages(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "MAX_PAGE_SIZE", 20)
    answers = await streamed(rows)
    assert len(answers) > 2
    found = [[each.id for each in answer.deliveries] for answer in answers]
    for number, answer in enumerate(answers[:-1]):
        rest = await streamed(rows, page_token=answer.next_page_token)
        assert [[each.id for each in one.deliveries] for one in rest] == found[number + 1 :]
        # Of the window that was chosen at its beginning.
        assert {one.from_time.ToJsonString() for one in rest} == {answers[0].from_time.ToJsonString()}
    page = await rows.shared.client.SearchDeliveries(pb.SearchDeliveriesRequest(page_size=5))
    rest = await streamed(rows, page_token=page.next_page_token)
    listed = [each.id for each in page.deliveries] + [each.id for one in rest for each in one.deliveries]
    assert listed == [name for names in found for name in names]


async def test_a_stream_that_finds_little_says_how_far_it_got(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walks, "WALK_ROWS", 8)
    monkeypatch.setattr(walks, "FIRST_ROWS", 2)
    monkeypatch.setattr(paging, "MAX_PAGE_SIZE", 1)
    answers = await streamed(rows, filter=pb.DeliveryFilter(event_type=["no.such"]))
    assert len(answers) > 2
    assert all(answer.HasField("scanned_to") for answer in answers[:-1])
    assert not answers[-1].HasField("scanned_to")
    assert not any(answer.deliveries for answer in answers)


async def test_a_stream_of_what_is_wrong_or_of_another_tenant_has_no_message(rows: Rows) -> None:
    for wanted, refused in (
        (pb.DeliveryFilter(status_code=["600"]), errors.InvalidArgument),
        (pb.DeliveryFilter(subscription_id=[str(rows.other.subscription_id)]), errors.NotFound),
    ):
        assert isinstance(await refusal(streamed(rows, filter=wanted)), refused)
    found = await streamed(rows, tenant_id="other")
    assert [UUID(each.id) for one in found for each in one.deliveries] == [rows.other.id]


@pytest.mark.parametrize("page_size", [1, 40])
@pytest.mark.parametrize(
    "name", ["no such type", "no such type of subscriptions", "no such code of subscriptions", "no such reason"]
)
async def test_a_page_reads_so_many_rows_of_all_subscriptions_together(
    rows: Rows, monkeypatch: pytest.MonkeyPatch, name: str, page_size: int
) -> None:
    """However many subscriptions and states are wanted; and the next pages get to the end."""
    monkeypatch.setattr(walks, "WALK_ROWS", 30)
    monkeypatch.setattr(walks, "FIRST_ROWS", 12)
    read = count_rows(monkeypatch)
    asked = {"subscription_id": [str(owner) for owner in rows.subscriptions]}
    every: dict[str, dict[str, Any]] = {
        "no such type": {"event_type": ["none"]},
        "no such type of subscriptions": {"event_type": ["none"], **asked},
        "no such code of subscriptions": {
            "status": [state("failed"), state("cancelled")],
            "status_code": ["418"],
            **asked,
        },
        "no such reason": {"reason": ["worker_lost"]},
    }
    request = pb.SearchDeliveriesRequest(filter=pb.DeliveryFilter(**every[name]), page_size=page_size)
    pages = 0
    while True:
        answer = await rows.shared.client.SearchDeliveries(request)
        assert list(answer.deliveries) == []
        assert sum(read) <= max(30, page_size + 1)
        read.clear()
        pages += 1
        request.page_token = answer.next_page_token
        if not answer.next_page_token:
            break
    assert pages <= len(rows.all)


async def test_a_search_that_stops_early_says_so(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walks, "WALK_ROWS", 8)
    monkeypatch.setattr(walks, "FIRST_ROWS", 2)
    request = pb.SearchDeliveriesRequest(filter=pb.DeliveryFilter(event_type=["no.such"]), page_size=1)
    answer = await rows.shared.client.SearchDeliveries(request)
    assert answer.next_page_token
    assert list(answer.deliveries) == []
    created = sorted(row.id for row in rows.all)
    # A page that goes backward ends where the millisecond of what it read last ends, which may be that of the newest.
    end = ids.moment_of(created[-1]) + timedelta(milliseconds=1)
    assert ids.moment_of(created[0]) < answer.scanned_to.ToDatetime(UTC) <= end


async def test_the_cursor_of_a_search_that_stops_early_names_no_delivery(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walks, "WALK_ROWS", 8)
    monkeypatch.setattr(walks, "FIRST_ROWS", 2)
    # Past the deliveries of all tenants.
    monkeypatch.setattr(search, "WALKERS_LIMIT", 0)
    known = {row.id for row in (*rows.all, rows.other)}
    for ascending in (False, True):
        request = pb.SearchDeliveriesRequest(
            filter=pb.DeliveryFilter(event_type=["no.such"]), page_size=1, ascending=ascending
        )
        pages = 0
        while (answer := await rows.shared.client.SearchDeliveries(request)).next_page_token:
            assert paging.span(answer.next_page_token)[0] not in known
            request.page_token = answer.next_page_token
            pages += 1
        assert pages > 1


async def test_a_cursor_goes_on_where_it_was_while_deliveries_arrive(rows: Rows) -> None:
    world = rows.shared.world
    owner = await world.subscription("http://127.0.0.1:1/")
    first = sorted(await world.deliver_many(owner, 4, due_in=LATER))
    asked = pb.DeliveryFilter(subscription_id=[str(owner)])
    answers = {
        ascending: await rows.shared.client.SearchDeliveries(
            pb.SearchDeliveriesRequest(filter=asked, page_size=2, ascending=ascending)
        )
        for ascending in (False, True)
    }
    later = sorted(await world.deliver_many(owner, 2, due_in=LATER))
    for ascending, expected in ((False, first[1::-1]), (True, [*first[2:], *later])):
        found = await rows.shared.client.SearchDeliveries(
            pb.SearchDeliveriesRequest(filter=asked, ascending=ascending, page_token=answers[ascending].next_page_token)
        )
        assert [UUID(delivery.id) for delivery in found.deliveries] == expected
    await world.pool.execute("DELETE FROM delivery_queue WHERE subscription_id = $1", owner)
    await world.pool.execute("DELETE FROM webhook_deliveries WHERE subscription_id = $1", owner)


async def test_the_time_of_acceptance_includes_its_beginning_and_not_its_end(rows: Rows) -> None:
    moments = sorted({ids.moment_of(row.id) for row in rows.all})
    since, until = moments[len(moments) // 3], moments[len(moments) // 2]
    expected = sorted((row.id for row in rows.all if since <= ids.moment_of(row.id) < until), reverse=True)
    assert expected
    assert await searched(rows, from_time=since, to_time=until) == expected
    assert await searched(rows, from_time=since, to_time=until, status=[state(name) for name in STATES[:5]]) == [
        name for name in expected if next(row for row in rows.all if row.id == name).status != "cancelled"
    ]


async def test_a_search_goes_back_a_day_unless_it_names_a_subscription_or_a_time(rows: Rows) -> None:
    world, owner = rows.shared.world, rows.subscriptions[0]
    await world.pool.execute("SELECT create_partitions((now() - interval '3 days')::date, now()::date)")
    event_id = ids.shifted(ids.new(), -26 * 3600)
    old = ids.of_delivery(event_id, owner)
    await deliveries.insert(world.pool, [(old, event_id)], subscription_id=owner, status="failed")
    now = datetime.now(UTC)
    assert old not in await searched(rows, status=[state("failed")])
    assert old in await searched(rows, status=[state("failed")], subscription_id=[str(owner)])
    assert old in await searched(rows, status=[state("failed")], from_time=now - timedelta(hours=30))
    assert old in await searched(rows, status=[state("failed")], to_time=now - timedelta(hours=25))
    assert not await searched(rows, to_time=datetime(1, 1, 1, tzinfo=UTC))
    answer = await rows.shared.client.SearchDeliveries(pb.SearchDeliveriesRequest(page_size=1))
    assert abs(answer.from_time.ToDatetime(UTC) - (now - timedelta(hours=24))) < timedelta(minutes=5)
    again = await rows.shared.client.SearchDeliveries(
        pb.SearchDeliveriesRequest(page_size=1, page_token=answer.next_page_token)
    )
    assert again.from_time == answer.from_time
    asked = pb.DeliveryFilter(subscription_id=[str(owner)])
    answer = await rows.shared.client.SearchDeliveries(pb.SearchDeliveriesRequest(filter=asked))
    assert not answer.HasField("from_time")
    await world.pool.execute("DELETE FROM unsuccessful_deliveries WHERE id = $1", old)
    await world.pool.execute("DELETE FROM webhook_deliveries WHERE id = $1", old)


@pytest.mark.parametrize("ascending", [False, True], ids=["newest", "oldest"])
@pytest.mark.parametrize("page_size", [1, 3, 200])
async def test_tagged_events_of_one_moment_and_those_without_deliveries_are_passed_in_order(
    rows: Rows, monkeypatch: pytest.MonkeyPatch, page_size: int, *, ascending: bool
) -> None:
    """Their deliveries have ids in the same range, in another order than their own."""
    monkeypatch.setattr(walks, "WALK_ROWS", 12)
    monkeypatch.setattr(walks, "FIRST_ROWS", 2)
    pool = rows.shared.world.pool
    begin = ids.least_at(datetime.now(UTC)).int | (7 << 76) | (2 << 62)
    # Three ranges of twelve events: of each three, one has no delivery, and one has no tag.
    events = [UUID(int=begin + (each % 3 << 64) + each) for each in range(36)]
    pairs = [
        (ids.of_delivery(name, owner), name) for name in events[::3] + events[1::3] for owner in rows.subscriptions
    ]
    for owner in rows.subscriptions:
        own = [pair for pair in pairs if pair[0] == ids.of_delivery(pair[1], owner)]
        await deliveries.insert(pool, own, subscription_id=owner, status="failed")
    tagged = events[::3] + events[2::3]
    await pool.execute(
        "INSERT INTO event_tags (event_id, tenant_id, tag) SELECT unnest($1::uuid[]), 'default', 'moment=1'", tagged
    )
    expected = sorted((name for name, event_id in pairs if event_id in tagged), reverse=not ascending)
    assert len(expected) == 36
    for status in ([], [state("failed")], [state("failed"), state("pending")]):
        assert (
            await searched(rows, page_size=page_size, ascending=ascending, tag=["moment=1"], status=status) == expected
        )
    for table in ("unsuccessful_deliveries", "webhook_deliveries"):
        await pool.execute(f"DELETE FROM {table} WHERE id = ANY($1::uuid[])", expected)
        await pool.execute(f"DELETE FROM {table} WHERE id = ANY($1::uuid[])", [name for name, _ in pairs])


async def test_a_tag_is_found_whenever_its_event_was_accepted(rows: Rows) -> None:
    world, owner = rows.shared.world, rows.subscriptions[0]
    await world.pool.execute("SELECT create_partitions((now() - interval '3 days')::date, now()::date)")
    event_id = ids.shifted(ids.new(), -26 * 3600)
    old = ids.of_delivery(event_id, owner)
    await deliveries.insert(world.pool, [(old, event_id)], subscription_id=owner, status="failed")
    await world.pool.execute(
        "INSERT INTO event_tags (event_id, tenant_id, tag) VALUES ($1, 'default', 'age=old')", event_id
    )
    assert await searched(rows, tag=["age=old"]) == [old]
    assert await searched(rows, tag=["age=old"], from_time=datetime.now(UTC) - timedelta(hours=24)) == []
    await world.pool.execute("DELETE FROM unsuccessful_deliveries WHERE id = $1", old)
    await world.pool.execute("DELETE FROM webhook_deliveries WHERE id = $1", old)


async def test_a_subscription_of_another_tenant_is_not_found(rows: Rows) -> None:
    for owner in (rows.other.subscription_id, ids.new()):
        asked = pb.DeliveryFilter(subscription_id=[str(rows.subscriptions[0]), str(owner)])
        call = rows.shared.client.SearchDeliveries(pb.SearchDeliveriesRequest(filter=asked))
        assert isinstance(await refusal(call), errors.NotFound)


async def test_each_tenant_finds_its_own(rows: Rows) -> None:
    answer = await rows.shared.client.SearchDeliveries(pb.SearchDeliveriesRequest(tenant_id="other"))
    assert [UUID(delivery.id) for delivery in answer.deliveries] == [rows.other.id]


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"subscription_id": ["x"]}, "subscription_id"),
        ({"status": [99]}, "status"),
        ({"status": [0]}, "status"),
        ({"reason": ["tired"]}, "reason"),
        ({"event_type": ["*"]}, "event_type.0"),
        ({"event_type": ["ok", "no way"]}, "event_type.1"),
        ({"status_code": ["50"]}, "status_code"),
        ({"status_code": ["600"]}, "status_code"),
        ({"status_code": ["xx"]}, "status_code"),
        ({"status_code": ["5XX"]}, "status_code"),
        ({"error_kind": ["success"]}, "error_kind"),
        ({"held_by": ["subscription_deleted"]}, "held_by"),
        ({"min_attempts": -1}, "min_attempts"),
        ({"tag": ["order"]}, "tag"),
        ({"tag": ["order="]}, "tag"),
        ({"tag": ["=42"]}, "tag"),
        ({"tag": ["order=42"] * 51}, "tag"),
        ({"error_kind": ["timeout"] * 51}, "error_kind"),
        ({"from_time": datetime(2026, 1, 2, tzinfo=UTC), "to_time": datetime(2026, 1, 2, tzinfo=UTC)}, "to_time"),
    ],
)
async def test_a_wrong_field_of_a_filter_is_named(rows: Rows, wanted: dict[str, Any], field: str) -> None:
    call = rows.shared.client.SearchDeliveries(pb.SearchDeliveriesRequest(filter=pb.DeliveryFilter(**wanted)))
    found = await refusal(call)
    assert isinstance(found, errors.InvalidArgument)
    assert found.violations[0].field == field


@pytest.mark.parametrize(
    "fields",
    [
        {"page_size": 201},
        {"page_token": "AAAA"},
        {"page_token": "\u00e9"},
        # Of ids that no delivery can have.
        {"page_token": paging.span_token(ids.new(), UUID(int=2**128 - 1))},
        {"page_token": paging.span_token(UUID(int=2**128 - 1), ids.new())},
    ],
)
async def test_a_wrong_page_is_named(rows: Rows, fields: dict[str, Any]) -> None:
    found = await refusal(rows.shared.client.SearchDeliveries(pb.SearchDeliveriesRequest(**fields)))
    assert isinstance(found, errors.InvalidArgument)
    assert found.violations[0].field in fields


async def test_what_a_delivery_ends_with_is_what_its_filters_find(rows: Rows) -> None:
    """A retry by hand takes the last attempt back to the queue, and the end takes it out again."""
    world = rows.shared.world
    owner = await world.subscription("http://127.0.0.1:1/")
    await world.pool.execute("UPDATE subscriptions SET status = 'paused' WHERE id = $1", owner)
    delivery_id = await world.deliver(owner, status="failed")
    await world.pool.execute(
        "UPDATE unsuccessful_deliveries SET last_status_code = 418, last_error_kind = 'http_4xx' WHERE id = $1",
        delivery_id,
    )
    for step in (
        lambda: rows.shared.client.RetryDelivery(pb.RetryDeliveryRequest(delivery_id=str(delivery_id))),
        lambda: rows.shared.client.CancelDelivery(pb.CancelDeliveryRequest(delivery_id=str(delivery_id))),
    ):
        assert await searched(rows, status_code=["418"]) == [delivery_id]
        await step()
    assert await searched(rows, status_code=["418"], status=[state("cancelled")]) == [delivery_id]
    await world.pool.execute("DELETE FROM unsuccessful_deliveries WHERE id = $1", delivery_id)
    await world.pool.execute("DELETE FROM webhook_deliveries WHERE id = $1", delivery_id)


async def test_a_search_of_few_of_a_tenant_with_many_subscriptions_finds_them(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a walk for each subscription."""
    monkeypatch.setattr(search, "OWNERS_LIMIT", 1)
    expected = sorted((row.id for row in rows.all if row.status in {"pending", "delivered"}), reverse=True)
    assert await searched(rows, page_size=7, status=[state("pending"), state("delivered")]) == expected


async def find_all(connection: Connection, wanted: Filter, limit: int) -> list[UUID]:
    """Return everything that is wanted, as one that works through it does."""
    found, span = list[UUID](), Span.of(wanted, ascending=True)
    while True:
        part = await search.find(connection, "default", wanted, span, limit)
        found += part.ids
        if part.reached is None:
            return found
        span = span.beyond(part.reached)


async def test_a_filter_can_be_worked_through_in_the_order_of_acceptance(rows: Rows) -> None:
    async with rows.shared.world.pool.acquire() as connection, connection.transaction():
        found = await find_all(connection, Filter(statuses=frozenset({DeliveryStatus.FAILED})), 4)
    assert found == sorted(row.id for row in rows.all if row.status == "failed")


async def test_the_deliveries_of_events_are_found_by_the_senders_key_and_the_providers_id(rows: Rows) -> None:
    world = rows.shared.world
    chosen = [rows.all[number] for number in (0, 7, 14, 21, 34)]
    for number, row in enumerate(chosen):
        route = "events" if number < 2 else f"ingest/{row.subscription_id}"
        event_id = await world.pool.fetchval("SELECT event_id FROM webhook_deliveries WHERE id = $1", row.id)
        for key, suffix in ((f"order-{number}", ""), (f"evt_{number}", "/provider")):
            await world.pool.execute(
                "INSERT INTO idempotency_keys (tenant_id, route, key, object_id, expires_at, request_hash, response)"
                " VALUES ('default', $1, $2, $3, now() + interval '1 hour', '', '')",
                route + suffix, key, event_id,
            )  # fmt: skip
    try:
        newest_first = sorted((row.id for row in chosen[1:4]), reverse=True)
        keys = ["order-1", "order-2", "order-3", "none"]
        for page_size in (1, 200):
            assert await searched(rows, page_size=page_size, idempotency_key=keys) == newest_first
        assert await searched(rows, provider_id=["evt_2"], idempotency_key=keys) == [chosen[2].id]
        assert await searched(rows, provider_id=["evt_4"], idempotency_key=keys) == []
        assert await searched(rows, provider_id=["order-2"]) == []
        for row in chosen:
            found = await searched(rows, idempotency_key=[f"order-{chosen.index(row)}"], status=[state(row.status)])
            assert found == [row.id]
            others = [state(name) for name in STATES if name != row.status]
            assert await searched(rows, provider_id=[f"evt_{chosen.index(row)}"], status=others) == []
        await world.pool.execute("UPDATE idempotency_keys SET expires_at = now()")
        assert await searched(rows, idempotency_key=keys) == []
    finally:
        await world.pool.execute("DELETE FROM idempotency_keys")


async def test_events_that_have_a_key_are_not_compared_with_each_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    class Compared(UUID):
        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return super().__eq__(other)

        __hash__ = UUID.__hash__

    keyed = [Compared(int=ids.new().int) for _ in range(200)]

    async def keyed_events(*_: object, **__: object) -> list[UUID]:
        return list(keyed)

    monkeypatch.setattr(lookups, "keyed_events", keyed_events)
    named = [UUID(int=keyed[0].int), *(ids.new() for _ in range(200))]
    wanted = Filter(idempotency_keys=["order-1"], event_ids=named)
    assert await search.named_events(cast("Connection", None), "acme", wanted) == keyed[:1]
    assert compared < len(keyed)


@pytest.mark.parametrize("status", STATES)
async def test_a_key_finds_no_delivery_of_another_event_of_the_same_millisecond(
    world: World, status: DeliveryStatus
) -> None:
    subscription = await world.subscription("http://127.0.0.1:1/")
    event_id = ids.new()
    other = UUID(int=event_id.int + 1)
    assert ids.delivery_range(event_id) == ids.delivery_range(other)
    made = [(ids.of_delivery(name, subscription), name) for name in (event_id, other)]
    await deliveries.insert(world.pool, made, subscription_id=subscription, status=status, due_in=LATER)
    await world.pool.execute(
        "INSERT INTO idempotency_keys (tenant_id, route, key, object_id, expires_at, request_hash, response)"
        " VALUES ('default', 'events', $1, $2, now() + interval '1 hour', '', '')",
        str(event_id), event_id,
    )  # fmt: skip
    async with world.delivery() as client:
        for statuses in ([], [state(status)]):
            wanted = pb.DeliveryFilter(idempotency_key=[str(event_id)], status=statuses)
            answer = await client.SearchDeliveries(pb.SearchDeliveriesRequest(filter=wanted, page_size=10))
            assert [delivery.id for delivery in answer.deliveries] == [str(made[0][0])]


def _hold(rows: Rows, row: Row) -> str:
    if row.status != "pending" or row.subscription_id == rows.subscriptions[0]:
        return ""
    return "paused" if row.subscription_id == rows.paused else "rate_limit"


GROUPS: Mapping[str, Callable[[Rows, Row], str]] = {
    "SUBSCRIPTION": lambda _, row: str(row.subscription_id),
    "EVENT_TYPE": lambda _, row: row.event_type or "",
    "STATUS": lambda _, row: row.status,
    "ERROR_KIND": lambda _, row: row.answer[1] or "",
    "HOUR": lambda _, row: ids.moment_of(row.id).strftime("%Y-%m-%dT%H:00:00Z"),
    "HELD_BY": _hold,
}


@pytest.mark.parametrize("counted", [7, 10_000], ids=["in parts", "at once"])
@pytest.mark.parametrize("name", GROUPS)
async def test_what_is_wanted_is_counted_in_groups(
    rows: Rows, monkeypatch: pytest.MonkeyPatch, name: str, counted: int
) -> None:
    monkeypatch.setattr(store, "COUNTED", counted)
    monkeypatch.setattr(store, "COUNTED_AT_ONCE", 5)
    for wanted, matches in (FILTERS["nothing"], FILTERS["statuses of two places"], FILTERS["no hold"]):
        expected = Counter(GROUPS[name](rows, row) for row in rows.all if matches(rows, row))
        found, token = Counter[str](), ""
        while True:
            answer = await rows.shared.client.SummarizeDeliveries(
                pb.SummarizeDeliveriesRequest(
                    filter=pb.DeliveryFilter(**wanted(rows)),
                    group_by=pb.DeliveryGroup.Value(f"DELIVERY_GROUP_{name}"),
                    page_token=token,
                )
            )
            numbers = [group.deliveries for group in answer.groups]
            assert numbers == sorted(numbers, reverse=True)
            found.update({group.value: group.deliveries for group in answer.groups})
            token = answer.next_page_token
            assert answer.HasField("scanned_to") == bool(token)
            if not token:
                break
        assert found == expected


async def test_no_statement_of_a_count_reads_much(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """A count reads as many deliveries as it counts, but not all at once."""
    monkeypatch.setattr(walks, "WALK_ROWS", 24)
    monkeypatch.setattr(walks, "FIRST_ROWS", 2)
    monkeypatch.setattr(store, "COUNTED_AT_ONCE", 9)
    read = count_rows(monkeypatch)
    answer = await rows.shared.client.SummarizeDeliveries(
        pb.SummarizeDeliveriesRequest(
            filter=pb.DeliveryFilter(), group_by=pb.DeliveryGroup.Value("DELIVERY_GROUP_STATUS")
        )
    )
    assert {group.value: group.deliveries for group in answer.groups} == Counter(row.status for row in rows.all)
    assert max(read) <= 24
    assert len(read) > 1


async def test_a_summary_needs_a_group(rows: Rows) -> None:
    error = await refusal(rows.shared.client.SummarizeDeliveries(pb.SummarizeDeliveriesRequest()))
    assert isinstance(error, errors.InvalidArgument)
    assert error.violations[0].field == "group_by"
