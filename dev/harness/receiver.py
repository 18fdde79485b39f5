"""An HTTP server that receives webhooks, records every request, and responds as the test says.

receiver.script(500, Reply(status=503, headers={"Retry-After": "1"}), 200)   # then 200 until cleared
receiver.script(Reply(hang=True), path="/slow")
... target_url = receiver.url("/slow")
request = (await receiver.wait_for(3))[-1]
"""

import asyncio
import contextlib
import socket
import struct
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web
from multidict import CIMultiDictProxy

from dev.harness.waiting import wait_until

MAX_BODY_BYTES = 64 << 20
# All slots of all workers may connect at once.
BACKLOG = 4096
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, kw_only=True)
class Received:
    """A received request."""

    method: str
    path: str
    headers: CIMultiDictProxy[str]
    # The raw bytes.
    body: bytes
    at: datetime
    # Monotonic seconds, for differences between requests.
    monotonic: float


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A response. `hang` never responds; `reset` resets the connection with RST after the request was read."""

    status: int = 200
    # Or what makes it of the body of the request.
    body: bytes | Callable[[bytes], bytes] = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    # The delay before the response.
    delay_seconds: float = 0.0
    hang: bool = False
    reset: bool = False


OK = Reply()


class Receiver:
    """Created by `receiving`. One script per path, and one ("") for paths without a script."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        # Requests in progress, and their maximum.
        self.in_flight = 0
        self.max_in_flight = 0
        self.port = 0
        self._scripts: defaultdict[str, deque[Reply]] = defaultdict(deque)
        self._always: dict[str, Reply] = {"": OK}
        self._closing = asyncio.Event()

    def url(self, path: str = "/hook") -> str:
        """Return a target URL of this server."""
        return f"http://127.0.0.1:{self.port}{path}"

    def script(self, *replies: Reply | int, then: Reply | int = OK, path: str = "") -> None:
        """Respond to the next requests with these (an int is a status), and to all later ones with `then`."""
        self._scripts[path] = deque(_reply(reply) for reply in replies)
        self._always[path] = _reply(then)

    def on(self, path: str) -> list[Received]:
        """Return the requests of a path, oldest first."""
        return [request for request in self.requests if request.path == path]

    async def wait_for(self, count: int, *, path: str | None = None) -> list[Received]:
        """Wait until at least `count` requests have arrived (at `path`), and return them."""

        def enough() -> list[Received] | None:
            found = self.requests if path is None else self.on(path)
            return list(found) if len(found) >= count else None

        return await wait_until(enough, what=f"{count} requests") or []

    def clear(self) -> None:
        """Delete recorded requests and scripts."""
        self.requests.clear()
        self._scripts.clear()
        self._always = {"": OK}
        self.max_in_flight = self.in_flight

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Record one request and respond to it."""
        body = await request.read()
        now = datetime.now(UTC)
        self.requests.append(
            Received(
                method=request.method,
                path=request.path,
                headers=request.headers,
                body=body,
                at=now,
                monotonic=time.monotonic(),
            )
        )
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            return await self._answer(request, self._next(request.path))
        finally:
            self.in_flight -= 1

    def release(self) -> None:
        """End hanging requests."""
        self._closing.set()

    def _next(self, path: str) -> Reply:
        name = path if path in self._always else ""
        return self._scripts[name].popleft() if self._scripts[name] else self._always[name]

    async def _answer(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        if reply.delay_seconds or reply.hang:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), None if reply.hang else reply.delay_seconds)
        if reply.reset:
            reset(request)
        body = reply.body(await request.read()) if callable(reply.body) else reply.body
        return web.Response(status=reply.status, body=body, headers=dict(reply.headers))


def reset(request: web.Request) -> None:
    """End a request's connection with RST instead of FIN."""
    if request.transport is not None:
        # Linger for 0 s.
        linger = struct.pack("ii", 1, 0)
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        request.transport.abort()


@contextlib.asynccontextmanager
async def serving(handle: Handler, *, port: int = 0, cancels: bool = True) -> AsyncIterator[int]:
    """Serve all paths of a port of 127.0.0.1; yield the port. With `cancels`, a disconnect cancels the handler."""
    application = web.Application(client_max_size=MAX_BODY_BYTES)
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(
        application, access_log=None, handler_cancellation=cancels, shutdown_timeout=1.0, auto_decompress=False
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, backlog=BACKLOG).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Run a receiver on a free port of 127.0.0.1 until the context ends."""
    receiver = Receiver()
    # A request whose sender gave up is no longer in flight.
    async with serving(receiver.handle) as receiver.port:
        try:
            yield receiver
        finally:
            receiver.release()


def _reply(reply: Reply | int) -> Reply:
    return Reply(status=reply) if isinstance(reply, int) else reply
