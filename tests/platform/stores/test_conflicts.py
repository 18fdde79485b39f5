"""A transaction that Postgres rolls back for a conflict is repeated, and nothing is refused or lost."""

from dev.harness.receiver import Receiver
from dev.harness.stores import CONFLICTS, conflicting
from tests.delivery.world import opened
from tests.ingest.conftest import serving


async def test_an_event_is_taken_in_spite_of_conflicts(database: str, redis_url: str) -> None:
    async with serving(database, redis_url) as ingest:
        made = await ingest.create()
        await ingest.pool.execute(CONFLICTS + conflicting("webhook_events", 2))
        assert (await ingest.send(made.id)).deliveries == 1
        assert await ingest.pool.fetchval("SELECT last_value FROM tries") == 3


async def test_a_change_of_a_subscription_is_made_in_spite_of_conflicts(database: str, redis_url: str) -> None:
    async with serving(database, redis_url) as ingest:
        made = await ingest.create()
        await ingest.pool.execute(CONFLICTS + conflicting("subscriptions", 2))
        assert (await ingest.update(made.id, description="changed")).spec.description == "changed"


async def test_an_outcome_is_recorded_once_however_many_conflicts(
    database: str, redis_url: str, receiver: Receiver
) -> None:
    async with opened(database, redis_url) as world:
        # After more conflicts than a statement is repeated for, the recorder keeps it as while Postgres is unavailable.
        await world.pool.execute(CONFLICTS + conflicting("delivery_attempts", 7))
        async with world.running():
            await world.in_state(await world.deliver(await world.subscription(receiver.url())))
        assert await world.pool.fetchval("SELECT last_value FROM tries") == 8
    assert len(receiver.requests) == 1
