"""Judge the evidence: nothing lost, no unexplained duplicate, and every attempt agrees with the receiver."""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from dev.chaos import events
from dev.chaos.evidence import Attempt, Delivery, Evidence, Opening, Request, Span
from dev.chaos.generator import RETRYABLE
from dev.chaos.puller import LEASE_SECONDS as PULL_LEASE_SECONDS
from dev.chaos.stack import DELIVERY_TIMEOUT_SECONDS, GUARD_SECONDS, LEASE_SECONDS

# From a response until its outcome is committed, if nothing interferes.
RECORDING_SECONDS = 2.0
# What Postgres commits without waiting is on disk after at most three times wal_writer_delay, which is 0.2 s.
UNDONE_SECONDS = 0.6
# How long after a fault a response to a request from that time can still arrive.
ANSWER_SECONDS = 2.0
# A response this close to its deadline, or after it, may not be read.
DEADLINE_SECONDS = 1.0
# A request that was held up arrives within this many seconds after the fault that held it.
ARRIVAL_SECONDS = 5.0
# From the end of a lease until the dispatcher notices it, on a busy machine.
NOTICE_SECONDS = 15.0
# Without faults, a delivery starts within this many seconds: half of what a lost bell costs.
LATE_SECONDS = 5.0
# What the two clocks of a machine may differ by in a run: due times are of the one, times of requests of the other.
CLOCKS_SECONDS = 0.01
# How long a fault has effects: retries with their delays, leases, a backlog.
FELT_SECONDS = 60.0


def find_duplicates(requests: Sequence[Request]) -> list[tuple[Request, Request]]:
    """Return the requests that started after a 2xx response to their delivery, each with the last such response."""
    found = []
    for request in requests:
        before = [r for r in requests if r.succeeded and r.answered_at is not None and r.answered_at < request.begun_at]
        if before:
            found.append((request, max(before, key=lambda r: r.answered_at or 0.0)))
    return found


def fault_of_duplicate(answered: Request, spans: Sequence[Span]) -> Span | None:
    """Return the fault that kept this 2xx from being recorded, or None."""
    at = answered.answered_at or 0.0
    for span in spans:
        if not span.kind.duplicates or span.ended_at - span.began_at < span.kind.of_lease * LEASE_SECONDS:
            continue
        # Faults that delay recording extend the time before the fault.
        begin = min(
            [span.began_at - RECORDING_SECONDS]
            + [
                other.began_at - RECORDING_SECONDS
                for other in spans
                if other.kind.delays_recording and other.began_at <= span.began_at <= other.ended_at + RECORDING_SECONDS
            ]
        )
        if begin <= at <= span.ended_at + ANSWER_SECONDS:
            return span
    return None


def fault_of_undone_claim(answered: Request, spans: Sequence[Span]) -> Span | None:
    """Return the crash that may have undone the claim of this request, or None: claims do not wait for the disk."""
    for span in spans:
        if span.kind.undoes_claims and span.began_at - UNDONE_SECONDS <= answered.begun_at <= span.began_at:
            return span
    return None


def is_forgotten(request: Request, spans: Sequence[Span]) -> bool:
    """Return whether nobody knows this request: a crash undid its claim, and its worker died before it recorded it."""
    crash = fault_of_undone_claim(request, spans)
    return crash is not None and any(
        span.kind.family == "kill"
        and span.kind.interrupts
        and crash.began_at <= span.began_at <= crash.ended_at + RECOVERY_SECONDS
        for span in spans
        if span is not crash
    )


def is_superseded(request: Request, attempts: Sequence[Attempt]) -> bool:
    """Return whether this was pulled just before a success that was reported late ended its delivery.

    A consumer held its report for longer than its lease, while nothing could be recorded. Then there is nothing left to
    record of the consumer that pulled the delivery after it: its report is answered that its lease is over.
    """
    return (
        request.pulled
        and request.answered_at is None
        and any(
            attempt.outcome == SUCCESS
            and request.begun_at - attempt.started_at >= PULL_LEASE_SECONDS
            and attempt.recorded_at >= request.begun_at - RECORDING_SECONDS
            for attempt in attempts
        )
    )


def fault_of_delay(late: Request, attempts: Sequence[Attempt], spans: Sequence[Span]) -> Span | None:
    """Return the fault that delayed this request until its worker gave up and sent another one.

    The request was sent during the fault, by an attempt that does not know its response, and arrived soon after the
    fault.
    """
    for span in spans:
        if span.kind.delays_requests and span.began_at <= late.begun_at <= span.ended_at + ARRIVAL_SECONDS:
            begin, end = span.began_at - ANSWER_SECONDS, span.ended_at + ANSWER_SECONDS
            if any(a.status_code is None and begin <= a.started_at <= end for a in attempts):
                return span
    return None


