"""The life of a process: start, background tasks with an owner, readiness, an orderly stop.

    def main() -> None:
        settings = load(IngestSettings)
        lifecycle.run("ingest", settings, lambda process: serve(process, settings))

`serve` is an async context manager: it builds everything up, yields while the process serves, and
takes everything down in the reverse order when the process is told to stop (SIGTERM or SIGINT). A
server drains first: for DRAIN_SECONDS it is not ready but still serves; a second signal ends that. A
background task that ends unexpectedly stops the process at once, with exit status 1.
"""

import asyncio
import contextlib
import gc
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager

import structlog
import uvloop

from services.platform.http import server
from services.platform.process import background, logs, metrics, probes
from services.platform.tracing import spans as tracing
from services.platform.tracing.settings import TracingSettings

log = structlog.get_logger(__name__)
LAG_INTERVAL_SECONDS = 0.5
CANCEL_AGAIN_SECONDS = 0.2
GC_THRESHOLDS = (20_000, 50, 100)


class StartError(Exception):
    """Why a process cannot start, in one line: it is logged, and the exit status is 1."""


class Process:
    """What `serve` gets: the health checks, an owner for background tasks, and a tracer unless tracing is off."""

    def __init__(self, role: str, tracer: tracing.Tracer | None = None) -> None:
        self.role = role
        self.tracer = tracer
        self.health = probes.Health()
        self.health.add_liveness("background_tasks", self._check_tasks)
        self.stop_requested = asyncio.Event()
        self._hurry = asyncio.Event()
        self._on_drain: list[Callable[[], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._dead: list[str] = []

    def request_stop(self) -> None:
        """Ask for the end; the second time, for one without draining."""
        if self.stop_requested.is_set():
            self._hurry.set()
        self.stop_requested.set()

    def on_drain(self, call: Callable[[], None]) -> None:
        """Have `call` called when the process has been told to stop, before it does."""
        self._on_drain.append(call)

    async def drain(self, seconds: float) -> None:
        """Say that the process is stopping, and go on for so long."""
        self.health.stopping = True
        for call in self._on_drain:
            call()
        if seconds and not self._dead:
            log.info("draining", seconds=seconds)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), seconds)

    def spawn(self, name: str, coroutine: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Start a loop that runs until cancelled."""
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def disown(self, task: asyncio.Task[None]) -> None:
        """Allow a spawned task to end on its own."""
        self._tasks.discard(task)

    async def cancel(self, task: asyncio.Task[None]) -> None:
        """Cancel a spawned task and wait for it."""
        self.disown(task)
        # More than once: a library that takes the cancellation for a failure of its connection swallows it.
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_AGAIN_SECONDS)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task not in self._tasks:
            return
        self._tasks.discard(task)
        # Cancelled by nobody who owns it is as dead as failed.
        error = None if task.cancelled() else task.exception()
        log.critical("a background task died", task=task.get_name(), exc_info=error)
        self._dead.append(task.get_name())
        self._hurry.set()
        self.stop_requested.set()

    async def _check_tasks(self) -> None:
        if self._dead:
            raise RuntimeError(", ".join(self._dead) + " died")

    @property
    def failed(self) -> bool:
        """Whether a background task died."""
        return bool(self._dead)

    async def cancel_all(self) -> None:
        """Cancel all remaining spawned tasks."""
        for task in tuple(self._tasks):
            await self.cancel(task)


def run(role: str, settings: TracingSettings, serve: Callable[[Process], AbstractAsyncContextManager[None]]) -> None:
    """Run a process until it is told to stop; the exit status is 0 unless something died."""
    logs.configure(role, settings)
    raise_open_files_limit()
    metrics.export_build_info()
    ops_listener = server.bind(settings.host, settings.metrics_port)
    status = uvloop.run(_run(role, settings, serve, ops_listener))
    sys.exit(status)


async def _run(
    role: str,
    settings: TracingSettings,
    serve: Callable[[Process], AbstractAsyncContextManager[None]],
    ops_listener: socket.socket,
) -> int:
    process = Process(role, tracing.start_tracer(role, settings))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.request_stop)
    ops_app = probes.application(process.health)
    started = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        if process.tracer is not None:
            stack.push_async_callback(process.tracer.stop)
        await stack.enter_async_context(server.serving(ops_app, ops_listener, name="ops", grace_seconds=1))
        stack.push_async_callback(process.cancel_all)
        try:
            await stack.enter_async_context(serve(process))
        except StartError as error:
            log.critical(str(error))
            return 1
        process.spawn("event_loop_lag", _measure_lag())
        # What was built up stays, so it is never looked at again; young objects, of which a busy process makes and
        # drops tens of thousands a second, are less often. Collecting took a tenth of the CPU time, now a hundredth.
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        log.info("started", seconds=round(time.monotonic() - started, 3), metrics_port=ops_listener.getsockname()[1])
        await process.stop_requested.wait()
        # Only for servers: no client has to find another worker.
        await process.drain(getattr(settings, "drain_seconds", 0.0))
        log.info("stopping")
    log.info("stopped")
    return 1 if process.failed else 0


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
