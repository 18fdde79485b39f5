"""Stop the processes of an owner that was killed and could not do it itself.

The guard is a small process (`dev.embedded.guardian`) that reads commands from a pipe whose other end only the owner
has. When the owner dies, for whatever reason, the system closes that end, and the guard stops the processes that it
watches. It works the same on Linux and macOS, and for programs that are not ours: PR_SET_PDEATHSIG exists only on
Linux, and code in our own processes would not cover Postgres and Valkey.
"""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

_ROOT = Path(__file__).resolve().parents[2]
_Key = tuple[str, int | str]


class Guard:
    """The owner's end. `keep_open` are file descriptors that stay open until the guard has finished.

    So a lock on one of them means that the owner or a part of its stack is still running.
    """

    def __init__(self, *, keep_open: Iterable[int] = ()) -> None:
        self._keep_open = tuple(keep_open)
        self._orders: dict[_Key, dict[str, Any]] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the guard."""
        self.ensure_running()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the guard."""
        self.close()

    @property
    def pid(self) -> int | None:
        """Return the process id of the guard; None if it was not started."""
        return self._process.pid if self._process else None

    def ensure_running(self) -> None:
        """Start the guard, or restart it if it was killed."""
        if self._process is not None and self._process.poll() is None:
            return
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dev.embedded.guardian"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=_ROOT,
            start_new_session=True,
            pass_fds=self._keep_open,
        )
        for order in tuple(self._orders.values()):
            self._write(order)

    def watch(self, pid: int, *, stop_signal: signal.Signals, store: bool) -> None:
        """Have the process stopped when the owner dies: by this signal, then by SIGKILL. Stores are stopped last."""
        self._order(("pid", pid), {"watch": pid, "signal": int(stop_signal), "store": store})

    def forget(self, pid: int) -> None:
        """Undo `watch`: the process has ended."""
        self._take_back(("pid", pid), {"forget": pid})

    def watch_folder(self, folder: Path) -> None:
        """Have the folder removed when the owner dies."""
        self._order(("folder", str(folder)), {"watch_folder": str(folder)})

    def forget_folder(self, folder: Path) -> None:
        """Undo `watch_folder`."""
        self._take_back(("folder", str(folder)), {"forget_folder": str(folder)})

    def close(self) -> None:
        """Let the guard stop what it still watches, and wait until it has ended."""
        if self._process is None:
            return
        if self._process.stdin:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._process.wait()
        self._process = None

    def _order(self, key: _Key, order: dict[str, Any]) -> None:
        self._orders[key] = order
        self._write(order)

    def _take_back(self, key: _Key, order: dict[str, Any]) -> None:
        if self._orders.pop(key, None) is not None:
            self._write(order)

    def _write(self, order: Mapping[str, Any]) -> None:
        if self._process is None or self._process.stdin is None:
            return
        # `ensure_running` restarts a killed guard and repeats all commands.
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
