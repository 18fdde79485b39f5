"""Webhooks over HTTP: a claim becomes a signed request, sent with the subscription's own headers and certificate."""

import contextlib
import dataclasses
import functools
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping

import structlog

from services.delivery.destinations.destination import Answer, SendError
from services.delivery.destinations.details import Trail
from services.delivery.destinations.http import request
from services.delivery.destinations.http.dialing import Proxy
from services.delivery.destinations.http.request import OutgoingRequest
from services.delivery.destinations.http.sender import HttpSender, sender
from services.delivery.destinations.http.tls import ClientIdentities, ClientIdentity, trust
from services.delivery.destinations.templates import Templates
from services.delivery.settings import WorkerSettings
from services.delivery.worker.claims import Claim
from services.domain.egress.policy import Policy
from services.domain.secrets.encryption import CannotOpen
from services.domain.secrets.vault import Vault
from services.domain.states import AttemptOutcome
from services.domain.templates.template import Rendered, TemplateFailed

log = structlog.get_logger(__name__)


class HttpDestination:
    """Renders, signs, and sends."""

    def __init__(
        self,
        vault: Vault,
        sender: HttpSender,
        trusted: Callable[[], ssl.SSLContext] = trust,
        templates: Templates | None = None,
    ) -> None:
        self._vault = vault
        self._templates = templates
        self._sender = sender
        self._identities = ClientIdentities(vault, trusted)

    async def send(
        self,
        claim: Claim,
        payload: bytes,
        *,
        timeout_seconds: float,
        fresh: bool = False,
        repeated: bool = False,
        trace: str | None = None,
        trail: Trail | None = None,
    ) -> Answer:
        """See Destination."""
        identity = await self._identity(claim) if claim.sealed_client_certificate is not None else None
        made = await self._rendered(claim, payload) if claim.template_version is not None else None
        outgoing = self._signed(claim, payload, identity, trace, made, repeated=repeated)
        return await self._sender.send(outgoing, timeout_seconds=timeout_seconds, fresh=fresh, trail=trail)

    async def ask(self, claim: Claim, headers: Mapping[str, str], *, timeout_seconds: float, trail: Trail) -> Answer:
        """See Destination."""
        identity = await self._identity(claim) if claim.sealed_client_certificate is not None else None
        made = self._signed(claim, b"", identity, None, repeated=False)
        asking = dataclasses.replace(made, method="OPTIONS", headers=made.headers | dict(headers))
        return await self._sender.send(asking, timeout_seconds=timeout_seconds, fresh=True, trail=trail)

    async def _identity(self, claim: Claim) -> ClientIdentity:
        try:
            return await self._identities.of(claim.subscription_id, claim.sealed_client_certificate or b"")
        except CannotOpen as error:
            raise _unreadable(claim, "client certificate", error) from None
        except OSError as error:
            why = error.reason if isinstance(error, ssl.SSLError) else error
            message = f"the subscription's client certificate cannot be used: {why}; nothing was sent"
            raise SendError(AttemptOutcome.TLS, message) from None

    async def _rendered(self, claim: Claim, payload: bytes) -> Rendered | None:
        """Return what is sent in place of a payload; None if that is sent as it is."""
        assert self._templates is not None
        try:
            return await self._templates.rendered(claim, payload)
        except CannotOpen as error:
            raise _unreadable(claim, "template secrets", error) from None
        except TemplateFailed as failed:
            raise SendError(
                AttemptOutcome.TEMPLATE_FAILED, f"the template failed: {failed}; nothing was sent"
            ) from None

    def _signed(
        self,
        claim: Claim,
        payload: bytes,
        identity: ClientIdentity | None,
        trace: str | None,
        made: Rendered | None = None,
        *,
        repeated: bool,
    ) -> OutgoingRequest:
        """Return the request, signed with the secrets that were valid at the claim."""
        try:
            secrets = self._vault.secrets(claim.subscription_id, claim.sealed_secrets)
            own = self._vault.headers(claim.subscription_id, claim.sealed_headers)
        except CannotOpen as error:
            raise _unreadable(claim, "signing secret or headers", error) from None
        signers = secrets.signers(claim.claimed_at)
        unix_seconds = int(claim.at(time.monotonic()).timestamp())
        return request.build(
            claim, signers, own, payload, unix_seconds, repeated=repeated, identity=identity, trace=trace, made=made
        )


def _unreadable(claim: Claim, what: str, error: CannotOpen) -> SendError:
    log.error(
        "a secret of a subscription cannot be decrypted; nothing is sent",
        secret=what,
        subscription_id=str(claim.subscription_id),
        delivery_id=str(claim.id),
        reason=str(error),
    )
    message = f"the subscription's {what} cannot be decrypted; nothing was sent"
    return SendError(AttemptOutcome.SECRET_UNREADABLE, message)


@contextlib.asynccontextmanager
async def opened(
    settings: WorkerSettings, policy: Policy, vault: Vault, templates: Templates
) -> AsyncIterator[HttpDestination]:
    """Open the destination; its connections are closed with the context."""
    trusted = functools.partial(trust, settings.egress_ca_bundle)
    async with sender(
        policy,
        max_response_bytes=settings.max_response_bytes,
        wanted_bytes=settings.stored_response_bytes,
        tls=trusted(),
        proxy=Proxy.parse(settings.egress_proxy) if settings.egress_proxy else None,
    ) as made:
        yield HttpDestination(vault, made, trusted, templates)
