"""Subscriptions as the REST API has them: what is asked for, what is answered, and their messages of gRPC."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.gateway import (
    client_certificates,
    retry_policies,
    schemas,
    signature_schemes,
    subscription_secrets,
)

_EXAMPLE: dict[str, Any] = {
    "target_url": "https://example.com/hooks/orders",
    "secret_key": "It's a Secret to Everybody",
    "event_types": ["order.created", "invoice.*"],
    "description": "Orders to the warehouse",
    "rate_limit_per_second": 50,
    "timeout_seconds": 10,
    "headers": {"Authorization": "Bearer token-of-the-warehouse"},
    "retry_policy": retry_policies.EXAMPLE,
}
_VERIFIED_EXAMPLE: dict[str, Any] = {
    "target_url": "https://example.com/hooks/payments",
    "event_types": ["payment_intent.*"],
    "verify": "stripe",
    "verification_secrets": ["whsec_of-the-endpoint-at-stripe"],
}

Verify = Literal["auto", "required", "github", "stripe", "shopify", "slack", "standard-webhooks", "none"]
Status = Literal["active", "paused", "disabled"]
BreakerState = Literal["closed", "open", "half_open"]
Kind = Literal["normal", "system"]

_STATUSES: dict[int, Status] = {
    pb.SUBSCRIPTION_STATUS_ACTIVE: "active",
    pb.SUBSCRIPTION_STATUS_PAUSED: "paused",
    pb.SUBSCRIPTION_STATUS_DISABLED: "disabled",
}
_BREAKER_STATES: dict[int, BreakerState] = {
    pb.BREAKER_STATE_CLOSED: "closed",
    pb.BREAKER_STATE_OPEN: "open",
    pb.BREAKER_STATE_HALF_OPEN: "half_open",
}
_VERIFY: dict[Verify, pb.Verification.ValueType] = {
    "auto": pb.VERIFICATION_AUTO,
    "required": pb.VERIFICATION_REQUIRED,
    "github": pb.VERIFICATION_GITHUB,
    "stripe": pb.VERIFICATION_STRIPE,
    "shopify": pb.VERIFICATION_SHOPIFY,
    "slack": pb.VERIFICATION_SLACK,
    "standard-webhooks": pb.VERIFICATION_STANDARD_WEBHOOKS,
    "none": pb.VERIFICATION_NONE,
}
_VERIFIED: dict[int, Verify] = {number: name for name, number in _VERIFY.items()}
_KINDS: dict[int, Kind] = {pb.SUBSCRIPTION_KIND_NORMAL: "normal", pb.SUBSCRIPTION_KIND_SYSTEM: "system"}


class SubscriptionBody(schemas.Request):
    """An endpoint and what it wants to hear of."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE, _VERIFIED_EXAMPLE]})

    target_url: str = Field(
        max_length=2048,
        description=(
            "Absolute http or https URL without credentials, to which deliveries are POSTed. It must lead to public "
            "addresses, and not to a port of something else than a web server."
        ),
        json_schema_extra={"format": "uri"},
    )
    secret_key: str | None = Field(
        None,
        max_length=256,
        description=(
            "Secret that deliveries are signed with and `X-Hub-Signature-256` is verified with; write-only. "
            f"{subscription_secrets.RULES} In a creation: absent, one is made and answered; null, deliveries are not "
            "signed. In an update: absent keeps what is stored, null removes it, another replaces it at once; "
            "`rotate-secret` replaces it with an overlap."
        ),
        json_schema_extra={"writeOnly": True},
    )
    signature_scheme: signature_schemes.Scheme | None = Field(
        None,
        description=(
            "How deliveries are signed: `hmac-sha256` with a secret that the receiver knows, too (`v1`, and "
            "`X-Hub-Signature-256`); `ed25519` with a private key, which stays here, while the receiver verifies with "
            "the public one (`v1a`). Absent or null: `hmac-sha256` in a creation, what is stored in an update. An "
            "update to another one needs `secret_key` with it; `rotate-secret` changes it with an overlap."
        ),
    )
    event_types: list[str] = Field(
        default_factory=list,
        max_length=100,
        description="Types it wants; empty or absent means all. `order.*` means every type that begins with `order.`.",
    )
    description: str = Field("", max_length=1024, description="Free text for people.")
    keep_when_disabled: bool = Field(
        default=True,
        strict=True,
        description=(
            "Whether events are stored for it while it is disabled, to be delivered once it is enabled. If not, they "
            "are answered with status `filtered`."
        ),
    )
    rate_limit_per_second: float | None = Field(
        None,
        gt=0,
        le=100_000,
        strict=True,
        allow_inf_nan=False,
        description="Requests a second at most; what is more waits. Absent or null: no limit.",
    )
    rate_limit_burst: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        strict=True,
        description=(
            "Requests at once at most, only together with `rate_limit_per_second`. Absent or null: what the rate "
            "allows in a second, and one at least."
        ),
    )
    timeout_seconds: float | None = Field(
        None,
        ge=1,
        le=30,
        strict=True,
        allow_inf_nan=False,
        description="Deadline of one request. Absent or null: the service's, by default 15 s.",
    )
    retry_policy: retry_policies.RetryPolicyBody | None = Field(
        None, description="When failed deliveries are tried again. Absent or null: the service's own policy."
    )
    headers: dict[str, Annotated[str, Field(min_length=1, max_length=1024)]] | None = Field(
        None,
        max_length=20,
        description=(
            "Headers that each request carries besides the service's own; their values are write-only, for they may be "
            "credentials. Up to 20, with 4,096 bytes in all; a value is 1 to 1,024 printable ASCII characters. Refused "
            "are names that say how a request is carried (`Host`, `Connection`, `Content-Length`, …) and the service's "
            "own (`Content-Type`, `User-Agent`, `webhook-*`, `X-Webhook-*`, …). In an update: absent keeps the stored "
            "headers, null removes them."
        ),
        json_schema_extra={"writeOnly": True},
    )
    verify: Verify | None = Field(
        None,
        description=(
            "Whose signature webhooks to this subscription must carry; others are answered 401 and not stored. "
            "`auto`: `X-Hub-Signature-256` is verified when it is sent. `required`: it must be sent. `github`, "
            "`stripe`, `shopify`, `slack`, `standard-webhooks`: as these sign, with the event's type and id taken from "
            "where they put them. `none`: signatures are passed over. Absent or null: `auto` in a creation, what is "
            "stored in an update."
        ),
    )
    verification_secrets: list[Annotated[str, Field(min_length=1, max_length=256)]] | None = Field(
        None,
        max_length=2,
        description=(
            "Secrets that webhooks to this subscription are verified with, for the provider's is another than the one "
            "that deliveries are signed with; write-only. One, or two while the provider changes from one to the "
            "other: either may have signed. Needed for `stripe`, `shopify`, `slack` and `standard-webhooks` (there "
            "with the prefix `whsec_` or `v1,whsec_` and the base64 of the key); for the others `secret_key` serves "
            "when there are none. At least 8 bytes, without white space around them; of fewer than 24 `warnings` "
            "tells. In an update: absent keeps what is stored, null removes it."
        ),
        json_schema_extra={"writeOnly": True},
    )
    kind: Kind | None = Field(
        None,
        description=(
            "`normal`: it gets the tenant's events. `system`: it gets what the service says of the tenant's other "
            "subscriptions (`subscription.disabled`, `subscription.failing`, `subscription.recovered`, "
            "`delivery.exhausted`), and nothing else; a tenant has one at most. Absent or null: normal; in an update, "
            "what it is, for it cannot be changed."
        ),
        examples=["normal"],
    )
    client_certificate: client_certificates.ClientCertificateBody | None = Field(
        None,
        description=(
            "What requests show to a receiver that asks who connects (mutual TLS). Only with a `target_url` of https; "
            "the key is write-only. In an update: absent keeps the stored certificate, null removes it."
        ),
    )


