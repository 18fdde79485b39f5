"""Uvicorn's HTTP/1.1 with its answers in order, and with the bounds that it leaves open.

The bounds say how much a client may send, for how long, and how many may. A request that comes whole in one piece, as
nearly all do, pays for three flags. What comes in pieces is watched.
"""

import asyncio
import re
import sys
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.platform import clock, ids
from services.platform.errors import ErrorReason
from services.platform.http.problems import HttpProblem, bad_request
from services.platform.process import shares

# How much of the parser's own words a detail repeats.
_MAX_CAUSE_LENGTH = 100


class OrderedProtocol(HttpToolsProtocol):
    """Refuses in its turn what is not HTTP. uvicorn does so at once, in the place of a request that is being served."""

    # Of the request whose headers came last.
    request_id: str | None = None

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words, always the same
        """Respond to bytes that cannot be parsed, and to all that come after them."""
        problem = bad_request(f"the request is not valid HTTP/1.1: {_cause()}")
        latest = self.cycle
        if latest is None:
            self._refuse_now(problem)
        elif not latest.more_body:
            # What came before is whole. It keeps its answers, and the connection ends with them.
            if latest.response_complete:
                self._refuse_now(problem)
            else:
                latest.keep_alive = False
        elif latest.response_started:
            self.transport.close()  # the rest of a body that nobody waited for: its request has its answer
        elif self.pipeline:
            # It waits for its turn.
            self.pipeline[0] = (latest, problem)  # type: ignore[assignment]  # uvicorn's names for ASGI's types
        else:
            self._refuse_now(problem, self.request_id)

    def _refuse_now(self, problem: HttpProblem, request_id: str | None = None) -> None:
        self.transport.write(problem.raw(request_id))
        self.transport.close()


def _cause() -> str:
    """Return what the parser has found; it calls a failure of our own callbacks, such as for a bad target, its own."""
    error = sys.exception()
    if error is None or error.__context__ is not None:
        return "the request target or a header cannot be read"
    return str(error)[:_MAX_CAUSE_LENGTH] or type(error).__name__


# Connections of one server; those beyond are closed as they come.
MAX_CONNECTIONS = 10_000
# Of a request's line and headers.
MAX_HEAD_BYTES = 64 << 10
MAX_HEADERS = 100
# From the connection, or from its first byte, to the end of a request's headers; and to the end of its body, which has
# more time as more of it comes.
HEAD_SECONDS = 10.0
REQUEST_SECONDS = 40.0
# Of one request as it is sent, with what is thrown away after its answer; and of all that are unfinished, together,
# which their holders share.
MAX_REQUEST_BYTES = 64 << 20
MAX_UNFINISHED_BYTES = 256 << 20
# Where an application notes whose request it is, once it knows. Requests of which it does not know share one part.
HOLDER = "holder"
_TOO_LARGE = HttpProblem(
    status=431,
    title="Request Header Fields Too Large",
    detail=f"the headers must be at most {MAX_HEADERS}, and total at most {MAX_HEAD_BYTES} bytes",
    reason=ErrorReason.HEADERS_TOO_LARGE,
)
_LATE = HttpProblem(
    status=408, title="Request Timeout", detail="the request did not arrive in time", reason=ErrorReason.REQUEST_TIMEOUT
)
_NO_HOST = bad_request("Host: is required by HTTP/1.1", reason=ErrorReason.HOST_INVALID)
_HOSTS = bad_request("Host: must not appear more than once", reason=ErrorReason.HOST_INVALID)
_NOT_A_HOST = bad_request(
    "Host: must be a host name or an IP address, with an optional port", reason=ErrorReason.HOST_INVALID
)
_CODED = HttpProblem(
    status=501,
    title="Not Implemented",
    detail="Transfer-Encoding: must be chunked; use Content-Encoding for compression",
    reason=ErrorReason.TRANSFER_ENCODING_UNSUPPORTED,
)
# RFC 3986, 3.2.2 and 3.2.3; empty where the target has no authority (RFC 9110, 7.2).
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
_REQUEST_ID = ids.REQUEST_ID_HEADER.encode()


