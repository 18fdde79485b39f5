"""What the models of a subscription consist of: retry policies, client certificates, and the keys that sign."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from services.domain import events, limits
from services.domain.templates import template
from services.gateway.resources import enums, models

RULES_OF_SECRETS = (
    "After the prefix `whsec_` or `v1,whsec_` comes the base64 of the key of `webhook-signature`; any other "
    "secret is used as its UTF-8 bytes. The key must have at least 8 bytes, without white space around it; `warnings` "
    "reports a key of fewer than 24. For the scheme `ed25519` it is a private key: `whsk_` and the base64 of 32 bytes, "
    "or of 64 bytes that end with the public key."
)
EXAMPLE_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the example of Standard Webhooks
EXAMPLE_PUBLIC_KEY = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
EXAMPLE_RETRY_POLICY: dict[str, Any] = {"base_seconds": 10.0, "factor": 3.0, "cap_seconds": 3600.0, "limit": 8}
_CERTIFICATE_EXAMPLE: dict[str, Any] = {
    "certificate": "-----BEGIN CERTIFICATE-----\nMIIB…\n-----END CERTIFICATE-----\n",
    "private_key": "-----BEGIN PRIVATE KEY-----\nMIGH…\n-----END PRIVATE KEY-----\n",
}

Seconds = Annotated[models.Number, models.Within(limits.RETRY_SECONDS)]


class RetryPolicyBody(models.Request):
    """When a failed delivery is retried. One of three kinds, which cannot be combined.

    Exponential: `base_seconds`, `factor`, `cap_seconds`, `limit`; each has a default. Explicit: `delays_seconds`.
    Named: `name`. All delays together must fit within the lifetime of a delivery.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [EXAMPLE_RETRY_POLICY, {"delays_seconds": [1.0, 60.0, 3600.0]}, {"name": "standard-webhooks"}]
        }
    )

    base_seconds: Seconds | None = Field(None, description="Delay before the first retry.")
    factor: Annotated[models.Number, models.Within(limits.RETRY_FACTOR)] | None = Field(
        None, description="Each further delay is the previous one times this factor."
    )
    cap_seconds: Seconds | None = Field(None, description="Longest delay; at least `base_seconds`.")
    limit: Annotated[models.WholeNumber, models.Within(limits.RETRIES)] | None = Field(
        None, description="Retries after the first attempt."
    )
    delays_seconds: list[Seconds] | None = Field(
        None,
        min_length=1,
        max_length=limits.MAX_DELAYS,
        description="The delay before each retry; its length is the number of retries.",
    )
    name: enums.RetrySchedule | None = Field(
        None,
        description=(
            "`standard-webhooks`: the schedule of the Standard Webhooks specification: nine retries after 5 s, 5 min, "
            "30 min, 2 h, 5 h, 10 h, 14 h, 20 h, and 24 h."
        ),
    )


class ExponentialRetries(models.Answer):
    """Retry *n* comes `base_seconds` · `factor`ⁿ⁻¹ after the previous failure, at most `cap_seconds`."""

    base_seconds: float = Field(examples=[EXAMPLE_RETRY_POLICY["base_seconds"]])
    factor: float = Field(examples=[EXAMPLE_RETRY_POLICY["factor"]])
    cap_seconds: float = Field(examples=[EXAMPLE_RETRY_POLICY["cap_seconds"]])
    limit: int = Field(description="Retries after the first attempt.", examples=[EXAMPLE_RETRY_POLICY["limit"]])


class ExplicitRetries(models.Answer):
    """The delay before each retry."""

    delays_seconds: list[float] = Field(examples=[[1.0, 60.0, 3600.0]])


class NamedRetries(models.Answer):
    """A named schedule."""

    name: enums.RetrySchedule = Field(examples=["standard-webhooks"])


RetryPolicy = ExponentialRetries | ExplicitRetries | NamedRetries


