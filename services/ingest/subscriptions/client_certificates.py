"""Client certificates of subscriptions: validation, and their public parts."""

import itertools
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, TypeAlias

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from services.domain import limits
from services.domain.secrets import client_certificates
from services.platform import errors

FIELD = "client_certificate"
CERTIFICATE, PRIVATE_KEY = f"{FIELD}.certificate", f"{FIELD}.private_key"
MAX_CHAIN = 8
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 4096
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_USAGES = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}

# What cryptography raises on what is none, or of a kind that it does not know.
_UNREADABLE = (
    *(ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm),
    *(x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType),
)

Key: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What everybody may know of a certificate."""

    # Distinguished names by RFC 4514.
    subject: str
    issuer: str
    # In hexadecimal digits.
    serial_number: str
    not_before: datetime
    not_after: datetime
    # In hexadecimal digits, of its DER.
    sha256_fingerprint: str

    @property
    def text(self) -> str:
        """As they are stored."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def of_text(cls, text: str) -> "Facts":
        """As they were stored."""
        return msgspec.json.decode(text, type=cls)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientCertificate:
    """One that holds now."""

    # The chain, the subscription's own certificate first, and the private key, re-encoded.
    pem: bytes = field(repr=False)
    facts: Facts


class _Wrong(Exception):
    """What must be otherwise, as a field's error says it."""


def parse(certificate: str, private_key: str, now: datetime) -> ClientCertificate:
    """Parse a caller's PEM; InvalidArgument naming each invalid field, without repeating any of the key.

    Takes a millisecond, and a large RSA key a tenth of a second.
    """
    wrong: list[errors.Violation] = []
    given: _Given | None = None
    key: Key | None = None
    try:
        given = _given(certificate, now)
    except _Wrong as error:
        wrong.append(errors.Violation(field=CERTIFICATE, description=str(error)))
    try:
        key = _key(private_key)
        if given and key.public_key() != given.public_key:
            raise _Wrong("must be the key of the first certificate")
    except _Wrong as error:
        wrong.append(errors.Violation(field=PRIVATE_KEY, description=str(error)))
    if wrong or given is None or key is None:
        raise errors.InvalidArgument.of(*wrong)
    pem = _pem(given.chain, key)
    try:
        client_certificates.show(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), pem)
    except ssl.SSLError as error:
        raise errors.InvalidArgument.field(CERTIFICATE, f"was rejected by OpenSSL: {error.reason}") from None
    return ClientCertificate(pem=pem, facts=given.facts)


class _Given(NamedTuple):
    """Certificates, with all of the first that is read: an odd one gives way only when it is looked at."""

    chain: Sequence[x509.Certificate]
    public_key: object
    facts: Facts


def _given(text: str, now: datetime) -> _Given:
    if not 1 <= len(text) <= limits.MAX_CERTIFICATE_LENGTH:
        raise _Wrong(f"must be 1 to {limits.MAX_CERTIFICATE_LENGTH} characters of PEM")
    if "PRIVATE KEY" in text:
        raise _Wrong("must contain only certificates; the key has its own field")
    try:
        chain = x509.load_pem_x509_certificates(text.encode())
        _check(chain, now)
        return _Given(chain, chain[0].public_key(), _facts(chain[0]))
    except _UNREADABLE:
        raise _Wrong("must be one or more X.509 certificates in PEM") from None


def _check(chain: Sequence[x509.Certificate], now: datetime) -> None:
    if len(chain) > MAX_CHAIN:
        raise _Wrong(f"must be at most {MAX_CHAIN} certificates")
    for number, one in enumerate(chain, 1):
        if one.not_valid_after_utc <= now:
            raise _Wrong(f"certificate {number} in the chain expired at {one.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}")
        if one.not_valid_before_utc > now:
            raise _Wrong(
                f"certificate {number} in the chain is not valid before {one.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}"
            )
    for number, (one, issuer) in enumerate(itertools.pairwise(chain), 1):
        try:
            one.verify_directly_issued_by(issuer)
        except _UNREADABLE:
            raise _Wrong(
                f"must be a chain, the subscription's own certificate first: number {number + 1} did not issue {number}"
            ) from None
    for extension in chain[0].extensions:
        usage = extension.value
        if isinstance(usage, x509.ExtendedKeyUsage) and not _USAGES & set(usage):
            raise _Wrong("must be a client certificate: its extended key usage lacks clientAuth")


def _key(text: str) -> Key:
    if not 1 <= len(text) <= limits.MAX_PRIVATE_KEY_LENGTH:
        raise _Wrong(f"must be 1 to {limits.MAX_PRIVATE_KEY_LENGTH} characters of PEM")
    try:
        key = serialization.load_pem_private_key(text.encode(), password=None)
    except TypeError:
        raise _Wrong("must not have a passphrase") from None
    except _UNREADABLE:
        raise _Wrong("must be a private key in PEM") from None
    if isinstance(key, rsa.RSAPrivateKey) and MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    raise _Wrong(f"must be RSA of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, P-256, P-384, P-521 or Ed25519")


def _pem(chain: Sequence[x509.Certificate], key: Key) -> bytes:
    """Both, without whatever else stood in the text."""
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    written = key.private_bytes(pem, pkcs8, serialization.NoEncryption())
    return b"".join(one.public_bytes(pem) for one in chain) + written


def _facts(certificate: x509.Certificate) -> Facts:
    return Facts(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial_number=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        sha256_fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
    )
