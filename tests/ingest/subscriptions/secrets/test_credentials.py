"""The secrets of a subscription: sealed, not in copies, deleted with it, and sent to no other host."""

import base64
from typing import Any
from uuid import UUID

import pytest
import redis.asyncio

from dev.harness import certificates
from dev.harness.keys import vault
from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain.notices import subscription_changes
from services.platform import errors
from tests.ingest.conftest import UNSIGNED, Ingest, fields, refused

CA = certificates.authority()
SHOP, BANK = CA.issue("shop"), CA.issue("bank")
SEED = b"\x03" * 32
WHSK = "whsk_" + base64.b64encode(SEED).decode()
CERTIFICATE = pb.ClientCertificate(certificate=SHOP.pem + CA.pem, private_key=SHOP.key_pem)
HEADERS = pb.CustomHeaders(values={"Authorization": "Bearer hunter2"})
VERIFICATION = {"verification_secrets": pb.VerificationSecrets(values=["hunter2-one", "hunter2-two"])}
SECRET = {"secret_key": "hunter2-s3cret"}
ED25519 = {"signature_scheme": pb.SIGNATURE_SCHEME_ED25519, "secret_key": WHSK}
TEMPLATE_SECRETS = pb.TemplateSecrets(values={"routing_key": "hunter2-key"})
EVERYTHING: dict[str, Any] = {
    "headers": HEADERS,
    "client_certificate": CERTIFICATE,
    "template_secrets": TEMPLATE_SECRETS,
    **VERIFICATION,
}
SEALED = (
    *("sealed_secrets", "sealed_headers", "sealed_client_certificate", "sealed_verification_secrets"),
    "sealed_template_secrets",
)
# By field: a value, and others that make a repeated creation a different request.
FIELDS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "secret_key": (SECRET, [{"secret_key": "hunter2-other"}, {}, UNSIGNED]),
    "signature_scheme": ({}, [{"signature_scheme": pb.SIGNATURE_SCHEME_ED25519}]),
    "headers": ({"headers": HEADERS}, [{"headers": pb.CustomHeaders(values={"Authorization": "hunter2"})}, {}]),
    "client_certificate": (
        {"client_certificate": CERTIFICATE},
        [{"client_certificate": pb.ClientCertificate(certificate=BANK.pem, private_key=BANK.key_pem)}, {}],
    ),
    "verification_secrets": (VERIFICATION, [{"verification_secrets": pb.VerificationSecrets(values=["hunter2-one"])}]),
    "template_secrets": (
        {"template_secrets": TEMPLATE_SECRETS},
        [{"template_secrets": pb.TemplateSecrets(values={"routing_key": "hunter2-other"})}, {}],
    ),
    "retry_policy": ({"retry_policy": pb.RetryPolicy(limit=1)}, [{"retry_policy": pb.RetryPolicy(limit=2)}]),
}


def shows(text: bytes) -> bool:
    """Return whether a secret of these tests is in the text."""
    lines = [line.encode() for line in SHOP.key_pem.splitlines()[1:-1]]
    return any(secret in text for secret in (b"hunter2", SEED, base64.b64encode(SEED), *lines))


@pytest.mark.parametrize("signing", [SECRET, ED25519], ids=["hmac-sha256", "ed25519"])
async def test_credentials_are_sealed_in_postgres_absent_from_redis_and_deleted_at_the_end(
    alone: Ingest, redis_url: str, signing: dict[str, Any]
) -> None:
    made = await alone.create(**EVERYTHING, **signing)
    rotation = pb.RotateSubscriptionSecretRequest(subscription_id=made.id)
    await alone.subscriptions.RotateSubscriptionSecret(rotation)
    await alone.subscriptions.CreateIngestToken(pb.CreateIngestTokenRequest(subscription_id=made.id))
    await alone.send(made.id)
    query = f"SELECT {', '.join(SEALED)} FROM subscriptions"
    row: Any = await alone.pool.fetchrow(query)
    assert [column for column in SEALED if not row[column] or shows(row[column])] == []
    assert vault().verification_secrets(UUID(made.id), row["sealed_verification_secrets"]) == (
        "hunter2-one",
        "hunter2-two",
    )
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        sealed: Any = await client.hget(subscription_changes.KEY + made.id, "value")
    copy = vault().copy(UUID(made.id), sealed)
    assert b"CN=shop" in copy
    assert (b'"ed25519"' in copy) == (signing is ED25519)
    assert not shows(copy)
    assert b"PRIVATE KEY" not in copy

    await alone.delete(made.id)

    columns = (*SEALED, "client_certificate", "ingest_token_hash")
    row = await alone.pool.fetchrow(f"SELECT {', '.join(columns)} FROM subscriptions")
    assert dict(row) == dict.fromkeys(columns)


