"""Runs a role that does one thing and ends.

exit status
0      it is done
1      Postgres cannot be used; another try may find that changed
2      a setting is wrong
3      the migration failed, and would again
143    stopped by SIGTERM
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from services.schema.errors import MigrationError, PostgresUnusable

# For Postgres to hear that a statement is cancelled; the connection is then cut, which rolls it back as well.
STOP_SECONDS = 2.0
UNUSABLE, FAILED = 1, 3
# And the number of the signal, as in a shell.
STOPPED = 128


def run(work: Callable[[], Awaitable[object]]) -> None:
    """Run the work to its end, or until SIGTERM or SIGINT, and exit with its status; one line says why."""
    try:
        stopped_by = asyncio.run(_until_stopped(work))
    except MigrationError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(UNUSABLE if isinstance(error, PostgresUnusable) else FAILED)
    sys.exit(STOPPED + stopped_by if stopped_by else 0)


async def _until_stopped(work: Callable[[], Awaitable[object]]) -> int:
    """Return the signal that stopped the work, 0 when it came to its end."""
    stop: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _stop, stop, number)
    task = asyncio.ensure_future(work())
    waited: set[asyncio.Future[Any]] = {task, stop}
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
        return 0
    task.cancel()
    await asyncio.wait({task}, timeout=STOP_SECONDS)
    with contextlib.suppress(OSError):
        sys.stdout.write("stopped; what was not committed is rolled back\n")
        sys.stdout.flush()
    if not task.done():
        # Postgres hangs, and asyncio would wait for it.
        os._exit(STOPPED + stop.result())
    return stop.result()


def _stop(stop: "asyncio.Future[int]", number: int) -> None:
    if not stop.done():
        stop.set_result(number)
