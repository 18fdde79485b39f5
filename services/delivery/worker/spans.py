"""The spans of attempts: children of the one in which their event was accepted, retries hours later too."""

import time

from services.delivery.worker.store import INTERRUPTED, SUCCESS, Attempt, Claim
from services.domain.egress import targets
from services.platform.tracing import spans
from services.platform.tracing.spans import Kind, Span, Value
from services.platform.tracing.tracer import Tracer

NAME = "webhook attempt"


def begin(tracer: Tracer | None, claim: Claim, number: int) -> Span | None:
    """Begins the span of an attempt, if its event is traced; what its task logs from now on belongs to it.

    Of the target it says the host alone: paths and queries hold tokens.
    """
    if tracer is None or claim.traceparent is None:
        return None
    now = time.monotonic()
    attributes: dict[str, Value] = {
        "http.request.method": "POST",
        "server.address": targets.host_of(claim.target_url),
        "webhook.delivery.id": str(claim.id),
        "webhook.event.id": str(claim.event_id),
        "webhook.subscription.id": str(claim.subscription_id),
        "webhook.attempt.number": number,
        # In this worker, for the payload or a lease.
        "webhook.attempt.claimed_seconds": round(now - claim.claimed_monotonic, 6),
    }
    if number == 1:
        attributes["webhook.attempt.waited_seconds"] = (claim.at(now) - claim.created_at).total_seconds()
    span = tracer.follow(NAME, Kind.CLIENT, claim.traceparent, attributes)
    spans.CURRENT.set(span)
    return span


def end(span: Span, attempt: Attempt) -> None:
    """Ends it with the outcome."""
    if attempt.status_code is not None:
        span.set({"http.response.status_code": attempt.status_code})
    span.end(error="" if attempt.outcome == SUCCESS else attempt.outcome)


def interrupt(span: Span) -> None:
    """Ends it when nobody will know what became of the request."""
    span.end(error=INTERRUPTED)
