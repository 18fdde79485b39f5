"""Background loops continue after any failure, log it once, and can be woken."""

import asyncio
import contextlib
from collections.abc import Iterator

import asyncpg
import pytest
from structlog.testing import capture_logs

from services.platform.process import background
from services.platform.process.background import Alarm

PAUSE_SECONDS = 0.01


class Steps:
    """A step that fails as configured, and ends the test's loop after the last one."""

    def __init__(self, *failures: Exception | None) -> None:
        self._failures: Iterator[Exception | None] = iter(failures)
        self.done = asyncio.Event()
        self.calls = 0

    async def __call__(self) -> float | None:
        self.calls += 1
        failure = next(self._failures, self)
        if failure is self:
            self.done.set()
        elif isinstance(failure, Exception):
            raise failure
        return None


async def _until_done(steps: Steps, **options: bool | float | Alarm | None) -> list[str]:
    """Return the lines of log, each preceded by the level."""
    with capture_logs() as logs:
        task = asyncio.create_task(
            background.repeat(steps, **{"interval_seconds": PAUSE_SECONDS, **options}),  # type: ignore[arg-type]
            name="loop",
        )
        async with asyncio.timeout(60):
            await steps.done.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert all(line["task"] == "loop" for line in logs)
    return [f"{line['log_level']}: {line['event']}" for line in logs]


AWAY = asyncpg.CannotConnectNowError("starting up")
BUG = ValueError("bug")


async def test_repeat_logs_the_first_of_several_failures_of_a_kind() -> None:
    assert await _until_done(Steps(None, AWAY, AWAY, BUG, BUG, None, BUG)) == [
        "warning: cannot run a background task: a store is unavailable",
        "error: a background task failed because of a bug; trying again",
        "error: a background task failed because of a bug; trying again",
    ]


async def test_repeat_says_nothing_of_stores_when_quiet() -> None:
    assert await _until_done(Steps(AWAY, BUG), quiet=True) == [
        "error: a background task failed because of a bug; trying again"
    ]


async def test_repeat_is_woken_before_its_interval() -> None:
    wake = Alarm()
    wake.set()
    steps = Steps()
    await _until_done(steps, interval_seconds=60.0, at_once=False, wake=wake)
    assert steps.calls == 1


async def test_repeat_waits_first_unless_it_begins_at_once() -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    await _until_done(Steps(), interval_seconds=0.1, at_once=False)
    assert loop.time() - started >= 0.1


async def test_an_alarm_goes_off_at_the_earliest_of_its_times_and_once() -> None:
    alarm, loop = Alarm(), asyncio.get_running_loop()
    started = loop.time()
    alarm.set(60.0)
    alarm.set(0.05)
    alarm.set(30.0)
    await alarm.wait(10.0)
    assert loop.time() - started >= 0.05
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await alarm.wait(10.0)


async def test_an_alarm_that_is_set_during_a_wait_ends_it_and_one_for_later_outlasts_it() -> None:
    alarm, loop = Alarm(), asyncio.get_running_loop()
    loop.call_later(0.02, alarm.set)
    async with asyncio.timeout(5):
        await alarm.wait(60.0)
    started = loop.time()
    alarm.set(0.1)
    await alarm.wait(0.01)
    async with asyncio.timeout(5):
        await alarm.wait(60.0)
    assert loop.time() - started >= 0.1
