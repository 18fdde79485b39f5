"""Requests through the worker's sender without the rest of the worker: names, and receivers that violate HTTP."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TypeAlias

import pytest

from dev.harness.keys import vault
from services.delivery.destinations.destination import SendError
from services.delivery.destinations.http import sender as http_sender
from services.delivery.destinations.http.destination import HttpDestination
from services.delivery.destinations.http.request import OutgoingRequest
from services.delivery.destinations.http.sender import HttpSender
from services.delivery.destinations.registry import Destinations
from services.domain.deliveries import Destination
from services.domain.egress.policy import Policy

MAX_RESPONSE_BYTES = 64 << 10
WANTED_BYTES = 4 << 10
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def sender(policy: Policy) -> AbstractAsyncContextManager[HttpSender]:
    """Create the worker's sender."""
    return http_sender.sender(policy, max_response_bytes=MAX_RESPONSE_BYTES, wanted_bytes=WANTED_BYTES)


def destinations(sender: HttpSender) -> Destinations:
    """Return the worker's destinations, with this sender."""
    return Destinations({Destination.HTTP: HttpDestination(vault(), sender)})


def post(url: str, body: bytes = b"{}") -> OutgoingRequest:
    """Return a request with a few headers."""
    headers = {"Content-Type": "application/json", "User-Agent": "test", "webhook-id": "1"}
    return OutgoingRequest(url=url, headers=headers, body=body)


async def failure(sender: HttpSender, url: str, *, timeout_seconds: float = 30.0, body: bytes = b"{}") -> SendError:
    """Return why a request fails."""
    with pytest.raises(SendError) as raised:
        await sender.send(post(url, body), timeout_seconds=timeout_seconds)
    return raised.value


# Names that resolve as a test says (the fixture `names`); a receiver that sees by which address it was reached.


# Here, 127.0.0.1 and ::1 stand for the internet, and the rest of loopback for private addresses.
POLICY = Policy.parse(["127.0.0.1", "::1"])
PRIVATE = "127.0.0.2"


Naming: TypeAlias = Callable[..., None]


@contextlib.asynccontextmanager
async def everywhere(*, hang: bool = False) -> AsyncIterator[tuple[int, list[str]]]:
    """A receiver on every IPv4 address of this machine: its port, and the addresses that were used."""
    reached: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(writer.get_extra_info("sockname")[0])
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while not hang:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                writer.write(OK)
        writer.close()

    server = await asyncio.start_server(answer, "0.0.0.0", 0)
    try:
        yield server.sockets[0].getsockname()[1], reached
    finally:
        server.close()


# Receivers that violate HTTP: a TCP server whose connections a test answers byte by byte.


Answer = Callable[["Connection"], Awaitable[None]]


class Connection:
    """One connection, with the heads of its requests."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.heads: list[bytes] = []

    async def request(self) -> bytes:
        """Read one request and return its body; IncompleteReadError if the client closed before it."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        return await self.reader.readexactly(int(fields.get(b"content-length", b"0")))

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def closed(self) -> None:
        """Wait until the client has closed."""
        with contextlib.suppress(OSError):
            while await self.reader.read(65536):
                pass

    def reset(self) -> None:
        """Send RST instead of FIN."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass(kw_only=True)
class Server:
    """A running server."""

    port: int = 0
    connections: list[Connection] = field(default_factory=list)

    def url(self, scheme: str = "http", path: str = "/hook") -> str:
        """Return a target URL of this server."""
        return f"{scheme}://127.0.0.1:{self.port}{path}"


@contextlib.asynccontextmanager
async def serving(answer: Answer, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Serve on a free port of 127.0.0.1; each connection is closed when `answer` returns."""
    running = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        running.connections.append(connection)
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await answer(connection)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answering(*parts: bytes, pause_seconds: float = 0.0, then_hang: bool = False) -> Answer:
    """For each connection, read a request, send the parts, and close (or wait until the client does)."""

    async def answer(connection: Connection) -> None:
        await connection.request()
        for part in parts:
            await connection.send(part)
            await asyncio.sleep(pause_seconds)
        if then_hang:
            await connection.closed()

    return answer
