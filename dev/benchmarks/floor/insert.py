"""Commit rows in batches, one after the other: python -m dev.benchmarks.floor.insert."""

import time

import asyncpg
import msgspec
import uuid_utils.compat
import uvloop

from dev.harness.load import payloads, pipes
from services.platform.stores import sql

SQL = sql.Queries("dev.benchmarks.floor")
ROWS_PER_COMMIT = 64


class Insert(msgspec.Struct, frozen=True, kw_only=True):
    """A command to insert, answered with `Inserted`."""

    database_url: str
    seconds: float
    payload_bytes: int


class Inserted(msgspec.Struct, frozen=True, kw_only=True):
    """The number of committed rows, and the seconds that they took."""

    rows: int
    seconds: float


async def insert(order: Insert) -> Inserted:
    """Insert for this long, into a new table each time."""
    payload = payloads.template(order.payload_bytes).fill(0, 0)
    connection = await asyncpg.connect(order.database_url)
    try:
        for name in ("drop_table", "create_table"):
            await connection.execute(SQL[name])
        statement = await connection.prepare(SQL["insert"])
        rows, began = 0, time.monotonic()
        while time.monotonic() - began < order.seconds:
            ids = [uuid_utils.compat.uuid7() for _ in range(ROWS_PER_COMMIT)]
            await statement.fetch(ids, [payload] * ROWS_PER_COMMIT)
            rows += ROWS_PER_COMMIT
        return Inserted(rows=rows, seconds=time.monotonic() - began)
    finally:
        await connection.close()


async def _main() -> None:
    commands = await pipes.commands()
    while line := await commands.readline():
        pipes.answer(await insert(msgspec.json.decode(line, type=Insert)))


def main() -> None:
    """Insert until the input ends."""
    uvloop.run(_main())


if __name__ == "__main__":
    main()
