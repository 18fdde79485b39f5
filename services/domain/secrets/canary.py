"""An encrypted value in the database, by which a process checks at its start that it has the right keys."""

import asyncio
import contextlib

import asyncpg
import structlog

from services.domain.secrets.encryption import CannotOpen, EncryptionSettings, Keys
from services.platform.process.lifecycle import Process, StartError
from services.platform.stores import postgres, sql
from services.platform.stores.errors import is_store_away

log = structlog.get_logger(__name__)

SQL = sql.Queries("services.domain")
POLL_SECONDS = 0.25
_PLACE, _VALUE = b"canary", b"tweet"


def seal(keys: Keys) -> bytes:
    """Return the value, encrypted with the first key."""
    return keys.seal(_VALUE, _PLACE)


async def is_known(connection: postgres.Pool | postgres.Connection, keys: Keys) -> bool:
    """Return whether these are the keys of this database: they open the value. Stores it if there is none."""
    await connection.execute(SQL["insert_canary"], seal(keys))
    try:
        keys.open(await connection.fetchval(SQL["select_canary"]), _PLACE)
    except CannotOpen:
        return False
    return True


async def known_keys(process: Process, pool: postgres.Pool, settings: EncryptionSettings) -> Keys:
    """Return the keys of the settings, once they are known to be those of the database.

    Wait for Postgres, unless the process is told to stop; until then it is not ready. StartError if the keys are
    others, or there are none.
    """
    known = asyncio.Event()

    async def check() -> None:
        if not known.is_set():
            raise RuntimeError("not yet checked against the encrypted data in the database")

    process.health.add_readiness("encryption_keys", check)
    try:
        keys = Keys.of(settings)
    except OSError as error:
        raise StartError(f"no key can be stored in DATA_DIR, and ENCRYPTION_KEYS is not set: {error}") from None
    while not (known.is_set() or process.stop_requested.is_set()):
        try:
            theirs = await is_known(pool, keys)
        except Exception as error:
            if not (isinstance(error, asyncpg.UndefinedTableError) or is_store_away(error)):
                raise
            log.debug("waiting for Postgres and its schema", error=repr(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.stop_requested.wait(), POLL_SECONDS)
            continue
        if not theirs:
            raise StartError("ENCRYPTION_KEYS do not match this database: none of them decrypts its data")
        known.set()
    return keys
