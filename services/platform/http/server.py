"""An ASGI application on a socket, inside a loop that somebody else runs and stops."""

import asyncio
import contextlib
import errno
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import uvicorn

from services.platform.http.protocol import BoundedProtocol

_CLOSE = (b"connection", b"close")


# The date in answers is renewed so often.
DATE_SECONDS = 1.0


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ended = asyncio.Event()

    async def main_loop(self) -> None:
        """Renew the date until the end; uvicorn would look ten times a second whether it has come."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DATE_SECONDS):
                    await self._ended.wait()

    def end(self) -> None:
        """Stop serving."""
        self.should_exit = True
        self._ended.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to services.platform.process.lifecycle."""
        yield

    def end_connections(self) -> None:
        """End each connection with its next answer, and tell the client so."""
        # The configuration provides the headers that are refreshed each second.
        self.config.encoded_headers.append(_CLOSE)
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; end the process with one line if the address is unavailable."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        # "::" means both families, whatever the system's default (net.ipv6.bindv6only) is.
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            sys.exit(f"port {port} on {host} is taken by another process")
        sys.exit(f"BIND_HOST: cannot listen on {host}, port {port}: {error.strerror}")
    listener.listen(1024)
    listener.setblocking(False)  # noqa: FBT003 - the socket module's own signature
    return listener


@contextlib.asynccontextmanager
async def serving(
    app: Any, listener: socket.socket, *, name: str, grace_seconds: float | Callable[[], float]
) -> AsyncIterator[Callable[[], None]]:
    """Serve `app` until the context ends, then let requests in flight finish within the grace period of then.

    Yields what a server that drains calls: from then on each answer ends its connection.
    """
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        # Otherwise read from WEB_CONCURRENCY, which some platforms set to words.
        workers=1,
        # Nobody here asks for the client's address, and it costs each request.
        proxy_headers=False,
        timeout_keep_alive=75,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name=f"http:{name}")
    try:
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has a flag, not an event
            await asyncio.sleep(0.005)
        if task.done():
            task.result()
        yield server.end_connections
    finally:
        seconds = grace_seconds() if callable(grace_seconds) else grace_seconds
        server.config.timeout_graceful_shutdown = int(seconds) or 1
        server.end()
        await asyncio.gather(task, return_exceptions=True)
        listener.close()
