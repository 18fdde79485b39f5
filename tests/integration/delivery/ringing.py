"""Rings for deliveries as ingest does."""

from functools import partial
from uuid import UUID

from services.common.doorbell import IDS_PER_BELL, Ringer
from tests.integration.delivery.world import World, until_true

# Rung and not yet due: what ingest stores when it rings.
RUNG = 10.0


async def ring(ringer: Ringer, *delivery_ids: UUID) -> None:
    """Rings a bell for each 64 of the ids."""
    for start in range(0, len(delivery_ids), IDS_PER_BELL):
        bell = delivery_ids[start : start + IDS_PER_BELL]
        await until_true(partial(ringer.try_ring, bell), "a bell to be rung")


async def heard_one(world: World, ringer: Ringer, subscription: UUID) -> None:
    """Waits until the worker hears bells: from then on it does not look in Postgres."""
    delivery_id = await world.deliver(subscription, due_in=RUNG)
    await ring(ringer, delivery_id)
    await world.in_state(delivery_id)
