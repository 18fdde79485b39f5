"""The role that brings the schema up to date: python -m services migrate.

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
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from services.platform.settings import PostgresSettings, load
from services.platform.stores.errors import STORE_AWAY, is_store_away
from services.schema import migrations, waiting
from services.schema.migrations import MigrationError, PostgresUnusable, Schema

# Runs a role that does one thing and ends.
#
# exit status
# 0      it is done
# 1      Postgres cannot be used; another try may find that changed
# 2      a setting is wrong
# 3      the migration failed, and would again
# 143    stopped by SIGTERM


# For Postgres to hear that a statement is cancelled; the connection is then cut, which rolls it back as well.
STOP_SECONDS = 2.0


UNUSABLE, FAILED = 1, 3
# And the number of the signal, as in a shell.
STOPPED = 128


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
        sys.stdout.write("stopped; what was not committed is rolled back\n")
        sys.stdout.flush()
    if not task.done():
        # Postgres hangs, and asyncio would wait for it.
        os._exit(STOPPED + stop.result())
    return stop.result()


def _stop(stop: "asyncio.Future[int]", number: int) -> None:
    if not stop.done():
        stop.set_result(number)


# Entry of the role that brings the schema up to date: python -m services migrate.


CLOSE_SECONDS = 1.0


class MigrateSettings(PostgresSettings):
    """Where the schema is, and who uses it."""

    # A role that the services log in as, and that is given no more than what they need. Empty: they are its owner.
    postgres_runtime_user: str = ""


async def migrate(
    settings: PostgresSettings,
    say: waiting.Say,
    *,
    folder: Path = migrations.FOLDER,
    wait_seconds: float = waiting.WAIT_SECONDS,
    runtime_user: str = "",
) -> int:
    """Bring the schema up to date and return how many files were applied. Raises MigrationError.

    Waits for a Postgres that is away, and begins again where one went away in between.
    """
    wanted = migrations.read_files(folder)
    patience = waiting.Patience(say, wait_seconds=wait_seconds)
    applied = 0

    def progress(line: str) -> None:
        patience.reset()
        say(line)

    while True:
        connection = await waiting.connected(settings, "migrate", patience)
        try:
            schema = Schema(settings, connection, wanted)
            applied += await schema.migrate(progress)
            if runtime_user:
                await schema.grant(runtime_user)
                say(f"{runtime_user} may use the schema and cannot change it")
            say(_at(await schema.version(), wanted, applied))
        except Exception as error:
            if not is_store_away(error):
                raise
            await patience.wait(error)
        else:
            return applied
        finally:
            with contextlib.suppress(*STORE_AWAY):
                await connection.close(timeout=CLOSE_SECONDS)


def _at(version: str | None, wanted: Sequence[migrations.File], applied: int) -> str:
    newest = wanted[-1].version
    if version is not None and version > newest:
        return f"schema is at {version}, newer than these files ({newest}), which run on it: nothing to do"
    return f"schema is at {version}: {applied} migrations applied"


def main() -> None:
    """Migrate; exit status 1 and one line when that fails."""
    settings = load(MigrateSettings)
    say = waiting.Say(waiting.to_stdout)
    run_once(lambda: migrate(settings, say, runtime_user=settings.postgres_runtime_user))


if __name__ == "__main__":
    main()
