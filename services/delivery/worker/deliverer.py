"""One delivery: from its claim to the outcome of its attempt."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from services.delivery.destinations import destination
from services.delivery.destinations.destination import Answer, SendError
from services.delivery.destinations.details import Trail, masked_address
from services.delivery.destinations.registry import Destinations
from services.delivery.settings import RECORDING_SECONDS, WorkerSettings
from services.delivery.worker import decisions, metrics
from services.delivery.worker.claims import Attempt, Claim, Outcome
from services.delivery.worker.shares import TIMES
from services.delivery.worker.store import WorkerStore
from services.domain import retry_policy
from services.domain.egress import targets
from services.domain.notices.activity import Activity
from services.domain.states import AttemptOutcome, DeliveryReason, DeliveryStatus
from services.platform import clock
from services.platform.process.shares import WeightOf, same_weight
from services.platform.tracing import spans
from services.platform.tracing.spans import Kind, Span, Tracer, Value

log = structlog.get_logger(__name__)

# Too Many Requests, Service Unavailable: what Retry-After is looked at with.
_UNWILLING = frozenset({429, 503})
_REDIRECTS = range(300, 400)
MAX_LOCATION_CHARACTERS = 300
SPAN = "webhook attempt"


class Budget:
    """A limit of bytes in use at once. A holder waits for bytes that are not free, and gets the limit at most.

    Holders without any bytes are served in order. A holder that has some gets more only while enough stays free for
    its weight (shares.py), and delays no other holder while it waits.
    """

    def __init__(self, limit_bytes: int, weight_of: WeightOf = same_weight) -> None:
        self._weight_of = weight_of
        self._limit = limit_bytes
        self._left = limit_bytes
        self._held: Counter[str] = Counter()
        # The longest waiting first.
        self._waiting: dict[asyncio.Future[None], tuple[str, int]] = {}

    @contextlib.asynccontextmanager
    async def spend(self, holder: str, size_bytes: int) -> AsyncIterator[None]:
        """Hold so many bytes of the budget."""
        size = min(size_bytes, self._limit)
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[granted] = holder, size
        self._grant()
        try:
            await granted
            yield
        finally:
            if granted.done() and not granted.cancelled():
                self._give_back(holder, size)
            else:
                self._waiting.pop(granted, None)
            self._grant()

    def _grant(self) -> None:
        """Give those that wait what they may have; as long as there is too little for one that holds none, no other."""
        waiting = tuple(self._waiting.items())
        for granted, (holder, size) in waiting:
            if not self._held[holder]:
                if size > self._left:
                    return
                self._give(granted, holder, size)
        for granted, (holder, size) in waiting:
            if granted not in self._waiting:
                continue
            if self._held[holder] <= TIMES * self._weight_of(holder) * (self._left - size):
                self._give(granted, holder, size)

    def _give(self, granted: asyncio.Future[None], holder: str, size: int) -> None:
        del self._waiting[granted]
        if not granted.done():
            self._left -= size
            self._held[holder] += size
            granted.set_result(None)

    def _give_back(self, holder: str, size: int) -> None:
        self._left += size
        self._held[holder] -= size
        if not self._held[holder]:
            del self._held[holder]


@dataclass(kw_only=True, slots=True)
class Held:
    """A claim in a worker's hands. `lease_until` is on the monotonic clock, and moves when the lease is renewed."""

    claim: Claim
    lease_until: float
    # When the request that is out began, on the monotonic clock: the receiver may have got it.
    sending_since: float | None = None
    # Of the requests that ended.
    attempts: list[Attempt] = field(default_factory=list)
    # The delay that the receiver asked for in the last of them.
    retry_after_seconds: float = 0.0


class ClaimLost(Exception):
    """The lease ran out and could not be renewed: somebody else may have the delivery."""


