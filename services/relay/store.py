"""The outbox, which is a table in a database of the application: what the relay asks of it, each in one statement.

No statement leaves a transaction open, so none is while ingest is called. All times are of that database's clock.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

import asyncpg

from services.platform import errors
from services.platform.stores import postgres, sql

QUERIES = sql.Queries("services.relay")
# A batch: as many events as ingest commits at once.
BATCH_ROWS = 500
BATCH_BYTES = 1 << 20
# No service accepts larger payloads, so they are not read.
MAX_PAYLOAD_BYTES = 32 << 20
# As far as rows are counted for the gauges.
MAX_COUNTED = 10_000
MAX_ERROR_LENGTH = 1_000
# Its answers to a relay that is configured wrongly.
_UNUSABLE = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A claimed row."""

    id: int
    event_type: str | None
    # None: larger than any service accepts.
    payload: bytes | None
    content_type: str
    content_encoding: str | None
    tags: Mapping[str, str]
    subscription_id: UUID | None
    tenant_id: str | None
    idempotency_key: str
    traceparent: str | None
    event_version: int | None
    # This claim included.
    attempts: int
    # From when it was written until it was claimed.
    waited_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Rows that were claimed together, in their order."""

    token: UUID
    rows: Sequence[Row]
    # Whether there were more to claim.
    more: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Deferral:
    """Why a row is not accepted yet, and for how long it is left alone."""

    row_id: int
    error: str
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """What waits in the outbox."""

    oldest_seconds: float
    waiting_rows: int
    failed_rows: int


class OutboxUnusable(errors.Unavailable):
    """The database answers, and the relay cannot work there: the message says why, and what to do."""


class OutboxStore:
    """Claims rows of the table in this schema, and settles them."""

    def __init__(self, pool: postgres.Pool, schema: str, *, lease_seconds: float) -> None:
        self._pool = pool
        self._table = f'"{schema}".webhook_outbox'
        self._sql = {name: text.format(outbox=self._table) for name, text in QUERIES.items()}
        self._lease_seconds = lease_seconds

    async def claim(self, *, after: int = 0) -> Batch:
        """Claim the next rows whose ids are greater than `after`."""
        token = uuid4()
        with self._told():
            found = await self._pool.fetch(
                self._sql["claim"], token, after, BATCH_ROWS, BATCH_BYTES, self._lease_seconds, MAX_PAYLOAD_BYTES
            )
        rows = [sql.record(Row, row, tags=json.loads(row["tags"])) for row in found]
        rows.sort(key=lambda row: row.id)
        due_rows = found[0]["due_rows"] if found else 0
        return Batch(token=token, rows=rows, more=due_rows == BATCH_ROWS or due_rows > len(rows))

    async def delete(self, token: UUID, row_ids: Sequence[int]) -> int:
        """Delete accepted rows; return how many this claim still had."""
        return await self._settle("delete", token, row_ids)

    async def refuse(self, token: UUID, reasons: Mapping[int, str]) -> int:
        """Keep refused rows with the reasons; return how many this claim still had."""
        texts = [errors.cut(reason, MAX_ERROR_LENGTH) for reason in reasons.values()]
        return await self._settle("refuse", token, list(reasons), texts)

    async def defer(self, token: UUID, deferrals: Sequence[Deferral]) -> int:
        """Give rows back for later; return how many this claim still had."""
        texts = [errors.cut(one.error, MAX_ERROR_LENGTH) for one in deferrals]
        seconds = [one.seconds for one in deferrals]
        return await self._settle("defer", token, [one.row_id for one in deferrals], texts, seconds)

    async def measure(self) -> Measure:
        """Return what waits."""
        with self._told():
            return sql.record(Measure, await self._pool.fetchrow(self._sql["measure"], MAX_COUNTED))

    async def _settle(self, name: str, token: UUID, row_ids: Sequence[int], *columns: Sequence[object]) -> int:
        if not row_ids:
            return 0
        with self._told():
            settled: int = await self._pool.fetchval(self._sql[name], token, row_ids, *columns)
        return settled

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except _UNUSABLE as error:
            raise OutboxUnusable(
                f"the outbox {self._table} cannot be used: {error}; run webhook_outbox.sql in the database of "
                "OUTBOX_DATABASE_URL, set OUTBOX_SCHEMA, and grant the user what docs/guides/outbox.md lists"
            ) from error
