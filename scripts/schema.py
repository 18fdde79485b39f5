"""The schema of a database that several machines share: brings it up to date, or waits until somebody did.

    python scripts/schema.py migrate    # applies what is missing, one at a time however many are started
    python scripts/schema.py wait       # ends when the schema is at or above the version of these files

Both read the variables of the services and wait for a Postgres that is away. A schema that is newer than these files
is fine: migrations only ever expand it, so that the version before still runs, which is what a rollback needs.
"""

import asyncio
import os
import re
import sys
import time
from pathlib import Path
from urllib.parse import quote

import asyncpg

from services.common.settings import PostgresSettings, load
from services.local import migrations

USAGE = "usage: python scripts/schema.py migrate|wait"
CONNECT_TIMEOUT_SECONDS = 5.0
POLL_SECONDS = 2.0
SAY_AGAIN_SECONDS = 30.0
LOCK = "SELECT pg_advisory_xact_lock(hashtext('webhook:migrations'))"
VERSION = "SELECT max(version) FROM schema_migrations"
AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Say:
    """Progress, a line whenever it changes, and now and then when it does not."""

    def __init__(self) -> None:
        self._last = ""
        self._said = 0.0

    def __call__(self, line: str) -> None:
        """Prints the line, unless it was said just now."""
        now = time.monotonic()
        if line != self._last or now - self._said >= SAY_AGAIN_SECONDS:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
            self._last, self._said = line, now


def url(settings: PostgresSettings) -> str:
    """The URL for dbmate, which is run without our environment: what asyncpg takes from there is put into it."""
    found = {
        parameter: os.environ.get(variable, "")
        for parameter, variable in (("sslmode", "PGSSLMODE"), ("sslrootcert", "PGSSLROOTCERT"))
    }
    dsn = settings.postgres_dsn
    added = [
        f"{parameter}={quote(value, safe='/')}"
        for parameter, value in found.items()
        if value and f"{parameter}=" not in dsn
    ]
    return dsn + ("&" if "?" in dsn else "?") * bool(added) + "&".join(added)


def wanted(folder: Path = migrations.FOLDER) -> str:
    """The version of the newest migration of these files."""
    return max(path.name.partition("_")[0] for path in folder.glob("*.sql") if re.match(r"\d+_", path.name))


async def connected(dsn: str, say: Say) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection, as soon as there is one to be had."""
    while True:
        try:
            # Simple queries alone, and no cache: safe behind a pooler of transactions.
            return await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_SECONDS, statement_cache_size=0)
        except AWAY as error:
            say(f"waiting for Postgres: {type(error).__name__}: {error}")
            await asyncio.sleep(POLL_SECONDS)


async def migrate(settings: PostgresSettings) -> None:
    """Applies what is missing. Who comes second waits for the first, and finds nothing to do."""
    say = Say()
    connection = await connected(settings.postgres_dsn, say)
    try:
        # The lock of a transaction, not of a session: it holds behind a pooler, too, and goes with the connection.
        async with connection.transaction():
            await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            await connection.execute(LOCK)
            applied = await asyncio.to_thread(migrations.migrate, url(settings))
    finally:
        connection.terminate()
    say(f"schema is at {wanted()}: {applied} migrations applied")


async def wait(settings: PostgresSettings) -> None:
    """Ends when the schema is at least that of these files."""
    say, version = Say(), wanted()
    while True:
        connection = await connected(settings.postgres_dsn, say)
        try:
            found = await connection.fetchval(VERSION, timeout=CONNECT_TIMEOUT_SECONDS)
        except asyncpg.UndefinedTableError:
            found = None
        except AWAY as error:
            say(f"waiting for Postgres: {type(error).__name__}: {error}")
            await asyncio.sleep(POLL_SECONDS)
            continue
        finally:
            connection.terminate()
        # Versions are times of one length, so that they compare as text.
        if found is not None and found >= version:
            say(f"schema is at {found}, {version} is needed")
            return
        say(f"waiting for the schema: at {found or 'nothing'}, {version} is needed")
        await asyncio.sleep(POLL_SECONDS)


def main() -> None:
    """Runs the command that is named."""
    commands = {"migrate": migrate, "wait": wait}
    match sys.argv[1:]:
        case [name] if name in commands:
            try:
                asyncio.run(commands[name](load(PostgresSettings)))
            except migrations.MigrationError as error:
                sys.exit(str(error))
        case _:
            sys.stderr.write(USAGE + "\n")
            sys.exit(2)


if __name__ == "__main__":
    main()
