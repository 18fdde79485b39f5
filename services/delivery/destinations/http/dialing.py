"""The addresses of one name, each tried a little after the one before (RFC 8305, 5): the first connection counts."""

import asyncio
import functools
import ssl
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

DELAY_SECONDS = 0.25
Opened = TypeVar("Opened")


async def first(
    openings: Iterable[Callable[[], Coroutine[Any, Any, Opened]]], close: Callable[[Opened], None]
) -> Opened:
    """What the first of `openings` to succeed answers; what others answer meanwhile is closed.

    The next begins when one failed, or after a quarter of a second. Raises the last OSError when all fail, and an
    SSLError at once: who answers with the wrong certificate is there.
    """
    waiting = deque(openings)
    begun: list[asyncio.Task[Opened]] = []
    running: set[asyncio.Task[Opened]] = set()
    failure: OSError = OSError("there is no address")
    won: asyncio.Task[Opened] | None = None

    try:
        while waiting or running:
            if waiting:
                begun.append(asyncio.create_task(waiting.popleft()()))
                running.add(begun[-1])
            delay = DELAY_SECONDS if waiting else None
            done, running = await asyncio.wait(running, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is None:
                    won = task
                    return task.result()
                if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
                    raise error
                failure = error
        raise failure
    finally:
        for task in begun:
            if task is not won:
                task.cancel()
                task.add_done_callback(functools.partial(_close_late, close))


def _close_late(close: Callable[[Opened], None], task: "asyncio.Task[Opened]") -> None:
    if not task.cancelled() and task.exception() is None:
        close(task.result())
