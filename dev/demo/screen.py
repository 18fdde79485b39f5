"""What the user of `make demo` sees: colors and a live table in a terminal, plain lines elsewhere."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime

from rich import box
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from dev.demo.client import Attempt, Delivery

REFRESHES_PER_SECOND = 10
LABEL_WIDTH = 14


class Screen:
    """Standard output."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal and not console.is_dumb_terminal
        unicode = console.encoding.lower().startswith("utf")
        self._good, self._bad = ("✓", "✗") if unicode else ("ok", "no")

    def title(self, text: str) -> None:
        """Print the title of the demo or of a part."""
        self._print(f"\n[bold]{escape(text)}[/bold]")

    def done(self, label: str, text: str) -> None:
        """Print something that went well."""
        self._print(f"  [green]{self._good}[/green] {escape(label):<{LABEL_WIDTH}}{escape(text)}")

    def note(self, text: str) -> None:
        """Print more about the line before."""
        self._print(f"  [dim]{' ' * len(self._good)} {'':<{LABEL_WIDTH}}{escape(text)}[/dim]")

    def check(self, text: str, *, passed: bool) -> None:
        """Print something that was checked."""
        colour, mark = ("green", self._good) if passed else ("red", self._bad)
        self._print(f"  [{colour}]{mark}[/{colour}] {escape(text)}")

    def say(self, text: str) -> None:
        """Print a line."""
        self._print(f"  {escape(text)}")

    @contextlib.contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Print what is waited for."""
        if self._live:
            with self._console.status(f"[dim]{escape(text)}[/dim]"):
                yield
        else:
            self.say(text)
            yield

    @contextlib.contextmanager
    def timeline(self) -> Iterator["Timeline"]:
        """Show the attempts of a delivery as they are made."""
        if not self._live:
            yield _Lines(self)
            return
        with Live(console=self._console, refresh_per_second=REFRESHES_PER_SECOND) as live:
            yield _LiveTable(live)

    def _print(self, markup: str) -> None:
        self._console.print(markup, highlight=False, soft_wrap=True)


class Timeline:
    """Fetch the delivery repeatedly."""

    def show(self, delivery: Delivery) -> None:
        """Show the current state."""
        raise NotImplementedError


class _LiveTable(Timeline):
    """A table that is redrawn."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, delivery: Delivery) -> None:
        table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, show_edge=False)
        table.add_column("attempt", justify="right")
        table.add_column("started", justify="right")
        table.add_column("outcome", min_width=22)
        table.add_column("took", justify="right")
        table.add_column("then", min_width=19)
        for attempt in delivery.attempts:
            outcome = (
                f"[green]{_outcome(attempt)}[/green]" if attempt.error is None else f"[red]{_outcome(attempt)}[/red]"
            )
            table.add_row(
                str(attempt.number), _started(delivery, attempt), outcome, _took(attempt), _then(delivery, attempt)
            )
        if delivery.status in {"pending", "in_flight"}:
            doing = "waiting for a worker" if delivery.status == "pending" else "on its way"
            table.add_row(str(len(delivery.attempts) + 1), "", f"[dim]{doing}[/dim]", "", "")
        self._live.update(Padding(table, (0, 0, 0, 2)))


class _Lines(Timeline):
    """Print a line for each finished attempt."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._shown = 0

    def show(self, delivery: Delivery) -> None:
        for attempt in delivery.attempts[self._shown :]:
            self._screen.say(
                f"attempt {attempt.number}  started {_started(delivery, attempt)}  {_outcome(attempt)}  "
                f"took {_took(attempt)}  {_then(delivery, attempt)}"
            )
        self._shown = len(delivery.attempts)


def _started(delivery: Delivery, attempt: Attempt) -> str:
    """Return the seconds since the acceptance."""
    return f"+{(attempt.started_at - delivery.created_at).total_seconds():.2f} s"


def _outcome(attempt: Attempt) -> str:
    if attempt.error is None:
        return f"{attempt.status_code}"
    if attempt.error.kind.startswith("http_"):
        return f"{attempt.status_code}  {attempt.error.kind}"
    return escape(f"{attempt.error.kind}: {attempt.error.message}")


def _took(attempt: Attempt) -> str:
    return "?" if attempt.duration_ms is None else f"{attempt.duration_ms} ms"


def _then(delivery: Delivery, attempt: Attempt) -> str:
    """Describe what follows an attempt."""
    later = [other for other in delivery.attempts if other.number > attempt.number]
    if later:
        pause = (later[0].started_at - attempt.started_at).total_seconds() - (attempt.duration_ms or 0) / 1000
        return f"retried after {pause:.1f} s"
    if delivery.next_attempt_at is not None:
        left = (delivery.next_attempt_at - datetime.now(UTC)).total_seconds()
        return f"next in {max(0.0, left):.1f} s"
    return delivery.status if delivery.ended else "to be retried"
