"""What the evidence says: nothing lost, nothing twice without a reason, and the ledger as the receiver's log has it."""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from dev.chaos import explain, ledger
from dev.chaos.generator import RETRYABLE
from dev.chaos.records import Delivery, Evidence, Request

ACCEPTED = 202
# No fault by itself: among the faults, the line for duplicates whose first answer came at the worker's deadline.
ANSWERED_LATE = "answered-late"
EXAMPLES = 20


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Counts of events (accepted), and of deliveries, requests or attempts (the others)."""

    accepted: int
    deliveries: int
    delivered: int
    failed: int
    # Accepted, and without all of its deliveries ended; or ended as delivered, and never answered 2xx.
    lost: int
    # Requests begun after a 2xx was answered to the same delivery, and those that no fault explains.
    duplicates: int
    unexplained_duplicates: int
    # Attempts that nobody saw the end of, and those that no fault explains.
    interrupted: int
    unexplained_interruptions: int
    # Deliveries that began more than five seconds after their event was accepted, with no fault near.
    unexplained_late: int
    # Stored deliveries of events that were not answered 202: the answer was lost, not the event.
    ambiguous: int
    # Keys that more than one event was stored under.
    doubled_keys: int
    # Sends that were refused for good, or never accepted.
    refused: int
    # Deliveries whose attempts and requests do not agree.
    mismatched: int
    requests: int
    tries: int
    # Kind of fault by kind of fault.
    by_fault: Mapping[str, Mapping[str, float]]
    # Words about what is wrong, at most twenty of them.
    findings: Sequence[str]

    @property
    def ok(self) -> bool:
        """Whether the promise was kept."""
        return not (
            self.lost
            or self.unexplained_duplicates
            or self.unexplained_interruptions
            or self.unexplained_late
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
    """The verdict over one run."""
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
    _judge_lateness(evidence, by_event, by_delivery, found)
    duplicates = interrupted = 0
    for delivery in evidence.deliveries:
        requests = by_delivery[delivery.id]
        for text in ledger.mismatches(delivery, requests):
            found.add("mismatched", f"{delivery.id}: {text}; {_story(delivery, requests)}")
        duplicates += _judge_duplicates(delivery, requests, evidence, found, explained)
        interrupted += _judge_interruptions(delivery, evidence, found)
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
        unexplained_late=found.counts["late"],
        ambiguous=sum(delivery.event_id not in accepted_ids for delivery in evidence.deliveries),
        doubled_keys=found.counts["doubled key"],
        refused=found.counts["refused"],
        mismatched=found.counts["mismatched"],
        requests=len(evidence.requests),
        tries=sum(len(send.tries) for send in evidence.sends),
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
        if len(deliveries) != send.endpoints:
            found.add(
                "lost", f"{send.key}: accepted for {send.endpoints} endpoints, {len(deliveries)} deliveries stored"
            )
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
) -> None:
    """A bell that was lost, or rung too early, costs ten seconds: without a fault that is a bug."""
    for send in evidence.sends:
        if send.event_id is None or send.slow:
            continue
        for delivery in by_event.get(send.event_id, []):
            first = min((request.begun_at for request in by_delivery.get(delivery.id, [])), default=0.0)
            late_seconds = first - send.answered_at
            if late_seconds > explain.LATE_SECONDS and not explain.of_lateness(send.answered_at, first, evidence.spans):
                found.add("late", f"{delivery.id}: {late_seconds:.1f} s after it was accepted")


def _judge_duplicates(
    delivery: Delivery, requests: Sequence[Request], evidence: Evidence, found: _Findings, explained: Counter[str]
) -> int:
    duplicates = explain.duplicates(requests)
    for request, answered in duplicates:
        span = explain.of_duplicate(answered, evidence.spans)
        span = span or explain.of_delay(request, delivery.attempts, evidence.spans)
        if span:
            explained[span.kind.name] += 1
        elif explain.answered_late(answered, delivery.attempts, evidence.spans):
            explained[ANSWERED_LATE] += 1
        else:
            found.add("unexplained duplicate", f"{delivery.id}: {_story(delivery, requests)}")
    return len(duplicates)


def _judge_interruptions(delivery: Delivery, evidence: Evidence, found: _Findings) -> int:
    interruptions = [attempt for attempt in delivery.attempts if attempt.outcome == ledger.INTERRUPTED]
    for attempt in interruptions:
        if explain.of_interruption(attempt.recorded_at, evidence.spans) is None:
            found.add("unexplained interruption", f"{delivery.id}: attempt {attempt.number}")
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
    """One line that says what both sides know of a delivery."""
    attempts = ", ".join(
        f"#{a.number} {a.outcome} {a.status_code or ''} {a.started_at:.2f}-{a.recorded_at:.2f}"
        for a in delivery.attempts
    )
    seen = ", ".join(
        f"{r.begun_at:.2f}-{f'{r.answered_at:.2f}' if r.answered_at else ''} {r.status or 'unanswered'}"
        for r in requests
    )
    return f"{delivery.status} attempts [{attempts}] requests [{seen}]"
