"""ENCRYPTION_KEYS: what secrets are encrypted with at rest. In development one is made, and kept in DATA_DIR."""

import base64
import contextlib
import errno
import os
import secrets
from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from services.common.settings import DEVELOPMENT, Settings

KEY_BYTES = 32
FILE_NAME = "encryption.key"
_EXPECTED = "must be 32 random bytes in base64, such as openssl rand -base64 32 prints, or several separated by commas"


class EncryptionSettings(Settings):
    """What processes read that encrypt or decrypt secrets."""

    # The first encrypts, all decrypt. Unset: in development that of DATA_DIR; elsewhere the process does not start.
    encryption_keys: str = Field("", repr=False, validate_default=True)
    # In development, where a key is made and kept when none is given.
    data_dir: Path = Path(__file__).resolve().parents[2] / ".data"

    @field_validator("encryption_keys")
    @classmethod
    def _are_keys(cls, text: str, found: ValidationInfo) -> str:
        if text:
            parse(text)
        elif found.data.get("env") != DEVELOPMENT:
            raise PydanticCustomError("missing", "is required outside of development: " + _EXPECTED)
        return text


def parse(text: str) -> list[bytes]:
    """The keys of a list; ValueError, which does not repeat it, when one of them is none."""
    return [_key(part.strip()) for part in text.split(",")]


def given_or_kept(settings: EncryptionSettings) -> str:
    """ENCRYPTION_KEYS, or in development what DATA_DIR keeps in their place; OSError when it cannot keep it."""
    if settings.encryption_keys:
        return settings.encryption_keys
    path = settings.data_dir / FILE_NAME
    if not path.exists():
        _make(path)
    text = path.read_text()
    try:
        parse(text)
    except ValueError:
        raise OSError(errno.EINVAL, "is no encryption key", str(path)) from None
    return text


def _key(part: str) -> bytes:
    try:
        key = base64.b64decode(part, validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise PydanticCustomError("encryption_key", _EXPECTED)
    return key


def _make(path: Path) -> None:
    """Makes the file whole, readable by its owner alone, unless another process was first: then that one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{FILE_NAME}.{os.getpid()}.{secrets.token_hex(4)}")
    made.touch(mode=0o600)
    try:
        made.write_text(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(made, path)
    finally:
        made.unlink()
