"""Rows for the analytics tests, written the way ingest and the workers write them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from dev.harness import deliveries
from dev.harness.waiting import wait_until
from services.analytics.settings import AnalyticsSettings
from services.analytics.store import StatsStore
from services.platform import ids
from services.platform.stores.postgres import Connection, Pool

SUBSCRIPTION = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


class Rows:
    """Write and read rows over a pool."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    async def subscription(self, *, tenant_id: str = "default", deleted: bool = False) -> UUID:
        """Create a subscription."""
        made = ids.new()
        await self.pool.execute(
            "INSERT INTO subscriptions (id, tenant_id, target_url, deleted_at)"
            " VALUES ($1, $2, 'http://receiver', CASE WHEN $3 THEN now() END)",
            made, tenant_id, deleted,
        )  # fmt: skip
        return made

    async def attempt(
        self,
        *,
        via: Connection | None = None,
        subscription_id: UUID = SUBSCRIPTION,
        tenant_id: str = "default",
        outcome: str = "success",
        duration_ms: int | None = 12,
        final: bool = True,
        age: timedelta = timedelta(),
        delivery_id: UUID | None = None,
        event_type: str | None = None,
    ) -> UUID:
        """Record an attempt `age` ago, in the transaction of `via` if one is given; return its delivery's id."""
        delivery_id = delivery_id or ids.new()
        await (via or self.pool).execute(
            "INSERT INTO delivery_attempts (delivery_id, claim_token, request, subscription_id, started_at,"
            " recorded_at, number, duration_ms, status_code, final, outcome, tenant_id, event_type)"
            " VALUES ($1, gen_random_uuid(), 1, $2, now() - $3::interval, now() - $3::interval, 1,"
            " $4, 200, $5, $6, $7, $8)",
            delivery_id, subscription_id, age, duration_ms, final, outcome, tenant_id, event_type,
        )  # fmt: skip
        return delivery_id

    async def event(
        self, *, tenant_id: str = "default", event_type: str | None = None, age: timedelta = timedelta()
    ) -> UUID:
        """Store an event that was accepted `age` ago."""
        event_id = ids.shifted(ids.new(), -age.total_seconds())
        await self.pool.execute(
            "INSERT INTO webhook_events (id, tenant_id, event_type, content_type, payload)"
            " VALUES ($1, $2, $3, 'text/plain', 'x')",
            event_id, tenant_id, event_type,
        )  # fmt: skip
        return event_id

    async def end(
        self,
        status: str,
        *,
        deliveries: int = 1,
        subscription_id: UUID = SUBSCRIPTION,
        tenant_id: str = "default",
        event_type: str | None = None,
        age: timedelta = timedelta(),
    ) -> None:
        """Note the ends of deliveries that had no attempt, `age` ago."""
        await self.pool.execute(
            "INSERT INTO unattempted_ends (ended_at, tenant_id, subscription_id, event_type, status, deliveries)"
            " VALUES (now() - $1::interval, $2, $3, $4, $5::text::delivery_status, $6)",
            age, tenant_id, subscription_id, event_type, status, deliveries,
        )  # fmt: skip

    async def difference(self) -> list[asyncpg.Record]:
        """Return where delivery_stats differ from a plain count of their rows; empty if they are exact.

        Of events, those of the last hour are counted. A minute must have no more types than get rows of their own.
        """
        difference: list[asyncpg.Record] = await self.pool.fetch(
            """
            WITH naive AS (
                SELECT tenant_id, subscription_id, coalesce(event_type, '') AS event_type,
                       date_trunc('minute', recorded_at) AS minute, outcome, 1 AS attempts, final::int AS deliveries,
                       0 AS events, coalesce(duration_ms, 0) AS total
                FROM delivery_attempts
                UNION ALL
                SELECT tenant_id, subscription_id, coalesce(event_type, ''), date_trunc('minute', ended_at),
                       status::text, 0, deliveries, 0, 0
                FROM unattempted_ends
                UNION ALL
                SELECT tenant_id, $1, coalesce(event_type, ''),
                       to_timestamp(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 60000 * 60),
                       'accepted', 0, 0, 1, 0
                FROM webhook_events WHERE id > $2
            ), expected AS (
                SELECT tenant_id, subscription_id, '*' AS event_type, minute, outcome,
                       sum(attempts)::bigint AS attempts, sum(deliveries)::bigint AS deliveries,
                       sum(events)::bigint AS events, sum(total)::bigint AS total
                FROM naive WHERE subscription_id <> $1 GROUP BY 1, 2, 4, 5
                UNION ALL
                SELECT tenant_id, $1, '*', minute, outcome, sum(attempts)::bigint, sum(deliveries)::bigint,
                       sum(events)::bigint, sum(total)::bigint
                FROM naive GROUP BY tenant_id, minute, outcome
                UNION ALL
                SELECT tenant_id, $1, event_type, minute, outcome, sum(attempts)::bigint, sum(deliveries)::bigint,
                       sum(events)::bigint, sum(total)::bigint
                FROM naive GROUP BY tenant_id, event_type, minute, outcome
            ), stored AS (
                SELECT tenant_id, subscription_id, event_type, minute, outcome, sum(attempts)::bigint AS attempts,
                       sum(deliveries)::bigint AS deliveries, sum(events)::bigint AS events,
                       sum(duration_ms_total)::bigint AS total
                FROM delivery_stats GROUP BY 1, 2, 3, 4, 5
            ), of_all AS (
                SELECT tenant_id, minute, outcome, duration_bucket, sum(attempts) AS attempts,
                       sum(deliveries) AS deliveries, sum(duration_ms_total) AS total
                FROM delivery_stats WHERE subscription_id <> $1 GROUP BY 1, 2, 3, 4
            ), stored_all AS (
                SELECT tenant_id, minute, outcome, duration_bucket, attempts, deliveries, duration_ms_total
                FROM delivery_stats WHERE subscription_id = $1 AND event_type = '*' AND outcome <> 'accepted'
            )
            SELECT 'row' AS of, to_jsonb(d) AS row FROM (
                (SELECT * FROM expected EXCEPT SELECT * FROM stored)
                UNION ALL (SELECT * FROM stored EXCEPT SELECT * FROM expected)
            ) AS d
            UNION ALL
            SELECT 'bucket', to_jsonb(d) FROM (
                (SELECT * FROM of_all EXCEPT SELECT * FROM stored_all)
                UNION ALL (SELECT * FROM stored_all EXCEPT SELECT * FROM of_all)
            ) AS d
            """,
            UUID(int=0),
            ids.least_at(datetime.now(UTC) - timedelta(hours=1)),
        )
        return difference

    async def make_due(self, *, rolled_up: timedelta = timedelta(minutes=1)) -> None:
        """Make a roll-up due, as if the previous one had been `rolled_up` ago.

        By default it has all that a test has just written, though a minute may have ended meanwhile.
        """
        await self.pool.execute(
            "UPDATE rollup_state SET due_at = now(), rolled_up_to = now() - $1::interval", rolled_up
        )

    async def catch_up(self, roll_up: Callable[[], Awaitable[float]]) -> None:
        """Roll up until statistics reach the present; runs of a busy machine would have pauses in between."""

        async def is_at_the_present() -> bool:
            await self.pool.execute("UPDATE rollup_state SET due_at = now()")
            await roll_up()
            query = "SELECT rolled_up_to > clock_timestamp() - interval '20 seconds' FROM rollup_state"
            return bool(await self.pool.fetchval(query))

        await eventually(is_at_the_present)

    async def day(self, age_days: int, *, status: str = "delivered", attempt_age: timedelta | None = None) -> UUID:
        """Create an event, its delivery, and its attempt on the UTC day `age_days` ago, with the day's partitions."""
        day = today() - timedelta(days=age_days)
        await self.pool.execute("SELECT create_partitions($1, $1)", day)
        return await self.delivery(day, status=status, attempt_age=attempt_age)

    async def delivery(self, day: date, *, status: str = "delivered", attempt_age: timedelta | None = None) -> UUID:
        """Create an event, its delivery, and its attempt on a day with partitions; return the delivery's id."""
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        event_id = UUID(int=(int(noon.timestamp() * 1000) << 80) | (ids.new().int & ((1 << 80) - 1)))
        delivery_id = ids.of_delivery(event_id, SUBSCRIPTION)
        await self.pool.execute(
            "INSERT INTO webhook_events (id, tenant_id, content_type, payload)"
            " VALUES ($1, 'default', 'text/plain', 'x')",
            event_id,
        )
        await deliveries.insert(self.pool, [(delivery_id, event_id)], subscription_id=SUBSCRIPTION, status=status)
        age = attempt_age if attempt_age is not None else datetime.now(UTC) - noon
        await self.attempt(delivery_id=delivery_id, age=age)
        return delivery_id

    async def set_status(self, delivery_id: UUID, status: str) -> None:
        """Change a delivery's state."""
        await deliveries.put(self.pool, delivery_id, status=status)

    async def partitions(self, day: date | None = None) -> list[str]:
        """Return the names of the tables of a day, or of all days, attached or not."""
        days = f"{day:%Y%m%d}" if day else "[0-9]{8}"
        pattern = f"^(webhook_events|event_tags|webhook_deliveries|unsuccessful_deliveries|delivery_attempts)_{days}$"
        rows = await self.pool.fetch(
            "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relname ~ $1 ORDER BY 1", pattern
        )
        return [row["relname"] for row in rows]

    async def is_somebody_waiting_for_a_lock(self) -> bool:
        """Return whether a session of this database waits for a lock."""
        waiting: bool = await self.pool.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock')"
        )
        return waiting


async def eventually(predicate: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the predicate returns true."""
    untyped: Any = predicate  # mypy finds no T in wait_until for a coroutine function
    await wait_until(untyped)


def today() -> date:
    """Return the UTC day."""
    return datetime.now(UTC).date()


@pytest.fixture
def settings(database: str) -> AnalyticsSettings:
    """Settings with the defaults, written out so that the environment does not matter."""
    return AnalyticsSettings(
        database_url=database,
        grpc_port=0,
        log_retention_hours=72,
        # So that a day goes as soon as its deliveries have ended.
        recovery_hours=0,
        delivery_expiry_hours=168,
        rollup_interval_seconds=5,
        retention_interval_seconds=300,
    )


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    """A pool with the service's own settings."""
    async with asyncpg.create_pool(
        database, min_size=0, max_size=8, server_settings={"plan_cache_mode": "force_generic_plan", "jit": "off"}
    ) as created:
        yield created


@pytest.fixture
def store(pool: Pool) -> StatsStore:
    """The statistics store."""
    return StatsStore(pool)


@pytest.fixture
def rows(pool: Pool) -> Rows:
    """Write and read rows."""
    return Rows(pool)
