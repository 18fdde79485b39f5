"""A subscription's client certificate, as it is asked for and answered."""

from typing import Any

from pydantic import ConfigDict, Field

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.gateway.resources import models

_EXAMPLE: dict[str, Any] = {
    "certificate": "-----BEGIN CERTIFICATE-----\nMIIB…\n-----END CERTIFICATE-----\n",
    "private_key": "-----BEGIN PRIVATE KEY-----\nMIGH…\n-----END PRIVATE KEY-----\n",
}


class ClientCertificateBody(models.Request):
    """What requests show to a receiver that asks who connects."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    certificate: str = Field(
        min_length=1,
        max_length=32_768,
        description=(
            "Certificates in PEM, up to 8: the subscription's own first, then each issuer of the one before. Each must "
            "hold now, and the first be for clients if it says for what it is."
        ),
    )
    private_key: str = Field(
        min_length=1,
        max_length=8_192,
        description=(
            "The private key of the first, in PEM without a passphrase: RSA of 2,048 to 4,096 bits, P-256, P-384, "
            "P-521, or Ed25519."
        ),
        json_schema_extra={"writeOnly": True},
    )


class ClientCertificate(models.Answer):
    """What is told of a client certificate."""

    subject: str = Field(description="By RFC 4514.", examples=["CN=webhooks.example.com"])
    issuer: str = Field(description="By RFC 4514.", examples=["CN=Partner CA"])
    serial_number: str = Field(description="In hexadecimal digits.", examples=["2f1a"])
    not_before: models.Timestamp
    not_after: models.Timestamp = Field(description="Until when it holds. Give another in time: nobody is told.")
    sha256_fingerprint: str = Field(description="SHA-256 of its DER in hexadecimal digits.", examples=["9f86d081…"])


def asked(body: ClientCertificateBody | None) -> pb.ClientCertificate:
    """What a request says of it; empty for none."""
    if body is None:
        return pb.ClientCertificate()
    return pb.ClientCertificate(certificate=body.certificate, private_key=body.private_key)


def answered(message: pb.Subscription) -> ClientCertificate | None:
    """What an answer says of it."""
    if not message.HasField("client_certificate"):
        return None
    facts = message.client_certificate
    return ClientCertificate(
        subject=facts.subject,
        issuer=facts.issuer,
        serial_number=facts.serial_number,
        not_before=models.timestamp(facts.not_before),
        not_after=models.timestamp(facts.not_after),
        sha256_fingerprint=facts.sha256_fingerprint,
    )
