"""Checks of targets: what is sent, which answers verify a target, and what waits until then."""

import asyncio
import dataclasses
import functools
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest
import standardwebhooks

from dev.harness.receiver import Receiver, Reply
from dev.harness.waiting import PATIENCE_SECONDS
from protos.webhook.v1 import deliveries_pb2
from services.delivery.destinations import destination
from services.delivery.destinations.destination import Answer
from services.delivery.worker import checks
from services.delivery.worker import store as worker
from services.delivery.worker.checks import refusal
from services.domain.deliveries import DUE
from services.domain.egress.policy import Policy
from services.ingest.subscriptions import store as ingest
from services.platform.stores.signals import Signals
from tests.delivery.waking import run_and_wake
from tests.delivery.world import PATIENT, World, until_true

SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"
CHALLENGE = "4dTp-J0qvP1kXp6f"
ON: dict[str, Any] = {"endpoint_verification": "echo"}


def plain(body: bytes) -> bytes:
    """Return the challenge of a request."""
    challenge: str = json.loads(body)["challenge"]
    return challenge.encode()


def as_json(body: bytes) -> bytes:
    """Return the challenge of a request, as Slack's documentation shows it."""
    return json.dumps({"challenge": plain(body).decode(), "ok": True}).encode()


async def unverified(world: World, target_url: str) -> UUID:
    """Create a subscription as ingest does when targets are checked."""
    made = await world.subscription(target_url, secret_key=SECRET)
    await world.pool.execute("UPDATE subscriptions SET status = 'unverified' WHERE id = $1", made)
    await world.pool.execute(ingest.SQL["ask_for_check"], made, world.tenant_id)
    return made


async def check_of(world: World, subscription_id: UUID) -> asyncpg.Record | None:
    found: asyncpg.Record | None = await world.pool.fetchrow(
        "SELECT * FROM endpoint_checks WHERE subscription_id = $1", subscription_id
    )
    return found


async def status_of(world: World, subscription_id: UUID) -> str:
    found: str = await world.pool.fetchval("SELECT status FROM subscriptions WHERE id = $1", subscription_id)
    return found


async def failed(world: World, subscription_id: UUID) -> str:
    """Wait until a challenge was not answered, and return why."""

    async def error() -> str | None:
        found = await check_of(world, subscription_id)
        return found["error"] if found else None

    await until_true(error, "the check to fail")
    return await error() or ""


@pytest.mark.parametrize("answer", [plain, as_json])
async def test_target_that_echoes_the_challenge_is_verified_and_gets_what_waited(
    world: World, receiver: Receiver, answer: Callable[[bytes], bytes]
) -> None:
    receiver.script(Reply(body=answer))
    subscription = await unverified(world, receiver.url())
    delivery_id = await world.deliver(subscription, b'{"the": "event"}')
    async with world.running(**ON):
        assert (await world.in_state(delivery_id))["status"] == "delivered"
    challenge, event = receiver.requests
    assert event.body == b'{"the": "event"}'
    asked = standardwebhooks.Webhook(SECRET).verify(challenge.body, dict(challenge.headers))
    assert asked["type"] == challenge.headers["X-Event-Type"] == "url_verification"
    assert len(asked["challenge"]) >= 43
    assert await status_of(world, subscription) == "active"
    assert await world.pool.fetchval("SELECT verified FROM subscriptions WHERE id = $1", subscription)
    assert await check_of(world, subscription) is None
    query = "SELECT actor FROM audit_entries WHERE action = 'subscription.verify' AND resource_id = $1"
    assert await world.pool.fetchval(query, str(subscription)) == "system"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply(), "the body of the answer is neither the challenge nor"),
        (Reply(status=404, body=plain), "the target answered 404"),
        (Reply(status=302, body=plain, headers={"Location": "/elsewhere"}), "the target answered 302"),
        (Reply(reset=True), "connection_lost: "),
    ],
    ids=["nothing", "404", "redirect", "reset"],
)
async def test_target_that_answers_anything_else_gets_no_delivery_and_the_reason_is_kept(
    world: World, receiver: Receiver, reply: Reply, why: str
) -> None:
    receiver.script(then=reply)
    subscription = await unverified(world, receiver.url())
    delivery_id = await world.deliver(subscription)
    async with world.running(**ON) as client:
        assert (await failed(world, subscription)).startswith(why)
        request = deliveries_pb2.GetDeliveryRequest(tenant_id=world.tenant_id, delivery_id=str(delivery_id))
        assert (await client.GetDelivery(request)).delivery.held_by == "unverified"
    assert await status_of(world, subscription) == "unverified"
    assert all("challenge" in json.loads(request.body) for request in receiver.requests)
    assert await world.attempts(delivery_id) == []


