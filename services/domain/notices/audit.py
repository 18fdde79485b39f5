"""The audit log: what changed, who changed it, and when an admin acts in another tenant.

An entry is written in the transaction that makes the change. It names what was changed, and shows only values that
nobody could mind: never a secret, a token, a header, a path of a URL, or free text. docs/reference/audit.md lists the
actions.
"""

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from services.platform import errors, ids
from services.platform.auth import identity, roles
from services.platform.auth.identity import Identity
from services.platform.auth.known import Known
from services.platform.auth.roles import Role, Service
from services.platform.process.bounds import BoundedCache
from services.platform.stores import sql

if TYPE_CHECKING:  # the gateway, which has no stores, reads the actions
    from services.platform.stores import postgres

SQL = sql.Queries("services.domain.notices")

# The service itself, where nobody asked for what it does.
SYSTEM = "system"


class Action(enum.StrEnum):
    """Recorded actions; the part before the dot is the type of the object."""

    CREATE_SUBSCRIPTION = "subscription.create"
    UPDATE_SUBSCRIPTION = "subscription.update"
    DELETE_SUBSCRIPTION = "subscription.delete"
    DISABLE_SUBSCRIPTION = "subscription.disable"
    ENABLE_SUBSCRIPTION = "subscription.enable"
    PAUSE_SUBSCRIPTION = "subscription.pause"
    RESUME_SUBSCRIPTION = "subscription.resume"
    VERIFY_SUBSCRIPTION = "subscription.verify"
    TEST_SUBSCRIPTION = "subscription.test"
    TEST_NEW_SUBSCRIPTION = "subscription.test_new"
    ROTATE_SECRET = "subscription.rotate_secret"  # noqa: S105 - the name of an action
    CREATE_INGEST_TOKEN = "subscription.create_ingest_token"  # noqa: S105 - as above
    DELETE_INGEST_TOKEN = "subscription.delete_ingest_token"  # noqa: S105 - as above
    RETRY_DELIVERY = "delivery.retry"
    CANCEL_DELIVERY = "delivery.cancel"
    CANCEL_EVENT = "event.cancel"
    CREATE_JOB = "job.create"
    PAUSE_JOB = "job.pause"
    RESUME_JOB = "job.resume"
    CANCEL_JOB = "job.cancel"
    CREATE_EVENT_TYPE = "event_type.create"
    UPDATE_EVENT_TYPE = "event_type.update"
    DELETE_EVENT_TYPE = "event_type.delete"
    CREATE_EVENT_TYPE_VERSION = "event_type.create_version"
    UPDATE_EVENT_TYPE_VERSION = "event_type.update_version"
    CREATE_TENANT = "tenant.create"
    UPDATE_TENANT = "tenant.update"
    DELETE_TENANT = "tenant.delete"
    ENTER_TENANT = "tenant.enter"
    CREATE_API_KEY = "api_key.create"
    UPDATE_API_KEY = "api_key.update"
    REVOKE_API_KEY = "api_key.revoke"
    CREATE_SESSION = "session.create"
    REVOKE_SESSION = "session.revoke"
    CREATE_PORTAL_LINK = "portal_link.create"
    EXCHANGE_PORTAL_LINK = "portal_link.exchange"
    REVOKE_PORTAL_LINK = "portal_link.revoke"

    @property
    def resource_type(self) -> str:
        """Of what it is done to."""
        return self.partition(".")[0]


RESOURCE_TYPES = frozenset(action.resource_type for action in Action)


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """A changed field, as in `changes`; values that must not be shown are unset."""

    field: str
    before: Any = msgspec.UNSET
    after: Any = msgspec.UNSET


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A change to be told of."""

    action: Action
    # Whose the changed object is.
    tenant_id: str
    resource_id: str
    changes: Sequence[FieldChange] = ()
    # Objects that it touched besides.
    affected: int | None = None


async def record(connection: "postgres.Connection", *entries: Entry, actor: str | None = None) -> None:
    """Write entries in the transaction of `connection`, by this actor; None means the current caller."""
    actor = actor or identity.CALLER.get().key_id
    made = [ids.new() for _ in entries]
    await connection.execute(
        SQL["insert_audit_entries"],
        made,
        [datetime.fromtimestamp(ids.seconds(entry_id), UTC) for entry_id in made],
        [entry.tenant_id for entry in entries],
        [entry.action for entry in entries],
        [entry.action.resource_type for entry in entries],
        [entry.resource_id for entry in entries],
        [msgspec.json.encode(entry.changes).decode() for entry in entries],
        [entry.affected for entry in entries],
        actor,
        _key_id(actor),
    )


def _key_id(actor: str) -> UUID | None:
    """Return the actor's key id, if the actor is a key."""
    try:
        return UUID(actor)
    except ValueError:
        return None


# When an admin acts in another tenant, a change has its own entry, in its transaction. A call that only reads, or takes
# events in, gets one here: the first of its kind by a key, in a tenant, at a process, in each ENTRY_SECONDS.
ENTRY_SECONDS = 60.0
# Kinds of calls that are remembered; the oldest are forgotten, and get another entry.
SIZE = 10_000
_CROSS = frozenset((Role.ADMIN, Role.ANYBODY))
_LEAVE_OWN_ENTRY = Role.WRITE


class Crossings:
    """Looks at each call before it is made."""

    def __init__(self, pool: "postgres.Pool") -> None:
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
            if tenant_id == identity.ALL_TENANTS:
                if not rule.everywhere:
                    raise errors.InvalidArgument.field("tenant_id", "must be one tenant; only lists accept *")
            else:
                await self._existing.find(tenant_id)
            if rule.least is not _LEAVE_OWN_ENTRY:
                await self._note(caller, tenant_id, method)

    async def _find(self, tenant_id: str) -> str:
        # One that is not found is not remembered, so that it can be used as soon as it is made.
        if not await self._pool.fetchval(SQL["tenant_exists"], identity.check_tenant("tenant_id", tenant_id)):
            raise errors.InvalidArgument.field("tenant_id", "tenant not found")
        return tenant_id

    async def _note(self, caller: Identity, tenant_id: str, method: str) -> None:
        call = (caller.key_id, tenant_id, method)
        if call in self._entered:
            return
        self._entered.put(call, True)  # noqa: FBT003 - there is nothing else to say of it
        entry = Entry(
            action=Action.ENTER_TENANT,
            tenant_id=tenant_id,
            resource_id=tenant_id,
            changes=[FieldChange(field="method", after=method.removeprefix("/webhook.v1.").replace("/", "."))],
        )
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                await record(connection, entry, actor=caller.key_id)
        except BaseException:
            self._entered.discard(call)
            raise


def _stated(caller: Identity, request: Any) -> Iterator[str]:
    """Yield the tenants that a request states; batches are read only for API keys: gateways send none for admins."""
    fields = request.DESCRIPTOR.fields_by_name
    if "tenant_id" in fields:
        yield request.tenant_id
    elif "item" in fields:
        yield request.item.tenant_id
    elif "items" in fields and caller.role is Role.ADMIN:
        for item in request.items:
            yield item.tenant_id
