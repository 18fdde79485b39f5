"""Entry of the role that brings the schema up to date: python -m services migrate."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from services.platform import errors
from services.platform.settings import PostgresSettings, load
from services.schema import files, process, waiting
from services.schema.runner import Schema

CLOSE_SECONDS = 1.0


class MigrateSettings(PostgresSettings):
    """Where the schema is, and who uses it."""

    # A role that the services log in as, and that is given no more than what they need. Empty: they are its owner.
    postgres_runtime_user: str = ""


async def migrate(
    settings: PostgresSettings,
    say: waiting.Say,
    *,
    folder: Path = files.FOLDER,
    wait_seconds: float = waiting.WAIT_SECONDS,
    runtime_user: str = "",
) -> int:
    """Bring the schema up to date and return how many files were applied. Raises MigrationError.

    Waits for a Postgres that is away, and begins again where one went away in between.
    """
    wanted = files.read(folder)
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
            if not errors.is_store_away(error):
                raise
            await patience.wait(error)
        else:
            return applied
        finally:
            with contextlib.suppress(*errors.STORE_AWAY):
                await connection.close(timeout=CLOSE_SECONDS)


def _at(version: str | None, wanted: Sequence[files.File], applied: int) -> str:
    newest = wanted[-1].version
    if version is not None and version > newest:
        return f"schema is at {version}, newer than these files ({newest}), which run on it: nothing to do"
    return f"schema is at {version}: {applied} migrations applied"


def main() -> None:
    """Migrate; exit status 1 and one line when that fails."""
    settings = load(MigrateSettings)
    say = waiting.Say(waiting.to_stdout)
    process.run(lambda: migrate(settings, say, runtime_user=settings.postgres_runtime_user))


if __name__ == "__main__":
    main()
