"""The command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
ROLES = ("gateway", "ingest", "delivery", "worker", "analytics")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure and where to write it."""

    scenarios: tuple[str, ...]
    runs: int
    # Of each load.
    seconds: float
    # Pending deliveries that the scenarios `backlog` and `neighbour` make.
    backlog: int
    json_path: Path
    # Of the plots.
    results: Path
    # Keeps data and logs.
    keep: bool
    # Roles that a flame graph is drawn of.
    profiled: tuple[str, ...]


def parse(arguments: Sequence[str], scenarios: Sequence[str]) -> Options:
    """Reads the command line; ends the process when it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m dev.benchmarks", description="How fast, at which cost.")
    parser.add_argument("--scenario", action="append", choices=scenarios, help="repeatable; all when none is named")
    parser.add_argument("--runs", type=_positive_int, default=3, help="of each load; figures are medians")
    parser.add_argument("--seconds", type=_positive_float, default=20.0, help="of each load")
    parser.add_argument("--json", type=Path, help="file for the figures; results/latest.json when not named")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the plots")
    parser.add_argument(
        "--backlog", type=_positive_int, default=1_000_000, help="deliveries that wait in `backlog` and `neighbour`"
    )
    parser.add_argument("--keep", action="store_true", help="keep data and logs, and say where")
    parser.add_argument("--profile", action="append", choices=ROLES, help="draw a flame graph of a role; needs py-spy")
    named = parser.parse_args(arguments)
    return Options(
        # In their own order, each once.
        scenarios=tuple(name for name in scenarios if not named.scenario or name in named.scenario),
        runs=named.runs,
        seconds=named.seconds,
        backlog=named.backlog,
        json_path=named.json or named.results / "latest.json",
        results=named.results,
        keep=named.keep,
        profiled=tuple(named.profile or ()),
    )


def _positive_int(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _positive_float(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return number
