"""Signatures by any secret over anything: other implementations agree, and any change makes them invalid."""

import base64
import hashlib
from datetime import UTC, datetime

import nacl.exceptions
import nacl.signing
import pytest
import standardwebhooks
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.secrets import signatures
from services.domain.secrets.signatures import Key, PrivateKey
from services.ingest.events import verification
from services.ingest.events.verification import Check, Headers
from services.ingest.subscriptions.record import secret_violations
from services.platform import errors
from tests.adversarial.conftest import Examples, Tally
from tests.ingest.events.inbound.providers import Signer, by_shopify, by_slack, by_standard, by_stripe, by_svix

PLAIN = st.text(min_size=1).filter(lambda text: not text.startswith(signatures.STANDARD_PREFIX))
WHSEC = st.binary(min_size=1).map(lambda key: signatures.STANDARD_PREFIX + base64.b64encode(key).decode())
SECRETS = PLAIN | WHSEC
SEEDS = st.binary(min_size=32, max_size=32)
IDS = st.text("abcdef0123456789-", min_size=1, max_size=36)
BODIES = st.binary(max_size=2000)
# The index of a byte (modulo their number), and the bits of it to change.
FLIPS = st.tuples(st.integers(0), st.integers(1, 255))
BLOCK_BYTES = 64
PROVIDERS: list[tuple[Check, Signer]] = [
    (verification.verify_stripe, by_stripe),
    (verification.verify_shopify, by_shopify),
    (verification.verify_slack, by_slack),
    (verification.verify_standard, by_standard),
    (verification.verify_standard, by_svix),
]


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Return an HMAC as RFC 2104 defines it."""
    key = (hashlib.sha256(key).digest() if len(key) > BLOCK_BYTES else key).ljust(BLOCK_BYTES, b"\x00")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).digest()


def key_of(secret: str) -> bytes:
    """Return the key of webhook-signature as docs/guides/receiving.md explains it."""
    if secret.startswith("whsec_"):
        return base64.b64decode(secret.removeprefix("whsec_"))
    return secret.encode()


def flipped(data: bytes, flip: tuple[int, int]) -> bytes:
    """Return the text with one byte changed."""
    at = flip[0] % len(data)
    return data[:at] + bytes([data[at] ^ flip[1]]) + data[at + 1 :]


@pytest.fixture
def many(examples: Examples) -> settings:
    """Return the settings of a property test."""
    return settings(max_examples=examples(100, 3000), deadline=None, derandomize=True, database=None)


def test_the_public_verifier_takes_ours_over_any_text(many: settings, tally: Tally) -> None:
    @many
    @given(SECRETS, IDS, st.text())
    def check(secret: str, message_id: str, text: str) -> None:
        tally.add("signatures")
        now = int(datetime.now(UTC).timestamp())
        signature = signatures.standard([Key.of(secret)], message_id, now, text.encode())
        headers = {"webhook-id": message_id, "webhook-timestamp": str(now), "webhook-signature": signature}
        standardwebhooks.Webhook(key_of(secret)).verify(text, headers, json_parse=False)

    check()


def test_ours_are_those_of_the_rfc_over_any_bytes(many: settings, tally: Tally) -> None:
    @many
    @given(SECRETS, IDS, st.integers(0, 2**40), BODIES)
    def check(secret: str, message_id: str, timestamp: int, body: bytes) -> None:
        tally.add("signatures", 2)
        signed = f"{message_id}.{timestamp}.".encode() + body
        expected = base64.b64encode(hmac_sha256(key_of(secret), signed)).decode()
        assert signatures.standard([Key.of(secret)], message_id, timestamp, body) == f"v1,{expected}"
        assert signatures.hub(Key.of(secret), body) == "sha256=" + hmac_sha256(secret.encode(), body).hex()

    check()


def test_a_signature_changes_with_every_input(many: settings, tally: Tally) -> None:
    @many
    @given(SECRETS, SECRETS, IDS, IDS, st.integers(0, 2**40), st.integers(0, 2**40), BODIES, FLIPS)
    def check(
        secret: str,
        other: str,
        message_id: str,
        another: str,
        then: int,
        later: int,
        body: bytes,
        flip: tuple[int, int],
    ) -> None:
        tally.add("signatures, tampered with", 4)
        signature = signatures.standard([Key.of(secret)], message_id, then, body)
        assert (signatures.standard([Key.of(secret)], another, then, body) == signature) == (another == message_id)
        assert (signatures.standard([Key.of(secret)], message_id, later, body) == signature) == (later == then)
        assert signatures.standard([Key.of(secret)], message_id, then, flipped(body + b"x", flip)) != signature
        same = key_of(other).ljust(BLOCK_BYTES, b"\0") == key_of(secret).ljust(BLOCK_BYTES, b"\0")
        assert (signatures.standard([Key.of(other)], message_id, then, body) == signature) == same

    check()


def test_an_inbound_signature_that_was_tampered_with_does_not_hold(many: settings, tally: Tally) -> None:
    @many
    @given(SECRETS, BODIES.filter(bool), FLIPS, st.text(max_size=100))
    def check(secret: str, body: bytes, flip: tuple[int, int], text: str) -> None:
        tally.add("signatures, tampered with", 4)
        signature = signatures.hub(Key.of(secret), body)
        assert signatures.verify_hub([Key.of(secret)], body, signature)
        assert not signatures.verify_hub([Key.of(secret)], flipped(body, flip), signature)
        changed = flipped(signature.encode(), flip).decode("latin-1")
        # The case of hexadecimal digits does not matter.
        assert signatures.verify_hub([Key.of(secret)], body, changed) == (changed.lower() == signature)
        assert not signatures.verify_hub([Key.of(secret)], body, text)

    check()


def holds(scheme: Check, headers: dict[str, str], body: bytes, secret: str, now: float) -> bool:
    """Return whether a provider's signature is valid; it may raise no other error."""
    try:
        scheme(Headers(headers.items()), body, [Key.of_provider(secret)], now)
    except errors.SignatureMismatch:
        return False
    return True


