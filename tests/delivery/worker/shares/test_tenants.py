"""One tenant never delays another, on real stores: its hanging receivers leave capacity for others."""

import dataclasses
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from dev.harness import receiver as receivers
from dev.harness.network.nameserver import Nameserver
from dev.harness.receiver import Receiver, Reply
from dev.harness.waiting import wait_until
from protos.webhook.v1 import deliveries_pb2 as pb
from services.delivery.destinations.http import resolver
from services.domain.egress.policy import Policy
from services.domain.states import Hold
from tests.delivery.world import PATIENT, Client, Counted, World, until_true

MANY_SLOTS: dict[str, Any] = {**PATIENT, "worker_concurrency": 64}


@pytest.fixture
async def quiet(world: World) -> World:
    """Another tenant on the same stores."""
    await world.pool.execute("INSERT INTO tenants (id, name) VALUES ('quiet', 'Quiet') ON CONFLICT DO NOTHING")
    return dataclasses.replace(world, tenant_id="quiet")


@pytest.fixture
async def other_receiver() -> AsyncIterator[Receiver]:
    """A receiver at another host and port."""
    async with receivers.receiving() as made:
        yield made


async def hang(world: World, receiver: Receiver, number: int, *, each: int = 4) -> list[UUID]:
    """Create subscriptions with deliveries, whose receivers never respond."""
    made = []
    for count in range(number):
        path = f"/hang-{count}"
        receiver.script(then=Reply(hang=True), path=path)
        made.append(await world.subscription(receiver.url(path)))
        await world.deliver_many(made[-1], each)
    return made


async def attempts(world: World, subscriptions: list[UUID]) -> int:
    query = "SELECT count(*) FROM delivery_attempts WHERE subscription_id = ANY($1)"
    return int(await world.pool.fetchval(query, subscriptions))


async def is_held(world: World, client: Client, subscriptions: list[UUID]) -> bool:
    """Return whether the API shows that some deliveries wait because of concurrency."""
    query = "SELECT id FROM webhook_deliveries WHERE subscription_id = ANY($1) ORDER BY random() LIMIT 20"
    for row in await world.pool.fetch(query, subscriptions):
        request = pb.GetDeliveryRequest(tenant_id=world.tenant_id, delivery_id=str(row["id"]))
        if (await client.GetDelivery(request)).delivery.held_by == Hold.CONCURRENCY:
            return True
    return False


async def test_receivers_of_one_tenant_that_hang_leave_many_slots_to_another(
    world: World, quiet: World, receiver: Receiver, other_receiver: Receiver
) -> None:
    """Also to endpoints without history, several at a time."""
    async with world.running(**MANY_SLOTS):
        hanging = await hang(world, receiver, 100)
        await wait_until(lambda: receiver.in_flight >= 48, what="the worker to be full of what hangs")
        subscriptions = [await quiet.subscription(other_receiver.url(f"/{number}")) for number in range(6)]
        for number in range(6):
            other_receiver.script(Reply(hang=True), path=f"/{number}")
        for subscription in subscriptions:
            await quiet.deliver_many(subscription, 1)
        # All at the same time: with only one slot, only the first one would arrive.
        await wait_until(lambda: other_receiver.in_flight == 6, what="six requests beside those that hang")
        other_receiver.release()
        for subscription in subscriptions:
            await quiet.deliver_many(subscription, 50)
        for subscription in subscriptions:
            await quiet.all_in(subscription, "delivered", 51)
        assert receiver.in_flight >= 48
        assert await attempts(world, hanging) == 0
        receiver.release()
        for subscription in hanging:
            await world.all_in(subscription, "delivered", 4)
        assert await attempts(world, hanging) == 400


