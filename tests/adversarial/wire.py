"""A client of the gateway that sends any bytes, and reads every answer that comes back."""

import asyncio
import contextlib
import re
from dataclasses import dataclass

from tests.adversarial import access

# How long to wait for the first answer, and then for another that nobody asked for.
ANSWER_SECONDS = 10.0
QUIET_SECONDS = 0.3

_HEAD = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")
_LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """What became of the bytes: the answers in their order, what came besides, and whether the connection ended."""

    statuses: tuple[int, ...]
    rest: bytes
    closed: bool


def request(line: bytes, *headers: bytes, body: bytes = b"", host: bytes = b"Host: gateway\r\n") -> bytes:
    """A request that the service lets in, its headers as they are given."""
    lines = b"".join(header + b"\r\n" for header in headers)
    return line + b"\r\n" + host + access.header_lines() + lines + b"\r\n" + body


async def exchange(port: int, *pieces: bytes, pause_seconds: float = 0.0, expected: int = 1) -> Exchange:
    """Sends the pieces over one connection, and reads until it ends, or says no more after so many answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received, closed = b"", False
    try:
        with contextlib.suppress(ConnectionError):  # refused before it had read everything
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause_seconds)
        with contextlib.suppress(TimeoutError):
            while not closed:
                quiet = len(_answers(received)[0]) >= expected
                data = await asyncio.wait_for(_read(reader), QUIET_SECONDS if quiet else ANSWER_SECONDS)
                received += data
                closed = not data
    finally:
        writer.transport.abort()
    statuses, rest = _answers(received)
    return Exchange(statuses=statuses, rest=rest, closed=closed)


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(1 << 16)
    except ConnectionError:
        return b""


def _answers(received: bytes) -> tuple[tuple[int, ...], bytes]:
    """The statuses of the whole answers at the beginning, interim ones left out, and what follows them."""
    statuses, at = [], 0
    while head := _HEAD.match(received, at):
        length = _LENGTH.search(head[2])
        end = head.end() + (int(length[1]) if length else 0)
        if end > len(received):
            break
        at = end
        if head[1][:1] != b"1":
            statuses.append(int(head[1]))
    return tuple(statuses), received[at:]
