"""Client certificates: sealed for the workers, shown to nobody but in what is public of them."""

from typing import Any
from uuid import UUID

import pytest
import redis.asyncio

from dev.harness import certificates
from dev.harness.certificates import Issued
from dev.harness.keys import ENCRYPTION_KEY, OTHER_KEY, encryption_keys, vault
from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain import subscription_changes
from services.ingest.reencryption import reencrypt
from services.platform import errors
from tests.ingest.conftest import UNSIGNED, URL, Ingest, fields, refused
from tests.ingest.subscriptions.test_secrets import create

CA = certificates.authority()
SHOP, BANK = CA.issue("shop"), CA.issue("bank")
NOTHING = pb.ClientCertificate()


def asked(issued: Issued) -> pb.ClientCertificate:
    return pb.ClientCertificate(certificate=issued.pem + CA.pem, private_key=issued.key_pem)


def secret_lines(issued: Issued) -> list[bytes]:
    """Of the private key, which must be found nowhere."""
    return [line.encode() for line in issued.key_pem.splitlines()[1:-1]]


async def stored(ingest: Ingest, subscription_id: str, *texts: str) -> bytes | None:
    """What the workers will read."""
    query = "SELECT sealed_client_certificate FROM subscriptions WHERE id = $1::text::uuid"
    sealed = await ingest.pool.fetchval(query, subscription_id)
    if sealed is None:
        return None
    assert not any(line in sealed for line in secret_lines(SHOP))
    return vault(*texts).client_certificate(UUID(subscription_id), sealed)


async def test_answers_have_what_is_public_and_no_key(ingest: Ingest) -> None:
    made = (await create(ingest, client_certificate=asked(SHOP), idempotency_key="k")).subscription
    again = (await create(ingest, client_certificate=asked(SHOP), idempotency_key="k")).subscription
    changed = await ingest.update(made.id)
    (listed,) = (await ingest.page()).subscriptions
    for answer in (made, again, changed, listed, await ingest.get(made.id)):
        facts = answer.status.client_certificate
        assert (facts.subject, facts.issuer) == ("CN=shop", "CN=Test authority")
        assert facts.serial_number == f"{SHOP.certificate.serial_number:x}"
        assert facts.not_after.ToDatetime() == SHOP.certificate.not_valid_after_utc.replace(tzinfo=None)
        assert len(facts.sha256_fingerprint) == 64
        assert not any(line in answer.SerializeToString() for line in secret_lines(SHOP))
    assert await stored(ingest, made.id) == (SHOP.pem + CA.pem + SHOP.key_pem).encode()
    for kept in await ingest.pool.fetch("SELECT response FROM idempotency_keys WHERE tenant_id = $1", ingest.tenant_id):
        assert not any(line in kept["response"] for line in secret_lines(SHOP))


async def test_a_repeated_creation_with_another_certificate_is_another_request(ingest: Ingest) -> None:
    await create(ingest, client_certificate=asked(SHOP), idempotency_key="k")
    for other in ({"client_certificate": asked(BANK)}, {}):
        error = await refused(create(ingest, idempotency_key="k", **other))
        assert error.reason == "IDEMPOTENCY_KEY_REUSED"


async def test_an_update_keeps_replaces_or_removes_it(ingest: Ingest) -> None:
    made = await ingest.create(client_certificate=asked(SHOP))
    assert (
        await ingest.update(made.id, description="other")
    ).status.client_certificate == made.status.client_certificate
    assert (await ingest.update(made.id, client_certificate=asked(BANK))).status.client_certificate.subject == "CN=bank"
    assert await stored(ingest, made.id) == (BANK.pem + CA.pem + BANK.key_pem).encode()
    assert not (await ingest.update(made.id, client_certificate=NOTHING)).status.HasField("client_certificate")
    assert not (await ingest.get(made.id)).status.HasField("client_certificate")
    assert await stored(ingest, made.id) is None
    assert not (await ingest.create(client_certificate=NOTHING)).status.HasField("client_certificate")


async def test_one_that_is_kept_goes_to_no_other_host_than_it_was_given_for(ingest: Ingest) -> None:
    headers = pb.CustomHeaders(values={"A": "b"})
    made = await ingest.create("https://partner.example/a", client_certificate=asked(SHOP), headers=headers)
    for elsewhere in ("https://evil.example/a", "http://partner.example/a", "https://partner.example:8443/a"):
        assert fields(await refused(ingest.update(made.id, elsewhere))) == ["headers", "client_certificate"]
        error = await refused(ingest.update(made.id, elsewhere, headers=headers))
        assert fields(error) == ["client_certificate"]
    assert (
        await ingest.update(made.id, "https://PARTNER.example/b?c")
    ).status.client_certificate == made.status.client_certificate
    moved = await ingest.update(
        made.id, "https://other.example/", client_certificate=asked(BANK), headers=pb.CustomHeaders()
    )
    assert moved.status.client_certificate.subject == "CN=bank"
    removed = await ingest.update(made.id, "http://third.example/", client_certificate=NOTHING)
    assert not removed.status.HasField("client_certificate")