TEMPLATE_EXAMPLE: dict[str, Any] = {
    "source": '{"text": "Order {{ event.data.order }}: {{ event.data.total }} €"}',
    "content_type": "application/json",
}
MAX_TEMPLATE_CHARACTERS = template.MAX_SOURCE_BYTES
_TEMPLATE_EVENT = (
    "`event.id`, `event.type`, `event.time`, `event.content_type`, `event.tags`, `event.data`, `event.cloudevent`"
)


class TemplateBody(models.Request):
    """What is sent in place of an event's payload: a `preset`, or a `source` with its `content_type`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"preset": "slack"}, TEMPLATE_EXAMPLE]})

    preset: enums.TemplatePreset | None = Field(
        None,
        description=(
            "`slack`, `teams`, `discord`, `google-chat`: a message for the provider's incoming webhooks. `pagerduty`: "
            "an alert, which requires `template_secrets.routing_key`. `cloudevents`: a CloudEvent in structured mode. "
            "`cloudevents-binary`: in binary mode, with its attributes in headers and the payload as it is."
        ),
        examples=["slack"],
    )
    source: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_TEMPLATE_CHARACTERS,
        description=(
            "A template in the language of MiniJinja, a subset of Jinja, with `if`, `for`, `set`, and `raw`; at "
            f"most 16,384 bytes. Its variables are {_TEMPLATE_EVENT}, `subscription.id`, `delivery.id`, and `secrets`. "
            "In JSON `{{ x }}` writes the escaped text inside a string, and the whole value elsewhere."
        ),
        examples=[TEMPLATE_EXAMPLE["source"]],
    )
    content_type: str | None = Field(
        None,
        min_length=1,
        max_length=events.MAX_TEXT_LENGTH,
        description="Content-Type of what `source` makes. Required with `source`.",
        examples=[TEMPLATE_EXAMPLE["content_type"]],
    )


class Template(models.Answer):
    """What is sent in place of an event's payload."""

    preset: enums.TemplatePreset | None = Field(description="null if it has a `source`.", examples=["slack"])
    source: str | None = Field(description="null if it is a `preset`.", examples=[None])
    content_type: str | None = Field(description="null if it is a `preset`.", examples=[None])


class ClientCertificateBody(models.Request):
    """Client certificate for receivers that require one."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CERTIFICATE_EXAMPLE]})

    certificate: str = Field(
        min_length=1,
        max_length=limits.MAX_CERTIFICATE_LENGTH,
        description=(
            "PEM chain of up to 8 certificates, leaf first, then each issuer of the one before. Each must be valid "
            "now. If the first has an extended key usage, it must include client authentication."
        ),
    )
    private_key: str = Field(
        min_length=1,
        max_length=limits.MAX_PRIVATE_KEY_LENGTH,
        description=(
            "The private key of the first certificate, in PEM without a passphrase: RSA of 2,048 to 4,096 bits, P-256, "
            "P-384, P-521, or Ed25519."
        ),
        json_schema_extra={"writeOnly": True},
    )


class ClientCertificate(models.Answer):
    """The public part of a client certificate."""

    subject: str = Field(description="In the format of RFC 4514.", examples=["CN=webhooks.example.com"])
    issuer: str = Field(description="In the format of RFC 4514.", examples=["CN=Partner CA"])
    serial_number: str = Field(description="In hexadecimal.", examples=["2f1a"])
    not_before: models.Timestamp
    not_after: models.Timestamp = Field(description="When it expires. Replace it in time: no notice is sent.")
    sha256_fingerprint: str = Field(description="SHA-256 of its DER encoding, in hexadecimal.", examples=["9f86d081…"])


class PublicKey(models.Answer):
    """A key that verifies `v1a` signatures."""

    public_key: str = Field(
        description="`whpk_` and the base64 of the 32 bytes of an Ed25519 public key.", examples=[EXAMPLE_PUBLIC_KEY]
    )
    expires_at: models.Timestamp | None = Field(
        description="When its private key stops signing; null for the current one.", examples=[None]
    )


class PreviousSecret(models.Answer):
    """A replaced secret that is still valid."""

    expires_at: models.Timestamp
