"""Claim rows, send them, and settle them: a few batches at a time, until cancelled.

Everything may be repeated. A relay that dies leaves rows that are claimed again when their lease ends, and what ingest
has accepted of them it recognizes by their idempotency keys. Relays know nothing of each other: each claims what the
others have not.
"""

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Sequence

import structlog

from protos.webhook.v1 import ingest_pb2
from services.platform import errors
from services.platform.process import background
from services.platform.stores.availability import STORE_AWAY
from services.relay import metrics, publisher
from services.relay.metrics import RowOutcome
from services.relay.publisher import Publisher
from services.relay.store import Batch, Deferral, OutboxStore

log = structlog.get_logger(__name__)

# While one batch is committed by ingest, the next one is claimed and sent.
BATCHES_IN_FLIGHT = 2
# The first pause after a look that found nothing, or few; each further one is twice as long.
LEAST_POLL_SECONDS = 0.05
# In a backlog a relay goes on after the rows that it claimed last, so that it passes over no dead ones. Every so often
# it begins at the beginning: for rows whose transaction took longer than that of later rows, or whose lease has ended.
FROM_BEGINNING_SECONDS = 2.0
# Pauses after calls that failed, and of rows that are refused for now: the first, and the longest.
RETRY_SECONDS, MAX_RETRY_SECONDS = 0.25, 30.0
DEFER_SECONDS, MAX_DEFER_SECONDS = 1.0, 60.0
MEASURE_SECONDS = 5.0


def pause_seconds(number: int, first_seconds: float, most_seconds: float) -> float:
    """Return the pause after so many failures in a row: doubled each time, less up to a half."""
    longest: float = min(most_seconds, first_seconds * 2 ** min(number - 1, 32))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


