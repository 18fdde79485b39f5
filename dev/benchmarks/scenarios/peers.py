"""`peers`: our shapes and the plain FastAPI and Celery stack, in turn, at the rates that both can carry.

The plain stack has its own Python environment, which is installed at the first run.
"""

import dataclasses
from collections.abc import Sequence

from dev.benchmarks import results
from dev.benchmarks.bench import PEERS, Bench
from dev.benchmarks.results import Chart, Result, Scenario
from dev.benchmarks.scenarios import rates


def run(bench: Bench) -> Result:
    """Measure the rates of the options that are not above what peers are sent."""
    options = bench.options
    wanted = [rate for rate in options.rates if rate == rates.SATURATED or float(rate) <= rates.MOST_OF_PEERS]
    peers = dataclasses.replace(bench, options=dataclasses.replace(options, peers=PEERS))
    return rates.measure(peers, "peers", wanted)


def _charts(result: Result) -> Sequence[Chart]:
    return [results.cpu_chart("peers-cpu", "CPU time of a webhook, beside FastAPI and Celery", result["cases"])]


SCENARIO = Scenario(name="peers", what="beside other stacks", run=run, tables=rates.tables, charts=_charts)
