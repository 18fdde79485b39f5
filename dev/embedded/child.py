"""A child process in its own session, with its output appended to a log file."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from dev.embedded.account import Account
from dev.embedded.guard import Guard
from dev.embedded.processes import EmbeddedError

LAST_LINES_BYTES = 16_384
POLL_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run and how to stop it."""

    # Shown to the user; also the name of its log.
    name: str
    arguments: Sequence[str]
    log_path: Path
    environment: Mapping[str, str]
    cwd: Path | None = None
    # Another OS user to run as; None for the caller's.
    account: Account | None = None
    # The signal for an orderly stop.
    stop_signal: signal.Signals = signal.SIGTERM
    # Stores are stopped after everything that uses them.
    store: bool = False


class Child:
    """A process that can be started, killed, stopped, and started again.

    It has its own session, so that Ctrl-C in the terminal reaches only its owner, which then stops everything in order.
    With a `Guard`, it does not outlive its owner.
    """

    def __init__(self, command: Command, *, guard: Guard | None = None) -> None:
        self.command = command
        self._guard = guard
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """Return its name."""
        return self.command.name

    @property
    def pid(self) -> int | None:
        """Return the process id, even after the process has ended; None before the first start."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Return whether it was started and has not ended."""
        return self._process is not None and self.poll() is None

    def launch(self) -> None:
        """Start the process without waiting until it is ready.

        Raise OSError if it cannot be executed, RuntimeError if it is running.
        """
        if self.running:
            raise RuntimeError(f"{self.name} is running already")
        command = self.command
        command.log_path.parent.mkdir(parents=True, exist_ok=True)
        with command.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command lines
                list(command.arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=command.cwd,
                env=dict(command.environment),
                start_new_session=True,
                **(command.account.popen_options() if command.account else {}),
            )
        if self._guard:
            self._guard.watch(self._process.pid, stop_signal=command.stop_signal, store=command.store)

    def poll(self) -> int | None:
        """Return the exit status if the process has ended (negative: the signal), else None."""
        return self._ended(self._process.poll()) if self._process else None

    def wait(self, timeout_seconds: float) -> int | None:
        """Wait for the end and return the exit status; None if it has not ended in time."""
        if self._process is None:
            return None
        try:
            return self._ended(self._process.wait(max(0.0, timeout_seconds)))
        except subprocess.TimeoutExpired:
            return None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it is running."""
        if self._process and self.poll() is None:
            self._process.send_signal(number)

    def ask_to_stop(self) -> None:
        """Send the stop signal without waiting."""
        self.send(self.command.stop_signal)

    def kill(self) -> int | None:
        """Send SIGKILL to the whole process group; return the exit status."""
        if self._process is None:
            return None
        if self.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._ended(self._process.wait())

    def stop(self, timeout_seconds: float = 10.0, *, stop_signal: signal.Signals | None = None) -> int | None:
        """Ask the process to stop, kill it if it has not ended in time, and return the exit status."""
        self.send(stop_signal or self.command.stop_signal)
        status = self.wait(timeout_seconds)
        return self.kill() if status is None else status

    def last_lines(self, count: int = 15) -> list[str]:
        """Return the end of its log."""
        return last_lines(self.command.log_path, count)

    def _ended(self, status: int | None) -> int | None:
        if status is not None and self._guard and self._process:
            self._guard.forget(self._process.pid)
        return status


class EmbeddedStore:
    """A store that its owner can start, kill, and stop. As a context manager, it starts and closes the store."""

    title: ClassVar[str]
    start_seconds: ClassVar[float]
    # None until it is prepared.
    _child: Child | None = None

    def __enter__(self) -> Self:
        """Start the store."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the store."""
        self.close()

    @property
    def process(self) -> Child:
        """Return the server's process; EmbeddedError before the store is prepared."""
        if self._child is None:
            raise EmbeddedError(f"{self.title} was not prepared")
        return self._child

    @property
    def pid(self) -> int | None:
        """Return the server's process id, even after it has ended; None before the first start."""
        return self._child.pid if self._child else None

    @property
    def running(self) -> bool:
        """Return whether the server is running."""
        return self._child is not None and self._child.running

    def launch(self) -> None:
        """Start the server without waiting; first end one that a killed owner left behind."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Return whether the server answers."""
        raise NotImplementedError

    def start(self, timeout_seconds: float | None = None) -> None:
        """Start the server and wait until it answers; EmbeddedError if it does not."""
        self.launch()
        self.wait_ready(timeout_seconds)

    def wait_ready(self, timeout_seconds: float | None = None) -> None:
        """Wait until the server answers; EmbeddedError if it died or does not answer in time."""
        seconds = timeout_seconds or self.start_seconds
        deadline = time.monotonic() + seconds
        log = self.process.command.log_path
        while not self.is_ready():
            status = self.process.poll()
            if status is not None:
                last = " | ".join(self.process.last_lines(3))
                raise EmbeddedError(f"{self.title} did not start ({describe_exit(status)}), see {log}: {last}")
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{self.title} is not ready after {seconds:g} s, see {log}")
            time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        """Send SIGKILL to the server, as in a crash of the machine."""
        if self._child:
            self._child.kill()

    def close(self) -> None:
        """Stop the server permanently."""
        raise NotImplementedError


def last_lines(path: Path, count: int = 15) -> list[str]:
    """Return the last `count` lines of a file, or those in its last 16 KiB; none if there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_LINES_BYTES))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-count:]


def describe_exit(status: int) -> str:
    """Describe an exit status in words: "exit status 1", "killed by SIGKILL"."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
