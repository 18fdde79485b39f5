"""Show in the terminal what the processes log about events and attempts, and bound their log files."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from services.domain.notices import activity

# Only the end of a log that grows faster than it is read.
MAX_BYTES = 64 << 10


class _Tail:
    """Reads what was added to a file since the last read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def lines(self) -> list[str]:
        with contextlib.suppress(OSError):
            size = self._path.stat().st_size
            if size < self._offset:  # trimmed
                self._offset, self._rest = 0, b""
            if size > self._offset:
                return self._read(size)
        return []

    def _read(self, size: int) -> list[str]:
        begin = max(self._offset, size - MAX_BYTES)
        with self._path.open("rb") as file:
            file.seek(begin)
            content = (self._rest if begin == self._offset else b"") + file.read(size - begin)
        self._offset = size
        *whole, self._rest = content.split(b"\n")
        self._rest = self._rest[-MAX_BYTES:]
        return [line.decode(errors="replace") for line in whole]


class Watch:
    """The logs of some processes, from now on."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._tails = [_Tail(path) for path in paths]

    def news(self) -> Iterator[str]:
        """Yield what was logged since the last call."""
        for tail in self._tails:
            yield from filter(None, map(activity.shown, tail.lines()))


LIMIT_BYTES = 20_000_000


def trim(folder: Path) -> None:
    """Move the content of each log over 20 MB to NAME.log.1, replacing the old one.

    The file itself stays, and the process that writes to it continues at its new end. Lines written at that moment may
    be lost.
    """
    for path in folder.glob("*.log"):
        with contextlib.suppress(OSError):
            if path.stat().st_size > LIMIT_BYTES:
                shutil.copyfile(path, path.with_suffix(".log.1"))
                os.truncate(path, 0)
