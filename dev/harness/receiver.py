"""An HTTP server that receives webhooks, remembers every request, and answers as the test says.

receiver.script(500, Reply(status=503, headers={"Retry-After": "1"}), 200)   # then 200 for ever
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
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web
from multidict import CIMultiDictProxy

from dev.harness.waiting import wait_until

MAX_BODY_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Received:
    """A request as it came in."""

    method: str
    path: str
    headers: CIMultiDictProxy[str]
    # The raw bytes.
    body: bytes
    at: datetime
    # For differences between requests, in seconds.
    monotonic: float


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer. `hang` never answers; `reset` tears the connection down with RST after the request was read."""

    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    # Before the answer.
    delay_seconds: float = 0.0
    hang: bool = False
    reset: bool = False


OK = Reply()


class Receiver:
    """Made by `receiving`; one script per path, and one ("") for the paths without."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        # Requests that are being answered now, and the most there ever were.
        self.in_flight = 0
        self.max_in_flight = 0
        self.port = 0
        self._scripts: defaultdict[str, deque[Reply]] = defaultdict(deque)
        self._always: dict[str, Reply] = {"": OK}
        self._closing = asyncio.Event()

    def url(self, path: str = "/hook") -> str:
        """A target URL of this server."""
        return f"http://127.0.0.1:{self.port}{path}"

    def script(self, *replies: Reply | int, then: Reply | int = OK, path: str = "") -> None:
        """Answers the next requests with these (an int is a status), and all later ones with `then`."""
        self._scripts[path] = deque(_reply(reply) for reply in replies)
        self._always[path] = _reply(then)

    def on(self, path: str) -> list[Received]:
        """The requests of a path, oldest first."""
        return [request for request in self.requests if request.path == path]

    async def wait_for(self, count: int, timeout_seconds: float = 10.0, *, path: str | None = None) -> list[Received]:
        """Waits until at least `count` requests have come in (to `path`), and answers them."""

        def enough() -> list[Received] | None:
            found = self.requests if path is None else self.on(path)
            return list(found) if len(found) >= count else None

        return await wait_until(enough, timeout_seconds, what=f"{count} requests") or []

    def clear(self) -> None:
        """Forgets requests and scripts."""
        self.requests.clear()
        self._scripts.clear()
        self._always = {"": OK}
        self.max_in_flight = self.in_flight

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Records one request and answers it."""
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
        """Ends what hangs."""
        self._closing.set()

    def _next(self, path: str) -> Reply:
        name = path if path in self._always else ""
        return self._scripts[name].popleft() if self._scripts[name] else self._always[name]

    async def _answer(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        if reply.delay_seconds or reply.hang:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), None if reply.hang else reply.delay_seconds)
        if reply.reset and request.transport is not None:
            connection = request.transport.get_extra_info("socket")
            # Linger for 0 s: RST in place of FIN.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.transport.abort()
        return web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a free port of 127.0.0.1, gone with the context."""
    receiver = Receiver()
    application = web.Application(client_max_size=MAX_BODY_BYTES)
    application.router.add_route("*", "/{path:.*}", receiver.handle)
    # A request whose sender gave up is not in flight any more.
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=1.0, auto_decompress=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        receiver.port = runner.addresses[0][1]
        yield receiver
    finally:
        receiver.release()
        await runner.cleanup()


def _reply(reply: Reply | int) -> Reply:
    return Reply(status=reply) if isinstance(reply, int) else reply
