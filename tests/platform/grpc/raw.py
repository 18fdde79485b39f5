"""Handmade HTTP/2, for a client that does what no library would do."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Iterable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
REFUSED_STREAM = 7
MAX_CONCURRENT_STREAMS = 3
WINDOW_BYTES = 65_535
FRAME_BYTES = 16_384


class RawConnection:
    """One connection, and the received frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._next = 1
        # The server's settings, by number.
        self.settings: dict[int, int] = {}
        # Streams that the server ended, and those that it refused to open.
        self.ended: set[int] = set()
        self.refused: set[int] = set()
        # Bytes that can still be sent, on the connection and on each stream.
        self.window = WINDOW_BYTES
        self.windows: dict[int, int] = {}
        self.closed = False

    def frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self._writer.write(len(payload).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">I", stream) + payload)

    async def drain(self) -> None:
        with contextlib.suppress(OSError):
            await self._writer.drain()

    def open(self, path: str, headers: Iterable[tuple[str, str]] = ()) -> int:
        """Start a call without a message; return the number of its stream."""
        stream, self._next = self._next, self._next + 2
        named = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "x"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *headers,
        ]
        block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in named)
        self.frame(HEADERS, END_HEADERS, stream, block)
        self.windows[stream] = WINDOW_BYTES
        return stream

    def begin_message(self, stream: int, message_bytes: int) -> None:
        """Announce a message of this length, and send as much as the server accepts, at most all but one byte."""
        self._send(stream, b"\x00" + struct.pack(">I", message_bytes))
        self.go_on(stream, message_bytes - 1)

    def go_on(self, stream: int, most: int) -> int:
        """Send more of a message, within the windows; return how much was sent."""
        sent = 0
        while (size := min(most - sent, self.window, self.windows[stream], FRAME_BYTES)) > 0:
            self._send(stream, bytes(size))
            sent += size
        return sent

    def _send(self, stream: int, data: bytes) -> None:
        self.frame(DATA, 0, stream, data)
        self.window -= len(data)
        self.windows[stream] -= len(data)

    async def follow(self) -> None:
        """Read until the connection ends."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await self._reader.readexactly(9)
                kind, flags, stream = head[3], head[4], struct.unpack(">I", head[5:])[0]
                self._take(kind, flags, stream, await self._reader.readexactly(int.from_bytes(head[:3], "big")))
        self.closed = True

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            for place in range(0, len(payload), 6):
                number, value = struct.unpack(">HI", payload[place : place + 6])
                self.settings[number] = value
            self.frame(SETTINGS, ACK, 0, b"")
        elif kind == PING and not flags & ACK:
            self.frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            grown = struct.unpack(">I", payload)[0]
            if stream:
                self.windows[stream] = self.windows.get(stream, 0) + grown
            else:
                self.window += grown
        elif kind == RST_STREAM:
            (self.refused if struct.unpack(">I", payload)[0] == REFUSED_STREAM else self.ended).add(stream)
        elif kind in {HEADERS, DATA} and flags & END_STREAM:
            self.ended.add(stream)


def _text(text: str) -> bytes:
    """Encode a text for HPACK, uncompressed and not indexed."""
    size = len(text)
    if size < 127:
        return bytes([size]) + text.encode()
    size, length = size - 127, b"\x7f"
    while size > 127:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return length + bytes([size]) + text.encode()


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[RawConnection]:
    """Open a connection and exchange the settings."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connection = RawConnection(reader, writer)
    writer.write(PREFACE)
    connection.frame(SETTINGS, 0, 0, b"")
    following = asyncio.create_task(connection.follow())
    try:
        yield connection
    finally:
        following.cancel()
        writer.transport.abort()
        await asyncio.gather(following, return_exceptions=True)
