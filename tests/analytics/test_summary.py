"""What GetStats says of buckets."""

import pytest

from services.analytics import statistics
from services.analytics.statistics import Bucket, summarise


def _bucket(outcome: str, *, attempts: int = 1, final: int = 0, duration_ms: int | None = None) -> Bucket:
    return Bucket(
        outcome=outcome,
        duration_bucket=statistics.UNKNOWN if duration_ms is None else statistics.bucket_of(duration_ms),
        attempts=attempts,
        final_attempts=final,
        duration_ms_total=(duration_ms or 0) * attempts,
    )


def test_of_nothing_leaves_rate_and_latency_unset() -> None:
    stats = summarise([])

    assert stats.attempts == 0
    assert dict(stats.attempts_by_outcome) == {}
    assert not stats.HasField("success_rate")
    assert not stats.HasField("latency")


def test_counts_by_outcome_and_by_how_deliveries_ended() -> None:
    stats = summarise(
        [
            _bucket("success", attempts=3, final=3, duration_ms=10),
            _bucket("success", attempts=2, final=2, duration_ms=200),
            _bucket("http_5xx", attempts=4, final=1, duration_ms=10),
            _bucket("timeout", attempts=1, final=1, duration_ms=15_000),
        ]
    )

    assert stats.attempts == 10
    assert dict(stats.attempts_by_outcome) == {"success": 5, "http_5xx": 4, "timeout": 1}
    assert (stats.delivered, stats.failed) == (5, 2)
    assert stats.success_rate == pytest.approx(0.5)


def test_success_rate_leaves_out_interrupted_attempts() -> None:
    stats = summarise([_bucket("success", attempts=3, duration_ms=1), _bucket("interrupted", attempts=5)])

    assert stats.attempts == 8
    assert stats.success_rate == 1.0


def test_of_interrupted_attempts_alone_has_no_success_rate() -> None:
    assert not summarise([_bucket("interrupted", attempts=5, final=1)]).HasField("success_rate")


def test_latency_is_of_answered_attempts_alone() -> None:
    stats = summarise(
        [
            _bucket("success", attempts=1, duration_ms=20),
            _bucket("http_4xx", attempts=1, duration_ms=40),
            _bucket("timeout", attempts=9, duration_ms=15_000),
            _bucket("dns", attempts=9, duration_ms=3),
        ]
    )

    assert stats.latency.mean_ms == pytest.approx(30)
    assert 20 <= stats.latency.p50_ms <= stats.latency.p95_ms <= stats.latency.p99_ms <= 50


def test_without_answers_has_no_latency() -> None:
    stats = summarise([_bucket("connect", attempts=2, duration_ms=1)])

    assert not stats.HasField("latency")
    assert stats.success_rate == 0.0
