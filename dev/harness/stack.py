"""The whole service as its users start it: python -m dev.local."""

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from dev.embedded import Guard
from dev.embedded.ports import free_port
from dev.harness.waiting import wait_until_sync

ROOT = Path(__file__).resolve().parents[2]
ROLES = ("gateway", "ingest", "delivery", "worker", "analytics")
START_TIMEOUT_SECONDS = 120.0
STOP_TIMEOUT_SECONDS = 30.0
# Variables inherited from the caller; its settings and its .env do not apply to this stack.
PASSED_ON = ("HOME", "PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
# Stops the stacks of a process that was killed, such as a run of the tests.
_GUARD = Guard()
atexit.register(_GUARD.close)


class Stack:
    """A supervisor process with its own DATA_DIR and PORT. `environment` is added to an empty one.

    `processes` is how many processes the roles share: "one", "two" or "five".
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
        processes: str = "five",
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.port = port or free_port()
        self.output_path = self.data_dir.with_name(f"{self.data_dir.name}.output")
        self._environment = {"PROCESSES": processes, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        """Return the gateway's URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ports(self) -> dict[str, Any]:
        """Return the content of ports.json."""
        content: dict[str, Any] = json.loads((self.data_dir / "ports.json").read_text())
        return content

    @property
    def output(self) -> str:
        """Return what the supervisor has printed since its last start."""
        return self.output_path.read_text() if self.output_path.exists() else ""

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Return the supervisor's process."""
        if self._process is None:
            raise AssertionError("the stack was not started")
        return self._process

    def launch(self) -> None:
        """Start the supervisor without waiting."""
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        environment = {
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
            # Not from the checkout, whose .env belongs to the developer.
            "PYTHONPATH": str(ROOT),
            "DATA_DIR": str(self.data_dir),
            "PORT": str(self.port),
            **self._environment,
        }
        with self.output_path.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dev.local"],
                cwd=self.data_dir.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _GUARD.ensure_running()
        _GUARD.watch(self._process.pid, stop_signal=signal.SIGTERM, store=False)

    def start(self) -> None:
        """Start the supervisor and wait until it prints that the service is ready."""
        self.launch()
        wait_until_sync(self._ready_or_dead, START_TIMEOUT_SECONDS, what="the stack to be ready")
        if self.process.poll() is not None:
            raise AssertionError(f"the stack did not start:\n{self.output}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell the supervisor to stop, and return its exit status. AssertionError if it takes too long."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(STOP_TIMEOUT_SECONDS)
            _GUARD.forget(self.process.pid)
            return status
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise AssertionError(f"the stack did not stop in time:\n{self.output}") from error

    def kill(self) -> None:
        """Send SIGKILL to the supervisor; its guard then ends the rest."""
        self.process.kill()
        self.process.wait()
        _GUARD.forget(self.process.pid)

    def processes(self) -> list[psutil.Process]:
        """Return every living process of this stack, including stores and helpers, but not the supervisor."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def pid_of(self, role: str) -> int | None:
        """Return the process of a role, perhaps among others; None while there is none."""
        return next((process.pid for process in self.processes() if role in roles_of(process)), None)

    def kill_role(self, role: str) -> int:
        """Send SIGKILL to the process of a role, and return its process id."""
        pid = self.pid_of(role)
        if pid is None:
            raise AssertionError(f"{role} does not run")
        os.kill(pid, signal.SIGKILL)
        return pid

    @property
    def ready(self) -> bool:
        """Return whether it has printed that it is ready."""
        return "Webhook service is ready." in self.output

    def _ready_or_dead(self) -> bool:
        return self.ready or self.process.poll() is not None

    def _is_ours(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == self.process.pid or process.status() == psutil.STATUS_ZOMBIE:
                return False
            return process.environ().get("DATA_DIR") == str(self.data_dir) or Path(process.cwd()).is_relative_to(
                self.data_dir
            )
        return False


def roles_of(process: psutil.Process) -> list[str]:
    """Return what follows `-m services` in the command line; nothing if the process ended in the meantime."""
    with contextlib.suppress(psutil.Error, OSError, ValueError):
        line = process.cmdline()
        return [str(word) for word in line[line.index("services") + 1 :]]
    return []


@contextlib.contextmanager
def running(
    data_dir: Path,
    *,
    port: int | None = None,
    environment: Mapping[str, str] | None = None,
    processes: str = "five",
) -> Iterator[Stack]:
    """Yield a running stack, which is stopped when the context ends."""
    stack = Stack(data_dir, port=port, environment=environment, processes=processes)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()
