"""Deletes subscriptions that nobody has pulled from for as long as they say."""

import contextlib
from collections.abc import Sequence
from uuid import UUID

import structlog

from services.delivery.destinations.pull.store import SQL
from services.domain import subscriptions
from services.domain.notices import audit
from services.domain.notices.audit import Action, FieldChange
from services.domain.notices.subscription_changes import NO_COPY, Copies
from services.platform.process import background
from services.platform.stores import postgres
from services.platform.stores.redis import REDIS_AWAY

log = structlog.get_logger(__name__)

# When somebody pulled last is written down so often, of those that expire: the shortest time is a minute.
NOTE_SECONDS = 10.0
LOOK_SECONDS = 30.0
DELETED_AT_ONCE = 100


class Idle:
    """Who pulls from subscriptions that expire."""

    def __init__(self, pool: postgres.Pool, copies: Copies) -> None:
        self._pool = pool
        self._copies = copies
        self._pulled: set[UUID] = set()
        self._now = background.Alarm()

    def note(self, subscription_id: UUID) -> None:
        """Note that somebody pulls from a subscription that expires."""
        if not self._pulled:
            self._now.set(NOTE_SECONDS)
        self._pulled.add(subscription_id)

    async def write(self) -> None:
        """Write down who pulled, until cancelled; nothing while nobody does."""

        async def step() -> float:
            pulled, self._pulled = self._pulled, set()
            if pulled:
                try:
                    await self._pool.execute(SQL["note_pulled"], sorted(pulled))
                except BaseException:
                    self._pulled |= pulled
                    raise
            return 3600.0

        await background.repeat(step, interval_seconds=NOTE_SECONDS, at_once=False, quiet=True, wake=self._now)

    async def expire(self) -> None:
        """Delete those that have been idle for too long, until cancelled."""

        async def step() -> float:
            deleted = await postgres.repeat_rolled_back(self._delete)
            for subscription_id, tenant_id, version in deleted:
                log.info("a subscription that nobody pulls from is deleted", subscription_id=str(subscription_id))
                with contextlib.suppress(*REDIS_AWAY):  # copies end within a minute
                    await self._copies.tell(subscription_id, tenant_id, NO_COPY, version)
            return 0.0 if len(deleted) == DELETED_AT_ONCE else LOOK_SECONDS

        await background.repeat(step, interval_seconds=LOOK_SECONDS, quiet=True)

    async def _delete(self) -> Sequence[tuple[UUID, str, int]]:
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(SQL["lock_idle"], DELETED_AT_ONCE)
            if not rows:
                return []
            versions = await subscriptions.delete(connection, [row["id"] for row in rows])
            entries = (
                audit.Entry(
                    action=Action.DELETE_SUBSCRIPTION,
                    tenant_id=row["tenant_id"],
                    resource_id=str(row["id"]),
                    changes=[FieldChange(field="expires_after_idle_seconds", before=row["expires_after_idle_seconds"])],
                )
                for row in rows
            )
            await audit.record(connection, *entries, actor=audit.SYSTEM)
        return [(row["id"], row["tenant_id"], versions[row["id"]]) for row in rows]
