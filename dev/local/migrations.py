"""The schema of a database on this machine, for programs that are not asynchronous."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from services.platform.settings import PostgresSettings
from services.schema import migrations
from services.schema.migrate import migrate as migrate_schema
from services.schema.migrations import MigrationError
from services.schema.wait import Say

POLL_SECONDS = 0.1
WAIT_SECONDS = 60.0

__all__ = ["MigrationError", "migrate"]


def migrate(
    database_url: str,
    *,
    folder: Path = migrations.FOLDER,
    cancelled: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda _: None,
    runtime_user: str = "",
) -> int:
    """Apply what is missing to an existing database, and return how many files that were. Raises MigrationError.

    Ends early when `cancelled` says so; the file at hand is rolled back. In a thread of its own: the caller's may have
    a running loop.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="migrations") as thread:
        return thread.submit(asyncio.run, _migrate(database_url, folder, cancelled, say, runtime_user)).result()


async def _migrate(
    url: str, folder: Path, cancelled: Callable[[], bool], say: Callable[[str], None], runtime_user: str
) -> int:
    settings = PostgresSettings(database_url=url)
    quiet = Say(lambda line: say(line) if line.startswith("waiting") else None)
    work = migrate_schema(settings, quiet, folder=folder, wait_seconds=WAIT_SECONDS, runtime_user=runtime_user)
    task = asyncio.ensure_future(work)
    while not task.done():
        if cancelled():
            task.cancel()
        await asyncio.wait({task}, timeout=POLL_SECONDS)
    if task.cancelled():
        raise MigrationError("migrations were stopped")
    return task.result()
