"""ListEventRoutes: why each subscription got an event, or did not."""

from typing import Any
from uuid import UUID

import pytest

from protos.webhook.v1 import ingest_pb2, subscriptions_pb2
from services.ingest.events.routing import RouteReason, RoutingStore
from services.platform import errors, ids, paging
from tests.ingest.conftest import CALL_SECONDS, URL, Ingest, fields, refused

DISABLE = subscriptions_pb2.SUBSCRIPTION_ACTION_DISABLE
ENABLE = subscriptions_pb2.SUBSCRIPTION_ACTION_ENABLE


async def ask(ingest: Ingest, event_id: str, **request: Any) -> ingest_pb2.ListEventRoutesResponse:
    asked = ingest_pb2.ListEventRoutesRequest(tenant_id=ingest.tenant_id, event_id=event_id, **request)
    return await ingest.events.ListEventRoutes(asked, timeout=CALL_SECONDS)


async def routes(ingest: Ingest, event_id: str, **request: Any) -> dict[str, ingest_pb2.EventRoute]:
    """Return the routes by subscription."""
    return {route.subscription_id: route for route in (await ask(ingest, event_id, **request)).routes}


async def reason(ingest: Ingest, event_id: str, subscription_id: str) -> tuple[bool, str]:
    route = (await routes(ingest, event_id))[subscription_id]
    assert route.routed is bool(route.delivery_id)
    assert route.explanation.endswith(".")
    return route.routed, route.reason


async def test_subscriptions_to_the_type_got_the_event_and_the_others_did_not(ingest: Ingest) -> None:
    exact = await ingest.create(event_types=["order.created"])
    prefix = await ingest.create(event_types=["invoice.paid", "order.*"])
    everything = await ingest.create()
    neither = await ingest.create(event_types=["invoice.*"])
    sent = await ingest.send(event_type="order.created")
    deliveries = {str(row["subscription_id"]): str(row["id"]) for row in await ingest.deliveries(sent.event_id)}
    found = await routes(ingest, sent.event_id)
    assert {name: route.delivery_id for name, route in found.items()} == {**deliveries, neither.id: ""}
    assert {name: route.reason for name, route in found.items()} == {
        exact.id: "matched",
        prefix.id: "matched",
        everything.id: "matched",
        neither.id: "event_type",
    }
    assert found[exact.id].explanation == "Its event_types include 'order.created'."
    assert found[prefix.id].explanation == "Its event_types include 'order.*', which covers 'order.created'."
    assert found[everything.id].explanation == "The subscription gets events of all types."
    assert found[neither.id].explanation == "Its event_types do not include 'order.created'."


async def test_an_event_for_one_subscription_says_so_of_the_others(ingest: Ingest) -> None:
    target, other = await ingest.create(), await ingest.create()
    sent = await ingest.send(target.id, event_type="a")
    assert await reason(ingest, sent.event_id, target.id) == (True, "matched")
    assert await reason(ingest, sent.event_id, other.id) == (False, "addressed")
    # Whatever became of the others since.
    await ingest.update(other.id, URL, event_types=["b"], all_event_types=True)
    assert await reason(ingest, sent.event_id, other.id) == (False, "addressed")
    assert await reason(ingest, sent.event_id, (await ingest.create()).id) == (False, "addressed")


async def test_an_event_whose_type_could_not_be_read_is_not_said_to_be_for_another(ingest: Ingest) -> None:
    target = await ingest.create(event_types=["a"])
    sent = await ingest.send(target.id)
    await ingest.pool.execute("DELETE FROM webhook_deliveries WHERE subscription_id = $1", UUID(target.id))
    assert await reason(ingest, sent.event_id, target.id) == (False, "event_type")


async def test_an_event_without_a_type_passes_every_filter(ingest: Ingest) -> None:
    target = await ingest.create(event_types=["order.*"])
    sent = await ingest.send(target.id)
    (route,) = (await ask(ingest, sent.event_id)).routes
    assert (route.reason, route.explanation) == ("matched", "The event has no type, and so passes every filter.")


async def test_a_subscription_that_was_created_later_says_so(ingest: Ingest) -> None:
    await ingest.create()
    sent = await ingest.send(event_type="a")
    late = await ingest.create()
    assert await reason(ingest, sent.event_id, late.id) == (False, "created_later")


async def test_a_system_subscription_gets_no_events_of_the_tenant(ingest: Ingest) -> None:
    system = await ingest.create(kind=subscriptions_pb2.SUBSCRIPTION_KIND_SYSTEM)
    sent = await ingest.send(event_type="a")
    assert await reason(ingest, sent.event_id, system.id) == (False, "system")


async def test_a_disabled_subscription_got_the_event_only_if_it_keeps_events(ingest: Ingest) -> None:
    keeps, drops = await ingest.create(), await ingest.create(keep_when_disabled=False)
    for made in (keeps, drops):
        await ingest.set_status(made.id, DISABLE)
    sent = await ingest.send(event_type="a")
    assert await reason(ingest, sent.event_id, keeps.id) == (True, "matched")
    assert await reason(ingest, sent.event_id, drops.id) == (False, "disabled")


