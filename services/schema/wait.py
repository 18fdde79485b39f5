"""Entry of the role that waits until the schema is new enough for this release: python -m services wait."""

import asyncio
import contextlib

import asyncpg

from services.platform.settings import PostgresSettings, load
from services.platform.stores.errors import STORE_AWAY, is_store_away
from services.schema import migrate, migrations, waiting
from services.schema.migrations import Schema

CLOSE_SECONDS = 1.0


async def wait(settings: PostgresSettings, say: waiting.Say) -> None:
    """Return when the schema is at or above that of these files. Raises MigrationError."""
    wanted = migrations.read_files()
    newest = wanted[-1].version
    patience = waiting.Patience(say)
    while True:
        connection = await waiting.connected(settings, "wait", patience)
        try:
            version = await Schema(settings, connection, wanted).version()
        except asyncpg.InsufficientPrivilegeError as error:
            # The migration that is under way gives the role its rights at its end.
            await patience.wait(error, bound_seconds=waiting.WAIT_SECONDS)
            continue
        except Exception as error:
            if not is_store_away(error):
                raise
            await patience.wait(error)
            continue
        finally:
            with contextlib.suppress(*STORE_AWAY):
                await connection.close(timeout=CLOSE_SECONDS)
        # Versions are times of one length, so that they compare as text.
        if version is not None and version >= newest:
            say(f"schema is at {version}, {newest} is needed")
            return
        # Without a bound: a migration takes as long as it takes, and whoever runs it sees it fail.
        patience.reset()
        say(f"waiting for the schema: at {version or 'nothing'}, {newest} is needed")
        await asyncio.sleep(waiting.POLL_SECONDS)


def main() -> None:
    """Wait; exit status 1 and one line when there is nothing to wait for."""
    settings = load(PostgresSettings)
    say = waiting.Say(waiting.to_stdout)
    migrate.run_once(lambda: wait(settings, say))


if __name__ == "__main__":
    main()
