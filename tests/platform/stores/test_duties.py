"""Who does what a few processes do for all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from dev.harness.waiting import wait_until
from services.platform.process import background
from services.platform.process.lifecycle import Process
from services.platform.settings import PostgresSettings
from services.platform.stores import duties, postgres
from services.platform.stores.duties import Duty


@dataclass
class Copy:
    """A process that may do the work."""

    duty: Duty
    stop: Callable[[], object]
    worked: int = 0
    changes: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def copy(database: str) -> AsyncIterator[Copy]:
    """Run a process with a loop that counts."""
    process = Process("test")
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(process.cancel_all)
        pool = await stack.enter_async_context(postgres.pool(process, PostgresSettings(database_url=database)))
        duty = await stack.enter_async_context(duties.shared(process, pool, "test"))
        made = Copy(duty, stack.aclose)
        duty.on_change(taken=lambda: made.changes.append("taken"), lost=lambda: made.changes.append("lost"))

        async def work() -> None:
            made.worked += 1

        with background.only_while(lambda: duty.held):
            process.spawn("work", background.repeat(work, interval_seconds=0.01))
        yield made


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often."""
    monkeypatch.setattr(duties, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(background, "PAUSED_SECONDS", 0.01)


async def test_two_processes_do_the_work_and_a_third_follows_one_that_stops(database: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(copy(database))
        second = await stack.enter_async_context(copy(database))
        await wait_until(lambda: first.worked and second.worked, what="two to work")
        async with copy(database) as third:
            await wait_until(lambda: third.duty._looked, what="a look")
            await asyncio.sleep(0.1)
            assert (third.duty.held, third.worked, third.changes) == (False, 0, [])
            await first.stop()  # type: ignore[misc]
            await wait_until(lambda: third.worked, what="the third to work")
            assert third.changes == ["taken"]


async def test_two_of_many_processes_do_the_work_and_the_others_stand_by(database: str) -> None:
    """As with twenty workers that are also dispatchers."""
    async with contextlib.AsyncExitStack() as stack:
        copies = [await stack.enter_async_context(copy(database)) for _ in range(8)]

        def working() -> list[Copy]:
            return [each for each in copies if each.worked]

        await wait_until(lambda: all(each.duty._looked for each in copies), what="each to look")
        await wait_until(lambda: len(working()) == duties.PLACES, what="two to work")
        looked = [each.worked for each in working()]
        await wait_until(lambda: min(each.worked for each in working()) > max(looked) + 10, what="more work")
        assert sum(each.duty.held for each in copies) == len(working()) == duties.PLACES


async def test_a_process_that_does_not_look_any_more_loses_its_place(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duties, "PLACES", 1)
    monkeypatch.setattr(duties, "HELD_SECONDS", 0.1)
    process, changes = Process("test"), []
    async with postgres.pool(process, PostgresSettings(database_url=database)) as pool:
        first, second = Duty(pool, "test"), Duty(pool, "test")
        first.on_change(taken=lambda: None, lost=lambda: changes.append("lost"))
        second.on_change(taken=lambda: changes.append("taken"), lost=lambda: None)
        await first.look()
        assert first.held
        monkeypatch.setattr(duties, "HELD_SECONDS", 60.0)

        async def is_taken() -> bool:
            await second.look()
            return second.held

        await until_true(is_taken)
        await first.look()
        assert (first.held, second.held) == (False, True)
        assert changes[-1] == "lost"
    await process.cancel_all()


async def until_true(predicate: Callable[[], Awaitable[bool]]) -> None:
    """Wait for an answer of true."""
    untyped: Any = predicate
    await wait_until(untyped, what="the place to be taken")


async def test_the_check_of_the_work_passes_while_a_process_stands_by(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duties, "PLACES", 1)

    async def fail() -> None:
        raise RuntimeError("broken")

    async with copy(database) as first, copy(database) as second:
        await wait_until(lambda: first.duty.held or second.duty.held, what="one to work")
        holder, other = (first, second) if first.duty.held else (second, first)
        await other.duty.checked(fail, after_seconds=0)()
        await holder.duty.checked(fail, after_seconds=60)()
        with pytest.raises(RuntimeError, match="broken"):
            await holder.duty.checked(fail, after_seconds=0)()
