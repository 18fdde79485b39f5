"""Gates on a real Valkey: other processes learn what one process closes, until it expires."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from dev.embedded import EmbeddedValkey
from dev.harness.waiting import wait_until
from services.domain import gates
from services.domain.gates import Gates
from services.platform import ids
from services.platform.process.lifecycle import Process
from services.platform.settings import RedisSettings
from services.platform.stores import redis, signals

ALIVE = {"cmdstat_info", "cmdstat_ping"}
NOWHERE = "redis://127.0.0.1:1/0"
SUBSCRIPTION = ids.new()
OTHER = ids.new()


@pytest.fixture(autouse=True)
def _exchanged_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "INTERVAL_SECONDS", 0.05)
    # A slow response on a busy machine is no outage, after which all gates are open.
    monkeypatch.setattr(gates, "TIMEOUT_SECONDS", 10.0)


@contextlib.asynccontextmanager
async def copy(redis_url: str) -> AsyncIterator[Gates]:
    """A process's cached copy."""
    process = Process("gates")
    async with (
        redis.connect(RedisSettings(redis_url=redis_url, _env_file=None), timeout_seconds=10.0) as client,
        signals.running(process, client) as heard,
        gates.running(process, heard) as made,
    ):
        made.follow()
        if redis_url != NOWHERE:
            await wait_until(lambda: heard.listening, what="it to listen")
        yield made
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


async def test_closed_gate_is_seen_by_other_processes_until_it_expires(one: Gates, another: Gates) -> None:
    def heard() -> bool:
        one.close([SUBSCRIPTION])  # again, because a busy machine may take longer than it is closed
        assert not one.is_open(SUBSCRIPTION)
        return not another.is_open(SUBSCRIPTION)

    await wait_until(heard, what="the closing to be heard of")
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


async def test_a_hint_that_is_dated_ahead_or_is_not_an_id_is_dropped(
    redis_url: str, one: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "CLOSED_MILLISECONDS", 60_000)
    async with redis.client(RedisSettings(redis_url=redis_url, _env_file=None)) as client:
        seconds, _ = await client.time()
        await client.zadd(gates.CLOSED, {SUBSCRIPTION.bytes: (seconds + 7_200) * 1000, b"no id": seconds * 1000 + 400})
        one.close([OTHER])

        async def is_gone() -> bool:
            return await client.zscore(gates.CLOSED, SUBSCRIPTION.bytes) is None

        untyped: Any = is_gone
        await wait_until(untyped, what="it to be dropped")
        assert one.is_open(SUBSCRIPTION)
        assert not one.is_open(OTHER)


async def test_full_endpoint_is_seen_by_other_processes_until_the_entry_expires(one: Gates, another: Gates) -> None:
    def heard() -> bool:
        one.fill(SUBSCRIPTION)  # again, because a busy machine may take longer than that holds
        assert one.is_full(SUBSCRIPTION)
        return another.is_full(SUBSCRIPTION) and not another.is_open(SUBSCRIPTION)

    await wait_until(heard, what="the worker's word to be heard")
    await wait_until(lambda: not another.is_full(SUBSCRIPTION), what="the entry to run out")
    assert another.is_open(SUBSCRIPTION)


