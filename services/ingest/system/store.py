"""Looks at the database and its partitions: catalogs and file sizes, no rows of tables."""

from dataclasses import dataclass
from datetime import datetime

from services.platform.stores import postgres, sql

SQL = sql.Queries("services.ingest.system")


@dataclass(frozen=True, kw_only=True, slots=True)
class Database:
    """The database, and when it was looked at."""

    looked_at: datetime
    version: str
    bytes: int
    connections: int
    max_connections: int
    schema_version: str
    migrated_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """One day of a table."""

    name: str
    table: str
    from_time: datetime
    to_time: datetime
    # By the server's statistics; None before it first looked.
    rows: int | None
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Partitions:
    """The newest partitions."""

    newest: list[Partition]
    # Of those that are not listed, too.
    number: int
    # Until when each table has some; None without any.
    until: datetime | None


class SystemStore:
    """Every method raises one of stores.availability.STORE_AWAY when Postgres is away."""

    def __init__(self, pool: postgres.Pool) -> None:
        self._pool = pool

    async def database(self) -> Database:
        """Return the database."""
        row = await self._pool.fetchrow(SQL["select_database"])
        assert row is not None, "processes wait for migrations"
        return sql.record(Database, row)

    async def partitions(self, limit: int) -> Partitions:
        """Return up to `limit` partitions."""
        rows = await self._pool.fetch(SQL["select_partitions"], limit)
        if not rows:
            return Partitions(newest=[], number=0, until=None)
        newest = [sql.record(Partition, row) for row in rows]
        return Partitions(newest=newest, number=rows[0]["number"], until=rows[0]["until"])