class Deliverer:
    """Sends, and decides."""

    def __init__(
        self,
        store: WorkerStore,
        destinations: Destinations,
        settings: WorkerSettings,
        tracer: Tracer | None = None,
        activity: Activity | None = None,
        weight_of: WeightOf = same_weight,
    ) -> None:
        self._store = store
        self._destinations = destinations
        self._policy = settings.retry_policy
        self._retry_after_cap_seconds = settings.retry_after_cap_seconds
        self._timeout_seconds = settings.delivery_timeout_seconds
        self._lease_seconds = settings.lease_seconds
        self._stored_bytes = settings.stored_response_bytes
        # Of which attempts the details are recorded.
        self._details_of_failures = settings.record_attempt_details != "none"
        self._details_of_successes = settings.record_attempt_details == "all"
        self._large_payloads = Budget(settings.large_payload_budget_bytes, weight_of)
        for outcome in AttemptOutcome:  # at 0 from the start, so that shares and rates of each are right
            metrics.ATTEMPTS.labels(outcome)
        self._tracer = tracer
        self._activity = activity
        self._tells_receivers = settings.tracing_to_receivers

    async def deliver(self, held: Held) -> Outcome:
        """Make the attempt of a claim. Raise ClaimLost before anything is sent, or what the store raises."""
        claim = held.claim
        if claim.deleted:
            return Outcome(claim=claim, status=DeliveryStatus.CANCELLED, reason=DeliveryReason.SUBSCRIPTION_DELETED)
        if claim.expired:
            return Outcome(claim=claim, status=DeliveryStatus.FAILED, reason=DeliveryReason.EXPIRED)
        async with self._payload(claim) as payload:
            if payload is None:
                return decisions.without_payload(claim)
            await self._hold(held)
            if await self._attempt(held, payload):
                await self._attempt(held, payload, fresh=True)
            policy = retry_policy.stored(claim.retry_policy, self._policy) if claim.retry_policy else self._policy
            outcome = decisions.decide(claim, held.attempts, policy, retry_after_seconds=held.retry_after_seconds)
            if self._activity is not None:
                _tell(self._activity, outcome)
            return outcome

    def interrupted(self, held: Held) -> Outcome:
        """Return the outcome of a delivery that is handed back; if it was being sent, it may have arrived."""
        started = held.sending_since
        if started is None:
            return Outcome(claim=held.claim, status=DeliveryStatus.PENDING, attempts=held.attempts)
        attempt = Attempt(
            started_at=held.claim.at(started),
            duration_ms=round((time.monotonic() - started) * 1000),
            status_code=None,
            outcome=AttemptOutcome.INTERRUPTED,
            error_message="the worker stopped before the receiver responded",
            response_body=None,
        )
        metrics.ATTEMPTS.labels(AttemptOutcome.INTERRUPTED).inc()
        return Outcome(claim=held.claim, status=DeliveryStatus.PENDING, attempts=[*held.attempts, attempt])

    @contextlib.asynccontextmanager
    async def _payload(self, claim: Claim) -> AsyncIterator[bytes | None]:
        """Yield the payload: from the claim or, if it is large, read now within the byte budget."""
        if claim.payload is not None or claim.payload_bytes is None:
            yield claim.payload
            return
        async with self._large_payloads.spend(claim.tenant_id, claim.payload_bytes):
            yield await self._store.payload(claim.event_id, claim.payload_bytes)

    def _timeout_of(self, claim: Claim) -> float:
        asked = self._timeout_seconds if claim.timeout_seconds is None else claim.timeout_seconds
        return asked + clock.extra_seconds(claim.payload_bytes or 0)

    async def _hold(self, held: Held) -> None:
        """See to it that the lease outlasts the request and its recording, or is whole if it never can."""
        needed = time.monotonic() + self._timeout_of(held.claim) + RECORDING_SECONDS
        if held.lease_until >= needed:
            return
        asked_at = time.monotonic()
        if held.claim.id not in await self._store.renew([held.claim]):
            raise ClaimLost
        held.lease_until = asked_at + self._lease_seconds

    async def _attempt(self, held: Held, payload: bytes, *, fresh: bool = False) -> bool:
        """Send one request; return whether to retry at once, because a reused connection was already closed."""
        claim = held.claim
        started = held.sending_since = time.monotonic()
        # A second request must end within the first one's lease, and every request within a lease that is too short.
        timeout_seconds = min(self._timeout_of(claim), held.lease_until - RECORDING_SECONDS - started)
        again = False
        answer: Answer | None = None
        failure: SendError | None = None
        trail = Trail() if self._details_of_failures else None
        span = _begin_span(self._tracer, claim, claim.number + len(held.attempts))
        try:
            trace = span.traceparent if span is not None and self._tells_receivers else None
            answer = await self._destinations.of(claim).send(
                claim,
                payload,
                timeout_seconds=timeout_seconds,
                fresh=fresh,
                repeated=fresh,
                trace=trace,
                trail=trail,
            )
        except SendError as error:
            failure, again = error, error.reused and not fresh
        except BaseException:
            if span is not None:
                span.end(error=AttemptOutcome.INTERRUPTED)
            raise
        ended = time.monotonic()
        if answer is not None and not self._details_of_successes and decisions.is_success(answer.status_code):
            trail = None
        attempt = described(claim, started, ended, answer, failure, trail, stored_bytes=self._stored_bytes)
        held.sending_since = None
        held.attempts.append(attempt)
        if span is not None:
            _end_span(span, attempt)
        held.retry_after_seconds = 0.0 if answer is None else self._retry_after(answer, claim.at(ended))
        metrics.ATTEMPTS.labels(attempt.outcome).inc()
        metrics.ATTEMPT_SECONDS.observe(ended - started)
        if attempt.outcome == AttemptOutcome.SUCCESS:
            metrics.END_TO_END_SECONDS.observe((claim.at(ended) - claim.created_at).total_seconds())
        return again

    def _retry_after(self, answer: Answer, now: datetime) -> float:
        if answer.retry_after is None or answer.status_code not in _UNWILLING:
            return 0.0
        return min(destination.retry_after_seconds(answer.retry_after, now), self._retry_after_cap_seconds)


