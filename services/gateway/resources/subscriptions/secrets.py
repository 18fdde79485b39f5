"""What a subscription is trusted by: its signing secrets, and the token of its own ingest URL. Each is shown once."""

from typing import Annotated

from fastapi import APIRouter, Body, Response
from fastapi.openapi.models import Example
from pydantic import Field

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain import limits
from services.gateway.accept import routes
from services.gateway.resources import enums, models
from services.gateway.resources.subscriptions import parts
from services.gateway.web import backends, openapi
from services.gateway.web.routing import JsonRoute
from services.platform.grpc import conversion

router = APIRouter(
    prefix="/api/v1/subscriptions",
    tags=["subscriptions"],
    route_class=JsonRoute,
    strict_content_type=False,  # a body without a Content-Type is JSON
)

EXAMPLE_TOKEN = "whi_Zm9yLWEtdGhpcmQtcGFydHktdGhhdC1jYW5ub3QtbG9n"  # noqa: S105 - an example
_ROTATIONS: dict[str, Example] = {
    "made": {"summary": "Generate a secret", "value": {"overlap_hours": 24}},
    "leaked": {"summary": "Invalidate the old secrets at once", "value": {"overlap_hours": 0}},
    "ed25519": {"summary": "Generate a private key", "value": {"signature_scheme": "ed25519"}},
    "given": {"summary": "Set your own secret", "value": {"secret_key": parts.EXAMPLE_SECRET, "overlap_hours": 1.5}},
}
_TOO_MANY = (
    f"{openapi.KEY_IN_USE} Or 10 old secrets are still valid (`TOO_MANY_SECRETS`), or they cannot be decrypted "
    "(`SECRET_UNREADABLE`)."
)


class RotationBody(models.Request):
    """The next secret, and how long the old ones stay valid."""

    secret_key: str | None = Field(
        None,
        max_length=limits.MAX_SECRET_LENGTH,
        description=f"Absent or null: one is generated. {parts.RULES_OF_SECRETS}",
        json_schema_extra={"writeOnly": True},
    )
    signature_scheme: enums.SecretScheme | None = Field(
        None, description="Scheme of the new secret. Absent or null: the subscription's scheme."
    )
    overlap_hours: Annotated[models.Number, models.Within(limits.OVERLAP_HOURS)] = Field(
        limits.DEFAULT_OVERLAP_HOURS,
        description="How long old secrets stay valid at most; 0 invalidates them at once.",
    )


class Rotated(models.Answer):
    """The secrets after a rotation."""

    secret_key: str | None = Field(
        description=(
            "The generated secret, shown only in this response; null if the request had a secret, in a repeated "
            "response, and for `ed25519`, whose private key is never returned."
        ),
        examples=[parts.EXAMPLE_SECRET],
    )
    public_keys: list[parts.PublicKey] = Field(
        description="Public keys of the signing private keys, newest first.", examples=[[]]
    )
    previous_secrets: list[parts.PreviousSecret] = Field(
        description="Replaced secrets that are still valid, newest first."
    )
    warnings: list[str] = Field(
        description="Weaknesses of the subscription, such as a secret of fewer than 24 bytes.", examples=[[]]
    )


class PublicKeys(models.Answer):
    """The public keys of a subscription."""

    public_keys: list[parts.PublicKey] = Field(description="Public keys of the signing private keys, newest first.")


class IngestToken(models.Answer):
    """The right to send webhooks to one subscription."""

    token: str | None = Field(
        description="The token. It is shown only in this response; null in a repeated one.", examples=[EXAMPLE_TOKEN]
    )
    path: str | None = Field(
        description="Path on this server to which webhooks are sent with the token; null in a repeated response.",
        examples=[f"/api/v1/webhooks/ingest/{models.EXAMPLE_SUBSCRIPTION_ID}/{EXAMPLE_TOKEN}"],
    )


