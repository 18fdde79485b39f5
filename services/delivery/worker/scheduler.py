"""The worker's bounded scheduler: it holds ids, and claims them in batches as slots become free."""

import asyncio
import time
from collections.abc import Sequence
from uuid import UUID

import structlog

from services.common import deliveries, errors, postgres
from services.delivery.settings import WorkerSettings
from services.delivery.worker import metrics
from services.delivery.worker.deliverer import ClaimLost, Deliverer, Held
from services.delivery.worker.outcomes import Recorder
from services.delivery.worker.store import Store

log = structlog.get_logger(__name__)

# The cheapest number of ids of a claiming statement.
IDS_PER_CLAIM = 100
# After Postgres failed a claim.
PAUSE_SECONDS = 0.25
# Of the grace period, what is kept for recording what was handed back.
HAND_BACK_SECONDS = 1.5


class Scheduler:
    """Slots are requests in flight. No wait for a receiver's turn, a lease or a store ever holds one."""

    def __init__(self, store: Store, deliverer: Deliverer, recorder: Recorder, settings: WorkerSettings) -> None:
        self._store = store
        self._deliverer = deliverer
        self._recorder = recorder
        self._slots = settings.worker_concurrency
        self._lease_seconds = settings.lease_seconds
        self._max_waiting = max(IDS_PER_CLAIM, settings.worker_concurrency)
        # Outcomes that wait for Postgres hold no slot, but bound what is claimed.
        self._max_held = 4 * settings.worker_concurrency
        self._waiting: dict[UUID, None] = {}
        self._held: dict[UUID, Held] = {}
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._busy = 0
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._stopping = False
        # Asked once: a log line per delivery costs its ids as text even where it is not written.
        self._debugging = settings.log_level == "debug"
        metrics.CONCURRENCY.set(self._slots)

    async def offer(self, delivery_ids: Sequence[UUID], *, source: str) -> None:
        """Takes ids in; waits while it holds enough, unless it stops and hands them back."""
        metrics.IDS_HEARD.labels(source).inc(len(delivery_ids))
        while len(self._waiting) >= self._max_waiting and not self._stopping:
            self._room.clear()
            await self._room.wait()
        new = [delivery_id for delivery_id in delivery_ids if delivery_id not in self._held]
        self._waiting.update(dict.fromkeys(new))
        metrics.STALE.inc(len(delivery_ids) - len(new))
        metrics.WAITING.set(len(self._waiting))
        self._work.set()

    @property
    def has_room(self) -> bool:
        """Whether an offer would be taken at once."""
        return len(self._waiting) < self._max_waiting

    async def run(self) -> None:
        """Claims what waits, until stop_claiming()."""
        while not self._stopping:
            if not self._can_claim():
                self._work.clear()
                await self._work.wait()
                continue
            batch = self._next_batch()
            try:
                claims = await self._store.claim(batch)
            except Exception as error:
                if errors.classify(error) is None:
                    log.exception("a claim failed on a bug")
                else:
                    log.warning("claims wait for Postgres", error=repr(error))
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            metrics.CLAIMED.inc(len(claims))
            metrics.STALE.inc(len(batch) - len(claims))
            for claim in claims:
                held = Held(claim=claim, lease_until=claim.claimed_monotonic + self._lease_seconds)
                self._held[claim.id] = held
                # Rung again meanwhile: a second claim beside this one, after its lease, would be confused with it.
                self._waiting.pop(claim.id, None)
                self._busy += 1
                self._tasks[claim.id] = asyncio.create_task(self._deliver(held), name="delivery")
            metrics.BUSY.set(self._busy)

    async def renew_leases(self) -> None:
        """Renews the leases of what is held and has used up half of its own, for ever."""
        while True:
            await asyncio.sleep(self._lease_seconds / 6)
            now = time.monotonic()
            due = [held for held in self._held.values() if held.lease_until - now < self._lease_seconds / 2]
            for start in range(0, len(due), IDS_PER_CLAIM):
                await self._renew(due[start : start + IDS_PER_CLAIM])

    def stop_claiming(self) -> None:
        """Lets run() end after the claim in flight: a claim that is cut would hold until its lease runs out."""
        self._stopping = True
        self._work.set()
        self._room.set()

    async def stop(self, pool: postgres.Pool, *, grace_seconds: float, unheard: Sequence[UUID]) -> None:
        """Finishes what is in flight within the grace period and hands the rest back at once."""
        waiting = [*self._waiting, *unheard]
        self._waiting.clear()
        if waiting:
            try:
                await deliveries.mark_due(pool, waiting)
            except errors.STORE_AWAY:
                log.warning("ids could not be handed back; they are due in a few seconds", deliveries=len(waiting))
        if self._tasks:
            await asyncio.wait(tuple(self._tasks.values()), timeout=max(0, grace_seconds - HAND_BACK_SECONDS))
        cut = tuple(self._tasks.values())
        for task in cut:
            task.cancel()
        if cut:
            log.warning("requests were cut by the stop; their deliveries are handed back", deliveries=len(cut))
            await asyncio.wait(cut, timeout=HAND_BACK_SECONDS)

    def _can_claim(self) -> bool:
        return bool(self._waiting) and self._busy < self._slots and len(self._held) < self._max_held

    def _next_batch(self) -> list[UUID]:
        number = min(IDS_PER_CLAIM, self._slots - self._busy, len(self._waiting))
        batch = [delivery_id for delivery_id, _ in zip(self._waiting, range(number), strict=False)]
        for delivery_id in batch:
            del self._waiting[delivery_id]
        metrics.WAITING.set(len(self._waiting))
        self._room.set()
        return batch

    async def _deliver(self, held: Held) -> None:
        claim = held.claim
        try:
            try:
                outcome = await self._deliverer.deliver(held)
            except (asyncio.CancelledError, *errors.STORE_AWAY):
                # Stopped; or Postgres went away before anything was sent: handed back as soon as that can be recorded.
                outcome = self._deliverer.interrupted(held)
            finally:
                self._busy -= 1
                metrics.BUSY.set(self._busy)
                self._work.set()
            if self._debugging:
                log.debug("attempt", delivery_id=str(claim.id), event_id=str(claim.event_id), status=outcome.status)
            await self._recorder.record(outcome)
        except ClaimLost:
            metrics.LOST.inc()
        except Exception as error:
            if errors.classify(error) is None:
                log.exception("a delivery failed on a bug", delivery_id=str(claim.id), event_id=str(claim.event_id))
        finally:
            del self._held[claim.id]
            del self._tasks[claim.id]
            self._work.set()

    async def _renew(self, due: Sequence[Held]) -> None:
        asked_at = time.monotonic()
        try:
            still_held = await self._store.renew([held.claim for held in due])
        except Exception as error:
            if errors.classify(error) is None:
                log.exception("leases could not be renewed on a bug")
            return
        for held in due:
            if held.claim.id in still_held:
                held.lease_until = asked_at + self._lease_seconds
                metrics.RENEWED.inc()
