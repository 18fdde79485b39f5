"""Client certificates: sealed for the workers; only their public parts are shown."""

import base64
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from dev.harness import certificates
from dev.harness.certificates import DAY, SERVER, Issued, pem_of
from dev.harness.keys import vault
from protos.webhook.v1 import subscriptions_pb2 as pb
from services.ingest.subscriptions import client_certificates
from services.ingest.subscriptions.client_certificates import CERTIFICATE, PRIVATE_KEY, Facts
from services.platform import errors
from tests.ingest.conftest import URL, Ingest, fields, refused
from tests.ingest.subscriptions.secrets.test_secrets import create

CA = certificates.authority()
SHOP, BANK = CA.issue("shop"), CA.issue("bank")
NOTHING = pb.ClientCertificate()


def asked(issued: Issued) -> pb.ClientCertificate:
    return pb.ClientCertificate(certificate=issued.pem + CA.pem, private_key=issued.key_pem)


def secret_lines(issued: Issued) -> list[bytes]:
    """Return parts of the private key, which must not appear anywhere."""
    return [line.encode() for line in issued.key_pem.splitlines()[1:-1]]


async def stored(ingest: Ingest, subscription_id: str, *texts: str) -> bytes | None:
    """Return what the workers will read."""
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
        # Together with other errors.
        (pb.ClientCertificate(certificate=SHOP.pem), "no", ["target_url", "client_certificate.private_key"]),
    ],
)
async def test_an_unusable_certificate_is_refused_by_its_field_and_not_repeated(
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


# -- which are accepted, and what is shown of them --

NOW = datetime.now(UTC).replace(microsecond=0)
MINE = CA.issue("shop")
RSA_2048 = rsa.generate_private_key(65537, 2048)


def armored(label: str, der: bytes) -> str:
    """Return them in PEM."""
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n"


def der_of(key: Any) -> bytes:
    return bytes(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def refusal(certificate: str, private_key: str) -> set[str]:
    """Return the fields with errors; none if it is accepted."""
    try:
        client_certificates.parse(certificate, private_key, NOW)
    except errors.InvalidArgument as error:
        return {violation.field for violation in error.violations}
    return set()


def wrong(certificate: str, private_key: str) -> dict[str, str]:
    """Return the error of each field."""
    with pytest.raises(errors.InvalidArgument) as raised:
        client_certificates.parse(certificate, private_key, NOW)
    for line in private_key.splitlines()[1:-1]:
        assert line not in str(raised.value)
    return {violation.field: violation.description for violation in raised.value.violations}


def refused_chain(*chain: Issued, key: Issued | None = None) -> str:
    """Return the errors of these certificates with the first one's key."""
    said = wrong("".join(one.pem for one in chain), (key or chain[0]).key_pem)
    assert list(said) == [CERTIFICATE]
    return said[CERTIFICATE]


@pytest.mark.parametrize(
    "key",
    [
        RSA_2048,
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
)
def test_keys_of_these_kinds_are_taken(key: Any) -> None:
    issued = CA.issue("shop", key=key)
    assert client_certificates.parse(issued.pem, issued.key_pem, NOW).pem == (issued.pem + issued.key_pem).encode()


def test_a_chain_is_taken_with_or_without_its_root_and_what_else_stood_there_is_left_out() -> None:
    between = CA.issue("between", usages=(), authority=True)
    mine = between.issue("shop")
    for chain in (mine.pem + between.pem, mine.pem + between.pem + CA.pem):
        given = "Bag Attributes\n" + chain.replace("-----END CERTIFICATE-----\n", "-----END CERTIFICATE-----\r\n  \n")
        taken = client_certificates.parse(given, "\n" + mine.key_pem + "\nrest", NOW)
        assert taken.pem == (chain + mine.key_pem).encode()
        assert "PRIVATE" not in repr(taken)
        assert taken.facts.issuer == "CN=between"


def test_the_facts_are_those_of_the_first_certificate_and_survive_being_stored() -> None:
    facts = client_certificates.parse(MINE.pem + CA.pem, MINE.key_pem, NOW).facts
    assert facts == Facts(
        subject="CN=shop",
        issuer="CN=Test authority",
        serial_number=f"{MINE.certificate.serial_number:x}",
        not_before=MINE.certificate.not_valid_before_utc,
        not_after=MINE.certificate.not_valid_after_utc,
        sha256_fingerprint=MINE.certificate.fingerprint(hashes.SHA256()).hex(),
    )
    assert Facts.of_text(facts.text) == facts


def test_certificate_without_a_usage_or_for_any_usage_is_accepted() -> None:
    for usages in ((), (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,), (SERVER, ExtendedKeyUsageOID.CLIENT_AUTH)):
        issued = CA.issue("shop", usages=usages)
        assert client_certificates.parse(issued.pem, issued.key_pem, NOW).facts.subject == "CN=shop"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        "\x00",
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n☃\n-----END CERTIFICATE-----\n",
        MINE.pem[:200],
        MINE.pem.replace("CERTIFICATE", "PUBLIC KEY"),
        MINE.pem + MINE.key_pem,
        MINE.pem * 30,
        "x" * (32 << 10) + MINE.pem,
    ],
)
def test_malformed_certificates_are_refused_by_their_field(text: str) -> None:
    said = wrong(text, MINE.key_pem)
    assert list(said) == [CERTIFICATE]
    assert "hunter2" not in said[CERTIFICATE]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        MINE.pem,
        MINE.key_pem[:150],
        "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n",
        "x" * (8 << 10) + MINE.key_pem,
    ],
)
def test_a_malformed_private_key_is_refused_by_its_field(text: str) -> None:
    said = wrong(MINE.pem, text)
    assert list(said) == [PRIVATE_KEY]
    assert "hunter2" not in said[PRIVATE_KEY]


