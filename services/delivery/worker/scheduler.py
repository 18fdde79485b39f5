"""The worker's bounded scheduler: it holds ids, and claims them in batches as slots become free."""

import asyncio
import contextlib
import contextvars
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from uuid import UUID

import structlog

from services.delivery.settings import WorkerSettings
from services.delivery.worker import metrics
from services.delivery.worker.claims import Attempt, Claim, Outcome
from services.delivery.worker.deliverer import ClaimLost, Deliverer, Held
from services.delivery.worker.lane import Lane
from services.delivery.worker.lanes import Lanes
from services.delivery.worker.outcomes import Recorder
from services.delivery.worker.pace import Pace
from services.delivery.worker.shares import share
from services.delivery.worker.store import WorkerStore
from services.domain import deliveries
from services.domain.deliveries import Lease, Leased, NearWorker
from services.domain.gates import Gates
from services.domain.states import AttemptOutcome, DeliveryStatus, Hold
from services.platform import errors, ids
from services.platform.process import background
from services.platform.process.shares import WeightOf, same_weight
from services.platform.stores.availability import STORE_AWAY
from services.platform.stores.signals import Signals

log = structlog.get_logger(__name__)

# The cheapest number of ids of a claiming statement.
IDS_PER_CLAIM = 100
# Claims that are not full follow each other no sooner.
PACE_SECONDS = 0.004
IDS_PER_HAND_BACK = 500
# Of the ids that may wait here, those of the backlog take a part at most: they are in the way of prompt ones.
BACKLOG_PART = 4
# Deliveries whose tenants are not known yet leave this part of what may be held to the others.
UNKNOWN_SPARE = 16
FORGET_INTERVAL_SECONDS = 60.0
WATCH_INTERVAL_SECONDS = 1.0
# Lanes that are looked at each time.
MAX_WATCHED = 1_000
# While there is no room: after so long, an endpoint may have stopped responding.
STALL_SECONDS = 0.25
# What says nothing of how much an endpoint can take.
NEUTRAL = frozenset(
    {
        AttemptOutcome.HTTP_3XX,
        AttemptOutcome.HTTP_4XX,
        AttemptOutcome.INTERRUPTED,
        AttemptOutcome.EGRESS_DENIED,
        AttemptOutcome.INVALID_REQUEST,
        AttemptOutcome.SECRET_UNREADABLE,
        AttemptOutcome.TEMPLATE_FAILED,
    }
)
TOO_MANY_REQUESTS = 429
# After Postgres failed a claim.
PAUSE_SECONDS = 0.25
# Of the grace period, what is kept for recording what was handed back.
HAND_BACK_SECONDS = 1.5


