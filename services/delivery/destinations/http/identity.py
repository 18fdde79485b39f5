"""Who requests say that they are: the TLS of a subscription that has a client certificate."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from services.domain.secrets import client_certificates
from services.domain.secrets.vault import Vault
from services.platform.process.bounds import BoundedCache

# Subscriptions whose TLS a worker keeps: each takes 0.9 MB, for OpenSSL reads the system's authorities anew, and 25 ms.
KEPT = 128


@dataclass(frozen=True, eq=False, slots=True)
class Identity:
    """Of one certificate of one subscription, and equal to no other: connections are kept by it."""

    tls: ssl.SSLContext


class Identities:
    """Makes them of what is sealed, the least recently used leaving first."""

    def __init__(self, vault: Vault, trust: Callable[[], ssl.SSLContext]) -> None:
        self._vault = vault
        self._trust = trust
        # What was sealed, beside what it makes: another certificate of the same subscription is another identity.
        self._kept: BoundedCache[UUID, tuple[bytes, Identity]] = BoundedCache(KEPT, keep_used=True)
        self._making = asyncio.Lock()

    async def of(self, subscription_id: UUID, sealed: bytes) -> Identity:
        """The identity of a subscription; CannotOpen, or OSError (ssl.SSLError) when it cannot be shown."""
        found = self._found(subscription_id, sealed)
        if found is not None:
            return found
        async with self._making:
            found = self._found(subscription_id, sealed)
            if found is None:
                pem = self._vault.client_certificate(subscription_id, sealed)
                found = Identity(await asyncio.to_thread(self._tls, pem))
                self._kept.put(subscription_id, (sealed, found))
            return found

    def _found(self, subscription_id: UUID, sealed: bytes) -> Identity | None:
        kept = self._kept.get(subscription_id)
        if kept is None or kept[0] != sealed:
            return None
        return kept[1]

    def _tls(self, pem: bytes) -> ssl.SSLContext:
        tls = self._trust()
        client_certificates.show(tls, pem)
        return tls
