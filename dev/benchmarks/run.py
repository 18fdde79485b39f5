"""One run of the benchmark: the floor, then the scenarios, each written down as soon as it is measured."""

import dataclasses
import json
from typing import Any

import msgspec

from dev.benchmarks import charts, machine, scenarios
from dev.benchmarks.bench import Bench
from dev.benchmarks.results import Result
from dev.benchmarks.scenarios import floor

SCHEMA = 1


def run(bench: Bench) -> None:
    """Measures what the options name. Raises BenchmarkError, and what stores and processes raise."""
    options = bench.options
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "machine": msgspec.to_builtins(machine.here()),
        "options": {"runs": options.runs, "seconds": options.seconds, "backlog": options.backlog},
        "scenarios": {},
    }
    if not charts.available():
        bench.screen.say("no plots are drawn: pygal is not installed (make bench installs it)")
    # Every result is a multiple of it, so it is measured with whatever else is.
    wanted = floor.SCENARIO.name in options.scenarios
    measured = floor.measure(bench, options.runs if wanted else 1)
    _add(bench, document, floor.SCENARIO.name, measured)
    bench = dataclasses.replace(bench, floor_cpu_ms=measured["cpu_ms_per_webhook"])
    for name in options.scenarios:
        if name != floor.SCENARIO.name:
            _add(bench, document, name, scenarios.ALL[name].run(bench))
    bench.screen.say(f"figures: {options.json_path}")


def _add(bench: Bench, document: dict[str, Any], name: str, result: Result) -> None:
    scenario = scenarios.ALL[name]
    document["scenarios"][name] = result
    path = bench.options.json_path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")
    for table in scenario.tables(result):
        bench.screen.show(table)
    if charts.available():
        for drawn in charts.draw(scenario.charts(result), bench.options.results):
            bench.screen.say(f"plot: {drawn}")
