"""Opens a connection to one of a host's vetted addresses, directly or through a proxy.

Not by aiohappyeyeballs, which races only TCP connects: an address that accepts a connection and then fails or hangs in
TLS, or to which the proxy refuses a tunnel, would end the attempt although the next address works.
"""

import asyncio
import base64
import functools
import ssl
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from urllib.parse import unquote, urlsplit

from services.delivery.destinations.details import Phase, Trail

# When the next address is tried beside the one before (RFC 8305, 5).
DELAY_SECONDS = 0.25
MAX_ANSWER_BYTES = 16 << 10
_END = b"\r\n\r\n"
Opened = TypeVar("Opened")


async def first(
    openings: Iterable[Callable[[], Coroutine[Any, Any, Opened]]], close: Callable[[Opened], None]
) -> Opened:
    """Return the result of the first opening to succeed; close what others open meanwhile.

    The next opening begins when one fails, or after DELAY_SECONDS. Raises the last OSError when all fail, and an
    SSLError at once: a receiver with the wrong certificate was reached.
    """
    waiting = deque(openings)
    begun: list[asyncio.Task[Opened]] = []
    running: set[asyncio.Task[Opened]] = set()
    failure: OSError = OSError("no address")
    won: asyncio.Task[Opened] | None = None

    try:
        while waiting or running:
            if waiting:
                begun.append(asyncio.create_task(waiting.popleft()()))
                running.add(begun[-1])
            delay = DELAY_SECONDS if waiting else None
            done, running = await asyncio.wait(running, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is None:
                    won = task
                    return task.result()
                if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
                    raise error
                failure = error
        raise failure
    finally:
        for task in begun:
            if task is not won:
                task.cancel()
                task.add_done_callback(functools.partial(_close_late, close))


def _close_late(close: Callable[[Opened], None], task: "asyncio.Task[Opened]") -> None:
    if not task.cancelled() and task.exception() is None:
        close(task.result())


async def connect(
    protocol: asyncio.Protocol,
    address: str,
    port: int,
    tls: ssl.SSLContext | None,
    name: str | None,
    trail: Trail | None = None,
) -> None:
    """Connect a protocol to an address, with TLS for a name if given. Raises OSError.

    TLS begins when the connection is there, and not with it, so that `trail` has what each of them took.
    """
    loop = asyncio.get_running_loop()
    if tls is None:
        await loop.create_connection(lambda: protocol, address, port)
        return
    transport, _ = await loop.create_connection(_Connected, address, port)
    try:
        await _secure(transport, protocol, tls, name, trail)
    except BaseException:
        transport.abort()
        raise


async def _secure(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    tls: ssl.SSLContext,
    name: str | None,
    trail: Trail | None,
) -> None:
    """Begin TLS on a connection, and hand it over to a protocol."""
    if trail is not None and trail.begun[-1][0] is not Phase.TLS:  # of another address, it may have begun
        trail.begin(Phase.TLS)
    secured = await asyncio.get_running_loop().start_tls(transport, protocol, tls, server_hostname=name)
    if secured is None:
        raise ConnectionResetError("the connection was closed in the TLS handshake")
    protocol.connection_made(secured)


class _Connected(asyncio.Protocol):
    """A connection on which nothing is read before TLS begins."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).pause_reading()


class ProxyRefused(OSError):
    """The proxy was reached and refused the tunnel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proxy:
    """An HTTP proxy that opens a tunnel (CONNECT, RFC 9110, 9.3.6) for every target, with or without TLS."""

    host: str
    port: int
    authorization: bytes = field(default=b"", repr=False)

    @classmethod
    def parse(cls, url: str) -> "Proxy":
        """Parse http://[user:password@]host:port. Raises ValueError, which does not repeat the URL."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or not parts.port:
            raise ValueError("EGRESS_PROXY: must be http://[user:password@]host:port")
        credentials = b""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            credentials = b"Proxy-Authorization: Basic %b\r\n" % base64.b64encode(pair.encode())
        return cls(host=parts.hostname, port=parts.port, authorization=credentials)

    async def connect(
        self,
        protocol: asyncio.Protocol,
        address: str,
        port: int,
        tls: ssl.SSLContext | None,
        name: str | None,
        trail: Trail | None = None,
    ) -> None:
        """Connect a protocol to an address, with TLS for a name if given. Raises OSError."""
        loop = asyncio.get_running_loop()
        target = b"%b:%d" % (f"[{address}]".encode() if ":" in address else address.encode(), port)
        transport, opening = await loop.create_connection(_Opening, self.host, self.port)
        try:
            transport.write(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (target, target, self.authorization))
            await opening.opened
            if tls is None:
                transport.set_protocol(protocol)
                protocol.connection_made(transport)
                transport.resume_reading()
            else:
                await _secure(transport, protocol, tls, name, trail)
        except BaseException:
            transport.abort()
            raise


class _Opening(asyncio.Protocol):
    """Wait for the proxy's response."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self.opened.done():
            return
        head, end, rest = self._answer.partition(_END)
        if end and self._transport is not None:
            status = head.partition(b"\r\n")[0].split(b" ")
            if len(status) < 2 or not status[0].startswith(b"HTTP/1.") or not status[1].startswith(b"2"):  # noqa: PLR2004 - version and status
                code = status[1][:3].decode("latin-1") if len(status) > 1 else "no HTTP"
                self._refuse(f"the egress proxy responded with {code}")
            elif rest:
                self._refuse("the egress proxy sent more than a response")
            else:
                # The protocol that takes over the transport reads on: bytes that arrive before must not be lost here.
                self._transport.pause_reading()
                self.opened.set_result(None)
        elif len(self._answer) > MAX_ANSWER_BYTES:
            self._refuse("the egress proxy's response does not end")

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self._refuse("the egress proxy closed the connection")

    def _refuse(self, why: str) -> None:
        if not self.opened.done():
            self.opened.set_exception(ProxyRefused(why))
