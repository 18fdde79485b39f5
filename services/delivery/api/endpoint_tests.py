"""Test events on behalf of callers: asked for by a row that a worker takes in hand, and answered with its attempt.

Only workers may connect to endpoints. The row is looked at until it has the attempt; no connection is held meanwhile.
"""

import asyncio
import time
from uuid import UUID

from services.delivery.api.store import SQL, Attempt, attempt_of
from services.domain import endpoint_tests
from services.domain.deliveries import ENDPOINT_TESTS, Destination
from services.domain.notices import audit
from services.domain.notices.audit import Action
from services.domain.states import SubscriptionState
from services.platform import errors, ids
from services.platform.auth import identity
from services.platform.stores import postgres
from services.platform.stores.signals import Signals

# A worker takes one in hand within this time, or it is not sent. Longer than it takes to look without a signal.
TAKEN_SECONDS = 5.0
# Longer than the longest timeout of a subscription, and the recording.
ANSWERED_SECONDS = 38.0
# Between two looks at the row: the first, by how much each is longer than the one before, and the longest.
LOOK_SECONDS, LOOK_FACTOR, MAX_LOOK_SECONDS = 0.02, 1.5, 0.25


class EndpointTestStore:
    """What asking for test events takes of Postgres. Every method raises STORE_AWAY when it is away."""

    def __init__(self, pool: postgres.Pool) -> None:
        self._pool = pool

    async def ask(self, tenant_id: str, subscription_id: UUID) -> UUID:
        """Ask for a test event to be sent to a subscription, and note who did; return its id.

        NotFound for an unknown or deleted subscription, Conflict for one that is not verified or that
        consumers pull from, and what endpoint_tests.admit raises.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            found = await connection.fetchrow(SQL["select_status"], tenant_id, subscription_id)
            if found is None:
                raise errors.NotFound(f"subscription {subscription_id} not found")
            if found["destination"] == Destination.PULL:
                message = "the subscription has no target to send a test event to; publish an event and pull it"
                raise errors.Conflict(message, reason=errors.ErrorReason.WRONG_DESTINATION)
            if found["status"] == SubscriptionState.UNVERIFIED:
                message = "the subscription's target has not answered a challenge yet"
                raise errors.Conflict(message, reason=errors.ErrorReason.SUBSCRIPTION_UNVERIFIED)
            await endpoint_tests.admit(connection, tenant_id, subscription_id)
            test_id, actor = ids.new(), identity.CALLER.get().key_id
            await connection.execute(SQL["insert_test"], test_id, subscription_id, tenant_id, actor)
            entry = audit.Entry(action=Action.TEST_SUBSCRIPTION, tenant_id=tenant_id, resource_id=str(subscription_id))
            await audit.record(connection, entry)
        return test_id

    async def check(self, tenant_id: str, test_id: UUID) -> None:
        """Raise NotFound unless the tenant has asked for this test event of a subscription that is not created."""
        if not await self._pool.fetchval(SQL["has_test"], tenant_id, test_id):
            raise errors.NotFound(f"test event {test_id} not found")

    async def look(self, test_id: UUID) -> tuple[bool, Attempt | None]:
        """Return whether a worker has taken a test event in hand, and its attempt once it has ended."""
        row = await self._pool.fetchrow(SQL["select_test"], test_id)
        if row is None:
            return True, None
        return row["taken"], attempt_of(row) if row["outcome"] is not None else None

    async def withdraw(self, test_id: UUID) -> bool:
        """Take back a test event, unless a worker has it; return whether it is taken back."""
        return bool(await self._pool.fetchval(SQL["withdraw_test"], test_id))


class EndpointTests:
    """Has test events sent, and waits for what becomes of them."""

    def __init__(self, store: EndpointTestStore, heard: Signals) -> None:
        self._store = store
        self._signals = heard

    async def test(self, tenant_id: str, subscription_id: UUID) -> tuple[UUID, Attempt]:
        """Send a test event to a subscription; return its id and the attempt.

        Raises what `ask` raises; Unavailable when no worker took it, and then it is not sent; OutcomeUnknown when the
        worker that took it was lost.
        """
        test_id = await self._store.ask(tenant_id, subscription_id)
        return test_id, await self._attempt(test_id)

    async def of_new(self, tenant_id: str, test_id: UUID) -> Attempt:
        """Return the attempt of a test event that was asked for of a subscription that is not created.

        Raises what `check` raises, and what `test` raises while it waits.
        """
        await self._store.check(tenant_id, test_id)
        return await self._attempt(test_id)

    async def _attempt(self, test_id: UUID) -> Attempt:
        self._signals.wake(ENDPOINT_TESTS)
        began_at = time.monotonic()
        pause_seconds = LOOK_SECONDS
        while (waited := time.monotonic() - began_at) < ANSWERED_SECONDS:
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(MAX_LOOK_SECONDS, pause_seconds * LOOK_FACTOR)
            taken, attempt = await self._store.look(test_id)
            if attempt is not None:
                return attempt
            if not taken and waited > TAKEN_SECONDS and await self._store.withdraw(test_id):
                raise errors.Unavailable("no worker had room for the test event in time; nothing was sent")
        raise errors.OutcomeUnknown("the worker that took the test event was lost; it may have been sent")
