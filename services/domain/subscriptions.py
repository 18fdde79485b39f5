"""What more than one service knows of subscriptions, and does to them in Postgres."""

import enum
from collections.abc import Sequence
from uuid import UUID

from services.platform.stores import postgres, sql

SQL = sql.Queries("services.domain")


class Flag(enum.IntFlag):
    """What a subscription uses beyond the plain way of an event.

    A tenant's flags are those of all its subscriptions that take events. Ingest has them where it has its
    subscriptions; without a flag no statement runs, and no work is done, for what the flag is about. The view
    subscription_filters has the same bits.
    """

    NONE = 0
    # Its events pass a filter.
    FILTER = 1
    # What is not known of a tenant whose subscriptions are not in memory.
    ALL = FILTER


async def delete(connection: postgres.Connection, subscription_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Mark locked subscriptions deleted, and forget what they kept secret; return the new version of each.

    The dispatcher cancels what waits for them.
    """
    rows = await connection.fetch(SQL["delete_subscriptions"], subscription_ids)
    return {row["id"]: row["version"] for row in rows}
