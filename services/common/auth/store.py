"""API keys in Postgres, as those look at them who let callers in."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from services.common import errors, postgres, sql
from services.common.auth import keys
from services.common.auth.identity import Identity
from services.common.auth.roles import Role

SQL = sql.Queries("services.common.auth")


class KeyStore:
    """Every method raises what errors.STORE_AWAY lists when Postgres is away."""

    def __init__(self, pool: postgres.Pool) -> None:
        self._pool = pool

    async def find(self, key_hash: bytes) -> Identity:
        """Whose key has this digest; Unauthenticated when nobody's has, or it has come to its end."""
        return _identity(await self._pool.fetchrow(SQL["select_key"], key_hash))

    async def find_by_id(self, key_id: UUID) -> Identity:
        """Return the holder of the key with this id; Unauthenticated if there is none, or it is revoked or expired."""
        return _identity(await self._pool.fetchrow(SQL["select_key_by_id"], key_id))

    async def note_used(self, key_ids: Sequence[UUID]) -> None:
        """Notes that these keys were used just now."""
        await self._pool.execute(SQL["note_used"], key_ids)


def _identity(row: asyncpg.Record | None) -> Identity:
    if row is None or row["revoked"]:
        raise keys.invalid()
    if row["expired"]:
        raise errors.Unauthenticated("the API key has expired", reason="KEY_EXPIRED")
    return Identity(
        tenant_id=row["tenant_id"],
        role=Role(row["role"]),
        key_id=str(row["id"]),
        requests_per_second=row["requests_per_second"],
    )
