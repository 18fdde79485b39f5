"""Whose signature what comes in for a subscription must carry, and which secrets verify it."""

from collections.abc import Sequence
from enum import StrEnum

from services.domain.secrets.signatures import Key
from services.ingest.subscriptions import secrets as secret_text
from services.platform import errors

MAX_SECRETS = 2


class Preset(StrEnum):
    """As it stands in `subscriptions.verification`, and in `verify` of the REST API."""

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
_PROVIDERS_SECRET = frozenset({Preset.STRIPE, Preset.SHOPIFY, Preset.SLACK, Preset.STANDARD_WEBHOOKS})
# What they say is of a type, so that a type that is missing could not be read.
TYPED = _PROVIDERS_SECRET | {Preset.GITHUB}
# The subscription's own secret serves when there is no other; nothing would pass without one.
_ANY_SECRET = frozenset({Preset.REQUIRED, Preset.GITHUB})

SECRETS_FIELD = "verification_secrets"


def secret_violations(secrets: Sequence[str]) -> list[errors.Violation]:
    """What is wrong with verification secrets that somebody gave, whatever the preset; none at all are fine."""
    if len(secrets) > MAX_SECRETS:
        return [errors.Violation(field=SECRETS_FIELD, description=f"must be at most {MAX_SECRETS}")]
    return [
        errors.Violation(field=f"{SECRETS_FIELD}.{index}", description=why)
        for index, secret in enumerate(secrets)
        if (why := _why_not(secret))
    ]


def check_preset(preset: Preset, secrets: Sequence[str], *, signs: bool) -> None:
    """InvalidArgument unless these verification secrets can verify the preset.

    `signs` says whether the subscription has a secret of its own that its senders can know: none of Ed25519.
    """
    if not secrets and preset in _PROVIDERS_SECRET:
        raise errors.InvalidArgument.field(SECRETS_FIELD, f"must be given for {preset}: the provider's secret")
    if not secrets and preset in _ANY_SECRET and not signs:
        expected = f"must be given for {preset} when the subscription has no shared secret of its own"
        raise errors.InvalidArgument.field(SECRETS_FIELD, expected)
    if preset is Preset.STANDARD_WEBHOOKS:
        for index, secret in enumerate(secrets):
            try:
                Key.of(secret)
            except ValueError as error:
                raise errors.InvalidArgument.field(f"{SECRETS_FIELD}.{index}", str(error)) from None


def _why_not(secret: str) -> str | None:
    return secret_text.why_no_text(secret) or secret_text.why_too_short(Key.of_provider(secret))
