"""TLS with receivers: whom a worker trusts, what a client certificate shows, and why a handshake failed."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from services.domain.secrets import client_certificates
from services.domain.secrets.vault import Vault
from services.platform.process.bounds import BoundedCache

# What OpenSSL's verdicts on a certificate mean to the endpoint's owner, by their X509_V_ERR_ codes; and its reasons.
_UNKNOWN_AUTHORITY = "it is signed by an unknown authority, or the receiver does not send an intermediate certificate"
_VERDICTS = {
    2: _UNKNOWN_AUTHORITY,
    18: "it is not signed by a certificate authority",
    19: "it is signed by an unknown authority",
    20: _UNKNOWN_AUTHORITY,
    21: _UNKNOWN_AUTHORITY,
}
_REASONS = {
    "WRONG_VERSION_NUMBER": "the receiver does not support TLS on this port",
    "UNSUPPORTED_PROTOCOL": "the receiver's version of TLS is too old",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the receiver does not accept TLS 1.2 or 1.3",
}
# How many subscriptions' contexts a worker keeps. Each takes 0.9 MB and 25 ms, because OpenSSL reads the system's
# authorities again.
KEPT = 128


def trust(ca_bundle: str = "") -> ssl.SSLContext:
    """Return TLS that verifies receivers against the system's authorities and, if given, those in a file.

    The system's authorities are what an operator keeps up to date, and what SSL_CERT_FILE replaces. Raises OSError when
    the file does not exist or contains no certificate.
    """
    tls = ssl.create_default_context()
    tls.set_alpn_protocols(["http/1.1"])
    if ca_bundle:
        tls.load_verify_locations(ca_bundle)
    return tls


def tls_reason(error: ssl.SSLError) -> str:
    """Return why TLS failed in OpenSSL's words, explained where they are not plain."""
    if isinstance(error, ssl.SSLCertVerificationError):
        said, meaning = f"the receiver's certificate: {error.verify_message}", _VERDICTS.get(error.verify_code)
    else:
        said, meaning = error.reason or str(error), _REASONS.get(error.reason)
    return f"{said} ({meaning})" if meaning else said


@dataclass(frozen=True, eq=False, slots=True)
class ClientIdentity:
    """One client certificate of one subscription. Compared by identity: connections are shared only within one."""

    tls: ssl.SSLContext


class ClientIdentities:
    """Makes identities from sealed certificates, and keeps the most recently used ones."""

    def __init__(self, vault: Vault, trust: Callable[[], ssl.SSLContext]) -> None:
        self._vault = vault
        self._trust = trust
        # With the sealed certificate each was made from: a new certificate of the same subscription is a new identity.
        self._kept: BoundedCache[UUID, tuple[bytes, ClientIdentity]] = BoundedCache(KEPT, keep_used=True)
        self._making = asyncio.Lock()

    async def of(self, subscription_id: UUID, sealed: bytes) -> ClientIdentity:
        """Return the identity of a subscription. Raises CannotOpen, or OSError (ssl.SSLError) if OpenSSL refuses it."""
        found = self._found(subscription_id, sealed)
        if found is not None:
            return found
        async with self._making:
            found = self._found(subscription_id, sealed)
            if found is None:
                pem = self._vault.client_certificate(subscription_id, sealed)
                found = ClientIdentity(await asyncio.to_thread(self._tls, pem))
                self._kept.put(subscription_id, (sealed, found))
            return found

    def _found(self, subscription_id: UUID, sealed: bytes) -> ClientIdentity | None:
        kept = self._kept.get(subscription_id)
        if kept is None or kept[0] != sealed:
            return None
        return kept[1]

    def _tls(self, pem: bytes) -> ssl.SSLContext:
        tls = self._trust()
        client_certificates.show(tls, pem)
        return tls
