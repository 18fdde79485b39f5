"""The pull consumers of the Python SDK and the real service, in a tenant of their own."""

import uuid
from collections.abc import Iterator

import pytest

from dev.harness.stack import Stack
from dev.reach import consumers
from webhook_service import AsyncClient, Client, verify
from webhook_service.models import DeliveryStatus
from webhook_service.pulling import LeaseExpired


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> str:
    """A tenant that no other test knows."""
    name = f"pull-{uuid.uuid4().hex[:12]}"
    with Client(stack.base_url) as admin:
        admin.tenants.create(name)
    return name


@pytest.fixture
def client(stack: Stack, tenant: str) -> Iterator[Client]:
    """A client in that tenant."""
    with Client(stack.base_url, tenant=tenant) as made:
        yield made


def test_what_is_handled_is_delivered_and_what_raises_is_retried(client: Client) -> None:
    made = client.subscriptions.create(
        destination="pull", event_types=["pulled.*"], retry_policy={"delays_seconds": [1.0]}
    )
    assert made.secret_key
    client.events.publish("pulled.once", {"n": 1})
    attempts = []
    for delivery in client.pull(made.id):
        verify(delivery.payload, delivery.headers, made.secret_key)
        attempts.append(delivery.attempt)
        try:
            with delivery:
                assert delivery.json() == {"n": 1}
                if delivery.attempt == 1:
                    raise RuntimeError("the database is away")
        except RuntimeError:
            continue
        break
    assert attempts == [1, 2]
    found = client.deliveries.get(delivery.id)
    assert found.status is DeliveryStatus.DELIVERED
    assert found.attempts[0].error
    assert found.attempts[0].error.message == "RuntimeError: the database is away"
    client.subscriptions.delete(made.id)


async def test_asynchronous_consumer_does_the_same(stack: Stack, tenant: str) -> None:
    async with AsyncClient(stack.base_url, tenant=tenant) as client:
        made = await client.subscriptions.create(destination="pull", event_types=["pulled-async.*"])
        await client.events.publish("pulled-async.once", [1])
        async for delivery in client.pull(made.id):
            async with delivery:
                await delivery.extend(120)
                assert delivery.payload == b"[1]"
            break
        assert (await client.deliveries.get(delivery.id)).status is DeliveryStatus.DELIVERED
        await client.subscriptions.delete(made.id)


def test_a_consumer_that_stops_leaves_what_it_did_not_report(client: Client) -> None:
    made = client.subscriptions.create(destination="pull", event_types=["left.*"])
    client.events.publish("left.once", {})
    for _ in client.pull(made.id, lease_seconds=10):
        break
    (left,) = client.subscriptions.deliveries(made.id)
    assert left.status is DeliveryStatus.IN_FLIGHT
    client.subscriptions.delete(made.id)


def test_a_result_of_another_lease_is_not_recorded(client: Client) -> None:
    made = client.subscriptions.create(destination="pull", event_types=["foreign.*"])
    client.events.publish("foreign.once", {})
    delivery = next(iter(client.pull(made.id)))
    delivery.delivery.lease_token = str(uuid.uuid4())
    with pytest.raises(LeaseExpired, match="was not recorded"):
        delivery.fail("never mind")
    client.subscriptions.delete(made.id)


@pytest.mark.timeout(600)
async def test_consumers_share_deliveries_and_one_that_stops_loses_none(stack: Stack) -> None:
    """A sample of `make acceptance-reach`, without its rate."""
    shared, _ = await consumers.share(stack.base_url, deliveries=1_000, pullers=20)
    assert shared.ok, shared.what
    # Longer than its leases.
    (stopped,) = await consumers.stop(stack.base_url, seconds=consumers.LEASE_SECONDS + 1, events=400)
    assert stopped.ok, stopped.what
