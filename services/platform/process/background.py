"""Background loops of a process: each runs until it is cancelled, survives what fails, and says so once.

`Process.spawn` starts one, names it and owns it; `repeat` is what it runs.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable, Callable, Iterator
from typing import NoReturn

import structlog

from services.platform import errors

log = structlog.get_logger(__name__)


# Between two looks of a loop that pauses.
PAUSED_SECONDS = 0.25
_MAY_RUN: contextvars.ContextVar[Callable[[], bool] | None] = contextvars.ContextVar("may_run", default=None)


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
    wake: asyncio.Event | None = None,
    on_error: Callable[[], None] | None = None,
) -> NoReturn:
    """Call `step` again and again, until cancelled.

    Between two calls it waits for the seconds that `step` returned, or `interval_seconds` for None, or until `wake` is
    set. After a call that failed it waits for `retry_seconds` or else `interval_seconds`, whatever sets `wake`. With
    `at_once` the first call comes before the first wait.

    The first of several failures in a row is logged: as a warning when a store is away (unless `quiet`), with its trace
    when it is a bug. A failure of another kind is logged again.
    """
    pause_seconds = 0.0 if at_once else interval_seconds
    failure: type[Exception] | None = None
    may_run = _MAY_RUN.get()
    while True:
        while may_run is not None and not may_run():  # noqa: ASYNC110 - a process stands by for hours
            await asyncio.sleep(PAUSED_SECONDS)
        if wake is not None and failure is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_seconds):
                    await wake.wait()
            wake.clear()
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