async def test_endpoint_without_slots_is_short_until_another_worker_reports_it_full(
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


async def test_thousands_of_changes_are_exchanged_in_full(
    one: Gates, another: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "CLOSED_MILLISECONDS", 60_000)
    closed: list[UUID] = [ids.new() for _ in range(2 * gates._AT_ONCE)]
    one.close(closed)
    await wait_until(lambda: not any(map(another.is_open, closed)), what="all to be heard of")


async def test_process_that_starts_later_learns_which_gates_are_closed(
    one: Gates, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "CLOSED_MILLISECONDS", 60_000)
    one.close([SUBSCRIPTION])
    await a_few_exchanges()
    async with copy(redis_url) as later:
        await wait_until(lambda: not later.is_open(SUBSCRIPTION), what="the closing to be heard of")


async def test_gates_are_open_without_redis_and_nothing_fails() -> None:
    async with copy(NOWHERE) as made:
        made.close([SUBSCRIPTION])
        made.fill(OTHER)
        await wait_until(lambda: made.is_open(SUBSCRIPTION) and made.is_open(OTHER), what="the gates to open")


async def test_a_gate_that_is_closed_for_long_is_opened_everywhere(one: Gates, another: Gates) -> None:
    one.close_for({SUBSCRIPTION: 600.0})
    await wait_until(lambda: not another.is_open(SUBSCRIPTION), what="the closing to be heard of")
    another.open([SUBSCRIPTION])
    assert another.is_open(SUBSCRIPTION)
    await wait_until(lambda: one.is_open(SUBSCRIPTION), what="the opening to be heard of")


async def test_a_process_knows_a_limited_number_of_closed_gates(one: Gates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "MAX_CLOSED", 3)
    names = [ids.new() for _ in range(5)]
    one.close_for(dict.fromkeys(names, 600.0))
    assert [one.is_open(name) for name in names] == [False] * 3 + [True] * 2


async def test_unsent_changes_are_not_undone_by_earlier_changes_of_other_processes(redis_url: str) -> None:
    async with redis.client(RedisSettings(redis_url=redis_url, _env_file=None)) as client:
        mine = Gates(signals.Signals(client))
        mine.close_for({SUBSCRIPTION: 600.0})
        # While this is not told yet, an opening from before it is heard of.
        mine._hear(b"%08d" % 0 + SUBSCRIPTION.bytes)
        assert not mine.is_open(SUBSCRIPTION)


async def test_gates_that_stay_closed_cost_nothing(one: Gates, another: Gates, redis_url: str) -> None:
    closed = {ids.new(): 600.0 for _ in range(5_000)}

    def heard() -> bool:
        one.close_for(closed)  # again, as the dispatcher does after it lost Redis
        return not any(map(another.is_open, closed))

    await wait_until(heard, what="all to be heard of")
    async with redis.client(RedisSettings(redis_url=redis_url, _env_file=None)) as client:
        await a_few_exchanges()
        before = await client.info("stats")
        for _ in range(5):
            one.close_for(closed)
            await a_few_exchanges()
        after = await client.info("stats")
    for direction in ("total_net_input_bytes", "total_net_output_bytes"):
        assert after[direction] - before[direction] < 5_000 * gates.UUID_BYTES
    assert not any(map(one.is_open, closed))


async def test_process_that_starts_later_reads_closed_gates_in_parts(
    one: Gates, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "_CATCH_UP", 50)
    closed = {ids.new(): 600.0 for _ in range(1_000)}
    async with copy(redis_url) as other:

        def told() -> bool:
            one.close_for(closed)  # again, as the dispatcher does after it lost Redis
            return not any(map(other.is_open, closed))

        await wait_until(told, what="all to be told")
    async with copy(redis_url) as later:
        await wait_until(lambda: not any(map(later.is_open, closed)), what="all to be read")
        one.open(closed)
        await wait_until(lambda: all(map(later.is_open, closed)), what="all to be opened")


async def test_process_that_missed_changes_reads_the_closed_gates(one: Gates, redis_url: str) -> None:
    async with redis.client(RedisSettings(redis_url=redis_url, _env_file=None)) as client, copy(redis_url) as other:
        one.close_for({OTHER: 600.0})
        await wait_until(lambda: not other.is_open(OTHER), what="the first change to be heard of")
        seconds, _ = await client.time()
        await client.zadd(gates.CLOSED, {SUBSCRIPTION.bytes: (seconds + 600) * 1000})
        await client.client_kill_filter(_type="pubsub")
        await wait_until(lambda: not other.is_open(SUBSCRIPTION), what="it to be read")


async def test_gates_cost_no_command_while_none_changes(short_folder: Path, free_port: int) -> None:
    with EmbeddedValkey(short_folder / f"gates-{free_port}") as alone:  # nobody else has commands
        async with (
            copy(alone.url()) as one,
            copy(alone.url()),
            redis.client(RedisSettings(redis_url=alone.url(), _env_file=None)) as client,
        ):
            one.close([OTHER])
            await a_few_exchanges()

            async def commands() -> dict[str, int]:
                """Return how often each was called, apart from the question and from what says that a peer lives."""
                stats = await client.info("commandstats")
                return {name: each["calls"] for name, each in stats.items() if name not in ALIVE}

            async def is_quiet() -> bool:
                before = await commands()
                await a_few_exchanges()
                return await commands() == before

            untyped: Any = is_quiet
            await wait_until(untyped, what="no command")


async def test_a_key_of_another_type_is_removed_and_gates_work_again(one: Gates, another: Gates) -> None:
    """Redis refuses it, and is not away."""
    await one._redis.set(gates.CLOSED, "nonsense")

    async def works() -> bool:
        one.close([SUBSCRIPTION])
        one.fill(OTHER)
        return not another.is_open(SUBSCRIPTION) and another.is_full(OTHER)

    await wait_until(works, what="what one closes to be heard of by the other")