class Relay:
    """The loop of a process. `poll_seconds` is the longest pause between two looks that find nothing."""

    def __init__(self, store: OutboxStore, publisher: Publisher, *, poll_seconds: float) -> None:
        self._store = store
        self._publisher = publisher
        self._poll_seconds = poll_seconds
        self._idle_seconds = LEAST_POLL_SECONDS
        self._places = asyncio.Semaphore(BATCHES_IN_FLIGHT)
        self._sending: set[asyncio.Task[None]] = set()
        # Where the next claim begins, and when one last began at the beginning, on time.monotonic().
        self._after = 0
        self._began_at = -math.inf
        # Calls that failed in a row, and when the next one may be made.
        self._failures = 0
        self._resume_at = -math.inf
        # Why the last look or call failed.
        self._trouble: errors.WebhookError | None = None

    async def run(self) -> None:
        """Claim and send until cancelled; what is being sent then goes on."""
        await background.repeat(self._step, interval_seconds=self._poll_seconds, on_error=self._begin_again)

    async def measure(self) -> None:
        """Export what waits until cancelled."""

        async def step() -> None:
            found = await self._store.measure()
            metrics.OLDEST_SECONDS.set(found.oldest_seconds)
            metrics.WAITING_ROWS.set(found.waiting_rows)
            metrics.FAILED_ROWS.set(found.failed_rows)

        await background.repeat(step, interval_seconds=MEASURE_SECONDS, quiet=True)

    async def check(self) -> None:
        """Raise why rows are not relayed at present; an optional readiness check."""
        if self._trouble is not None:
            raise self._trouble

    async def stop(self, *, grace_seconds: float) -> None:
        """Let the batches that are out finish; the rows of others are claimed again when their lease ends."""
        if self._sending:
            await asyncio.wait(tuple(self._sending), timeout=grace_seconds)
        for task in tuple(self._sending):
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def _step(self) -> float:
        """Claim a batch, and return how long to wait before the next."""
        await self._places.acquire()
        batch: Batch | None = None
        try:
            await asyncio.sleep(max(0.0, self._resume_at - time.monotonic()))
            claiming = asyncio.ensure_future(self._claim())
            try:
                batch = await asyncio.shield(claiming)
            except asyncio.CancelledError:
                self._keep(asyncio.create_task(self._undo(claiming), name="outbox_undo"))
                raise
        finally:
            if batch is None or not batch.rows:
                self._places.release()
        if not batch.rows:
            self._idle_seconds = min(self._poll_seconds, 2 * self._idle_seconds)
            return self._idle_seconds
        self._idle_seconds = LEAST_POLL_SECONDS
        task = asyncio.create_task(self._relay(batch), name="outbox_batch")
        task.add_done_callback(lambda _: self._places.release())
        self._keep(task)
        return 0.0 if batch.more else LEAST_POLL_SECONDS

    async def _claim(self) -> Batch:
        now = time.monotonic()
        if now - self._began_at >= FROM_BEGINNING_SECONDS:
            self._after = 0
        if not self._after:
            self._began_at = now
        try:
            batch = await self._store.claim(after=self._after)
        except errors.WebhookError as error:
            self._trouble = error
            raise
        if not self._failures:
            self._trouble = None
        self._after = batch.rows[-1].id if batch.more else 0
        return batch

    def _begin_again(self) -> None:
        self._after = 0

    def _keep(self, task: "asyncio.Task[None]") -> None:
        """Have `stop` wait for a task."""
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _undo(self, claiming: "asyncio.Future[Batch]") -> None:
        """Give back what is claimed while the relay stops, so that others need not wait for the lease to end."""
        with contextlib.suppress(*STORE_AWAY, errors.WebhookError):
            batch = await claiming
            await self._give_back(batch, errors.Unavailable("the relay was stopped"))

    async def _relay(self, batch: Batch) -> None:
        """Send a batch and settle it; whatever fails, its rows are claimed again."""
        metrics.BATCH_ROWS.observe(len(batch.rows))
        began_at = time.monotonic()
        try:
            try:
                results = await self._publisher.publish(batch.rows)
            except errors.WebhookError as error:
                self._call_failed(error)
                await self._give_back(batch, error)
                return
            self._failures, self._trouble = 0, None
            await self._settle(batch, results, time.monotonic() - began_at)
        except Exception as error:  # they are sent again when their lease ends
            if errors.classify(error) is None:
                log.exception("rows of the outbox could not be settled because of a bug")
            else:
                log.warning("rows of the outbox could not be settled; they are sent again", error=repr(error))

    def _call_failed(self, error: errors.WebhookError) -> None:
        metrics.CALL_FAILURES.labels(error.reason).inc()
        if not self._failures:
            log.warning(
                "ingest does not take rows of the outbox; trying again", reason=error.reason, error=error.message
            )
        self._failures += 1
        self._trouble = error
        self._begin_again()
        self._resume_at = time.monotonic() + pause_seconds(self._failures, RETRY_SECONDS, MAX_RETRY_SECONDS)

    async def _give_back(self, batch: Batch, error: errors.WebhookError) -> None:
        """Leave rows to whichever relay reaches ingest first."""
        text = publisher.described(error)
        deferrals = [Deferral(row_id=row.id, error=text, seconds=0.0) for row in batch.rows]
        self._count(RowOutcome.DEFERRED, len(deferrals), await self._store.defer(batch.token, deferrals))

    async def _settle(
        self, batch: Batch, results: Sequence[ingest_pb2.Accepted | errors.WebhookError], took_seconds: float
    ) -> None:
        accepted: list[int] = []
        repeated = 0
        refused: dict[int, str] = {}
        deferred: list[Deferral] = []
        for row, result in zip(batch.rows, results, strict=True):
            if not isinstance(result, errors.WebhookError):
                accepted.append(row.id)
                repeated += result.replayed
                metrics.WAIT_SECONDS.observe(max(0.0, row.waited_seconds) + took_seconds)
            elif publisher.is_final(result):
                refused[row.id] = publisher.described(result)
            else:
                seconds = pause_seconds(row.attempts, DEFER_SECONDS, MAX_DEFER_SECONDS)
                deferred.append(Deferral(row_id=row.id, error=publisher.described(result), seconds=seconds))
        metrics.ROWS.labels(RowOutcome.REPEATED).inc(repeated)
        metrics.ROWS.labels(RowOutcome.ACCEPTED).inc(len(accepted) - repeated)
        metrics.LEASES_LOST.inc(len(accepted) - await self._store.delete(batch.token, accepted))
        self._count(RowOutcome.REFUSED, len(refused), await self._store.refuse(batch.token, refused))
        self._count(RowOutcome.DEFERRED, len(deferred), await self._store.defer(batch.token, deferred))
        if refused:
            first = next(iter(refused))
            log.warning("rows of the outbox are refused", rows=len(refused), first=first, error=refused[first])

    def _count(self, outcome: RowOutcome, wanted: int, settled: int) -> None:
        metrics.ROWS.labels(outcome).inc(settled)
        metrics.LEASES_LOST.inc(wanted - settled)
