"""The dispatcher: rings for what is due in Postgres and not in hand, in turns among subscriptions.

Retries that came due, lost doorbells, expired leases, expired deliveries, deliveries of deleted
subscriptions: all are found by looking at the rows, so nothing is lost with a message or a process.
"""

import asyncio
import time

import structlog

from services.delivery.dispatcher import metrics
from services.delivery.dispatcher.store import DispatcherStore, Walk
from services.delivery.dispatcher.turns import Turns
from services.domain import doorbell
from services.domain.deliveries import DELIVERIES_ENDED
from services.domain.states import DeliveryStatus
from services.platform.process import background
from services.platform.stores.redis import REDIS_AWAY

log = structlog.get_logger(__name__)

# Between turns that found little, and between those that left something behind.
IDLE_SECONDS = 0.25
BUSY_SECONDS = 0.02
# A turn takes so many deliveries at most, and of each subscription its even share.
DELIVERIES_PER_TURN = 2_048
LEASES_PER_SUBSCRIPTION = 500
# After Postgres was away workers record first what they hold, before any lease is taken for lost.
GUARD_SECONDS = 10.0
RETRY_SECONDS = 0.2


class Dispatcher:
    """One of any number of copies."""

    def __init__(self, store: DispatcherStore, turns: Turns, ringer: doorbell.Ringer, broker: doorbell.Broker) -> None:
        self._store = store
        self._turns = turns
        self._ringer = ringer
        self._broker = broker
        self._leases_guarded_until = time.monotonic()
        self._last_turn_at = time.monotonic()

    async def run(self) -> None:
        """Take turns until cancelled."""
        await background.repeat(
            self._timed_turn, interval_seconds=IDLE_SECONDS, retry_seconds=RETRY_SECONDS, on_error=self._guard_leases
        )

    def _guard_leases(self) -> None:
        self._leases_guarded_until = time.monotonic() + GUARD_SECONDS

    async def _timed_turn(self) -> float:
        started = time.monotonic()
        pause_seconds = await self._turn()
        ended = self._last_turn_at = time.monotonic()
        metrics.TURN_SECONDS.observe(ended - started)
        metrics.LAST_TURN.set_to_current_time()
        # A walk over many subscriptions takes its time: it gets no more than a third of it.
        return max(pause_seconds, 2 * (ended - started))

    async def check(self) -> None:
        """Raise when turns no longer end; a readiness check."""
        silent_seconds = time.monotonic() - self._last_turn_at
        if silent_seconds > GUARD_SECONDS:
            message = f"no pass has completed for {silent_seconds:.0f} s"
            raise RuntimeError(message)

    async def _turn(self) -> float:
        """One turn; the seconds until the next."""
        walk = await self._store.walk()
        if walk.deleted:
            await self._store.cancel_deleted(walk.deleted)
        leases = 0
        if walk.in_flight and time.monotonic() >= self._leases_guarded_until:
            leases = await self._expire_leases(walk)
        pause_seconds = await self._ring_due(walk)
        return BUSY_SECONDS if leases else pause_seconds

    async def _expire_leases(self, walk: Walk) -> int:
        expired, failed = await self._store.expire_leases(walk.in_flight, per_subscription=LEASES_PER_SUBSCRIPTION)
        if expired:
            metrics.LEASES_EXPIRED.inc(expired)
            DELIVERIES_ENDED.labels(DeliveryStatus.FAILED).inc(failed)
            log.warning("leases expired; their deliveries are due again", leases=expired, failed=failed)
        return expired

    async def _ring_due(self, walk: Walk) -> float:
        if not walk.waiting or not await self._may_ring():
            return IDLE_SECONDS
        taken = await self._turns.take(DELIVERIES_PER_TURN, walk)
        if taken.expired:
            DELIVERIES_ENDED.labels(DeliveryStatus.FAILED).inc(taken.expired)
        if taken.rung:
            metrics.DISPATCHED.inc(len(taken.rung))
            self._ringer.ring(taken.rung)
        if taken.more or taken.rung:
            return BUSY_SECONDS
        wait_seconds = IDLE_SECONDS if taken.wait_seconds is None else taken.wait_seconds
        return min(IDLE_SECONDS, max(BUSY_SECONDS, wait_seconds))

    async def _may_ring(self) -> bool:
        """Whether bells would be heard: without Redis workers look for themselves, over a full stream they are busy."""
        try:
            async with asyncio.timeout(doorbell.RING_TIMEOUT_SECONDS):
                return await self._broker.measure() < doorbell.LOW_WATER_MESSAGES
        except REDIS_AWAY:
            return False
