"""Gates on a real Valkey: other processes learn what one process closes, until it expires."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from dev.harness.waiting import wait_until
from services.domain import gates
from services.domain.gates import Gates
from services.platform import ids
from services.platform.process.lifecycle import Process
from services.platform.settings import RedisSettings
from services.platform.stores import redis

SUBSCRIPTION = ids.new()
OTHER = ids.new()


@pytest.fixture(autouse=True)
def _exchanged_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "INTERVAL_SECONDS", 0.05)


@contextlib.asynccontextmanager
async def copy(redis_url: str) -> AsyncIterator[Gates]:
    """A process's cached copy."""
    async with redis.client(RedisSettings(redis_url=redis_url, _env_file=None)) as client:
        made, process = Gates(client), Process("gates")
        process.spawn("gates", made.run())
        try:
            yield made
        finally:
            await process.cancel_all()  # more than once, because Redis's client may swallow it
        assert not process.failed


@pytest.fixture
async def one(redis_url: str) -> AsyncIterator[Gates]:
    async with copy(redis_url) as made:
        yield made


@pytest.fixture
async def another(redis_url: str) -> AsyncIterator[Gates]:
    async with copy(redis_url) as made:
        yield made


async def a_few_exchanges() -> None:
    await asyncio.sleep(4 * gates.INTERVAL_SECONDS)


async def test_what_one_closes_the_other_hears_of_and_forgets(one: Gates, another: Gates) -> None:
    one.close([SUBSCRIPTION])
    assert not one.is_open(SUBSCRIPTION)
    await wait_until(lambda: not another.is_open(SUBSCRIPTION), what="the closing to be heard of")
    assert another.is_open(OTHER)
    assert not another.is_full(SUBSCRIPTION)
    await wait_until(lambda: one.is_open(SUBSCRIPTION) and another.is_open(SUBSCRIPTION), what="the entry to run out")


async def test_a_gate_that_is_closed_again_and_again_stays_closed(
    one: Gates, another: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "CLOSED_MILLISECONDS", 60_000)
    one.close([SUBSCRIPTION])
    await wait_until(lambda: not another.is_open(SUBSCRIPTION), what="the closing to be heard of")
    monkeypatch.setattr(gates, "CLOSED_MILLISECONDS", 120_000)
    another.close([SUBSCRIPTION])
    await a_few_exchanges()
    assert not one.is_open(SUBSCRIPTION)
    assert not another.is_open(SUBSCRIPTION)


@pytest.mark.parametrize("key", [gates.CLOSED, gates.FULL, gates.SHORT])
async def test_a_hint_that_is_dated_ahead_or_is_no_id_is_dropped(redis_url: str, one: Gates, key: str) -> None:
    async with redis.client(RedisSettings(redis_url=redis_url, _env_file=None)) as client:
        seconds, _ = await client.time()
        await client.zadd(key, {SUBSCRIPTION.bytes: (seconds + 3_600) * 1000, b"no id": seconds * 1000 + 400})
        one.close([OTHER])
        await a_few_exchanges()
        assert one.is_open(SUBSCRIPTION)
        assert await client.zscore(key, SUBSCRIPTION.bytes) is None
        assert not one.is_open(OTHER)


async def test_what_is_full_for_one_is_full_for_the_other_and_not_for_long(one: Gates, another: Gates) -> None:
    one.fill(SUBSCRIPTION)
    assert one.is_full(SUBSCRIPTION)
    await wait_until(lambda: another.is_full(SUBSCRIPTION), what="the worker's word to be heard")
    assert not another.is_open(SUBSCRIPTION)
    await wait_until(lambda: not another.is_full(SUBSCRIPTION), what="the entry to run out")
    assert another.is_open(SUBSCRIPTION)


async def test_what_one_has_no_slots_for_is_full_until_another_says_that_the_endpoint_is(
    one: Gates, another: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "FULL_MILLISECONDS", 60_000)
    one.fill(SUBSCRIPTION, short=True)
    await wait_until(lambda: another.is_short(SUBSCRIPTION), what="the worker's word to be heard")
    assert another.is_full(SUBSCRIPTION)
    assert not another.is_open(SUBSCRIPTION)
    another.fill(SUBSCRIPTION)
    await wait_until(lambda: not one.is_short(SUBSCRIPTION), what="the other worker's word to be heard")
    assert one.is_full(SUBSCRIPTION)


async def test_thousands_are_told_in_full(one: Gates, another: Gates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "CLOSED_MILLISECONDS", 60_000)
    closed: list[UUID] = [ids.new() for _ in range(2 * gates._AT_ONCE)]
    one.close(closed)
    await wait_until(lambda: not any(map(another.is_open, closed)), what="all to be heard of")


async def test_one_that_starts_later_hears_what_holds(
    one: Gates, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "CLOSED_MILLISECONDS", 60_000)
    one.close([SUBSCRIPTION])
    await a_few_exchanges()
    async with copy(redis_url) as later:
        await wait_until(lambda: not later.is_open(SUBSCRIPTION), what="the closing to be heard of")


async def test_without_redis_gates_stand_open_and_nothing_fails() -> None:
    async with copy("redis://127.0.0.1:1/0") as made:
        made.close([SUBSCRIPTION])
        made.fill(OTHER)
        await wait_until(lambda: made.is_open(SUBSCRIPTION) and made.is_open(OTHER), what="the gates to open")
