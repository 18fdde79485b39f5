"""The role that waits until the schema is new enough for this release: python -m services wait.

Also what it shares with the role that migrates: waiting for a Postgres that may still be starting, and how a role ends.

what keeps it from connecting                            waited for
no answer, starting up, no connection left               WAIT_SECONDS
no such database                                         DATABASE_SECONDS: somebody may be about to create it
wrong password, no such role, wrong parameter, …         MISTAKE_SECONDS

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
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import asyncpg

from services.platform.settings import PostgresSettings, load
from services.platform.stores import postgres
from services.platform.stores.availability import STORE_AWAY, is_store_away
from services.schema import migrations
from services.schema.migrations import MigrationError, PostgresUnusable, Schema, reason

CONNECT_TIMEOUT_SECONDS = 5.0
CLOSE_SECONDS = 1.0
POLL_SECONDS = 1.0
SAY_AGAIN_SECONDS = 30.0
WAIT_SECONDS = 600.0
DATABASE_SECONDS = 20.0
MISTAKE_SECONDS = 5.0
# Time for Postgres to cancel a statement. Afterward the connection is cut, which rolls it back as well.
STOP_SECONDS = 2.0
UNUSABLE, FAILED = 1, 3
# Plus the number of the signal, as in a shell.
STOPPED = 128

Result = TypeVar("Result")


class Say:
    """Writes progress: a line when it changes, and again every half a minute while it does not."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._last = ""
        self._said = 0.0

    def __call__(self, line: str) -> None:
        """Write the line, unless it was written just now."""
        now = time.monotonic()
        if line != self._last or now - self._said >= SAY_AGAIN_SECONDS:
            self._write(line)
            self._last, self._said = line, now


def to_stdout(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class PostgresWait:
    """Bounds how long a failure may last. Starts over when the kind of failure changes, or `reset` is called."""

    def __init__(self, say: Say, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self._say = say
        self._wait_seconds = wait_seconds
        self._bound: float | None = None
        self._since = 0.0

    def reset(self) -> None:
        """Note that Postgres can be used."""
        self._bound = None

    async def retry(self, error: Exception, *, bound_seconds: float | None = None) -> None:
        """Say what is wrong and wait a little. Raises PostgresUnusable after too long, and the error if it is a bug."""
        bound = self._bound_of(error) if bound_seconds is None else bound_seconds
        now = time.monotonic()
        if bound != self._bound:
            self._bound, self._since = bound, now
        if now - self._since >= bound:
            raise PostgresUnusable(
                f"Postgres could not be used for {bound:g} s: {reason(error)}; check DATABASE_URL or POSTGRES_*"
            ) from error
        self._say(f"waiting for Postgres: {reason(error)}")
        await asyncio.sleep(POLL_SECONDS)

    def _bound_of(self, error: Exception) -> float:
        if isinstance(error, asyncpg.InvalidCatalogNameError):
            return min(DATABASE_SECONDS, self._wait_seconds)
        # These look like a server that is away: no TLS where it is required, and parameters that a pooler refuses.
        no_tls = isinstance(error, ssl.SSLCertVerificationError) or "rejected SSL upgrade" in str(error)
        refused = isinstance(error, asyncpg.ProtocolViolationError)
        if is_store_away(error) and not no_tls and not refused:
            return self._wait_seconds
        if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | ssl.SSLError | OSError):
            return min(MISTAKE_SECONDS, self._wait_seconds)
        raise error


async def with_schema(
    settings: PostgresSettings,
    name: str,
    files: Sequence[migrations.File],
    waiting: PostgresWait,
    work: Callable[[Schema], Awaitable[Result]],
    *,
    bears: tuple[type[Exception], ...] = (),
) -> Result:
    """Return the result of work with the schema, over a connection of its own. Raise MigrationError.

    Waits for a Postgres that is away, and starts over when it goes away during the work, or when the work raises one of
    `bears`.
    """
    while True:
        try:
            connection = await postgres.connect(
                # Any pooler may be in between: nothing here needs more than a transaction.
                settings.model_copy(update={"postgres_pooler": "transaction"}),
                name,
                timeout_seconds=CONNECT_TIMEOUT_SECONDS,
            )
        except Exception as error:  # noqa: BLE001 - a bug is raised again
            await waiting.retry(error)
            continue
        try:
            return await work(Schema(settings, connection, files))
        except Exception as error:
            if not (is_store_away(error) or isinstance(error, bears)):
                raise
            await waiting.retry(error, bound_seconds=WAIT_SECONDS if isinstance(error, bears) else None)
        finally:
            with contextlib.suppress(*STORE_AWAY):
                await connection.close(timeout=CLOSE_SECONDS)


async def wait(settings: PostgresSettings, say: Say) -> None:
    """Return when the schema is at or above that of these files. Raise MigrationError."""
    wanted = migrations.read_files()
    newest = wanted[-1].version
    waiting = PostgresWait(say)
    while True:
        # The running migration grants the runtime role its rights at its end.
        version = await with_schema(
            settings, "wait", wanted, waiting, Schema.version, bears=(asyncpg.InsufficientPrivilegeError,)
        )
        # Versions are times of one length, so that they compare as text.
        if version is not None and version >= newest:
            say(f"schema is at {version}, {newest} is needed")
            return
        # Without a bound: a migration takes as long as it takes, and its operator sees it fail.
        waiting.reset()
        say(f"waiting for the schema: at {version or 'nothing'}, {newest} is needed")
        await asyncio.sleep(POLL_SECONDS)


def run_once(work: Callable[[], Awaitable[object]]) -> None:
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
        sys.stdout.write("stopped; uncommitted changes are rolled back\n")
        sys.stdout.flush()
    if not task.done():
        # Postgres hangs, and asyncio would wait for it.
        os._exit(STOPPED + stop.result())
    return stop.result()


def _stop(stop: "asyncio.Future[int]", number: int) -> None:
    if not stop.done():
        stop.set_result(number)


def main() -> None:
    """Wait; exit status 1 and one line when there is nothing to wait for."""
    settings = load(PostgresSettings)
    run_once(lambda: wait(settings, Say(to_stdout)))


if __name__ == "__main__":
    main()
