"""What Postgres knows of quotas and of what is used of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from services.domain.tenants.quotas import FRESH_SECONDS, Quota, Quotas
from services.platform import errors
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.ingest.quotas")
# With so many subscriptions left to a tenant they are not counted one by one.
MARGIN = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Used:
    """What a tenant uses that has used up a quota."""

    waiting_deliveries: int
    stored_bytes: int
    scheduled_events: int
    scheduled_bytes: int


@dataclass(slots=True)
class Stored:
    """What a tenant stored."""

    events: int = 0
    bytes: int = 0


class QuotaStore:
    """Every method raises what stores.availability.STORE_AWAY lists when Postgres is away."""

    def __init__(self, pool: postgres.Pool) -> None:
        self._pool = pool

    async def limits(self, defaults: Quotas) -> tuple[dict[str, dict[Quota, float | None]], dict[str, Used]]:
        """Return the quotas of tenants that have some of their own, and those that use one up; these for the others."""
        rows = await self._pool.fetch(
            SQL["select_limits"],
            defaults.waiting_deliveries,
            defaults.stored_bytes,
            FRESH_SECONDS,
            defaults.scheduled_events,
            defaults.scheduled_bytes,
        )
        own = {row["tenant_id"]: {quota: row[quota.column] for quota in Quota} for row in rows if row["has_own"]}
        return own, {row["tenant_id"]: sql.record(Used, row) for row in rows if row["is_exhausted"]}

    async def add_stored(self, stored: Mapping[tuple[date, str], Stored]) -> None:
        """Add to what tenants have stored, by day and tenant."""
        await self._pool.execute(
            SQL["add_stored"],
            [day for day, _ in stored],
            [tenant_id for _, tenant_id in stored],
            [added.events for added in stored.values()],
            [added.bytes for added in stored.values()],
        )


async def check_subscriptions(connection: postgres.Connection, tenant_id: str, *, default: int) -> None:
    """Raise Conflict if a tenant may not have another subscription, in the transaction that makes one.

    Within MARGIN of the quota they are counted, by one transaction at a time. Above it the sums are good enough, unless
    more than MARGIN are made in the seconds before they are renewed.
    """
    row = await connection.fetchrow(SQL["select_subscription_quota"], tenant_id, default, FRESH_SECONDS)
    if row is None:
        return  # there is no such tenant, which the statement that follows finds too
    quota = row["quota"]
    if row["known"] is not None and quota - row["known"] > MARGIN:
        return
    await connection.execute(SQL["lock_subscription_quota"], tenant_id)
    if await connection.fetchval(SQL["count_subscriptions"], tenant_id, quota) >= quota:
        message = (
            f"the tenant has {quota} subscriptions, as many as its quota {Quota.SUBSCRIPTIONS} allows; "
            "delete some, or ask the operator for more"
        )
        raise errors.Conflict(message, reason=Quota.SUBSCRIPTIONS.reason)
