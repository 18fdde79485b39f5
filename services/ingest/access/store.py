"""Tenants and API keys: the records, their rules, and their rows in Postgres."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import UUID

from services.domain import idempotency, limits
from services.domain.catalog.validation import Validation
from services.domain.idempotency import Key
from services.domain.notices import audit
from services.domain.notices.audit import Action, FieldChange
from services.domain.tenants.quotas import FRESH_SECONDS, RANGES, Quota
from services.ingest.access import portal_looks
from services.ingest.access.portal_looks import NO_LOOK, Look
from services.ingest.subscriptions.store import no_tenant
from services.platform import errors, ids
from services.platform.auth import identity
from services.platform.auth.roles import GIVEN_TO_KEYS, Capability, Role
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.ingest.access")


# That a key is limited to.
MAX_SUBSCRIPTIONS = 100
# Of a tenant; None: it has no such quota of its own.
OwnQuotas: TypeAlias = Mapping[Quota, float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a tenant used when that was last summed up."""

    subscriptions: int
    events_per_second: float
    waiting_deliveries: int
    stored_bytes: int
    scheduled_events: int
    scheduled_bytes: int
    measured_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Tenant:
    """A row of `tenants`, and what the tenant uses."""

    id: str
    name: str
    description: str
    created_at: datetime
    weight: int
    validation: Validation
    publishes_catalog: bool
    own: OwnQuotas
    # None: not known of late.
    usage: Usage | None
    portal: Look


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """A row of `api_keys`, without the digest."""

    id: UUID
    tenant_id: str
    name: str
    role: Role
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    requests_per_second: float | None
    capabilities: Sequence[Capability]
    # The only ones that it pulls from; empty: all of its tenant.
    pull_subscription_ids: Sequence[str]
    # Of a member; None: it is a key.
    oidc_subject: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantDraft:
    """The tenant that a caller wants; validated at construction."""

    id: str
    name: str
    description: str
    weight: int = limits.DEFAULT_WEIGHT
    validation: Validation = Validation.OFF
    own: OwnQuotas

    def __post_init__(self) -> None:
        """Raise InvalidArgument, which names the field at fault."""
        identity.check_tenant("id", self.id)
        _refuse(
            *_text_violations("name", self.name, limits.MAX_NAME_LENGTH),
            *_text_violations("description", self.description, limits.MAX_DESCRIPTION_LENGTH),
            *limits.WEIGHT.violations("weight", self.weight),
            *_quota_violations(self.own),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantUpdate:
    """The changes to a tenant that a caller wants; validated at construction. None: as it is."""

    name: str | None
    description: str | None
    weight: int | None = None
    validation: Validation | None = None
    publishes_catalog: bool | None = None
    # Only those that change.
    own: OwnQuotas
    # Of how its portal looks, by column; None: as in the console.
    portal: Mapping[str, str | bytes | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise InvalidArgument, which names the field at fault."""
        _refuse(
            *_text_violations("name", self.name or "", limits.MAX_NAME_LENGTH),
            *_text_violations("description", self.description or "", limits.MAX_DESCRIPTION_LENGTH),
            *limits.WEIGHT.violations("weight", self.weight),
            *_quota_violations(self.own),
        )
        portal_looks.check(self.portal)

    def columns(self) -> dict[str, Any]:
        """Return what to store, by column."""
        given = {
            name: getattr(self, name) for name in ("name", "description", "weight", "validation", "publishes_catalog")
        }
        return {name: value for name, value in given.items() if value is not None} | {
            quota.column: value for quota, value in self.own.items()
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyDraft:
    """The key that a caller wants; validated at construction."""

    tenant_id: str
    name: str
    # None: not a valid role.
    role: Role | None
    expires_at: datetime | None
    requests_per_second: float | None
    # None: one of them is not valid.
    capabilities: frozenset[Capability] | None = frozenset()
    pull_subscription_ids: frozenset[UUID] = frozenset()

    def __post_init__(self) -> None:
        """Raise InvalidArgument, which names each field at fault."""
        found = _text_violations("name", self.name, limits.MAX_NAME_LENGTH, required=True)
        if self.role not in GIVEN_TO_KEYS:
            found += _violation("role", "must be admin, write, ingest, read or pull")
        if self.expires_at is not None and self.expires_at <= datetime.now(UTC):
            found += _violation("expires_at", "must be in the future")
        found += limits.REQUESTS_PER_SECOND.violations("requests_per_second", self.requests_per_second)
        if self.capabilities is None:
            found += _violation("capabilities", f"must be some of {', '.join(Capability)}")
        elif Capability.ERASE in self.capabilities and self.role not in {Role.ADMIN, Role.WRITE}:
            found += _violation("capabilities", f"{Capability.ERASE} requires role write or admin")
        if self.pull_subscription_ids and self.role is not Role.PULL:
            found += _violation("pull_subscription_ids", f"requires role {Role.PULL}")
        elif len(self.pull_subscription_ids) > MAX_SUBSCRIPTIONS:
            found += _violation("pull_subscription_ids", f"must have at most {MAX_SUBSCRIPTIONS} entries")
        _refuse(*found)
        identity.check_tenant("tenant_id", self.tenant_id)


def _violation(field: str, description: str) -> list[errors.Violation]:
    return [errors.Violation(field=field, description=description)]


def _text_violations(field: str, text: str, longest: int, *, required: bool = False) -> list[errors.Violation]:
    if required and not text:
        return _violation(field, "is required")
    if "\x00" in text:
        return _violation(field, "must not contain NUL")
    return _violation(field, f"must be at most {longest} characters") if len(text) > longest else []


def _quota_violations(own: OwnQuotas) -> list[errors.Violation]:
    """Return what is wrong."""
    return [found for quota, value in own.items() for found in RANGES[quota].violations(f"quotas.{quota}", value)]


def _refuse(*found: errors.Violation) -> None:
    if found:
        raise errors.InvalidArgument.of(*found)


class AccessStore:
    """Every method raises one of STORE_AWAY when Postgres is away, and writes the audit entry of its change."""

    def __init__(self, pool: postgres.Pool, *, key_hours: int) -> None:
        self._pool = pool
        # Of idempotency keys.
        self._key_hours = key_hours

    async def create_tenant(
        self, draft: TenantDraft, render: Callable[[Tenant], bytes], key: Key | None = None
    ) -> tuple[Tenant | None, bytes]:
        """Store a new tenant. Raises Conflict if its id is, or was, in use. See idempotency.once."""

        async def insert(connection: postgres.Connection) -> Tenant:
            columns: dict[str, Any] = {
                name: getattr(draft, name) for name in ("name", "description", "weight", "validation")
            }
            columns |= {quota.column: draft.own.get(quota) for quota in Quota}
            statement = sql.with_columns(SQL["insert_tenant"], columns, before=1)
            row = await connection.fetchrow(statement, draft.id, *columns.values())
            if row is None:
                message = f"tenant {draft.id} exists or existed: an id is never used again"
                raise errors.Conflict(message, reason=errors.ErrorReason.TENANT_EXISTS)
            changes = [
                FieldChange(field="name", after=draft.name),
                *([FieldChange(field="weight", after=draft.weight)] if draft.weight != limits.DEFAULT_WEIGHT else ()),
                *([FieldChange(field="validation", after=draft.validation)] if draft.validation != "off" else ()),
                *(FieldChange(field=f"quotas.{quota}", after=value) for quota, value in draft.own.items() if value),
            ]
            entry = audit.Entry(action=Action.CREATE_TENANT, tenant_id=draft.id, resource_id=draft.id, changes=changes)
            await audit.record(connection, entry)
            return _tenant(row, usage=None)

        return await idempotency.once(self._pool, key, ids.new(), insert, render, hours=self._key_hours)

    async def tenant(self, tenant_id: str) -> Tenant:
        """Return a tenant. Raise NotFound if there is none."""
        row = await self._pool.fetchrow(SQL["select_tenant"], tenant_id, FRESH_SECONDS)
        if row is None:
            raise errors.NotFound(f"tenant {tenant_id} not found")
        return _shown(row)

    async def tenants_page(self, after: str, limit: int) -> list[Tenant]:
        """Return up to `limit` tenants with ids above `after`."""
        rows = await self._pool.fetch(SQL["select_tenants_page"], after, limit, FRESH_SECONDS)
        return [_shown(row) for row in rows]

    async def update_tenant(self, tenant_id: str, update: TenantUpdate) -> Tenant:
        """Change a tenant and return it. Raise NotFound if there is none."""
        async with self._pool.acquire() as connection, connection.transaction():
            before = await connection.fetchrow(SQL["lock_tenant"], tenant_id)
            if before is None:
                raise errors.NotFound(f"tenant {tenant_id} not found")
            columns = {name: value for name, value in update.columns().items() if before[name] != value}
            looks = await portal_looks.change(connection, tenant_id, update.portal) if update.portal else []
            if columns:
                statement = sql.with_columns(SQL["update_tenant"], columns, before=1)
                await connection.execute(statement, tenant_id, *columns.values())
            if columns or looks:
                changes = [_changed(before, name, value) for name, value in columns.items()]
                changes += [FieldChange(field=name) for name in looks]
                entry = audit.Entry(
                    action=Action.UPDATE_TENANT, tenant_id=tenant_id, resource_id=tenant_id, changes=changes
                )
                await audit.record(connection, entry)
            row = await connection.fetchrow(SQL["select_tenant"], tenant_id, FRESH_SECONDS)
            return _shown(row)

    async def delete_tenant(self, tenant_id: str) -> int:
        """Mark a tenant deleted, revoke its keys, and return how many.

        Raises NotFound; Conflict for the default tenant, and while it has subscriptions or unfinished deliveries.
        """
        if tenant_id == identity.DEFAULT_TENANT:
            raise errors.Conflict("the default tenant cannot be deleted", reason=errors.ErrorReason.TENANT_IS_DEFAULT)
        async with self._pool.acquire() as connection, connection.transaction():
            if await connection.fetchval(SQL["lock_tenant"], tenant_id) is None:
                raise errors.NotFound(f"tenant {tenant_id} not found")
            if await connection.fetchval(SQL["is_in_use"], tenant_id):
                message = "the tenant has subscriptions or unfinished deliveries; delete its subscriptions first"
                raise errors.Conflict(message, reason=errors.ErrorReason.TENANT_IN_USE)
            revoked = int(await connection.fetchval(SQL["mark_tenant_deleted"], tenant_id))
            entry = audit.Entry(
                action=Action.DELETE_TENANT, tenant_id=tenant_id, resource_id=tenant_id, affected=revoked
            )
            await audit.record(connection, entry)
            return revoked

    async def create_key(
        self,
        key_id: UUID,
        draft: KeyDraft,
        render: Callable[[ApiKey], bytes],
        key: Key | None = None,
        *,
        key_hash: bytes,
        prefix: str,
    ) -> tuple[ApiKey | None, bytes]:
        """Store a new key by its digest. Raise InvalidArgument if there is no such tenant. See idempotency.once."""

        async def insert(connection: postgres.Connection) -> ApiKey:
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
                sorted(draft.capabilities or ()),
                sorted(draft.pull_subscription_ids),
            )
            if row is None:
                raise no_tenant()
            made = _api_key(row)
            changes = [
                FieldChange(field=name, after=getattr(made, name))
                for name in ("name", "role", "expires_at", "requests_per_second", "capabilities")
                if getattr(made, name) not in (None, [])
            ]
            if made.pull_subscription_ids:
                changes.append(FieldChange(field="pull_subscription_ids", after=made.pull_subscription_ids))
            await audit.record(connection, _of_key(Action.CREATE_API_KEY, made, changes))
            return made

        return await idempotency.once(self._pool, key, key_id, insert, render, hours=self._key_hours)

    async def keys_page(self, tenant_id: str | None, before: UUID, limit: int) -> list[ApiKey]:
        """Return up to `limit` keys with ids below `before`, newest first; of all tenants if none is named."""
        return [_api_key(row) for row in await self._pool.fetch(SQL["select_keys_page"], tenant_id, before, limit)]

    async def revoke_key(self, key_id: UUID) -> ApiKey:
        """Revoke a key, unless it is already revoked. Raises NotFound."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(SQL["revoke_key"], key_id)
            if row is None:
                raise errors.NotFound(f"API key {key_id} not found")
            revoked = _api_key(row)
            if not row["was_revoked"]:
                changes = [
                    FieldChange(field="name", before=revoked.name),
                    FieldChange(field="role", before=revoked.role),
                ]
                await audit.record(connection, _of_key(Action.REVOKE_API_KEY, revoked, changes))
            return revoked


def _shown(row: Any) -> Tenant:
    return _tenant(row, usage=_usage(row), portal=Look.of(row))


def _tenant(row: Any, *, usage: Usage | None, portal: Look = NO_LOOK) -> Tenant:
    return sql.record(Tenant, row, own={quota: row[quota.column] for quota in Quota}, usage=usage, portal=portal)


def _usage(row: Any) -> Usage | None:
    if row["measured_at"] is None:
        return None
    sums = {quota.value: row[quota.value] or 0 for quota in Quota}
    return Usage(measured_at=row["measured_at"], **sums)


def _changed(before: Any, column: str, value: object) -> FieldChange:
    """Return what the audit log shows of a change: a description is free text, which it does not show."""
    if column == "description":
        return FieldChange(field=column)
    field = next((f"quotas.{quota}" for quota in Quota if quota.column == column), column)
    return FieldChange(field=field, before=before[column], after=value)


def _api_key(row: Any) -> ApiKey:
    return sql.record(
        ApiKey,
        row,
        role=Role(row["role"]),
        capabilities=[Capability(name) for name in row["capabilities"]],
        pull_subscription_ids=[str(name) for name in row["pull_subscription_ids"]],
    )


def _of_key(action: Action, key: ApiKey, changes: Sequence[FieldChange]) -> audit.Entry:
    return audit.Entry(action=action, tenant_id=key.tenant_id, resource_id=str(key.id), changes=changes)
