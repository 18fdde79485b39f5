"""From buckets of attempts to the message that GetStats answers."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from protos.webhook.v1 import analytics_pb2
from services.analytics import percentiles

SUCCESS = "success"
# The worker died before it recorded an outcome.
INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Attempts of one outcome and one duration bucket."""

    outcome: str
    duration_bucket: int
    attempts: int
    final_attempts: int
    duration_ms_total: int

    @property
    def answered(self) -> bool:
        """Whether the receiver sent a whole response, and its duration is known."""
        answered = self.outcome == SUCCESS or self.outcome.startswith("http_")
        return answered and self.duration_bucket != percentiles.UNKNOWN


def summarise(buckets: Iterable[Bucket]) -> analytics_pb2.Stats:
    """Counts, success rate and latency; the window is left to the caller."""
    by_outcome: Counter[str] = Counter()
    by_duration: Counter[int] = Counter()
    delivered = ended = duration_ms_total = 0
    for bucket in buckets:
        by_outcome[bucket.outcome] += bucket.attempts
        ended += bucket.final_attempts
        if bucket.outcome == SUCCESS:
            delivered += bucket.final_attempts
        if bucket.answered:
            by_duration[bucket.duration_bucket] += bucket.attempts
            duration_ms_total += bucket.duration_ms_total
    stats = analytics_pb2.Stats(
        attempts=by_outcome.total(),
        attempts_by_outcome=by_outcome,
        delivered=delivered,
        failed=ended - delivered,
    )
    known = by_outcome.total() - by_outcome[INTERRUPTED]
    if known:
        stats.success_rate = by_outcome[SUCCESS] / known
    if by_duration:
        stats.latency.CopyFrom(_latency(by_duration, duration_ms_total))
    return stats


def _latency(by_duration: Counter[int], duration_ms_total: int) -> analytics_pb2.Latency:
    def at(fraction: float) -> float:
        return percentiles.percentile(by_duration, fraction) or 0.0

    return analytics_pb2.Latency(
        mean_ms=duration_ms_total / by_duration.total(), p50_ms=at(0.5), p95_ms=at(0.95), p99_ms=at(0.99)
    )
