"""The life of a process: start, background tasks with an owner, readiness, an orderly stop.

    ROLE = lifecycle.Role(name="ingest", settings=IngestSettings, serve=serve)

    lifecycle.run(ROLE)

`serve` is an async context manager: it builds a role up, yields while it serves, and takes everything down in the
reverse order when the process is told to stop (SIGTERM or SIGINT). A process runs any set of roles. They share what
whole.py lists, and each knows only its own `Process`.

A server drains first: for DRAIN_SECONDS it is not ready but still serves; a second signal ends that. Then all that the
process has to do is done within SHUTDOWN_GRACE_SECONDS: fronts and workers stop first, then the roles that fronts call.
A background task that ends unexpectedly stops the process at once, with exit status 1.
"""

import asyncio
import contextlib
import gc
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import structlog
import uvloop

from services.platform import settings as settings_of
from services.platform.http import server
from services.platform.process import background, logs, metrics, probes
from services.platform.process.whole import Near, Whole
from services.platform.settings import GrpcServerSettings
from services.platform.tracing import spans as tracing
from services.platform.tracing.settings import TracingSettings

log = structlog.get_logger(__name__)
LAG_INTERVAL_SECONDS = 1.0
GC_THRESHOLDS = (20_000, 50, 100)


class StartError(Exception):
    """Why a process cannot start, in one line: it is logged, and the exit status is 1."""


