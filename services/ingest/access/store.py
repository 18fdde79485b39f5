"""Tenants and API keys in Postgres."""

from uuid import UUID

from services.common import errors, postgres, sql, tenants
from services.ingest.access.records import ApiKey, KeyDraft, Tenant, TenantDraft
from services.ingest.store import no_tenant

SQL = sql.Queries("services.ingest.access")


class AccessStore:
    """Every method raises what errors.STORE_AWAY lists when Postgres is away."""

    def __init__(self, pool: postgres.Pool) -> None:
        self._pool = pool

    async def create_tenant(self, draft: TenantDraft) -> Tenant:
        """Stores a new tenant; Conflict when there is, or was, one of its id."""
        row = await self._pool.fetchrow(SQL["insert_tenant"], draft.id, draft.name, draft.description)
        if row is None:
            message = f"there is a tenant {draft.id} already, or was: an id is never given twice"
            raise errors.Conflict(message, reason="TENANT_EXISTS")
        return Tenant.from_row(row)

    async def tenants_page(self, after: str, limit: int) -> list[Tenant]:
        """Up to `limit` tenants with ids above `after`."""
        return [Tenant.from_row(row) for row in await self._pool.fetch(SQL["select_tenants_page"], after, limit)]

    async def delete_tenant(self, tenant_id: str) -> int:
        """Marks a tenant deleted and revokes its keys; answers how many.

        NotFound when there is none; Conflict for the default one, and while it has something to be done.
        """
        if tenant_id == tenants.DEFAULT:
            raise errors.Conflict("the default tenant cannot be deleted", reason="TENANT_IS_DEFAULT")
        async with self._pool.acquire() as connection, connection.transaction():
            if await connection.fetchval(SQL["lock_tenant"], tenant_id) is None:
                raise errors.NotFound(f"no tenant {tenant_id}")
            if await connection.fetchval(SQL["is_in_use"], tenant_id):
                message = "the tenant has subscriptions or unfinished deliveries; delete its subscriptions first"
                raise errors.Conflict(message, reason="TENANT_IN_USE")
            return int(await connection.fetchval(SQL["mark_tenant_deleted"], tenant_id))

    async def create_key(self, key_id: UUID, draft: KeyDraft, *, key_hash: bytes, prefix: str) -> ApiKey:
        """Stores a new key by its digest; InvalidArgument when there is no such tenant."""
        row = await self._pool.fetchrow(
            SQL["insert_key"],
            key_id,
            draft.tenant_id,
            key_hash,
            prefix,
            draft.name,
            draft.role,
            draft.expires_at,
            draft.requests_per_second,
        )
        if row is None:
            raise no_tenant()
        return ApiKey.from_row(row)

    async def keys_page(self, tenant_id: str | None, before: UUID, limit: int) -> list[ApiKey]:
        """Up to `limit` keys with ids below `before`, newest first; of all tenants when none is named."""
        return [
            ApiKey.from_row(row) for row in await self._pool.fetch(SQL["select_keys_page"], tenant_id, before, limit)
        ]

    async def revoke_key(self, key_id: UUID) -> ApiKey:
        """Revokes a key; one that is revoked stays so. NotFound when there is none."""
        row = await self._pool.fetchrow(SQL["revoke_key"], key_id)
        if row is None:
            raise errors.NotFound(f"no API key {key_id}")
        return ApiKey.from_row(row)
