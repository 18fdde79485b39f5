"""What subscriptions keep secret: secrets that sign, secrets that verify what comes in, and ingest tokens."""

import base64
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from services.domain import limits
from services.domain.secrets import signatures
from services.domain.secrets.signatures import Key, SignatureScheme
from services.domain.secrets.vault import Secret, Secrets
from services.platform import errors
from services.platform.auth import keys

# Below the first nobody's documented example is, and a key is guessed from a few signatures. Standard Webhooks asks for
# 24 to 64; what many providers make is shorter, so that it is only warned of.
MIN_BYTES, ADVISED_BYTES = 8, 24
# Standard Webhooks asks for 24 to 64.
MADE_BYTES = 32
MAX_PREVIOUS = 10
VERIFICATION_SECRETS = "verification_secrets"


def why_no_text(secret: str) -> str | None:
    """Return what is wrong with a text that somebody gave as a secret, whatever it is for; None if nothing is."""
    if not 1 <= len(secret) <= limits.MAX_SECRET_LENGTH:
        return f"must be 1 to {limits.MAX_SECRET_LENGTH} characters"
    if "\x00" in secret:
        return "must not contain NUL"
    if secret.endswith(("\n", "\r")):
        return "must not end with a line break"
    if secret != secret.strip():
        return "must not begin or end with white space"
    return None


def why_too_short(key: Key) -> str | None:
    """Return what is wrong with the size of a key; None if nothing is. The bytes after whsec_ are what counts."""
    if len(key.standard) >= MIN_BYTES:
        return None
    return f"must have at least {MIN_BYTES} bytes, after decoding if it begins with whsec_"


def secret_warnings(field: str, keys: Sequence[Key]) -> list[str]:
    """Return a sentence for each key that is weak, beginning with its field."""
    return [
        f"{field if len(keys) == 1 else f'{field}.{index}'}: has fewer than {ADVISED_BYTES} bytes, which are easier to "
        "guess; use a longer secret"
        for index, key in enumerate(keys)
        if len(key.standard) < ADVISED_BYTES
    ]


def new_signing_secret(scheme: SignatureScheme) -> str:
    """Create a secret, or a private key."""
    if scheme is SignatureScheme.ED25519:
        return signatures.new_private_key()
    return signatures.STANDARD_PREFIX + base64.b64encode(secrets.token_bytes(MADE_BYTES)).decode()


def likely_scheme(secret_key: str | None) -> SignatureScheme:
    """Guess the scheme of a secret by its form, until the scheme of its subscription is known."""
    return (
        SignatureScheme.ED25519 if secret_key and signatures.is_private_key(secret_key) else SignatureScheme.HMAC_SHA256
    )


def shown_secret(made: str, scheme: SignatureScheme) -> str:
    """Return what a response shows of a generated secret: a private key never leaves the service."""
    return "" if scheme is SignatureScheme.ED25519 else made


def overlap(hours: float | None) -> timedelta:
    """How long old secrets hold; InvalidArgument unless that can be asked for. None: the default."""
    if hours is None:
        return timedelta(hours=limits.DEFAULT_OVERLAP_HOURS)
    if wrong := limits.OVERLAP_HOURS.violations("overlap_hours", hours):
        raise errors.InvalidArgument.of(*wrong)
    return timedelta(hours=hours)


def rotated(before: Secrets, new_one: Secret, *, now: datetime, overlap: timedelta) -> Sequence[Secret]:
    """Return the new secret and the valid old ones; none expires after the overlap, or later than it would have.

    Conflict if there are too many: dropping one would break a receiver that was promised more time.
    """
    latest = now + overlap
    ends = {(secret.secret_key, secret.scheme): min(secret.ends_at or latest, latest) for secret in before.kept}
    ends.pop((new_one.secret_key, new_one.scheme), None)
    previous = [Secret(old, ends_at, scheme) for (old, scheme), ends_at in ends.items() if ends_at > now]
    if len(previous) > MAX_PREVIOUS:
        first = min(ends[secret.secret_key, secret.scheme] for secret in previous)
        raise errors.Conflict(
            f"{MAX_PREVIOUS} old secrets are still valid, the first until {first:%Y-%m-%dT%H:%M:%SZ}: wait, "
            "or rotate with overlap_hours 0, which invalidates them all",
            reason=errors.ErrorReason.TOO_MANY_SECRETS,
        )
    return [new_one, *previous]


