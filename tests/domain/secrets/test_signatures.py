"""Signatures, checked with the public verifier and with GitHub's documented vector."""

import base64
import json
from datetime import UTC, datetime

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from services.domain.secrets import signatures
from services.domain.secrets.signatures import Key

KEY = b"\x00\xff thirty-two bytes of a signing k"
WHSEC = "whsec_" + base64.b64encode(KEY).decode()
BODY = '{"naïve":  "☃", "n": 1.0}'.encode()
# https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
GITHUB_SECRET = "It's a Secret to Everybody"
GITHUB_BODY = b"Hello, World!"
GITHUB_SIGNATURE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def _headers(secret_key: str, body: bytes) -> dict[str, str]:
    timestamp = int(datetime.now(UTC).timestamp())
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signatures.standard([Key.of(secret_key)], "msg_1", timestamp, body),
    }


@pytest.mark.parametrize(
    ("secret_key", "key"), [(WHSEC, KEY), ("plain · secret", "plain · secret".encode()), (" whsec_", b" whsec_")]
)
def test_the_public_verifier_accepts_ours(secret_key: str, key: bytes) -> None:
    verifier = standardwebhooks.Webhook(base64.b64encode(key).decode())
    assert verifier.verify(BODY, _headers(secret_key, BODY)) == json.loads(BODY)


def test_the_public_verifier_takes_a_whsec_secret_as_it_stands() -> None:
    assert standardwebhooks.Webhook(WHSEC).verify(BODY, _headers(WHSEC, BODY)) == json.loads(BODY)


def test_a_secret_with_the_version_of_its_signatures_is_the_same_key() -> None:
    assert Key.of("v1," + WHSEC).standard == Key.of(WHSEC).standard == KEY
    assert Key.of("v1,plain").standard == b"v1,plain"


@pytest.mark.parametrize("secret_key", [WHSEC, "whsec_" + base64.b64encode(b"another key").decode()])
def test_the_public_verifier_refuses_another_body_or_another_secret(secret_key: str) -> None:
    body = BODY + b" " if secret_key == WHSEC else BODY
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(WHSEC).verify(body, _headers(secret_key, BODY))


@pytest.mark.parametrize("secret_key", ["whsec_abc", "whsec_$$$$", "whsec_ä", "whsec_YWJj\n", "whsec_YW Jj"])
def test_secret_that_is_not_base64_after_whsec_is_rejected_with_a_clear_message(secret_key: str) -> None:
    with pytest.raises(ValueError, match="must be base64 after whsec_"):
        Key.of(secret_key)


def test_hub_makes_githubs_documented_signature() -> None:
    assert signatures.hub(Key.of(GITHUB_SECRET), GITHUB_BODY) == GITHUB_SIGNATURE


@pytest.mark.parametrize("signature", [GITHUB_SIGNATURE, GITHUB_SIGNATURE.upper(), f" {GITHUB_SIGNATURE} "])
def test_githubs_signature_is_verified_in_any_case(signature: str) -> None:
    assert signatures.verify_hub([Key.of(GITHUB_SECRET)], GITHUB_BODY, signature)


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sha256=",
        GITHUB_SIGNATURE.removeprefix("sha256="),
        GITHUB_SIGNATURE.replace("sha256", "sha1"),
        GITHUB_SIGNATURE[:-1],
        GITHUB_SIGNATURE + "0",
        GITHUB_SIGNATURE + "\x00",
        "sha256=" + "0" * 64,
        "\u017fha256=" + GITHUB_SIGNATURE.removeprefix("sha256="),
        "☃",
    ],
)
def test_invalid_hub_signatures_are_rejected(signature: str) -> None:
    assert not signatures.verify_hub([Key.of(GITHUB_SECRET)], GITHUB_BODY, signature)


def test_hub_takes_the_text_of_a_whsec_secret_and_not_its_key() -> None:
    assert signatures.hub(Key.of(WHSEC), BODY) != signatures.hub(Key.of(KEY.decode("latin-1")), BODY)
    assert signatures.verify_hub([Key.of(WHSEC)], BODY, signatures.hub(Key.of(WHSEC), BODY))


@given(st.text(min_size=1).filter(lambda text: not text.startswith("whsec_")), st.binary(), st.binary())
def test_hub_verifies_its_own_body_and_no_other(secret_key: str, body: bytes, other: bytes) -> None:
    key = Key.of(secret_key)
    signature = signatures.hub(key, body)
    assert signatures.verify_hub([key], body, signature)
    assert signatures.verify_hub([key], other, signature) == (body == other)
