"""The requests that consumers pull: as they would be sent to a target, signatures included."""

import time

import structlog

from protos.webhook.v1 import deliveries_pb2 as pb
from services.delivery.destinations.http import request
from services.delivery.destinations.pull.store import Pulled
from services.delivery.destinations.templates import Templates
from services.delivery.worker.claims import Claim
from services.domain.secrets.vault import Vault
from services.domain.templates.template import Rendered
from services.platform import errors
from services.platform.grpc import conversion
from services.platform.tracing.spans import Kind, Tracer, Value

log = structlog.get_logger(__name__)

SPAN = "webhook pull"


class Requests:
    """Renders and signs what is pulled. `tracer` is set if consumers are to see the trace of an event."""

    def __init__(
        self, tracer: Tracer | None = None, vault: Vault | None = None, templates: Templates | None = None
    ) -> None:
        # None until the keys are known.
        self.vault = vault
        self.templates = templates
        self._tracer = tracer

    def check(self) -> None:
        """Raise Unavailable while nothing can be signed."""
        if self.vault is None:
            raise errors.Unavailable("the encryption keys have not been checked against the database yet; try again")

    async def rendered(self, claim: Claim, payload: bytes) -> Rendered | None:
        """Return what the subscription's template makes of a payload; None if it has none. Raise as Templates does."""
        if claim.template_version is None:
            return None
        assert self.templates is not None
        return await self.templates.rendered(claim, payload)

    def of(self, pulled: Pulled, payload: bytes, made: Rendered | None = None) -> pb.PulledDelivery:
        """Return a delivery as its consumer gets it, with what was `made` of its payload; raise CannotOpen."""
        self.check()
        assert self.vault is not None
        claim = pulled.claim
        secrets = self.vault.secrets(claim.subscription_id, claim.sealed_secrets)
        own = self.vault.headers(claim.subscription_id, claim.sealed_headers)
        unix_seconds = int(claim.at(time.monotonic()).timestamp())
        built = request.build(
            claim, secrets.signers(claim.claimed_at), own, payload, unix_seconds, trace=self._trace(claim), made=made
        )
        return pb.PulledDelivery(
            id=str(claim.id),
            event_id=str(claim.event_id),
            event_type=claim.event_type or "",
            attempt=claim.number,
            lease_token=str(claim.token),
            lease_expires_at=conversion.stamp(pulled.lease_until),
            headers=built.headers,
            payload=built.body,
        )

    def _trace(self, claim: Claim) -> str | None:
        """Return what the consumer continues the trace of the event by, if it is traced: the span of its pull."""
        if self._tracer is None or claim.traceparent is None:
            return None
        attributes: dict[str, Value] = {
            "webhook.delivery.id": str(claim.id),
            "webhook.event.id": str(claim.event_id),
            "webhook.subscription.id": str(claim.subscription_id),
            "webhook.attempt.number": claim.number,
        }
        span = self._tracer.follow(SPAN, Kind.PRODUCER, claim.traceparent, attributes)
        if span is None:
            return None
        span.end()
        return span.traceparent