def test_header_values_of_any_kind_are_never_accepted_as_a_signature(many: settings, tally: Tally) -> None:
    @many
    @given(st.sampled_from(PROVIDERS), st.lists(st.text(max_size=200), min_size=3, max_size=3), BODIES)
    def check(provider: tuple[Check, Signer], values: list[str], body: bytes) -> None:
        tally.add("signatures, tampered with")
        scheme, sign = provider
        headers = dict(zip(sign("whsec_c2VjcmV0", b"", 0), values, strict=False))
        assert not holds(scheme, headers, body, "whsec_c2VjcmV0", 0)

    check()


def test_libsodium_takes_ed25519_by_any_key_over_any_bytes_and_nothing_changed(many: settings, tally: Tally) -> None:
    @many
    @given(SEEDS, IDS, st.integers(0, 2**40), BODIES, FLIPS)
    def check(seed: bytes, message_id: str, timestamp: int, body: bytes, flip: tuple[int, int]) -> None:
        tally.add("signatures")
        tally.add("signatures, tampered with", 2)
        key = PrivateKey.of("whsk_" + base64.b64encode(seed).decode())
        version, _, encoded = signatures.standard([key], message_id, timestamp, body).partition(",")
        signature = base64.b64decode(encoded, validate=True)
        verify_key = nacl.signing.VerifyKey(base64.b64decode(key.public_key.removeprefix("whpk_")))
        signed = f"{message_id}.{timestamp}.".encode() + body
        assert version == "v1a"
        verify_key.verify(signed, signature)
        for tampered in ((flipped(signed, flip), signature), (signed, flipped(signature, flip))):
            with pytest.raises(nacl.exceptions.BadSignatureError):
                verify_key.verify(*tampered)

    check()


def test_texts_that_are_not_private_keys_are_rejected_with_their_field(many: settings, tally: Tally) -> None:
    texts = st.text() | st.binary(max_size=80).map(lambda key: "whsk_" + base64.b64encode(key).decode())

    @many
    @given(texts)
    def check(text: str) -> None:
        tally.add("signatures")
        wrong = secret_violations(text, signatures.SignatureScheme.ED25519)
        assert [violation.field for violation in wrong] in ([], ["secret_key"])
        if not wrong:
            assert signatures.signer(text, signatures.SignatureScheme.ED25519).sign(b"").startswith("v1a,")
            # A key of Ed25519 is never used as an HMAC secret.
            assert signatures.is_private_key(text)
            assert secret_violations(text, signatures.SignatureScheme.HMAC_SHA256) != []

    check()