def answered_late(answered: Request, attempts: Sequence[Attempt], spans: Sequence[Span]) -> bool:
    """Return whether this response came about when its worker gave up, so that the worker did not read it.

    A slow receiver or a machine that is too busy can cause this; in a run without faults it must not happen.
    """
    at = answered.answered_at or 0.0
    deadlines = [a.started_at + DELIVERY_TIMEOUT_SECONDS for a in attempts if a.outcome == "timeout"]
    return bool(spans) and any(abs(at - deadline) <= DEADLINE_SECONDS for deadline in deadlines)


def fault_of_interruption(recorded_at: float, spans: Sequence[Span]) -> Span | None:
    """Return the fault that interrupted an attempt recorded as interrupted, or None."""
    earliest = recorded_at - LEASE_SECONDS - GUARD_SECONDS - NOTICE_SECONDS
    found = [
        span for span in spans if span.kind.interrupts and span.began_at <= recorded_at and span.ended_at >= earliest
    ]
    return max(found, key=lambda span: span.began_at, default=None)


def fault_of_lateness(accepted_at: float, begun_at: float, spans: Sequence[Span]) -> bool:
    """Return whether any fault can explain a late delivery."""
    return any(span.began_at <= begun_at and span.ended_at + FELT_SECONDS >= accepted_at for span in spans)


def breaker_of_lateness(
    accepted_at: float, begun_at: float, openings: Sequence[Opening], spans: Sequence[Span]
) -> bool:
    """Return whether a late delivery waited for the breaker of its endpoint, which a fault opened, or behind others."""
    return any(
        opening.began_at <= begun_at
        and opening.ended_at + FELT_SECONDS >= accepted_at
        and fault_of_lateness(opening.began_at, opening.began_at, spans)
        for opening in openings
    )


# How long a request may be out when its worker is killed; those of the slow endpoint are the longest.
OUT_SECONDS = 1.5
# From the record of a kill until the process is dead.
KILL_SECONDS = 0.1
# From the end of a fault until requests are out as before.
RECOVERY_SECONDS = 5.0
# A kill that cut fewer requests did not put the question whether anything is sent twice.
FEWEST_CUT = 10


def cut_by_kills(requests: Sequence[Request], spans: Sequence[Span]) -> list[int]:
    """Return for each kill of a worker how many requests were out then and never got their response.

    Only for kills when no other fault kept requests away, or their responses.
    """
    found = []
    for span in spans:
        others = [other for other in spans if other is not span]
        felt = any(other.began_at <= span.began_at <= other.ended_at + RECOVERY_SECONDS for other in others)
        if span.kind.family == "kill" and span.kind.interrupts and not felt:
            out = [r for r in requests if span.began_at - OUT_SECONDS <= r.begun_at <= span.began_at + KILL_SECONDS]
            found.append(sum(request.status is None for request in out))
    return found


def too_gentle(verdict: "Verdict") -> list[str]:
    """Return what makes a run say little about duplicates, in words."""
    if verdict.fewest_cut is None or verdict.fewest_cut >= FEWEST_CUT:
        return []
    return [f"a kill of a worker cut {verdict.fewest_cut} requests, fewer than {FEWEST_CUT}: raise --rate"]


INTERRUPTED = "interrupted"
SUCCESS = "success"
# Attempts with these outcomes never reached the receiver as a request.
_UNSENT = frozenset(
    {"connect", "dns", "tls", "egress_denied", "invalid_request", "secret_unreadable", "template_failed"}
)
# A worker can send two requests under one claim, the second because the first connection was dead. If the worker is
# then lost, one interrupted attempt stands for both.
REQUESTS_OF_AN_INTERRUPTION = 2


def find_mismatches(delivery: Delivery, requests: Sequence[Request], spans: Sequence[Span] = ()) -> list[str]:
    """Return mismatches between a delivery's attempts and the requests that the receiver got for it."""
    return [*_unmatched(delivery.attempts, requests, spans), *_wrong_end(delivery, requests)]


