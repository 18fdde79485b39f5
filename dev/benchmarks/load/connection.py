"""A kept-alive HTTP/1.1 connection of the generator: one request at a time, parsed no further than its end."""

import asyncio
from typing import Protocol, cast


class Owner(Protocol):
    """Whom a connection tells what became of its request."""

    def answered(self, connection: "Connection", status: int) -> None:
        """The whole answer is there."""

    def lost(self, connection: "Connection") -> None:
        """The connection is gone; `busy` says whether a request went with it."""


class Connection(asyncio.Protocol):
    """`sequence` and `began_ns` are of the request that is out."""

    __slots__ = ("_buffer", "_owner", "_transport", "began_ns", "busy", "sequence")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.busy = False
        self.sequence = 0
        self.began_ns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> None:
        """Writes a request."""
        assert self._transport is not None
        self.busy = True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Waits for the whole answer."""
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
        """It is gone."""
        self._owner.lost(self)
        self.busy = False

    def close(self) -> None:
        """Closes it."""
        if self._transport is not None:
            self._transport.close()


def _content_length(head: bytes) -> int:
    """The length of the body; every server here names it."""
    head = head.lower()
    begin = head.find(b"content-length:")
    if begin < 0:
        return 0
    end = head.find(b"\r\n", begin)
    return int(head[begin + 15 : end if end >= 0 else len(head)])
