"""Runs with one fault of a fixed length, and what they must show beyond the promise."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dev.chaos.evidence import Evidence, Span
from dev.chaos.run import Load
from dev.chaos.schedule import ALL, ENDPOINTS, Fault, Shape, kinds
from dev.chaos.stack import LEASE_SECONDS
from dev.chaos.verdict import ACCEPTED, Verdict

BEGIN_SECONDS = 15.0
# Limit of a response time while Postgres is known to be unavailable, once the first requests have timed out.
ANSWER_SECONDS = 1.0
ACCEPT_TIMEOUT_SECONDS = 3.0
KNOWN_AFTER_SECONDS = 2 * ACCEPT_TIMEOUT_SECONDS + 1.0
RESUME_SECONDS = 5.0
HALF = 0.5
MANY = 20
WORKER = "worker"
# The generator measures slightly more latency than the service has.
TOLERANCE_SECONDS = 0.2

Check = Callable[[Evidence, Verdict], list[str]]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """`faults` are kinds with their subject, start, and seconds; `check` returns what is wrong, in words.

    "stop-worker" of WORKER is that of the first process with the role, whatever it is called.
    """

    faults: Sequence[tuple[str, str, float, float]]
    load_seconds: float
    check: Check
    # Other subscriptions of the tenant, unless a run says how many.
    bystanders: int = 0

    def schedule(self, shape: Shape) -> list[Fault]:
        """Return its faults, which are always the same."""
        every = kinds(shape)
        worker = shape.having("worker")[0]
        return [
            Fault(
                kind=every[kind.replace(WORKER, worker.partition("-")[0])],
                subject=subject.replace(WORKER, worker),
                at_seconds=at_seconds,
                seconds=seconds,
            )
            for kind, subject, at_seconds, seconds in self.faults
        ]

    def load(self, rate: float) -> Load:
        """Return a steady load from before the fault until after it."""
        return Load(events=int(self.load_seconds * rate), rate=rate, large=0)


def _redis_away(evidence: Evidence, verdict: Verdict) -> list[str]:
    span = _span(evidence)
    found = _expect("duplicates", verdict.duplicates)
    refused = [status for at, _, status in _tries(evidence, span) if status != ACCEPTED]
    found += _expect("tries refused while Redis was away", len(refused))
    usual = _requests_a_second(evidence, span.began_at - BEGIN_SECONDS + 5, span.began_at)
    meanwhile = _requests_a_second(evidence, span.began_at + 2, span.ended_at)
    if meanwhile < HALF * usual:
        found.append(f"{meanwhile:.0f} requests/s while Redis was away, {usual:.0f} before")
    return found


def _postgres_away(evidence: Evidence, verdict: Verdict) -> list[str]:
    span = _span(evidence)
    found = _expect("duplicates", verdict.duplicates)
    known_at = span.began_at + KNOWN_AFTER_SECONDS
    tries = _tries(evidence, span)
    for what, bound, slowest in (
        ("at first", ACCEPT_TIMEOUT_SECONDS, max((seconds for at, seconds, _ in tries if at < known_at), default=0.0)),
        (
            "once that was known",
            ANSWER_SECONDS,
            max((seconds for at, seconds, _ in tries if at >= known_at), default=0.0),
        ),
    ):
        if slowest > bound + TOLERANCE_SECONDS:
            found.append(f"an answer took {slowest:.2f} s while Postgres was away, {what}")
    accepted = [at + seconds for send in evidence.sends for at, seconds, status in send.tries if status == ACCEPTED]
    back = min(at for at in accepted if at > span.ended_at)
    if back - span.ended_at > RESUME_SECONDS:
        found.append(f"the first event was accepted {back - span.ended_at:.1f} s after Postgres was back")
    first = min((r.begun_at for r in evidence.requests if r.begun_at > span.ended_at), default=float("inf"))
    if first - span.ended_at > RESUME_SECONDS:
        found.append(f"the first delivery came {first - span.ended_at:.1f} s after Postgres was back")
    return found


def _rolling_restart(evidence: Evidence, verdict: Verdict) -> list[str]:  # noqa: ARG001 - one shape for all
    return _expect("duplicates", verdict.duplicates)


def _frozen_worker(evidence: Evidence, verdict: Verdict) -> list[str]:  # noqa: ARG001 - one shape for all
    return [] if verdict.requests > verdict.deliveries + MANY else ["few leases expired, so the run shows little"]


SCENARIOS: Mapping[str, Scenario] = {
    "redis-away": Scenario(
        faults=[("redis-away", "redis", BEGIN_SECONDS, 60)], load_seconds=90, check=_redis_away, bystanders=100_000
    ),
    "postgres-away": Scenario(
        faults=[("postgres-away", "postgres", BEGIN_SECONDS, 90)], load_seconds=120, check=_postgres_away
    ),
    "rolling-restart": Scenario(
        faults=[("restart-all", ALL, BEGIN_SECONDS, 0)], load_seconds=60, check=_rolling_restart
    ),
    # A worker wakes up while another one is sending its deliveries: its outcomes have tokens that are no longer valid.
    "frozen-worker": Scenario(
        faults=[
            *(("receiver-lags", f"endpoint-{name}", BEGIN_SECONDS - 5, LEASE_SECONDS + 15) for name in ENDPOINTS),
            ("stop-worker", WORKER, BEGIN_SECONDS, LEASE_SECONDS - 1),
        ],
        load_seconds=60,
        check=_frozen_worker,
    ),
}


def _expect(what: str, count: int) -> list[str]:
    return [f"{count} {what}, expected none"] if count else []


def _span(evidence: Evidence) -> Span:
    return max(evidence.spans, key=lambda span: span.ended_at - span.began_at)


def _tries(evidence: Evidence, span: Span) -> Sequence[tuple[float, float, int]]:
    return [a_try for send in evidence.sends for a_try in send.tries if span.began_at <= a_try[0] <= span.ended_at]


def _requests_a_second(evidence: Evidence, begin: float, end: float) -> float:
    return sum(begin <= request.begun_at < end for request in evidence.requests) / (end - begin)
