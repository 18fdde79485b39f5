"""What a worker changes by itself stands in the audit log as the service's own doing."""

import json

from dev.harness.receiver import Receiver
from tests.delivery.world import World, until_true


async def test_a_subscription_that_the_worker_disables_leaves_one_entry_of_the_system(
    world: World, receiver: Receiver
) -> None:
    receiver.script(then=410)
    subscription_id = await world.subscription(receiver.url())
    await world.deliver_many(subscription_id, 3)
    query = "SELECT * FROM audit_entries WHERE resource_id = $1"

    async with world.running():
        await until_true(lambda: world.pool.fetchval(query, str(subscription_id)), "the entry to be written")
        await world.in_state((await world.deliver_many(subscription_id, 1))[0], "pending", "scheduled")

    (entry,) = await world.pool.fetch(query, str(subscription_id))
    assert (entry["actor"], entry["actor_name"]) == ("system", None)
    assert (entry["action"], entry["tenant_id"]) == ("subscription.disable", world.tenant_id)
    assert json.loads(entry["changes"]) == [
        {"field": "status", "before": "active", "after": "disabled"},
        {"field": "status_reason", "after": "gone"},
    ]
