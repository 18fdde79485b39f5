"""Deliveries of subscriptions with a template, which the service renders at each attempt."""

import gzip
import json
from typing import Any
from uuid import UUID

import msgspec
import standardwebhooks

from dev.harness.keys import vault
from dev.harness.receiver import Receiver
from protos.webhook.v1 import deliveries_pb2 as pb
from services.delivery.destinations.templates import Templates
from services.delivery.worker.store import WorkerStore
from services.platform import ids
from tests.delivery.conftest import Shared
from tests.delivery.world import World, claim

SECRET = "whsec_" + "c2VjcmV0" * 4
SOURCE = {
    "source": '{"order": {{ event.data.order }}, "of": "{{ event.type }}", "key": "{{ secrets.key }}",'
    ' "t": "{{ event.tags.team }}"}',
    "content_type": "application/vnd.shop+json",
}


async def keep(world: World, subscription_id: UUID, template: dict[str, str], **secrets: str) -> None:
    """Give a subscription a template, as an update does."""
    sealed = vault().seal_template_secrets(subscription_id, secrets)
    await world.pool.execute(
        "UPDATE subscriptions SET template = $2, sealed_template_secrets = $3, version = version + 1 WHERE id = $1",
        subscription_id,
        json.dumps(template),
        sealed,
    )


async def test_a_delivery_is_rendered_and_signed_as_it_is_sent(world: World, receiver: Receiver) -> None:
    subscription = await world.subscription(receiver.url(), secret_key=SECRET)
    await keep(world, subscription, SOURCE, key='k"y')
    delivery_id = await world.deliver(subscription, b'{"order": 42}', event_type="order.created")
    await world.pool.execute(
        "INSERT INTO event_tags (event_id, tenant_id, tag) SELECT event_id, tenant_id, 'team=a' FROM webhook_deliveries"
        " WHERE id = $1",
        delivery_id,
    )
    async with world.running():
        await world.in_state(delivery_id, "delivered")
    (request,) = receiver.requests
    assert json.loads(request.body) == {"order": 42, "of": "order.created", "key": 'k"y', "t": "a"}
    assert request.headers["Content-Type"] == "application/vnd.shop+json"
    standardwebhooks.Webhook(SECRET).verify(request.body, dict(request.headers))
    stored = await world.pool.fetchval(
        "SELECT payload FROM webhook_events e JOIN webhook_deliveries d ON d.event_id = e.id WHERE d.id = $1",
        delivery_id,
    )
    assert stored == b'{"order": 42}'


async def test_a_template_that_fails_is_a_failed_attempt_until_it_is_fixed(world: World, receiver: Receiver) -> None:
    subscription = await world.subscription(receiver.url())
    await keep(world, subscription, {"source": '{"a": {{ event.data | safe }}', "content_type": "application/json"})
    delivery_id = await world.deliver(subscription, b'{"a": 1}')
    async with world.running(retry_base_seconds=0.5):
        await world.in_state(delivery_id, "scheduled")
        assert receiver.requests == []
        await keep(world, subscription, {"source": "{{ event.data.a }}", "content_type": "text/plain"})
        await world.in_state(delivery_id, "delivered")
    first, *_, last = await world.attempts(delivery_id)
    assert (first["outcome"], first["status_code"]) == ("template_failed", None)
    assert first["error_message"].startswith("the template failed: the output is not JSON")
    assert first["error_message"].endswith("nothing was sent")
    assert last["outcome"] == "success"
    assert [request.body for request in receiver.requests] == [b"1"]


async def test_an_encoded_payload_is_decoded_and_sent_without_its_encoding(world: World, receiver: Receiver) -> None:
    subscription = await world.subscription(receiver.url())
    await keep(world, subscription, {"source": "{{ event.data.a }}", "content_type": "text/plain"})
    zipped, other = [
        await world.deliver(subscription, payload) for payload in (gzip.compress(b'{"a": "plain"}'), b"\x00")
    ]
    for delivery_id, encoding in ((zipped, "gzip"), (other, "br")):
        await world.pool.execute(
            "UPDATE webhook_events SET content_encoding = $2"
            " WHERE id = (SELECT event_id FROM webhook_deliveries WHERE id = $1)",
            delivery_id,
            encoding,
        )
    async with world.running(retry_limit=0):
        await world.in_state(zipped, "delivered")
        await world.in_state(other, "failed")
    (request,) = receiver.requests
    assert (request.body, "Content-Encoding" in request.headers) == (b"plain", False)
    (attempt,) = await world.attempts(other)
    assert "Content-Encoding br" in attempt["error_message"]


