"""What the attempts of a worker or a consumer make of a delivery."""

from collections.abc import Iterable, Sequence

from services.delivery.worker.claims import Attempt, Claim, Outcome
from services.domain.deliveries import DELIVERIES_ENDED, DUE
from services.domain.notices.operational_facts import FACTS
from services.domain.retry_policy import RetryPolicy
from services.domain.states import FINAL, AttemptOutcome, DeliveryReason, DeliveryStatus
from services.platform.process.background import QUIET_SECONDS
from services.platform.stores.signals import Signals

# By the first digit of a status.
_OUTCOMES = {
    2: AttemptOutcome.SUCCESS,
    3: AttemptOutcome.HTTP_3XX,
    4: AttemptOutcome.HTTP_4XX,
    5: AttemptOutcome.HTTP_5XX,
}


def outcome_of_status(status_code: int) -> AttemptOutcome:
    """Return the outcome of an HTTP status."""
    return _OUTCOMES.get(status_code // 100, AttemptOutcome.INVALID_RESPONSE)


def is_success(status_code: int) -> bool:
    """Return whether a receiver has accepted what was sent."""
    return outcome_of_status(status_code) is AttemptOutcome.SUCCESS


def decide(
    claim: Claim, attempts: Sequence[Attempt], policy: RetryPolicy, *, retry_after_seconds: float = 0.0
) -> Outcome:
    """Delivered on success; else a retry, or failed when the retries are used up.

    The receiver may ask for a longer delay than the policy's, never for a shorter one or for another retry.
    """
    if attempts[-1].outcome == AttemptOutcome.SUCCESS:
        return Outcome(claim=claim, status=DeliveryStatus.DELIVERED, attempts=attempts)
    delay_seconds = policy.delay_seconds(claim.failures + 1)
    if delay_seconds is None:
        return Outcome(
            claim=claim,
            status=DeliveryStatus.FAILED,
            reason=DeliveryReason.RETRIES_EXHAUSTED,
            failures=1,
            attempts=attempts,
        )
    delay_seconds = max(delay_seconds, retry_after_seconds)
    return Outcome(
        claim=claim, status=DeliveryStatus.SCHEDULED, delay_seconds=delay_seconds, failures=1, attempts=attempts
    )


def without_payload(claim: Claim) -> Outcome:
    """Return the outcome of a delivery without payload.

    While it is unfinished its day is retained, so a payload that was there a moment ago was erased.
    """
    if claim.erased or claim.payload_bytes is not None:
        return Outcome(claim=claim, status=DeliveryStatus.CANCELLED, reason=DeliveryReason.ERASED)
    return Outcome(claim=claim, status=DeliveryStatus.FAILED, reason=DeliveryReason.PAYLOAD_GONE)


def count_ended(statuses: Iterable[DeliveryStatus]) -> None:
    """Count the deliveries that have ended."""
    for status in statuses:
        if status in FINAL:
            DELIVERIES_ENDED.labels(status).inc()


def tell(heard: Signals, outcomes: Sequence[Outcome]) -> None:
    """Tell dispatchers of retries that are due before they look anyway, and others of deliveries that failed."""
    waits = [outcome.delay_seconds for outcome in outcomes if outcome.status not in FINAL]
    if waits and (soonest := max(0.0, min(waits))) < QUIET_SECONDS:
        heard.wake(DUE, soonest)
    if any(outcome.status is DeliveryStatus.FAILED for outcome in outcomes):
        heard.wake(FACTS)
