"""What every scenario gets: options, a folder, and the screen."""

import argparse
import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable


class BenchmarkError(Exception):
    """The benchmark cannot continue. The message is one line for the user."""


# Use a wide terminal if the output is not one, so that log lines are not broken.
LOG_COLUMNS = 200


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns are headings; the first is text, the others are numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Screen:
    """Print lines with the seconds since the start."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        if not self._console.is_terminal:
            self._console = Console(highlight=False, width=LOG_COLUMNS)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=self._console, transient=True, refresh_per_second=4)
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the terminal."""
        self._progress.stop()

    def say(self, line: str) -> None:
        """One line."""
        self._console.print(f"{time.monotonic() - self._began:7.1f} s  {line}", markup=False)

    @contextlib.contextmanager
    def step(self, what: str, seconds: float) -> Iterator[Callable[[], None]]:
        """Show a progress bar for a duration; the yielded function advances it."""
        began = time.monotonic()
        with self.count(what, seconds) as moved:
            yield lambda: moved(time.monotonic() - began)

    @contextlib.contextmanager
    def count(self, what: str, total: float) -> Iterator[Callable[[float], None]]:
        """Show a progress bar for a number of things; the yielded function sets how many are done."""
        task = self._progress.add_task(what, total=total)
        try:
            yield lambda number: self._progress.update(task, completed=number)
        finally:
            self._progress.remove_task(task)

    def show(self, table: Table) -> None:
        """Show a table."""
        drawn = RichTable(title=table.title, title_justify="left")
        for index, heading in enumerate(table.columns):
            drawn.add_column(heading, justify="right" if index else "left")
        for row in table.rows:
            drawn.add_row(*row)
        self._console.print(drawn)


# The shapes of our stack; the first is the usual one. Other stacks. Loads of `rates`.
SHAPES = ("five", "two", "one")
PEERS = ("plain",)
RATES = ("10", "50", "150", "350", "1000", "2500", "saturated")

RESULTS = Path(__file__).parent / "results"
ROLES = ("gateway", "ingest", "delivery", "worker", "analytics")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure and where to write it."""

    scenarios: tuple[str, ...]
    runs: int
    # The length of each load.
    seconds: float
    # Pending deliveries that the scenarios `backlog` and `neighbour` create, and finished ones that `growth` does.
    backlog: int
    finished: int
    # WAL that each Postgres writes before it is measured, so that segments exist.
    wal_mb: int
    # Webhooks a second of `rates` and `peers`, and "saturated".
    rates: tuple[str, ...]
    # What is compared: which roles share a process, another checkout of the project, and other stacks.
    shapes: tuple[str, ...]
    before: Path | None
    peers: tuple[str, ...]
    json_path: Path
    # The folder of the plots.
    results: Path
    # Whether to keep data and logs.
    keep: bool
    # Roles to draw a flame graph of.
    profiled: tuple[str, ...]


def parse_options(arguments: Sequence[str], scenarios: Sequence[str]) -> Options:
    """Parse the command line; exit if it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m dev.benchmarks", description="Measure rates, latencies, and cost.")
    parser.add_argument("--scenario", action="append", choices=scenarios, help="repeatable; default: all")
    parser.add_argument("--runs", type=_positive_int, default=3, help="of each load; figures are medians")
    parser.add_argument("--seconds", type=_positive_float, default=20.0, help="of each load")
    parser.add_argument("--json", type=Path, help="file for the figures; default: results/latest.json")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the plots")
    parser.add_argument(
        "--backlog", type=_positive_int, default=1_000_000, help="deliveries that wait in `backlog` and `neighbour`"
    )
    parser.add_argument("--finished", type=_positive_int, default=2_000_000, help="finished deliveries in `growth`")
    parser.add_argument("--wal-mb", type=_not_negative, default=1024, help="WAL written ahead; default: 1024")
    parser.add_argument(
        "--rate", action="append", choices=RATES, help="of `rates` and `peers`, repeatable; default: all of them"
    )
    parser.add_argument(
        "--shape", action="append", choices=SHAPES, help="which roles share a process, repeatable; default: five"
    )
    parser.add_argument("--before", type=Path, help="another checkout, to compare with in `rates` and `idle`")
    parser.add_argument("--peer", action="append", choices=PEERS, help="another stack, to compare with; repeatable")
    parser.add_argument("--keep", action="store_true", help="keep data and logs, and print where they are")
    parser.add_argument("--profile", action="append", choices=ROLES, help="draw a flame graph of a role; needs py-spy")
    named = parser.parse_args(arguments)
    return Options(
        # In the order of the scenarios, each once.
        scenarios=tuple(name for name in scenarios if not named.scenario or name in named.scenario),
        runs=named.runs,
        seconds=named.seconds,
        backlog=named.backlog,
        finished=named.finished,
        wal_mb=named.wal_mb,
        rates=tuple(rate for rate in RATES if not named.rate or rate in named.rate),
        shapes=tuple(shape for shape in SHAPES if shape in (named.shape or SHAPES[:1])),
        before=named.before.resolve() if named.before else None,
        peers=tuple(named.peer or ()),
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


def _not_negative(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def _positive_float(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return number


CORES = os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One run of the benchmark."""

    options: Options
    # For data and logs.
    folder: Path
    screen: Screen

    def percent_of_machine(self, cpu_seconds: float, seconds: float) -> float:
        """Return the share of all cores of the machine."""
        # Clocks that tick every 10 ms can show slightly more than all of it, or less than none.
        return min(100.0, max(0.0, 100 * cpu_seconds / (seconds * CORES))) if seconds else 0.0
