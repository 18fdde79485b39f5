"""Ingest tokens: what stands in the URL of a sender that cannot sign or log in. Only their hashes are kept."""

import hashlib
import hmac
import secrets

PREFIX = "whi_"
TOKEN_BYTES = 32


def new() -> str:
    """A new token."""
    return PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def hashed(token: str) -> bytes:
    """What is kept of it. It is random, so that no slow hash is needed."""
    return hashlib.sha256(token.encode()).digest()


def matches(token: str, token_hash: bytes | None) -> bool:
    """Whether this is the token; compared in constant time."""
    return token_hash is not None and hmac.compare_digest(hashed(token), token_hash)
