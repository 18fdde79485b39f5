"""The figures of one run of a load, and the summary of several runs."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

# Processes of the service, and the stores: together, the stack.
STACK = ("gateway", "ingest", "delivery", "worker", "analytics", "postgres", "redis")
THOUSAND = 1000
# Counts that a median must not hide.
_SUMMED = frozenset({"lost", "duplicates", "unrecorded", "refused", "failed"})


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Rates are counted between the first and the last request, everything else up to the last delivery."""

    case: str
    # From the first request until the generator stopped.
    seconds: float
    sent: int
    # Requests with 2xx, with another status, and without a response.
    accepted: int
    refused: int
    failed: int
    # Deliveries that reached the receiver, and deliveries with a successful attempt in Postgres.
    delivered: int
    recorded: int
    # Deliveries of accepted events that never arrived, that arrived more than once, and that arrived without a record.
    lost: int
    duplicates: int
    unrecorded: int
    accepted_per_second: float
    delivered_per_second: float
    recorded_per_second: float
    # From the end of the load to the last record.
    drain_seconds: float
    # All deliveries over the time from the first request to the last delivery.
    burst_per_second: float
    # From the start of a request to its response, and to the first byte at the receiver.
    accept_p50_ms: float
    accept_p95_ms: float
    accept_p99_ms: float
    end_to_end_p50_ms: float
    end_to_end_p95_ms: float
    end_to_end_p99_ms: float
    end_to_end_max_ms: float
    # How late the requests of an open loop started.
    late_p99_ms: float
    # CPU time by process, divided by the recorded deliveries; `stack` is the sum of STACK.
    cpu_ms_per_webhook: dict[str, float]
    # `stack` as a multiple of the floor.
    ratio_to_floor: float
    # The share of all cores that other processes of this machine used.
    others_cpu_percent: float


def cpu_ms(used_seconds: Mapping[str, float], count: int) -> dict[str, float]:
    """Return CPU milliseconds per webhook by process, and of the stack."""
    spent = dict(used_seconds)
    spent["stack"] = sum(spent.get(name, 0.0) for name in STACK)
    return {name: 1e3 * seconds / max(1, count) for name, seconds in spent.items()}


def medians(runs: Sequence[msgspec.Struct]) -> dict[str, Any]:
    """Return the median of every number over the runs, key by key; losses and duplicates are added up."""
    return _medians([msgspec.to_builtins(run) for run in runs])


def plain(runs: Sequence[msgspec.Struct]) -> list[dict[str, Any]]:
    """Convert the runs to JSON values, with numbers rounded."""
    rounded: list[dict[str, Any]] = _rounded(msgspec.to_builtins(runs))
    return rounded


def _medians(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, first in runs[0].items():
        values = [run[key] for run in runs]
        if isinstance(first, Mapping):
            found[key] = _medians(values)
        elif key in _SUMMED:
            found[key] = sum(values)
        elif isinstance(first, int | float):
            found[key] = _rounded(statistics.median(values))
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    if not isinstance(value, float):
        return value
    # The measurement is not exact enough for more than four digits.
    return float(f"{value:.4g}") if abs(value) < THOUSAND else round(value, 1)
