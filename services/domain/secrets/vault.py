"""What subscriptions keep secret: sealed in Postgres and Redis, open in memory where it signs and verifies.

That is signing secrets, those of what comes in, headers, client certificates, and secrets of templates. The signing
secrets of a subscription are together in `subscriptions.sealed_secrets`, with the times at which the older ones end:
encrypted for this subscription alone, so that neither a time nor a secret can be changed or moved to another row.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias, TypeVar
from uuid import UUID

import msgspec

from services.domain.secrets import signatures
from services.domain.secrets.encryption import Keys
from services.domain.secrets.signatures import Key, PrivateKey, SignatureScheme, Signer
from services.platform.process.bounds import BoundedCache

# What is encrypted of a subscription, by its column: bound to the column and the subscription, so that nothing opens
# elsewhere.
PLACES: Mapping[str, bytes] = {
    "sealed_secrets": b"subscription:",
    "sealed_headers": b"headers:",
    "sealed_verification_secrets": b"verification:",
    "sealed_client_certificate": b"client_certificate:",
    "sealed_template_secrets": b"template:",
}
# Subscriptions whose secrets a process keeps open.
OPENED = 20_000

Value = TypeVar("Value")
# What was sealed, beside what it holds: another value of the same subscription is decrypted again.
_Opened: TypeAlias = BoundedCache[UUID, tuple[bytes, Value]]


class Secret(msgspec.Struct, frozen=True, array_like=True):
    """A secret, or a private key, and when it ends if it was replaced."""

    secret_key: str
    ends_at: datetime | None = None
    # Not told from the secret: HMAC takes any text.
    scheme: SignatureScheme = SignatureScheme.HMAC_SHA256

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Secret(ends_at={self.ends_at!r}, scheme={self.scheme.value!r})"


class Secrets:
    """A subscription's secrets, newest first: the current one, and those that hold until they end."""

    __slots__ = ("_signers", "kept")

    def __init__(self, kept: Sequence[Secret]) -> None:
        self.kept = tuple(kept)
        self._signers = tuple(signatures.signer(secret.secret_key, secret.scheme) for secret in kept)

    def signers(self, moment: datetime) -> Sequence[Signer]:
        """Return the signers at a moment, newest first."""
        if len(self._signers) == 1:
            return self._signers
        return [signer for _, signer in self._holding(moment)]

    def keys(self, moment: datetime) -> Sequence[Key]:
        """Return the HMAC keys among them, which the other side also has."""
        return [signer for signer in self.signers(moment) if isinstance(signer, Key)]

    def public_keys(self, moment: datetime) -> list[tuple[str, datetime | None]]:
        """Return the public keys of the private ones among them, each with its expiry."""
        return [
            (signer.public_key, secret.ends_at)
            for secret, signer in self._holding(moment)
            if isinstance(signer, PrivateKey)
        ]

    def previous(self, moment: datetime) -> list[Secret]:
        """Those that were replaced and still hold at a moment."""
        return [secret for secret in self.kept[1:] if _holds(secret, moment)]

    def _holding(self, moment: datetime) -> Iterator[tuple[Secret, Signer]]:
        return (pair for pair in zip(self.kept, self._signers, strict=True) if _holds(pair[0], moment))


NONE = Secrets(())
NO_HEADERS: Mapping[str, str] = {}


def _holds(secret: Secret, moment: datetime) -> bool:
    return secret.ends_at is None or secret.ends_at > moment


