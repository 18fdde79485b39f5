"""A Postgres cluster on disk, before and between the runs of its server."""

import enum
import hashlib
import secrets
import shutil
import signal
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil

from dev.embedded import account as accounts
from dev.embedded import processes, wheel
from dev.embedded.processes import EmbeddedError


class StopMode(enum.Enum):
    """How Postgres is told to stop; the values are its signals."""

    # Ends sessions, writes a checkpoint.
    FAST = signal.SIGINT
    # Ends at once, as in a crash; recovers at the next start.
    IMMEDIATE = signal.SIGQUIT
    # Waits for the sessions to end.
    SMART = signal.SIGTERM


FAST_SECONDS, IMMEDIATE_SECONDS = 10.0, 2.0
# Paths of sockets are limited to 104 bytes on macOS and 108 on Linux, so they cannot be in every DATA_DIR.
SOCKET_FOLDER_PREFIX = "webhook-"


class Cluster:
    """The files in `folder`: the cluster in `data`, the superuser's password in `password`."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._say = say
        self._account: accounts.Account | None = None

    def password(self) -> str:
        """Return the superuser's password, for TCP."""
        return (self.folder / "password").read_text().strip()

    def owner_password(self) -> str:
        """Return the password of the databases' owner, for TCP; the superuser's cannot be derived from it."""
        return hashlib.sha256(f"{wheel.OWNER} {self.password()}".encode()).hexdigest()[:32]

    def prepare(self) -> accounts.Account | None:
        """Create the cluster if there is none, and return the user to run the server as (None: the current one).

        End a server that an earlier owner left behind. Raise EmbeddedError with one line if this fails.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._account = accounts.for_postgres(self._say)
        if self._account:
            accounts.open_way(self._account, [self.data, wheel.folder()], self._say)
            accounts.open_tree(self._account, wheel.trees(), self._say)
        self.end_remains()
        if not self.data.exists():
            self._make()
        if self._account:
            self._account.take(self.data)
        self._check_version()
        return self._account

    def pid_file(self) -> list[str]:
        """Return the lines of postmaster.pid: process id, data folder, start, port, socket folder, and so on."""
        try:
            return [line.strip() for line in (self.data / "postmaster.pid").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def end_remains(self, *, but: Path | None = None) -> None:
        """End the processes that a killed owner or postmaster left behind, and remove their socket folder.

        A new server refuses to start while they run. It detects a stale postmaster.pid itself. `but` is the socket
        folder to keep. Must not be called while our own server runs.
        """
        lines = self.pid_file()
        remains = processes.working_in(self.data, "postgres")
        if not remains:
            self._check_owner(lines)
        # A postmaster stops its backends. Without one they are ended directly, which loses nothing that was committed.
        heads = [process for process in remains if lines and lines[0] == str(process.pid)]
        if heads:
            self._say(f"stopping the Postgres that an earlier stack left on this data (pid {heads[0].pid})")
            processes.end(heads, StopMode.FAST.value, FAST_SECONDS)
            remains = processes.working_in(self.data, "postgres")
        left = processes.end(remains, StopMode.IMMEDIATE.value, IMMEDIATE_SECONDS)
        if left:
            raise EmbeddedError(f"{self.data} is used by process {left[0].pid}, which does not stop")
        sockets = Path(lines[4]) if len(lines) > 4 else None  # noqa: PLR2004 - see pid_file
        if sockets and sockets != but and sockets.name.startswith(SOCKET_FOLDER_PREFIX):
            shutil.rmtree(sockets, ignore_errors=True)

    def _check_owner(self, lines: list[str]) -> None:
        """Return a server on this data that we may not inspect, such as another user's."""
        if not lines or not lines[0].isdigit() or not psutil.pid_exists(int(lines[0])):
            return
        process = psutil.Process(int(lines[0]))
        if process.name() == "postgres" and str(self.data) in process.cmdline():
            who = f"the Postgres of user {process.username()} (pid {process.pid})"
            raise EmbeddedError(f"{self.data} is in use by {who}")

    def _make(self) -> None:
        """Run initdb in a temporary folder and rename it at the end, so that an incomplete cluster is never used."""
        password = self.folder / "password"
        password.touch(mode=stat.S_IRUSR | stat.S_IWUSR)
        password.write_text(secrets.token_hex(16) + "\n")
        with tempfile.TemporaryDirectory(prefix="new-", dir=self.folder) as new:
            fresh, password_copy = Path(new) / "data", Path(new) / "password"
            fresh.mkdir(mode=0o700)
            shutil.copy(password, password_copy)
            if self._account:
                self._account.take(Path(new))
            options = [f"--pgdata={fresh}", "--no-locale", "--encoding=UTF8", f"--username={wheel.USER}"]
            # The permissions of the socket's folder restrict it to us; every user of the machine can connect to a TCP
            # port.
            authentication = [f"--pwfile={password_copy}", "--auth-local=trust", "--auth-host=scram-sha-256"]
            wheel.run("initdb", [*options, *authentication], self._account)
            fresh.rename(self.data)

    def _check_version(self) -> None:
        major = wheel.run("postgres", ["--version"], self._account).split()[-1].split(".")[0]
        made_by = (self.data / "PG_VERSION").read_text().strip()
        if made_by != major:
            raise EmbeddedError(f"{self.data} is of Postgres {made_by}, and this is {major}: use another DATA_DIR")
