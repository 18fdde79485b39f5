"""Background tasks have an owner."""

import asyncio

import pytest

from services.platform.process.lifecycle import Process


async def _fails() -> None:
    raise RuntimeError("broken")


async def _ends() -> None:
    return


async def _runs() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("loop", [_fails, _ends])
async def test_a_background_task_that_ends_unexpectedly_ends_the_process(loop: object) -> None:
    process = Process("test")
    process.spawn("loop", loop())  # type: ignore[operator]
    async with asyncio.timeout(5):
        await process.stop_requested.wait()
    assert process.failed
    assert await process.health.alive() == {"background_tasks": "RuntimeError: loop died"}


async def test_draining_is_logged_and_lasts_until_a_second_signal() -> None:
    process = Process("test")
    told: list[bool] = []
    process.on_drain(lambda: told.append(process.health.stopping))
    process.request_stop()
    draining = asyncio.create_task(process.drain(60))
    await asyncio.sleep(0.01)
    assert told == [True]
    assert not draining.done()
    assert await process.health.ready() == {"process": "is stopping"}
    process.request_stop()
    await asyncio.wait_for(draining, 1)


async def test_a_process_that_is_broken_does_not_drain() -> None:
    process = Process("test")
    process.spawn("loop", _fails())
    await process.stop_requested.wait()
    await asyncio.wait_for(process.drain(60), 1)


async def test_a_background_task_that_its_owner_ends_is_not_a_failure() -> None:
    process = Process("test")
    first, second = process.spawn("first", _runs()), process.spawn("second", _runs())
    await process.cancel(first)
    assert first.cancelled()
    await process.cancel_all()
    assert second.cancelled()
    assert not process.failed
    assert not process.stop_requested.is_set()
    assert await process.health.alive() == {}
