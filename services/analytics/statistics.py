"""From buckets to the statistics that callers get, with percentiles from fixed histogram buckets."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from protos.webhook.v1 import analytics_pb2
from services.domain.states import AttemptOutcome, DeliveryStatus

# Upper bounds of the duration buckets in milliseconds: bucket i holds BOUNDS_MS[i - 1] <= duration < BOUNDS_MS[i].
# delivery_stats stores these indices: other bounds need other rows, so a change must delete what is stored.
BOUNDS_MS = (
    1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700,
    1000, 1500, 2000, 3000, 5000, 7000, 10_000, 15_000, 20_000, 30_000,
)  # fmt: skip
# The index of attempts whose duration nobody knows.
UNKNOWN = -1
# The outcome of buckets of accepted events.
ACCEPTED = "accepted"


def percentile(counts: Mapping[int, int], fraction: float) -> float | None:
    """Return the duration in milliseconds that `fraction` (above 0, up to 1) of the attempts do not exceed.

    `counts` maps bucket indices to numbers of attempts. Durations are assumed to be spread evenly within a
    bucket. The last bucket has no end, so its start is returned. None if nothing was counted.
    """
    filled = sorted((index, count) for index, count in counts.items() if index != UNKNOWN and count > 0)
    if not filled:
        return None
    rank = fraction * sum(count for _, count in filled)
    below = 0
    for index, count in filled:
        if below + count >= rank:
            return _interpolate(index, (rank - below) / count)
        below += count
    return _interpolate(filled[-1][0], 1.0)  # the rank was rounded up past the total


def _interpolate(index: int, share: float) -> float:
    lower = BOUNDS_MS[index - 1] if index > 0 else 0
    upper = BOUNDS_MS[index] if index < len(BOUNDS_MS) else lower
    return lower + (upper - lower) * share


@dataclass(frozen=True, kw_only=True, slots=True)
class Bucket:
    """What has one outcome (of attempts, of deliveries without one, or ACCEPTED) and one duration bucket."""

    outcome: str
    duration_bucket: int
    attempts: int
    # Deliveries that ended so.
    deliveries: int
    # Accepted events.
    events: int
    duration_ms_total: int

    @property
    def answered(self) -> bool:
        """Whether the receiver sent a whole response, and its duration is known."""
        answered = self.outcome == AttemptOutcome.SUCCESS or self.outcome.startswith("http_")
        return answered and self.duration_bucket != UNKNOWN


def summarise(buckets: Iterable[Bucket]) -> analytics_pb2.Stats:
    """Compute counts, success rates, and latency; the caller sets the window."""
    by_outcome: Counter[str] = Counter()
    by_duration: Counter[int] = Counter()
    delivered = cancelled = ended = events = duration_ms_total = 0
    for bucket in buckets:
        if bucket.attempts:
            by_outcome[bucket.outcome] += bucket.attempts
        ended += bucket.deliveries
        events += bucket.events
        if bucket.outcome == AttemptOutcome.SUCCESS:
            delivered += bucket.deliveries
        elif bucket.outcome == DeliveryStatus.CANCELLED:
            cancelled += bucket.deliveries
        if bucket.answered and bucket.attempts:
            by_duration[bucket.duration_bucket] += bucket.attempts
            duration_ms_total += bucket.duration_ms_total
    failed = ended - delivered - cancelled
    stats = analytics_pb2.Stats(
        events=events,
        attempts=by_outcome.total(),
        attempts_by_outcome=by_outcome,
        delivered=delivered,
        failed=failed,
        cancelled=cancelled,
    )
    known = by_outcome.total() - by_outcome[AttemptOutcome.INTERRUPTED]
    if known:
        stats.attempt_success_rate = by_outcome[AttemptOutcome.SUCCESS] / known
    if delivered + failed:
        stats.delivery_success_rate = delivered / (delivered + failed)
    if by_duration:
        stats.latency.CopyFrom(_latency(by_duration, duration_ms_total))
    return stats


def _latency(by_duration: Counter[int], duration_ms_total: int) -> analytics_pb2.Latency:
    def at(fraction: float) -> float:
        return percentile(by_duration, fraction) or 0.0

    return analytics_pb2.Latency(
        mean_ms=duration_ms_total / by_duration.total(), p50_ms=at(0.5), p95_ms=at(0.95), p99_ms=at(0.99)
    )