class Vault:
    """Seals and opens. What was opened last of each subscription is kept, ready for signing."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._opened: _Opened[Secrets] = BoundedCache(OPENED)
        self._headers: _Opened[Mapping[str, str]] = BoundedCache(OPENED)
        self._verification: _Opened[Sequence[Key]] = BoundedCache(OPENED)

    def seal(self, subscription_id: UUID, secrets: Sequence[Secret]) -> bytes:
        """Encrypt a subscription's secrets for storage."""
        return self._keys.seal(msgspec.json.encode(secrets), _place("sealed_secrets", subscription_id))

    def opened(self, subscription_id: UUID, sealed: bytes) -> Secrets:
        """Decrypt a subscription's secrets; CannotOpen."""
        return _kept(self._opened, subscription_id, sealed, self._open)

    def secrets(self, subscription_id: UUID, sealed: bytes | None) -> Secrets:
        """Return what the column holds, None for no secret. Raise CannotOpen."""
        return NONE if sealed is None else self.opened(subscription_id, sealed)

    def resealed(self, subscription_id: UUID, column: str, sealed: bytes | None) -> bytes | None:
        """Return a column's value under the first key; None when it is already, or is null. Raise CannotOpen."""
        if sealed is None or self._keys.is_first(sealed):
            return None
        place = _place(column, subscription_id)
        return self._keys.seal(self._keys.open(sealed, place), place)

    def seal_headers(self, subscription_id: UUID, values: Mapping[str, str]) -> bytes | None:
        """Encrypt the headers that a subscription adds, whose values may be credentials; None for none."""
        return (
            self._keys.seal(msgspec.json.encode(values), _place("sealed_headers", subscription_id)) if values else None
        )

    def headers(self, subscription_id: UUID, sealed: bytes | None) -> Mapping[str, str]:
        """Decrypt these headers: values by name; CannotOpen."""
        return NO_HEADERS if sealed is None else _kept(self._headers, subscription_id, sealed, self._open_headers)

    def seal_verification(self, subscription_id: UUID, secrets: Sequence[str]) -> bytes | None:
        """Encrypt the secrets that verify inbound webhooks; None for none."""
        if not secrets:
            return None
        return self._keys.seal(msgspec.json.encode(secrets), _place("sealed_verification_secrets", subscription_id))

    def verification_secrets(self, subscription_id: UUID, sealed: bytes | None) -> Sequence[str]:
        """Decrypt these secrets; CannotOpen."""
        if sealed is None:
            return ()
        opened = self._keys.open(sealed, _place("sealed_verification_secrets", subscription_id))
        return msgspec.json.decode(opened, type=tuple[str, ...])

    def verification_keys(self, subscription_id: UUID, sealed: bytes) -> Sequence[Key]:
        """Decrypt these secrets as keys ready for verifying; CannotOpen."""
        return _kept(self._verification, subscription_id, sealed, self._open_keys)

    def seal_client_certificate(self, subscription_id: UUID, pem: bytes | None) -> bytes | None:
        """Encrypt a subscription's client certificate with its private key; None for none."""
        return None if pem is None else self._keys.seal(pem, _place("sealed_client_certificate", subscription_id))

    def client_certificate(self, subscription_id: UUID, sealed: bytes) -> bytes:
        """Decrypt the certificate and its key in PEM; CannotOpen. Not cached here: callers cache the TLS context."""
        return self._keys.open(sealed, _place("sealed_client_certificate", subscription_id))

    def seal_template_secrets(self, subscription_id: UUID, values: Mapping[str, str]) -> bytes | None:
        """Encrypt what a subscription's template knows as secrets; None for none."""
        if not values:
            return None
        return self._keys.seal(msgspec.json.encode(values), _place("sealed_template_secrets", subscription_id))

    def template_secrets(self, subscription_id: UUID, sealed: bytes | None) -> Mapping[str, str]:
        """Decrypt these: values by name; CannotOpen. Not cached here: callers cache them with the template."""
        if sealed is None:
            return {}
        opened = self._keys.open(sealed, _place("sealed_template_secrets", subscription_id))
        return msgspec.json.decode(opened, type=dict[str, str])

    def seal_copy(self, subscription_id: UUID, copy: bytes) -> bytes:
        """Encrypt a subscription's copy for Redis, so that nobody with access to Redis can read or change it."""
        return self._keys.seal(copy, _place_of_copy(subscription_id))

    def copy(self, subscription_id: UUID, sealed: bytes) -> bytes:
        """Decrypt a subscription's copy from Redis; CannotOpen."""
        return self._keys.open(sealed, _place_of_copy(subscription_id))

    def _open(self, subscription_id: UUID, sealed: bytes) -> Secrets:
        opened = self._keys.open(sealed, _place("sealed_secrets", subscription_id))
        return Secrets(msgspec.json.decode(opened, type=list[Secret]))

    def _open_headers(self, subscription_id: UUID, sealed: bytes) -> Mapping[str, str]:
        opened = self._keys.open(sealed, _place("sealed_headers", subscription_id))
        return msgspec.json.decode(opened, type=dict[str, str])

    def _open_keys(self, subscription_id: UUID, sealed: bytes) -> Sequence[Key]:
        return [Key.of_provider(secret) for secret in self.verification_secrets(subscription_id, sealed)]


def _kept(kept: _Opened[Value], subscription_id: UUID, sealed: bytes, open_: Callable[[UUID, bytes], Value]) -> Value:
    found = kept.get(subscription_id)
    if found is not None and found[0] == sealed:
        return found[1]
    value = open_(subscription_id, sealed)
    kept.put(subscription_id, (sealed, value))
    return value


def _place(column: str, subscription_id: UUID) -> bytes:
    return PLACES[column] + subscription_id.bytes


def _place_of_copy(subscription_id: UUID) -> bytes:
    return b"copy:" + subscription_id.bytes
