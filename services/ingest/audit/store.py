"""Lists audit entries in Postgres; services/domain/notices/audit.py writes them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from services.domain.notices.audit import FieldChange
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.ingest.audit")
_CHANGES = msgspec.json.Decoder(list[FieldChange])


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """Which entries to list; None means any."""

    tenant_id: str | None
    actor: str | None
    action: str | None
    resource_type: str | None
    resource_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredEntry:
    """A row of `audit_entries`."""

    id: UUID
    created_at: datetime
    tenant_id: str
    actor: str
    # None if the actor is not an API key.
    actor_name: str | None
    actor_role: str | None
    actor_tenant_id: str | None
    action: str
    resource_type: str
    resource_id: str
    changes: list[FieldChange]
    affected: int | None


class AuditStore:
    """Every method raises one of stores.availability.STORE_AWAY when Postgres is away."""

    def __init__(self, pool: postgres.Pool) -> None:
        self._pool = pool

    async def page(self, wanted: Filter, *, before: UUID, since: UUID, limit: int) -> list[StoredEntry]:
        """Return up to `limit` entries with ids below `before` and not below `since`, newest first."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(SQL["plan_for_itself"])
            rows = await connection.fetch(
                SQL["select_entries"],
                before,
                since,
                wanted.tenant_id,
                wanted.actor,
                wanted.action,
                wanted.resource_type,
                wanted.resource_id,
                limit,
            )
        return [sql.record(StoredEntry, row, changes=_CHANGES.decode(row["changes"])) for row in rows]
