"""What more than one service does to subscriptions in Postgres."""

from collections.abc import Sequence
from uuid import UUID

from services.platform.stores import postgres, sql

SQL = sql.Queries("services.domain")


async def delete(connection: postgres.Connection, subscription_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Mark locked subscriptions deleted, and forget what they kept secret; return the new version of each.

    The dispatcher cancels what waits for them.
    """
    rows = await connection.fetch(SQL["delete_subscriptions"], subscription_ids)
    return {row["id"]: row["version"] for row in rows}