async def test_a_tenant_has_its_bound_over_all_workers_and_what_is_over_it_is_held(
    world: World, quiet: World, receiver: Receiver, other_receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.delivery.worker.__main__.PRESENCE_SECONDS", 0.1)
    bound: dict[str, Any] = {**MANY_SLOTS, "tenant_concurrency": 16}
    async with world.delivery() as client, world.worker(**bound), world.worker(**bound):
        counted = Counted("webhook_worker_ids_total", source="doorbell")

        async def two() -> bool:
            return bool(await world.pool.fetchval("SELECT count(*) FROM workers") == 2)

        await until_true(two, "both workers to be counted")
        # Each has counted the other by then.
        warm = await quiet.subscription(other_receiver.url("/warm"))
        for _ in range(5):
            await quiet.deliver_many(warm, 1)
        await quiet.all_in(warm, "delivered", 5)
        hanging = await hang(world, receiver, 30)
        await wait_until(lambda: receiver.in_flight >= 12, what="the tenant to be at its bound")
        handed_back = Counted("webhook_deliveries_handed_back_total", reason="concurrency")
        for subscription in hanging:
            await world.deliver_many(subscription, 20)
        await wait_until(lambda: handed_back() > 0, what="deliveries to be handed back")
        subscription = await quiet.subscription(other_receiver.url())
        await quiet.deliver_many(subscription, 100)
        await quiet.all_in(subscription, "delivered", 100)
        assert receiver.max_in_flight <= 16
        assert await attempts(world, hanging) == 0
        assert counted() > 0
        await until_true(partial(is_held, world, client, hanging), "deliveries held by concurrency")
        receiver.release()
        for name in hanging:
            await world.all_in(name, "delivered", 24)
        assert receiver.max_in_flight <= 16
        assert await attempts(world, hanging) == 30 * 24


async def test_a_host_has_its_bound_over_all_tenants_and_each_of_them_gets_through(
    world: World, quiet: World, receiver: Receiver, other_receiver: Receiver
) -> None:
    """Two tenants of one chat vendor; one of them has hanging channels there."""
    async with world.running(**MANY_SLOTS, target_host_concurrency=16) as client:
        hanging = await hang(world, receiver, 30)
        await wait_until(lambda: receiver.in_flight >= 12, what="the host to be at its bound")
        subscription = await quiet.subscription(receiver.url("/quick"))
        await quiet.deliver_many(subscription, 60)
        elsewhere = await world.subscription(other_receiver.url())
        await world.deliver_many(elsewhere, 60)
        await quiet.all_in(subscription, "delivered", 60)
        await world.all_in(elsewhere, "delivered", 60)
        assert receiver.max_in_flight <= 16
        assert await attempts(world, hanging) == 0

        for name in hanging:
            await world.deliver_many(name, 20)
        await until_true(partial(is_held, world, client, hanging), "deliveries held by concurrency")
        receiver.release()
        for name in hanging:
            await world.all_in(name, "delivered", 24)
        assert receiver.max_in_flight <= 16


async def test_large_payloads_of_one_tenant_leave_memory_to_those_of_another(
    world: World, quiet: World, receiver: Receiver, other_receiver: Receiver
) -> None:
    receiver.script(then=Reply(hang=True))
    size = 70_000
    async with world.running(**MANY_SLOTS, large_payload_budget_bytes=8 * size):
        for _ in range(20):
            await world.deliver(await world.subscription(receiver.url()), b"x" * size)
        await wait_until(lambda: receiver.in_flight == 7, what="the tenant to have its part of the memory")
        subscription = await quiet.subscription(other_receiver.url())
        for _ in range(5):
            await quiet.deliver(subscription, b"x" * size)
        await quiet.all_in(subscription, "delivered", 5)
        assert receiver.in_flight == 7
        receiver.release()


async def test_hanging_names_of_one_tenant_do_not_delay_those_of_another(
    world: World,
    quiet: World,
    receiver: Receiver,
    name_server: Nameserver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Names under the same public suffix; none of the endpoints has a history."""
    monkeypatch.setattr(resolver, "LOOKUP_SECONDS", 600.0)
    monkeypatch.setattr(resolver, "QUERIES", 12)
    name_server.hang("*.hanging.co.uk")
    name_server.say("*.quiet.co.uk", "127.0.0.1")
    async with world.delivery(), world.worker(**MANY_SLOTS, policy=Policy.parse(["127.0.0.0/8", "*.quiet.co.uk"])):
        hanging = []
        for number in range(100):
            hanging.append(await world.subscription(f"http://{number}.hanging.co.uk/"))
            await world.deliver_many(hanging[-1], 1)
        await wait_until(lambda: len({name for name, _ in name_server.asked}) >= 48, what="names to hang")
        for number in range(6):
            subscription = await quiet.subscription(f"http://{number}.quiet.co.uk:{receiver.port}/")
            await quiet.deliver_many(subscription, 20)
            await quiet.all_in(subscription, "delivered", 20)
        assert await attempts(world, hanging) == 0
