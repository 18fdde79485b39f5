"""One run: the machine, the floor, then the scenarios. Each result is written as soon as it is measured."""

import dataclasses
import json
import os
import platform
from datetime import UTC, datetime
from typing import Any

import msgspec
import psutil

from dev.benchmarks import results, scenarios
from dev.benchmarks.bench import Bench
from dev.benchmarks.results import Result
from dev.benchmarks.scenarios import floor
from services.platform.process import metrics


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine, and its load when the run started."""

    measured_at: str
    system: str
    processor: str
    cores: int
    memory_gb: float
    python: str
    version: str
    # The one-minute load average before the run: about 0 on an idle machine.
    load_average: float


def this_machine() -> Machine:
    """Describe this machine."""
    return Machine(
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        system=f"{platform.system()} {platform.release()}",
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_gb=round(psutil.virtual_memory().total / (1 << 30), 1),
        python=platform.python_version(),
        version=metrics.version(),
        load_average=round(os.getloadavg()[0], 2),
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - a file of the system, read by lines
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


SCHEMA = 1


def run(bench: Bench) -> None:
    """Measure what the options name. Raise BenchmarkError, or the errors of stores and processes."""
    options = bench.options
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "machine": msgspec.to_builtins(this_machine()),
        "options": {"runs": options.runs, "seconds": options.seconds, "backlog": options.backlog},
        "scenarios": {},
    }
    if not results.charts_available():
        bench.screen.say("no plots are drawn: pygal is not installed (make bench installs it)")
    # Every result is a multiple of the floor, so it is always measured.
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
    if results.charts_available():
        for drawn in results.draw_charts(scenario.charts(result), bench.options.results):
            bench.screen.say(f"plot: {drawn}")
