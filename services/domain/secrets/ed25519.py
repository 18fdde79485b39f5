"""Ed25519 as Standard Webhooks writes it: `whsk_` keys sign, `whpk_` ones verify, and signatures are `v1a`."""

import base64
import secrets
from dataclasses import dataclass, field

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
            raise ValueError("must be 32 bytes, or those followed by their public key")
        return cls(key=key, public_key=PUBLIC_PREFIX + base64.b64encode(public).decode())

    def sign(self, signed: bytes) -> str:
        """Return a signature for webhook-signature: "v1a," and these bytes' base64 Ed25519 signature (RFC 8032)."""
        return "v1a," + base64.b64encode(self.key.sign(signed)).decode()


def new() -> str:
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
