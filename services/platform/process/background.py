"""Background loops of a process: each runs until it is cancelled, survives what fails, and says so once.

`Process.spawn` starts one, names it and owns it; `repeat` is what it runs.
"""

import asyncio
import contextlib
import contextvars
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import NoReturn

import structlog

from services.platform import errors

log = structlog.get_logger(__name__)


# How often a loop looks without being woken where nothing is known to be due: what nobody told of waits no longer.
QUIET_SECONDS = 5.0
# Timers of uvloop count whole milliseconds, and may go off so much too early: for that nobody should wake up.
EARLY_SECONDS = 0.001
# Between two looks of a loop that pauses.
PAUSED_SECONDS = 1.0
_MAY_RUN: contextvars.ContextVar[Callable[[], bool] | None] = contextvars.ContextVar("may_run", default=None)


def end_if_cancelled() -> None:
    """Raise CancelledError if this task was cancelled, and what it awaited has hidden that, as redis-py may."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class Alarm:
    """Ends a wait: at once, or at the earliest of the times for which it is set."""

    def __init__(self) -> None:
        # On time.monotonic().
        self._at = math.inf
        self._earlier = asyncio.Event()

    def set(self, seconds: float = 0.0) -> None:
        """Go off in so many seconds, unless that is sooner anyway."""
        at = time.monotonic() + seconds
        if at < self._at:
            self._at = at
            self._earlier.set()

    async def wait(self, seconds: float) -> None:
        """Wait for so long, or until it goes off; that happens once."""
        until = time.monotonic() + seconds
        while (rest_seconds := min(until, self._at) - time.monotonic()) > 0:
            self._earlier.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest_seconds + EARLY_SECONDS):
                    await self._earlier.wait()
        if self._at <= time.monotonic():
            self._at = math.inf


@contextlib.contextmanager
def only_while(may_run: Callable[[], bool]) -> Iterator[None]:
    """Have the loops that are spawned within this context pause while `may_run` returns false."""
    token = _MAY_RUN.set(may_run)
    try:
        yield
    finally:
        _MAY_RUN.reset(token)


async def repeat(
    step: Callable[[], Awaitable[float | None]],
    *,
    interval_seconds: float,
    retry_seconds: float | None = None,
    at_once: bool = True,
    quiet: bool = False,
    wake: Alarm | None = None,
    on_error: Callable[[], None] | None = None,
) -> NoReturn:
    """Call `step` again and again, until cancelled.

    Between two calls it waits for the seconds that `step` returned, or `interval_seconds` for None, or until `wake`
    goes off. After a call that failed it waits for `retry_seconds` or else `interval_seconds`, whatever `wake` does.
    With `at_once` the first call comes before the first wait.

    The first of several failures in a row is logged: as a warning when a store is away (unless `quiet`), with its trace
    when it is a bug. A failure of another kind is logged again.
    """
    pause_seconds = 0.0 if at_once else interval_seconds
    failure: type[Exception] | None = None
    may_run = _MAY_RUN.get()
    while True:
        end_if_cancelled()
        while may_run is not None and not may_run():  # noqa: ASYNC110 - a process stands by for hours
            await asyncio.sleep(PAUSED_SECONDS)
        if wake is not None and failure is None:
            await wake.wait(pause_seconds)
        else:
            await asyncio.sleep(pause_seconds)
        try:
            returned = await step()
        except Exception as error:  # noqa: BLE001 - whatever it is, the loop goes on
            if type(error) is not failure:
                _tell(error, quiet=quiet)
            failure = type(error)
            if on_error is not None:
                on_error()
            pause_seconds = interval_seconds if retry_seconds is None else retry_seconds
        else:
            failure = None
            pause_seconds = interval_seconds if returned is None else returned


def _tell(error: Exception, *, quiet: bool) -> None:
    task = asyncio.current_task()
    name = task.get_name() if task else ""
    if errors.classify(error) is None:
        log.error("a background task failed because of a bug; trying again", task=name, exc_info=error)
    elif not quiet:
        log.warning("cannot run a background task: a store is unavailable", task=name, error=repr(error))
