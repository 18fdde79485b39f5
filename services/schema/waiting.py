"""A connection to a Postgres that may still be starting, and an end to waiting for one that will never do.

what keeps it from connecting                            waited for
no answer, starting up, no connection left               WAIT_SECONDS
no such database                                         DATABASE_SECONDS: somebody may be about to create it
wrong password, no such role, wrong parameter, …         MISTAKE_SECONDS
"""

import asyncio
import ssl
import sys
import time
from collections.abc import Callable

import asyncpg

from services.platform.settings import PostgresSettings
from services.platform.stores import postgres
from services.platform.stores.errors import is_store_away
from services.schema.migrations import PostgresUnusable, reason

CONNECT_TIMEOUT_SECONDS = 5.0
POLL_SECONDS = 1.0
SAY_AGAIN_SECONDS = 30.0
WAIT_SECONDS = 600.0
DATABASE_SECONDS = 20.0
MISTAKE_SECONDS = 5.0


class Say:
    """Progress: a line whenever it changes, and again every half a minute when it does not."""

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


class Patience:
    """How long a failure may last. Counts anew when the kind of failure changes, or `reset` is called."""

    def __init__(self, say: Say, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self._say = say
        self._wait_seconds = wait_seconds
        self._bound: float | None = None
        self._since = 0.0

    def reset(self) -> None:
        """Note that all is well."""
        self._bound = None

    async def wait(self, error: Exception, *, bound_seconds: float | None = None) -> None:
        """Say what is wrong and wait a little. PostgresUnusable when it has lasted too long; raises what is a bug."""
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
        # Both look like a server that is away: no TLS where it is required, and parameters that a pooler does not take.
        no_tls = isinstance(error, ssl.SSLCertVerificationError) or "rejected SSL upgrade" in str(error)
        refused = isinstance(error, asyncpg.ProtocolViolationError)
        if is_store_away(error) and not no_tls and not refused:
            return self._wait_seconds
        if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | ssl.SSLError | OSError):
            return min(MISTAKE_SECONDS, self._wait_seconds)
        raise error


async def connected(settings: PostgresSettings, name: str, patience: Patience) -> "asyncpg.Connection[asyncpg.Record]":
    """Connect as soon as that can be done. Raises PostgresUnusable."""
    while True:
        try:
            return await postgres.connect(
                # Whatever is in between: nothing here needs more than a transaction.
                settings.model_copy(update={"postgres_pooler": "transaction"}),
                name,
                timeout_seconds=CONNECT_TIMEOUT_SECONDS,
            )
        except Exception as error:  # noqa: BLE001 - what is a bug is raised again
            await patience.wait(error)
