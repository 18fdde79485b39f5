"""The group commit that records what attempts make of deliveries."""

import asyncio
from collections.abc import Sequence

import structlog

from services.delivery.worker import decisions, metrics
from services.delivery.worker.claims import Outcome
from services.delivery.worker.live import Live
from services.delivery.worker.store import WorkerStore
from services.platform.process.batching import Batcher, Bounds
from services.platform.stores.availability import is_store_away
from services.platform.stores.signals import Signals

log = structlog.get_logger(__name__)

OUTCOMES_PER_STATEMENT = 100
# Recording is behind the receiver's back: what comes within this time is recorded together.
PACE_SECONDS = 0.01
# While Postgres is away.
RETRY_SECONDS = 0.25


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
        decisions.count_ended(changed.values())
        decisions.tell(self._signals, outcomes)
        if self._live is not None:
            self._live.note(outcomes)
        return [None] * len(outcomes)