def matches_ingest_token(token: str, token_hash: bytes | None) -> bool:
    """Whether this is the ingest token; compared in constant time."""
    return token_hash is not None and hmac.compare_digest(keys.digest(token), token_hash)


class Verification(StrEnum):
    """Values of `subscriptions.verification`, and of `verify` in the REST API."""

    # X-Hub-Signature-256, when it is sent.
    AUTO = "auto"
    # X-Hub-Signature-256, always.
    REQUIRED = "required"
    GITHUB = "github"
    STRIPE = "stripe"
    SHOPIFY = "shopify"
    SLACK = "slack"
    STANDARD_WEBHOOKS = "standard-webhooks"
    # Whatever is sent is passed over.
    NONE = "none"


# Their secret is made by the provider, and so is never the one that deliveries are signed with.
_PROVIDERS_SECRET = frozenset(
    {Verification.STRIPE, Verification.SHOPIFY, Verification.SLACK, Verification.STANDARD_WEBHOOKS}
)
# What they say is of a type, so that a type that is missing could not be read.
TYPED = _PROVIDERS_SECRET | {Verification.GITHUB}
# Their signatures are over a time, too, which their libraries compare with the clock.
TIMED = frozenset({Verification.STRIPE, Verification.SLACK, Verification.STANDARD_WEBHOOKS})
# The subscription's own secret is used if there is no other; without any, nothing would pass.
_ANY_SECRET = frozenset({Verification.REQUIRED, Verification.GITHUB})


def verification_secret_violations(given: Sequence[str]) -> list[errors.Violation]:
    """Return what is wrong with verification secrets that a caller sent; to send none is valid."""
    if len(given) > limits.MAX_VERIFICATION_SECRETS:
        return [
            errors.Violation(
                field=VERIFICATION_SECRETS, description=f"must have at most {limits.MAX_VERIFICATION_SECRETS} entries"
            )
        ]
    return [
        errors.Violation(field=f"{VERIFICATION_SECRETS}.{index}", description=why)
        for index, secret in enumerate(given)
        if (why := _why_not_verifying(secret))
    ]


def check_verification(verification: Verification, given: Sequence[str], *, signs: bool) -> None:
    """Raise InvalidArgument unless these verification secrets can verify the verification.

    `signs` says whether the subscription has a secret of its own that its senders can know: none of Ed25519.
    """
    if not given and verification in _PROVIDERS_SECRET:
        raise errors.InvalidArgument.field(
            VERIFICATION_SECRETS, f"is required for {verification}: the provider's secret"
        )
    if not given and verification in _ANY_SECRET and not signs:
        expected = f"is required for {verification} if the subscription has no secret_key for hmac-sha256"
        raise errors.InvalidArgument.field(VERIFICATION_SECRETS, expected)
    if verification is Verification.STANDARD_WEBHOOKS:
        for index, secret in enumerate(given):
            try:
                Key.of(secret)
            except ValueError as error:
                raise errors.InvalidArgument.field(f"{VERIFICATION_SECRETS}.{index}", str(error)) from None


def relay_violations(verification: Verification, *, relay_headers: bool) -> list[errors.Violation]:
    """Return what is wrong with relaying headers: those of no provider are known."""
    if not relay_headers or verification in TYPED:
        return []
    providers = ", ".join(sorted(TYPED))
    why = f"requires a provider whose headers are relayed: set verify to one of {providers}"
    return [errors.Violation(field="relay_headers", description=why)]


def relay_warnings(verification: Verification, *, relay_headers: bool) -> list[str]:
    """Return a sentence if what is relayed is a signature that receivers refuse on later attempts."""
    if not relay_headers or verification not in TIMED:
        return []
    why = "is valid for 5 minutes; receivers must verify webhook-signature on retries"
    return [f"relay_headers: the signature of {verification} {why}"]


def _why_not_verifying(secret: str) -> str | None:
    return why_no_text(secret) or why_too_short(Key.of_provider(secret))
