"""The role that brings the schema up to date: python -m services migrate. Its exit statuses are those of wait.py."""

from collections.abc import Sequence
from pathlib import Path

from services.platform.settings import PostgresSettings, load
from services.schema import migrations
from services.schema.migrations import Schema
from services.schema.wait import WAIT_SECONDS, PostgresWait, Say, run_once, to_stdout, with_schema


class MigrateSettings(PostgresSettings):
    """Where the schema is, and who uses it."""

    # The role that the services log in as, which gets only the rights they need. Empty: they log in as the owner.
    postgres_runtime_user: str = ""


async def migrate(
    settings: PostgresSettings,
    say: Say,
    *,
    folder: Path = migrations.FOLDER,
    wait_seconds: float = WAIT_SECONDS,
    runtime_user: str = "",
) -> int:
    """Bring the schema up to date and return how many files were applied. Raises MigrationError."""
    wanted = migrations.read_files(folder)
    waiting = PostgresWait(say, wait_seconds=wait_seconds)
    applied = 0

    def progress(line: str) -> None:
        nonlocal applied
        applied += 1
        waiting.reset()
        say(line)

    async def work(schema: Schema) -> None:
        await schema.migrate(progress)
        if runtime_user:
            await schema.grant(runtime_user)
            say(f"{runtime_user} may use the schema and cannot change it")
        say(_summary(await schema.version(), wanted, applied))

    await with_schema(settings, "migrate", wanted, waiting, work)
    return applied


def _summary(version: str | None, wanted: Sequence[migrations.File], applied: int) -> str:
    newest = wanted[-1].version
    if version is not None and version > newest:
        return f"schema is at {version}, newer than this release ({newest}): nothing to do"
    return f"schema is at {version}: {applied} migrations applied"


def main() -> None:
    """Migrate; exit status 1 and one line when that fails."""
    settings = load(MigrateSettings)
    run_once(lambda: migrate(settings, Say(to_stdout), runtime_user=settings.postgres_runtime_user))


if __name__ == "__main__":
    main()
