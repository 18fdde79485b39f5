"""Signals over a real Valkey: who hears what, and what happens while they are not heard."""

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dev.embedded import EmbeddedValkey, Guard
from dev.harness.waiting import PATIENCE_SECONDS, wait_until
from services.platform.process.background import Alarm
from services.platform.process.lifecycle import Process
from services.platform.settings import RedisSettings
from services.platform.stores import redis, signals
from services.platform.stores.signals import Signals

NOWHERE = "redis://127.0.0.1:1/0"


@contextlib.asynccontextmanager
async def heard_in(redis_url: str) -> AsyncIterator[Signals]:
    """The signals of a process."""
    process = Process("test")
    async with (
        redis.of_process(process, RedisSettings(redis_url=redis_url, _env_file=None)) as client,
        signals.running(process, client) as made,
    ):
        if redis_url != NOWHERE:
            await wait_until(lambda: made.listening, what="it to listen")
        yield made
    assert not process.failed


async def goes_off(alarm: Alarm, seconds: float = PATIENCE_SECONDS) -> bool:
    """Whether an alarm goes off within so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await alarm.wait(3600)
            return True
    return False


async def test_a_wake_is_heard_in_the_process_and_in_others_under_its_name(redis_url: str) -> None:
    async with heard_in(redis_url) as one, heard_in(redis_url) as another:
        here, there, other = one.alarm("due"), another.alarm("due"), another.alarm("other")
        one.wake("due")
        assert await goes_off(here)
        assert await goes_off(there)
        assert not await goes_off(other, 0.1)


async def test_a_wake_for_later_is_heard_as_such_and_an_earlier_one_replaces_it(redis_url: str) -> None:
    async with heard_in(redis_url) as one, heard_in(redis_url) as another:
        alarm = another.alarm("due")
        one.wake("due", 3600.0)
        assert not await goes_off(alarm, 0.2)
        one.wake("due", 0.01)
        assert await goes_off(alarm)


async def test_values_are_heard_by_others_in_their_order(redis_url: str) -> None:
    async with heard_in(redis_url) as one, heard_in(redis_url) as another:
        own: list[bytes] = []
        others: list[bytes] = []
        one.hear("value", own.append)
        another.hear("value", others.append)
        for number in range(20):
            one.publish("value", b"%d \x00\xff" % number)
        await one.tell("other", b"x")
        await wait_until(lambda: len(others) == 20, what="all to be heard")
        assert others == [b"%d \x00\xff" % number for number in range(20)]
        assert own == []


async def test_what_is_left_to_tell_is_told_when_a_process_ends(redis_url: str) -> None:
    async with heard_in(redis_url) as other:
        alarm = other.alarm("due")
        async with heard_in(redis_url) as ending:
            ending.wake("first")
            await asyncio.sleep(0)
            ending.wake("due")
        assert await goes_off(alarm)


async def test_alarms_go_off_when_something_may_have_been_missed(redis_url: str) -> None:
    async with heard_in(redis_url) as one:
        alarm, missed = one.alarm("due"), []
        one.on_missed(lambda: missed.append(one.listening))
        assert one.pace(0.1) == signals.QUIET_SECONDS
        await one.client.client_kill_filter(_type="pubsub")
        await wait_until(lambda: missed == [False, True], what="the end and the new beginning")
        assert await goes_off(alarm)


async def test_nothing_is_quiet_without_redis_and_a_process_hears_itself() -> None:
    async with heard_in(NOWHERE) as one:
        alarm = one.alarm("due")
        assert one.pace(0.1) == 0.1
        assert not await one.confirm()
        one.wake("due")
        assert await goes_off(alarm)


async def test_messages_of_others_than_us_are_ignored(redis_url: str) -> None:
    async with heard_in(redis_url) as one:
        alarm = one.alarm("due")
        for message in (b"", b"x", b"x" * 16, b"x" * 16 + b"due", b"x" * 16 + b"due soon", b"\xff" * 40):
            await one.client.publish(signals.CHANNEL, message)
        await one.client.publish(signals.CHANNEL, b"x" * 16 + b"due 0.0")
        assert await goes_off(alarm)


async def test_a_redis_that_hangs_is_noticed_by_who_depends_on_every_signal(short_folder: Path) -> None:
    with Guard() as guard, EmbeddedValkey(short_folder / "signals", guard=guard) as server:
        async with heard_in(server.url()) as one:
            assert await one.confirm()
            with contextlib.ExitStack() as thaw:
                server.process.send(signal.SIGSTOP)
                thaw.callback(server.process.send, signal.SIGCONT)

                async def is_deaf() -> bool:
                    return not await one.confirm()

                await until(is_deaf)
                await wait_until(lambda: not one.listening, what="the end of listening")
            await until(one.confirm)


async def until(predicate: Any) -> None:
    """Wait for an answer of true; mypy finds no T in wait_until for a coroutine function."""
    await wait_until(predicate, what="an answer of true")


async def test_listening_costs_a_command_in_five_seconds(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "QUIET_SECONDS", 0.5)
    async with heard_in(redis_url) as one, redis.client(RedisSettings(redis_url=redis_url, _env_file=None)) as client:

        async def is_little() -> bool:
            before = (await client.info("stats"))["total_commands_processed"]
            asked_at = one._asked_at
            await wait_until(lambda: one._asked_at > asked_at and one._heard_at > one._asked_at, what="a ping")
            # The ping, and the question of this test.
            return bool((await client.info("stats"))["total_commands_processed"] - before <= 2)

        await until(is_little)


async def test_what_a_redis_that_hangs_for_a_moment_did_not_take_is_told_when_it_goes_on(short_folder: Path) -> None:
    with Guard() as guard, EmbeddedValkey(short_folder / "signals", guard=guard) as server:
        async with heard_in(server.url()) as one, heard_in(server.url()) as another:
            alarm = another.alarm("due")
            with contextlib.ExitStack() as thaw:
                server.process.send(signal.SIGSTOP)
                thaw.callback(server.process.send, signal.SIGCONT)
                # The first is in a buffer, and the second nowhere: there is no connection for it.
                for name in ("first", "due"):
                    one.wake(name)
                    with pytest.raises(redis.REDIS_AWAY):
                        await one.flush()
            assert await goes_off(alarm)


async def test_listening_ends_whenever_it_is_cancelled(redis_url: str) -> None:
    """A read that ends in the moment of the cancellation may hide it."""
    chance = random.Random(7)
    for _ in range(150):
        async with redis.client(RedisSettings(redis_url=redis_url, _env_file=None), "test") as client:
            made = Signals(client)
            listening = asyncio.create_task(made.listen())
            end_at = time.monotonic() + chance.random() * 0.02
            while time.monotonic() < end_at:
                if chance.random() < 0.3:
                    await made.confirm()
                await asyncio.sleep(0)
            listening.cancel()
            _, hung = await asyncio.wait([listening], timeout=PATIENCE_SECONDS)
            assert not hung
