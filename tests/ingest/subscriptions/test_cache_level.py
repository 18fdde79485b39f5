"""The process's own level of the subscription cache: _Level in services/ingest/subscriptions/cache.py."""

import asyncio
from typing import Any

from services.ingest.subscriptions.cache import _Level


async def _leave(asking: "asyncio.Task[Any]") -> None:
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_a_value_is_kept_though_who_asked_has_left() -> None:
    """A caller's deadline is shorter than a slow Postgres: if its value were thrown away, none would ever be kept."""
    level: _Level[str] = _Level(10)
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def load() -> str:
        return await answer

    await _leave(asyncio.create_task(level.load("key", load)))
    answer.set_result("value")
    await asyncio.sleep(0.01)
    assert level.get("key", 1.0) == "value"


async def test_a_failure_that_nobody_waits_for_is_no_error_in_the_log() -> None:
    level: _Level[str] = _Level(10)
    may_fail = asyncio.Event()
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))

    async def load() -> str:
        await may_fail.wait()
        raise OSError("away")

    try:
        await _leave(asyncio.create_task(level.load("key", load)))
        may_fail.set()
        await asyncio.sleep(0.01)
    finally:
        asyncio.get_running_loop().set_exception_handler(None)
    assert not unhandled
    assert level.get("key", 1.0) is None


async def test_a_value_whose_key_was_dropped_meanwhile_is_handed_out_and_not_kept() -> None:
    level: _Level[str] = _Level(10)
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def load() -> str:
        return await answer

    asking = asyncio.create_task(level.load("key", load))
    await asyncio.sleep(0)
    level.drop("key")
    answer.set_result("value")
    assert await asking == "value"
    assert level.get("key", 1.0) is None
