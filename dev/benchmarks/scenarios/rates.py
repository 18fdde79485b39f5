"""`rates`: fixed rates from 10 to 2,500 webhooks a second, and as many as are accepted, for each side of the run.

Most installations live at the low end, where a webhook costs a multiple of what it costs under load. A slice is as long
as it takes for the rounds together to have enough requests for a p99.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from dev.benchmarks import results, sides
from dev.benchmarks.bench import PEERS, Bench, Table
from dev.benchmarks.measuring.figures import LEAST_SAMPLES_OF_P99, Figures
from dev.benchmarks.results import Chart, Result, Scenario
from dev.benchmarks.sides import Side

SATURATED = "saturated"
# Peers are not sent more than this: they would only fill their queues.
MOST_OF_PEERS = 150.0
# A few more than are needed, because the first and the last request of a slice may be missing.
SAMPLES = 1.02 * LEAST_SAMPLES_OF_P99


def run(bench: Bench) -> Result:
    """Start all sides, and run each rate over them in turn."""
    return measure(bench, "rates", bench.options.rates)


def measure(bench: Bench, name: str, rates: Sequence[str]) -> Result:
    """Measure rates on the sides of the options; `name` is the scenario's."""
    with contextlib.ExitStack() as cleanup:
        started = [cleanup.enter_context(sides.running(bench, name, side)) for side in sides.names(bench)]
        for side in started:
            side.meter.warm_up(side.paths)
        found = {label(rate): _at(bench, rate, started) for rate in rates}
    runs = [one for of_rate in found.values() for of_side in of_rate.values() for one in of_side]
    return {
        "lost": sum(one.lost for one in runs),
        "duplicates": sum(one.duplicates for one in runs),
        "ratios": {load: sides.compared(of_rate) for load, of_rate in found.items()},
        **results.of_loads(runs),
    }


def label(rate: str) -> str:
    """Return the name of a load."""
    return rate if rate == SATURATED else f"{float(rate):,.0f}/s"


def _at(bench: Bench, rate: str, started: Sequence[Side]) -> dict[str, list[Figures]]:
    options = bench.options

    def slice_of(side: Side, name: str) -> Figures:
        case = f"{label(rate)} {name}"
        if rate == SATURATED:
            return side.meter.measure(case, side.meter.closed(side.paths))
        seconds = max(options.seconds, SAMPLES / float(rate) / options.runs)
        return side.meter.measure(case, side.meter.open(side.paths, float(rate), seconds=seconds))

    gentle = rate == SATURATED or float(rate) <= MOST_OF_PEERS
    return sides.in_turn([side for side in started if gentle or side.name not in PEERS], options.runs, slice_of)


def tables(result: Result) -> Sequence[Table]:
    """Return the loads, their cost by process, and the ratios."""
    cases: Mapping[str, Any] = result["cases"]
    return [
        results.load_table("fixed rates", cases),
        results.cpu_table("fixed rates", cases),
        *sides.tables("fixed rates", result["ratios"]),
    ]


def _charts(result: Result) -> Sequence[Chart]:
    return [results.cpu_chart("rates-cpu", "CPU time of a webhook by rate", result["cases"])]


SCENARIO = Scenario(name="rates", what="fixed rates, and saturation", run=run, tables=tables, charts=_charts)
