"""Which events were accepted under a sender's idempotency key, or have an id of their provider.

Both are kept for IDEMPOTENCY_KEY_HOURS, and found by the index that keeps them unique.
"""

from collections.abc import Sequence
from uuid import UUID

from services.platform.stores import postgres, sql

SQL = sql.Queries("services.domain")

# What the route of a provider's id ends in: such ids do not collide with keys of senders.
PROVIDER = "/provider"
# Routes of a tenant that are looked at: each of its subscriptions that something was sent to is one.
ROUTES_LIMIT = 20_000


async def events(
    connection: postgres.Connection, tenant_id: str, *, keys: Sequence[str], provider_ids: Sequence[str]
) -> list[UUID]:
    """Return the events of a tenant that have one of the keys, if any are given, and one of the ids, if any are."""
    found: set[UUID] | None = None
    for values, of_provider in ((keys, False), (provider_ids, True)):
        if values:
            rows = await connection.fetch(SQL["select_keyed_events"], tenant_id, values, of_provider, ROUTES_LIMIT)
            these = {row["object_id"] for row in rows}
            found = these if found is None else found & these
    return sorted(found or ())