def described(
    claim: Claim,
    started: float,
    ended: float,
    answer: Answer | None,
    failure: SendError | None,
    trail: Trail | None,
    *,
    stored_bytes: int,
) -> Attempt:
    """Return the attempt to record of a request that ended with an answer or a failure; its details are in `trail`."""
    if answer is not None:
        outcome = decisions.outcome_of_status(answer.status_code)
        message = None if outcome == AttemptOutcome.SUCCESS else _refusal(answer)
        status_code: int | None = answer.status_code
        body = destination.body_text(answer.body, stored_bytes)
    else:
        outcome = failure.kind if failure else AttemptOutcome.INVALID_RESPONSE
        message, body = failure.message if failure else "", None
        status_code = failure.status_code if failure else None
    return Attempt(
        started_at=claim.at(started),
        duration_ms=round((ended - started) * 1000),
        status_code=status_code,
        outcome=outcome,
        error_message=message and destination.message_text(message),
        response_body=body,
        details=trail.encoded() if trail is not None else None,
    )


def _refusal(answer: Answer) -> str:
    """Return what a receiver answered, with the place that a redirect points to."""
    said = f"the receiver responded with {answer.status_code}"
    if answer.status_code not in _REDIRECTS or not answer.location:
        return said
    place = destination.header_text(answer.location, MAX_LOCATION_CHARACTERS)
    return f"{said} and points to {masked_address(place)}; redirects are not followed"


def _tell(activity: Activity, outcome: Outcome) -> None:
    """Say which attempts failed, and what comes next."""
    claim = outcome.claim
    for attempt in outcome.attempts:
        if attempt.outcome == AttemptOutcome.SUCCESS:
            continue
        if attempt is not outcome.attempts[-1]:
            next_one = "tried again at once"
        elif outcome.status is DeliveryStatus.SCHEDULED:
            next_one = f"next in {outcome.delay_seconds:.1f} s"
        else:
            next_one = "given up"
        activity.say(
            "an attempt of delivery %s to %s failed: %s, %s; %s",
            claim.id,
            targets.host_of(claim.target_url),
            attempt.outcome,
            attempt.error_message,
            next_one,
        )


def _begin_span(tracer: Tracer | None, claim: Claim, number: int) -> Span | None:
    """Begin the span of an attempt if its event is traced: a child of the one in which the event was accepted.

    What its task logs from now on belongs to it. Of the target it shows only the host: paths and queries hold tokens.
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
    span = tracer.follow(SPAN, Kind.CLIENT, claim.traceparent, attributes)
    spans.CURRENT.set(span)
    return span


def _end_span(span: Span, attempt: Attempt) -> None:
    if attempt.status_code is not None:
        span.set({"http.response.status_code": attempt.status_code})
    span.end(error="" if attempt.outcome == AttemptOutcome.SUCCESS else attempt.outcome)
