"""Signing secrets and ingest tokens of subscriptions: how they are made, checked, and rotated."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from services.domain.secrets import ed25519, signatures
from services.domain.secrets.signatures import Key, Scheme
from services.domain.secrets.vault import Secret, Secrets
from services.platform import errors

# The secrets that are shared with others, for signing and for verifying: which are refused, and which are weak.


MAX_SECRET_LENGTH = 256
# Below the first nobody's documented example is, and a key is guessed from a few signatures. Standard Webhooks asks for
# 24 to 64; what many providers make is shorter, so that it is only warned of.
MIN_BYTES, ADVISED_BYTES = 8, 24


def why_no_text(secret: str) -> str | None:
    """Return what is wrong with a text that somebody gave as a secret, whatever it is for; None if nothing is."""
    if not 1 <= len(secret) <= MAX_SECRET_LENGTH:
        return f"must be 1 to {MAX_SECRET_LENGTH} characters"
    if "\x00" in secret:
        return "must not contain NUL"
    if secret.endswith(("\n", "\r")):
        return "must not end with a line break: leave out the end of the line that was copied with it"
    if secret != secret.strip():
        return "must not begin or end with white space"
    return None


def why_too_short(key: Key) -> str | None:
    """Return what is wrong with the size of a key; None if nothing is. The bytes after whsec_ are what counts."""
    if len(key.standard) >= MIN_BYTES:
        return None
    return f"must have at least {MIN_BYTES} bytes, after whsec_ those that its base64 stands for"


def secret_warnings(field: str, keys: Sequence[Key]) -> list[str]:
    """Return a sentence for each key that is weak, beginning with its field."""
    return [
        f"{field if len(keys) == 1 else f'{field}.{index}'}: has fewer than {ADVISED_BYTES} bytes, which are easier to "
        "guess; use a longer secret"
        for index, key in enumerate(keys)
        if len(key.standard) < ADVISED_BYTES
    ]


# The signing secrets of a subscription: how one is made, and how the next takes its place.


# Standard Webhooks asks for 24 to 64.
MADE_BYTES = 32


MAX_PREVIOUS = 10


DEFAULT_OVERLAP_HOURS = 24


MAX_OVERLAP_HOURS = 168


def new_signing_secret(scheme: Scheme) -> str:
    """A new secret, or private key."""
    if scheme is Scheme.ED25519:
        return ed25519.new()
    return signatures.STANDARD_PREFIX + base64.b64encode(secrets.token_bytes(MADE_BYTES)).decode()


def likely_scheme(secret_key: str | None) -> Scheme:
    """What a secret is of by its looks, until it is known what its subscription is of."""
    return Scheme.ED25519 if secret_key and ed25519.is_private_key(secret_key) else Scheme.HMAC_SHA256


def shown_secret(made: str, scheme: Scheme) -> str:
    """What an answer tells of a secret that was made: a private key need not leave the service."""
    return "" if scheme is Scheme.ED25519 else made


def overlap(hours: float | None) -> timedelta:
    """How long old secrets hold; InvalidArgument unless that can be asked for. None: the default."""
    if hours is None:
        return timedelta(hours=DEFAULT_OVERLAP_HOURS)
    if not 0 <= hours <= MAX_OVERLAP_HOURS:  # so written that NaN fails it
        raise errors.InvalidArgument.field("overlap_hours", f"must be 0 to {MAX_OVERLAP_HOURS}")
    return timedelta(hours=hours)


def rotated(before: Secrets, new_one: Secret, *, now: datetime, overlap: timedelta) -> Sequence[Secret]:
    """The new secret, and those that still hold: none of them beyond the overlap, or longer than it would have.

    Conflict when they are too many: dropping one would fail a receiver that was promised more time.
    """
    latest = now + overlap
    ends = {(secret.secret_key, secret.scheme): min(secret.ends_at or latest, latest) for secret in before.kept}
    ends.pop((new_one.secret_key, new_one.scheme), None)
    previous = [Secret(old, ends_at, scheme) for (old, scheme), ends_at in ends.items() if ends_at > now]
    if len(previous) > MAX_PREVIOUS:
        first = min(ends[secret.secret_key, secret.scheme] for secret in previous)
        raise errors.Conflict(
            f"{MAX_PREVIOUS} old secrets hold already, the first until {first:%Y-%m-%dT%H:%M:%SZ}: wait for its end, "
            "or rotate with overlap_hours 0, which ends them all",
            reason=errors.ErrorReason.TOO_MANY_SECRETS,
        )
    return [new_one, *previous]


# Ingest tokens: what stands in the URL of a sender that cannot sign or log in. Only their hashes are kept.


INGEST_TOKEN_PREFIX = "whi_"  # noqa: S105 - the beginning of every token


TOKEN_BYTES = 32


def new_ingest_token() -> str:
    """A new token."""
    return INGEST_TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def hash_ingest_token(token: str) -> bytes:
    """What is kept of it. It is random, so that no slow hash is needed."""
    return hashlib.sha256(token.encode()).digest()


def matches_ingest_token(token: str, token_hash: bytes | None) -> bool:
    """Whether this is the token; compared in constant time."""
    return token_hash is not None and hmac.compare_digest(hash_ingest_token(token), token_hash)
