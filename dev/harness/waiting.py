"""Wait for what a test expects, instead of sleeping."""

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, overload

T = TypeVar("T")

POLL_SECONDS = 0.02
# What should happen soon may take long on a busy machine. This is how long a failure takes to be reported.
PATIENCE_SECONDS = 120.0


@overload
async def wait_until(
    predicate: Callable[[], Coroutine[Any, Any, T]], timeout_seconds: float = ..., *, what: str = ...
) -> T: ...
@overload
async def wait_until(predicate: Callable[[], T], timeout_seconds: float = ..., *, what: str = ...) -> T: ...
async def wait_until(predicate: Callable[[], Any], timeout_seconds: float = PATIENCE_SECONDS, *, what: str = "") -> Any:
    """Call `predicate` (plain or async) until it returns something true, and return that.

    Raise AssertionError after the timeout, with `what` was expected and the last result.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        answer = predicate()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(_failure(timeout_seconds, what or predicate, value))
        await asyncio.sleep(POLL_SECONDS)


def wait_until_sync(predicate: Callable[[], T], timeout_seconds: float = PATIENCE_SECONDS, *, what: str = "") -> T:
    """Like `wait_until`, for fixtures and tests outside of the event loop."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(_failure(timeout_seconds, what or predicate, value))
        time.sleep(POLL_SECONDS)


def _failure(seconds: float, what: object, last: object) -> str:
    return f"not within {seconds:g} s: {what}; the last answer was {last!r}"
