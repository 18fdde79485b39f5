"""Processes that are not our children, but those of an owner that died."""

import contextlib
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil


class EmbeddedError(Exception):
    """A store cannot be prepared, started, or reached. The message is one line for the user."""


POLL_SECONDS = 0.05


def alive(process: psutil.Process) -> bool:
    """Return whether this process still runs, and not another one with its number; zombies do not count."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end(processes: Iterable[psutil.Process], stop_signal: int, grace_seconds: float) -> list[psutil.Process]:
    """Stop processes by a signal, and after the grace period by SIGKILL; return those that still live."""
    left = [process for process in processes if alive(process)]
    for number, seconds in ((stop_signal, grace_seconds), (signal.SIGKILL, 2.0)):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                process.send_signal(number)
        deadline = time.monotonic() + seconds
        while left and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            left = [process for process in left if alive(process)]
    return left


def working_in(folder: Path, program: str) -> list[psutil.Process]:
    """Return the processes of `program` that work in this folder, oldest first.

    Does not find those of other users if we may not inspect them.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.name() == program and process.cwd() == str(folder) and alive(process):
                found.append(process)
    return sorted(found, key=lambda process: (process.create_time(), process.pid))