class Process:
    """What `serve` gets: the process as one of its roles sees it.

    It has the role's health checks, and a tracer unless tracing is off. `whole` is what it has together with the other
    roles; without it the process has no others.
    """

    def __init__(self, role: str, tracer: tracing.Tracer | None = None, *, whole: Whole | None = None) -> None:
        self.role = role
        self.tracer = tracer
        self.whole = whole or Whole((role,))
        self.health = probes.Health()
        self.health.add_liveness("background_tasks", self.whole.check_tasks)
        self.whole.health.add(role, self.health)

    def near(self, role: str) -> Callable[[], Near | None]:
        """Return what returns a role while it serves in this process: for a channel to it."""
        return lambda: self.whole.near.get(role)

    def seconds_to_stop(self, grace_seconds: float) -> float:
        """Return what is left of the time to stop, which is `grace_seconds` when this is first asked."""
        return self.whole.seconds_to_stop(grace_seconds)

    @property
    def stop_requested(self) -> asyncio.Event:
        """Set when the process is to stop."""
        return self.whole.stop_requested

    def request_stop(self) -> None:
        """Ask for the end; the second time, for one without draining."""
        self.whole.request_stop()

    def on_drain(self, call: Callable[[], None]) -> None:
        """Have `call` called when the process has been told to stop, before it does."""
        self.whole.on_drain(call)

    async def drain(self, seconds: float) -> None:
        """Say that the process is stopping, and go on for so long."""
        await self.whole.drain(seconds)

    def spawn(self, name: str, coroutine: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Start a loop that runs until cancelled."""
        return self.whole.spawn(name, coroutine)

    def disown(self, task: asyncio.Task[None]) -> None:
        """Allow a spawned task to end on its own."""
        self.whole.disown(task)

    async def cancel(self, task: asyncio.Task[None]) -> None:
        """Cancel a spawned task and wait for it."""
        await self.whole.cancel(task)

    async def cancel_all(self) -> None:
        """Cancel all remaining spawned tasks."""
        await self.whole.cancel_all()

    @property
    def failed(self) -> bool:
        """Whether a background task died."""
        return self.whole.failed


@dataclass(frozen=True, kw_only=True)
class Role:
    """Something that a process does: its settings, and what builds it up, alone or beside other roles."""

    name: str
    settings: type[TracingSettings]
    serve: Callable[[Process, Any], AbstractAsyncContextManager[None]]
    # Whether other roles call it: it then stops after all that may call it.
    called: bool = False


def run(*roles: Role) -> None:
    """Run a process of these roles until it is told to stop; the exit status is 0 unless something died."""
    loaded = settings_of.load_all(*(role.settings for role in roles))
    whole = Whole([role.name for role in roles], servers=sum(isinstance(each, GrpcServerSettings) for each in loaded))
    first = loaded[0]
    logs.configure(whole.name, first)
    raise_open_files_limit()
    metrics.export_build_info(*whole.roles)
    ops_listener = server.bind(first.host, first.metrics_port)
    running = [_Running(role, settings, whole) for role, settings in zip(roles, loaded, strict=True)]
    sys.exit(uvloop.run(_run(whole, running, ops_listener)))


class _Running:
    """A role of a process, in a task of its own, so that none waits for another one that cannot start yet."""

    def __init__(self, role: Role, settings: TracingSettings, whole: Whole) -> None:
        self.role = role
        self.drain_seconds: float = getattr(settings, "drain_seconds", 0.0)
        self.grace_seconds = settings.shutdown_grace_seconds
        self.tracer = tracing.start_tracer(role.name, settings)
        self._settings = settings
        self._whole = whole
        self._leave = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> "asyncio.Future[None]":
        """Begin to build it up; the result is what became of that."""
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._serve(started), name=self.role.name)
        return started

    async def _serve(self, started: "asyncio.Future[None]") -> None:
        logs.ROLE.set(self.role.name)
        try:
            async with self.role.serve(Process(self.role.name, self.tracer, whole=self._whole), self._settings):
                started.set_result(None)
                await self._leave.wait()
        except (Exception, SystemExit) as error:
            if started.done():
                raise
            # A SystemExit would end the loop beneath the other roles.
            started.set_exception(_Exit(error) if isinstance(error, SystemExit) else error)

    async def stop(self) -> None:
        """Have it taken down."""
        self._leave.set()
        if self._task is not None:
            await self._task


class _Exit(Exception):
    """A role ends the process with a line of its own."""

    def __init__(self, exit_: SystemExit) -> None:
        super().__init__(str(exit_))
        self.exit = exit_


async def _run(whole: Whole, running: Sequence[_Running], ops_listener: socket.socket) -> int:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, whole.request_stop)
    ops_app = probes.application(whole.health)
    began = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(_stop_tracers, running)
        starting = [each.start() for each in running]
        await stack.enter_async_context(server.serving(ops_app, ops_listener, name="ops", grace_seconds=1))
        stack.push_async_callback(whole.cancel_all)
        stack.push_async_callback(_stop, whole, running)
        try:
            await asyncio.gather(*starting)
        except StartError as error:
            log.critical(str(error))
            return 1
        except _Exit as error:
            raise error.exit from None
        whole.spawn("event_loop_lag", _measure_lag())
        # What was built up stays, so it is never looked at again; young objects, of which a busy process makes and
        # drops tens of thousands a second, are less often. Collecting took a tenth of the CPU time, now a hundredth.
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        log.info("started", seconds=round(time.monotonic() - began, 3), metrics_port=ops_listener.getsockname()[1])
        await whole.stop_requested.wait()
        # Only for servers: no client has to find another worker.
        await whole.drain(max(each.drain_seconds for each in running))
        log.info("stopping")
    log.info("stopped")
    return 1 if whole.failed else 0


async def _stop(whole: Whole, running: Sequence[_Running]) -> None:
    """Take all roles down within the time to stop: first those that are not called by others."""
    whole.stop_requested.set()  # which a role that is still starting waits for
    whole.seconds_to_stop(running[0].grace_seconds)
    failures: list[BaseException] = []
    for called in (False, True):
        ending = [each.stop() for each in running if each.role.called is called]
        failures += [error for error in await asyncio.gather(*ending, return_exceptions=True) if error is not None]
    for failure in failures:
        raise failure


async def _stop_tracers(running: Sequence[_Running]) -> None:
    await asyncio.gather(*(each.tracer.stop() for each in running if each.tracer is not None))


async def _measure_lag() -> None:
    loop = asyncio.get_running_loop()

    async def step() -> None:
        due = loop.time() + LAG_INTERVAL_SECONDS
        await asyncio.sleep(LAG_INTERVAL_SECONDS)
        metrics.EVENT_LOOP_LAG.observe(max(0.0, loop.time() - due))

    await background.repeat(step, interval_seconds=0.0)


# How many files, of which sockets are most, a process may have open.


# A worker has a socket for each request and some kept ones, a gateway up to http_protocol.MAX_CONNECTIONS. Systems
# often begin with 1,024 or 256 and allow more.
WANTED_OPEN_FILES = 16_384


def raise_open_files_limit() -> None:
    """Raise the soft limit as far as the hard one allows; never lower it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_OPEN_FILES if hard == resource.RLIM_INFINITY else min(WANTED_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
