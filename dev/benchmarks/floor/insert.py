"""Commits rows in batches, one after the other: python -m dev.benchmarks.floor.insert."""

import time

import asyncpg
import msgspec
import uuid_utils.compat
import uvloop

from dev.benchmarks.floor.messages import Insert, Inserted
from dev.harness.load import payloads, pipes
from services.platform.stores import sql

SQL = sql.Queries("dev.benchmarks.floor")
ROWS_PER_COMMIT = 64


async def insert(order: Insert) -> Inserted:
    """Insert for so long; a new table each time."""
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
