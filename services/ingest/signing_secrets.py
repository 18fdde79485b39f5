"""The signing secrets of a subscription: how one is made, and how the next takes its place."""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from services.domain.secrets import ed25519, signatures
from services.domain.secrets.signatures import Scheme
from services.domain.secrets.vault import Secret, Secrets
from services.platform import errors

# Standard Webhooks asks for 24 to 64.
MADE_BYTES = 32
MAX_PREVIOUS = 10
DEFAULT_OVERLAP_HOURS = 24
MAX_OVERLAP_HOURS = 168


def new(scheme: Scheme) -> str:
    """A new secret, or private key."""
    if scheme is Scheme.ED25519:
        return ed25519.new()
    return signatures.STANDARD_PREFIX + base64.b64encode(secrets.token_bytes(MADE_BYTES)).decode()


def likely_scheme(secret_key: str | None) -> Scheme:
    """What a secret is of by its looks, until it is known what its subscription is of."""
    return Scheme.ED25519 if secret_key and ed25519.is_private_key(secret_key) else Scheme.HMAC_SHA256


def shown(made: str, scheme: Scheme) -> str:
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
            reason="TOO_MANY_SECRETS",
        )
    return [new_one, *previous]
