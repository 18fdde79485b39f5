"""Operational events to a system subscription: each change once, and nothing about the system subscription itself."""

import asyncio
import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest

from dev.harness.receiver import Receiver
from services.delivery.operational_webhooks import events as operational
from services.delivery.operational_webhooks.events import OperationalEventStore
from services.domain.notices.operational_facts import FACTS, EventType
from services.platform.stores.signals import Signals
from tests.delivery.waking import run_and_wake
from tests.delivery.world import Counted, World, until_true

OPERATORS = "/operators"
HOOK = "/hook"
INTERVAL_SECONDS = 0.05
# Every failure is permanent.
ONCE: dict[str, Any] = {"retry_limit": 0, "breaker_failures": 10_000, "breaker_failure_rate": 2.0}


@pytest.fixture(autouse=True)
def _told_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.delivery.operational_webhooks.events.INTERVAL_SECONDS", INTERVAL_SECONDS)


async def system_subscription(world: World, receiver: Receiver, path: str = OPERATORS, **columns: Any) -> UUID:
    """Create the system subscription of the world's tenant."""
    made = await world.subscription(receiver.url(path))
    for name, value in {"kind": "system", **columns}.items():
        await world.pool.execute(f"UPDATE subscriptions SET {name} = $2 WHERE id = $1", made, value)
    return made


def told(receiver: Receiver, path: str = OPERATORS) -> list[dict[str, Any]]:
    """Return the events that arrived there, oldest first."""
    return [json.loads(request.body) for request in receiver.on(path)]


async def nothing_more(world: World) -> None:
    """Wait until there are no more events to send, except those that a gate holds."""
    told = (
        "SELECT NOT EXISTS (SELECT FROM operational_facts) AND NOT EXISTS ("
        " SELECT FROM delivery_queue q JOIN subscriptions s ON s.id = q.subscription_id"
        " LEFT JOIN subscription_health h ON h.subscription_id = s.id"
        " WHERE s.kind = 'system' AND s.status = 'active' AND h.breaker IS DISTINCT FROM 'open')"
    )
    await until_true(lambda: world.pool.fetchval(told), "facts to be told")
    await asyncio.sleep(4 * INTERVAL_SECONDS)


def assert_is_recent(text: str) -> None:
    assert text.endswith("Z")
    assert abs(datetime.fromisoformat(text) - datetime.now(UTC)) < timedelta(seconds=30)


async def test_a_delivery_that_fails_permanently_is_reported_once(world: World, receiver: Receiver) -> None:
    system = await system_subscription(world, receiver)
    subscription = await world.subscription(receiver.url(HOOK))
    receiver.script(then=503, path=HOOK)
    events = Counted("webhook_operational_events_total", event_type="delivery.exhausted")

    async with world.running(**ONCE):
        delivery = await world.deliver(subscription, event_type="order.created")
        await receiver.wait_for(1, path=OPERATORS)
        await nothing_more(world)

    (event,) = told(receiver)
    assert_is_recent(event.pop("timestamp"))
    assert_is_recent(event["data"].pop("since"))
    row = await world.row(delivery)
    assert event == {
        "type": "delivery.exhausted",
        "data": {
            "subscription_id": str(subscription),
            "target_host": "127.0.0.1",
            "reason": "retries_exhausted",
            "last_error": "the receiver responded with 503",
            "deliveries": 1,
            "last_delivery_id": str(delivery),
            "last_event_id": str(row["event_id"]),
            "last_attempts": 1,
        },
    }
    (request,) = receiver.on(OPERATORS)
    assert request.headers["X-Event-Type"] == "delivery.exhausted"
    assert await world.statuses(system) == {"delivered": 1}
    assert events() == 1


async def test_failed_deliveries_are_counted_in_one_event_a_minute(world: World, receiver: Receiver) -> None:
    await system_subscription(world, receiver)
    subscription = await world.subscription(receiver.url(HOOK))
    receiver.script(then=500, path=HOOK)
    number = 600
    first = (await world.deliver_many(subscription, number))[0]

    async with world.running(**ONCE):
        await world.all_in(subscription, "failed", number)
        await nothing_more(world)
        (event,) = told(receiver)
        assert 0 < event["data"]["deliveries"] <= number
        # The minute is over.
        await world.pool.execute("UPDATE exhausted_deliveries SET told_at = now() - interval '61 seconds'")
        if event["data"]["deliveries"] < number:
            await receiver.wait_for(2, path=OPERATORS)
        await nothing_more(world)

    assert sum(event["data"]["deliveries"] for event in told(receiver)) == number
    assert len(told(receiver)) <= 2
    assert told(receiver)[-1]["data"]["last_delivery_id"] != str(first)