async def test_a_change_after_the_event_leaves_open_what_was_before(ingest: Ingest) -> None:
    got, missed, enabled = (
        await ingest.create(event_types=["a"]),
        await ingest.create(event_types=["b"]),
        await ingest.create(keep_when_disabled=False),
    )
    await ingest.set_status(enabled.id, DISABLE)
    sent = await ingest.send(event_type="a")
    await ingest.update(got.id, URL, event_types=["b"], all_event_types=True)
    await ingest.update(missed.id, URL, event_types=["a"], all_event_types=True)
    await ingest.set_status(enabled.id, ENABLE)
    assert await reason(ingest, sent.event_id, got.id) == (True, "changed_since")
    assert await reason(ingest, sent.event_id, missed.id) == (False, "changed_since")
    found = await routes(ingest, sent.event_id)
    assert found[missed.id].explanation.endswith("With its settings of now it would get it.")
    assert found[enabled.id].reason == "changed_since"
    # What it got by settings that did not change for this event is still said.
    await ingest.update(got.id, URL, event_types=["a"], all_event_types=True)
    assert await reason(ingest, sent.event_id, got.id) == (True, "matched")


async def test_an_event_that_is_expanding_says_so(ingest: Ingest) -> None:
    target, other = await ingest.create(), await ingest.create()
    sent = await ingest.send(target.id, event_type="a")
    # As it is while the deliveries of a large fan-out are made: in a transaction, so that nobody makes them meanwhile.
    async with ingest.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("UPDATE webhook_events SET addressed_to = NULL WHERE id = $1", UUID(sent.event_id))
        await connection.execute(
            "INSERT INTO event_expansions (event_id, tenant_id, event_type, stored_at, targets)"
            " VALUES ($1, $2, 'a', now(), 2)",
            UUID(sent.event_id),
            ingest.tenant_id,
        )
        seen: Any = connection
        route = await RoutingStore(seen).route(ingest.tenant_id, UUID(sent.event_id), UUID(other.id))
        await transaction.rollback()
    assert (route.routed, route.reason) == (False, RouteReason.EXPANDING)


async def test_a_delivery_that_was_made_later_is_a_replay(ingest: Ingest) -> None:
    sent = await ingest.send(event_type="a")
    late = await ingest.create(event_types=["b"])
    await ingest.pool.execute(
        "INSERT INTO webhook_deliveries (id, event_id, subscription_id, tenant_id) VALUES ($1, $2, $3, $4)",
        ids.of_replay(UUID(sent.event_id), UUID(late.id), ids.new()),
        UUID(sent.event_id),
        UUID(late.id),
        ingest.tenant_id,
    )
    assert await reason(ingest, sent.event_id, late.id) == (True, "replayed")


async def test_a_deleted_subscription_is_found_by_its_id_alone(ingest: Ingest) -> None:
    got, missed = await ingest.create(), await ingest.create(event_types=["b"])
    sent = await ingest.send(event_type="a")
    for made in (got, missed):
        await ingest.delete(made.id)
    assert await routes(ingest, sent.event_id) == {}
    assert (await routes(ingest, sent.event_id, subscription_id=got.id))[got.id].reason == "matched"
    assert (await routes(ingest, sent.event_id, subscription_id=missed.id))[missed.id].reason == "changed_since"


async def test_routes_are_paged_newest_subscription_first(ingest: Ingest) -> None:
    made = [(await ingest.create()).id for _ in range(5)]
    sent = await ingest.send(event_type="a")
    listed, token = [], ""
    for _ in range(3):
        page = await ask(ingest, sent.event_id, page_size=2, page_token=token)
        listed += [route.subscription_id for route in page.routes]
        token = page.next_page_token
    assert (listed, token) == (sorted(made, reverse=True), "")


async def test_what_another_tenant_has_is_not_found(ingest: Ingest) -> None:
    other = await ingest.of(f"other-{ids.new()}")
    sent = await ingest.send(event_type="a")
    theirs = await other.create()
    assert await routes(ingest, sent.event_id) == {}
    for asker, request in ((other, {}), (ingest, {"subscription_id": theirs.id})):
        assert isinstance(await refused(ask(asker, sent.event_id, **request)), errors.NotFound)
    assert isinstance(await refused(ask(ingest, str(ids.new()))), errors.NotFound)


@pytest.mark.parametrize(
    ("request_fields", "field"),
    [
        ({"subscription_id": "x"}, "subscription_id"),
        ({"page_size": paging.MAX_PAGE_SIZE + 1}, "page_size"),
        ({"page_token": "%"}, "page_token"),
    ],
)
async def test_a_wrong_request_names_its_field(ingest: Ingest, request_fields: dict[str, Any], field: str) -> None:
    assert fields(await refused(ask(ingest, str(ids.new()), **request_fields))) == [field]
    assert fields(await refused(ask(ingest, "x"))) == ["event_id"]


async def test_a_filter_that_was_false_is_named_by_its_part(ingest: Ingest) -> None:
    text = "event.data.amount > 100 && event.data.country in ['DE', 'FR']"
    passed = await ingest.create(event_types=["a"], filter="event.data.amount > 100")
    false = await ingest.create(event_types=["a"], filter=text)
    skipped = await ingest.create(
        event_types=["a"], filter="event.data.missing == 1", filter_on_error=subscriptions_pb2.FILTER_ON_ERROR_SKIP
    )
    sent = await ingest.send(event_type="a", payload=b'{"amount": 200, "country": "ES"}')
    found = await routes(ingest, sent.event_id)
    assert {name: route.reason for name, route in found.items()} == {
        passed.id: "matched",
        false.id: "filter",
        skipped.id: "filter",
    }
    assert found[false.id].explanation == "Its filter was false: event.data.country in ['DE', 'FR']."
    assert "Key not found" in found[skipped.id].explanation
