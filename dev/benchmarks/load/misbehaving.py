"""What bad endpoints do once they have read a request, by the behaviour that the receiver's paths name.

`hang` never answers. `drip` answers one byte a second. `endless-headers` never comes to the end of its headers. `flood`
answers with a gigabyte as fast as it is read. `reset` resets the connection. `error` answers 500 at once.
"""

import asyncio
import itertools
import socket
import struct
from collections.abc import Callable, Iterator, Mapping

DRIP_SECONDS = 1.0
HEADER_SECONDS = 0.1
FLOOD_BYTES = 1 << 30
_DRIPPED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
_ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
_CHUNK = bytes(64 << 10)
# On, and for no time: the connection is reset instead of closed.
_NO_LINGER = struct.pack("ii", 1, 0)


def _hang(_transport: asyncio.Transport) -> None:
    pass


def _drip(transport: asyncio.Transport) -> None:
    _slowly(transport, (_DRIPPED[index : index + 1] for index in range(len(_DRIPPED))), DRIP_SECONDS)


def _endless_headers(transport: asyncio.Transport) -> None:
    headers = (b"X-%d: and no end\r\n" % number for number in itertools.count())
    _slowly(transport, itertools.chain([b"HTTP/1.1 200 OK\r\n"], headers), HEADER_SECONDS)


def _flood(transport: asyncio.Transport) -> None:
    # Else the kernel would copy megabytes that nobody reads, on the machine that is measured.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(_CHUNK))
    flood = _Flood(transport)
    transport.set_protocol(flood)
    flood.begin()


def _reset(transport: asyncio.Transport) -> None:
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


def _error(transport: asyncio.Transport) -> None:
    transport.write(_ERROR)


BEHAVIOURS: Mapping[bytes, Callable[[asyncio.Transport], None]] = {
    b"hang": _hang,
    b"drip": _drip,
    b"endless-headers": _endless_headers,
    b"flood": _flood,
    b"reset": _reset,
    b"error": _error,
}


def _slowly(transport: asyncio.Transport, pieces: Iterator[bytes], seconds: float) -> None:
    """Writes a piece now and then, until there are no more or nobody reads."""
    if not transport.is_closing() and (piece := next(pieces, None)) is not None:
        transport.write(piece)
        asyncio.get_running_loop().call_later(seconds, _slowly, transport, pieces, seconds)


class _Flood(asyncio.Protocol):
    """Takes the connection over, for it has to hear when there is room for more."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._left = FLOOD_BYTES
        self._may_write = True

    def begin(self) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % FLOOD_BYTES)
        self._write()

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._write()

    def _write(self) -> None:
        while self._may_write and self._left and not self._transport.is_closing():
            self._left -= len(_CHUNK)
            self._transport.write(_CHUNK)
