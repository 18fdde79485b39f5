"""One run: the machine, then the scenarios. Each result is written as soon as it is measured."""

import json
from typing import Any

import msgspec

from dev.benchmarks import results, scenarios
from dev.benchmarks.bench import Bench
from dev.benchmarks.measuring import machine
from dev.benchmarks.results import Result

SCHEMA = 2


def run(bench: Bench) -> None:
    """Measure what the options name. Raise BenchmarkError, or the errors of stores and processes."""
    options = bench.options
    here = machine.this_machine()
    bench.screen.say(machine.in_words(here))
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "machine": msgspec.to_builtins(here),
        "options": {
            "runs": options.runs,
            "seconds": options.seconds,
            "backlog": options.backlog,
            "finished": options.finished,
            "wal_mb": options.wal_mb,
            "shapes": options.shapes,
            "before": str(options.before or ""),
        },
        "scenarios": {},
    }
    if not results.charts_available():
        bench.screen.say("no plots are drawn: pygal is not installed (make bench installs it)")
    for name in options.scenarios:
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
    if results.charts_available():
        for drawn in results.draw_charts(scenario.charts(result), bench.options.results):
            bench.screen.say(f"plot: {drawn}")
