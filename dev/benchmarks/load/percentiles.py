"""Percentiles of a list of samples."""

import math
from collections.abc import Iterable, Sequence


def of(samples: Iterable[float], percents: Sequence[float]) -> list[float]:
    """The nearest-rank percentiles, in the unit of the samples; zeros when there are none."""
    ordered = sorted(samples)
    if not ordered:
        return [0.0] * len(percents)
    return [ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)] for percent in percents]
