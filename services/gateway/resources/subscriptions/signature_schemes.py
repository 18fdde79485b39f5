"""How a subscription's deliveries are signed, and the public keys that verify them."""

from collections.abc import Iterable
from typing import Literal

from fastapi import APIRouter
from pydantic import Field

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.gateway.resources import models
from services.gateway.web import backends, openapi
from services.gateway.web.bodies import JsonRoute

router = APIRouter(prefix="/api/v1/subscriptions", tags=["subscriptions"], route_class=JsonRoute)

# Of a secret.
Scheme = Literal["hmac-sha256", "ed25519"]
# Of a subscription, which may have none.
SchemeOrNone = Literal["hmac-sha256", "ed25519", "none"]

EXAMPLE_PUBLIC_KEY = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
_NUMBERS: dict[SchemeOrNone, "pb.SignatureScheme.ValueType"] = {
    "hmac-sha256": pb.SIGNATURE_SCHEME_HMAC_SHA256,
    "ed25519": pb.SIGNATURE_SCHEME_ED25519,
    "none": pb.SIGNATURE_SCHEME_NONE,
}
_NAMES: dict[int, SchemeOrNone] = {number: name for name, number in _NUMBERS.items()}


class PublicKey(models.Answer):
    """What a receiver verifies `v1a` signatures with."""

    public_key: str = Field(
        description="`whpk_` and the base64 of the 32 bytes of an Ed25519 public key.", examples=[EXAMPLE_PUBLIC_KEY]
    )
    expires_at: models.Timestamp | None = Field(
        description="When its private key ends; null for the current one.", examples=[None]
    )


class PublicKeys(models.Answer):
    """The public keys of a subscription."""

    public_keys: list[PublicKey] = Field(description="Of all private keys that sign, newest first.")


@router.get(
    "/{subscription_id}/public-keys",
    operation_id="list_public_keys",
    summary="List the public keys that verify deliveries",
    response_description="The public keys.",
    responses=openapi.problems(404),
)
async def list_public_keys(subscription_id: models.SubscriptionId, services: backends.Injected) -> PublicKeys:
    """What receivers of a subscription of scheme `ed25519` need, and all of it that is public.

    During the overlap of a rotation there are several; a delivery carries a signature of each. None for `hmac-sha256`.
    """
    request = pb.GetSubscriptionRequest(subscription_id=subscription_id)
    answer = await services.call(services.subscriptions.GetSubscription, request)
    return PublicKeys(public_keys=public_keys(answer.subscription.public_keys))


def number(scheme: SchemeOrNone | None) -> "pb.SignatureScheme.ValueType":
    """What a request says of the scheme."""
    return pb.SIGNATURE_SCHEME_UNSPECIFIED if scheme is None else _NUMBERS[scheme]


def name(found: int) -> SchemeOrNone:
    """What an answer says of it."""
    return _NAMES[found]


def public_keys(found: Iterable[pb.PublicKey]) -> list[PublicKey]:
    """Public keys with their ends."""
    return [
        PublicKey(
            public_key=key.public_key,
            expires_at=models.timestamp(key.expires_at) if key.HasField("expires_at") else None,
        )
        for key in found
    ]