class BoundedProtocol(OrderedProtocol):
    """One connection of a client."""

    # Of all connections of this process, which has one memory; and of each holder.
    unfinished_bytes: ClassVar[int] = 0
    _held_bytes: ClassVar[dict[str, int]] = {}

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # Whether a request has begun and is not complete, and whether its headers are not.
        self._unfinished = self._in_head = True
        # Of the piece that came last; of the request that is unfinished; and what of that was counted.
        self._piece_bytes = self._request_bytes = self._counted_bytes = 0
        self._holder = ""
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Start the client's time limit for its first request."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Discard what the client had sent."""
        super().connection_lost(exc)
        self._rest()
        self._unread_no_more()

    def data_received(self, data: bytes) -> None:
        """Handle a piece of a request, or several requests."""
        if not self._unfinished and not data.strip(b"\r\n"):
            return  # line ends begin no request, and must not end uvicorn's wait for one
        self._piece_bytes = len(data)
        self._request_bytes += self._piece_bytes
        super().data_received(data)
        if self._unfinished and not self.transport.is_closing():
            self._hold()

    def on_message_begin(self) -> None:
        """Note that a request begins in this piece."""
        super().on_message_begin()
        self._unfinished = self._in_head = True
        self._request_bytes = self._piece_bytes

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header down, without the spaces and tabs around its value, which are no part of it (RFC 9110, 5.5).

        Trailers are dropped: uvicorn would take them for headers, without any bound.
        """
        if self._in_head:
            super().on_header(name, value.strip(b" \t"))

    def pause_writing(self) -> None:
        """Start the time limit for a client that does not read its response."""
        super().pause_writing()
        self._unread = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that the client has read enough for more to be written."""
        super().resume_writing()
        self._unread_no_more()

    def on_headers_complete(self) -> None:
        """Serve the request, or refuse it for its headers."""
        self._in_head = False
        names = [name for name, _ in self.headers]
        request_id = self._find_request_id(names)
        self.request_id = self.scope["request_id"] = request_id  # type: ignore[typeddict-unknown-key]
        served, problem = self.app, self._find_problem(names)
        if problem is not None:
            self.app = problem
        try:
            super().on_headers_complete()
        finally:
            self.app = served
        # For all responses, including the server's own.
        self.cycle.default_headers = [*self.cycle.default_headers, (_REQUEST_ID, request_id.encode())]

    def on_message_complete(self) -> None:
        """Note that the request is complete."""
        self._unfinished = False
        if self._timer is not None:
            self._rest()
        super().on_message_complete()

    def _find_request_id(self, names: list[bytes]) -> str:
        """Return the client's own id, if it sent one that is sane."""
        if names.count(_REQUEST_ID) == 1:
            sent = ids.sane_request_id(self.headers[names.index(_REQUEST_ID)][1])
            if sent is not None:
                return sent
        return ids.new_request_id()

    def _find_problem(self, names: list[bytes]) -> HttpProblem | None:
        """Return why the request is refused for its headers, if it is."""
        if len(names) > MAX_HEADERS or (self._request_bytes > MAX_HEAD_BYTES and self._head_bytes() > MAX_HEAD_BYTES):
            return _TOO_LARGE
        # RFC 9112, 6.1: what has another coding besides would be taken for what it encodes.
        coding = b"transfer-encoding"
        if coding in names and self.headers[names.index(coding)][1].lower() != b"chunked":
            return _CODED
        # RFC 9112, 3.2. HTTP/1.0 needs no Host.
        hosts = names.count(b"host")
        if hosts > 1:
            return _HOSTS
        if not hosts:
            return None if self.parser.get_http_version() == "1.0" else _NO_HOST
        return None if _HOST.fullmatch(self.headers[names.index(b"host")][1]) else _NOT_A_HOST

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _watch(self) -> None:
        self._since = self.loop.time()
        self._timer = self.loop.call_later(HEAD_SECONDS, self._expire)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._count(-self._counted_bytes)

    def _unread_no_more(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _hold(self) -> None:
        """Wait for the rest of a request, within its bounds."""
        if self._timer is None:
            self._watch()
        if self._in_head:
            self._count(self._piece_bytes)
        elif self.cycle.response_complete:
            self._count(-self._counted_bytes)  # it has its answer, and the rest of it is thrown away as it comes
        else:
            holder = str(self.cycle.scope.get(HOLDER, ""))
            if holder != self._holder:
                counted = self._counted_bytes
                self._count(-counted)
                self._holder = holder
                self._count(counted)
            self._count(self._piece_bytes)
        if self._in_head and self._request_bytes > MAX_HEAD_BYTES:
            self._end(_TOO_LARGE)
        elif self._request_bytes > MAX_REQUEST_BYTES or self._crowds_out():
            self.transport.abort()

    def _count(self, number: int) -> None:
        """Add to what is held of this request, or take away; nothing is held any more when all is taken."""
        self._counted_bytes += number
        BoundedProtocol.unfinished_bytes += number
        held = self._held_bytes.get(self._holder, 0) + number
        if held:
            self._held_bytes[self._holder] = held
        else:
            self._held_bytes.pop(self._holder, None)
        if not self._counted_bytes:
            self._holder = ""

    def _crowds_out(self) -> bool:
        """Return whether the holder of this request has more than is left for others."""
        held = self._held_bytes.get(self._holder, 0) if self._counted_bytes else 0
        return held > 0 and not shares.has_room(held, MAX_UNFINISHED_BYTES - BoundedProtocol.unfinished_bytes)

    def _expire(self) -> None:
        left = self._since + REQUEST_SECONDS + clock.upload_seconds(self._request_bytes) - self.loop.time()
        if self._in_head or left <= 0:
            self._end(_LATE)
        else:
            self._timer = self.loop.call_later(left, self._expire)

    def _end(self, problem: HttpProblem) -> None:
        """Close the connection; respond first if a request has begun, has no response yet, and is next in order."""
        latest = self.cycle  # None at first, which uvicorn's types leave out
        if self._in_head and latest is not None and not latest.response_complete:  # type: ignore[redundant-expr]
            # Another request is being served. It gets its answer, which is the last one.
            self.flow.pause_reading()
            latest.keep_alive = False
            return
        if self._request_bytes and (self._in_head or not (latest.response_started or self.pipeline)):
            self.transport.write(problem.raw(None if self._in_head else self.request_id))
        self.transport.close()
