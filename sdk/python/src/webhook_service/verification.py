"""Verifies that a delivery is from the service, by Standard Webhooks."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from webhook_service.errors import VerificationFailed

TOLERANCE_SECONDS = 300
_PUBLIC = "whpk_"
_SECRET_PREFIXES = ("v1,whsec_", "whsec_")


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A delivery that is genuine. `id` is the same for every attempt: recognize duplicates by it."""

    id: str
    timestamp: int


def verify(
    body: bytes,
    headers: Mapping[str, str],
    secrets: str | Iterable[str],
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    now: float | None = None,
) -> Verified:
    """Return the id and the time of a delivery; raise VerificationFailed unless one of the secrets signed it.

    `body` is the exact bytes that were received. `secrets` are the `secret_key` of the subscription (HMAC), or its
    `public_keys` (`whpk_…`, Ed25519, which needs the extra `ed25519`); while they are rotated give the old one, too.
    A delivery that is older than `tolerance_seconds`, or as far in the future, is refused.
    """
    found = {name.lower(): value for name, value in headers.items()}
    delivery_id, timestamp = found.get("webhook-id", ""), found.get("webhook-timestamp", "")
    signatures = found.get("webhook-signature", "").split()
    for name, value in (
        ("webhook-id", delivery_id),
        ("webhook-timestamp", timestamp),
        ("webhook-signature", signatures),
    ):
        if not value:
            raise VerificationFailed(f"the header {name} is missing")
    if not (timestamp.isascii() and timestamp.isdecimal()):
        raise VerificationFailed("webhook-timestamp must be Unix time in seconds")
    if abs((time.time() if now is None else now) - int(timestamp)) > tolerance_seconds:
        raise VerificationFailed("webhook-timestamp is too old, or in the future")
    keys = [secrets] if isinstance(secrets, str) else list(secrets)
    if not any(keys):
        raise ValueError("secrets must have a secret")
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    if not any(_matches(key, signatures, signed) for key in keys):
        raise VerificationFailed("no signature in webhook-signature was made with one of the secrets")
    return Verified(id=delivery_id, timestamp=int(timestamp))


def _matches(key: str, signatures: Iterable[str], signed: bytes) -> bool:
    version, check = ("v1a", _is_by_ed25519) if key.startswith(_PUBLIC) else ("v1", _is_by_hmac)
    candidates = (given for found, _, given in (one.partition(",") for one in signatures) if found == version)
    return any([check(key, given, signed) for given in candidates])  # noqa: C419 - takes the same time for each


def _is_by_hmac(secret: str, given: str, signed: bytes) -> bool:
    expected = base64.b64encode(hmac.digest(_hmac_key(secret), signed, hashlib.sha256)).decode()
    return hmac.compare_digest(expected.encode(), given.encode())


def _hmac_key(secret: str) -> bytes:
    """Return the key: what comes after the prefix in base64, or the bytes of a secret without one."""
    for prefix in _SECRET_PREFIXES:
        if secret.startswith(prefix):
            try:
                return base64.b64decode(secret.removeprefix(prefix), validate=True)
            except binascii.Error as error:
                raise ValueError(f"the secret must be base64 after {prefix}") from error
    return secret.encode()


def _is_by_ed25519(public_key: str, given: str, signed: bytes) -> bool:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        message = "Ed25519 needs cryptography: pip install 'webhook-service-sdk[ed25519]'"
        raise ImportError(message) from error
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix(_PUBLIC), validate=True))
    except ValueError as error:
        raise ValueError("a public key must be whpk_ and the base64 of 32 bytes") from error
    try:
        key.verify(base64.b64decode(given, validate=True), signed)
    except (InvalidSignature, ValueError):
        return False
    return True
