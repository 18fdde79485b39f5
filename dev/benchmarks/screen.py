"""What the user sees: lines, a progress bar of the load at hand, and tables."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable

# A wide terminal where output is no terminal: lines are not to be broken in a log.
LOG_COLUMNS = 200


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns are headings; the first is text, the others are numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Screen:
    """Lines carry the seconds since the start."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        if not self._console.is_terminal:
            self._console = Console(highlight=False, width=LOG_COLUMNS)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=self._console, transient=True, refresh_per_second=4)
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        """Begins to draw."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the terminal as it was."""
        self._progress.stop()

    def say(self, line: str) -> None:
        """One line."""
        self._console.print(f"{time.monotonic() - self._began:7.1f} s  {line}", markup=False)

    @contextlib.contextmanager
    def step(self, what: str, seconds: float) -> Iterator[Callable[[], None]]:
        """A bar of something that takes so long; what is yielded moves it on."""
        began = time.monotonic()
        task = self._progress.add_task(what, total=seconds)
        try:
            yield lambda: self._progress.update(task, completed=time.monotonic() - began)
        finally:
            self._progress.remove_task(task)

    @contextlib.contextmanager
    def count(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar of so many things; what is yielded says how many there are."""
        task = self._progress.add_task(what, total=total)
        try:
            yield lambda number: self._progress.update(task, completed=number)
        finally:
            self._progress.remove_task(task)

    def show(self, table: Table) -> None:
        """A table."""
        drawn = RichTable(title=table.title, title_justify="left")
        for index, heading in enumerate(table.columns):
            drawn.add_column(heading, justify="right" if index else "left")
        for row in table.rows:
            drawn.add_row(*row)
        self._console.print(drawn)