def test_a_passphrase_another_key_and_weak_or_odd_keys_are_refused() -> None:
    for key, why in [
        (pem_of(MINE.key, "hunter2"), "must not have a passphrase"),
        (CA.issue("other").key_pem, "must be the key of the first certificate"),
        (pem_of(rsa.generate_private_key(65537, 1024)), "must be RSA of 2048 to 4096 bits"),
        (pem_of(ec.generate_private_key(ec.SECP256K1())), "must be RSA of 2048 to 4096 bits"),
        (pem_of(ed448.Ed448PrivateKey.generate()), "must be RSA of 2048 to 4096 bits"),
        (pem_of(dsa.generate_private_key(2048)), "must be RSA of 2048 to 4096 bits"),
    ]:
        said = wrong(MINE.pem, key)
        assert list(said) == [PRIVATE_KEY]
        assert said[PRIVATE_KEY].startswith(why)


def test_violations_name_both_fields_if_both_are_wrong() -> None:
    assert list(wrong("no", "no")) == [CERTIFICATE, PRIVATE_KEY]


def test_a_certificate_outside_its_validity_is_refused_anywhere_in_the_chain() -> None:
    assert refused_chain(CA.issue("shop", ends=NOW)).startswith("certificate 1 in the chain expired at 20")
    assert refused_chain(CA.issue("shop", begins=NOW + timedelta(hours=1))).startswith("certificate 1 in the chain is")
    old = CA.issue("old", usages=(), authority=True, begins=NOW - 2 * DAY, ends=NOW - DAY)
    assert refused_chain(old.issue("shop"), old).startswith("certificate 2 in the chain expired at")


def test_a_chain_out_of_order_or_torn_is_refused() -> None:
    between = CA.issue("between", usages=(), authority=True)
    mine = between.issue("shop")
    assert "number 2 did not issue 1" in refused_chain(mine, CA)
    assert "number 3 did not issue 2" in refused_chain(mine, between, certificates.authority())
    assert "number 2 did not issue 1" in refused_chain(CA, between, mine)
    # With the same name as the issuer.
    assert "number 2 did not issue 1" in refused_chain(MINE, certificates.authority())
    assert refused_chain(*[CA] * 9) == "must be at most 8 certificates"


def test_certificate_only_for_servers_is_rejected() -> None:
    assert refused_chain(CA.issue("shop", usages=(SERVER,))).startswith("must be a client certificate")


def test_a_certificate_with_changed_bytes_is_taken_or_refused_by_its_field() -> None:
    random = Random(7)
    kinds = [("CERTIFICATE", MINE.certificate.public_bytes(Encoding.DER)), ("PRIVATE KEY", der_of(MINE.key))]
    refused = 0
    for number in range(600):
        changed = [bytearray(der) for _, der in kinds]
        one = changed[number % 4 == 0]
        for _ in range(random.choice((1, 1, 2, 4))):
            one[random.randrange(len(one))] ^= random.randrange(1, 256)
        certificate, key = (armored(label, bytes(der)) for (label, _), der in zip(kinds, changed, strict=True))
        fields = refusal(certificate, key)
        assert fields <= {CERTIFICATE, PRIVATE_KEY}
        refused += bool(fields)
    assert 300 < refused < 600
