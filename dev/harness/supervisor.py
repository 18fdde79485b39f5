"""Migrate, start, monitor, restart, and stop the stores and processes of a stack in order."""

import asyncio
import contextlib
import functools
import http.client
import json
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from dev.embedded import Child, EmbeddedError, EmbeddedPostgres, EmbeddedValkey, Guard, describe_exit
from dev.embedded.child import Command
from services.platform.settings import PostgresSettings
from services.schema import migrations
from services.schema.migrate import migrate as migrate_schema
from services.schema.migrations import MigrationError
from services.schema.wait import Say

__all__ = ["MigrationError", "migrate"]

DATABASE = "webhook"
TICK_SECONDS = 0.1
READY_TIMEOUT_SECONDS = 60.0
MIGRATION_POLL_SECONDS = 0.1
MIGRATION_WAIT_SECONDS = 60.0
MAX_DEATHS = 3
DEATHS_WINDOW_SECONDS = 30.0
# A second death in a row can be caused by a dependency that is still restarting, such as Postgres.
RESTART_DELAY_SECONDS = 1.0

# The order in which processes are stopped, and the seconds after which those of a stage are killed. First, no more
# requests come in. Then workers have the longest time, to finish requests in flight.
STOP_STAGES: Sequence[tuple[tuple[str, ...], float]] = (
    (("gateway", "relay"), 2.0),
    (("ingest", "front"), 3.5),
    (("worker", "back", "service"), 7.0),
    (("delivery", "analytics"), 8.2),
    (("valkey", "postgres"), 9.4),
)

# Slightly more than the timeout of the processes' own checks.
READINESS_TIMEOUT_SECONDS = 1.5
# A gateway is ready before it has reached these, but a stack is used as a whole.
SERVICES = frozenset(("ingest", "delivery", "analytics"))


class StackError(Exception):
    """The stack cannot start or continue. The message is for the user, and its first line is enough."""


def all_ready(urls: Iterable[str]) -> bool:
    """Return whether every URL returns 200 now, and no service behind it is unavailable."""
    return all(_ok(url) for url in urls)


def _ok(url: str) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=READINESS_TIMEOUT_SECONDS)
    with contextlib.closing(connection), contextlib.suppress(OSError, ValueError, http.client.HTTPException):
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        # In a process of several roles the names are ROLE.NAME.
        degraded = {name.rpartition(".")[2] for name in json.load(answer).get("degraded", {})}
        return answer.status == http.client.OK and not SERVICES & degraded
    return False


