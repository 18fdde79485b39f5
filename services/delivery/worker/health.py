"""What attempts say of the endpoints: it opens and closes their breakers, disables those that are dead, and logs it.

Each worker sums up its attempts and writes what changed once a second, or at once where a breaker must open
now. The rows in Postgres join what all workers saw, outlive them, and decide: a breaker is opened once,
whichever comes first. Nothing is kept or written for a healthy endpoint.
"""

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from services.delivery.settings import WorkerSettings
from services.delivery.worker import metrics
from services.delivery.worker.claims import Attempt, Claim
from services.delivery.worker.store import Sum, Verdict, WorkerStore
from services.domain.deliveries import DUE
from services.domain.egress import targets
from services.domain.notices.activity import ENDPOINTS
from services.domain.notices.operational_facts import FACTS
from services.domain.notices.subscription_changes import NO_COPY, Copies
from services.domain.states import AttemptOutcome, BreakerState, Probe, StatusReason
from services.platform.process import background
from services.platform.stores.redis import REDIS_AWAY
from services.platform.stores.signals import Signals

# Its lines are shown to a developer, too.
endpoint_log = structlog.get_logger(ENDPOINTS)

FLUSH_SECONDS = 1.0
RETRY_SECONDS = 0.25
GONE = 410
# Of lines about endpoints.
WINDOW_SECONDS = 10.0
LINES_PER_WINDOW = 20


class EndpointLog:
    """Log lines of one worker about its endpoints: when one starts failing, recovers, or is disabled.

    An outage of many endpoints writes a few lines and then a count of the rest, at most once in a window.
    """

    def __init__(self) -> None:
        self._window_ends = 0.0
        self._left = 0
        self._more: Counter[str] = Counter()

    def failing(
        self, subscription_id: UUID, target_url: str, *, reason: str, failures: int, next_probe: datetime | None
    ) -> None:
        """Say that an endpoint's breaker opened."""
        if self._may("failing"):
            endpoint_log.warning(
                "an endpoint started failing; its deliveries wait",
                subscription_id=str(subscription_id),
                host=targets.host_of(target_url),
                reason=reason,
                failures=failures,
                next_probe=next_probe and next_probe.isoformat(timespec="seconds"),
            )

    def recovered(self, subscription_id: UUID, target_url: str) -> None:
        """Say that its breaker closed."""
        if self._may("recovered"):
            endpoint_log.info(
                "an endpoint recovered", subscription_id=str(subscription_id), host=targets.host_of(target_url)
            )

    def disabled(self, subscription_id: UUID, target_url: str, *, reason: str, last_error: str) -> None:
        """Say that the service disabled its subscription."""
        if self._may("disabled"):
            endpoint_log.warning(
                "a subscription was disabled",
                subscription_id=str(subscription_id),
                host=targets.host_of(target_url),
                reason=reason,
                last_error=last_error,
            )

    def summarize(self) -> None:
        """Say how many more there were, when the window is over; to be called every second or so."""
        if self._more and time.monotonic() >= self._window_ends:
            endpoint_log.warning("further endpoint changes were not logged", **self._more)
            self._more.clear()

    def _may(self, kind: str) -> bool:
        """Return whether there is room for a line; without it, count it."""
        now = time.monotonic()
        if now >= self._window_ends:
            self.summarize()
            self._window_ends, self._left = now + WINDOW_SECONDS, LINES_PER_WINDOW
        if not self._left:
            self._more[kind] += 1
            return False
        self._left -= 1
        return True


@dataclass(slots=True, kw_only=True)
class _Second:
    at: int
    attempts: int = 0
    failures: int = 0


@dataclass(slots=True, kw_only=True)
class _Recent:
    """Of one endpoint that failed lately."""

    endpoint_version: int
    # Not written yet.
    successes: int = 0
    failures: int = 0
    # Of the failures, those after the last success.
    unbroken: int = 0
    probe: Probe | None = None
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
            endpoint_version=self.endpoint_version,
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

    def settle(self, sent: Sum) -> None:
        """Take away what was written; more may have come meanwhile."""
        self.successes -= sent.successes
        self.failures -= sent.failures
        self.unbroken = min(self.unbroken, self.failures)
        self.failing = sent.unbroken > 0 or (self.failing and not sent.successes)
        if self.probe == sent.probe:
            self.probe = None
        self.gone = self.gone and not sent.gone


