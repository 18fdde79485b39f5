"""The order that the promise depends on: first the commit, then the response and the bell."""

import asyncio
from typing import Any

import redis.asyncio

from protos.webhook.v1 import ingest_pb2
from services.domain import doorbell
from tests.ingest.conftest import Ingest, eventually


async def test_response_and_bell_come_only_after_the_commit(alone: Ingest, redis_url: str) -> None:
    made = await alone.create()
    async with redis.asyncio.Redis.from_url(redis_url) as client:

        async def bells() -> int:
            length: Any = await client.xlen(doorbell.PROMPT)
            return int(length)

        async with alone.pool.acquire() as connection, connection.transaction():
            # The rows are written when their commit waits for this lock; an early bell would have been rung by then.
            await connection.execute("LOCK TABLE webhook_events IN SHARE MODE")
            request = ingest_pb2.IngestRequest(item=alone.item(made.id))
            call = asyncio.ensure_future(alone.events.Ingest(request))
            await eventually(alone.held_up, "the commit to be held up")
            # Enough time for the background task to ring, if it had been told to.
            for _ in range(20):
                await asyncio.sleep(0.02)
                assert await bells() == 0
                assert not call.done()
        assert (await call).accepted.deliveries == 1

        async def rung() -> bool:
            return await bells() == 1

        await eventually(rung, "the bell")
