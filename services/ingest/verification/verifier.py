"""Verifies what comes in for a subscription as its preset says, and reads what the sender calls it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import structlog

from protos.webhook.v1 import ingest_pb2
from services.domain.secrets import signatures
from services.domain.secrets.encryption import CannotOpen
from services.domain.secrets.signatures import Key
from services.domain.secrets.vault import Vault
from services.ingest.subscriptions import Subscription
from services.ingest.verification import contents, schemes
from services.ingest.verification.contents import NOTHING, Content, Reader
from services.ingest.verification.headers import Headers, mismatch, missing
from services.ingest.verification.presets import Preset
from services.ingest.verification.schemes import Scheme
from services.platform import errors
from services.platform.clock import Clock

log = structlog.get_logger(__name__)

HUB_SIGNATURE = "X-Hub-Signature-256"

_SCHEMES: Mapping[Preset, tuple[Scheme, Reader]] = {
    Preset.STRIPE: (schemes.stripe, contents.stripe),
    Preset.SHOPIFY: (schemes.shopify, contents.shopify),
    Preset.SLACK: (schemes.slack, contents.slack),
    Preset.STANDARD_WEBHOOKS: (schemes.standard, contents.standard),
}


class Verifier:
    """Verifies with the secrets that are sealed in the subscription, and by a clock that is right."""

    def __init__(self, vault: Vault, clock: Clock) -> None:
        self._vault = vault
        self._clock = clock

    def verified(self, subscription: Subscription, item: ingest_pb2.IngestItem) -> Content:
        """Return what the sender says of a webhook, once the signature of the item's whole payload is verified.

        SignatureMissing, SignatureMismatch or SignatureExpired when it cannot be; WebhookError when the secret cannot
        be opened.
        """
        preset = subscription.verification
        if preset is Preset.NONE:
            return NOTHING
        if preset in _SCHEMES:
            scheme, reader = _SCHEMES[preset]
            headers, body = _headers(item), item.payload
            scheme(headers, body, self._keys(subscription), self._clock.now())
            return reader(headers, item.content_type, body)
        if item.HasField("hub_signature"):
            self._check_hub(subscription, item)
        elif preset is not Preset.AUTO:
            raise missing(HUB_SIGNATURE)
        if preset is not Preset.GITHUB:
            return NOTHING
        return contents.github(_headers(item), item.content_type, item.payload)

    def _check_hub(self, subscription: Subscription, item: ingest_pb2.IngestItem) -> None:
        keys = self._keys(subscription)
        if not keys:
            raise mismatch(HUB_SIGNATURE, "was sent, but the subscription has no secret to verify it with")
        if not signatures.verify_hub(keys, item.payload, item.hub_signature.signature):
            raise mismatch(HUB_SIGNATURE, "does not match the body under the subscription's secret")

    def _keys(self, subscription: Subscription) -> Sequence[Key]:
        """Those of its verification secrets, or of its own where it has none."""
        try:
            if subscription.sealed_verification_secrets is not None:
                return self._vault.verification_keys(subscription.id, subscription.sealed_verification_secrets)
            if subscription.sealed_secrets is not None:
                return self._vault.opened(subscription.id, subscription.sealed_secrets).keys(self._moment())
        except CannotOpen as error:
            log.error("a signing secret cannot be opened", subscription_id=str(subscription.id), reason=str(error))  # noqa: TRY400 - there is no bug to trace
            raise errors.WebhookError("the subscription's secret cannot be opened; the reason was logged") from None
        return ()

    def _moment(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)


def _headers(item: ingest_pb2.IngestItem) -> Headers:
    return Headers((header.name, header.value) for header in item.verification.headers)