def _unmatched(attempts: Sequence[Attempt], requests: Sequence[Request], spans: Sequence[Span]) -> Iterable[str]:
    """Match each attempt with a status code to one request, and each request to one attempt.

    A request with a response matches an attempt with that status, or one that does not know its response. So no status
    may appear in more attempts than requests, and the remaining requests must match the remaining attempts.
    """
    recorded = Counter(attempt.status_code for attempt in attempts if attempt.status_code is not None)
    answered = Counter(request.status for request in requests if request.status is not None)
    for status, count in recorded.items():
        if count > answered[status]:
            yield f"{count} attempts with status {status}, {answered[status]} requests with this response"
    blind = [a for a in attempts if a.status_code is None and a.outcome not in _UNSENT]
    interrupted = sum(attempt.outcome == INTERRUPTED for attempt in blind)
    room = len(blind) + interrupted * (REQUESTS_OF_AN_INTERRUPTION - 1)
    room += sum(is_forgotten(request, spans) or is_superseded(request, attempts) for request in requests)
    left = len(requests) - sum(min(count, answered[status]) for status, count in recorded.items())
    if left > room:
        yield f"{len(requests)} requests, of which {left - room} have no attempt"


def _wrong_end(delivery: Delivery, requests: Sequence[Request]) -> Iterable[str]:
    if delivery.queued != (delivery.status == "pending"):
        yield f"{delivery.status} in history, and {'' if delivery.queued else 'not '}in the queue"
    successes = [attempt for attempt in delivery.attempts if attempt.outcome == SUCCESS]
    if delivery.status == "delivered" and not successes:
        yield "delivered without a successful attempt"
    if delivery.status != "delivered" and successes:
        yield f"{delivery.status} ({delivery.reason}) despite a successful attempt"
    if delivery.status == "failed" and not any(attempt.outcome != INTERRUPTED for attempt in delivery.attempts):
        yield f"failed ({delivery.reason}) without an attempt"
    if delivery.status == "delivered" and not any(_is_success(request) for request in requests):
        yield "delivered, but the receiver never returned 2xx"
    numbers = [attempt.number for attempt in delivery.attempts]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"attempts are numbered {numbers}"


def _is_success(request: Request) -> bool:
    return request.status is not None and 200 <= request.status < 300  # noqa: PLR2004