class Breaker(schemas.Answer):
    """What holds deliveries back while the endpoint fails."""

    state: BreakerState = Field(
        description="`closed`: deliveries go out. `open`: they wait. `half_open`: one of them is tried.",
        examples=["closed"],
    )
    since: schemas.Timestamp | None = Field(
        description="When it came into this state, or first failed if it was never open. null when it never failed.",
        examples=[None],
    )
    reason: str | None = Field(description="Why it opened; null while it is closed.", examples=[None])
    next_probe_at: schemas.Timestamp | None = Field(
        description="While it is open: when one delivery may be tried.", examples=[None]
    )
    consecutive_failures: int = Field(description="Failed attempts since the last success.", examples=[0])


class Subscription(schemas.Answer):
    """A stored subscription. Its secrets are never part of an answer, but for one that was just made."""

    id: schemas.Uuid = Field(examples=[schemas.EXAMPLE_SUBSCRIPTION_ID])
    target_url: str = Field(examples=[_EXAMPLE["target_url"]])
    event_types: list[str] = Field(examples=[_EXAMPLE["event_types"]])
    description: str = Field(examples=[_EXAMPLE["description"]])
    has_secret: bool = Field(description="Whether deliveries are signed.", examples=[True])
    signature_scheme: signature_schemes.Scheme = Field(
        description="How deliveries are signed, or would be if there was a secret.", examples=["hmac-sha256"]
    )
    public_keys: list[signature_schemes.PublicKey] = Field(
        description="Of the private keys that sign, newest first; none for `hmac-sha256`.", examples=[[]]
    )
    previous_secrets: list[subscription_secrets.PreviousSecret] = Field(
        description="Secrets that were replaced and hold still, newest first.", examples=[[]]
    )
    has_ingest_token: bool = Field(description="Whether it has an ingest URL of its own.", examples=[False])
    status: Status = Field(
        description="`paused` and `disabled`: deliveries wait until it is resumed or enabled.", examples=["active"]
    )
    status_reason: str | None = Field(
        description=(
            "Why it is disabled: `manual`, `gone` (the receiver answered 410) or `failing` (nothing but failures for "
            "days); else null."
        ),
        examples=[None],
    )
    status_since: schemas.Timestamp
    keep_when_disabled: bool = Field(description="Whether events are stored while it is disabled.", examples=[True])
    rate_limit_per_second: float | None = Field(description="null: no limit.", examples=[50.0])
    rate_limit_burst: int | None = Field(description="null: what the rate allows in a second.", examples=[None])
    timeout_seconds: float | None = Field(description="null: the service's.", examples=[10.0])
    retry_policy: retry_policies.RetryPolicy | None = Field(
        description="Whole, with the service's defaults where the request had none; null: the service's own."
    )
    header_names: list[str] = Field(
        description="Names of the headers that each request carries besides the service's own.",
        examples=[["Authorization"]],
    )
    verify: Verify = Field(description="Whose signature webhooks to it must carry.", examples=["stripe"])
    has_verification_secret: bool = Field(
        description="Whether they are verified with secrets of their own, and not with `secret_key`.", examples=[True]
    )
    kind: Kind = Field(
        description="`system`: it gets what the service says of the tenant's others, and nothing else.",
        examples=["normal"],
    )
    client_certificate: client_certificates.ClientCertificate | None = Field(
        description="What requests show to a receiver that asks who connects; null: nothing.", examples=[None]
    )
    breaker: Breaker
    warnings: list[str] = Field(
        description="What is weak about it, a sentence each, such as a secret of fewer than 24 bytes.", examples=[[]]
    )
    created_at: schemas.Timestamp
    updated_at: schemas.Timestamp


