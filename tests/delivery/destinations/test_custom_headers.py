"""Headers of a subscription's own reach its receiver."""

from uuid import UUID

from dev.harness.keys import vault
from dev.harness.receiver import Receiver, Reply
from tests.delivery.conftest import Shared
from tests.delivery.world import World

SET = "UPDATE subscriptions SET sealed_headers = $2 WHERE id = $1"


async def _subscription(world: World, receiver: Receiver, values: dict[str, str]) -> UUID:
    made = await world.subscription(receiver.url(), secret_key="s3cret")
    await world.pool.execute(SET, made, vault().seal_headers(made, values))
    return made


async def test_a_request_carries_them_besides_the_services_own(shared: Shared, receiver: Receiver) -> None:
    values = {"Authorization": "Bearer t", "X-Shop": 'a, b; c="d"'}
    delivery_id = await shared.world.deliver(await _subscription(shared.world, receiver, values))
    await shared.world.in_state(delivery_id, "delivered")
    (request,) = receiver.requests
    assert {name: request.headers[name] for name in values} == values
    assert request.headers["webhook-id"] == str(delivery_id)
    assert {"webhook-signature", "X-Hub-Signature-256"} <= {*request.headers}


async def test_another_subscription_has_none_of_them(shared: Shared, receiver: Receiver) -> None:
    theirs = await shared.world.deliver(await _subscription(shared.world, receiver, {"Authorization": "Bearer t"}))
    await shared.world.in_state(theirs, "delivered")
    ours = await shared.world.deliver(await shared.world.subscription(receiver.url()))
    await shared.world.in_state(ours, "delivered")
    assert ["Authorization" in request.headers for request in receiver.requests] == [True, False]


async def test_an_attempt_carries_those_that_hold_at_its_time(shared: Shared, receiver: Receiver) -> None:
    subscription_id = await _subscription(shared.world, receiver, {"X-Token": "old"})
    receiver.script(Reply(status=500), 200)
    delivery_id = await shared.world.deliver(subscription_id)
    await shared.world.in_state(delivery_id, "scheduled")
    await shared.world.pool.execute(SET, subscription_id, vault().seal_headers(subscription_id, {"X-Token": "new"}))
    await shared.world.in_state(delivery_id, "delivered")
    assert [request.headers["X-Token"] for request in receiver.requests] == ["old", "new"]