async def test_a_target_that_is_no_longer_accepted_delays_no_event(world: World, receiver: Receiver) -> None:
    await system_subscription(world, receiver)
    for url in ("https://ada:hunter2@hooks.example.com/", receiver.url(HOOK)):
        fact = "INSERT INTO operational_facts (tenant_id, subscription_id, event_type) VALUES ('default', $1, $2)"
        await world.pool.execute(fact, await world.subscription(url), EventType.RECOVERED)
    async with world.running(**ONCE):
        await receiver.wait_for(2, path=OPERATORS)
    assert {event["data"]["target_host"] for event in told(receiver)} == {"", "127.0.0.1"}


async def test_a_subscription_without_a_report_for_a_minute_is_forgotten(world: World, receiver: Receiver) -> None:
    await system_subscription(world, receiver)
    await world.pool.execute(
        "INSERT INTO exhausted_deliveries (subscription_id, tenant_id, told_at, deliveries)"
        " VALUES (gen_random_uuid(), 'default', now() - interval '2 minutes', 0),"
        " (gen_random_uuid(), 'default', now(), 0)"
    )
    assert await OperationalEventStore(world.pool, expiry_hours=1).tell() == ({}, False)
    assert await world.pool.fetchval("SELECT count(*) FROM exhausted_deliveries") == 1


async def test_deliveries_that_the_dispatcher_ends_are_reported(world: World, receiver: Receiver) -> None:
    await system_subscription(world, receiver)
    expired, held, lost = [await world.subscription(receiver.url(HOOK)) for _ in range(3)]
    await world.pool.execute("UPDATE subscriptions SET status = 'paused' WHERE id = $1", held)
    await world.deliver(expired, expires_in=-1)
    await world.deliver(held, expires_in=-1)
    leased = await world.deliver(lost)
    await world.lease(leased, seconds=-1)
    await world.set(leased, interrupted_count=9)

    async with world.delivery(), world.worker(**ONCE):
        await receiver.wait_for(3, path=OPERATORS)
        await nothing_more(world)

    found = {event["data"]["subscription_id"]: event["data"] for event in told(receiver)}
    assert len(told(receiver)) == 3
    assert {name: data["reason"] for name, data in found.items()} == {
        str(expired): "expired",
        str(held): "expired",
        str(lost): "worker_lost",
    }
    assert found[str(lost)]["last_attempts"] == 1
    assert found[str(expired)]["last_error"] is None


async def test_a_subscription_that_is_gone_is_reported_disabled_once(world: World, receiver: Receiver) -> None:
    await system_subscription(world, receiver)
    subscription = await world.subscription(receiver.url(HOOK))
    receiver.script(then=410, path=HOOK)
    await world.deliver_many(subscription, 5)

    async with world.running():
        await receiver.wait_for(1, path=OPERATORS)
        await nothing_more(world)

    (event,) = told(receiver)
    assert event["type"] == "subscription.disabled"
    assert event["data"] == {
        "subscription_id": str(subscription),
        "target_host": "127.0.0.1",
        "reason": "gone",
        "last_error": "the receiver responded with 410",
    }


async def test_failing_is_reported_once_until_it_has_recovered(world: World, receiver: Receiver) -> None:
    await system_subscription(world, receiver)
    subscription = await world.subscription(receiver.url(HOOK))
    receiver.script(then=500, path=HOOK)
    breaker = {"breaker_failures": 3, "breaker_cooldown_seconds": 0.3, "breaker_cooldown_cap_seconds": 0.3}

    async with world.running(retry_limit=100, retry_base_seconds=0.05, retry_cap_seconds=0.1, **breaker):
        await world.deliver_many(subscription, 4)
        await receiver.wait_for(1, path=OPERATORS)
        failed = len(receiver.on(HOOK))
        # Probes fail, and open it again repeatedly.
        await receiver.wait_for(failed + 3, path=HOOK)
        await nothing_more(world)
        (failing,) = told(receiver)
        receiver.script(then=200, path=HOOK)
        await world.all_in(subscription, "delivered", 4)
        await receiver.wait_for(2, path=OPERATORS)
        await nothing_more(world)

    assert failing["type"] == "subscription.failing"
    assert failing["data"]["reason"].endswith("the last: the receiver responded with 500")
    assert failing["data"]["last_error"] == "the receiver responded with 500"
    (recovered,) = told(receiver)[1:]
    assert recovered["type"] == "subscription.recovered"
    assert recovered["data"]["subscription_id"] == str(subscription)


