"""Rings for deliveries as ingest does."""

from functools import partial
from uuid import UUID

from services.domain.doorbell import IDS_PER_BELL, Ringer, Rung
from tests.delivery.world import World, until_true

# Rung and not yet due: what ingest stores when it rings.
RUNG = 10.0


async def ring(ringer: Ringer, *delivery_ids: UUID, subscription: UUID | None = None) -> None:
    """Rings a bell for each 64 of the ids; those of nothing are rung for as if they were of a subscription.

    Their own is looked up, unless it is said.
    """
    if subscription is None:
        query = "SELECT id, subscription_id FROM webhook_deliveries WHERE id = ANY($1)"
        owners = {row["id"]: row["subscription_id"] for row in await ringer._pool.fetch(query, delivery_ids)}
    else:
        owners = dict.fromkeys(delivery_ids, subscription)
    rung = [Rung(owners.get(delivery_id, UUID(int=0)), delivery_id) for delivery_id in delivery_ids]
    for start in range(0, len(rung), IDS_PER_BELL):
        bell = rung[start : start + IDS_PER_BELL]
        await until_true(partial(ringer.try_ring, bell), "a bell to be rung")


async def heard_one(world: World, ringer: Ringer, subscription: UUID) -> None:
    """Waits until the worker hears bells: from then on it does not look in Postgres."""
    delivery_id = await world.deliver(subscription, due_in=RUNG)
    await ring(ringer, delivery_id)
    await world.in_state(delivery_id)