async def test_target_is_asked_a_few_times_and_then_when_somebody_asks(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "DELAYS_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(checks, "INTERVAL_SECONDS", 0.05)
    subscription = await unverified(world, receiver.url())

    async def given_up() -> bool:
        found = await check_of(world, subscription)
        return found is not None and found["due_at"] is None

    async with world.worker(**ON):
        await until_true(given_up, "the last challenge to fail")
        assert len(receiver.requests) == 3
        receiver.script(then=Reply(body=plain))
        await world.pool.execute(ingest.SQL["ask_for_check"], subscription, world.tenant_id)
        await receiver.wait_for(4)

        async def is_active() -> bool:
            return await status_of(world, subscription) == "active"

        await until_true(is_active, "the target to be verified")
    assert len({plain(request.body) for request in receiver.requests}) == 4


async def test_a_challenge_waits_for_room_at_the_host_of_its_target(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    had_no_room = asyncio.Event()
    put_off = checks.CheckStore.put_off

    async def noted(store: checks.CheckStore, due: checks.Due) -> None:
        await put_off(store, due)
        had_no_room.set()

    monkeypatch.setattr(checks.CheckStore, "put_off", noted)
    receiver.script(then=Reply(hang=True), path="/busy")
    receiver.script(then=Reply(body=plain), path="/new")
    await world.deliver(await world.subscription(receiver.url("/busy")))
    async with world.worker(**ON, **PATIENT, target_host_concurrency=1):
        await receiver.wait_for(1, path="/busy")
        subscription = await unverified(world, receiver.url("/new"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await had_no_room.wait()
        assert receiver.on("/new") == []
        receiver.release()

        async def is_active() -> bool:
            return await status_of(world, subscription) == "active"

        await until_true(is_active, "the target to be verified")


async def test_only_the_target_that_was_asked_is_verified(world: World) -> None:
    subscription = await unverified(world, "http://receiver.example/")
    store = checks.CheckStore(world.pool)
    (due,) = await store.take(1, without=[])
    await world.change_target(subscription, "http://receiver.example/another")
    assert await store.verified(due.claim) is None
    assert await status_of(world, subscription) == "unverified"
    assert await check_of(world, subscription) is not None


async def test_a_check_that_was_asked_for_meanwhile_stays_due(world: World) -> None:
    subscription = await unverified(world, "http://receiver.example/")
    store = checks.CheckStore(world.pool)
    (due,) = await store.take(1, without=[])
    await world.pool.execute(ingest.SQL["ask_for_check"], subscription, world.tenant_id)
    await store.failed(due, "no")
    await store.put_off(due)
    found = await check_of(world, subscription)
    assert found is not None
    assert (found["sent"], found["error"]) == (0, None)
    assert [due.sent for due in await store.take(1, without=[])] == [1]


async def test_a_check_for_which_there_was_no_room_does_not_count(world: World) -> None:
    subscription = await unverified(world, "http://receiver.example/")
    store = checks.CheckStore(world.pool)
    for _ in range(2):
        (due,) = await store.take(1, without=[])
        assert due.sent == 1
        await store.put_off(due)
        assert await store.take(1, without=[]) == []
        await world.pool.execute("UPDATE endpoint_checks SET due_at = now() WHERE subscription_id = $1", subscription)


async def test_what_a_receiver_wrote_cannot_keep_a_check_from_ending(world: World) -> None:
    subscription = await unverified(world, "http://receiver.example/")
    store = checks.CheckStore(world.pool)
    (due,) = await store.take(1, without=[])
    await store.failed(due, "protocol: \x00\ud800" + "x" * 100_000)
    found = await check_of(world, subscription)
    assert found is not None
    assert found["error"].startswith("protocol: \ufffd")
    assert len(found["error"]) <= destination.MESSAGE_CHARACTERS


async def test_a_check_whose_ends_are_never_noted_is_given_up_until_somebody_asks(world: World) -> None:
    subscription = await unverified(world, "http://receiver.example/")
    store = checks.CheckStore(world.pool)
    for number in range(1, len(checks.DELAYS_SECONDS) + 2):
        (due,) = await store.take(1, without=[])
        assert due.sent == number
        await world.pool.execute("UPDATE endpoint_checks SET due_at = now()")  # its worker was lost
    assert await store.take(1, without=[]) == []
    found = await check_of(world, subscription)
    assert found is not None
    assert (found["due_at"], found["error"]) == (None, "the end of the last check was not noted")
    await world.pool.execute(ingest.SQL["ask_for_check"], subscription, world.tenant_id)
    assert [due.sent for due in await store.take(1, without=[])] == [1]


async def test_a_tenant_cannot_have_challenges_sent_as_fast_as_targets_answer(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "TENANT_SECONDS", 3_600.0)
    receiver.script(then=Reply(body=plain), path="/quiet")
    for _ in range(3 * checks.TENANT_CHECKS):
        await unverified(world, receiver.url())

    async def all_failed() -> bool:
        query = "SELECT count(*) FROM endpoint_checks WHERE error IS NOT NULL"
        return bool(await world.pool.fetchval(query) == checks.TENANT_CHECKS)

    async with world.worker(**ON):
        await until_true(all_failed, "those challenges to fail that may be sent")
        await world.pool.execute("INSERT INTO tenants (id, name) VALUES ('quiet', 'Quiet') ON CONFLICT DO NOTHING")
        quiet = await unverified(dataclasses.replace(world, tenant_id="quiet"), receiver.url("/quiet"))

        async def is_active() -> bool:
            return await status_of(world, quiet) == "active"

        await until_true(is_active, "the target of another tenant to be verified")
    assert len(receiver.requests) - len(receiver.on("/quiet")) == checks.TENANT_CHECKS


async def test_nothing_is_sent_to_a_target_that_egress_denies(world: World, receiver: Receiver) -> None:
    subscription = await unverified(world, receiver.url())
    async with world.worker(policy=Policy.parse([]), **ON):
        assert (await failed(world, subscription)).startswith("egress_denied: ")
    assert receiver.requests == []


async def test_an_answer_of_the_target_before_does_not_verify_the_next_one(world: World, receiver: Receiver) -> None:
    receiver.script(then=Reply(body=plain, hang=True), path="/before")
    receiver.script(then=Reply(status=500), path="/next")
    subscription = await unverified(world, receiver.url("/before"))
    async with world.worker(**ON, **PATIENT):
        await receiver.wait_for(1, path="/before")
        await world.change_target(subscription, receiver.url("/next"))
        await world.pool.execute(ingest.SQL["ask_for_check"], subscription, world.tenant_id)
        await receiver.wait_for(1, path="/next")
        receiver.release()
        assert (await failed(world, subscription)).startswith("the target answered 500")
    assert await status_of(world, subscription) == "unverified"


async def test_hanging_targets_of_a_tenant_delay_no_check_of_another(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "AT_ONCE", 8)
    receiver.script(then=Reply(hang=True), path="/hangs")
    receiver.script(then=Reply(body=plain))
    for _ in range(20):
        await unverified(world, receiver.url("/hangs"))
    async with world.worker(**ON, **PATIENT):
        await receiver.wait_for(7, path="/hangs")
        await world.pool.execute("INSERT INTO tenants (id, name) VALUES ('quiet', 'Quiet') ON CONFLICT DO NOTHING")
        quiet = await unverified(world, receiver.url())
        await world.pool.execute("UPDATE subscriptions SET tenant_id = 'quiet' WHERE id = $1", quiet)
        await world.pool.execute("UPDATE endpoint_checks SET tenant_id = 'quiet' WHERE subscription_id = $1", quiet)

        async def is_active() -> bool:
            return await status_of(world, quiet) == "active"

        await until_true(is_active, "the target to be verified")
        assert len(receiver.on("/hangs")) == 7
        receiver.release()


async def test_a_check_that_is_needed_no_more_is_forgotten(world: World, receiver: Receiver) -> None:
    subscription = await unverified(world, receiver.url())
    await world.pool.execute("UPDATE subscriptions SET status = 'paused' WHERE id = $1", subscription)

    async def is_gone() -> bool:
        return await check_of(world, subscription) is None

    async with world.worker(**ON):
        await until_true(is_gone, "the check to be forgotten")
    assert receiver.requests == []


async def test_checks_that_are_needed_no_more_delay_no_other(world: World) -> None:
    needless = [await unverified(world, "http://receiver.example/") for _ in range(5)]
    await world.pool.execute("UPDATE subscriptions SET status = 'paused' WHERE id = ANY($1::uuid[])", needless)
    needed = await unverified(world, "http://receiver.example/")
    (due,) = await checks.CheckStore(world.pool).take(32, without=[])
    assert due.claim.subscription_id == needed
    assert await world.pool.fetchval("SELECT count(*) FROM endpoint_checks") == 1


async def test_a_check_that_is_asked_for_while_it_is_to_be_forgotten_stays(world: World) -> None:
    subscription = await unverified(world, "http://receiver.example/")
    await world.pool.execute("UPDATE subscriptions SET status = 'paused' WHERE id = $1", subscription)
    (row,) = await world.pool.fetch(worker.SQL["take_checks"], [], 1, 60.0, 6)
    assert not row["needed"]
    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute("UPDATE subscriptions SET status = 'unverified' WHERE id = $1", subscription)
        await connection.execute(ingest.SQL["ask_for_check"], subscription, world.tenant_id)
        # It sees the subscription as it was, and waits for the row.
        forgetting = asyncio.create_task(world.pool.execute(worker.SQL["forget_checks"], [subscription], row["until"]))
        await until_true(functools.partial(is_waiting, world), "the deletion to wait for the row")
    await forgetting
    assert await check_of(world, subscription) is not None


async def is_waiting(world: World) -> bool:
    """Whether a statement waits for the lock of another one."""
    query = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())"
    )
    return bool(await world.pool.fetchval(query))


@pytest.mark.parametrize(
    ("status_code", "body", "verifies"),
    [
        (200, CHALLENGE, True),
        (204, f"{CHALLENGE}\n", True),
        (200, f'"{CHALLENGE}"', True),
        (201, f'{{"challenge": "{CHALLENGE}"}}', True),
        (200, f"we got {CHALLENGE}", False),
        (200, f'{{"received": {{"challenge": "{CHALLENGE}"}}}}', False),
        (200, f'["{CHALLENGE}"]', False),
        (200, '{"challenge": "another"}', False),
        (200, "", False),
        (199, CHALLENGE, False),
        (300, CHALLENGE, False),
    ],
)
def test_the_challenge_must_be_the_answer(status_code: int, body: str, *, verifies: bool) -> None:
    answer = Answer(status_code=status_code, body=body.encode())
    assert (refusal(answer, CHALLENGE) is None) == verifies


async def test_checks_are_looked_for_no_more_often_where_much_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is due is deliveries, and hardly ever a check."""
    monkeypatch.setattr(checks, "LEAST_SECONDS", 3600.0)
    looks = 0

    class Store:
        async def take(self, *_: object, **__: object) -> list[checks.Due]:
            nonlocal looks
            looks += 1
            return []

    settings: Any = SimpleNamespace(delivery_timeout_seconds=1.0, endpoint_verification="echo")
    nothing: Any = None
    client: Any = SimpleNamespace(register_script=lambda _: None)
    heard, store = Signals(client), cast("Any", Store())
    made = checks.EndpointChecks(store, nothing, nothing, heard, settings)
    await run_and_wake(made.run(), heard, DUE, until=lambda: looks)
    assert looks == 1


# The handshake of CloudEvents' HTTP webhooks.

ORIGIN = "webhooks.example.com"
HANDSHAKE: dict[str, Any] = {"endpoint_verification": "options", "endpoint_verification_origin": ORIGIN}


async def test_target_that_grants_the_handshake_is_verified(world: World, receiver: Receiver) -> None:
    receiver.script(Reply(body=b"", headers={"WebHook-Allowed-Origin": ORIGIN, "WebHook-Allowed-Rate": "120"}))
    subscription = await unverified(world, receiver.url())
    await world.pool.execute("UPDATE subscriptions SET rate_limit_per_second = 2 WHERE id = $1", subscription)
    delivery_id = await world.deliver(subscription, b'{"the": "event"}')
    async with world.running(**HANDSHAKE):
        await world.in_state(delivery_id, "delivered")
    asked, event = receiver.requests
    assert (asked.method, asked.body, event.method) == ("OPTIONS", b"", "POST")
    assert asked.headers["WebHook-Request-Origin"] == ORIGIN
    assert asked.headers["WebHook-Request-Rate"] == "120"
    assert await status_of(world, subscription) == "active"


async def test_target_that_grants_nothing_gets_no_delivery(world: World, receiver: Receiver) -> None:
    receiver.script(then=Reply(headers={"Allow": "POST", "Access-Control-Allow-Origin": "*"}))
    subscription = await unverified(world, receiver.url())
    await world.deliver(subscription)
    async with world.running(**HANDSHAKE):
        assert await failed(world, subscription) == "the answer to the OPTIONS request has no WebHook-Allowed-Origin"
    assert {request.method for request in receiver.requests} == {"OPTIONS"}
    assert "WebHook-Request-Rate" not in receiver.requests[0].headers


@pytest.mark.parametrize(
    ("granted", "rate", "why"),
    [
        ({"webhook-allowed-origin": "*"}, None, None),
        ({"webhook-allowed-origin": ORIGIN.upper(), "webhook-allowed-rate": "*"}, None, None),
        ({"webhook-allowed-origin": ORIGIN, "webhook-allowed-rate": "60"}, 1.0, None),
        (
            {"webhook-allowed-origin": ORIGIN, "webhook-allowed-rate": "60"},
            1.1,
            "set rate_limit_per_second to 1 or less",
        ),
        (
            {"webhook-allowed-origin": ORIGIN, "webhook-allowed-rate": "60"},
            None,
            "set rate_limit_per_second to 1 or less",
        ),
        ({"webhook-allowed-origin": ORIGIN, "webhook-allowed-rate": "0"}, 1.0, "neither * nor a number"),
        ({"webhook-allowed-origin": ORIGIN, "webhook-allowed-rate": "9" * 500}, 1.0, "neither * nor a number"),
        ({"webhook-allowed-origin": "other.example"}, None, f"allows the origin other.example, and not {ORIGIN}"),
        ({}, None, "no WebHook-Allowed-Origin"),
    ],
)
def test_what_grants_a_handshake(granted: dict[str, str], rate: float | None, why: str | None) -> None:
    found = checks.no_grant(
        Answer(status_code=200, body=b""), {name.encode(): value for name, value in granted.items()}, ORIGIN, rate
    )
    assert (found is None) if why is None else (found is not None and why in found and len(found) < 250)
    refused = checks.no_grant(Answer(status_code=405, body=b""), {b"webhook-allowed-origin": "*"}, ORIGIN, None)
    assert refused == "the target answered 405 to the OPTIONS request, and not 2xx"


def test_a_handshake_requires_an_origin(world: World) -> None:
    with pytest.raises(ValueError, match="ENDPOINT_VERIFICATION_ORIGIN is required"):
        world.worker_settings(endpoint_verification="options")
