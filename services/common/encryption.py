"""Authenticated encryption of what is stored: AES-256-GCM under one of several keys.

    version (1 byte, 1) | id of the key (8) | nonce (12) | ciphertext and tag (16)

A key's id is the beginning of its SHA-256. Each value is bound to the place it stands in, such as its row: moved
elsewhere, it does not open. Nonces are random, so that a key is good for 2^32 values (NIST SP 800-38D, 8.3).
"""

import hashlib
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.common import encryption_keys
from services.common.encryption_keys import EncryptionSettings

_VERSION = b"\x01"
_ID_BYTES, _NONCE_BYTES = 8, 12
_HEADER_BYTES = len(_VERSION) + _ID_BYTES


class CannotOpen(Exception):
    """Encrypted under a key that is not here, or for another place, or changed since."""


class Keys:
    """The first encrypts, all decrypt."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = {_VERSION + hashlib.sha256(key).digest()[:_ID_BYTES]: AESGCM(key) for key in keys}
        self._first = next(iter(self._ciphers))

    @classmethod
    def of(cls, settings: EncryptionSettings) -> "Keys":
        """Those of the settings; OSError when in development there are none and none can be kept."""
        return cls(encryption_keys.parse(encryption_keys.given_or_kept(settings)))

    def seal(self, plain: bytes, place: bytes) -> bytes:
        """Encrypts for a place, under the first key."""
        nonce = os.urandom(_NONCE_BYTES)
        return self._first + nonce + self._ciphers[self._first].encrypt(nonce, plain, place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """Decrypts what was sealed for this place; CannotOpen."""
        cipher = self._ciphers.get(sealed[:_HEADER_BYTES])
        if cipher is None:
            raise CannotOpen("it was encrypted under a key that is not among ENCRYPTION_KEYS")
        nonce_end = _HEADER_BYTES + _NONCE_BYTES
        try:
            return cipher.decrypt(sealed[_HEADER_BYTES:nonce_end], sealed[nonce_end:], place)
        except (InvalidTag, ValueError):  # ValueError: too short to be one
            raise CannotOpen("it was changed, or stands where it does not belong") from None

    def is_first(self, sealed: bytes) -> bool:
        """Whether it was encrypted under the first key."""
        return sealed.startswith(self._first)
