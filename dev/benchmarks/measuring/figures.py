"""The figures of one run of a load, and the summary of several runs."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dev.harness.load import payloads

STORES = ("postgres", "redis")
# Both ends of the load, which are no part of what is measured.
ENDS = ("generator", "receiver")
# A 99th percentile of fewer is the time of a few unlucky requests.
LEAST_SAMPLES_OF_P99 = 1_000
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
    # From the moment a request of an open loop was due, or one of a closed loop started, to its response, and to the
    # first byte at the receiver.
    accept_p50_ms: float
    accept_p95_ms: float
    accept_p99_ms: float
    end_to_end_p50_ms: float
    end_to_end_p95_ms: float
    end_to_end_p99_ms: float
    end_to_end_max_ms: float
    # How late the requests of an open loop started.
    late_p99_ms: float
    # CPU time by process, divided by the recorded deliveries; `stack` is the sum without the ends.
    cpu_ms_per_webhook: dict[str, float]
    # The share of all cores that other processes of this machine used.
    others_cpu_percent: float
    # Every time behind the percentiles, as `payloads.pack` writes them; not in the JSON.
    accept_times: bytes
    end_to_end_times: bytes


_TIMES = ("accept", "end_to_end")


def latencies(accept: bytes, end_to_end: bytes) -> dict[str, float]:
    """Return the percentiles of both kinds of times by the names of their fields."""
    found: dict[str, float] = {}
    for kind, times in zip(_TIMES, map(payloads.unpack, (accept, end_to_end)), strict=True):
        values = payloads.percentiles(times, (50, 95, 99))
        found |= {f"{kind}_p{percent}_ms": value for percent, value in zip((50, 95, 99), values, strict=True)}
    return {**found, "end_to_end_max_ms": max(payloads.unpack(end_to_end), default=0.0)}


def summary(runs: Sequence[Figures]) -> dict[str, Any]:
    """Return the medians of runs of one case, with the percentiles of all their requests together.

    A p99 of fewer than LEAST_SAMPLES_OF_P99 requests is None. `samples` is the number of times behind them.
    """
    accept, end_to_end = (b"".join(getattr(run, f"{kind}_times") for run in runs) for kind in _TIMES)
    samples = {kind: len(payloads.unpack(times)) for kind, times in zip(_TIMES, (accept, end_to_end), strict=True)}
    few = {f"{kind}_p99_ms": None for kind, count in samples.items() if count < LEAST_SAMPLES_OF_P99}
    return {**medians(runs), **_rounded(latencies(accept, end_to_end)), **few, "samples": samples["end_to_end"]}


def own(values: Mapping[str, float]) -> float:
    """Return the sum of what is measured without its stores."""
    return sum(value for name, value in values.items() if name not in (*STORES, *ENDS))


def cpu_ms(used_seconds: Mapping[str, float], count: int) -> dict[str, float]:
    """Return CPU milliseconds per webhook by process, and of the stack."""
    spent = dict(used_seconds)
    spent["stack"] = sum(seconds for name, seconds in used_seconds.items() if name not in ENDS)
    return {name: 1e3 * seconds / max(1, count) for name, seconds in spent.items()}


def medians(runs: Sequence[msgspec.Struct]) -> dict[str, Any]:
    """Return the median of every number over the runs, key by key; losses and duplicates are added up."""
    return _medians([_fields(run) for run in runs])


def plain(runs: Sequence[msgspec.Struct]) -> list[dict[str, Any]]:
    """Convert the runs to JSON values, with numbers rounded and without the single times."""
    converted: list[dict[str, Any]] = [
        {key: _rounded(value) for key, value in _fields(run).items() if not isinstance(value, bytes)} for run in runs
    ]
    return converted


def _fields(run: msgspec.Struct) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(run, builtin_types=(bytes,))
    return found


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
