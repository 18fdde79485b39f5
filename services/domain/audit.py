"""The audit log: who changed what, written in the transaction that makes the change.

Entries name what was changed, and show values only where nobody could mind: never a secret, a token, a header, a path
of a URL, or free text. docs/reference/audit.md has the list of actions.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from services.platform import ids
from services.platform.auth import identity
from services.platform.stores import sql

if TYPE_CHECKING:  # the gateway, which has no stores, reads the actions
    from services.platform.stores import postgres

SQL = sql.Queries("services.domain")

# The service itself, where nobody asked for what it does.
SYSTEM = "system"


class Action(enum.StrEnum):
    """What can be done; before the dot stands the type of what it is done to."""

    CREATE_SUBSCRIPTION = "subscription.create"
    UPDATE_SUBSCRIPTION = "subscription.update"
    DELETE_SUBSCRIPTION = "subscription.delete"
    DISABLE_SUBSCRIPTION = "subscription.disable"
    ENABLE_SUBSCRIPTION = "subscription.enable"
    PAUSE_SUBSCRIPTION = "subscription.pause"
    RESUME_SUBSCRIPTION = "subscription.resume"
    ROTATE_SECRET = "subscription.rotate_secret"  # noqa: S105 - the name of an action
    CREATE_INGEST_TOKEN = "subscription.create_ingest_token"  # noqa: S105 - as above
    DELETE_INGEST_TOKEN = "subscription.delete_ingest_token"  # noqa: S105 - as above
    RETRY_DELIVERY = "delivery.retry"
    CANCEL_DELIVERY = "delivery.cancel"
    CREATE_TENANT = "tenant.create"
    DELETE_TENANT = "tenant.delete"
    ENTER_TENANT = "tenant.enter"
    CREATE_API_KEY = "api_key.create"
    REVOKE_API_KEY = "api_key.revoke"

    @property
    def resource_type(self) -> str:
        """Of what it is done to."""
        return self.partition(".")[0]


RESOURCE_TYPES = frozenset(action.resource_type for action in Action)


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """A field that was changed, as it stands in `changes`; values that are not to be shown are left unset."""

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
    """Writes entries in the transaction that `connection` is in, by this actor; None: whoever makes this call."""
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
    """The id of the key that the actor is, if it is one."""
    try:
        return UUID(actor)
    except ValueError:
        return None