class CreatedSubscription(Subscription):
    """A new subscription, with its secret if that was made."""

    secret_key: str | None = Field(
        description=(
            "The secret if it was made, here and nowhere else; null if the request had one or wanted none, and in the "
            "answer to a repeated request. A private key (`ed25519`) is never answered: see `public_keys`."
        ),
        examples=[subscription_secrets.EXAMPLE_SECRET],
    )


class SubscriptionPage(schemas.Answer):
    """A page of subscriptions, newest first."""

    items: list[Subscription]
    next_cursor: schemas.NextCursor


def fields(body: SubscriptionBody) -> dict[str, Any]:
    """What a creation and a replacement have in common."""
    return {
        "target_url": body.target_url,
        "event_types": body.event_types,
        "description": body.description,
        "keep_when_disabled": body.keep_when_disabled,
        "rate_limit_per_second": body.rate_limit_per_second,
        "rate_limit_burst": body.rate_limit_burst,
        "timeout_seconds": body.timeout_seconds,
        "retry_policy": retry_policies.asked(body.retry_policy),
        "kind": pb.SubscriptionKind.Value(f"SUBSCRIPTION_KIND_{(body.kind or 'unspecified').upper()}"),
        "headers": pb.CustomHeaders(values=body.headers or {}) if "headers" in body.model_fields_set else None,
        "verification": _VERIFY[body.verify] if body.verify is not None else None,
        "verification_secrets": pb.VerificationSecrets(values=body.verification_secrets or [])
        if "verification_secrets" in body.model_fields_set
        else None,
        "signature_scheme": signature_schemes.number(body.signature_scheme),
        "client_certificate": client_certificates.asked(body.client_certificate)
        if "client_certificate" in body.model_fields_set
        else None,
    }


def answered(message: pb.Subscription) -> Subscription:
    """A subscription as gRPC answers it, for REST."""
    return Subscription(
        id=message.id,
        target_url=message.target_url,
        event_types=list(message.event_types),
        description=message.description,
        has_secret=message.has_secret,
        signature_scheme=signature_schemes.name(message.signature_scheme),
        public_keys=signature_schemes.public_keys(message.public_keys),
        previous_secrets=subscription_secrets.previous(message.previous_secrets_expire_at),
        has_ingest_token=message.has_ingest_token,
        status=_STATUSES[message.status],
        status_reason=message.status_reason or None,
        status_since=schemas.timestamp(message.status_since),
        keep_when_disabled=message.keep_when_disabled,
        rate_limit_per_second=message.rate_limit_per_second if message.HasField("rate_limit_per_second") else None,
        rate_limit_burst=message.rate_limit_burst if message.HasField("rate_limit_burst") else None,
        timeout_seconds=message.timeout_seconds if message.HasField("timeout_seconds") else None,
        retry_policy=retry_policies.answered(message),
        header_names=list(message.header_names),
        # An ingest of a version before, and an answer that one kept, say neither this nor the kind.
        verify=_VERIFIED.get(message.verification, "auto"),
        has_verification_secret=message.has_verification_secret,
        kind=_KINDS.get(message.kind, "normal"),
        client_certificate=client_certificates.answered(message),
        breaker=_breaker(message.breaker),
        warnings=list(message.warnings),
        created_at=schemas.timestamp(message.created_at),
        updated_at=schemas.timestamp(message.updated_at),
    )


def _breaker(message: pb.Breaker) -> Breaker:
    return Breaker(
        state=_BREAKER_STATES[message.state],
        since=schemas.timestamp(message.since) if message.HasField("since") else None,
        reason=message.reason or None,
        next_probe_at=schemas.timestamp(message.next_probe_at) if message.HasField("next_probe_at") else None,
        consecutive_failures=message.consecutive_failures,
    )