@pytest.mark.parametrize("field", FIELDS)
async def test_a_repeated_creation_with_another_value_is_another_request_and_no_secret_is_kept(
    ingest: Ingest, field: str
) -> None:
    value, others = FIELDS[field]
    first = await ingest.create(idempotency_key="k", **value)
    assert await ingest.create(idempotency_key="k", **value) == first
    for other in others:
        error = await refused(ingest.create(idempotency_key="k", **other))
        assert error.reason == "IDEMPOTENCY_KEY_REUSED"
    for kept in await ingest.pool.fetch("SELECT response FROM idempotency_keys WHERE tenant_id = $1", ingest.tenant_id):
        assert not shows(kept["response"])


async def test_credentials_that_are_kept_go_to_no_other_host_than_they_were_given_for(ingest: Ingest) -> None:
    both: dict[str, Any] = {"headers": HEADERS, "client_certificate": CERTIFICATE}
    keyed = await ingest.create("https://partner.example/", template_secrets=TEMPLATE_SECRETS)
    assert fields(await refused(ingest.update(keyed.id, "https://evil.example/"))) == ["template_secrets"]
    await ingest.update(keyed.id, "https://evil.example/", template_secrets=pb.TemplateSecrets())
    made = await ingest.create("https://partner.example/a", **both)
    for elsewhere in ("https://evil.example/a", "http://partner.example/a", "https://partner.example:8443/a"):
        error = await refused(ingest.update(made.id, elsewhere))
        assert isinstance(error, errors.InvalidArgument)
        assert fields(error) == ["headers", "client_certificate"]
    for given, left in (("headers", "client_certificate"), ("client_certificate", "headers")):
        error = await refused(ingest.update(made.id, "https://evil.example/a", **{given: both[given]}))
        assert fields(error) == [left]
    assert (await ingest.get(made.id)).spec.target_url == "https://partner.example/a"
    kept = await ingest.update(made.id, "https://PARTNER.example/b?c")
    assert kept.status.client_certificate == made.status.client_certificate
    assert list(kept.status.header_names) == ["Authorization"]
    moved = await ingest.update(made.id, "https://other.example/", **both)
    assert moved.status.client_certificate == made.status.client_certificate
    removed = await ingest.update(
        made.id, "http://third.example/", headers=pb.CustomHeaders(), client_certificate=pb.ClientCertificate()
    )
    assert (list(removed.status.header_names), removed.status.HasField("client_certificate")) == ([], False)
    await ingest.update(made.id, "https://fourth.example/")


@pytest.mark.parametrize("field", ["headers", "client_certificate"])
async def test_credentials_that_were_given_at_the_same_time_do_not_go_along(ingest: Ingest, field: str) -> None:
    made = await ingest.create("https://partner.example/")
    given = ingest.update(made.id, "https://partner.example/", **{field: EVERYTHING[field]})
    _, error = await ingest.in_turn(made.id, given, ingest.update(made.id, "https://evil.example/"))
    assert error
    assert fields(error) == [field]
    found = await ingest.get(made.id)
    assert found.spec.target_url == "https://partner.example/"
    assert (list(found.status.header_names) != []) == (field == "headers")
    assert found.status.HasField("client_certificate") == (field == "client_certificate")
