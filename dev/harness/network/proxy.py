"""A TCP proxy between two parts, which can fail like a network."""

import asyncio
import contextlib
import enum
import socket
import struct
from collections.abc import AsyncIterator

from dev.embedded import ports

CHUNK_BYTES = 64 << 10
# All slots of all workers may connect at once. With a full backlog, TCP itself would hold their requests for seconds.
BACKLOG = 4096
# Seconds that a chunk is delayed in DELAY.
DELAY_SECONDS = 0.25
CONNECT_TIMEOUT_SECONDS = 5.0


class Mode(enum.StrEnum):
    """What the proxy does with connections."""

    PASS = "pass"
    # Connections are closed, and new ones refused.
    REFUSE = "refuse"
    # Connections stay open without traffic. What was sent in the meantime arrives afterwards, as with TCP.
    BLACKHOLE = "blackhole"
    # Connections are reset with RST, new ones as soon as they are made.
    RESET = "reset"
    # Every chunk takes a quarter of a second.
    DELAY = "delay"
    # Bytes from clients are dropped silently; bytes from the server pass.
    LOSE = "lose"


class Proxy:
    """Listen on a port of 127.0.0.1 and forward to another one."""

    def __init__(self, name: str, *, port: int, target_port: int) -> None:
        self.name = name
        self.port = port
        self._target_port = target_port
        self._mode = Mode.PASS
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def set_mode(self, mode: Mode) -> None:
        """Change what happens to connections, including open ones."""
        self._mode = mode
        if mode is Mode.BLACKHOLE:
            self._open.clear()
        else:
            self._open.set()
        if mode in {Mode.REFUSE, Mode.RESET}:
            self._tear_down()
        if mode is Mode.REFUSE:
            self._close_listener()
        elif self._server is None:
            await self._listen()

    async def close(self) -> None:
        """Close all connections."""
        self._close_listener()
        self._tear_down()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, backlog=BACKLOG)

    def _close_listener(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _tear_down(self) -> None:
        for writer in tuple(self._writers):
            _reset(writer)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name=f"proxy:{self.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode is Mode.RESET:
            _reset(writer)
            return
        self._writers.add(writer)
        with contextlib.suppress(OSError, TimeoutError):
            await self._open.wait()
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                onward_reader, onward = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._writers.add(onward)
            try:
                await asyncio.gather(self._pump(reader, onward, outgoing=True), self._pump(onward_reader, writer))
            finally:
                self._forget(onward)
        self._forget(writer)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, outgoing: bool = False
    ) -> None:
        """Forward until either side ends or fails, and forward the end."""
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                await self._open.wait()
                if outgoing and self._mode is Mode.LOSE:
                    continue
                if self._mode is Mode.DELAY:
                    await asyncio.sleep(DELAY_SECONDS)
                if writer.is_closing():
                    break
                writer.write(chunk)
                await writer.drain()
            await self._open.wait()
        writer.close()

    def _forget(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST instead of FIN: linger for 0 s."""
    with contextlib.suppress(OSError):
        connection = writer.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.asynccontextmanager
async def proxying(name: str, *, target_port: int, port: int | None = None) -> AsyncIterator[Proxy]:
    """Run a proxy that forwards, on this port or a free one, until the context ends."""
    proxy = Proxy(name, port=port or ports.free_port(), target_port=target_port)
    await proxy.set_mode(Mode.PASS)
    try:
        yield proxy
    finally:
        await proxy.close()