class EndpointHealth:
    """The endpoints of one worker."""

    def __init__(self, store: WorkerStore, settings: WorkerSettings, copies: Copies, heard: Signals) -> None:
        self._store = store
        self._settings = settings
        self._disable_after = timedelta(hours=settings.disable_after_hours)
        self._copies = copies
        self._signals = heard
        self._recent: dict[UUID, _Recent] = {}
        self._now = background.Alarm()
        self._lines = EndpointLog()

    def note(self, claim: Claim, attempt: Attempt) -> None:
        """Take note of an attempt that ended."""
        if attempt.outcome == AttemptOutcome.INTERRUPTED:
            return
        recent = self._recent.get(claim.subscription_id)
        success = attempt.outcome == AttemptOutcome.SUCCESS
        if recent is not None and claim.endpoint_version < recent.endpoint_version:
            return  # of an endpoint that the subscription no longer has
        if recent is None or recent.endpoint_version < claim.endpoint_version:
            self._recent.pop(claim.subscription_id, None)
            if success and not claim.failing and not claim.probe:
                return
            recent = self._recent[claim.subscription_id] = _Recent(endpoint_version=claim.endpoint_version)
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
            recent.probe = Probe.SUCCESS if success else Probe.FAILURE
        if recent.gone or recent.probe or recent.too_many or recent.in_a_row == self._settings.breaker_failures:
            self._now.set()

    async def run(self, hold: Callable[[UUID], None]) -> None:
        """Write what changed until cancelled; `hold` is called with each subscription that gets nothing for a while."""

        async def step() -> None:
            for subscription_id in await self.flush():
                hold(subscription_id)

        await background.repeat(
            step,
            interval_seconds=FLUSH_SECONDS,
            retry_seconds=RETRY_SECONDS,
            at_once=False,
            quiet=True,
            wake=self._now,
        )

    async def flush(self) -> set[UUID]:
        """Write what changed, and return whom to hold; what cannot be written is kept for the next time."""
        held: set[UUID] = set()
        sums = [recent.sum(subscription_id) for subscription_id, recent in self._recent.items() if recent.changed]
        if sums:
            # As of now: a subscription may get another endpoint while this is written.
            target_urls = {seen.subscription_id: self._recent[seen.subscription_id].target_url for seen in sums}
            verdicts = await self._store.record_health(sums, self._settings)
            current = {verdict.subscription_id for verdict in verdicts}
            reasons = {
                seen.subscription_id: StatusReason.GONE
                for seen in sums
                if seen.gone and seen.subscription_id in current
            }
            for verdict in verdicts:
                if verdict.failing_for is not None and verdict.failing_for > self._disable_after:
                    reasons.setdefault(verdict.subscription_id, StatusReason.FAILING)
                if verdict.changed:
                    metrics.BREAKER_CHANGES.labels(verdict.breaker).inc()
                    self._tell(verdict, target_urls[verdict.subscription_id])
                if verdict.breaker is BreakerState.OPEN:
                    held.add(verdict.subscription_id)
            if reasons:
                await self._disable(reasons, sums, target_urls)
                held |= reasons.keys()
            if reasons or any(verdict.changed for verdict in verdicts):
                self._signals.wake(DUE)
                self._signals.wake(FACTS)
            self._settle(sums, {verdict.subscription_id: verdict.changed for verdict in verdicts})
        self._lines.summarize()
        self._forget()
        return held

    def _settle(self, sums: Sequence[Sum], moved: Mapping[UUID, bool]) -> None:
        """Take away what was written. `moved` says of each endpoint that still is one whether its breaker moved."""
        for sent in sums:
            recent = self._recent.get(sent.subscription_id)
            if recent is None or recent.endpoint_version != sent.endpoint_version:
                continue  # the subscription has another endpoint meanwhile
            if sent.subscription_id not in moved:
                del self._recent[sent.subscription_id]
                continue
            recent.settle(sent)
            if moved[sent.subscription_id]:  # what was before does not count against it again
                recent.seconds.clear()
                recent.too_many = None

    def _tell(self, verdict: Verdict, target_url: str) -> None:
        """Log that an endpoint started failing or recovered, but not failed probes."""
        if verdict.breaker is BreakerState.CLOSED:
            self._lines.recovered(verdict.subscription_id, target_url)
        elif verdict.before is BreakerState.CLOSED:
            self._lines.failing(
                verdict.subscription_id,
                target_url,
                reason=verdict.breaker_reason or "",
                failures=verdict.consecutive_failures,
                next_probe=verdict.probe_at,
            )

    async def _disable(
        self, reasons: Mapping[UUID, StatusReason], sums: Sequence[Sum], target_urls: Mapping[UUID, str]
    ) -> None:
        last_errors = {seen.subscription_id: seen.last_error for seen in sums}
        for disabled in await self._store.disable(reasons, sums):
            metrics.SUBSCRIPTIONS_DISABLED.labels(disabled.reason).inc()
            self._lines.disabled(
                disabled.subscription_id,
                target_urls[disabled.subscription_id],
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

    def _forget(self) -> None:
        since = time.monotonic() - self._settings.breaker_window_seconds
        done = [
            subscription_id
            for subscription_id, recent in self._recent.items()
            if not recent.changed and not recent.failing and (not recent.seconds or recent.seconds[-1].at < since)
        ]
        for subscription_id in done:
            del self._recent[subscription_id]
