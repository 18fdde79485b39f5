"""What happens, for a developer who watches: a line per accepted event and failed attempt, a few each second.

In development only; elsewhere there is none, and it costs nothing. The lines go to the log of the process under a name
of their own, by which `make run` finds them and shows them in its terminal.
"""

import asyncio
import re
import time

import structlog

from services.platform.settings import Settings

NAME = "activity"
LINES_PER_SECOND = 10
log = structlog.get_logger(NAME)
# The logger of endpoints that start failing or recover: a few lines too, in production as well.
ENDPOINTS = "endpoints"
# As ConsoleRenderer writes it, without colors: time, level, text, name of the logger, and the values.
_LINE = re.compile(rf"\S+ \[\w+ *\] (?P<text>.*?) *\[(?P<name>{NAME}|{ENDPOINTS})\](?P<values>.*?)(?: role=\w+.*)?")


class Activity:
    """The lines of one process, which are all of one kind."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._second = 0.0
        self._left = 0
        self._more = 0

    @classmethod
    def of(cls, kind: str, settings: Settings) -> "Activity | None":
        """Return the lines of a process in development; None elsewhere."""
        return cls(kind) if settings.development else None

    def say(self, text: str, *values: object) -> None:
        """Write a line, `text` formatted with the values; beyond the bound count it, and say how many there were."""
        now = time.monotonic()
        if now >= self._second + 1:
            self._second, self._left = now, LINES_PER_SECOND
        if self._left:
            self._left -= 1
            _write(text % values)
        else:
            if not self._more:
                asyncio.get_running_loop().call_later(1, self._sum_up)
            self._more += 1

    def _sum_up(self) -> None:
        _write(f"… and {self._more} more {self._kind}")
        self._more = 0


def _write(line: str) -> None:
    log.info(line if line.isprintable() else line.encode("unicode_escape").decode())


def shown(line: str) -> str | None:
    """Parse activity from a log line; None for every other line."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    return found["text"] + (found["values"] if found["name"] == ENDPOINTS else "")
