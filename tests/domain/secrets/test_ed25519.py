"""Ed25519 keys and signatures, checked by another library (libsodium, by PyNaCl) and by the RFC's vectors."""

import base64

import nacl.exceptions
import nacl.signing
import pytest

from services.domain.secrets import signatures
from services.domain.secrets.signatures import Key, PrivateKey, SignatureScheme, Signer
from services.ingest.subscriptions.record import secret_violations

# RFC 8032, 7.1, TEST 2 and 3: seed, public key, message; and the signature in base64.
VECTORS = [
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "kqAJqfDUyrhyDoILX2QlQKKye1QWUD+Ps3YiI+vbadoIWsHkPhWZbkWPNhPQ8R2MOHsurrQwKu6wDSkWErsMAA==",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "YpHWV97sJAJIJ+acOr4BowzlSKKEdDpEXjaA19taw6wY/5tTjRbykK5n92CYTcZZSnwV6XFu0o3AJ77O6h7ECg==",
    ),
]
SEED = bytes(range(32))
PUBLIC = nacl.signing.SigningKey(SEED).verify_key.encode()


def whsk(data: bytes) -> str:
    return "whsk_" + base64.b64encode(data).decode()


@pytest.mark.parametrize(("seed", "public", "message", "signature"), VECTORS)
def test_the_rfcs_vectors_hold(seed: str, public: str, message: str, signature: str) -> None:
    key = PrivateKey.of(whsk(bytes.fromhex(seed)))
    assert key.public_key == "whpk_" + base64.b64encode(bytes.fromhex(public)).decode()
    assert key.sign(bytes.fromhex(message)) == f"v1a,{signature}"


def test_signature_of_a_generated_key_is_verified_by_another_library_only_if_unchanged() -> None:
    key = PrivateKey.of(signatures.new_private_key())
    verify_key = nacl.signing.VerifyKey(base64.b64decode(key.public_key.removeprefix("whpk_")))
    body = '{"naïve":  "☃"}'.encode()
    version, _, signature = signatures.standard([key], "msg_1", 1_700_000_000, body).partition(",")
    assert version == "v1a"
    verify_key.verify(b"msg_1.1700000000." + body, base64.b64decode(signature))
    for other in (b"msg_2.1700000000." + body, b"msg_1.1700000001." + body, b"msg_1.1700000000." + body + b" "):
        with pytest.raises(nacl.exceptions.BadSignatureError):
            verify_key.verify(other, base64.b64decode(signature))


def test_a_key_is_a_seed_alone_or_with_its_public_key() -> None:
    assert PrivateKey.of(whsk(SEED)).sign(b"x") == PrivateKey.of(whsk(SEED + PUBLIC)).sign(b"x")


@pytest.mark.parametrize(
    "secret_key",
    [
        whsk(b"hunter2" * 4),
        whsk(SEED + b"x"),
        whsk(SEED + bytes(32)),
        whsk(SEED + PUBLIC + b"x"),
        whsk(SEED).removeprefix("whsk_"),
        whsk(SEED) + "\n",
        whsk(SEED)[:-1],
        whsk(SEED).replace("whsk_", "whpk_"),
        "whsec_" + base64.b64encode(SEED).decode(),
        "whsk_",
        "hunter2",
    ],
)
def test_invalid_private_key_is_rejected_with_its_field_and_not_repeated(secret_key: str) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        PrivateKey.of(secret_key)
    (violation,) = secret_violations(secret_key, SignatureScheme.ED25519)
    assert violation.field == "secret_key"
    assert violation.description.startswith(
        ("must be whsk_ and", "must be 32 bytes, or 32", "must not end with a line break")
    )


def test_a_private_key_is_not_an_hmac_secret_but_other_texts_with_its_prefix_are() -> None:
    for key in (SEED, SEED + PUBLIC):
        (violation,) = secret_violations(whsk(key), SignatureScheme.HMAC_SHA256)
        assert violation.description == "is a private key, which requires signature_scheme ed25519"
    # As PayMongo names the secrets of its webhooks.
    assert secret_violations("whsk_bcUrWCxnFdULeBuDW6zfGe6Z", SignatureScheme.HMAC_SHA256) == []


def test_signers_of_both_schemes_can_be_combined() -> None:
    signers: list[Signer] = [PrivateKey.of(whsk(SEED)), Key.of("old")]
    parts = signatures.standard(signers, "msg_1", 1, b"{}").split(" ")
    assert [part.partition(",")[0] for part in parts] == ["v1a", "v1"]


def test_a_private_key_does_not_show_in_its_representation() -> None:
    assert "Ed25519PrivateKey" not in repr(PrivateKey.of(whsk(SEED)))


def test_a_public_key_is_not_an_hmac_secret() -> None:
    public = signatures.PrivateKey.of(signatures.new_private_key()).public_key
    (violation,) = secret_violations(public, SignatureScheme.HMAC_SHA256)
    assert violation.field == "secret_key"
    assert "is a public key" in violation.description
    assert secret_violations(public[:-8], SignatureScheme.HMAC_SHA256) == []