class Scheduler(NearWorker):
    """Slots are requests in flight. No wait for a receiver's turn, a lease or a store ever holds one.

    Except that slots are kept for deliveries that ingest of the same process is about to store: at most half of them.
    """

    def __init__(
        self,
        store: WorkerStore,
        deliverer: Deliverer,
        recorder: Recorder,
        gates: Gates,
        heard: Signals,
        settings: WorkerSettings,
        note: Callable[[Claim, Attempt], None],
        weight_of: WeightOf = same_weight,
    ) -> None:
        self._store = store
        self._deliverer = deliverer
        self._recorder = recorder
        self._gates = gates
        self._signals = heard
        # Called with every attempt that ended.
        self._note = note
        self._slots = settings.worker_concurrency
        self._lease_seconds = settings.lease_seconds
        self._max_waiting = max(IDS_PER_CLAIM, settings.worker_concurrency)
        # Outcomes that wait for Postgres hold no slot, but bound what is claimed, of each tenant by its share.
        self._max_held = 4 * settings.worker_concurrency
        self._held_of: Counter[str] = Counter()
        self._weight_of = weight_of
        self._lanes = Lanes(settings.worker_concurrency, weight_of)
        # Of what is taken from the backlog.
        self.pace = Pace()
        self._tenant_concurrency = settings.tenant_concurrency
        self._target_host_concurrency = settings.target_host_concurrency
        self._work = asyncio.Event()
        self.share_bounds(1)
        self._held: dict[UUID, Held] = {}
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        # Ids that are handed back to Postgres, for they are too many here.
        self._to_hand_back: list[UUID] = []
        self._to_hand_back_came = asyncio.Event()
        # By token, the lanes of deliveries for which a slot is kept.
        self._reserved: dict[UUID, dict[UUID, Lane]] = {}
        # What ingest has sent is none of its own work, nor of its traces.
        self._context = contextvars.copy_context()
        self._room = asyncio.Event()
        self._stopping = False
        # Nothing is sent any more that is not being sent.
        self._stopped = False
        self._claimed_at = -math.inf
        # Asked once: a log line per delivery costs its ids as text even where it is not written.
        self._debugging = settings.log_level == "debug"
        metrics.CONCURRENCY.set(self._slots)

    async def offer(self, heard: Mapping[UUID, Sequence[UUID]], *, source: str, backlog: bool = False) -> None:
        """Take ids in, by subscription; wait while this worker has enough, unless it stops and hands them back."""
        number = sum(map(len, heard.values()))
        metrics.IDS_HEARD.labels(source).inc(number)
        enough = self._max_waiting // (BACKLOG_PART if backlog else 1)
        while self._lanes.ready >= enough and not self._stopping:
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STALL_SECONDS):
                    await self._room.wait()
                    continue
            for subscription_id, too_many in self._lanes.park_stalled():
                self._return(subscription_id, too_many)
        for subscription_id, delivery_ids in heard.items():
            new = [delivery_id for delivery_id in delivery_ids if delivery_id not in self._held]
            number -= len(new)
            if too_many := self._lanes.add(subscription_id, new):
                self._return(subscription_id, too_many)
            if self._lanes.lane(subscription_id).blocked or len(new) < len(delivery_ids):
                self.pace.pass_over(delivery_ids)
        metrics.STALE.inc(number)
        metrics.WAITING.set(self._lanes.waiting)
        self._work.set()

    def hold(self, subscription_id: UUID) -> None:
        """Hand back what waits for a subscription: nothing is sent to it for a while."""
        self._gates.close([subscription_id])
        self._hand_back(self._lanes.empty(self._lanes.lane(subscription_id)), Hold.BREAKER_OPEN)

    @contextlib.contextmanager
    def slot(self, claim: Claim) -> Iterator[bool]:
        """Hold a slot for a request that is no delivery; whether its endpoint, tenant and host have room for it."""
        self._hand_back(self._lanes.lead_to(claim.subscription_id, claim.endpoint_version), Hold.CONCURRENCY)
        lane = self._lanes.borrow(claim.subscription_id, claim.tenant_id, claim.target_url)
        try:
            yield lane is not None
        finally:
            if lane is not None:
                self._lanes.done(lane)
                self._work.set()

    @property
    def has_room(self) -> bool:
        """Whether an offer would be taken at once."""
        return self._lanes.ready < self._max_waiting

    @property
    def room(self) -> int:
        """How many more ids would wait here at once, and not in the offer."""
        return max(0, self._max_waiting - self._lanes.ready)

    def reserve(self, wanted: Iterable[tuple[UUID, UUID]]) -> Lease | None:
        """Keep slots for deliveries that have room, as long as nothing waits here and half of the slots are free.

        So what is handed over is never sent in place of what came before, of any tenant.
        """
        if self._stopping or self._lanes.ready or len(self._held) >= self._slots:
            return None
        lanes: dict[UUID, Lane] = {}
        for subscription_id, delivery_id in wanted:
            if 2 * self._lanes.in_flight >= self._slots:
                break
            lane = self._lanes.take(subscription_id)
            if lane is not None:
                lanes[delivery_id] = lane
        if not lanes:
            return None
        token = ids.new()
        self._reserved[token] = lanes
        return Lease(worker=self, token=token, seconds=self._lease_seconds, delivery_ids=frozenset(lanes))

    def send(self, lease: Lease, stored: Sequence[Leased]) -> bool:
        """Send what was stored under a lease, and free the other slots; whether it is sent, for the worker may stop."""
        if self._stopped:
            self.free(lease)
            return False
        lanes = self._reserved.pop(lease.token)
        metrics.IDS_HEARD.labels("ingest").inc(len(stored))
        try:
            self._context.run(self._take_on, self._store.claims(lease, stored), lanes)
        except Exception:
            # The events are stored, and their senders are to hear of it.
            log.exception("deliveries were not sent because of a bug; they are due when their leases end")
            for lane in lanes.values():
                self._lanes.done(lane)
        self._work.set()
        return True

    def free(self, lease: Lease) -> None:
        """Free the slots of a lease."""
        for lane in self._reserved.pop(lease.token).values():
            self._lanes.done(lane)
        self._work.set()

    async def run(self) -> None:
        """Claim what waits, until stop_claiming() and as long as slots are kept for what is being stored."""
        while not self._stopping:
            if not self._lanes.can_claim or len(self._held) >= self._max_held:
                self._work.clear()
                await self._work.wait()
                continue
            await self._keep_pace()
            batch = self._lanes.next_batch(IDS_PER_CLAIM, self._may_hold)
            self._return_too_many()
            metrics.WAITING.set(self._lanes.waiting)
            self._room.set()
            lanes = {delivery_id: lane for lane, delivery_id in batch}
            if not lanes:  # the lanes whose turn it was have come to their bounds meanwhile, or their tenants to theirs
                if not self._stopping:
                    self._work.clear()
                    await self._work.wait()
                continue
            try:
                claims = await self._store.claim(list(lanes))
            except Exception as error:
                if errors.classify(error) is None:
                    log.exception("claiming deliveries failed because of a bug")
                else:
                    log.warning("cannot claim deliveries: Postgres is unavailable", error=repr(error))
                for lane in lanes.values():
                    self._lanes.done(lane)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            metrics.STALE.inc(len(lanes) - len(claims))
            self._take_on(claims, lanes)
        while self._reserved:
            self._work.clear()
            await self._work.wait()

    def _take_on(self, claims: Sequence[Claim], lanes: dict[UUID, Lane]) -> None:
        """Deliver what was claimed; the slots of the rest, which has a lane all the same, are free again."""
        metrics.CLAIMED.inc(len(claims))
        for claim in claims:
            lane, too_many = self._lanes.of_claim(lanes.pop(claim.id), claim.endpoint_version)
            self._hand_back(too_many, Hold.CONCURRENCY)
            fits = self._fits(claim, lane)
            held = Held(claim=claim, lease_until=claim.claimed_monotonic + self._lease_seconds)
            self._held[claim.id] = held
            self._held_of[claim.tenant_id] += 1
            self.pace.claimed(claim.id)
            # Rung again meanwhile: a second claim beside this one, after its lease, would be confused with it.
            self._lanes.discard(lane, claim.id)
            self._tasks[claim.id] = asyncio.create_task(self._deliver(held, lane, fits=fits), name="delivery")
        self._return_too_many()
        self.pace.pass_over(lanes)
        for lane in lanes.values():
            self._lanes.done(lane)
        metrics.BUSY.set(self._lanes.in_flight)

    async def hand_back(self) -> None:
        """Return to Postgres what is too many here, until cancelled."""
        while True:
            await self._to_hand_back_came.wait()
            self._to_hand_back_came.clear()
            while self._to_hand_back:
                chunk = self._to_hand_back[:IDS_PER_HAND_BACK]
                try:
                    await deliveries.mark_due(self._store.pool, chunk)
                    self._signals.wake(deliveries.DUE)
                except Exception as error:
                    if errors.classify(error) is None:
                        log.exception("deliveries could not be handed back because of a bug")
                # Those that could not be are due in RUNG_SECONDS all the same.
                del self._to_hand_back[: len(chunk)]

    async def forget_idle_lanes(self) -> None:
        """Bound what is remembered, until cancelled."""

        async def step() -> None:
            self._lanes.forget_idle()

        await background.repeat(step, interval_seconds=FORGET_INTERVAL_SECONDS, at_once=False)

    async def watch_endpoints(self) -> None:
        """Give another lane to subscriptions that got another endpoint while theirs is full, until cancelled.

        A claim would tell, but there is none while requests to the endpoint before fill the lane, or its host's share.
        """

        async def step() -> None:
            self._lanes.look_at_blocked(MAX_WATCHED)
            if names := self._lanes.watched(MAX_WATCHED):
                for name, version in (await self._store.endpoint_versions(names)).items():
                    self._hand_back(self._lanes.lead_to(name, version), Hold.CONCURRENCY)
            self._work.set()

        await background.repeat(step, interval_seconds=WATCH_INTERVAL_SECONDS, at_once=False, quiet=True)

    async def renew_leases(self) -> None:
        """Renew the leases of what is held and has used up half of its own, until cancelled."""

        async def step() -> None:
            now = time.monotonic()
            due = [held for held in self._held.values() if held.lease_until - now < self._lease_seconds / 2]
            for start in range(0, len(due), IDS_PER_CLAIM):
                await self._renew(due[start : start + IDS_PER_CLAIM])

        await background.repeat(step, interval_seconds=self._lease_seconds / 6, at_once=False)

    def stop_claiming(self) -> None:
        """Let run() end after the claim in flight: a claim that is cut would hold until its lease runs out."""
        self._stopping = True
        self._work.set()
        self._room.set()

    async def stop(self, *, grace_seconds: float) -> None:
        """Finish what is in flight within the grace period and hand the rest back at once."""
        self._stopped = True
        waiting = [*self._lanes.empty_all(), *self._to_hand_back]
        if waiting:
            try:
                await deliveries.mark_due(self._store.pool, waiting)
                self._signals.wake(deliveries.DUE)
            except STORE_AWAY:
                log.warning(
                    "deliveries could not be handed back; they are due in a few seconds", deliveries=len(waiting)
                )
        if self._tasks:
            await asyncio.wait(tuple(self._tasks.values()), timeout=max(0, grace_seconds - HAND_BACK_SECONDS))
        cut = tuple(self._tasks.values())
        for task in cut:
            task.cancel()
        if cut:
            log.warning("requests were interrupted by shutdown; their deliveries are handed back", deliveries=len(cut))
            await asyncio.wait(cut, timeout=HAND_BACK_SECONDS)

    async def _keep_pace(self) -> None:
        """Claim ids that arrive in sequence together; a single one does not wait."""
        wait = self._claimed_at + PACE_SECONDS - time.monotonic()
        if wait > 0 and self._lanes.ready < IDS_PER_CLAIM:
            await asyncio.sleep(wait)
        self._claimed_at = time.monotonic()

    def load(self) -> tuple[int, int]:
        """Return how many requests may be in flight, and how many are."""
        return self._slots, self._lanes.in_flight

    def share_bounds(self, workers: int) -> None:
        """Keep to this worker's share of what tenants and hosts may have over so many, one request at least."""
        self._lanes.bound(
            of_tenant=math.ceil(self._tenant_concurrency / workers),
            of_host=math.ceil(self._target_host_concurrency / workers),
        )
        self._work.set()

    def _fits(self, claim: Claim, lane: Lane) -> bool:
        """Whether there is room for a claimed delivery; one that has none no longer holds its slot."""
        self._lanes.learn(lane, claim.tenant_id, claim.target_url)
        sends = claim.held_by is None and not claim.deleted and not claim.expired
        if not sends or claim.probe or self._lanes.fits(lane):
            return True
        self._lanes.done(lane)
        return False

    def _may_hold(self, tenant_id: str) -> int:
        """Return how many more deliveries of a tenant may be held, by the rule of slots; of unknown ones, too."""
        free = self._max_held - len(self._held)
        if not tenant_id:
            return share(max(0, free - self._max_held // UNKNOWN_SPARE), 0)
        return share(free, self._held_of[tenant_id], self._weight_of(tenant_id))

    def _return(self, subscription_id: UUID, too_many: Sequence[UUID]) -> None:
        """Hand back what is too many for an endpoint, or for this worker, and say so to those who ring."""
        self._fill(self._lanes.lane(subscription_id))
        self._hand_back(too_many, Hold.CONCURRENCY)

    def _return_too_many(self) -> None:
        """Hand back what came to be too many while turns were taken."""
        for subscription_id, too_many in self._lanes.take_too_many():
            self._return(subscription_id, too_many)

    def _fill(self, lane: Lane) -> None:
        self._gates.fill(lane.subscription_id, short=self._lanes.is_short(lane))

    def _hand_back(self, delivery_ids: Sequence[UUID], reason: Hold) -> None:
        if delivery_ids:
            metrics.HANDED_BACK.labels(reason).inc(len(delivery_ids))
            self._to_hand_back += delivery_ids
            self._to_hand_back_came.set()

    async def _deliver(self, held: Held, lane: Lane, *, fits: bool) -> None:
        claim = held.claim
        try:
            try:
                outcome = await self._attempt(held, lane) if fits else self._left(lane, claim, Hold.CONCURRENCY)
            except (asyncio.CancelledError, *STORE_AWAY):
                # Stopped; or Postgres went away before anything was sent: handed back as soon as that can be recorded.
                outcome = self._deliverer.interrupted(held)
            finally:
                if fits:
                    self._lanes.done(lane)
                metrics.BUSY.set(self._lanes.in_flight)
                self._work.set()
            if self._debugging:
                log.debug("attempt", delivery_id=str(claim.id), event_id=str(claim.event_id), status=outcome.status)
            if outcome.attempts:
                self._learn(claim, lane, outcome.attempts[-1])
            await self._recorder.record(outcome)
        except ClaimLost:
            metrics.LOST.inc()
        except Exception as error:
            if errors.classify(error) is None:
                log.exception(
                    "a delivery failed because of a bug", delivery_id=str(claim.id), event_id=str(claim.event_id)
                )
        finally:
            del self._held[claim.id]
            self._held_of[claim.tenant_id] -= 1
            if not self._held_of[claim.tenant_id]:
                del self._held_of[claim.tenant_id]
            del self._tasks[claim.id]
            self._work.set()

    async def _attempt(self, held: Held, lane: Lane) -> Outcome:
        if held.claim.held_by is not None:
            return self._left(lane, held.claim, held.claim.held_by)
        if held.claim.probe:
            lane.restart(self._slots)
        return await self._deliverer.deliver(held)

    def _left(self, lane: Lane, claim: Claim, reason: Hold) -> Outcome:
        """Return the outcome of a claim that came too late: its subscription takes nothing now, so it waits again."""
        if reason is Hold.CONCURRENCY:
            self._fill(lane)
        else:
            self._gates.close([claim.subscription_id])
        metrics.HANDED_BACK.labels(reason).inc()
        waited = (claim.claimed_at - claim.created_at).total_seconds()
        return Outcome(claim=claim, status=DeliveryStatus.PENDING, delay_seconds=-waited if claim.number == 1 else 0.0)

    def _learn(self, claim: Claim, lane: Lane, attempt: Attempt) -> None:
        """Let the lane and the endpoint's health know what came of an attempt."""
        seconds = (attempt.duration_ms or 0) / 1000
        started_at = time.monotonic() - seconds
        if attempt.outcome == AttemptOutcome.SUCCESS:
            lane.succeeded(seconds, started_at, self._slots)
        elif attempt.outcome not in NEUTRAL or attempt.status_code == TOO_MANY_REQUESTS:
            lane.failed(seconds, started_at)
        self._note(claim, attempt)

    async def _renew(self, due: Sequence[Held]) -> None:
        asked_at = time.monotonic()
        try:
            still_held = await self._store.renew([held.claim for held in due])
        except Exception as error:
            if errors.classify(error) is None:
                log.exception("leases could not be renewed because of a bug")
            return
        for held in due:
            if held.claim.id in still_held:
                held.lease_until = asked_at + self._lease_seconds
                metrics.RENEWED.inc()
