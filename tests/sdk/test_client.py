"""The Python SDK and the real service, in a tenant of its own."""

import contextlib
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from dev.harness.receiver import Receiver
from dev.harness.stack import Stack
from dev.harness.waiting import wait_until
from webhook_service import AsyncClient, Client, Conflict, InvalidRequest, NotFound, verify
from webhook_service.models import BatchedEvent, DeliveryStatus, JobPreview, RetryPolicyBody, Role, SubscriptionStatus


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> str:
    """A tenant that no other test knows."""
    name = f"sdk-{uuid.uuid4().hex[:12]}"
    with Client(stack.base_url) as admin:
        admin.tenants.create(name)
    return name


@pytest.fixture
def client(stack: Stack, tenant: str) -> Iterator[Client]:
    """A client in that tenant."""
    with Client(stack.base_url, tenant=tenant) as made:
        yield made


async def test_a_published_event_is_delivered_and_verified(client: Client, receiver: Receiver) -> None:
    subscription = client.subscriptions.create(target_url=receiver.url("/verified"), event_types=["verified.*"])
    assert subscription.secret_key
    published = client.events.publish("verified.now", {"order": 42}, tags={"order": "42"})
    assert published.deliveries == 1
    (request,) = await receiver.wait_for(1)
    assert verify(request.body, request.headers, subscription.secret_key).id == request.headers["webhook-id"]

    async def delivered() -> bool:
        return client.deliveries.get(request.headers["webhook-id"]).status is DeliveryStatus.DELIVERED

    await wait_until(delivered)
    (found,) = client.deliveries.list(tag=["order=42"])
    assert (found.event_id, found.event_type) == (published.event_id, "verified.now")
    assert client.events.get(published.event_id).payload == {"order": 42}
    client.subscriptions.delete(subscription.id)


async def test_the_asynchronous_client_does_the_same(stack: Stack, tenant: str, receiver: Receiver) -> None:
    async with AsyncClient(stack.base_url, tenant=tenant) as client:
        subscription = await client.subscriptions.create(
            target_url=receiver.url("/async"), event_types=["async.*"], retry_policy={"delays_seconds": [1.0]}
        )
        await client.events.publish("async.now", [1, 2])
        (request,) = await receiver.wait_for(1)
        assert request.body == b"[1,2]"
        assert [one.id async for one in client.subscriptions.list()] == [subscription.id]
        await client.subscriptions.delete(subscription.id)


def test_a_list_is_read_page_by_page(client: Client) -> None:
    batch = [BatchedEvent(event_type="paged.event", payload={"n": number}) for number in range(5)]
    stored = client.events.publish_batch(batch).results
    assert all(result.error is None for result in stored)
    listed = client.events.list(event_type=["paged.event"], order="oldest", limit=2)
    assert [event.id for event in listed] == [result.event_id for result in stored]
    assert [len(page.items) for page in listed.pages()] == [2, 2, 1]


def test_an_update_names_the_version_that_it_changes(client: Client) -> None:
    created = client.subscriptions.create(target_url="http://127.0.0.1:9/hook", name="versions", description="one")
    changed = client.subscriptions.update(
        created.id,
        description="two",
        retry_policy=RetryPolicyBody(delays_seconds=[1.0, 2.0]),
        if_match=client.subscriptions.get(created.id).etag,
    )
    assert (changed.description, changed.name) == ("two", "versions")
    assert changed.effective_retry_policy.delays_seconds == [1.0, 2.0]
    with pytest.raises(Conflict) as refused:
        client.subscriptions.update(created.id, description="three", if_match='"0"')
    assert refused.value.status == 412
    assert client.subscriptions.update(created.id, name=None).name is None
    assert client.subscriptions.pause(created.id).status is SubscriptionStatus.PAUSED
    client.subscriptions.delete(created.id)
    with pytest.raises(NotFound):
        client.subscriptions.get(created.id)


def test_an_invalid_field_is_named(client: Client) -> None:
    with pytest.raises(InvalidRequest) as refused:
        client.subscriptions.create(target_url="http://127.0.0.1:9/hook", timeout_seconds=99)
    assert [error.field for error in refused.value.errors] == ["timeout_seconds"]
    assert refused.value.reason == "INVALID_ARGUMENT"


def test_a_job_is_previewed(client: Client) -> None:
    preview = client.jobs.create(
        kind="retry", filter={"from": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}, dry_run=True
    )
    assert isinstance(preview, JobPreview)
    assert preview.counts.matched == 0


def test_a_key_is_created_and_revoked(stack: Stack, client: Client, tenant: str) -> None:
    created = client.api_keys.create("of the sdk", Role.READ, tenant_id=tenant)
    assert created.key
    with Client(stack.base_url, api_key=created.key) as reader, contextlib.closing(reader):
        assert list(reader.jobs.list()) == []
    client.api_keys.revoke(created.id)
