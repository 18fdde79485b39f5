"""The signing secrets of a subscription: how one is made, and how the next takes its place."""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from services.common import errors, signatures
from services.common.vault import Secret, Secrets

# Standard Webhooks asks for 24 to 64.
MADE_BYTES = 32
MAX_PREVIOUS = 10
DEFAULT_OVERLAP_HOURS = 24
MAX_OVERLAP_HOURS = 168


def new() -> str:
    """A new secret."""
    return signatures.STANDARD_PREFIX + base64.b64encode(secrets.token_bytes(MADE_BYTES)).decode()


def overlap(hours: float | None) -> timedelta:
    """How long old secrets hold; InvalidArgument unless that can be asked for. None: the default."""
    if hours is None:
        return timedelta(hours=DEFAULT_OVERLAP_HOURS)
    if not 0 <= hours <= MAX_OVERLAP_HOURS:  # so written that NaN fails it
        raise errors.InvalidArgument.field("overlap_hours", f"must be 0 to {MAX_OVERLAP_HOURS}")
    return timedelta(hours=hours)


def rotated(before: Secrets, secret_key: str, *, now: datetime, overlap: timedelta) -> Sequence[Secret]:
    """The new secret, and those that still hold: none of them beyond the overlap, or longer than it would have.

    Conflict when they are too many: dropping one would fail a receiver that was promised more time.
    """
    latest = now + overlap
    ends = {secret.secret_key: min(secret.ends_at or latest, latest) for secret in before.kept}
    ends.pop(secret_key, None)
    previous = [Secret(old, ends_at) for old, ends_at in ends.items() if ends_at > now]
    if len(previous) > MAX_PREVIOUS:
        first = min(ends[secret.secret_key] for secret in previous)
        raise errors.Conflict(
            f"{MAX_PREVIOUS} old secrets hold already, the first until {first:%Y-%m-%dT%H:%M:%SZ}: wait for its end, "
            "or rotate with overlap_hours 0, which ends them all",
            reason="TOO_MANY_SECRETS",
        )
    return [Secret(secret_key), *previous]
