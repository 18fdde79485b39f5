"""Encryption at rest: AES-256-GCM under one of several keys, and ENCRYPTION_KEYS, where they come from."""

import asyncio
import base64
import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from services.platform.process.lifecycle import Process, StartError
from services.platform.settings import DEVELOPMENT, Settings
from services.platform.stores import postgres, sql
from services.platform.stores.availability import is_store_away

# ENCRYPTION_KEYS: what secrets are encrypted with at rest. In development one is made, and kept in DATA_DIR.


KEY_BYTES = 32
KEY_FILE_NAME = "encryption.key"
_EXPECTED = "must be 32 random bytes in base64, such as openssl rand -base64 32 prints, or several separated by commas"


class EncryptionSettings(Settings):
    """The settings of processes that encrypt or decrypt secrets."""

    # The first encrypts, all decrypt. Unset: in development the key in DATA_DIR; elsewhere the process does not start.
    encryption_keys: str = Field("", repr=False, validate_default=True)
    # In development, where a key is made and kept when none is given.
    data_dir: Path = Path(__file__).resolve().parents[3] / ".data"

    @field_validator("encryption_keys")
    @classmethod
    def _are_keys(cls, text: str, found: ValidationInfo) -> str:
        if text:
            parse_keys(text)
        elif found.data.get("env") != DEVELOPMENT:
            raise PydanticCustomError("missing", "is required outside of development: " + _EXPECTED)
        return text


def parse_keys(text: str) -> list[bytes]:
    """Parse a list of keys. Raises ValueError, which does not repeat the list."""
    return [_parse_key(part.strip()) for part in text.split(",")]


def given_or_kept(settings: EncryptionSettings) -> str:
    """Return ENCRYPTION_KEYS, or in development the key kept in DATA_DIR. Raises OSError if it cannot be kept."""
    if settings.encryption_keys:
        return settings.encryption_keys
    path = settings.data_dir / KEY_FILE_NAME
    if not path.exists():
        _make_key_file(path)
    text = path.read_text()
    try:
        parse_keys(text)
    except ValueError:
        raise OSError(errno.EINVAL, "is not an encryption key", str(path)) from None
    return text


def _parse_key(part: str) -> bytes:
    try:
        key = base64.b64decode(part, validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise PydanticCustomError("encryption_key", _EXPECTED)
    return key


def _make_key_file(path: Path) -> None:
    """Create the file in one step, readable only by its owner, unless another process created it first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{KEY_FILE_NAME}.{os.getpid()}.{secrets.token_hex(4)}")
    made.touch(mode=0o600)
    try:
        made.write_text(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(made, path)
    finally:
        made.unlink()


# The format of a sealed value:
#
#     version (1 byte, 1) | id of the key (8) | nonce (12) | ciphertext and tag (16)
#
# A key's id is the beginning of its SHA-256. Each value is bound to its place, such as its row: moved
# elsewhere, it does not open. Nonces are random, so that a key is good for 2^32 values (NIST SP 800-38D, 8.3).


_VERSION = b"\x01"
_ID_BYTES, _NONCE_BYTES = 8, 12
_HEADER_BYTES = len(_VERSION) + _ID_BYTES


class CannotOpen(Exception):
    """It was encrypted with an unknown key or for another place, or was changed since."""


class Keys:
    """The configured keys: the first encrypts, all decrypt."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = {_VERSION + hashlib.sha256(key).digest()[:_ID_BYTES]: AESGCM(key) for key in keys}
        self._first = next(iter(self._ciphers))

    @classmethod
    def of(cls, settings: EncryptionSettings) -> "Keys":
        """Return the keys of the settings. Raises OSError if in development none is set and none can be kept."""
        return cls(parse_keys(given_or_kept(settings)))

    def seal(self, plain: bytes, place: bytes) -> bytes:
        """Encrypt for a place, with the first key."""
        nonce = os.urandom(_NONCE_BYTES)
        return self._first + nonce + self._ciphers[self._first].encrypt(nonce, plain, place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """Decrypt what was sealed for this place. Raises CannotOpen."""
        cipher = self._ciphers.get(sealed[:_HEADER_BYTES])
        if cipher is None:
            raise CannotOpen("it was encrypted with a key that is not among ENCRYPTION_KEYS")
        nonce_end = _HEADER_BYTES + _NONCE_BYTES
        try:
            return cipher.decrypt(sealed[_HEADER_BYTES:nonce_end], sealed[nonce_end:], place)
        except (InvalidTag, ValueError):  # ValueError: too short to be one
            raise CannotOpen("it was tampered with, or copied from another place") from None

    def is_first(self, sealed: bytes) -> bool:
        """Return whether it was encrypted with the first key."""
        return sealed.startswith(self._first)


# The canary: an encrypted value in the database, by which a process checks at its start that it has the right keys.
log = structlog.get_logger(__name__)
SQL = sql.Queries("services.domain")
POLL_SECONDS = 0.25
_CANARY_PLACE, _CANARY = b"canary", b"tweet"


def seal_canary(keys: Keys) -> bytes:
    """Return the value, encrypted with the first key."""
    return keys.seal(_CANARY, _CANARY_PLACE)


async def opens_canary(connection: postgres.Pool | postgres.Connection, keys: Keys) -> bool:
    """Return whether these are the keys of this database: they open the value. Stores it if there is none."""
    await connection.execute(SQL["insert_canary"], seal_canary(keys))
    try:
        keys.open(await connection.fetchval(SQL["select_canary"]), _CANARY_PLACE)
    except CannotOpen:
        return False
    return True


async def known_keys(process: Process, pool: postgres.Pool, settings: EncryptionSettings) -> Keys:
    """Return the keys of the settings, once they are known to be those of the database.

    Waits for Postgres, unless the process is told to stop; until then it is not ready. StartError when the keys are
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
            theirs = await opens_canary(pool, keys)
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
