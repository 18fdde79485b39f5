"""The processes of the service, as they note themselves in Postgres."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from services.platform.process.presence import REPEAT_SECONDS, Presence
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.platform.stores")
# A process that has said nothing for so long is missing, and is forgotten later.
MISSING = timedelta(seconds=2.5 * REPEAT_SECONDS)
FORGOTTEN = timedelta(hours=1)
# Rows are few; callers without a key, where none is required, cannot make many.
MOST = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Noted:
    """A row of `processes`."""

    id: UUID
    roles: list[str]
    instance: str
    pid: int
    version: str
    started_at: datetime
    seen_at: datetime
    missing: bool
    slots: int | None
    busy_slots: int | None


class ProcessStore:
    """The register of processes."""

    def __init__(self, pool: postgres.Pool) -> None:
        self._pool = pool

    async def note(self, presence: Presence) -> None:
        """Note that a process is there; forget those that have not been for long, and a missing one in its place."""
        await self._pool.execute(
            SQL["note_process"],
            presence.id,
            list(presence.roles),
            presence.instance,
            presence.pid,
            presence.version,
            presence.started_at,
            presence.slots,
            presence.busy_slots,
            FORGOTTEN,
            MOST,
            MISSING,
        )

    async def forget(self, presence: Presence) -> None:
        """Forget a process that ends."""
        await self._pool.execute(SQL["forget_process"], presence.id)

    async def all(self, limit: int) -> list[Noted]:
        """Return the processes, by role and age."""
        rows = await self._pool.fetch(SQL["select_processes"], MISSING, limit)
        return [sql.record(Noted, row) for row in rows]