def migrate(
    database_url: str,
    *,
    folder: Path = migrations.FOLDER,
    cancelled: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda _: None,
    runtime_user: str = "",
) -> int:
    """Apply the missing migrations to an existing database, and return how many. Raise MigrationError.

    End early if `cancelled` returns true; the current file is rolled back. Runs in its own thread, because the caller's
    may have a running event loop.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="migrations") as thread:
        return thread.submit(asyncio.run, _migrate(database_url, folder, cancelled, say, runtime_user)).result()


async def _migrate(
    url: str, folder: Path, cancelled: Callable[[], bool], say: Callable[[str], None], runtime_user: str
) -> int:
    settings = PostgresSettings(database_url=url)
    quiet = Say(lambda line: say(line) if line.startswith("waiting") else None)
    work = migrate_schema(
        settings, quiet, folder=folder, wait_seconds=MIGRATION_WAIT_SECONDS, runtime_user=runtime_user
    )
    task = asyncio.ensure_future(work)
    while not task.done():
        if cancelled():
            task.cancel()
        await asyncio.wait({task}, timeout=MIGRATION_POLL_SECONDS)
    if task.cancelled():
        raise MigrationError("migrations were stopped")
    return task.result()


@dataclass(kw_only=True)
class Part:
    """One process of the stack. `launch` starts it without waiting; `is_ready` returns whether it is ready."""

    child: Child
    launch: Callable[[], None]
    is_ready: Callable[[], bool]
    # While this is set, the supervisor does not restart it.
    held: bool = False
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_DEATHS))
    # Monotonic time of the next start; None while it is running.
    restart_at: float | None = None

    @property
    def name(self) -> str:
        """Return the name of its process."""
        return self.child.name

    @property
    def role(self) -> str:
        """Return the role of the process, or its name if it has several; copies are named ROLE-NUMBER."""
        return self.name.partition("-")[0]


class Supervisor:
    """Own the parts of one stack. `on_tick` runs in every check, ten times a second.

    A part that dies is restarted, unless that is its `max_deaths`th death within DEATHS_WINDOW_SECONDS. With None, it
    is always restarted, and at once.
    """

    def __init__(
        self,
        say: Callable[[str], None] = lambda _: None,
        *,
        on_tick: Callable[[], None] = lambda: None,
        max_deaths: int | None = MAX_DEATHS,
    ) -> None:
        self.stopping = False
        self.parts: dict[str, Part] = {}
        self._say = say
        self._on_tick = on_tick
        self._max_deaths = max_deaths

    def request_stop(self) -> None:
        """Request the stop; safe in a signal handler."""
        self.stopping = True

    def start(self, parts: Iterable[Part]) -> None:
        """Start parts and wait until they are ready, or until the stop is requested.

        Raise StackError if one keeps dying or is not ready in time.
        """
        waiting = list(parts)
        for part in waiting:
            self.parts[part.name] = part
            part.launch()
        began = time.monotonic()
        while waiting and not self.stopping:
            for part in tuple(waiting):
                if part.child.running and part.is_ready():
                    waiting.remove(part)
                    self._say(f"{part.name} is ready (pid {part.child.pid})")
            self._tick()
            if waiting and time.monotonic() - began > READY_TIMEOUT_SECONDS:
                raise _with_last_lines(waiting[0], f"{waiting[0].name} is not ready after {READY_TIMEOUT_SECONDS:g} s")

    def start_stores(self, stores: Iterable[EmbeddedPostgres | EmbeddedValkey | None]) -> None:
        """Start our stores, and create the database in Postgres."""
        own = [store for store in stores if store]
        self.start(Part(child=store.process, launch=store.launch, is_ready=store.is_ready) for store in own)
        for store in own:
            if isinstance(store, EmbeddedPostgres) and not self.stopping:
                store.ensure_database(DATABASE)

    def watch(self) -> None:
        """Keep the parts running until the stop is requested; StackError if one keeps dying."""
        while not self.stopping:
            self._tick()

    def check(self) -> None:
        """Check every part once; StackError if one keeps dying."""
        for part in self.parts.values():
            if part.held:
                continue
            if part.restart_at is None:
                status = part.child.poll()
                if status is not None:
                    self._died(part, status)
            if part.restart_at is not None and time.monotonic() >= part.restart_at:
                self._restart(part)

    def stop(self, *, stage_seconds: float | None = None, stores: bool = True) -> None:
        """Stop the parts stage by stage: within 10 s, or within these seconds for each stage."""
        began = time.monotonic()
        for roles, deadline_seconds in STOP_STAGES if stores else STOP_STAGES[:-1]:
            children = [part.child for part in self.parts.values() if part.role in roles]
            for child in children:
                child.ask_to_stop()
            stage_ends = began + deadline_seconds if stage_seconds is None else time.monotonic() + stage_seconds
            for child in children:
                if child.wait(stage_ends - time.monotonic()) is None and child.running:
                    self._say(f"{child.name} does not stop: killing it")
                    child.kill()
                del self.parts[child.name]

    def _tick(self) -> None:
        self.check()
        self._on_tick()
        time.sleep(TICK_SECONDS)

    def _died(self, part: Part, status: int) -> None:
        now = time.monotonic()
        part.deaths.append(now)
        what = f"{part.name} (pid {part.child.pid}) died: {describe_exit(status)}"
        recent = [death for death in part.deaths if now - death <= DEATHS_WINDOW_SECONDS]
        if self._max_deaths is not None and len(recent) >= self._max_deaths:
            deaths = f", {self._max_deaths} deaths within {DEATHS_WINDOW_SECONDS:g} s" if self._max_deaths > 1 else ""
            raise _with_last_lines(part, what + deaths)
        part.restart_at = now + (RESTART_DELAY_SECONDS if self._max_deaths and len(recent) > 1 else 0)
        self._say(f"{what}; restarting it")

    def _restart(self, part: Part) -> None:
        try:
            part.launch()
        except EmbeddedError as error:
            raise StackError(str(error)) from error
        part.restart_at = None
        self._say(f"{part.name} runs again (pid {part.child.pid})")


def process(command: Command, guard: Guard, readiness_urls: Sequence[str]) -> Part:
    """Return the part that runs a process of the service."""
    child = Child(command, guard=guard)
    return Part(child=child, launch=child.launch, is_ready=functools.partial(all_ready, readiness_urls))


def _with_last_lines(part: Part, what: str) -> StackError:
    lines = "".join(f"\n  {line}" for line in part.child.last_lines())
    return StackError(f"{what}. The end of {part.child.command.log_path}:{lines}" if lines else what)


def cancel_on_signals() -> None:
    """Cancel the current task at the first stop signal; ignore further signals."""
    task = asyncio.current_task()

    def cancel() -> None:
        if task and not task.cancelling():
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, cancel)
