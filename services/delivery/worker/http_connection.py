"""One HTTP/1.1 connection to a receiver: a request goes out, and its answer is read up to a bound.

Parsing is llhttp's (httptools). What this adds: the bounds, which answers end with the connection, and
whether a connection can carry another request.
"""

import asyncio
import socket
import ssl
from typing import cast

import httptools

from services.delivery.worker.sender import Answer, Failure, SendError

# Of an answer's status line and headers together, interim answers included.
MAX_HEAD_BYTES = 64 << 10
HEAD_PIECE_BYTES = 16 << 10
# A body in chunks of a byte takes six for each; what is far more are trailers without an end.
FRAMING_FACTOR = 8
RECEIVE_BUFFER_BYTES = 16 << 10
_FIRST_STATUS = 100
_SWITCHING_PROTOCOLS = 101
_FIRST_FINAL_STATUS = 200
# Of a Retry-After: twice the longest date. A longer one is not looked at.
MAX_RETRY_AFTER_BYTES = 64
# Of a Content-Length that is worth reading as a number.
MAX_LENGTH_DIGITS = 18
# Answers with these statuses have no body, whatever their headers say.
_NO_BODY = frozenset({204, 304})


class Connection(asyncio.Protocol):
    """Used by one request at a time.

    Of a body `max_response_bytes` are read, in the hope that it ends and the connection can be used again; of one
    that is announced to be longer no more than `wanted_bytes`.
    """

    def __init__(self, max_response_bytes: int, wanted_bytes: int) -> None:
        self.usable = True
        # How long the receiver says that it keeps the connection when idle, in seconds.
        self.announced_idle_seconds: int | None = None
        self._max_response_bytes = max_response_bytes
        self._wanted_bytes = min(wanted_bytes, max_response_bytes)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._start()

    def _start(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._body_bound = self._max_response_bytes
        self._head_bytes = 0
        self._rest_bytes = 0
        self._received = False
        self._in_body = False
        self._delimited = False
        self._retry_after: bytes | None = None
        self.status_code: int | None = None

    # -- what the sender does --

    async def exchange(self, head: bytes, body: bytes) -> Answer:
        """Sends a request and waits for its answer; SendError without one. A caller that leaves closes it."""
        transport = self._transport
        if transport is None or not self.usable:
            raise SendError(Failure.CONNECTION_LOST, "the connection was closed before the request")
        self._start()
        self._waiter = asyncio.get_running_loop().create_future()
        transport.writelines((head, body))
        try:
            return await self._waiter
        except BaseException:
            self.close()
            raise
        finally:
            self._waiter = None

    def close(self) -> None:
        """Ends the connection at once."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    @property
    def received(self) -> bool:
        """Whether any byte of an answer came."""
        return self._received

    def expire(self, message: str) -> None:
        """Ends the request that is out, for it took too long."""
        self._fail(Failure.TIMEOUT, message)

    # -- what the loop does --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast("asyncio.Transport", transport)
        # The kernel would take in megabytes of an answer that is cut anyway.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer, or of nothing that was asked for."""
        if self._waiter is None or self._waiter.done():
            self.close()
            return
        self._received = True
        # Headers in pieces, so that their bound holds however many come at once.
        while data and self.usable and not self._in_body:
            piece, data = data[:HEAD_PIECE_BYTES], data[HEAD_PIECE_BYTES:]
            self._head_bytes += len(piece)
            self._feed(piece)
            if self._head_bytes > MAX_HEAD_BYTES and self.status_code is None:
                self._fail(Failure.INVALID_RESPONSE, f"the answer's headers are over {MAX_HEAD_BYTES} bytes")
        if data and self.usable:
            self._rest_bytes += len(data)
            self._feed(data)
            if self._rest_bytes > MAX_HEAD_BYTES + FRAMING_FACTOR * self._max_response_bytes:
                self._fail(Failure.INVALID_RESPONSE, "the answer has more around its body than in it")

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._finish()
            self.close()
        except httptools.HttpParserError as error:
            self._fail(Failure.INVALID_RESPONSE, f"the answer is no HTTP: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone: the end of an answer that has no other, or the loss of it."""
        self.usable = False
        self._transport = None
        if self._waiter is None or self._waiter.done():
            return
        if self._in_body and not self._delimited and error is None:
            self._finish()
        elif isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
            # In TLS 1.3 a receiver that refuses our certificate, or misses one, says so after the handshake.
            self._fail(Failure.TLS, f"TLS failed: {error.reason}")
        else:
            where = "in the middle of its answer" if self._received else "before it answered"
            why = f": {error}" if error else ""
            self._fail(Failure.CONNECTION_LOST, f"the receiver closed the connection {where}{why}")

    # -- what the parser does --

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes down what says how long the body, the connection and the receiver's unwillingness last."""
        name = name.lower()
        if name in {b"content-length", b"transfer-encoding"}:
            self._delimited = True
            if name == b"content-length" and _exceeds(value, self._max_response_bytes):
                self._body_bound = self._wanted_bytes
        elif name == b"keep-alive":
            for part in value.split(b","):
                key, _, number = part.strip().partition(b"=")
                if key.lower() == b"timeout" and number.isdigit() and len(number) <= MAX_LENGTH_DIGITS:
                    self.announced_idle_seconds = int(number)
        elif name == b"retry-after" and not self._in_body and len(value) <= MAX_RETRY_AFTER_BYTES:
            self._retry_after = value

    def on_headers_complete(self) -> None:
        """The status is known."""
        status = self._parser.get_status_code()
        if status >= _FIRST_FINAL_STATUS or status == _SWITCHING_PROTOCOLS:
            self.status_code = status
            self._in_body = True
            self._delimited = self._delimited or status in _NO_BODY
        elif status < _FIRST_STATUS:
            self._fail(Failure.INVALID_RESPONSE, f"the answer is no HTTP: its status is {status:03}")

    def on_body(self, chunk: bytes) -> None:
        """A part of the body; past the bound the answer is taken as it is, and the connection given up."""
        room = self._body_bound - len(self._body)
        self._body += chunk[:room]
        if len(chunk) > room:
            self._finish()
            self.close()

    def on_message_complete(self) -> None:
        """The answer is complete, unless it is an interim one."""
        if self.status_code is None:
            self._delimited = False
            self._retry_after = None
            return
        if not self._parser.should_keep_alive():
            self.usable = False
        self._finish()

    def _finish(self) -> None:
        if self._waiter is None or self._waiter.done():
            return
        if self._transport is not None and self._transport.get_write_buffer_size():
            self.close()  # answered before it was read: the rest must not be taken for the next request
        self._waiter.set_result(
            Answer(status_code=self.status_code or 0, body=bytes(self._body), retry_after=self._retry_after)
        )

    def _fail(self, kind: Failure, message: str) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(SendError(kind, message, status_code=self.status_code))
        self.close()


def _exceeds(length: bytes, bound: int) -> bool:
    """Whether a Content-Length is a larger number; the parser refuses what is none."""
    return length.isdigit() and (len(length) > MAX_LENGTH_DIGITS or int(length) > bound)
