"""Subscriptions: created, read, changed, listed, deleted."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from dev.harness import deliveries
from protos.webhook.v1 import subscriptions_pb2
from services.ingest.subscriptions.store import CANCEL_CHUNK
from services.platform import errors, ids
from tests.ingest.conftest import URL, Ingest, fields, refused

UNKNOWN = "01890a5d-ac96-774b-bcce-b302099a8057"


async def test_a_subscription_is_returned_as_requested(ingest: Ingest) -> None:
    made = await ingest.create(
        event_types=["order.*", "user.created"], description="two\nlines ☃", secret_key="secret-s"
    )
    assert UUID(made.id).version == 7
    assert (
        made.tenant_id,
        made.spec.target_url,
        list(made.spec.event_types),
        made.spec.description,
        made.status.has_secret,
    ) == (
        ingest.tenant_id,
        URL,
        ["order.*", "user.created"],
        "two\nlines ☃",
        True,
    )
    assert made.status.created_at == made.status.updated_at
    assert abs(datetime.now(UTC) - made.status.created_at.ToDatetime(UTC)) < timedelta(seconds=60)
    assert await ingest.get(made.id) == made


async def test_an_update_replaces_every_field_and_moves_updated_at(ingest: Ingest) -> None:
    made = await ingest.create(event_types=["a"], description="before")
    changed = await ingest.update(made.id, "http://example.org/", all_event_types=True)
    assert (changed.spec.target_url, list(changed.spec.event_types), changed.spec.description) == (
        "http://example.org/",
        [],
        "",
    )
    assert (changed.id, changed.status.created_at) == (made.id, made.status.created_at)
    assert changed.status.updated_at.ToDatetime() > made.status.updated_at.ToDatetime()
    assert await ingest.get(made.id) == changed


async def test_an_update_with_a_wrong_field_changes_nothing(ingest: Ingest) -> None:
    made = await ingest.create(description="before")
    assert fields(await refused(ingest.update(made.id, "ftp://x", event_types=["bad type"]))) == [
        "target_url",
        "event_types.0",
    ]
    assert await ingest.get(made.id) == made


async def test_a_wrong_subscription_names_every_field_and_stores_nothing(ingest: Ingest) -> None:
    error = await refused(ingest.create("x", event_types=["*"], description="\x00", secret_key="whsec_"))
    assert isinstance(error, errors.InvalidArgument)
    assert fields(error) == ["target_url", "event_types.0", "description", "secret_key"]
    assert await ingest.count("subscriptions") == 0


@pytest.mark.parametrize("subscription_id", ["", "x", "\x00", UNKNOWN[:-1], UNKNOWN.replace("-", "")])
async def test_a_malformed_id_is_refused_by_every_call(ingest: Ingest, subscription_id: str) -> None:
    for call in (ingest.get(subscription_id), ingest.update(subscription_id), ingest.delete(subscription_id)):
        error = await refused(call)
        assert isinstance(error, errors.InvalidArgument)
        assert fields(error) == ["subscription_id"]


async def test_an_unknown_subscription_is_not_found_by_any_call(ingest: Ingest) -> None:
    for call in (ingest.get(UNKNOWN), ingest.update(UNKNOWN), ingest.delete(UNKNOWN)):
        assert isinstance(await refused(call), errors.NotFound)


async def test_subscription_of_another_tenant_is_not_found_by_any_call(ingest: Ingest) -> None:
    made = await ingest.create(secret_key="secret-s")
    other = await ingest.of("another")
    for call in (other.get(made.id), other.update(made.id), other.delete(made.id), other.send(made.id)):
        assert isinstance(await refused(call), errors.NotFound)
    assert await ingest.get(made.id) == made


async def test_a_tenant_that_does_not_exist_gets_no_subscription(ingest: Ingest) -> None:
    ghost = Ingest(ingest.channel, ingest.pool, tenant_id="ghost")
    for call in (ghost.create(), ghost.create(idempotency_key="k")):
        assert fields(await refused(call)) == ["tenant_id"]


@pytest.mark.parametrize("tenant_id", ["Upper", "a b", "\x00", "é", "x" * 64])
async def test_a_malformed_tenant_is_refused_by_every_call(ingest: Ingest, tenant_id: str) -> None:
    made = await ingest.create()
    other = Ingest(ingest.channel, ingest.pool, tenant_id=tenant_id)
    calls = [other.create(), other.get(made.id), other.update(made.id), other.delete(made.id), other.page()]
    for call in (*calls, other.send(made.id), other.event(made.id)):
        assert fields(await refused(call)) == ["tenant_id"]


# -- lists --


async def test_pages_go_from_the_newest_to_the_oldest_and_end(ingest: Ingest) -> None:
    made = [await ingest.create(description=str(number)) for number in range(7)]
    found: list[subscriptions_pb2.Subscription] = []
    token = ""
    for expected in (3, 3, 1):
        page = await ingest.page(3, token)
        assert len(page.subscriptions) == expected
        found += page.subscriptions
        token = page.next_page_token
    assert token == ""
    assert found == made[::-1]


async def test_a_full_last_page_is_followed_by_none(ingest: Ingest) -> None:
    for _ in range(4):
        await ingest.create()
    first = await ingest.page(2)
    assert (await ingest.page(2, first.next_page_token)).next_page_token == ""


async def test_a_subscription_made_between_two_pages_disturbs_neither(ingest: Ingest) -> None:
    made = [await ingest.create() for _ in range(4)]
    first = await ingest.page(2)
    await ingest.create()
    second = await ingest.page(2, first.next_page_token)
    assert [one.id for one in (*first.subscriptions, *second.subscriptions)] == [one.id for one in made[::-1]]


async def test_the_list_of_a_tenant_without_subscriptions_is_empty(ingest: Ingest) -> None:
    page = await ingest.page()
    assert (list(page.subscriptions), page.next_page_token) == ([], "")


async def test_a_list_holds_the_tenants_own_alone(ingest: Ingest) -> None:
    made = await ingest.create()
    other = await ingest.of("another")
    theirs = await other.create()
    assert [one.id for one in (await ingest.page()).subscriptions] == [made.id]
    assert made.id not in {one.id for one in (await other.page(200)).subscriptions}
    # A token is only a position, and gives no access to another tenant's list.
    token = (await other.page(1)).next_page_token
    assert theirs.id not in {one.id for one in (await ingest.page(200, token)).subscriptions}


@pytest.mark.parametrize(
    ("page_size", "page_token", "field"),
    [(201, "", "page_size"), (-1, "", "page_size"), (0, "x", "page_token"), (0, "\x00", "page_token")],
)
async def test_a_wrong_page_is_refused_by_its_field(
    ingest: Ingest, page_size: int, page_token: str, field: str
) -> None:
    assert fields(await refused(ingest.page(page_size, page_token))) == [field]


# -- deletion --


async def test_a_deleted_subscription_is_gone_from_every_call(ingest: Ingest) -> None:
    made = await ingest.create(secret_key="secret-s")
    assert await ingest.delete(made.id) == 0
    for call in (ingest.get(made.id), ingest.update(made.id), ingest.delete(made.id), ingest.send(made.id)):
        assert isinstance(await refused(call), errors.NotFound)
    assert list((await ingest.page()).subscriptions) == []


async def test_deletion_cancels_waiting_deliveries_and_leaves_those_in_flight_or_ended(ingest: Ingest) -> None:
    made, neighbour = await ingest.create(), await ingest.create()
    states = ["pending", "scheduled", "in_flight", "delivered", "failed", "cancelled"]
    events = {state: (await ingest.send(made.id)).event_id for state in states}
    kept = await ingest.send(neighbour.id)
    for state, event_id in events.items():
        await deliveries.put(ingest.pool, (await ingest.deliveries(event_id))[0]["id"], status=state)
    assert await ingest.delete(made.id) == 2
    after = {state: (await ingest.deliveries(event_id))[0] for state, event_id in events.items()}
    assert {state: row["status"] for state, row in after.items()} == {
        state: "cancelled" if state in {"pending", "scheduled"} else state for state in states
    }
    assert after["pending"]["reason"] == after["scheduled"]["reason"] == "subscription_deleted"
    assert after["pending"]["completed_at"] is not None
    assert (await ingest.deliveries(kept.event_id))[0]["status"] == "pending"
    # Its history can still be read.
    assert (await ingest.event(events["delivered"])).payload == b"{}"


async def test_deletion_cancels_more_than_a_chunk(ingest: Ingest) -> None:
    made = await ingest.create()
    number = CANCEL_CHUNK + 500
    pairs = [(made_id, made_id) for made_id in (ids.new() for _ in range(number))]
    await deliveries.insert(
        ingest.pool, pairs, subscription_id=UUID(made.id), tenant_id=ingest.tenant_id, due_in=3600.0
    )
    assert await ingest.delete(made.id) == number
    assert (
        await ingest.pool.fetchval(
            "SELECT count(*) FROM webhook_deliveries WHERE subscription_id = $1 AND status = 'cancelled'", UUID(made.id)
        )
        == number
    )


async def test_a_locked_delivery_does_not_delay_the_deletion(ingest: Ingest) -> None:
    made = await ingest.create()
    held, waiting = await ingest.send(made.id), await ingest.send(made.id)
    async with ingest.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM delivery_queue WHERE delivery_id = $1 FOR UPDATE", UUID(held.delivery_id))
        assert await ingest.delete(made.id) == 1
    assert (await ingest.deliveries(waiting.event_id))[0]["status"] == "cancelled"
