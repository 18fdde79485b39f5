"""What consumers ask for by DeliveryService: due deliveries, and to take what they report of them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from protos.webhook.v1 import deliveries_pb2 as pb
from services.delivery.destinations import destination
from services.delivery.destinations.pull import leases, metrics
from services.delivery.destinations.pull.idle import Idle
from services.delivery.destinations.pull.requests import Requests
from services.delivery.destinations.pull.store import Leased, Pulled, PullStore, Source
from services.delivery.destinations.pull.waiting import Waiting
from services.delivery.worker import decisions
from services.delivery.worker.claims import Outcome
from services.delivery.worker.live import Live
from services.domain import deliveries, limits, retry_policy
from services.domain.retry_policy import RetryPolicy
from services.domain.secrets.encryption import CannotOpen
from services.domain.states import AttemptOutcome
from services.domain.templates.template import TemplateFailed
from services.platform import errors, ids
from services.platform.auth import identity
from services.platform.grpc import conversion
from services.platform.process.shares import ConcurrencyLimit
from services.platform.stores.signals import Signals

log = structlog.get_logger(__name__)

# Of the payloads in one answer, unless a single one is larger.
ANSWER_BYTES = 4 << 20
# That consumers of streams have not read; a single tenant gets half. With more, its streams lease nothing.
MAX_UNREAD_BYTES = 64 << 20
# Between looks of a stream at what its consumer still holds.
HELD_SECONDS = 1.0
_OUTCOMES = frozenset((pb.PULL_OUTCOME_SUCCESS, pb.PULL_OUTCOME_FAILURE, pb.PULL_OUTCOME_EXTEND))
_RECORDED, _LEASE_EXPIRED, _NOT_FOUND = (
    pb.PULL_RESULT_STATUS_RECORDED,
    pb.PULL_RESULT_STATUS_LEASE_EXPIRED,
    pb.PULL_RESULT_STATUS_NOT_FOUND,
)
# What is recorded of a lease that ended without a report.
_UNREPORTED = frozenset({AttemptOutcome.LEASE_EXPIRED, AttemptOutcome.INTERRUPTED})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Report:
    """What a consumer reports of a delivery."""

    lease: tuple[UUID, UUID]
    result: pb.PullResult


class Held:
    """What the consumer of a stream holds without a report, as far as this process knows."""

    def __init__(self) -> None:
        # Tokens by delivery.
        self.leases: dict[UUID, UUID] = {}
        self._less = asyncio.Event()

    def __len__(self) -> int:
        """Return how many."""
        return len(self.leases)

    def add(self, pulled: Iterable[pb.PulledDelivery]) -> None:
        """Note what it was leased."""
        self.leases |= {UUID(one.id): UUID(one.lease_token) for one in pulled}

    def forget(self, delivery_ids: Iterable[UUID]) -> None:
        """Note that it no longer holds these."""
        for delivery_id in delivery_ids:
            if self.leases.pop(delivery_id, None):
                self._less.set()

    def keep(self, delivery_ids: Collection[UUID]) -> None:
        """Note that it holds no others than these."""
        self.forget([delivery_id for delivery_id in self.leases if delivery_id not in delivery_ids])

    async def wait(self, seconds: float) -> None:
        """Wait until it holds less."""
        self._less.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._less.wait()


class Pulls:
    """Leases deliveries to consumers, and records what they report."""

    def __init__(
        self,
        store: PullStore,
        waiting: Waiting,
        requests: Requests,
        idle: Idle,
        policy: RetryPolicy,
        heard: Signals,
        live: Live,
    ) -> None:
        self._store = store
        self._waiting = waiting
        self._requests = requests
        self._idle = idle
        self._policy = policy
        self._signals = heard
        self._live = live
        self._streams: set[Held] = set()
        # Bytes that streams have sent and consumers have not read. Without room streams wait, so nobody is told.
        self._unread = ConcurrencyLimit(MAX_UNREAD_BYTES, none_free="", too_many="")
        self._giving_back: set[asyncio.Future[set[UUID]]] = set()

    # -- pulling --

    async def pull(self, tenant_id: str, request: pb.PullDeliveriesRequest) -> list[pb.PulledDelivery]:
        """Lease due deliveries of a subscription; wait for some if there are none."""
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        number, wait_seconds, lease_seconds = _asked(request)
        self._requests.check()
        policy = self._policy_of(await self._source(tenant_id, subscription_id))
        until = time.monotonic() + wait_seconds
        with self._waiting.place(subscription_id):
            while not (found := await self._try(subscription_id, number, lease_seconds, policy)):
                if not await self._waiting.wait(subscription_id, until - time.monotonic()):
                    break
                await identity.check_again()
        return found

    async def stream(self, tenant_id: str, request: pb.PullRequest) -> AsyncIterator[list[pb.PulledDelivery]]:
        """Lease deliveries as they become due, while the consumer holds fewer than it asks for without a report."""
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        most, lease_seconds = _flow(request)
        self._requests.check()
        source = await self._source(tenant_id, subscription_id)
        policy = self._policy_of(source)
        held = Held()
        with self._waiting.place(subscription_id), self._following(held):
            while True:
                if source.expires:
                    self._idle.note(subscription_id)
                room = min(most - len(held), int(limits.PULLED_DELIVERIES.most))
                if not self._unread.has_room(tenant_id):
                    room = 0
                if room and (found := await self._try(subscription_id, room, lease_seconds, policy)):
                    held.add(found)
                    # Flow control of HTTP/2 makes this last until the consumer has read nearly all of it.
                    with self._counted(tenant_id, sum(one.ByteSize() for one in found)):
                        yield found
                    continue
                if room:
                    await self._waiting.wait(subscription_id, HELD_SECONDS)
                else:
                    await held.wait(HELD_SECONDS)
                # Before more is leased, to nobody then.
                await identity.check_again()
                # Others may have taken its reports, and leases end.
                if len(held) > most / 2:
                    held.keep(await self._store.held(held.leases))

    @contextlib.contextmanager
    def _counted(self, tenant_id: str, number: int) -> Iterator[None]:
        """Count what a consumer has not read."""
        metrics.UNREAD.inc(number)
        try:
            with self._unread.held(tenant_id, number):
                yield
        finally:
            metrics.UNREAD.dec(number)

    @contextlib.contextmanager
    def _following(self, held: "Held") -> Iterator[None]:
        """Tell a stream of the reports that this process takes."""
        self._streams.add(held)
        try:
            yield
        finally:
            self._streams.discard(held)

    async def _try(
        self, subscription_id: UUID, number: int, lease_seconds: float, policy: RetryPolicy
    ) -> list[pb.PulledDelivery]:
        while True:
            claiming = asyncio.ensure_future(
                self._store.pull(
                    subscription_id,
                    number=number,
                    token=ids.new(),
                    lease_seconds=lease_seconds,
                    payload_bytes=ANSWER_BYTES,
                )
            )
            try:
                pulled = await asyncio.shield(claiming)
            except asyncio.CancelledError:
                claiming.add_done_callback(self._give_back)
                raise
            if pulled:  # there may be more, for others
                self._waiting.wake(subscription_id)
            found, ended = await self._found(pulled, policy)
            if ended:
                await self._record(ended)
            if found or not pulled:
                metrics.PULLED.inc(len(found))
                return found

    def _give_back(self, claiming: "asyncio.Task[list[Pulled]]") -> None:
        """Make what was claimed due again, for its consumer has left."""
        if claiming.cancelled() or claiming.exception() is not None or not (pulled := claiming.result()):
            return
        token = pulled[0].claim.token
        giving = asyncio.ensure_future(
            deliveries.mark_due(self._store.pool, [one.claim.id for one in pulled], token=token)
        )
        self._giving_back.add(giving)
        giving.add_done_callback(self._giving_back.discard)
        self._signals.wake(deliveries.DUE)

    async def _found(
        self, pulled: Sequence[Pulled], policy: RetryPolicy
    ) -> tuple[list[pb.PulledDelivery], list[Outcome]]:
        """Return what consumers get, and the outcomes of what cannot be given to them."""
        found, ended = [], []
        for one in sorted(pulled, key=lambda one: one.claim.id):
            claim = one.claim
            if claim.payload is None:
                ended.append(decisions.without_payload(claim))
                continue
            try:
                made = await self._requests.rendered(claim, claim.payload)
                found.append(self._requests.of(one, claim.payload, made))
            except CannotOpen as error:
                log.error(  # noqa: TRY400 - its trace says nothing more
                    "a secret of a subscription cannot be decrypted; nothing is pulled",
                    subscription_id=str(claim.subscription_id),
                    delivery_id=str(claim.id),
                    reason=str(error),
                )
                message = "the subscription's secrets cannot be decrypted; nothing was pulled"
                attempt = leases.attempt_of(claim, AttemptOutcome.SECRET_UNREADABLE, error_message=message)
                ended.append(decisions.decide(claim, [attempt], policy))
            except TemplateFailed as failed:
                message = destination.message_text(f"the template failed: {failed}; nothing was pulled")
                attempt = leases.attempt_of(claim, AttemptOutcome.TEMPLATE_FAILED, error_message=message)
                ended.append(decisions.decide(claim, [attempt], policy))
        return found, ended

    # -- reports --

    async def report(self, tenant_id: str, request: pb.ReportRequest) -> list[pb.ReportedResult]:
        """Record what consumers report; return what became of each report, in their order."""
        subscription_id = ids.parse("subscription_id", request.subscription_id)
        reports = _reports(request)
        policy = self._policy_of(await self._source(tenant_id, subscription_id))
        found: dict[UUID, pb.ReportedResult] = {}
        extensions = [one for one in reports.values() if one.result.outcome == pb.PULL_OUTCOME_EXTEND]
        if extensions:
            await self._extend(subscription_id, extensions, found)
        # Twice: a lease may end between the look and the record.
        for _ in range(2):
            left = [one for name, one in reports.items() if name not in found]
            if left:
                await self._settle(subscription_id, left, policy, found)
        return [found.get(name) or pb.ReportedResult(delivery_id=str(name), status=_LEASE_EXPIRED) for name in reports]

    async def _extend(
        self, subscription_id: UUID, reports: Sequence[_Report], found: dict[UUID, pb.ReportedResult]
    ) -> None:
        seconds = [
            one.result.lease_seconds if one.result.HasField("lease_seconds") else limits.DEFAULT_LEASE_SECONDS
            for one in reports
        ]
        extended = await self._store.extend(subscription_id, [one.lease for one in reports], seconds)
        for name, lease_until in extended.items():
            stamp = conversion.stamp(lease_until)
            found[name] = pb.ReportedResult(delivery_id=str(name), status=_RECORDED, lease_expires_at=stamp)

    async def _settle(
        self,
        subscription_id: UUID,
        reports: Sequence[_Report],
        policy: RetryPolicy,
        found: dict[UUID, pb.ReportedResult],
    ) -> None:
        """Record reports of leases that are held, and late successes; say of others what is known."""
        known = await self._store.leased(subscription_id, [one.lease for one in reports])
        held: list[Outcome] = []
        late: list[Outcome] = []
        for one in reports:
            name, _ = one.lease
            leased = known.get(name)
            if leased is None:
                found[name] = pb.ReportedResult(delivery_id=str(name), status=_NOT_FOUND)
            elif one.result.outcome == pb.PULL_OUTCOME_EXTEND:
                continue  # it is no longer held
            elif leased.held:
                held.append(_outcome(one, leased, policy))
            elif leased.recorded is not None:
                outcome = _outcome(one, leased, policy)
                succeeded = outcome.attempts[0].outcome is AttemptOutcome.SUCCESS
                if leased.recorded in _UNREPORTED and succeeded:
                    late.append(outcome)
                elif (leased.recorded == AttemptOutcome.SUCCESS) is succeeded and leased.recorded not in _UNREPORTED:
                    found[name] = pb.ReportedResult(delivery_id=str(name), status=_RECORDED)  # a repeated report
        if late:
            await self._store.record_late(sorted(late, key=lambda outcome: outcome.claim.id))
        recorded = {outcome.claim.id for outcome in late} | await self._record(held)
        for name in recorded:
            found[name] = pb.ReportedResult(delivery_id=str(name), status=_RECORDED)

    async def _record(self, made: Sequence[Outcome]) -> set[UUID]:
        """Record outcomes of leases that are held; return which were."""
        if not made:
            return set()
        changed = await self._store.record_held(self._store.pool, made)
        for outcome in made:
            if outcome.claim.id in changed:
                for attempt in outcome.attempts:
                    metrics.RESULTS.labels(attempt.outcome).inc()
        decisions.count_ended(changed.values())
        decisions.tell(self._signals, made)
        self._live.note([outcome for outcome in made if outcome.claim.id in changed])
        return set(changed)

    async def _source(self, tenant_id: str, subscription_id: UUID) -> Source:
        """Return a subscription that the caller may pull from; NotFound, Conflict, PermissionDenied."""
        identity.check_pulls_from(subscription_id)
        source = await self._store.source(tenant_id, subscription_id)
        if source.expires:
            self._idle.note(subscription_id)
        return source

    def _policy_of(self, source: Source) -> RetryPolicy:
        text = source.retry_policy
        return retry_policy.stored(text, self._policy) if text else self._policy


def _asked(request: pb.PullDeliveriesRequest) -> tuple[int, float, float]:
    """Return how many deliveries a request asks for, how long it waits, and for how long it leases them."""
    number = request.max_deliveries if request.HasField("max_deliveries") else int(limits.PULLED_DELIVERIES.most)
    lease_seconds = request.lease_seconds if request.HasField("lease_seconds") else limits.DEFAULT_LEASE_SECONDS
    violations = [
        *limits.PULLED_DELIVERIES.violations("max_deliveries", number),
        *limits.WAIT_SECONDS.violations("wait_seconds", request.wait_seconds),
        *limits.LEASE_SECONDS.violations("lease_seconds", lease_seconds),
    ]
    if violations:
        raise errors.InvalidArgument.of(*violations)
    return number, request.wait_seconds, lease_seconds


def _flow(request: pb.PullRequest) -> tuple[int, float]:
    """Return how many deliveries a consumer holds at once, and for how long they are leased."""
    most = request.max_outstanding if request.HasField("max_outstanding") else limits.DEFAULT_OUTSTANDING
    lease_seconds = request.lease_seconds if request.HasField("lease_seconds") else limits.DEFAULT_LEASE_SECONDS
    violations = [
        *limits.OUTSTANDING.violations("max_outstanding", most),
        *limits.LEASE_SECONDS.violations("lease_seconds", lease_seconds),
    ]
    if violations:
        raise errors.InvalidArgument.of(*violations)
    return most, lease_seconds


def _reports(request: pb.ReportRequest) -> dict[UUID, _Report]:
    """Return the reports by their delivery; InvalidArgument, which names the field, for what is none."""
    most = int(limits.PULLED_DELIVERIES.most)
    if not 1 <= len(request.results) <= most:
        raise errors.InvalidArgument.field("results", f"must have 1 to {most} entries")
    found: dict[UUID, _Report] = {}
    violations: list[errors.Violation] = []
    for place, result in enumerate(request.results):
        prefix = f"results.{place}"
        violations += _violations(prefix, result)
        delivery_id = ids.parse(f"{prefix}.delivery_id", result.delivery_id)
        token = ids.parse(f"{prefix}.lease_token", result.lease_token)
        if delivery_id in found:
            violations.append(_violation(f"{prefix}.delivery_id", "appears more than once in this request"))
        found[delivery_id] = _Report(lease=(delivery_id, token), result=result)
    if violations:
        raise errors.InvalidArgument.of(*violations)
    return found


def _violations(prefix: str, result: pb.PullResult) -> list[errors.Violation]:
    found = []
    if result.outcome not in _OUTCOMES:
        found.append(_violation(f"{prefix}.outcome", "must be success, failure, or extend"))
    for name, bounds in (
        ("status_code", limits.STATUS_CODE),
        ("duration_ms", limits.DURATION_MS),
        ("lease_seconds", limits.LEASE_SECONDS),
    ):
        if result.HasField(name):  # type: ignore[arg-type]  # one of these three
            found += bounds.violations(f"{prefix}.{name}", getattr(result, name))
    if result.HasField("lease_seconds") and result.outcome != pb.PULL_OUTCOME_EXTEND:
        found.append(_violation(f"{prefix}.lease_seconds", "requires outcome extend"))
    if len(result.message) > destination.MESSAGE_CHARACTERS:
        found.append(_violation(f"{prefix}.message", f"must be at most {destination.MESSAGE_CHARACTERS} characters"))
    return found


def _violation(field: str, description: str) -> errors.Violation:
    return errors.Violation(field=field, description=description)


def _outcome(report: _Report, leased: Leased, policy: RetryPolicy) -> Outcome:
    """Return what a report makes of its delivery."""
    row: Any = leased.row
    _, token = report.lease
    result = report.result
    claim = leases.claim_of(row, token, moment=row["now"])
    succeeded = result.outcome == pb.PULL_OUTCOME_SUCCESS
    status_code = result.status_code if result.HasField("status_code") else None
    message = destination.message_text(result.message) if result.HasField("message") else None
    attempt = leases.attempt_of(
        claim,
        AttemptOutcome.SUCCESS if succeeded else _failure(status_code),
        status_code=status_code,
        error_message=None if succeeded else message or "the consumer reported a failure",
        response_body=message if succeeded else None,
        duration_ms=result.duration_ms if result.HasField("duration_ms") else None,
    )
    return decisions.decide(claim, [attempt], policy)


def _failure(status_code: int | None) -> AttemptOutcome:
    """Return the kind of a reported failure, by the status code that describes it if it is one of a failure."""
    if status_code is None:
        return AttemptOutcome.CONSUMER_FAILED
    found = decisions.outcome_of_status(status_code)
    says_nothing = found in {AttemptOutcome.SUCCESS, AttemptOutcome.INVALID_RESPONSE}
    return AttemptOutcome.CONSUMER_FAILED if says_nothing else found
