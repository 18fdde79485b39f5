"""The dispatcher: rings for what is due in Postgres and not in hand, in turns among tenants and their subscriptions.

Retries that came due, lost doorbells, expired leases, expired deliveries, deliveries of deleted
subscriptions: all are found by looking at the rows, so nothing is lost with a message or a process.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any
from uuid import UUID

import structlog

from services.delivery.dispatcher import metrics
from services.delivery.dispatcher.store import DispatcherStore
from services.delivery.dispatcher.sweeper import SWEEP_SECONDS, Leases
from services.delivery.dispatcher.turns import Taken, Turns
from services.domain import doorbell
from services.domain.deliveries import DELIVERIES_ENDED, DUE
from services.domain.states import DeliveryStatus
from services.platform.process import background
from services.platform.stores.redis import REDIS_AWAY
from services.platform.stores.signals import Signals

log = structlog.get_logger(__name__)

# Between turns that found little, between those that left something behind, before full streams are looked at, and at
# least before a turn that somebody asked for. Where nothing is due, the next turn is when something will be, or in a
# few seconds: all who make something due say so, but what they say may be lost. While it cannot be heard, turns and
# sweeps follow each other as if little was found.
IDLE_SECONDS = 0.125
BUSY_SECONDS = 0.02
FULL_SECONDS = 0.05
ASKED_SECONDS = 0.05
# Between turns of tenants with little due, while workers have enough of the backlog.
PROMPT_SECONDS = 0.1
# Between looks at the streams while bells may be unread.
LOOK_SECONDS = 0.025
# A turn takes so many deliveries, of each tenant its share: a quarter more than the last one when workers have
# read all of its bells, and as much less as they, or the turn itself, took longer than they should: what becomes due
# meanwhile waits for the next one.
DELIVERIES_PER_TURN = 2_048
FIRST_DELIVERIES_PER_TURN = 512
MIN_DELIVERIES_PER_TURN = 128
MOST_TURN_SECONDS = 0.05
# How much the number changes from one turn to the next.
LEAST_FACTOR, GREATEST_FACTOR = 0.25, 1.25
# Sweeps take a quarter of the time of one connection at most.
SWEEP_REST = 3
# After Postgres was away workers record first what they hold, before any lease is taken for lost.
GUARD_SECONDS = 10.0
RETRY_SECONDS = 0.2
# Deleted subscriptions of which deliveries wait to be cancelled; those over it have another turn in a few seconds.
MAX_DELETED = 10_000
# While nothing may be rung there are no turns that come upon them.
DELETED_SECONDS = 1.0


class Dispatcher:
    """One of any number of copies."""

    def __init__(
        self,
        store: DispatcherStore,
        turns: Turns,
        prompt: doorbell.Ringer,
        backlog: doorbell.Ringer,
        streams: doorbell.Streams,
        heard: Signals,
    ) -> None:
        self._signals = heard
        self._turn_alarm, self._sweep_alarm = heard.alarm(DUE), heard.alarm(DUE)
        # Whether the last look found nothing due.
        self._quiet = False
        self._store = store
        self._turns = turns
        self._prompt = prompt
        self._backlog = backlog
        self._streams = streams
        # Whether workers have enough of the backlog, and when it is the turn of those with little due meanwhile.
        self._only_prompt = False
        self._prompt_turn_at = time.monotonic()
        self._leases_guarded_until = time.monotonic()
        # When the next turn and the next sweep are to have ended.
        self._turn_by = self._sweep_by = time.monotonic()
        self._deleted: asyncio.Queue[UUID] = asyncio.Queue(MAX_DELETED)
        self._cancelling: set[UUID] = set()
        self._look_for_deleted_at = time.monotonic()
        self._deliveries_per_turn = FIRST_DELIVERIES_PER_TURN
        # When the last bells of the backlog were rung, until workers have read them, and for how many deliveries.
        self._rang_at: float | None = None
        self._rang = 0
        self._turn_seconds = 0.0
        self._turn_at = time.monotonic()

    @property
    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What is to run until cancelled, by name: turns, and what would delay them."""
        return {
            "dispatcher": self._take_turns,
            "sweeps": self._sweep,
            "queue_checks": self._check_queue,
            "expiries": self._expire,
            "cancellations": self._cancel_deleted,
        }

    async def _take_turns(self) -> None:
        await background.repeat(
            self._timed_turn,
            interval_seconds=IDLE_SECONDS,
            retry_seconds=RETRY_SECONDS,
            on_error=self.guard_leases,
            wake=self._turn_alarm,
        )

    def guard_leases(self) -> None:
        """Take no lease for lost for a while: Postgres was away, or another dispatcher that knew of it is gone."""
        self._leases_guarded_until = time.monotonic() + GUARD_SECONDS

    @property
    def _guard_seconds(self) -> float:
        return max(0.0, self._leases_guarded_until - time.monotonic())

    async def _timed_turn(self) -> float:
        started = time.monotonic()
        if (rest_seconds := self._turn_at - started) > 0:
            # How soon bells are read is to be known more exactly than by the next turn.
            await self._look_at_streams()
            # Not only until somebody asks for a turn: the next look is no sooner for that, nor is the turn.
            await asyncio.sleep(min(rest_seconds, LOOK_SECONDS))
            return 0.0
        pause_seconds = await self._ring_due()
        ended = time.monotonic()
        self._turn_seconds = ended - started
        metrics.TURN_SECONDS.observe(self._turn_seconds)
        metrics.LAST_TURN.set_to_current_time()
        # Turns get no more than a third of the time of a connection.
        rest_seconds = 2 * self._turn_seconds
        pause_seconds = max(pause_seconds, rest_seconds)
        self._turn_by = ended + pause_seconds
        if self._rang_at is not None:
            self._turn_at = ended + min(max(IDLE_SECONDS, rest_seconds), pause_seconds)
            await asyncio.sleep(min(pause_seconds, LOOK_SECONDS))
            return 0.0
        # A turn that is requested during this rest follows it.
        rest_seconds = min(pause_seconds, max(ASKED_SECONDS, rest_seconds))
        await asyncio.sleep(rest_seconds)
        return pause_seconds - rest_seconds

    async def check(self) -> None:
        """Raise when turns or sweeps no longer end; a readiness check."""
        late_seconds = time.monotonic() - min(self._turn_by, self._sweep_by)
        if late_seconds > GUARD_SECONDS:
            message = f"a pass has not completed for {late_seconds:.0f} s"
            raise RuntimeError(message)

    def _tell(self, leases: Leases) -> None:
        if leases.expired:
            metrics.LEASES_EXPIRED.inc(leases.expired)
            DELIVERIES_ENDED.labels(DeliveryStatus.FAILED).inc(leases.failed)
            log.warning("leases expired; their deliveries are due again", leases=leases.expired, failed=leases.failed)

    async def _ring_due(self) -> float:
        # The streams are not looked at for nothing; nor is Postgres, while nothing could be rung for.
        if not self._quiet and not await self._may_ring():
            return await self._wait_for_room()
        endpoints = await self._turns.begin(self._deliveries_per_turn)
        if not endpoints:
            self._quiet = True
            return min(self._signals.pace(IDLE_SECONDS), max(BUSY_SECONDS, self._turns.next_seconds))
        if self._quiet:
            self._quiet = False
            if not await self._may_ring():
                return await self._wait_for_room()
        taken = await self._turns.take(self._deliveries_per_turn, endpoints, only_prompt=self._only_prompt)
        self._prompt_turn_at = time.monotonic() + PROMPT_SECONDS
        self._cancel(taken.deleted)
        if taken.expired:
            DELIVERIES_ENDED.labels(DeliveryStatus.FAILED).inc(taken.expired)
        if taken.rung:
            metrics.DISPATCHED.inc(len(taken.rung))
            self._ring(taken)
        if self._only_prompt:
            return FULL_SECONDS
        if taken.more or taken.rung:
            return BUSY_SECONDS
        wait_seconds = IDLE_SECONDS if taken.wait_seconds is None else taken.wait_seconds
        return min(IDLE_SECONDS, max(BUSY_SECONDS, wait_seconds))

    def _ring(self, taken: Taken) -> None:
        """Ring for what a turn took, on the stream where it belongs."""
        names = taken.prompt if self._prompt_has_room else frozenset()
        prompt = [rung for rung in taken.rung if rung.subscription_id in names]
        backlog = [rung for rung in taken.rung if rung.subscription_id not in names]
        if prompt:
            self._prompt.ring(prompt)
        if backlog:
            self._backlog.ring(backlog)
            self._rang_at, self._rang = time.monotonic(), len(backlog)

    async def _wait_for_room(self) -> float:
        """Do what is to be done while nothing may be rung for."""
        if time.monotonic() >= self._look_for_deleted_at:
            self._look_for_deleted_at = time.monotonic() + DELETED_SECONDS
            self._cancel(await self._store.find_deleted(limit=MAX_DELETED))
        return FULL_SECONDS

    def _cancel(self, subscription_ids: Sequence[UUID]) -> None:
        """Have what waits for deleted subscriptions cancelled."""
        for name in subscription_ids:
            if name not in self._cancelling and not self._deleted.full():
                self._cancelling.add(name)
                self._deleted.put_nowait(name)

    async def _may_ring(self) -> bool:
        """Whether bells would be heard: without Redis workers look for themselves, over full streams they are busy."""
        if not await self._look_at_streams():
            return False
        self._only_prompt = not self._may_ring_backlog()
        if not self._only_prompt:
            return True
        return self._prompt_has_room and time.monotonic() >= self._prompt_turn_at

    @property
    def _prompt_has_room(self) -> bool:
        return self._streams.prompt.length < doorbell.DUE_MARK.messages

    def _may_ring_backlog(self) -> bool:
        if self._streams.backlog.is_below(doorbell.DUE_MARK):
            return True
        # Behind others' bells its own are few, so that everybody has a turn.
        self._deliveries_per_turn = MIN_DELIVERIES_PER_TURN
        return self._rang_at is None and self._streams.backlog.length < doorbell.DUE_MARK.messages

    async def _look_at_streams(self) -> bool:
        """Learn how full the streams are; return False if that cannot be known."""
        if self._prompt.waiting or self._backlog.waiting:
            return False
        try:
            async with asyncio.timeout(doorbell.RING_TIMEOUT_SECONDS):
                for stream in self._streams:
                    await stream.measure()
        except REDIS_AWAY:
            return False
        self._adapt()
        return True

    def _adapt(self) -> None:
        """Learn how many deliveries workers hear of in a moment, once they have read the bells of the last turn."""
        if self._rang_at is None:
            return
        unread, last = self._streams.backlog.first_unread, self._backlog.last_sent
        if unread is not None and last is not None and unread <= last:
            return
        seconds = max(0.001, time.monotonic() - self._rang_at)
        self._rang_at = None
        if self._rang < self._deliveries_per_turn / 2:  # which says nothing about more
            return
        factor = doorbell.DUE_MARK.milliseconds / 1000 / seconds
        if self._turn_seconds > MOST_TURN_SECONDS:
            factor = min(factor, MOST_TURN_SECONDS / self._turn_seconds)
        number = int(self._deliveries_per_turn * max(LEAST_FACTOR, min(GREATEST_FACTOR, factor)))
        self._deliveries_per_turn = max(MIN_DELIVERIES_PER_TURN, min(DELIVERIES_PER_TURN, number))

    # -- apart from turns --

    async def _sweep(self) -> None:
        """Find what became due."""

        async def step() -> float:
            started = time.monotonic()
            sweeper = self._turns.sweeper
            self._tell(await sweeper.sweep(leases=True, guard_seconds=self._guard_seconds))
            ended = time.monotonic()
            if sweeper.next_seconds == 0.0:  # it found some, and may have given turns
                self._turn_alarm.set()
            rest_seconds = SWEEP_REST * (ended - started)
            if not sweeper.has_more:
                rest_seconds = max(SWEEP_SECONDS, rest_seconds)
            pause_seconds = max(rest_seconds, min(self._signals.pace(SWEEP_SECONDS), sweeper.next_seconds))
            self._sweep_by = ended + pause_seconds
            await asyncio.sleep(rest_seconds)
            return pause_seconds - rest_seconds

        await background.repeat(
            step,
            interval_seconds=SWEEP_SECONDS,
            retry_seconds=RETRY_SECONDS,
            on_error=self.guard_leases,
            quiet=True,
            wake=self._sweep_alarm,
        )

    async def _check_queue(self) -> None:
        """Pass over the queue for what the sweep missed."""

        async def step() -> float:
            pause_seconds, leases = await self._turns.sweeper.check(leases=True, guard_seconds=self._guard_seconds)
            self._tell(leases)
            if leases.expired:
                self._sweep_alarm.set()
            if self._turns.sweeper.found_due:
                self._turn_alarm.set()
            return pause_seconds

        await background.repeat(step, interval_seconds=IDLE_SECONDS, quiet=True)

    async def _expire(self) -> None:
        """End what waits and is past its expiry, held or not."""

        async def step() -> float:
            pause_seconds, ended = await self._turns.sweeper.expire()
            DELIVERIES_ENDED.labels(DeliveryStatus.FAILED).inc(ended)
            return pause_seconds

        await background.repeat(step, interval_seconds=IDLE_SECONDS, quiet=True)

    async def _cancel_deleted(self) -> None:
        """Cancel what waits for deleted subscriptions."""

        async def step() -> float:
            name = await self._deleted.get()
            try:
                await self._store.cancel_deleted(name)
            finally:
                self._cancelling.discard(name)
            return 0.0

        await background.repeat(step, interval_seconds=IDLE_SECONDS, quiet=True)
