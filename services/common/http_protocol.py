"""Uvicorn's HTTP/1.1 with the bounds that it leaves open: how much a client may send, for how long, and how many may.

A request that comes whole in one piece, as nearly all do, pays for three flags. What comes in pieces is watched.
"""

import asyncio
from typing import Any, ClassVar

from starlette.types import Receive, Scope, Send

from services.common import transfer
from services.common.http_ordering import OrderedProtocol

# Connections of one server; those beyond are closed as they come.
MAX_CONNECTIONS = 10_000
# Of a request's line and headers.
MAX_HEAD_BYTES = 64 << 10
MAX_HEADERS = 100
# From the connection, or from its first byte, to the end of a request's headers; and to the end of its body, which has
# more time as more of it comes.
HEAD_SECONDS = 10.0
REQUEST_SECONDS = 40.0
# Of one request as it is sent, with what is thrown away after its answer; and of all that are unfinished, together.
MAX_REQUEST_BYTES = 64 << 20
MAX_UNFINISHED_BYTES = 256 << 20

_TOO_LARGE = (
    b'{"type":"about:blank","title":"Request Header Fields Too Large","status":431,'
    b'"detail":"the headers must be at most %d, with %d bytes in all","reason":"HEADERS_TOO_LARGE"}'
    % (MAX_HEADERS, MAX_HEAD_BYTES)
)
_LATE = (
    b'{"type":"about:blank","title":"Request Timeout","status":408,'
    b'"detail":"the request did not arrive in time","reason":"REQUEST_TIMEOUT"}'
)
_ANSWER = b"HTTP/1.1 %b\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"


class BoundedProtocol(OrderedProtocol):
    """One connection of a client."""

    # Of all connections of this process, which has one memory.
    unfinished_bytes: ClassVar[int] = 0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # Whether a request has begun and is not complete, and whether its headers are not.
        self._unfinished = self._in_head = True
        # Of the piece that came last; of the request that is unfinished; and what of that was counted.
        self._piece_bytes = self._request_bytes = self._counted_bytes = 0
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """A client is there; it has some seconds for its first request."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, and so is what it had sent."""
        super().connection_lost(exc)
        self._rest()
        self._unread_no_more()

    def data_received(self, data: bytes) -> None:
        """A piece of a request, or several requests."""
        if not self._unfinished and not data.strip(b"\r\n"):
            return  # line ends begin no request, and must not end uvicorn's wait for one
        self._piece_bytes = len(data)
        self._request_bytes += self._piece_bytes
        super().data_received(data)
        if self._unfinished and not self.transport.is_closing():
            self._hold()

    def on_message_begin(self) -> None:
        """A request begins in this piece."""
        super().on_message_begin()
        self._unfinished = self._in_head = True
        self._request_bytes = self._piece_bytes

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header down. Trailers are dropped: uvicorn would take them for headers, without any bound."""
        if self._in_head:
            super().on_header(name, value)

    def pause_writing(self) -> None:
        """The client does not read its answer; it has some time to begin to."""
        super().pause_writing()
        self._unread = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It has read enough for more to be written."""
        super().resume_writing()
        self._unread_no_more()

    def on_headers_complete(self) -> None:
        """Its headers are there: it is served, or refused for their size."""
        self._in_head = False
        if len(self.headers) <= MAX_HEADERS and (
            self._request_bytes <= MAX_HEAD_BYTES or self._head_bytes() <= MAX_HEAD_BYTES
        ):
            super().on_headers_complete()
            return
        served, self.app = self.app, _refuse_headers
        try:
            super().on_headers_complete()
        finally:
            self.app = served

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._unfinished = False
        if self._timer is not None:
            self._rest()
        super().on_message_complete()

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _watch(self) -> None:
        self._since = self.loop.time()
        self._timer = self.loop.call_later(HEAD_SECONDS, self._expire)

    def _rest(self) -> None:
        """Stops watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        BoundedProtocol.unfinished_bytes -= self._counted_bytes
        self._counted_bytes = 0

    def _unread_no_more(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _hold(self) -> None:
        """Waits for the rest of a request, within its bounds."""
        if self._timer is None:
            self._watch()
        self._counted_bytes += self._piece_bytes
        BoundedProtocol.unfinished_bytes += self._piece_bytes
        if self._in_head and self._request_bytes > MAX_HEAD_BYTES:
            self._end(b"431 Request Header Fields Too Large", _TOO_LARGE)
        elif self._request_bytes > MAX_REQUEST_BYTES or BoundedProtocol.unfinished_bytes > MAX_UNFINISHED_BYTES:
            self.transport.abort()

    def _expire(self) -> None:
        left = self._since + REQUEST_SECONDS + transfer.upload_seconds(self._request_bytes) - self.loop.time()
        if self._in_head or left <= 0:
            self._end(b"408 Request Timeout", _LATE)
        else:
            self._timer = self.loop.call_later(left, self._expire)

    def _end(self, status: bytes, problem: bytes) -> None:
        """Closes the connection; with an answer, if a request has begun, has none yet, and it is its turn."""
        latest = self.cycle  # None at first, which uvicorn's types leave out
        if self._in_head and latest is not None and not latest.response_complete:  # type: ignore[redundant-expr]
            # Another request is being served. It gets its answer, which is the last one.
            self.flow.pause_reading()
            latest.keep_alive = False
            return
        if self._request_bytes and (self._in_head or not (latest.response_started or self.pipeline)):
            self.transport.write(_ANSWER % (status, len(problem), problem))
        self.transport.close()


async def _refuse_headers(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - an ASGI application
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(_TOO_LARGE)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 431, "headers": headers})
    await send({"type": "http.response.body", "body": _TOO_LARGE})
