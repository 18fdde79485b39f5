"""Test events: sent at once, answered with their attempt, and no deliveries."""

import asyncio
from typing import Any
from uuid import UUID

import grpc
import pytest
import standardwebhooks

from dev.harness.keys import vault
from dev.harness.receiver import Receiver, Reply
from dev.harness.waiting import PATIENCE_SECONDS
from protos.webhook.v1 import deliveries_pb2 as pb
from services.delivery.api import endpoint_tests as asking
from services.delivery.worker import endpoint_tests as sending
from services.domain import endpoint_tests as bounds
from services.domain.secrets.vault import Secret
from services.platform import errors, ids
from services.platform.grpc import errors as grpc_errors
from tests.delivery.conftest import Shared
from tests.delivery.world import PATIENT, Client, Counted, World, until_true

SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a worker take a test event in hand as late as a busy machine lets it."""
    monkeypatch.setattr(asking, "TAKEN_SECONDS", 60.0)
    monkeypatch.setattr(asking, "ANSWERED_SECONDS", 60.0)
    monkeypatch.setattr(sending, "FRESH_SECONDS", 60.0)


async def ask(client: Client, subscription_id: UUID, **fields: str) -> pb.TestSubscriptionResponse:
    request = pb.TestSubscriptionRequest(subscription_id=str(subscription_id), **fields)
    return await client.TestSubscription(request, timeout=60)


async def refusal(call: Any) -> errors.WebhookError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return grpc_errors.from_rpc_error(raised.value)


async def rows_of(world: World) -> int:
    number: int = await world.pool.fetchval("SELECT count(*) FROM endpoint_tests")
    return number


async def test_a_test_event_is_signed_and_answered_with_the_attempt(shared: Shared, receiver: Receiver) -> None:
    receiver.script(Reply(status=202, body=b"thanks"))
    subscription = await shared.world.subscription(receiver.url(), secret_key=SECRET)
    answer = await ask(shared.client, subscription)
    (request,) = receiver.requests
    assert request.headers["webhook-id"] == answer.webhook_id
    assert request.headers["X-Event-Type"] == "webhook.test"
    body = standardwebhooks.Webhook(SECRET).verify(request.body, dict(request.headers))
    assert (body["type"], body["data"]["subscription_id"]) == ("webhook.test", str(subscription))
    attempt = answer.attempt
    assert (attempt.number, attempt.status_code, attempt.response_body) == (1, 202, "thanks")
    assert attempt.HasField("started_at")
    assert attempt.HasField("duration_ms")
    assert not attempt.HasField("error")
    query = "SELECT actor FROM audit_entries WHERE action = 'subscription.test' AND resource_id = $1"
    assert await shared.world.pool.fetchval(query, str(subscription)) == "anonymous"


@pytest.mark.parametrize(
    ("reply", "kind", "status_code", "timeout_seconds"),
    [
        (Reply(status=503, body=b"later"), "http_5xx", 503, 30.0),
        (Reply(reset=True), "connection_lost", None, 30.0),
        (Reply(hang=True), "timeout", None, 1.0),
    ],
    ids=["503", "reset", "hangs"],
)
async def test_a_test_event_that_fails_is_answered_with_why(
    shared: Shared, receiver: Receiver, reply: Reply, kind: str, status_code: int | None, timeout_seconds: float
) -> None:
    receiver.script(then=reply)
    subscription = await shared.world.subscription(receiver.url(), timeout_seconds=timeout_seconds)
    attempt = (await ask(shared.client, subscription)).attempt
    assert attempt.error.kind == kind
    assert (attempt.status_code if attempt.HasField("status_code") else None) == status_code
    assert len(receiver.requests) <= 1  # on a busy machine the time is up before the receiver has it


async def test_a_test_event_is_no_delivery(shared: Shared, receiver: Receiver) -> None:
    receiver.script(then=Reply(status=500))
    subscription = await shared.world.subscription(receiver.url())
    attempts = Counted("webhook_attempts_total", outcome="http_5xx")
    for _ in range(bounds.TESTS):
        assert (await ask(shared.client, subscription)).attempt.error.kind == "http_5xx"
    # As many failures of deliveries would have opened the breaker.
    for table in ("webhook_events", "webhook_deliveries", "delivery_attempts", "subscription_health", "delivery_queue"):
        column = "tenant_id = 'default'" if table == "webhook_events" else f"subscription_id = '{subscription}'"
        assert await shared.world.pool.fetchval(f"SELECT count(*) FROM {table} WHERE {column}") == 0, table
    assert attempts() == 0


@pytest.mark.parametrize("status", ["paused", "disabled"])
async def test_what_holds_deliveries_does_not_hold_a_test_event(
    shared: Shared, receiver: Receiver, status: str
) -> None:
    subscription = await shared.world.subscription(receiver.url())
    await shared.world.pool.execute(
        "UPDATE subscriptions SET status = $2, rate_limit_per_second = 0.001 WHERE id = $1", subscription, status
    )
    await shared.world.pool.execute(
        "INSERT INTO subscription_health (subscription_id, breaker, probe_at) VALUES ($1, 'open', now() + '1 h')",
        subscription,
    )
    for _ in range(2):
        assert (await ask(shared.client, subscription)).attempt.status_code == 200
    query = "SELECT breaker FROM subscription_health WHERE subscription_id = $1"
    assert await shared.world.pool.fetchval(query, subscription) == "open"


async def test_a_target_that_is_not_verified_is_not_tested(shared: Shared, receiver: Receiver) -> None:
    subscription = await shared.world.subscription(receiver.url())
    await shared.world.pool.execute("UPDATE subscriptions SET status = 'unverified' WHERE id = $1", subscription)
    found = await refusal(ask(shared.client, subscription))
    assert found.reason is errors.ErrorReason.SUBSCRIPTION_UNVERIFIED
    assert receiver.requests == []


@pytest.mark.parametrize("status", ["paused", "disabled"])
async def test_where_targets_are_checked_one_that_was_not_gets_no_test_event_while_it_is_held(
    world: World, receiver: Receiver, status: str
) -> None:
    subscription = await world.subscription(receiver.url())
    await world.pool.execute("UPDATE subscriptions SET status = $2 WHERE id = $1", subscription, status)
    async with world.delivery() as client, world.worker(endpoint_verification="echo"):
        found = (await ask(client, subscription)).attempt
        assert (found.error.kind, found.error.message) == ("egress_denied", sending.UNVERIFIED)
        assert receiver.requests == []
        await world.pool.execute("UPDATE subscriptions SET verified = true WHERE id = $1", subscription)
        assert (await ask(client, subscription)).attempt.status_code == 200


async def test_a_subscription_is_tested_ten_times_a_minute(shared: Shared, receiver: Receiver) -> None:
    subscription, other = [await shared.world.subscription(receiver.url()) for _ in range(2)]
    for _ in range(10):
        await ask(shared.client, subscription)
    found = await refusal(ask(shared.client, subscription))
    assert found.reason is errors.ErrorReason.RATE_LIMITED
    assert 2 <= (found.retry_after_seconds or 0) <= 60  # one second is what every error of its kind says
    assert (await ask(shared.client, other)).attempt.status_code == 200
    moved = "UPDATE endpoint_tests SET asked_at = asked_at - interval '1 minute' WHERE subscription_id = $1"
    await shared.world.pool.execute(moved, subscription)
    assert (await ask(shared.client, subscription)).attempt.status_code == 200
    assert len(receiver.requests) == 12


async def test_a_tenant_has_ten_that_are_not_answered(shared: Shared, receiver: Receiver) -> None:
    world = shared.world
    receiver.script(then=Reply(hang=True))
    tenant = f"t{ids.new()}"
    await world.pool.execute("INSERT INTO tenants (id, name) VALUES ($1, $1)", tenant)
    made = [await world.subscription(receiver.url(), timeout_seconds=30) for _ in range(11)]
    await world.pool.execute("UPDATE subscriptions SET tenant_id = $2 WHERE id = ANY($1)", made, tenant)
    asked = [asyncio.create_task(ask(shared.client, name, tenant_id=tenant)) for name in made[:10]]
    await receiver.wait_for(10)
    found = await refusal(ask(shared.client, made[10], tenant_id=tenant))
    assert found.reason is errors.ErrorReason.TENANT_OVERLOADED
    receiver.release()
    assert len(await asyncio.gather(*asked)) == 10


async def test_a_subscription_of_another_tenant_and_a_deleted_one_are_not_found(
    shared: Shared, receiver: Receiver
) -> None:
    tenant = f"t{ids.new()}"
    await shared.world.pool.execute("INSERT INTO tenants (id, name) VALUES ($1, $1)", tenant)
    theirs = await shared.world.subscription(receiver.url())
    deleted = await shared.world.subscription(receiver.url(), deleted=True)
    for call in (
        ask(shared.client, theirs, tenant_id=tenant),
        ask(shared.client, deleted),
        ask(shared.client, ids.new()),
    ):
        assert isinstance(await refusal(call), errors.NotFound)
    found = await refusal(shared.client.TestSubscription(pb.TestSubscriptionRequest(subscription_id="x")))
    assert [violation.field for violation in found.violations] == ["subscription_id"]
    assert receiver.requests == []


async def ask_for_new(
    world: World,
    target_url: str,
    *,
    tenant_id: str = "default",
    template: str | None = None,
    client_certificate: bytes | None = None,
) -> UUID:
    """Ask for a test event of a subscription that is not created, as ingest does."""
    made = ids.new()
    await world.pool.execute(
        "INSERT INTO endpoint_tests (id, subscription_id, tenant_id, actor, target_url, template, sealed_secrets,"
        " sealed_headers, sealed_template_secrets, sealed_client_certificate)"
        " VALUES ($1, $1, $2, 'a', $3, $4, $5, $6, $7, $8)",
        made,
        tenant_id,
        target_url,
        template,
        vault().seal(made, [Secret(SECRET)]),
        vault().seal_headers(made, {"X-Team": "billing"}),
        vault().seal_template_secrets(made, {"key": "hunter2"}),
        client_certificate,
    )
    return made


async def result_of_new(client: Client, test_id: UUID, **fields: str) -> pb.Attempt:
    request = pb.GetSubscriptionTestRequest(webhook_id=str(test_id), **fields)
    return (await client.GetSubscriptionTest(request, timeout=60)).attempt


async def test_a_subscription_that_is_not_created_is_tested_with_what_it_would_have(
    shared: Shared, receiver: Receiver
) -> None:
    world, client = shared.world, shared.client
    plain = await ask_for_new(world, receiver.url("/plain"))
    source = '{"source": "{{ event.type }} {{ secrets.key }}", "content_type": "text/plain"}'
    templated = await ask_for_new(world, receiver.url("/made"), template=source)
    for test_id in (plain, templated):
        attempt = await result_of_new(client, test_id)
        assert (attempt.number, attempt.status_code, attempt.actor) == (1, 200, "a")
    ((sent,), (made,)) = receiver.on("/plain"), receiver.on("/made")
    assert (sent.headers["webhook-id"], sent.headers["X-Team"]) == (str(plain), "billing")
    body = standardwebhooks.Webhook(SECRET).verify(sent.body, dict(sent.headers))
    assert (body["type"], body["data"]["subscription_id"]) == ("webhook.test", None)
    assert made.body == b"webhook.test hunter2"
    kept = "SELECT count(coalesce(sealed_secrets, sealed_headers, sealed_template_secrets)) FROM endpoint_tests"
    assert await world.pool.fetchval(kept) == 0
    tenant = f"t{ids.new()}"
    await world.pool.execute("INSERT INTO tenants (id, name) VALUES ($1, $1)", tenant)
    for call in (result_of_new(client, plain, tenant_id=tenant), result_of_new(client, ids.new())):
        assert isinstance(await refusal(call), errors.NotFound)
    # One of a subscription is not waited for by its id.
    created = UUID((await ask(client, await world.subscription(receiver.url()))).webhook_id)
    assert isinstance(await refusal(result_of_new(client, created)), errors.NotFound)


async def test_where_targets_are_checked_a_new_one_gets_no_test_event(world: World, receiver: Receiver) -> None:
    async with world.delivery() as client, world.worker(endpoint_verification="echo"):
        test_id = await ask_for_new(world, receiver.url(), client_certificate=b"sealed")
        found = await result_of_new(client, test_id)
    forgotten = "SELECT sealed_client_certificate IS NULL FROM endpoint_tests WHERE id = $1"
    assert await world.pool.fetchval(forgotten, test_id)
    assert (found.error.kind, found.error.message) == ("egress_denied", sending.NEW_UNVERIFIED)
    assert receiver.requests == []


async def test_without_a_worker_nothing_is_sent_later(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscription = await world.subscription(receiver.url())
    async with world.delivery() as client:
        with monkeypatch.context() as patch:
            patch.setattr(asking, "TAKEN_SECONDS", 0.1)
            found = await refusal(ask(client, subscription))
        assert (type(found), found.message) == (
            errors.Unavailable,
            "no worker had room for the test event in time; nothing was sent",
        )
        assert await rows_of(world) == 0
        async with world.worker():
            await ask(client, subscription)
    assert len(receiver.requests) == 1


async def test_a_worker_that_is_lost_leaves_the_outcome_unknown(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ANSWERED_SECONDS", 1.0)
    subscription = await world.subscription(receiver.url())
    store = sending.EndpointTestStore(world.pool)
    async with world.delivery() as client:
        asked = asyncio.create_task(refusal(ask(client, subscription)))

        async def taken() -> bool:
            return bool(await store.take(1, without=[]))

        await until_true(taken, "the test event to be asked for")
        assert isinstance(await asked, errors.OutcomeUnknown)


async def test_a_test_event_waits_for_room_at_its_host(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    had_no_room = asyncio.Event()
    put_back = sending.EndpointTestStore.put_back

    async def noted(store: sending.EndpointTestStore, test_id: UUID) -> None:
        await put_back(store, test_id)
        had_no_room.set()

    monkeypatch.setattr(sending.EndpointTestStore, "put_back", noted)
    receiver.script(then=Reply(hang=True), path="/busy")
    await world.deliver(await world.subscription(receiver.url("/busy")))
    subscription = await world.subscription(receiver.url("/new"))
    async with world.delivery() as client, world.worker(target_host_concurrency=1, **PATIENT):
        await receiver.wait_for(1, path="/busy")
        asked = asyncio.create_task(ask(client, subscription))

        async with asyncio.timeout(PATIENCE_SECONDS):
            await had_no_room.wait()
        assert receiver.on("/new") == []
        receiver.release()
        assert (await asked).attempt.status_code == 200


async def test_rows_are_deleted_after_a_minute(world: World) -> None:
    for age in ("61 s", "20 s"):
        await world.pool.execute(
            "INSERT INTO endpoint_tests (id, subscription_id, tenant_id, actor, asked_at, taken_at, outcome)"
            " VALUES (gen_random_uuid(), gen_random_uuid(), 'default', 'a', now() - $1::text::interval, now(), 'b')",
            age,
        )
    assert await sending.EndpointTestStore(world.pool).take(1, without=[]) == []
    assert await rows_of(world) == 1


async def test_a_tenant_leaves_test_events_of_a_worker_to_others(world: World, receiver: Receiver) -> None:
    greedy, other = [await world.subscription(receiver.url()) for _ in range(2)]
    for subscription, tenant in ((greedy, "default"), (other, "other")):
        await world.pool.execute(
            "INSERT INTO endpoint_tests (id, subscription_id, tenant_id, actor)"
            " VALUES (gen_random_uuid(), $1, $2, 'a')",
            subscription,
            tenant,
        )
    ((claim, _),) = await sending.EndpointTestStore(world.pool).take(10, without=["default"])
    assert claim.subscription_id == other
