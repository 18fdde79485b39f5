"""A load generator on kept-alive HTTP/1.1 connections, one request at a time, parsed only to find its end."""

import asyncio
import time
from array import array
from collections import Counter
from typing import Protocol, cast

import msgspec
import uvloop

from dev.harness.load import payloads, pipes
from dev.harness.load.messages import Load, Sent


class Owner(Protocol):
    """Receives the results of a connection's requests."""

    def answered(self, connection: "Connection", status: int) -> None:
        """Handle a complete response."""

    def lost(self, connection: "Connection") -> None:
        """Handle a lost connection; `busy` says whether a request was lost with it."""


class Connection(asyncio.Protocol):
    """`sequence` and `began_ns` belong to the request in flight; in an open loop, it was due at `began_ns`."""

    __slots__ = ("_buffer", "_owner", "_transport", "began_ns", "busy", "sequence")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.busy = False
        self.sequence = 0
        self.began_ns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Handle an opened connection."""
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> None:
        """Write a request."""
        assert self._transport is not None
        self.busy = True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Wait for the complete response."""
        if self._buffer:
            data = self._buffer + data
        end = data.find(b"\r\n\r\n")
        if end < 0 or len(data) < end + 4 + _content_length(data[:end]):
            self._buffer = data
            return
        self._buffer = b""
        self.busy = False
        self._owner.answered(self, int(data[9:12]))

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Handle a lost connection."""
        self._owner.lost(self)
        self.busy = False

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


def _content_length(head: bytes) -> int:
    """Return the length of the body; every server here sends it."""
    head = head.lower()
    begin = head.find(b"content-length:")
    if begin < 0:
        return 0
    end = head.find(b"\r\n", begin)
    return int(head[begin + 15 : end if end >= 0 else len(head)])


# Optimized for speed: prebuilt requests, callbacks instead of tasks, kept-alive connections without pipelining.


HOST = "127.0.0.1"
# The pause after a response that is not 2xx.
PAUSE_SECONDS = 0.02
ANSWER_TIMEOUT_SECONDS = 10.0
TICK_SECONDS = 0.001
# Connections of an open loop; it sends further requests late.
MAX_CONNECTIONS = 4096


class Generator:
    """One load."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._loop = asyncio.get_running_loop()
        template = payloads.template(load.payload_bytes)
        self._template = payloads.Template(prefix=_begin(load) + template.prefix, suffix=template.suffix + b"}")
        length = len(self._template.fill(0, 0))
        self._heads = [_head(load, path, length) for path in load.paths]
        self._idle: list[Connection] = []
        self._connections: set[Connection] = set()
        self._opening = 0
        self._out = 0
        self._sent = 0
        self._failed = 0
        self._accepted = bytearray()
        self._statuses: Counter[int] = Counter()
        self._latencies, self._lates = array("d"), array("d")
        self._began_ns = self._until_ns = 0
        self._done = asyncio.Event()

    async def run(self) -> Sent:
        """Run until the last response."""
        await asyncio.gather(*(self._open() for _ in range(self._load.connections)))
        self._began_ns = time.monotonic_ns()
        self._until_ns = self._began_ns + int(self._load.seconds * 1e9)
        if self._load.rate is None:
            while self._idle:
                self._next(self._idle.pop())
            await self._done.wait()
        else:
            await self._on_time(self._load.rate)
        ended_ns = min(time.monotonic_ns(), self._until_ns)
        deadline = time.monotonic() + ANSWER_TIMEOUT_SECONDS
        while self._out and time.monotonic() < deadline:  # noqa: ASYNC110 - not worth an event on the hot path
            await asyncio.sleep(TICK_SECONDS)
        for connection in tuple(self._connections):
            connection.close()
        (late,) = payloads.percentiles(self._lates, (99,))
        return Sent(
            began_ns=self._began_ns,
            ended_ns=ended_ns,
            sent=self._sent,
            accepted=bytes(self._accepted),
            statuses={str(status): count for status, count in self._statuses.items()},
            failed=self._failed + self._out,
            accept_times=payloads.pack(self._latencies),
            late_p99_ms=late * 1e3,
        )

    def answered(self, connection: Connection, status: int) -> None:
        """Count a response, and send the connection's next request."""
        self._out -= 1
        self._statuses[status] += 1
        if 200 <= status < 300:
            self._latencies.append((time.monotonic_ns() - connection.began_ns) / 1e9)
            self._accepted[connection.sequence] = 1
            self._free(connection)
        else:
            self._loop.call_later(PAUSE_SECONDS, self._free, connection)

    def lost(self, connection: Connection) -> None:
        """Open a connection to replace one that was closed."""
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if connection.busy:
            self._failed += 1
            self._out -= 1
        if not self._over():
            self._loop.call_later(PAUSE_SECONDS, self._open_soon)
        elif not self._out:
            self._done.set()

    def _over(self) -> bool:
        limit = self._load.requests
        return time.monotonic_ns() >= self._until_ns or (limit is not None and self._sent >= limit)

    def _free(self, connection: Connection) -> None:
        if self._load.rate is not None:
            self._idle.append(connection)
        elif self._load.pause_seconds:
            self._loop.call_later(self._load.pause_seconds, self._next, connection)
        else:
            self._next(connection)

    def _next(self, connection: Connection) -> None:
        if self._over():
            if not self._out:
                self._done.set()
            return
        self._send(connection, time.monotonic_ns())

    def _send(self, connection: Connection, began_ns: int) -> None:
        sequence = self._sent
        self._sent += 1
        self._out += 1
        self._accepted.append(0)
        connection.sequence = sequence
        head = self._heads[sequence % len(self._heads)]
        connection.began_ns = began_ns
        connection.send(head + self._template.fill(sequence, began_ns))

    async def _on_time(self, rate: float) -> None:
        while not self._over():
            due = (time.monotonic_ns() - self._began_ns) / 1e9 * rate
            while self._sent < due and self._idle and not self._over():
                connection = self._idle.pop()
                self._lates.append((due - self._sent) / rate)
                self._send(connection, self._began_ns + int(self._sent / rate * 1e9))
            missing = int(due) - self._sent - self._opening
            for _ in range(min(missing, MAX_CONNECTIONS - len(self._connections) - self._opening)):
                self._open_soon()
            following_ns = min(self._began_ns + int(self._sent / rate * 1e9), self._until_ns)
            seconds = max((following_ns - time.monotonic_ns()) / 1e9, TICK_SECONDS)
            # In a thread, because the loop's own timers are a millisecond or two late.
            await self._loop.run_in_executor(None, time.sleep, seconds)

    def _open_soon(self) -> None:
        self._opening += 1
        task = self._loop.create_task(self._open(), name="open")
        task.add_done_callback(self._opened)

    def _opened(self, task: "asyncio.Task[None]") -> None:
        self._opening -= 1
        if task.exception() is not None:
            self._loop.call_later(PAUSE_SECONDS, self._open_soon)
        elif self._load.rate is None and self._idle:
            self._next(self._idle.pop())

    async def _open(self) -> None:
        _, connection = await self._loop.create_connection(lambda: Connection(self), HOST, self._load.port)
        self._connections.add(connection)
        self._idle.append(connection)


def _begin(load: Load) -> bytes:
    event = b'"event_type":%b,' % msgspec.json.encode(load.event_type) if load.event_type else b""
    return b'{%b"payload":' % event


def _head(load: Load, path: str, length: int) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {HOST}:{load.port}",
        *([f"Authorization: Bearer {load.api_key}"] if load.api_key else []),
        "Content-Type: application/json",
        f"Content-Length: {length}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _main() -> None:
    commands = await pipes.commands()
    while line := await commands.readline():
        pipes.answer(await Generator(msgspec.json.decode(line, type=Load)).run())


def main() -> None:
    """Run loads until the input ends."""
    uvloop.run(_main())


if __name__ == "__main__":
    main()
