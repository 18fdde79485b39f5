"""Signatures: Standard Webhooks 1.0 (https://www.standardwebhooks.com) and GitHub's X-Hub-Signature-256.

Ed25519 is as Standard Webhooks writes it: `whsk_` keys sign, `whpk_` ones verify, and signatures are `v1a`.
"""

import base64
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"
SEED_BYTES = 32
# Some write the public key behind the seed.
PAIR_BYTES = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivateKey:
    """A private key ready for signing, made once for many signatures."""

    key: Ed25519PrivateKey = field(repr=False)
    # Its public key: "whpk_" and the base64 of 32 bytes.
    public_key: str

    @classmethod
    def of(cls, secret_key: str) -> "PrivateKey":
        """Parse a private key. Raises ValueError, which does not repeat it."""
        decoded = _decoded(secret_key)
        if len(decoded) not in {SEED_BYTES, PAIR_BYTES}:
            raise ValueError("must be whsk_ and the base64 of 32 bytes, or of 64 with the public key, for ed25519")
        key = Ed25519PrivateKey.from_private_bytes(decoded[:SEED_BYTES])
        public = key.public_key().public_bytes_raw()
        if decoded[SEED_BYTES:] not in {b"", public}:
            raise ValueError("must be 32 bytes, or 32 bytes followed by their public key")
        return cls(key=key, public_key=PUBLIC_PREFIX + base64.b64encode(public).decode())

    def sign(self, signed: bytes) -> str:
        """Return a signature for webhook-signature: "v1a," and these bytes' base64 Ed25519 signature (RFC 8032)."""
        return "v1a," + base64.b64encode(self.key.sign(signed)).decode()


def new_private_key() -> str:
    """Return a new private key."""
    return PRIVATE_PREFIX + base64.b64encode(secrets.token_bytes(SEED_BYTES)).decode()


def is_private_key(secret_key: str) -> bool:
    """Return whether it looks like a private key. The prefix is not enough: others use it for HMAC secrets."""
    return len(_decoded(secret_key)) in {SEED_BYTES, PAIR_BYTES}


def is_public_key(secret_key: str) -> bool:
    """Return whether it is a public key."""
    return len(_decoded(secret_key, PUBLIC_PREFIX)) == SEED_BYTES


def _decoded(secret_key: str, prefix: str = PRIVATE_PREFIX) -> bytes:
    """Return what follows the prefix, decoded; nothing if that is not base64 or the prefix differs."""
    if not secret_key.startswith(prefix):
        return b""
    try:
        return base64.b64decode(secret_key[len(prefix) :], validate=True)
    except ValueError:
        return b""


STANDARD_PREFIX = "whsec_"
# As some give them out, with the version of the signatures that they make.
VERSIONED_PREFIX = "v1,whsec_"
HUB_PREFIX = "sha256="


class SignatureScheme(StrEnum):
    """How deliveries are signed."""

    # With a secret that the receiver knows, too.
    HMAC_SHA256 = "hmac-sha256"
    # With a private key, whose public key the receiver verifies with.
    ED25519 = "ed25519"


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """A secret ready for signing, made once for many signatures."""

    # Of webhook-signature: what follows "whsec_" or "v1,whsec_" in base64, else the secret's UTF-8 bytes.
    standard: bytes = field(repr=False)
    # Of X-Hub-Signature-256, and of what providers sign in ways of their own: always the secret's UTF-8 bytes.
    hub: bytes = field(repr=False)

    @classmethod
    def of(cls, secret_key: str) -> "Key":
        """Return the key of a secret; ValueError if the part after "whsec_" is not base64."""
        return cls(standard=_standard(secret_key), hub=secret_key.encode())

    @classmethod
    def of_provider(cls, secret_key: str) -> "Key":
        """Do the same for a provider's secret, where "whsec_" may have no meaning, as in Stripe's."""
        try:
            return cls.of(secret_key)
        except ValueError:
            return cls(standard=secret_key.encode(), hub=secret_key.encode())

    def sign(self, signed: bytes) -> str:
        """Return a signature for webhook-signature: "v1," and the base64 HMAC-SHA256 of these bytes."""
        return "v1," + base64.b64encode(hmac.digest(self.standard, signed, "sha256")).decode()


Signer: TypeAlias = Key | PrivateKey


def signer(secret_key: str, scheme: SignatureScheme) -> Signer:
    """Return the signer for a secret or private key; ValueError if it does not fit the scheme."""
    return PrivateKey.of(secret_key) if scheme is SignatureScheme.ED25519 else Key.of(secret_key)


def _standard(secret_key: str) -> bytes:
    if not secret_key.startswith((STANDARD_PREFIX, VERSIONED_PREFIX)):
        return secret_key.encode()
    try:
        return base64.b64decode(secret_key.partition(STANDARD_PREFIX)[2], validate=True)
    except ValueError as error:
        raise ValueError("must be base64 after whsec_") from error


def standard(signers: Iterable[Signer], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of webhook-signature: a signature of "id.timestamp.body" by each signer."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return " ".join([signer.sign(signed) for signer in signers])


def hub(key: Key, body: bytes) -> str:
    """Return the value of X-Hub-Signature-256: "sha256=" and the hex HMAC-SHA256 under the secret's UTF-8 bytes."""
    return HUB_PREFIX + hmac.digest(key.hub, body, "sha256").hex()


def verify_hub(keys: Iterable[Key], body: bytes, signature: str) -> bool:
    """Whether `signature` is the body's X-Hub-Signature-256 under one of the keys; compared in constant time."""
    given = signature.strip().lower().encode()
    # Each is looked at, so that the time does not tell which one held.
    held = [hmac.compare_digest(hub(key, body).encode(), given) for key in keys]
    return any(held)
