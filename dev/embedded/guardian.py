"""The process behind `dev.embedded.guard`: python -m dev.embedded.guardian.

It reads commands, one line of JSON each, until its standard input ends: {"watch": pid, "signal": number, "store":
bool}, {"forget": pid}, {"watch_folder": path}, {"forget_folder": path}. Then it stops what it still watches, the stores
last, and removes the folders.
"""

import contextlib
import json
import shutil
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

import psutil

from dev.embedded import processes

GRACE_SECONDS = 4.0


@dataclass(frozen=True, kw_only=True)
class _Watched:
    process: psutil.Process
    stop_signal: int
    store: bool


@dataclass(frozen=True, kw_only=True)
class _Orders:
    watched: dict[int, _Watched] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)

    def read(self, lines: Iterable[bytes]) -> None:
        """Execute commands until the input ends."""
        for line in lines:
            match json.loads(line):
                case {"watch": int(pid), "signal": int(number), "store": bool(store)}:
                    # Looked up at once, so that it is this process and not a later one with the same number.
                    with contextlib.suppress(psutil.NoSuchProcess):
                        self.watched[pid] = _Watched(process=psutil.Process(pid), stop_signal=number, store=store)
                case {"forget": int(pid)}:
                    self.watched.pop(pid, None)
                case {"watch_folder": str(path)}:
                    self.folders.add(path)
                case {"forget_folder": str(path)}:
                    self.folders.discard(path)

    def end_all(self) -> None:
        """Stop the remaining processes, and remove the remaining folders."""
        for store in (False, True):
            for number in sorted({item.stop_signal for item in self.watched.values() if item.store == store}):
                group = [i.process for i in self.watched.values() if i.store == store and i.stop_signal == number]
                processes.end(group, number, GRACE_SECONDS)
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Wait until the owner ends, and clean up after it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    orders = _Orders()
    orders.read(sys.stdin.buffer)
    orders.end_all()


if __name__ == "__main__":
    main()
