"""Admins act in tenants other than their own: the tenant must exist, and the audit log says who was there.

A change has its own entry, in its transaction. A call that only reads, or takes events in, gets one here: the first of
its kind by a key, in a tenant, at a process, in each ENTRY_SECONDS.
"""

from collections.abc import Iterator
from typing import Any

from services.domain import audit
from services.domain.audit import Action, FieldChange
from services.platform import errors
from services.platform.auth import roles, tenants
from services.platform.auth.identity import Identity
from services.platform.auth.known import Known
from services.platform.auth.roles import Role, Service
from services.platform.process.bounds import BoundedCache
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.domain")

ENTRY_SECONDS = 60.0
# Kinds of calls that are remembered; the oldest are forgotten, and get another entry.
SIZE = 10_000
_CROSS = frozenset((Role.ADMIN, Role.ANYBODY))
_LEAVE_OWN_ENTRY = Role.WRITE


class Crossings:
    """Looks at each call before it is made."""

    def __init__(self, pool: postgres.Pool) -> None:
        self._pool = pool
        self._existing: Known[str, str] = Known(self._find)
        self._entered: BoundedCache[tuple[str, str, str], bool] = BoundedCache(SIZE, ttl_seconds=ENTRY_SECONDS)

    async def enter(self, caller: Identity, method: str, request: Any) -> None:
        """Let a caller act in the tenants that a request states; InvalidArgument for one that does not exist.

        Whether the caller may state them is checked by tenants.of.
        """
        if caller.role not in _CROSS:
            return
        rule = roles.RULES.get(method)
        if rule is None or rule.service is Service.KEY:  # operators' services are of no tenant
            return
        for tenant_id in {stated for stated in _stated(caller, request) if stated not in {"", caller.tenant_id}}:
            if tenant_id == tenants.EVERYWHERE:
                if not rule.everywhere:
                    raise errors.InvalidArgument.field("tenant_id", "must be one tenant: only lists take *")
            else:
                await self._existing.find(tenant_id)
            if rule.least is not _LEAVE_OWN_ENTRY:
                await self._note(caller, tenant_id, method)

    async def _find(self, tenant_id: str) -> str:
        # One that is not found is not remembered, so that it can be used as soon as it is made.
        if not await self._pool.fetchval(SQL["tenant_exists"], tenants.check("tenant_id", tenant_id)):
            raise errors.InvalidArgument.field("tenant_id", "tenant not found")
        return tenant_id

    async def _note(self, caller: Identity, tenant_id: str, method: str) -> None:
        call = (caller.key_id, tenant_id, method)
        if call in self._entered:
            return
        self._entered.put(call, True)  # noqa: FBT003 - there is nothing else to say of it
        entry = audit.Entry(
            action=Action.ENTER_TENANT,
            tenant_id=tenant_id,
            resource_id=tenant_id,
            changes=[FieldChange(field="method", after=method.removeprefix("/webhook.v1.").replace("/", "."))],
        )
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                await audit.record(connection, entry, actor=caller.key_id)
        except BaseException:
            self._entered.discard(call)
            raise


def _stated(caller: Identity, request: Any) -> Iterator[str]:
    """The tenants that a request states. Those in batches are read for API keys only: gateways send none for admins."""
    fields = request.DESCRIPTOR.fields_by_name
    if "tenant_id" in fields:
        yield request.tenant_id
    elif "item" in fields:
        yield request.item.tenant_id
    elif "items" in fields and caller.role is Role.ADMIN:
        for item in request.items:
            yield item.tenant_id
