"""Percentiles from fixed histogram buckets, as histogram_quantile() of Prometheus finds them."""

from bisect import bisect_right
from collections.abc import Mapping

# Upper bounds of the duration buckets in milliseconds: bucket i holds BOUNDS_MS[i - 1] <= duration < BOUNDS_MS[i].
# delivery_stats stores these indices: other bounds need other rows, so a change must delete what is stored.
BOUNDS_MS = (
    1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700,
    1000, 1500, 2000, 3000, 5000, 7000, 10_000, 15_000, 20_000, 30_000,
)  # fmt: skip
# The index of attempts whose duration nobody knows.
UNKNOWN = -1


def bucket(duration_ms: int) -> int:
    """The index of the bucket that a duration falls into, as width_bucket() of Postgres answers it."""
    return bisect_right(BOUNDS_MS, duration_ms)


def percentile(counts: Mapping[int, int], fraction: float) -> float | None:
    """The duration in milliseconds that `fraction` (above 0, to 1) of what was counted does not exceed.

    `counts` maps bucket indices to numbers of attempts. Within a bucket durations are taken to be spread
    evenly; the last bucket has no end, so its begin is answered. None when nothing was counted.
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