@router.post(
    "/{subscription_id}/rotate-secret",
    operation_id="rotate_subscription_secret",
    summary="Replace the signing secret",
    response_description="The secrets.",
    responses={
        **openapi.problems(*openapi.WITH_BODY, 404, described={409: _TOO_MANY, 422: openapi.KEY_REUSED}),
        200: {"headers": openapi.REPLAYED_HEADER},
    },
)
async def rotate_subscription_secret(
    subscription_id: models.SubscriptionId,
    services: backends.Injected,
    response: Response,
    body: Annotated[RotationBody | None, Body(openapi_examples=_ROTATIONS)] = None,
    idempotency_key: models.IdempotencyKey = None,
) -> Rotated:
    """Replace the secret. The old ones stay valid for a while.

    Until then, `webhook-signature` carries a signature of each, newest first, and inbound webhooks signed with any of
    them are accepted. `X-Hub-Signature-256` carries one signature: of the newest secret that is not `ed25519`. At most
    10 old secrets are kept. To change the scheme, set `signature_scheme`.
    """
    body = body or RotationBody()
    scheme = conversion.numbers(pb.SignatureScheme.DESCRIPTOR).get(body.signature_scheme or "", 0)
    request = pb.RotateSubscriptionSecretRequest(
        subscription_id=subscription_id,
        secret_key=body.secret_key,
        overlap_hours=body.overlap_hours,
        signature_scheme=scheme,
        idempotency_key=idempotency_key or "",
    )
    answer = await services.call(services.subscriptions.RotateSubscriptionSecret, request)
    response.headers.update(models.NO_STORE)
    if answer.replayed:
        response.headers[openapi.REPLAYED] = "true"
    return Rotated(secret_key=answer.secret_key or None, **models.values(answer.subscription.status))


@router.get(
    "/{subscription_id}/public-keys",
    operation_id="list_public_keys",
    summary="List the public keys that verify deliveries",
    response_description="The public keys.",
    responses=openapi.problems(404),
)
async def list_public_keys(subscription_id: models.SubscriptionId, services: backends.Injected) -> PublicKeys:
    """List the public keys that receivers need to verify `ed25519` signatures.

    While a rotation overlaps there are several, and a delivery carries a signature of each. Empty for `hmac-sha256`.
    """
    request = pb.GetSubscriptionRequest(subscription_id=subscription_id)
    answer = await services.call(services.subscriptions.GetSubscription, request)
    return PublicKeys(**models.values(answer.subscription.status))


@router.post(
    "/{subscription_id}/ingest-token",
    status_code=201,
    operation_id="create_ingest_token",
    summary="Create an ingest token",
    response_description="The token, and the path that contains it.",
    responses={
        **openapi.problems(404, described={409: openapi.KEY_IN_USE}),
        201: {"headers": openapi.REPLAYED_HEADER},
    },
)
async def create_ingest_token(
    subscription_id: models.SubscriptionId,
    services: backends.Injected,
    response: Response,
    idempotency_key: models.IdempotencyKey = None,
) -> IngestToken:
    """Create a token for the path of webhooks to this subscription. It replaces the previous one.

    The token only allows sending events to this subscription.
    """
    request = pb.CreateIngestTokenRequest(subscription_id=subscription_id, idempotency_key=idempotency_key or "")
    answer = await services.call(services.subscriptions.CreateIngestToken, request)
    response.headers.update(models.NO_STORE)
    if answer.replayed:
        response.headers[openapi.REPLAYED] = "true"
        return IngestToken(token=None, path=None)
    path = routes.TOKEN_PATH.format(subscription_id=subscription_id, token=answer.token)
    return IngestToken(token=answer.token, path=path)


@router.delete(
    "/{subscription_id}/ingest-token",
    status_code=204,
    operation_id="delete_ingest_token",
    summary="Delete the ingest token",
    response_description="The token is deleted.",
    responses=openapi.problems(404),
)
async def delete_ingest_token(subscription_id: models.SubscriptionId, services: backends.Injected) -> None:
    """Delete the ingest token. Requests with it then return 404."""
    request = pb.DeleteIngestTokenRequest(subscription_id=subscription_id)
    await services.call(services.subscriptions.DeleteIngestToken, request)
