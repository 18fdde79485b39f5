"""Deliveries to subscriptions that are pinned to earlier versions of events."""

import json
from typing import Any
from uuid import UUID

import pytest
import standardwebhooks

from dev.harness.receiver import Receiver
from protos.webhook.v1 import deliveries_pb2 as pb
from services.delivery.destinations import conversions
from services.delivery.destinations.conversions import Conversions
from services.delivery.worker.store import WorkerStore
from services.domain.catalog.schemas import Schema
from services.domain.sender_context import SenderContext
from services.domain.templates.renderer import Renderer
from services.domain.templates.template import TemplateFailed
from services.platform import ids
from tests.delivery.conftest import Shared
from tests.delivery.world import World

SECRET = "whsec_" + "c2VjcmV0" * 4
HEADER = "X-Webhook-Event-Version"
# Of version 1 an amount in cents, of version 2 in a unit, and of version 3 with its currency.
SCHEMAS: list[dict[str, Any]] = [
    {"properties": {"cents": {"type": "integer"}}, "required": ["cents"], "additionalProperties": False},
    {"properties": {"amount": {"type": "number"}}, "required": ["amount"], "additionalProperties": False},
    {"properties": {"total": {"type": "object"}}, "required": ["total"], "additionalProperties": False},
]
DOWN = ["", '{"cents": {{ (event.data.amount * 100) | int }}}', '{"amount": {{ event.data.total.value }}}']
PAYLOAD = b'{"total": {"value": 12.5, "currency": "EUR"}}'


@pytest.fixture
async def event_type(world: World) -> str:
    """An event type of the catalog with three versions."""
    return await put(world)


async def put(world: World) -> str:
    type_id = ids.new()
    name = f"invoice.paid-{type_id.hex}"
    await world.pool.execute(
        "INSERT INTO event_types (id, tenant_id, name) VALUES ($1, $2, $3)", type_id, world.tenant_id, name
    )
    for number, (schema, source) in enumerate(zip(SCHEMAS, DOWN, strict=True), 1):
        await world.pool.execute(
            "INSERT INTO event_type_versions (event_type_id, number, status, schema, down_conversion)"
            " VALUES ($1, $2, 'live', $3, $4)",
            type_id,
            number,
            json.dumps(schema),
            source,
        )
    return name


async def convert_by(world: World, event_type: str, number: int, source: str) -> None:
    """Give a version another template, as an update does."""
    await world.pool.execute(
        "UPDATE event_type_versions v SET down_conversion = $3 FROM event_types t"
        " WHERE t.id = v.event_type_id AND t.name = $1 AND v.number = $2",
        event_type,
        number,
        source,
    )


async def pin(world: World, subscription_id: UUID, **pins: int) -> None:
    await world.pool.execute(
        "UPDATE subscriptions SET event_versions = $2, version = version + 1 WHERE id = $1",
        subscription_id,
        json.dumps({entry.replace("_", "."): number for entry, number in pins.items()} | {"invoice.*": pins["all"]}),
    )


NEWEST = SenderContext(event_version=3)


async def deliver(world: World, subscription_id: UUID, event_type: str, context: SenderContext = NEWEST) -> UUID:
    """Create an event of version 3 and its delivery."""
    made = await world.deliver(subscription_id, PAYLOAD, event_type=event_type, due_in=3600)
    await world.pool.execute(
        "UPDATE webhook_events SET sender_context = $2"
        " WHERE id = (SELECT event_id FROM webhook_deliveries WHERE id = $1)",
        made,
        context.text,
    )
    await world.set(made, due_at=await world.pool.fetchval("SELECT now()"))
    return made


async def test_pinned_receivers_get_their_version_the_same_bytes_on_each_retry(
    world: World, receiver: Receiver, event_type: str
) -> None:
    pinned = await world.subscription(receiver.url("/pinned"), secret_key=SECRET)
    plain = await world.subscription(receiver.url("/plain"))
    await pin(world, pinned, all=1)
    receiver.script(500, path="/pinned")
    first, other = [await deliver(world, one, event_type) for one in (pinned, plain)]
    async with world.running(retry_base_seconds=0.5):
        await world.in_state(first, "scheduled", "delivered")
        # Not even another template changes what an event was converted to.
        await convert_by(world, event_type, 2, '{"cents": 0}')
        await world.in_state(first, "delivered")
        await world.in_state(other, "delivered")
    sent = receiver.on("/pinned")
    assert [request.body for request in sent] == [b'{"cents": 1250}'] * 2
    assert [request.headers[HEADER] for request in sent] == ["1", "1"]
    assert not Schema(json.dumps(SCHEMAS[0]).encode()).violations(sent[0].body)
    for request in sent:
        standardwebhooks.Webhook(SECRET).verify(request.body, dict(request.headers))
    (unpinned,) = receiver.on("/plain")
    assert (unpinned.body, unpinned.headers[HEADER]) == (PAYLOAD, "3")


