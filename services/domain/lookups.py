"""What an id or a key stands for: look-ups that several services make.

Idempotency keys and ids of providers are kept for IDEMPOTENCY_KEY_HOURS, and found by the index that keeps them unique.
"""

from collections.abc import Sequence
from enum import StrEnum
from uuid import UUID

from services.platform import errors
from services.platform.auth import identity
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.domain")

# Events that keys may stand for: a key can be used once for each subscription that something is sent to.
KEYED_LIMIT = 10_000


class Kind(StrEnum):
    """What an id can be of."""

    SUBSCRIPTION = "subscription"
    EVENT = "event"
    DELIVERY = "delivery"


async def keyed_events(
    connection: postgres.Connection, tenant_id: str, *, keys: Sequence[str], provider_ids: Sequence[str]
) -> list[UUID]:
    """Return the events of a tenant that have one of the keys, if any are given, and one of the ids, if any are."""
    found: set[UUID] | None = None
    for values, of_provider in ((keys, False), (provider_ids, True)):
        if values:
            rows = await connection.fetch(SQL["select_keyed_events"], tenant_id, values, of_provider, KEYED_LIMIT)
            these = {row["object_id"] for row in rows}
            found = these if found is None else found & these
    return sorted(found or ())


async def tagged(connection: postgres.Connection, event_ids: Sequence[UUID], tags: Sequence[str]) -> list[UUID]:
    """Return those of the events that have one of the tags."""
    if not event_ids:
        return []
    rows = await connection.fetch(SQL["select_tagged"], event_ids, min(event_ids), max(event_ids), tags)
    return sorted(row["event_id"] for row in rows)


async def exists(
    connection: postgres.Connection | postgres.Pool, tenant_id: str | None, kind: Kind, wanted: UUID
) -> bool:
    """Return whether a tenant has something of a kind under an id."""
    found: str | None = await connection.fetchval(SQL["select_kind"], wanted, tenant_id)
    return found == kind


async def missing(
    connection: postgres.Connection | postgres.Pool, tenant_id: str | None, kind: Kind, wanted: UUID
) -> errors.NotFound:
    """Return the error for an id that is not found, which says what the tenant has under it instead.

    It does not to a portal link that is limited to some subscriptions.
    """
    text = f"{kind} {wanted} not found"
    if identity.limited_to() is not None:
        return errors.NotFound(text)
    other = await connection.fetchval(SQL["select_kind"], wanted, tenant_id)
    if other is None or other == kind:
        return errors.NotFound(text)
    return errors.NotFound(f"{text}; that is {'an' if other == Kind.EVENT else 'a'} {other} id")
