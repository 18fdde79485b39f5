"""Metrics of the delivery process about Redis, over a real Valkey."""

import asyncio
from typing import Any

import pytest

from dev.harness.waiting import wait_until
from services.delivery.dispatcher import metrics
from services.domain.doorbell import Streams
from services.platform.process.metrics import Growth
from services.platform.settings import RedisSettings
from services.platform.stores import redis


async def test_memory_clients_and_lookups_are_exported(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "REDIS_INTERVAL_SECONDS", 0.05)
    metrics.REDIS_MEMORY.set(0)
    hits, misses = (metrics.REDIS_LOOKUPS.labels(result) for result in ("hit", "miss"))
    before = hits._value.get(), misses._value.get()
    async with redis.client(RedisSettings(redis_url=redis_url)) as client:
        keeping = asyncio.create_task(metrics.keep_redis(client))
        try:
            await wait_until(lambda: metrics.REDIS_MEMORY._value.get() > 100_000, what="a first look")
            await client.set("there", b"1")
            for key in ("there", "there", "not there"):
                await client.get(key)
            # The server counts those of other tests' clients, too.
            await wait_until(lambda: misses._value.get() >= before[1] + 1, what="a second look")
        finally:
            keeping.cancel()
    assert hits._value.get() >= before[0] + 2
    assert metrics.REDIS_CLIENTS._value.get() >= 1
    assert metrics.REDIS_COMMANDS._value.get() >= 4


async def test_gauges_keep_their_value_while_redis_is_down(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "REDIS_INTERVAL_SECONDS", 0.01)
    metrics.REDIS_MEMORY.set(7)
    async with redis.client(RedisSettings(redis_url=f"redis://127.0.0.1:{free_port}/0")) as client:
        keeping = asyncio.create_task(metrics.keep_redis(client))
        done, _ = await asyncio.wait({keeping}, timeout=0.2)
        keeping.cancel()

    assert not done
    assert metrics.REDIS_MEMORY._value.get() == 7


def test_values_that_a_server_does_not_report_count_as_zero() -> None:
    metrics._export_redis({}, Growth())

    assert metrics.REDIS_MAX_MEMORY._value.get() == 0


async def test_the_stream_is_swept_soon_when_there_is_something_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(metrics, "EMPTY_SWEEP_SECONDS", 3600.0)

    class Stream:
        length = sweeps = 0

        async def sweep(self) -> int:
            self.sweeps += 1
            return 0

    stream: Any = Stream()
    empty: Any = Stream()
    sweeping = asyncio.create_task(metrics.sweep(Streams(stream, empty)))
    try:
        await wait_until(lambda: stream.sweeps == 1, what="the first sweep")
        await asyncio.sleep(0.1)
        assert stream.sweeps == 1
        stream.length = 1
        await wait_until(lambda: stream.sweeps > 1, what="another sweep")
    finally:
        sweeping.cancel()