async def test_a_system_subscription_that_fails_leads_to_no_events(world: World, receiver: Receiver) -> None:
    system = await system_subscription(world, receiver)
    subscription = await world.subscription(receiver.url(HOOK))
    receiver.script(then=503, path=HOOK)
    receiver.script(then=503, path=OPERATORS)

    async with world.running(**ONCE | {"breaker_failures": 1}):
        await world.deliver(subscription)
        # Its own delivery is exhausted, and its breaker opens.
        await until_true(
            lambda: world.pool.fetchval(
                "SELECT breaker = 'open' FROM subscription_health WHERE subscription_id = $1", system
            ),
            "the breaker to open",
        )
        await nothing_more(world)
        # Then it is disabled.
        receiver.script(then=410, path=OPERATORS)
        await world.pool.execute("DELETE FROM subscription_health WHERE subscription_id = $1", system)
        rows = await world.pool.fetch("SELECT id FROM webhook_deliveries WHERE subscription_id = $1", system)
        await world.put(*(row["id"] for row in rows), status="pending")
        status = "SELECT status = 'disabled' FROM subscriptions WHERE id = $1"
        await until_true(lambda: world.pool.fetchval(status, system), "it to be disabled")
        await nothing_more(world)

    about = {event["data"]["subscription_id"] for event in told(receiver)}
    assert about == {str(subscription)}
    assert (
        await world.pool.fetchval("SELECT count(*) FROM exhausted_deliveries WHERE subscription_id = $1", system) == 0
    )


async def test_tenants_get_only_their_own_events_and_one_without_a_listener_costs_nothing(
    world: World, receiver: Receiver
) -> None:
    receiver.script(then=500, path=HOOK)
    subscriptions: dict[str, UUID] = {}
    for tenant in ("default", "ops-a", "ops-b"):
        await world.pool.execute("INSERT INTO tenants (id, name) VALUES ($1, $1) ON CONFLICT DO NOTHING", tenant)
        own = dataclasses.replace(world, tenant_id=tenant)
        if tenant != "default":
            await system_subscription(own, receiver, f"/{tenant}")
        subscriptions[tenant] = await own.subscription(receiver.url(HOOK))
        await own.deliver(subscriptions[tenant])

    async with world.running(**ONCE | {"breaker_failures": 1}):
        await receiver.wait_for(2, path="/ops-a")
        await receiver.wait_for(2, path="/ops-b")
        await world.all_in(subscriptions["default"], "failed", 1)
        await nothing_more(world)

    for tenant in ("ops-a", "ops-b"):
        events = told(receiver, f"/{tenant}")
        assert {event["type"] for event in events} == {"delivery.exhausted", "subscription.failing"}
        assert {event["data"]["subscription_id"] for event in events} == {str(subscriptions[tenant])}
    assert await world.pool.fetchval("SELECT count(*) FROM webhook_events WHERE tenant_id = 'default'") == 1
    assert await world.pool.fetchval("SELECT count(*) FROM exhausted_deliveries WHERE tenant_id = 'default'") == 0


@pytest.mark.parametrize(
    ("columns", "arrives"),
    [
        ({"event_types": ["delivery.*"]}, True),
        ({"event_types": ["delivery.exhausted"]}, True),
        ({"event_types": ["subscription.*", "delivery"]}, False),
        ({"status": "disabled", "keep_when_disabled": False}, False),
        ({"status": "disabled"}, True),
    ],
)
async def test_an_event_without_subscribers_is_not_stored(
    world: World, receiver: Receiver, columns: dict[str, Any], *, arrives: bool
) -> None:
    system = await system_subscription(world, receiver, **columns)
    subscription = await world.subscription(receiver.url(HOOK))
    await world.pool.execute(
        "INSERT INTO operational_facts (tenant_id, subscription_id, event_type, reason, deliveries)"
        " VALUES ('default', $1, 'delivery.exhausted', 'expired', 1)",
        subscription,
    )

    told_of, _ = await OperationalEventStore(world.pool, expiry_hours=1).tell()

    assert told_of == ({EventType.EXHAUSTED: 1} if arrives else {})
    assert await world.statuses(system) == ({"pending": 1} if arrives else {})
    assert await world.pool.fetchval("SELECT count(*) FROM operational_facts") == 0


async def test_stores_that_report_at_once_report_everything_once(world: World, receiver: Receiver) -> None:
    system = await system_subscription(world, receiver)
    subscription = await world.subscription(receiver.url(HOOK))
    await world.pool.execute(
        "INSERT INTO operational_facts (tenant_id, subscription_id, event_type)"
        " SELECT 'default', $1, 'subscription.recovered' FROM generate_series(1, 2500)",
        subscription,
    )
    stores = [OperationalEventStore(world.pool, expiry_hours=1) for _ in range(4)]

    async def tell_all(store: OperationalEventStore) -> int:
        number = 0
        while await world.pool.fetchval("SELECT EXISTS (SELECT FROM operational_facts)"):
            number += (await store.tell())[0].total()
        return number

    assert sum(await asyncio.gather(*map(tell_all, stores))) == 2500
    assert await world.statuses(system) == {"pending": 2500}


async def test_facts_are_looked_for_no_more_often_where_much_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever fails a delivery tells of it, whether anybody wants to know or not."""
    monkeypatch.setattr("services.delivery.operational_webhooks.events.INTERVAL_SECONDS", 3600.0)
    heard, looks = Signals(cast("Any", None)), 0

    class Store:
        async def is_anything(self) -> bool:
            nonlocal looks
            looks += 1
            return False

    store: Any = Store()
    await run_and_wake(operational.run(store, heard), heard, FACTS, until=lambda: looks)
    assert looks == 1
