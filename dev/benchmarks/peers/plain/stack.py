"""The processes of the plain stack, with stores like ours, and a Python environment of their own."""

import contextlib
import functools
import http.client
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import UUID

import redis

from dev.benchmarks.bench import BenchmarkError
from dev.benchmarks.measuring.database import Database
from dev.benchmarks.measuring.meter import Recorded
from dev.benchmarks.stack import STOP_TIMEOUT_SECONDS
from dev.embedded import Child, EmbeddedPostgres, EmbeddedValkey, Guard, ports
from dev.embedded.child import Command
from dev.harness import supervisor
from dev.local.settings import ROOT
from services.platform.stores import sql

MODULE = "dev.benchmarks.peers.plain"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
ENVIRONMENT = ROOT / ".tools/peers/plain"
# Processes of Celery: its tasks wait for receivers and for commits, and its docs recommend more than cores for these.
PROCESSES = 8
SECRET = b"benchmarks sign as well"
REQUEST_SECONDS = 2.0
STORES = ("postgres", "redis")


class PlainStore(Database):
    """What the benchmark asks of its Postgres."""

    def unfinished(self, subscriptions: Sequence[UUID] | None = None) -> bool:
        """Return whether any delivery is unfinished; it has one tenant, and no groups."""
        assert subscriptions is None
        return bool(self.value("unfinished"))

    def recorded(self, since: float, until: float, subscriptions: Sequence[UUID] | None = None) -> Recorded:
        """Return the successful attempts since a time, and those between two times, in Unix seconds."""
        assert subscriptions is None
        row = self.row("recorded", since, until)
        return Recorded(total=row["recorded"], in_window=row["in_window"])


class PlainStack:
    """Created by `running`."""

    # It checks none.
    api_key = ""

    def __init__(self, folder: Path, guard: Guard, *, wal_mb: int) -> None:
        logs = folder / "logs"
        self.port = ports.free_port()
        self.logs = logs
        self._guard = guard
        self._wal_mb = wal_mb
        self._supervisor = supervisor.Supervisor(max_deaths=1)
        self._postgres = EmbeddedPostgres(folder / "postgres", guard=guard, log_path=logs / "postgres.log")
        self._valkey = EmbeddedValkey(folder / "valkey", guard=guard, log_path=logs / "valkey.log")

    def start_stores(self) -> None:
        """Start both stores and create the schema."""
        self._postgres.prepare()
        self._supervisor.start_stores((self._postgres, self._valkey))
        if self._wal_mb:
            self._postgres.fill_wal(self._wal_mb)
        with self.store() as store:
            store.execute("create_tables")

    def start(self) -> None:
        """Start both processes, and wait until they are ready."""
        python = [str(_python()), "-m"]
        api = [*python, "uvicorn", f"{MODULE}.app:app", "--port", str(self.port), "--no-access-log"]
        worker = [*python, "celery", "--app", f"{MODULE}.tasks", "worker", "--concurrency", str(PROCESSES)]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"]
        self._supervisor.start(
            [self._part("api", api, self._answers), self._part("celery", [*worker, *quiet], self._works)]
        )

    def stop(self) -> None:
        """Stop both processes."""
        for name in ("api", "celery"):
            part = self._supervisor.parts.pop(name, None)
            if part is not None:
                part.child.stop(STOP_TIMEOUT_SECONDS)

    def close(self) -> None:
        """Stop everything, the stores last."""
        self.stop()
        for store in (self._valkey, self._postgres):
            store.close()

    def check(self) -> None:
        """Raise StackError when a process has died."""
        self._supervisor.check()

    def trees(self) -> dict[str, list[int]]:
        """Return the roots of the process trees."""
        found: dict[str, list[int]] = {name: [] for name in ("api", "celery", *STORES)}
        for name, part in self._supervisor.parts.items():
            if part.child.pid is not None and part.child.running:
                found["redis" if name == "valkey" else name].append(part.child.pid)
        return found

    def subscribe(self, target_url: str) -> UUID:
        """Create a subscription."""
        with self.store() as store:
            made: UUID = store.value("insert_subscription", target_url, SECRET)
        return made

    def redis_commands(self) -> int:
        """Return how many commands Redis has processed; this question is one."""
        with contextlib.closing(redis.Redis.from_url(self._valkey.url())) as client:
            return int(client.info("stats")["total_commands_processed"])

    @contextlib.contextmanager
    def store(self) -> Iterator[PlainStore]:
        """Yield a connection to Postgres."""
        checkpoint = functools.partial(self._postgres.execute, "CHECKPOINT")
        with PlainStore(self._database_url, sql.Queries(MODULE), checkpoint=checkpoint) as store:
            yield store

    @property
    def _database_url(self) -> str:
        return self._postgres.url(supervisor.DATABASE)

    def _part(self, name: str, arguments: Sequence[str], is_ready: Callable[[], bool]) -> supervisor.Part:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": self._database_url,
            "REDIS_URL": self._valkey.url(),
        }
        command = Command(
            name=name,
            arguments=arguments,
            log_path=self.logs / f"{name}.log",
            environment=environment,
            cwd=self.logs,
        )
        child = Child(command, guard=self._guard)
        return supervisor.Part(child=child, launch=child.launch, is_ready=is_ready)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_SECONDS)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/healthz")
            return connection.getresponse().status == http.client.OK
        return False

    def _works(self) -> bool:
        """Return whether the worker waits for tasks: it is then a blocked client of the queue."""
        with contextlib.closing(redis.Redis.from_url(self._valkey.url())) as client:
            return bool(client.info("clients")["blocked_clients"])


@contextlib.contextmanager
def running(folder: Path, *, wal_mb: int) -> Iterator[PlainStack]:
    """Yield the stack with running stores; `start` starts its processes. The context ends all of it."""
    _install()
    folder.mkdir(parents=True, exist_ok=True)
    with Guard() as guard:
        stack = PlainStack(folder, guard, wal_mb=wal_mb)
        try:
            stack.start_stores()
            yield stack
        finally:
            stack.close()


def _python() -> Path:
    return ENVIRONMENT / "bin/python"


def _install() -> None:
    """Install its requirements once; a copy of them in the environment says which."""
    stamp = ENVIRONMENT / REQUIREMENTS.name
    if stamp.exists() and stamp.read_bytes() == REQUIREMENTS.read_bytes():
        return
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    # The interpreter that the service runs on, not that of its environment.
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    pip = [str(_python()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r"]
    for command in ([str(base), "-m", "venv", str(ENVIRONMENT)], [*pip, str(REQUIREMENTS)]):
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our command lines
        if done.returncode != 0:
            raise BenchmarkError(f"cannot install the plain stack: {' '.join(done.stderr.split())[-500:]}")
    shutil.copy(REQUIREMENTS, stamp)
