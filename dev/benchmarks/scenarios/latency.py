"""`latency`: at a quarter, half, and three quarters of the measured maximum, and for lone requests when idle."""

import dataclasses
from collections.abc import Sequence

import msgspec

from dev.benchmarks import results, rig
from dev.benchmarks.bench import Bench, Table
from dev.benchmarks.results import Chart, Result, Scenario

SHARES = {"25 %": 0.25, "50 %": 0.5, "75 %": 0.75}
HEADLINE = "50 %"
LONE = "lone"
# Between a response and the next lone request, so that everything is idle again.
PAUSE_SECONDS = 0.1
_TIMES = ("accept_p50_ms", "accept_p99_ms", "end_to_end_p50_ms", "end_to_end_p95_ms", "end_to_end_p99_ms")


def run(bench: Bench) -> Result:
    """Measure the maximum first, then latencies on the same stack."""
    runs = []
    with rig.running(bench, "latency") as ready:
        paths = ready.webhook_paths()
        maximum = rig.calibrated(ready, paths)
        lone = msgspec.structs.replace(ready.closed(paths), connections=1, pause_seconds=PAUSE_SECONDS)
        for _ in range(bench.options.runs):
            runs.append(ready.measure(LONE, lone))
            runs += [ready.measure(name, ready.open(paths, share * maximum)) for name, share in SHARES.items()]
    found = results.of_loads(runs)
    cases = found["cases"]
    return {
        **{key: cases[HEADLINE][key] for key in _TIMES},
        **{f"lone_{key}": cases[LONE][key] for key in _TIMES},
        "maximum_per_second": round(maximum, 1),
        **found,
    }


def _tables(result: Result) -> Sequence[Table]:
    title = f"latency; the maximum is {result['maximum_per_second']:,.0f}/s"
    return [results.load_table(title, result["cases"])]


def _charts(result: Result) -> Sequence[Chart]:
    cases = result["cases"]
    labels = {key: key.removesuffix("_ms").replace("_", " ") for key in _TIMES}
    chart = results.rate_chart("latency", "Latency by load, in parts of the maximum", cases, labels)
    return [dataclasses.replace(chart, unit="ms")]


SCENARIO = Scenario(name="latency", what="accept and end to end, by load", run=run, tables=_tables, charts=_charts)
