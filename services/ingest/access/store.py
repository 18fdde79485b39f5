"""Tenants and API keys in Postgres. What changes one tells the audit log in the same transaction."""

from collections.abc import Sequence
from uuid import UUID

from services.domain import audit
from services.domain.audit import Action, FieldChange
from services.ingest.access.records import ApiKey, KeyDraft, Tenant, TenantDraft
from services.ingest.store import no_tenant
from services.platform import errors
from services.platform.auth import tenants
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.ingest.access")


class AccessStore:
    """Every method raises what errors.STORE_AWAY lists when Postgres is away."""

    def __init__(self, pool: postgres.Pool) -> None:
        self._pool = pool

    async def create_tenant(self, draft: TenantDraft) -> Tenant:
        """Stores a new tenant; Conflict when there is, or was, one of its id."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(SQL["insert_tenant"], draft.id, draft.name, draft.description)
            if row is None:
                message = f"there is a tenant {draft.id} already, or was: an id is never given twice"
                raise errors.Conflict(message, reason="TENANT_EXISTS")
            changes = [FieldChange(field="name", after=draft.name)]
            entry = audit.Entry(action=Action.CREATE_TENANT, tenant_id=draft.id, resource_id=draft.id, changes=changes)
            await audit.record(connection, entry)
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
            revoked = int(await connection.fetchval(SQL["mark_tenant_deleted"], tenant_id))
            entry = audit.Entry(
                action=Action.DELETE_TENANT, tenant_id=tenant_id, resource_id=tenant_id, affected=revoked
            )
            await audit.record(connection, entry)
            return revoked

    async def create_key(self, key_id: UUID, draft: KeyDraft, *, key_hash: bytes, prefix: str) -> ApiKey:
        """Stores a new key by its digest; InvalidArgument when there is no such tenant."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(
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
            made = ApiKey.from_row(row)
            changes = [
                FieldChange(field=name, after=getattr(made, name))
                for name in ("name", "role", "expires_at", "requests_per_second")
                if getattr(made, name) is not None
            ]
            await audit.record(connection, _of_key(Action.CREATE_API_KEY, made, changes))
            return made

    async def keys_page(self, tenant_id: str | None, before: UUID, limit: int) -> list[ApiKey]:
        """Up to `limit` keys with ids below `before`, newest first; of all tenants when none is named."""
        return [
            ApiKey.from_row(row) for row in await self._pool.fetch(SQL["select_keys_page"], tenant_id, before, limit)
        ]

    async def revoke_key(self, key_id: UUID) -> ApiKey:
        """Revokes a key; one that is revoked stays so. NotFound when there is none."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(SQL["revoke_key"], key_id)
            if row is None:
                raise errors.NotFound(f"no API key {key_id}")
            revoked = ApiKey.from_row(row)
            if not row["was_revoked"]:
                changes = [
                    FieldChange(field="name", before=revoked.name),
                    FieldChange(field="role", before=revoked.role),
                ]
                await audit.record(connection, _of_key(Action.REVOKE_API_KEY, revoked, changes))
            return revoked


def _of_key(action: Action, key: ApiKey, changes: Sequence[FieldChange]) -> audit.Entry:
    return audit.Entry(action=action, tenant_id=key.tenant_id, resource_id=str(key.id), changes=changes)