ACCEPTED = 202
# Not an injected fault: counts duplicates whose first response arrived at the worker's deadline.
ANSWERED_LATE = "answered-late"
# Nor is this: counts deliveries that waited for a breaker after the last fault.
BREAKER = "breaker"
EXAMPLES = 20


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Counts of events (accepted), and of deliveries, requests or attempts (the others)."""

    accepted: int
    deliveries: int
    delivered: int
    failed: int
    # Accepted events without all deliveries ended, or with a delivery recorded as delivered that never got a 2xx.
    lost: int
    # Requests that started after a 2xx response to the same delivery, and those that no fault explains.
    duplicates: int
    unexplained_duplicates: int
    # Attempts whose end is unknown, and those that no fault explains.
    interrupted: int
    unexplained_interruptions: int
    # Events that were due later than they were sent, and deliveries of theirs that started before.
    scheduled: int
    early: int
    # Deliveries that filters kept away from subscriptions, and those that they should have kept away, with second ones
    # of an event to a subscription.
    kept_away: int
    misrouted: int
    # Requests with what a template makes of their event, and those that carried neither that nor the payload, or the
    # wrong one of the two.
    rendered: int
    misrendered: int
    # How often conversions changed. Requests with what an event was converted to for a pinned receiver, and those that
    # such receivers got in another version, that do not fit it, or with other bytes than before.
    conversions: int
    converted: int
    misversioned: int
    # Deliveries that started more than five seconds after their event was accepted, or due, after the faults, because a
    # fault had opened the breaker of their endpoint; and those without a fault near.
    late_by_breaker: int
    unexplained_late: int
    # Stored deliveries of events without a 202: the response was lost, not the event.
    ambiguous: int
    # Keys with more than one stored event.
    doubled_keys: int
    # Sends that were refused permanently, or never accepted.
    refused: int
    # Deliveries whose attempts and requests disagree, or whose row in the queue disagrees with history.
    mismatched: int
    requests: int
    tries: int
    # The fewest requests that the kill of a worker cut; None if none was killed while nothing else was wrong.
    fewest_cut: int | None
    # The number of faults of each kind.
    by_fault: Mapping[str, Mapping[str, float]]
    # Descriptions of what is wrong, at most twenty.
    findings: Sequence[str]

    @property
    def ok(self) -> bool:
        """Return whether the promise was kept."""
        return not (
            self.lost
            or self.unexplained_duplicates
            or self.unexplained_interruptions
            or self.unexplained_late
            or self.early
            or self.misrouted
            or self.misrendered
            or self.misversioned
            or self.doubled_keys
            or self.refused
            or self.mismatched
        )


class _Findings:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: list[str] = []

    def add(self, count: str, text: str) -> None:
        self.counts[count] += 1
        if self.counts[count] <= EXAMPLES:
            self.examples.append(f"{count}: {text}")


def judge(evidence: Evidence) -> Verdict:
    """Return the verdict over one run."""
    found = _Findings()
    by_event: defaultdict[UUID, list[Delivery]] = defaultdict(list)
    for delivery in evidence.deliveries:
        by_event[delivery.event_id].append(delivery)
    by_delivery: defaultdict[UUID, list[Request]] = defaultdict(list)
    for request in evidence.requests:
        by_delivery[request.delivery_id].append(request)
    explained: Counter[str] = Counter()

    _judge_sends(evidence, by_event, found)
    _judge_keys(evidence, found)
    for count, texts in (
        ("misrouted", events.misrouted(evidence)),
        ("misrendered", events.misrendered(evidence)),
        ("misversioned", events.misversioned(evidence)),
    ):
        for text in texts:
            found.add(count, text)
    _judge_lateness(evidence, by_event, by_delivery, found, explained)
    duplicates = interrupted = 0
    for delivery in evidence.deliveries:
        requests = by_delivery[delivery.id]
        for text in find_mismatches(delivery, requests, evidence.spans):
            found.add("mismatched", f"{delivery.id}: {text}; {_story(delivery, requests)}")
        duplicates += _judge_duplicates(delivery, requests, evidence, found, explained)
        interrupted += _judge_interruptions(delivery, requests, evidence, found)
    accepted_ids = {send.event_id for send in evidence.sends if send.accepted}
    status = Counter(delivery.status for delivery in evidence.deliveries)
    return Verdict(
        accepted=len(accepted_ids),
        deliveries=len(evidence.deliveries),
        delivered=status["delivered"],
        failed=status["failed"],
        lost=found.counts["lost"],
        duplicates=duplicates,
        unexplained_duplicates=found.counts["unexplained duplicate"],
        interrupted=interrupted,
        unexplained_interruptions=found.counts["unexplained interruption"],
        scheduled=sum(send.accepted and send.due_at is not None for send in evidence.sends),
        early=found.counts["early"],
        kept_away=sum(send.kept_away for send in evidence.sends if send.accepted),
        misrouted=found.counts["misrouted"],
        rendered=sum(request.form == events.Form.RENDERED for request in evidence.requests),
        misrendered=found.counts["misrendered"],
        conversions=evidence.conversions,
        converted=sum(request.form == events.Form.CONVERTED for request in evidence.requests),
        misversioned=found.counts["misversioned"],
        late_by_breaker=explained[BREAKER],
        unexplained_late=found.counts["late"],
        ambiguous=sum(delivery.event_id not in accepted_ids for delivery in evidence.deliveries),
        doubled_keys=found.counts["doubled key"],
        refused=found.counts["refused"],
        mismatched=found.counts["mismatched"],
        requests=len(evidence.requests),
        tries=sum(len(send.tries) for send in evidence.sends),
        fewest_cut=min(cut_by_kills(evidence.requests, evidence.spans), default=None),
        by_fault=_by_fault(evidence, explained),
        findings=found.examples,
    )


def _judge_sends(evidence: Evidence, by_event: Mapping[UUID, list[Delivery]], found: _Findings) -> None:
    for send in evidence.sends:
        if send.event_id is None:
            statuses = Counter(status for _, _, status in send.tries)
            found.add("refused", f"{send.key}: answered {dict(statuses)}, never accepted")
            continue
        wrong = [status for _, _, status in send.tries if status != ACCEPTED and status not in RETRYABLE]
        if wrong:
            found.add("refused", f"{send.key}: answered {wrong} before it was accepted")
        deliveries = by_event.get(send.event_id, [])
        stored = len({delivery.subscription_id for delivery in deliveries})
        if stored != send.endpoints:
            found.add("lost", f"{send.key}: accepted for {send.endpoints} endpoints, deliveries to {stored} stored")
        for delivery in deliveries:
            if delivery.status not in {"delivered", "failed"}:
                found.add("lost", f"{send.key}: delivery {delivery.id} ended as {delivery.status}")


def _judge_keys(evidence: Evidence, found: _Findings) -> None:
    for key, count in Counter(evidence.event_keys.values()).items():
        if count > 1:
            found.add("doubled key", f"{key}: {count} events stored")
    sent = {delivery.id: evidence.event_keys[delivery.event_id] for delivery in evidence.deliveries}
    for request in evidence.requests:
        if sent.get(request.delivery_id) != request.key:
            found.add("mismatched", f"{request.delivery_id}: carried the payload of {request.key}")


def _judge_lateness(
    evidence: Evidence,
    by_event: Mapping[UUID, list[Delivery]],
    by_delivery: Mapping[UUID, list[Request]],
    found: _Findings,
    explained: Counter[str],
) -> None:
    """Judge that nothing is early, or late: a lost bell costs ten seconds, and without a fault it is a bug."""
    openings: defaultdict[UUID, list[Opening]] = defaultdict(list)
    for opening in evidence.openings:
        openings[opening.subscription_id].append(opening)
    for send in evidence.sends:
        if send.event_id is None or send.slow:
            continue
        for delivery in by_event.get(send.event_id, []):
            requests = by_delivery.get(delivery.id, [])
            first = min((request.begun_at for request in requests), default=0.0)
            if requests and send.due_at is not None and first < send.due_at - CLOCKS_SECONDS:
                found.add("early", f"{delivery.id}: {send.due_at - first:.3f} s before it was due")
            late_seconds = first - send.ready_at
            if late_seconds <= LATE_SECONDS or fault_of_lateness(send.ready_at, first, evidence.spans):
                continue
            if breaker_of_lateness(send.ready_at, first, openings[delivery.subscription_id], evidence.spans):
                explained[BREAKER] += 1
            else:
                found.add("late", f"{delivery.id}: {late_seconds:.1f} s after it was accepted, or due")


def _judge_duplicates(
    delivery: Delivery, requests: Sequence[Request], evidence: Evidence, found: _Findings, explained: Counter[str]
) -> int:
    duplicates = find_duplicates(requests)
    for request, answered in duplicates:
        span = fault_of_duplicate(answered, evidence.spans) or fault_of_undone_claim(answered, evidence.spans)
        span = span or fault_of_delay(request, delivery.attempts, evidence.spans)
        if span:
            explained[span.kind.name] += 1
        elif answered_late(answered, delivery.attempts, evidence.spans):
            explained[ANSWERED_LATE] += 1
        else:
            found.add("unexplained duplicate", f"{delivery.id}: {_story(delivery, requests)}")
    return len(duplicates)


def _judge_interruptions(delivery: Delivery, requests: Sequence[Request], evidence: Evidence, found: _Findings) -> int:
    interruptions = [attempt for attempt in delivery.attempts if attempt.outcome == INTERRUPTED]
    for attempt in interruptions:
        if fault_of_interruption(attempt.recorded_at, evidence.spans) is None:
            began = attempt.started_at - evidence.spans[0].began_at if evidence.spans else 0.0
            lasted = attempt.recorded_at - attempt.started_at
            when = f"{began:.1f} s after the first fault, recorded {lasted:.1f} s later"
            what = f"{delivery.id} to {delivery.subscription_id}: attempt {attempt.number}"
            found.add("unexplained interruption", f"{what}, {when}; {_story(delivery, requests)}")
    return len(interruptions)


def _by_fault(evidence: Evidence, explained: Counter[str]) -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {}
    refusals = sorted(at for send in evidence.sends for at, _, status in send.tries if status != ACCEPTED)
    for span in evidence.spans:
        row = table.setdefault(span.kind.name, {"faults": 0, "seconds": 0.0, "refused_tries": 0, "duplicates": 0})
        row["faults"] += 1
        row["seconds"] = round(row["seconds"] + span.ended_at - span.began_at, 1)
        row["refused_tries"] += bisect_right(refusals, span.ended_at) - bisect_left(refusals, span.began_at)
        row["duplicates"] = explained[span.kind.name]
    if explained[ANSWERED_LATE]:
        table[ANSWERED_LATE] = {"faults": 0, "seconds": 0.0, "refused_tries": 0, "duplicates": explained[ANSWERED_LATE]}
    return dict(sorted(table.items()))


def _story(delivery: Delivery, requests: Sequence[Request]) -> str:
    """Return one line with what both sides know of a delivery."""
    attempts = ", ".join(
        f"#{a.number} {a.outcome} {a.status_code or ''} {a.started_at:.2f}-{a.recorded_at:.2f}"
        for a in delivery.attempts
    )
    seen = ", ".join(
        f"{r.begun_at:.2f}-{f'{r.answered_at:.2f}' if r.answered_at else ''} {r.status or 'unanswered'}"
        for r in requests
    )
    return f"{delivery.status} attempts [{attempts}] requests [{seen}]"