async def test_a_template_is_read_once_for_each_version(world: World) -> None:
    subscription = await world.subscription("http://receiver.example/")
    await keep(world, subscription, {"preset": "slack"})
    read: list[str] = []

    class Counting:
        async def fetchrow(self, query: str, *arguments: Any) -> Any:
            read.append(query)
            return await world.pool.fetchrow(query, *arguments)

    pool: Any = Counting()
    templates = Templates(pool, vault())
    try:
        version = await world.pool.fetchval("SELECT version FROM subscriptions WHERE id = $1", subscription)
        asked = claim(subscription_id=subscription, template_version=version)
        for _ in range(3):
            made = await templates.rendered(asked, b"{}")
            assert made is not None
            assert b'"blocks"' in made.body
        assert len(read) == 1
        await keep(world, subscription, {"preset": "discord"})
        made = await templates.rendered(msgspec.structs.replace(asked, template_version=version + 1), b"{}")
        assert made is not None
        assert b'"embeds"' in made.body
        await world.pool.execute(
            "UPDATE subscriptions SET template = NULL, version = version + 1 WHERE id = $1", subscription
        )
        assert await templates.rendered(msgspec.structs.replace(asked, template_version=version + 2), b"{}") is None
        assert len(read) == 3
    finally:
        await templates.close()


async def test_nothing_secret_is_kept_of_a_subscription_that_is_not_created(world: World) -> None:
    test_id = ids.new()
    await world.pool.execute(
        "INSERT INTO endpoint_tests"
        " (id, subscription_id, tenant_id, actor, target_url, template, sealed_template_secrets)"
        " VALUES ($1, $1, 'default', 'a', 'http://a.example/', $2, $3)",
        test_id,
        json.dumps(SOURCE),
        vault().seal_template_secrets(test_id, {"key": "hunter2"}),
    )
    asked = claim(id=test_id, event_id=test_id, subscription_id=test_id, template_version=1)
    templates = Templates(world.pool, vault())
    try:
        made = await templates.rendered(asked, b'{"order": 1}')
        assert made is not None
        assert b"hunter2" in made.body
        await world.pool.execute("DELETE FROM endpoint_tests WHERE id = $1", test_id)
        assert await templates.rendered(asked, b'{"order": 1}') is None
    finally:
        await templates.close()


async def test_a_claim_says_only_of_a_subscription_with_a_template_that_it_has_one(world: World) -> None:

    plain, templated = await world.subscription("http://a.example/"), await world.subscription("http://b.example/")
    await keep(world, templated, {"preset": "slack"})
    made = [await world.deliver(one) for one in (plain, templated)]
    claims = await WorkerStore(world.pool, world.worker_settings()).claim(made)
    assert {one.subscription_id: one.template_version for one in claims} == {plain: None, templated: 2}


async def test_a_test_event_is_rendered_too(shared: Shared, receiver: Receiver) -> None:
    subscription = await shared.world.subscription(receiver.url(), secret_key=SECRET)
    await keep(shared.world, subscription, {"preset": "slack"})
    request = pb.TestSubscriptionRequest(subscription_id=str(subscription))
    answer = await shared.client.TestSubscription(request, timeout=60)
    assert answer.attempt.status_code == 200
    (sent,) = receiver.requests
    assert standardwebhooks.Webhook(SECRET).verify(sent.body, dict(sent.headers))["text"] == "webhook.test"


async def test_what_is_pulled_is_rendered_and_what_fails_is_not_pulled(shared: Shared) -> None:
    world, client = shared.world, shared.client
    subscription = await world.subscription(secret_key=SECRET, delays_seconds=[600.0])
    source = '{"n": {{ event.data.n | safe }}}'
    await keep(world, subscription, {"source": source, "content_type": "application/json"})
    good, bad = [await world.deliver(subscription, payload) for payload in (b'{"n": "1"}', b'{"n": "}"}')]
    pulled: list[pb.PulledDelivery] = []
    while not pulled:
        asked = pb.PullDeliveriesRequest(subscription_id=str(subscription), wait_seconds=30)
        pulled += (await client.PullDeliveries(asked)).deliveries
    await world.in_state(bad, "scheduled")
    (one,) = pulled
    assert (one.id, one.payload) == (str(good), b'{"n": 1}')
    standardwebhooks.Webhook(SECRET).verify(one.payload, dict(one.headers))
    (attempt,) = await world.attempts(bad)
    assert attempt["outcome"] == "template_failed"
    assert attempt["error_message"].endswith("nothing was pulled")


async def test_what_is_pulled_is_a_cloudevent_in_binary_mode_with_its_attributes_in_headers(shared: Shared) -> None:
    world, client = shared.world, shared.client
    subscription = await world.subscription(secret_key=SECRET)
    await keep(world, subscription, {"preset": "cloudevents-binary"})
    payload = b'{"order": 4.20}'
    delivery_id = await world.deliver(subscription, payload, event_type="order.created")
    pulled: list[pb.PulledDelivery] = []
    while not pulled:
        asked = pb.PullDeliveriesRequest(subscription_id=str(subscription), wait_seconds=30)
        pulled += (await client.PullDeliveries(asked)).deliveries
    (one,) = pulled
    assert one.payload == payload
    headers = {name.lower(): value for name, value in one.headers.items()}
    event_id = str((await world.row(delivery_id))["event_id"])
    expected = {"ce-specversion": "1.0", "ce-type": "order.created", "ce-id": event_id, "ce-source": "/tenants/default"}
    assert expected.items() <= headers.items()
    assert headers["content-type"] == "application/json"
    standardwebhooks.Webhook(SECRET).verify(one.payload, headers)
