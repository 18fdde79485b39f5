"""Prints results: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

COLORS = {
    **dict.fromkeys(("delivered", "active", "succeeded", "recorded", "ok"), "green"),
    **dict.fromkeys(("pending", "scheduled", "in_flight", "paused", "queued", "running", "unverified"), "yellow"),
    **dict.fromkeys(("failed", "disabled"), "red"),
    "cancelled": "dim",
}
# Of tables that another program reads.
PIPED_WIDTH = 240


class Format(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"


class Output:
    """Prints to standard output; messages go to standard error, so that they are not in the way of programs."""

    def __init__(self, kind: Format) -> None:
        self.kind = kind
        width = None if sys.stdout.isatty() else PIPED_WIDTH
        self._out = Console(highlight=False, soft_wrap=True, width=width)
        self._said = Console(stderr=True, highlight=False, soft_wrap=True)

    @property
    def is_json(self) -> bool:
        """Whether results are JSON."""
        return self.kind is Format.JSON

    def say(self, text: str, style: str | None = None) -> None:
        """Print a message for people."""
        self._said.print(Text(text, style=style or ""))

    def line(self, *parts: str | Text | tuple[str, str]) -> None:
        """Print a line."""
        self._out.print(Text.assemble(*parts))

    def json(self, value: Any) -> None:
        """Print a value as a line of JSON."""
        sys.stdout.write(json.dumps(msgspec.to_builtins(value), ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def rows(self, columns: Sequence[str], items: Iterable[Any], *, narrow: Sequence[str] = ()) -> None:
        """Print objects: a table of these fields, or JSON lines with all fields.

        With `narrow`, what is wider than the terminal is a line of those fields for each object, and one with its
        explanation.
        """
        if self.is_json:
            for item in items:
                self.json(item)
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            whole = column == "id" or column.endswith(("_id", "_at", "status"))
            table.add_column(column.replace("_", " "), overflow="fold", no_wrap=whole)
        listed = list(items)
        if not listed:
            self.say("nothing found")
            return
        rows = [[cell(getattr(item, column)) for column in columns] for item in listed]
        widths = (max(len(name), *(row[at].cell_len for row in rows)) for at, name in enumerate(columns))
        if narrow and sum(widths) + 2 * len(columns) > self._out.width:
            for item in listed:
                self.line(Text("  ").join(cell(getattr(item, name)) for name in narrow))
                self.line(("  " + item.explanation, "dim"))
            return
        for row in rows:
            table.add_row(*row)
        self._out.print(table)

    def fields(self, item: Any, names: Sequence[str]) -> None:
        """Print an object: a field a line, or JSON with all fields."""
        if self.is_json:
            self.json(item)
            return
        width = max(map(len, names))
        for name in names:
            self._out.print(Text.assemble((f"{name.replace('_', ' '):{width}}  ", "bold"), cell(getattr(item, name))))


def cell(value: Any) -> Text:
    """Return a value for people."""
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, datetime):
        return Text(f"{value:%Y-%m-%d %H:%M:%S}Z")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, dict):
        return Text(", ".join(f"{key}={item}" for key, item in value.items()) or "-")
    if isinstance(value, list):
        return Text(", ".join(map(str, value)) or "-")
    return Text(str(value), style=COLORS.get(str(value), ""))
