"""A TCP proxy that stands for the network: it can be cut, and it can lose what is sent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

CHUNK_BYTES = 1 << 16


class Proxy:
    """Made by `proxying`; forwards 127.0.0.1:`port` to another port of this machine."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        # Loses what clients send, without a word.
        self.loses = False
        self._target_port = target_port
        self._cut = False
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Ends all connections, and every new one, until `mend`."""
        self._cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """Forwards again."""
        self._cut = False

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forwards one connection to its end."""
        if self._cut:
            writer.transport.abort()
            return
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers |= {writer, there_writer}
        try:
            await asyncio.gather(self._forward(reader, there_writer), self._forward(there_reader, writer, back=True))
        finally:
            self._writers -= {writer, there_writer}

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, back: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if back or not self.loses:
                    writer.write(data)
        writer.transport.abort()


@contextlib.asynccontextmanager
async def proxying(target_port: int) -> AsyncIterator[Proxy]:
    """A proxy on a free port, gone with the context."""
    proxy = Proxy(target_port)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
