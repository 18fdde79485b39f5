"""Test events that callers ask for: how many there may be, so that nobody scans or floods with them."""

from typing import Any
from uuid import UUID

from services.platform import errors
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.domain")

# Of one subscription, and of all that a tenant has not created, within so many seconds.
TESTS = 10
WINDOW_SECONDS = 60
# Of one tenant that are not answered yet.
UNANSWERED = 10


async def admit(connection: postgres.Connection, tenant_id: str, subscription_id: UUID | None) -> None:
    """Let the transaction ask for another test event, of a subscription that is not created if it has no id.

    QuotaExceeded when there were too many, TenantOverloaded when too many of the tenant's are not answered.
    """
    await connection.execute(SQL["lock_tests"], tenant_id)
    row: Any = await connection.fetchrow(SQL["count_tests"], tenant_id, subscription_id, WINDOW_SECONDS)
    if row["like_it"] >= TESTS:
        whose = "a subscription" if subscription_id else "the target of new subscriptions of a tenant"
        wait_seconds = max(1, round(row["wait_seconds"]))
        raise errors.QuotaExceeded(
            f"{whose} gets at most {TESTS} test events a minute",
            reason=errors.ErrorReason.RATE_LIMITED,
            retry_after_seconds=wait_seconds,
        )
    if row["unanswered"] >= UNANSWERED:
        raise errors.TenantOverloaded(f"{UNANSWERED} test events of this tenant are being sent already")
