"""Which fault, if any, a second request after a 2xx or a lease that ran out came of."""

from collections.abc import Sequence

from dev.chaos.plan import DELIVERY_TIMEOUT_SECONDS, GUARD_SECONDS, LEASE_SECONDS
from dev.chaos.records import Attempt, Request, Span

# From an answer until its outcome is committed, when nothing disturbs that.
RECORDING_SECONDS = 2.0
# How long after a fault an answer to what was sent during it may still come.
ANSWER_SECONDS = 2.0
# So near to its deadline, or after it, an answer may be unheard.
DEADLINE_SECONDS = 1.0
# What was held on its way arrives within so many seconds of the end of what held it.
ARRIVAL_SECONDS = 5.0
# From the end of a lease until the dispatcher has seen it, on a busy machine.
NOTICE_SECONDS = 15.0
# When nothing disturbs it a delivery begins within so many seconds: half of what a lost bell costs.
LATE_SECONDS = 5.0
# How long a fault may be felt after it: retries with their delays, leases, a backlog that is worked off.
FELT_SECONDS = 60.0


def duplicates(requests: Sequence[Request]) -> list[tuple[Request, Request]]:
    """Of one delivery's requests those begun after a 2xx was answered, each with the last one answered so before."""
    found = []
    for request in requests:
        before = [r for r in requests if r.succeeded and r.answered_at is not None and r.answered_at < request.begun_at]
        if before:
            found.append((request, max(before, key=lambda r: r.answered_at or 0.0)))
    return found


def of_duplicate(answered: Request, spans: Sequence[Span]) -> Span | None:
    """The fault that kept this 2xx from being recorded; None when there was none that could."""
    at = answered.answered_at or 0.0
    for span in spans:
        if not span.kind.duplicates or span.ended_at - span.began_at < span.kind.of_lease * LEASE_SECONDS:
            continue
        # What delays recording makes the time before the fault longer.
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


def of_delay(late: Request, attempts: Sequence[Attempt], spans: Sequence[Span]) -> Span | None:
    """The fault that held this request on its way until its worker had given it up and made another one.

    It was sent while the fault was on, by an attempt that does not know its answer, and arrived soon after it.
    """
    for span in spans:
        if span.kind.delays_requests and span.began_at <= late.begun_at <= span.ended_at + ARRIVAL_SECONDS:
            begin, end = span.began_at - ANSWER_SECONDS, span.ended_at + ANSWER_SECONDS
            if any(a.status_code is None and begin <= a.started_at <= end for a in attempts):
                return span
    return None


def answered_late(answered: Request, attempts: Sequence[Attempt], spans: Sequence[Span]) -> bool:
    """Whether this answer came about when its worker gave up, so that it was not heard.

    A receiver that takes its time, or a machine that is too busy, may do that; a run without any fault may not.
    """
    at = answered.answered_at or 0.0
    deadlines = [a.started_at + DELIVERY_TIMEOUT_SECONDS for a in attempts if a.outcome == "timeout"]
    return bool(spans) and any(abs(at - deadline) <= DEADLINE_SECONDS for deadline in deadlines)


def of_interruption(recorded_at: float, spans: Sequence[Span]) -> Span | None:
    """The fault by which an attempt was interrupted that was recorded as such then; None when there was none."""
    earliest = recorded_at - LEASE_SECONDS - GUARD_SECONDS - NOTICE_SECONDS
    found = [
        span for span in spans if span.kind.interrupts and span.began_at <= recorded_at and span.ended_at >= earliest
    ]
    return max(found, key=lambda span: span.began_at, default=None)


def of_lateness(accepted_at: float, begun_at: float, spans: Sequence[Span]) -> bool:
    """Whether there was any fault that a late delivery may be put down to."""
    return any(span.began_at <= begun_at and span.ended_at + FELT_SECONDS >= accepted_at for span in spans)
