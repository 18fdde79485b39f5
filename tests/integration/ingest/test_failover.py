"""A primary of Redis dies, sentinels make its replica one, and changes of subscriptions are heard of as before."""

import asyncio
import contextlib
import functools

import grpc

from services.common import subscription_changes
from tests.integration.ingest.conftest import Ingest, eventually, serving
from tests.support import sentinel
from tests.support.waiting import wait_until

BACK_WITHIN_SECONDS = 5.0
SEEN_WITHIN_SECONDS = 1.0


async def _listening(watched: sentinel.Watched, number: int) -> None:
    """Waits until so many servers listen at the primary of now."""
    with contextlib.closing(watched.server(watched.primary())) as direct:
        await wait_until(
            lambda: direct.pubsub_numsub(subscription_changes.CHANNEL)[0][1] == number,
            BACK_WITHIN_SECONDS,
            what=f"{number} servers to listen",
        )


async def _gone(ingest: Ingest, subscription_id: str) -> bool:
    try:
        await ingest.send(subscription_id)
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.NOT_FOUND
    return False


async def test_another_server_sees_a_deletion_within_a_second_before_and_after_a_failover(database: str) -> None:
    with sentinel.running() as watched:
        async with serving(database, watched.url) as first, serving(database, watched.url) as second:
            await _listening(watched, 2)
            for fail_over in (True, False):
                made = await first.create()
                await second.send(made.id)
                await first.delete(made.id)
                await eventually(functools.partial(_gone, second, made.id), "the deletion", SEEN_WITHIN_SECONDS)
                if fail_over:
                    await asyncio.to_thread(watched.fail_over)
                    await _listening(watched, 2)
