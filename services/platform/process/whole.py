"""What the roles of one process have together: its end, its background tasks, its stores and servers.

Whatever a process has once is opened by the first role that uses it, and closed by the last one: the pool of Postgres,
the clients of Redis, the gRPC server.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import structlog

from services.platform import ids
from services.platform.process import logs, probes

log = structlog.get_logger(__name__)
CANCEL_AGAIN_SECONDS = 0.2
_T = TypeVar("_T")


class Near(Protocol):
    """A role that serves in this process, as who calls it sees it; grpc/near.py has the only one."""

    def serves(self, method: str) -> bool:
        """Whether this method can be called here."""
        ...

    async def call(
        self, method: str, request: Any, timeout_seconds: float | None, metadata: Sequence[tuple[str, str | bytes]]
    ) -> Any:
        """Make a call; raise AioRpcError as gRPC does."""
        ...


@dataclass(kw_only=True)
class _Shared:
    """Something that is open as long as a role uses it."""

    context: AbstractAsyncContextManager[Any] | None = None
    value: Any = None
    users: int = 0
    # Held while it is opened or closed.
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)


class Whole:
    """A process of these roles, of which so many (`servers`) serve gRPC."""

    def __init__(self, roles: Sequence[str], *, servers: int = 1) -> None:
        self.roles = tuple(roles)
        self.name = "+".join(roles)
        self.servers = servers
        self.id = ids.new()
        self.started_at = datetime.now(UTC)
        # Of a worker: what returns how many requests may be in flight, and how many are.
        self.load: Callable[[], tuple[int, int]] | None = None
        self.health = probes.Roles()
        # The roles that can be called here and now, without a socket.
        self.near: dict[str, Near] = {}
        self.stop_requested = asyncio.Event()
        self._stop_by: float | None = None
        self._hurry = asyncio.Event()
        self._on_drain: list[Callable[[], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._dead: list[str] = []
        self._shared: dict[Hashable, _Shared] = {}

    @contextlib.asynccontextmanager
    async def share(self, what: Hashable, opened: Callable[[], AbstractAsyncContextManager[_T]]) -> AsyncIterator[_T]:
        """Yield what `opened` yields: the same for all roles, and open as long as one of them uses it."""
        shared = self._shared.setdefault(what, _Shared())
        async with shared.changing:
            if not shared.users:
                context = opened()
                role = logs.ROLE.set(self.name)  # what it logs in the background is of no single role
                try:
                    shared.value = await context.__aenter__()
                finally:
                    logs.ROLE.reset(role)
                shared.context = context
            shared.users += 1
        try:
            yield shared.value
        finally:
            async with shared.changing:
                shared.users -= 1
                if not shared.users and shared.context is not None:
                    context, shared.context, shared.value = shared.context, None, None
                    await context.__aexit__(None, None, None)

    # -- the end --

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
        self.health.stop()
        for call in self._on_drain:
            call()
        if seconds and not self._dead:
            log.info("draining", seconds=seconds)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), seconds)

    def seconds_to_stop(self, grace_seconds: float) -> float:
        """Return what is left of the time to stop, which is `grace_seconds` when this is first asked."""
        if self._stop_by is None:
            self._stop_by = time.monotonic() + grace_seconds
        return max(0.0, self._stop_by - time.monotonic())

    # -- background tasks --

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

    async def cancel_all(self) -> None:
        """Cancel all remaining spawned tasks."""
        for task in tuple(self._tasks):
            await self.cancel(task)

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

    async def check_tasks(self) -> None:
        """Raise if a background task died."""
        if self._dead:
            raise RuntimeError(", ".join(self._dead) + " died")

    @property
    def failed(self) -> bool:
        """Whether a background task died."""
        return bool(self._dead)