@pytest.mark.parametrize(
    ("number", "source", "why"),
    [
        (3, "", "version 3 of {} has no down_conversion"),
        (3, "{{ event.data.total", "down_conversion of version 3 of {}: "),
        (2, '{"cents": "many"}', "does not match version 1: payload/cents: must be an integer"),
    ],
)
async def test_a_conversion_that_fails_is_a_failed_attempt_until_it_is_fixed(
    world: World, receiver: Receiver, event_type: str, number: int, source: str, why: str
) -> None:
    pinned = await world.subscription(receiver.url())
    await pin(world, pinned, all=1)
    await convert_by(world, event_type, number, source)
    delivery_id = await deliver(world, pinned, event_type)
    async with world.running(retry_base_seconds=0.5):
        await world.in_state(delivery_id, "scheduled")
        assert receiver.requests == []
        await convert_by(world, event_type, number, DOWN[number - 1])
        await world.in_state(delivery_id, "delivered")
    first, *_, last = await world.attempts(delivery_id)
    assert (first["outcome"], first["status_code"]) == ("template_failed", None)
    assert why.format(event_type) in first["error_message"]
    assert last["outcome"] == "success"
    assert [request.body for request in receiver.requests] == [b'{"cents": 1250}']


async def test_a_template_sees_the_version_that_its_subscription_is_pinned_to(
    world: World, receiver: Receiver, event_type: str
) -> None:
    pinned = await world.subscription(receiver.url())
    await pin(world, pinned, all=2)
    template = {"source": "{{ event.data.amount }}", "content_type": "text/plain"}
    await world.pool.execute("UPDATE subscriptions SET template = $2 WHERE id = $1", pinned, json.dumps(template))
    delivery_id = await deliver(world, pinned, event_type)
    async with world.running():
        await world.in_state(delivery_id, "delivered")
    (request,) = receiver.requests
    assert (request.body, request.headers[HEADER]) == (b"12.5", "2")


async def test_a_cloudevent_has_the_version_of_its_data_and_no_schema_of_another(
    world: World, receiver: Receiver, event_type: str
) -> None:
    came = SenderContext(
        event_version=3, cloudevent={"id": "1", "source": "/", "dataschema": "https://a.example/3", "x": 1}
    )
    for path, number in (("/pinned", 2), ("/plain", None)):
        owner = await world.subscription(receiver.url(path))
        if number is not None:
            await pin(world, owner, all=number)
        await world.pool.execute(
            "UPDATE subscriptions SET template = $2 WHERE id = $1", owner, json.dumps({"preset": "cloudevents"})
        )
        delivery_id = await deliver(world, owner, event_type, context=came)
        async with world.running():
            await world.in_state(delivery_id, "delivered")
    found = {path: json.loads(receiver.on(path)[0].body) for path in ("/pinned", "/plain")}
    assert found["/plain"]["dataschema"] == "https://a.example/3"
    assert "dataschema" not in found["/pinned"]
    assert {path: (one["eventversion"], one["x"]) for path, one in found.items()} == {
        "/pinned": (2, 1),
        "/plain": (3, 1),
    }
    assert (found["/pinned"]["data"], found["/plain"]["data"]) == ({"amount": 12.5}, json.loads(PAYLOAD))


async def test_what_is_kept_of_an_event_is_bounded(
    world: World, event_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversions, "CONVERTED_BYTES", 20)
    monkeypatch.setattr(conversions, "CONVERTED_TIMES", 0)
    delivery_id = await deliver(world, await world.subscription("http://a.example/"), event_type)
    (claim,) = await WorkerStore(world.pool, world.worker_settings()).claim([delivery_id])
    renderer = Renderer()
    try:
        converting = Conversions(world.pool, renderer)
        for _ in range(2):
            assert await converting.payload(claim, PAYLOAD, 3, 2) == b'{"amount": 12.5}'
            with pytest.raises(TemplateFailed, match="must total at most 20 bytes"):
                await converting.payload(claim, PAYLOAD, 3, 1)
    finally:
        await renderer.close()


async def test_only_a_claim_of_a_subscription_with_pins_says_so(world: World) -> None:
    plain, pinned = await world.subscription("http://a.example/"), await world.subscription("http://b.example/")
    await pin(world, pinned, all=1)
    made = [await world.deliver(one) for one in (plain, pinned)]
    claims = await WorkerStore(world.pool, world.worker_settings()).claim(made)
    assert {one.subscription_id: one.template_version for one in claims} == {plain: None, pinned: 2}


async def test_what_is_pulled_is_converted_and_says_its_version(shared: Shared) -> None:
    world = shared.world
    event_type = await put(world)
    subscription = await world.subscription(secret_key=SECRET)
    await pin(world, subscription, all=2)
    await deliver(world, subscription, event_type)
    pulled: list[pb.PulledDelivery] = []
    while not pulled:
        asked = pb.PullDeliveriesRequest(subscription_id=str(subscription), wait_seconds=30)
        pulled += (await shared.client.PullDeliveries(asked)).deliveries
    (one,) = pulled
    assert (one.payload, one.headers[HEADER]) == (b'{"amount": 12.5}', "2")
