"""One HTTP/1.1 connection to a receiver: a request goes out, and its answer is read up to a bound.

Parsing is llhttp's (httptools). This adds the bounds, which answers end with the connection, and whether a connection
can carry another request. An answer that llhttp refuses is read again by looser rules, and its connection closed: a
receiver that accepted an event must not get it again because of how it formats its answers (answers.py).
"""

import asyncio
import contextlib
import socket
import ssl
from typing import cast

import httptools

from services.delivery.destinations.destination import Answer, SendError
from services.delivery.destinations.details import Phase, Trail
from services.delivery.destinations.http import answers
from services.delivery.destinations.http.answers import MAX_LENGTH_DIGITS
from services.domain.states import AttemptOutcome

# An answer's status line and headers together, interim answers included.
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
# Of a Location that is shown to the endpoint's owner.
MAX_LOCATION_BYTES = 2048
# Answers with these statuses have no body, whatever their headers say.
_NO_BODY = frozenset({204, 304})


class Connection(asyncio.Protocol):
    """Used by one request at a time.

    Of a body `max_response_bytes` are read, in the hope that it ends and the connection can be used again; of one
    that is announced to be longer no more than `wanted_bytes`.
    """

    def __init__(self, max_response_bytes: int, wanted_bytes: int) -> None:
        self.usable = True
        # Whether it carried a request before: what comes first may be the rest of an earlier answer.
        self._used = False
        # How long the receiver says that it keeps the connection when idle, in seconds.
        self.announced_idle_seconds: int | None = None
        self._max_response_bytes = max_response_bytes
        self._wanted_bytes = min(wanted_bytes, max_response_bytes)
        self._transport: asyncio.Transport | None = None
        # Of the request that is out.
        self._trail: Trail | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._start()

    def _start(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        # What came of the answer, for as long as it may have to be read again.
        self._raw = bytearray()
        self._head_bytes = 0
        self._rest_bytes = 0
        self._received = False
        # Whether llhttp refused the answer, and why.
        self._odd = False
        self._objection = ""
        self._forget_answer()

    def _forget_answer(self) -> None:
        self._body = bytearray()
        self._body_bound = self._max_response_bytes
        self._in_body = False
        self._delimited = False
        self._chunked = False
        self._has_body = False
        self._retry_after: bytes | None = None
        self._location: bytes | None = None
        if self._trail is not None:
            self._trail.response_headers.clear()
        self.status_code: int | None = None

    # -- what the sender does --

    async def exchange(self, head: bytes, body: bytes, trail: Trail | None = None) -> Answer:
        """Send a request and return its answer; SendError without one. A caller that is cancelled closes it."""
        transport = self._transport
        if transport is None or not self.usable:
            raise SendError(AttemptOutcome.CONNECTION_LOST, "the connection was closed before the request")
        self._trail = trail
        self._start()
        self._waiter = asyncio.get_running_loop().create_future()
        if trail is not None:
            trail.begin(Phase.FIRST_BYTE)
        transport.writelines((head, body))
        try:
            return await self._waiter
        except BaseException:
            self.close()
            raise
        finally:
            self._waiter = self._trail = None
            self._used = True

    def close(self) -> None:
        """Close the connection at once."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    @property
    def received(self) -> bool:
        """Whether any byte of this answer came."""
        return self._received

    def expire(self, message: str) -> None:
        """End the request that is out because it took too long."""
        self._fail(AttemptOutcome.TIMEOUT, message)

    # -- what the loop does --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)
        # The kernel would take in megabytes of an answer that is cut anyway.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)

    def _ended(self) -> bool:
        """Whether nobody waits for an answer, or the answer is there."""
        return self._waiter is None or self._waiter.done()

    def data_received(self, data: bytes) -> None:
        """Read bytes of an answer; close the connection on bytes that nobody asked for."""
        if self._ended():
            self.close()
            return
        if not self._received:
            self._received = True
            if self._trail is not None:
                self._trail.begin(Phase.BODY)
        if not self._in_body or (self._chunked and not self._odd):
            self._raw += data
        if not self._odd or self._in_body:
            rest = data if self._in_body else self._feed_head(data)
            if rest:
                self._feed_body(rest)
        elif len(self._raw) > MAX_HEAD_BYTES or answers.may_end(self._raw, len(data)):
            self._read_odd_head(ended=False)

    def _feed_head(self, data: bytes) -> bytes:
        """Feed headers in slices, so that their bound is kept however many come at once; return what follows them."""
        while data and not self._in_body:
            piece, data = data[:HEAD_PIECE_BYTES], data[HEAD_PIECE_BYTES:]
            self._head_bytes += len(piece)
            self._feed(piece)
            if self._odd:
                return b""  # it was read again, with all that came
            if self._ended():
                if data:
                    self.close()
                return b""
            if self._head_bytes > MAX_HEAD_BYTES and self.status_code is None:
                self._fail(AttemptOutcome.INVALID_RESPONSE, f"the response headers are over {MAX_HEAD_BYTES} bytes")
                return b""
        return data

    def _feed_body(self, data: bytes) -> None:
        self._rest_bytes += len(data)
        self._feed(data)
        if self._rest_bytes > MAX_HEAD_BYTES + FRAMING_FACTOR * self._max_response_bytes:
            self._fail(AttemptOutcome.INVALID_RESPONSE, "the response has more chunk overhead than body")

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._finish()
            self.close()
        except httptools.HttpParserError as error:
            if self._ended():
                self.close()  # what follows the answer is not ours to judge
            elif not self._odd:
                self._objection = str(error)
                self._read_again()
            else:  # the receiver said how it ended; how it frames its body does not change that
                self._finish()
                self.close()

    def _read_again(self) -> None:
        """Read what came of the answer by looser rules."""
        self._odd, self.usable = True, False
        self._forget_answer()
        self._parser = answers.parser(self)
        self._rest_bytes = 0
        self._read_odd_head(ended=False)

    def _read_odd_head(self, *, ended: bool) -> None:
        raw = bytes(self._raw)
        try:
            found = answers.rewrite(raw, ended=ended, skip=self._used)
        except answers.NotHttp:
            if not ended:
                self._fail(AttemptOutcome.INVALID_RESPONSE, f"the response is not HTTP: {self._objection}")
            return
        if len(raw) - (len(found[1]) if found else 0) > MAX_HEAD_BYTES:
            self._fail(AttemptOutcome.INVALID_RESPONSE, f"the response headers are over {MAX_HEAD_BYTES} bytes")
        elif found is not None:
            head, rest = found
            self._feed(head)
            if rest and not self._ended():
                self._feed_body(rest)

    def connection_lost(self, error: Exception | None) -> None:
        """End the answer where the connection is its end; otherwise it is lost."""
        self.usable = False
        self._transport = None
        if not self._ended() and self._received and error is None:
            self._end_with_connection()
        if self._ended():
            return
        if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
            # In TLS 1.3 a receiver that refuses our certificate, or misses one, says so after the handshake.
            self._fail(AttemptOutcome.TLS, f"TLS failed: {error.reason}")
        else:
            if self._used and self._objection and self.status_code is None:
                # Only the rest of an earlier answer came: this request is worth a fresh connection.
                self._received = False
            where = "in the middle of its response" if self._received else "before it responded"
            why = f": {error}" if error else ""
            self._fail(AttemptOutcome.CONNECTION_LOST, f"the receiver closed the connection {where}{why}")

    def _end_with_connection(self) -> None:
        """Finish an answer that the receiver ended by closing, unless it announced more."""
        if not self._in_body:
            # A status line and some headers without an empty line after them.
            self._odd = True
            self._parser = answers.parser(self)
            self._read_odd_head(ended=True)
        elif not self._delimited:
            self._finish()
        elif self._chunked:
            # The empty line after the last chunk may be missing; elsewhere these are no end.
            with contextlib.suppress(httptools.HttpParserError):
                self._parser.feed_data(b"\r\n\r\n")

    # -- what the parser does --

    def on_message_begin(self) -> None:
        """Close the connection on a second answer to one request."""
        if self._ended():
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note what says how long the body, the connection and the receiver's unwillingness last."""
        name = name.lower()
        if self._trail is not None and not self._in_body:
            self._trail.response_headers.append((name, value))
        if name == b"content-length":
            self._delimited = True
            self._has_body = self._has_body or bool(value.strip(b"0"))
            if _exceeds(value, self._max_response_bytes):
                self._body_bound = self._wanted_bytes
        elif name == b"transfer-encoding":
            self._has_body = True
            # As llhttp has it: any other body lasts until the connection ends.
            self._chunked = value.rpartition(b",")[2].strip().lower() == b"chunked"
            self._delimited = self._delimited or self._chunked
        elif name == b"keep-alive":
            for part in value.split(b","):
                key, _, number = part.strip().partition(b"=")
                if key.lower() == b"timeout" and number.isdigit() and len(number) <= MAX_LENGTH_DIGITS:
                    self.announced_idle_seconds = int(number)
        elif name == b"retry-after" and not self._in_body and len(value) <= MAX_RETRY_AFTER_BYTES:
            self._retry_after = value
        elif name == b"location" and not self._in_body:
            self._location = value[:MAX_LOCATION_BYTES]

    def on_headers_complete(self) -> None:
        """Take the status."""
        status = self._parser.get_status_code()
        if self._ended():
            return  # of a second answer
        if status >= _FIRST_FINAL_STATUS or status == _SWITCHING_PROTOCOLS:
            self.status_code = status
            self._in_body = True
            if status in _NO_BODY:
                self._delimited = True
                if self._has_body:  # what it announces may come all the same, and later
                    self.usable = False
        elif status < _FIRST_STATUS:
            self._fail(AttemptOutcome.INVALID_RESPONSE, f"the response is not HTTP: its status is {status:03}")

    def on_body(self, chunk: bytes) -> None:
        """Take a part of the body; past the bound the answer ends here, and the connection is closed."""
        room = self._body_bound - len(self._body)
        self._body += chunk[:room]
        if len(chunk) > room:
            self._finish()
            self.close()

    def on_message_complete(self) -> None:
        """Finish the answer, unless it is an interim one."""
        if self.status_code is None:
            self._forget_answer()
            return
        if not self._parser.should_keep_alive():
            self.usable = False
        self._finish()

    def _finish(self) -> None:
        if self._waiter is None or self._waiter.done():
            return
        self._raw.clear()
        if self._transport is not None and self._transport.get_write_buffer_size():
            self.close()  # answered before it was read: the rest must not be taken for the next request
        self._waiter.set_result(
            Answer(
                status_code=self.status_code or 0,
                body=bytes(self._body),
                retry_after=self._retry_after,
                location=self._location,
            )
        )

    def _fail(self, kind: AttemptOutcome, message: str) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(SendError(kind, message, status_code=self.status_code))
        self.close()


def _exceeds(length: bytes, bound: int) -> bool:
    """Return whether a Content-Length is a larger number; the parser refuses what is not a number."""
    return length.isdigit() and (len(length) > MAX_LENGTH_DIGITS or int(length) > bound)
