"""What attempts make of a delivery, and the group commit that records it."""

import asyncio
from collections.abc import Sequence

import structlog

from services.delivery.worker import metrics
from services.delivery.worker.live import Live
from services.delivery.worker.store import Attempt, Claim, Outcome, WorkerStore
from services.domain.deliveries import DELIVERIES_ENDED, DUE
from services.domain.notices.operational_facts import FACTS
from services.domain.retry_policy import RetryPolicy
from services.domain.states import FINAL, AttemptOutcome, DeliveryReason, DeliveryStatus
from services.platform.process.background import QUIET_SECONDS
from services.platform.process.batching import Batcher, Bounds
from services.platform.stores.availability import is_store_away
from services.platform.stores.signals import Signals

log = structlog.get_logger(__name__)

# By the first digit of a status.
_OUTCOMES = {
    2: AttemptOutcome.SUCCESS,
    3: AttemptOutcome.HTTP_3XX,
    4: AttemptOutcome.HTTP_4XX,
    5: AttemptOutcome.HTTP_5XX,
}
OUTCOMES_PER_STATEMENT = 100
# Recording is behind the receiver's back: what comes within this time is recorded together.
PACE_SECONDS = 0.01
# While Postgres is away.
RETRY_SECONDS = 0.25


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


class Recorder:
    """Records outcomes in batches. While Postgres is away it holds them, and records them when it is back."""

    def __init__(self, store: WorkerStore, heard: Signals, *, bound: int, live: Live | None = None) -> None:
        self._store = store
        self._signals = heard
        self._live = live
        self._given_up = False
        self._batcher: Batcher[Outcome, None] = Batcher(
            "outcomes",
            self._record,
            Bounds(batch_items=OUTCOMES_PER_STATEMENT, waiting_items=bound, pace_seconds=PACE_SECONDS),
        )

    async def record(self, outcome: Outcome) -> None:
        """Return once the outcome is committed. A caller that is cancelled leaves it to be recorded all the same."""
        metrics.RECORDING.inc()
        try:
            # Tenants take turns: those of one that has many outcomes keep no retry of another one waiting.
            await self._batcher.submit(outcome, tenant=outcome.claim.tenant_id)
        finally:
            metrics.RECORDING.dec()

    async def stop(self, *, grace_seconds: float) -> None:
        """Wait until all outcomes are recorded, and give up what Postgres has not taken after the grace period."""
        try:
            async with asyncio.timeout(grace_seconds):
                await self._batcher.drained()
        except TimeoutError:
            self._given_up = True
            log.warning(
                "outcomes could not be recorded before shutdown; their deliveries are sent again when the leases expire"
            )

    async def _record(self, outcomes: Sequence[Outcome]) -> Sequence[None]:
        while True:
            try:
                changed = await self._store.record(outcomes)
                break
            except Exception as error:
                if self._given_up:
                    return [None] * len(outcomes)
                if is_store_away(error):
                    log.warning(
                        "cannot record outcomes: Postgres is unavailable", outcomes=len(outcomes), error=repr(error)
                    )
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                if len(outcomes) == 1:
                    # Its lease runs out; the bug is in the log.
                    log.exception(
                        "an outcome cannot be recorded", delivery_id=str(outcomes[0].claim.id), exc_info=error
                    )
                    return [None]
                for outcome in outcomes:
                    await self._record([outcome])
                return [None] * len(outcomes)
        for outcome in outcomes:
            status = changed.get(outcome.claim.id)
            if status is None:
                metrics.LOST.inc()
            elif status in FINAL:
                DELIVERIES_ENDED.labels(status).inc()
        self._tell(outcomes)
        return [None] * len(outcomes)

    def _tell(self, outcomes: Sequence[Outcome]) -> None:
        """Tell dispatchers of retries that are due before they look anyway, others of failures, and those who watch."""
        waits = [outcome.delay_seconds for outcome in outcomes if outcome.status not in FINAL]
        if waits and (soonest := max(0.0, min(waits))) < QUIET_SECONDS:
            self._signals.wake(DUE, soonest)
        if any(outcome.status is DeliveryStatus.FAILED for outcome in outcomes):
            self._signals.wake(FACTS)
        if self._live is not None:
            self._live.note(outcomes)
