"""GetQueue over a real channel: what waits, and what Redis says."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from dev.harness.waiting import wait_until
from protos.webhook.v1 import system_pb2 as pb
from protos.webhook.v1 import system_pb2_grpc
from services.delivery.queue import service as queue
from services.platform.grpc import client
from tests.delivery.world import World

if TYPE_CHECKING:  # the asynchronous stubs exist only for the type checker
    from protos.webhook.v1.system_pb2_grpc import QueueServiceAsyncStub


@pytest.fixture(autouse=True)
def _look_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "FRESH_SECONDS", 0.0)


Look: TypeAlias = Callable[[], Awaitable[pb.GetQueueResponse]]


@contextlib.asynccontextmanager
async def looking(world: World, **changes: Any) -> AsyncIterator[Look]:
    """Run a delivery service; yield what asks it for its queue."""
    settings = world.delivery_settings(**changes)
    async with world.delivery_process(settings), client.channel(f"127.0.0.1:{settings.grpc_port}") as channel:
        stub: QueueServiceAsyncStub = system_pb2_grpc.QueueServiceStub(channel)

        async def look() -> pb.GetQueueResponse:
            return await stub.GetQueue(pb.GetQueueRequest(), timeout=30)

        yield look


async def test_what_waits_is_counted_by_what_it_waits_for(world: World) -> None:
    active = await world.subscription("http://127.0.0.1:9/hook")
    paused = await world.subscription("http://127.0.0.1:9/hook")
    await world.pool.execute("UPDATE subscriptions SET status = 'paused' WHERE id = $1", paused)
    await world.deliver_many(active, 3)
    await world.deliver_many(paused, 2)
    await world.lease(await world.deliver(active), seconds=600)
    later = await world.deliver(active, due_in=3600)
    await world.set(later, scheduled=True, attempt_count=1, failure_count=1)

    async with looking(world) as look:

        async def counted() -> bool:
            found = await look()
            held = {each.held_by: each.deliveries for each in found.held}
            return (found.due, found.in_flight, found.scheduled, held) == (3, 1, 1, {"paused": 2})

        await wait_until(counted, what="the queue")
        found = await look()
    assert found.held_known
    assert found.oldest_due_seconds > 0
    assert (found.expanding, found.breakers_open, found.breakers_half_open) == (0, 0, 0)
    assert found.redis.error == ""
    assert found.redis.version.startswith("Valkey ")
    assert found.redis.memory_bytes > 0
    assert found.redis.HasField("doorbells")


@pytest.mark.without_redis
async def test_without_redis_the_queue_is_counted_and_redis_says_why(world: World) -> None:
    await world.deliver_many(await world.subscription("http://127.0.0.1:9/hook"), 2)
    async with looking(world, redis_url="redis://127.0.0.1:1/0") as look:

        async def counted() -> bool:
            return (await look()).due == 2

        await wait_until(counted, what="the queue")
        found = await look()
    assert found.redis.error
    assert not found.redis.HasField("doorbells")
    assert (found.redis.version, found.redis.HasField("memory_bytes")) == ("", False)
