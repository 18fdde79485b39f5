"""What attempts say of the endpoints: it opens and closes their breakers, and disables those that are dead.

Each worker sums up its attempts and writes what changed once a second, or at once where a breaker must open
now. The rows in Postgres join what all workers saw, outlive them, and decide: a breaker is opened once,
whoever comes first. Of an endpoint that does well nothing is kept and nothing written.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from services.common import errors
from services.common.redis import REDIS_AWAY
from services.common.subscription_changes import NO_COPY, Copies
from services.delivery.settings import WorkerSettings
from services.delivery.worker import metrics
from services.delivery.worker.endpoint_log import EndpointLog
from services.delivery.worker.outcomes import INTERRUPTED, SUCCESS
from services.delivery.worker.store import Attempt, Claim, Store, Sum, Verdict

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 1.0
RETRY_SECONDS = 0.25
GONE = 410


@dataclass(slots=True, kw_only=True)
class _Second:
    at: int
    attempts: int = 0
    failures: int = 0


@dataclass(slots=True, kw_only=True)
class _Recent:
    """Of one endpoint that failed lately."""

    # Not written yet.
    successes: int = 0
    failures: int = 0
    # Of the failures, those after the last success.
    unbroken: int = 0
    probe: str | None = None
    gone: bool = False
    too_many: str | None = None
    last_error: str = ""
    # Where its latest attempt went.
    target_url: str = ""
    # Whether its row says that it fails.
    failing: bool = False
    # Since the last success, written or not.
    in_a_row: int = 0
    seconds: deque[_Second] = field(default_factory=deque)

    @property
    def changed(self) -> bool:
        return bool(self.failures or self.probe or self.gone or (self.successes and self.failing))

    def sum(self, subscription_id: UUID) -> Sum:
        return Sum(
            subscription_id=subscription_id,
            successes=self.successes,
            failures=self.failures,
            unbroken=self.unbroken,
            probe=self.probe,
            gone=self.gone,
            too_many=self.too_many,
            last_error=self.last_error,
        )

    def count(self, now: int, window: int, *, failed: bool) -> None:
        if not self.seconds or self.seconds[-1].at != now:
            self.seconds.append(_Second(at=now))
            while self.seconds[0].at <= now - window:
                self.seconds.popleft()
        self.seconds[-1].attempts += 1
        self.seconds[-1].failures += failed


class Health:
    """The endpoints of one worker."""

    def __init__(self, store: Store, settings: WorkerSettings, copies: Copies) -> None:
        self._store = store
        self._settings = settings
        self._disable_after = timedelta(hours=settings.disable_after_hours)
        self._copies = copies
        self._recent: dict[UUID, _Recent] = {}
        self._now = asyncio.Event()
        self._lines = EndpointLog()

    def note(self, claim: Claim, attempt: Attempt) -> None:
        """Takes note of an attempt that ended."""
        if attempt.outcome == INTERRUPTED:
            return
        recent = self._recent.get(claim.subscription_id)
        success = attempt.outcome == SUCCESS
        if recent is None:
            if success and not claim.failing and not claim.probe:
                return
            recent = self._recent[claim.subscription_id] = _Recent()
        recent.target_url = claim.target_url
        recent.failing = recent.failing or claim.failing
        recent.count(int(time.monotonic()), self._settings.breaker_window_seconds, failed=not success)
        if success:
            recent.successes += 1
            recent.unbroken = recent.in_a_row = 0
        else:
            recent.failures += 1
            recent.unbroken += 1
            recent.in_a_row += 1
            recent.last_error = attempt.error_message or attempt.outcome
            recent.gone = recent.gone or attempt.status_code == GONE
            recent.too_many = self._too_many(recent)
        if claim.probe:
            recent.probe = "success" if success else "failure"
        if recent.gone or recent.probe or recent.too_many or recent.in_a_row == self._settings.breaker_failures:
            self._now.set()

    async def run(self, hold: Callable[[UUID], None]) -> None:
        """Writes what changed, for ever; `hold` is called with each subscription that gets nothing for a while."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._now.wait()
            self._now.clear()
            try:
                for subscription_id in await self.flush():
                    hold(subscription_id)
            except Exception as error:
                if errors.classify(error) is None:
                    log.exception("the health of endpoints cannot be recorded on a bug")
                await asyncio.sleep(RETRY_SECONDS)

    async def flush(self) -> set[UUID]:
        """Writes what changed, and answers whom to hold; what cannot be written is kept for the next time."""
        held: set[UUID] = set()
        sums = [recent.sum(subscription_id) for subscription_id, recent in self._recent.items() if recent.changed]
        if sums:
            verdicts = await self._store.record_health(sums, self._settings)
            reasons = {seen.subscription_id: "gone" for seen in sums if seen.gone}
            for verdict in verdicts:
                if verdict.failing_since and datetime.now(UTC) - verdict.failing_since > self._disable_after:
                    reasons.setdefault(verdict.subscription_id, "failing")
                if verdict.changed:
                    metrics.BREAKER_CHANGES.labels(verdict.breaker).inc()
                    self._tell(verdict)
                if verdict.breaker == "open":
                    held.add(verdict.subscription_id)
            if reasons:
                await self._disable(reasons, {seen.subscription_id: seen.last_error for seen in sums})
                held |= reasons.keys()
            for sent in sums:
                self._settle(sent)
            for verdict in verdicts:
                if verdict.changed:  # what was before does not count against it again
                    recent = self._recent[verdict.subscription_id]
                    recent.seconds.clear()
                    recent.too_many = None
        self._lines.summarize()
        self._forget()
        return held

    def _tell(self, verdict: Verdict) -> None:
        """Log that an endpoint began to fail or is well again; a probe that failed is no news."""
        target_url = self._recent[verdict.subscription_id].target_url
        if verdict.breaker == "closed":
            self._lines.recovered(verdict.subscription_id, target_url)
        elif verdict.before == "closed":
            self._lines.failing(
                verdict.subscription_id,
                target_url,
                reason=verdict.breaker_reason or "",
                failures=verdict.consecutive_failures,
                next_probe=verdict.probe_at,
            )

    async def _disable(self, reasons: Mapping[UUID, str], last_errors: Mapping[UUID, str]) -> None:
        for disabled in await self._store.disable(reasons, last_errors):
            metrics.SUBSCRIPTIONS_DISABLED.labels(disabled.reason).inc()
            self._lines.disabled(
                disabled.subscription_id,
                self._recent[disabled.subscription_id].target_url,
                reason=disabled.reason,
                last_error=last_errors.get(disabled.subscription_id, ""),
            )
            # When Redis is away ingest's copies run out; until then it stores and rings, and we hand back.
            with contextlib.suppress(*REDIS_AWAY):
                await self._copies.tell(disabled.subscription_id, disabled.tenant_id, NO_COPY, disabled.version)

    def _too_many(self, recent: _Recent) -> str | None:
        """Why so many failures of the window are too many, or None."""
        settings = self._settings
        attempts = sum(second.attempts for second in recent.seconds)
        failures = sum(second.failures for second in recent.seconds)
        if attempts < settings.breaker_min_attempts or failures < settings.breaker_failure_rate * attempts:
            return None
        return f"{failures} of {attempts} attempts within {settings.breaker_window_seconds} s failed"

    def _settle(self, sent: Sum) -> None:
        """Takes away what was written; more may have come meanwhile."""
        recent = self._recent[sent.subscription_id]
        recent.successes -= sent.successes
        recent.failures -= sent.failures
        recent.unbroken = min(recent.unbroken, recent.failures)
        recent.failing = sent.unbroken > 0 or (recent.failing and not sent.successes)
        if recent.probe == sent.probe:
            recent.probe = None
        recent.gone = recent.gone and not sent.gone

    def _forget(self) -> None:
        since = time.monotonic() - self._settings.breaker_window_seconds
        done = [
            subscription_id
            for subscription_id, recent in self._recent.items()
            if not recent.changed and not recent.failing and (not recent.seconds or recent.seconds[-1].at < since)
        ]
        for subscription_id in done:
            del self._recent[subscription_id]