async def test_one_that_was_given_at_the_same_time_does_not_go_along(ingest: Ingest) -> None:
    made = await ingest.create("https://partner.example/")
    given = ingest.update(made.id, "https://partner.example/", client_certificate=asked(SHOP))
    elsewhere = ingest.update(made.id, "https://evil.example/")
    _, error = await ingest.in_turn(made.id, given, elsewhere)
    assert error
    assert fields(error) == ["client_certificate"]
    found = await ingest.get(made.id)
    assert (found.spec.target_url, found.status.HasField("client_certificate")) == ("https://partner.example/", True)


@pytest.mark.parametrize(
    ("certificate", "target_url", "found"),
    [
        (pb.ClientCertificate(certificate=SHOP.pem), URL, ["client_certificate.private_key"]),
        (pb.ClientCertificate(private_key=SHOP.key_pem), URL, ["client_certificate.certificate"]),
        (pb.ClientCertificate(certificate=SHOP.pem, private_key=BANK.key_pem), URL, ["client_certificate.private_key"]),
        (
            pb.ClientCertificate(certificate="hunter2", private_key="hunter2"),
            URL,
            ["client_certificate.certificate", "client_certificate.private_key"],
        ),
        (asked(SHOP), "http://example.com/", ["client_certificate"]),
        # With what else is wrong.
        (pb.ClientCertificate(certificate=SHOP.pem), "no", ["target_url", "client_certificate.private_key"]),
    ],
)
async def test_what_cannot_be_shown_is_refused_by_its_field_and_not_repeated(
    ingest: Ingest, certificate: pb.ClientCertificate, target_url: str, found: list[str]
) -> None:
    made = await ingest.create()
    for call in (
        ingest.create(target_url, client_certificate=certificate),
        ingest.update(made.id, target_url, client_certificate=certificate),
    ):
        error = await refused(call)
        assert isinstance(error, errors.InvalidArgument)
        assert fields(error) == found
        assert "hunter2" not in str(error)
    assert await ingest.count("subscriptions") == 1
    assert await ingest.get(made.id) == made


async def test_a_deleted_subscription_has_none(ingest: Ingest) -> None:
    made = await ingest.create(client_certificate=asked(SHOP))
    await ingest.delete(made.id)
    query = "SELECT sealed_client_certificate, client_certificate FROM subscriptions WHERE id = $1::text::uuid"
    assert tuple(await ingest.pool.fetchrow(query, made.id) or ()) == (None, None)


async def test_the_copy_in_redis_holds_no_key(alone: Ingest, redis_url: str) -> None:
    made = await alone.create(client_certificate=asked(SHOP))
    await alone.send(made.id)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        sealed: Any = await client.hget(subscription_changes.KEY + made.id, "value")
    copy = vault().copy(UUID(made.id), sealed)
    assert b"CN=shop" in copy
    assert b"PRIVATE KEY" not in copy
    assert not any(line in copy for line in secret_lines(SHOP))


@pytest.mark.parametrize("signing", [UNSIGNED, {}])
async def test_it_is_sealed_anew_under_another_key_with_a_secret_or_without(
    alone: Ingest,
    signing: dict[str, Any],
) -> None:
    made = await alone.create(client_certificate=asked(SHOP), **signing)
    both: Any = encryption_keys(OTHER_KEY, ENCRYPTION_KEY)
    async with alone.pool.acquire() as connection:
        first, again = await reencrypt(connection, both), await reencrypt(connection, both)
        assert (first.rewritten, first.left, again.rewritten, again.left) == (1, 0, 0, 1)
        assert await stored(alone, made.id, OTHER_KEY) == (SHOP.pem + CA.pem + SHOP.key_pem).encode()
        found = await connection.fetchval("SELECT sealed_secrets FROM subscriptions WHERE id = $1", UUID(made.id))
        assert (found is None) == bool(signing)
        await connection.execute("UPDATE subscriptions SET sealed_client_certificate = 'x'")
        assert (await reencrypt(connection, both)).unreadable == [UUID(made.id)]
