"""After the primary of Redis dies, changes of subscriptions are still received."""

import asyncio
import contextlib
import functools

import grpc
import pytest

from dev.harness.redis.primaries import BACK_WITHIN_SECONDS, KINDS, Primaries
from dev.harness.waiting import wait_until
from services.platform.stores import signals
from tests.ingest.conftest import Ingest, eventually, serving

SEEN_WITHIN_SECONDS = 10.0


async def _listening(primaries: Primaries, number: int) -> None:
    """Wait until this many servers listen at the current primary."""
    with contextlib.closing(primaries.server(primaries.primary())) as direct:
        await wait_until(
            lambda: direct.pubsub_numsub(signals.CHANNEL)[0][1] == number,
            BACK_WITHIN_SECONDS,
            what=f"{number} servers to listen",
        )


async def _gone(ingest: Ingest, subscription_id: str) -> bool:
    try:
        await ingest.send(subscription_id)
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.NOT_FOUND
    return False


@pytest.mark.without_redis
@pytest.mark.parametrize("kind", KINDS)
async def test_deletion_is_visible_on_another_server_before_and_after_a_failover(database: str, kind: str) -> None:
    with KINDS[kind]() as primaries:
        async with serving(database, primaries.url) as first, serving(database, primaries.url) as second:
            await _listening(primaries, 2)
            for fail_over in (True, False):
                made = await first.create()
                await second.send(made.id)
                await first.delete(made.id)
                await eventually(functools.partial(_gone, second, made.id), "the deletion", SEEN_WITHIN_SECONDS)
                if fail_over:
                    await asyncio.to_thread(primaries.fail_over)
                    await _listening(primaries, 2)
