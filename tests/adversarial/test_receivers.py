"""Responses of hostile receivers are recorded and shown, and do no harm."""

import asyncio
import gzip
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from dev.harness.api import Api
from dev.harness.waiting import wait_until
from tests.adversarial.conftest import Tally
from tests.delivery import sending

# Responses of hostile receivers, and the expected result: the table of test_receivers.py.


SUCCESS = None
KIB = 1 << 10


@dataclass(frozen=True, kw_only=True)
class Hostile:
    """A response, the recorded kind of error (None: it counts as a success), and the status."""

    answer: sending.Answer
    kind: str | None
    status: int | None


def _row(sent: bytes | sending.Answer, kind: str | None, status: int | None, *, hang: bool = False) -> Hostile:
    answer = sending.answering(sent, then_hang=hang) if isinstance(sent, bytes) else sent
    return Hostile(answer=answer, kind=kind, status=status)


def _body(body: bytes) -> Hostile:
    """Return a success with this body."""
    return _row(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body), SUCCESS, 200)


def _headers(*lines: bytes, kind: str | None = "invalid_response", status: int | None = None) -> Hostile:
    """Return a 200 response with these header lines."""
    head = b"HTTP/1.1 200 OK\r\n" + b"".join(line + b"\r\n" for line in lines)
    return _row(head + b"Content-Length: 2\r\n\r\nok", kind, status)


def _length(*values: bytes, kind: str | None = SUCCESS, status: int | None = 200, hang: bool = False) -> Hostile:
    """Return a 200 response with these lengths."""
    lines = b"".join(b"Content-Length: %b\r\n" % value for value in values)
    return _row(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\nok", kind, status, hang=hang)


def _chunks(body: bytes, kind: str | None = "invalid_response", *, hang: bool = False) -> Hostile:
    """Return a 200 response with these chunks."""
    return _row(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body, kind, 200, hang=hang)


def _status(line: bytes, kind: str | None = "invalid_response", status: int | None = None) -> Hostile:
    """Return a response with this status line."""
    return _row(line + b"\r\nContent-Length: 2\r\n\r\nok", kind, status)


def _forever(begin: bytes, more: bytes, *, pause_seconds: float = 0.0) -> sending.Answer:
    async def answer(connection: sending.Connection) -> None:
        await connection.request()
        await connection.send(begin)
        while True:
            await connection.send(more)
            await asyncio.sleep(pause_seconds)

    return answer


async def _reset(connection: sending.Connection) -> None:
    await connection.request()
    connection.reset()


async def _deaf(connection: sending.Connection) -> None:
    await connection.reader.readuntil(b"\r\n\r\n")
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    connection.reset()


# 32 MB of zeros, in 32 KB.
BOMB = gzip.compress(bytes(32 << 20))
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HOSTILE: dict[str, Hostile] = {
    # Bodies that are not text, or text with a meaning elsewhere.
    "NUL": _body(b"a\x00b"),
    "only NUL bytes": _body(b"\x00" * 5000),
    "invalid UTF-8": _body(bytes(range(256))),
    "surrogates in UTF-8": _body(b"\xed\xa0\x80\xed\xb0\x80"),
    "overlong UTF-8": _body(b"\xc0\x80\xe0\x80\x80\xf8\x88\x80\x80\x80"),
    "beyond Unicode": _body(b"\xf4\x90\x80\x80\xff\xfe"),
    "UTF-16": _body("\ufeffwebhook".encode("utf-16")),
    "control characters": _body(bytes(range(32)) + b"\x7f\xc2\x80\xc2\x9f"),
    "a character cut by the limit": _body(b"a" * 4095 + "😀".encode()),
    "bytes that become longer when replaced": _body(b"\xff" * 4096),
    "JSON that closes the enclosing document": _body(b'"}]}, {"status": "delivered"'),
    "HTML markup": _body(b"<script>alert(1)</script>\r\n\r\nHTTP/1.1 200 OK"),
    "terminal escape sequences": _body(b"\x1b[2J\x1b]0;title\x07"),
    "SQL": _body(b"'; DROP TABLE delivery_attempts; --"),
    "a gzip bomb": _row(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + BOMB, SUCCESS, 200),
    "invalid gzip": _headers(b"Content-Encoding: gzip", kind=SUCCESS, status=200),
    "an unknown encoding": _headers(b"Content-Encoding: zzz, br, gzip", kind=SUCCESS, status=200),
    "an endless body": _row(_forever(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536), SUCCESS, 200),
    "an endless error response": _row(_forever(b"HTTP/1.1 500 Oops\r\n\r\n", b"\x00" * 65536), "http_5xx", 500),
    # Headers.
    "headers of 96 KiB": _headers(b"X: " + b"a" * (96 * KIB)),
    "headers of 62 KiB": _headers(b"X: " + b"a" * (62 * KIB), kind=SUCCESS, status=200),
    "5,000 headers": _headers(*[b"X-%d: abcdefgh" % number for number in range(5000)]),
    "endless headers": _row(_forever(b"HTTP/1.1 200 OK\r\n", b"X: " + b"a" * 8000 + b"\r\n"), "invalid_response", None),
    "NUL in a header": _headers(b"X: a\x00b", kind=SUCCESS, status=200),
    "NUL in a header's name": _headers(b"X\x00: a", kind=SUCCESS, status=200),
    "CR in a header": _headers(b"X: a\rb", kind=SUCCESS, status=200),
    "LF after a header": _row(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", SUCCESS, 200),
    "a header without a colon": _headers(b"nonsense", kind=SUCCESS, status=200),
    "a header without a name": _headers(b": a", kind=SUCCESS, status=200),
    "a space in a header's name": _headers(b"X Y: a", kind=SUCCESS, status=200),
    "invalid UTF-8 in a header": _headers(b"X: \xff\xfe", kind=SUCCESS, status=200),
    "cookies": _headers(b"Set-Cookie: session=stolen; Domain=.invalid", kind=SUCCESS, status=200),
    "a cookie of 60 KiB": _headers(b"Set-Cookie: a=" + b"b" * (60 * KIB), kind=SUCCESS, status=200),
    "a Refresh header to another URL": _headers(b"Refresh: 0; url=http://169.254.169.254/", kind=SUCCESS, status=200),
    "an endless Keep-Alive timeout": _headers(b"Keep-Alive: timeout=" + b"9" * 5000, kind=SUCCESS, status=200),
    "a negative Keep-Alive timeout": _headers(b"Keep-Alive: timeout=-1, max=x", kind=SUCCESS, status=200),
    # Lengths.
    "a negative length": _length(b"-1"),
    "a length with a sign": _length(b"+2"),
    "a hexadecimal length": _length(b"0x2"),
    "two lengths": _length(b"2", b"3"),
    "a list of lengths": _length(b"2, 3"),
    "a length beyond 64 bits": _length(b"18446744073709551618"),
    "a length of 5,000 digits": _length(b"9" * 5000),
    "a length longer than the body": _length(b"9223372036854775807", kind="connection_lost", status=200),
    "a length longer than the body, connection kept open": _length(
        b"9223372036854775807", kind="timeout", status=200, hang=True
    ),
    "a length and chunks": _headers(b"Transfer-Encoding: chunked", kind=SUCCESS, status=200),
    # Chunks.
    "chunks with trailers": _chunks(b"2\r\nok\r\n0\r\nX: a\r\n\r\n", SUCCESS),
    "chunks with a trailer that is a length": _chunks(b"2\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n", SUCCESS),
    "a negative chunk": _chunks(b"-2\r\nok\r\n0\r\n\r\n", SUCCESS),
    "a chunk with 0x": _chunks(b"0x2\r\nok\r\n0\r\n\r\n", SUCCESS),
    "a chunk beyond 64 bits": _chunks(b"1" + b"0" * 16 + b"\r\nok\r\n0\r\n\r\n", SUCCESS),
    "a chunk of 2^63 bytes": _chunks(b"7fffffffffffffff\r\nok", "timeout", hang=True),
    "a chunk longer than its size": _chunks(b"1\r\nok\r\n0\r\n\r\n", SUCCESS),
    "a chunk without its size": _chunks(b"\r\nok\r\n0\r\n\r\n", SUCCESS),
    "chunks without the last one": _chunks(b"2\r\nok\r\n", "connection_lost"),
    "an invalid trailer": _chunks(b"2\r\nok\r\n0\r\nX Y\r\n\r\n", SUCCESS),
    "an endless chunk extension": _row(
        _forever(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;", b"a" * 65536), "invalid_response", 200
    ),
    # First lines, and other protocols.
    "HTTP/0.9": _row(b"ok", "invalid_response", None),
    "HTTP/1.0": _row(b"HTTP/1.0 200 OK\r\n\r\nok", SUCCESS, 200),
    "HTTP/2": _row(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64", "invalid_response", None),
    "HTTP/2's preface": _row(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "invalid_response", None),
    "HTTP/3.0": _status(b"HTTP/3.0 200 OK", SUCCESS, 200),
    "a TLS alert": _row(b"\x15\x03\x01\x00\x02\x02\x46", "invalid_response", None),
    "SSH": _row(b"SSH-2.0-OpenSSH_9.6\r\n", "invalid_response", None),
    "a request": _row(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", "invalid_response", None),
    "status 000": _status(b"HTTP/1.1 000 Nothing"),
    "status 099": _status(b"HTTP/1.1 099 Nothing"),
    "status 999": _status(b"HTTP/1.1 999 Denied", status=999),
    "status 1000": _status(b"HTTP/1.1 1000 Thousand"),
    "status 20": _status(b"HTTP/1.1 20 OK"),
    "status -1": _status(b"HTTP/1.1 -1 OK"),
    "status in letters": _status(b"HTTP/1.1 OK 200"),
    "no reason phrase": _status(b"HTTP/1.1 200", SUCCESS, 200),
    "NUL in the reason phrase": _status(b"HTTP/1.1 200 \x00", SUCCESS, 200),
    "invalid UTF-8 in the reason phrase": _status(b"HTTP/1.1 200 \xff\xfe", SUCCESS, 200),
    "a reason phrase of 100,000 letters": _status(b"HTTP/1.1 200 " + b"a" * 100_000),
    "a redirect to an internal address": _status(
        b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/", "http_3xx", 302
    ),
    "307": _status(b"HTTP/1.1 307 There\r\nLocation: //elsewhere.invalid", "http_3xx", 307),
    "304 with a body": _status(b"HTTP/1.1 304 Same", "http_3xx", 304),
    "204 with a body": _status(b"HTTP/1.1 204 None", SUCCESS, 204),
    "401 with an authentication challenge": _status(b"HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM", "http_4xx", 401),
    "429 with an endless Retry-After": _status(b"HTTP/1.1 429 No\r\nRetry-After: " + b"9" * 60, "http_4xx", 429),
    "503 with an invalid date in Retry-After": _status(
        b"HTTP/1.1 503 No\r\nRetry-After: Fri, 99 Foo 99999", "http_5xx", 503
    ),
    # Interim responses.
    "100 and then 200": _row(INTERIM * 20 + OK, SUCCESS, 200),
    "103 and then 200": _row(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK, SUCCESS, 200),
    "endless 100 responses": _row(_forever(b"", INTERIM * 3000), "invalid_response", None),
    "endless 102 responses, slowly": _row(
        _forever(b"", b"HTTP/1.1 102 Wait\r\n\r\n", pause_seconds=0.1), "timeout", None
    ),
    "101": _row(b"HTTP/1.1 101 Other\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "invalid_response", 101),
    "two responses": _row(OK + b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", SUCCESS, 200),
    # Ends of the connection.
    "an empty response": _row(b"", "connection_lost", None),
    "half a status line": _row(b"HTTP/1.1 2", "connection_lost", None),
    "half a header": _row(b"HTTP/1.1 200 OK\r\nContent-", SUCCESS, 200),
    "half a body": _length(b"9", kind="connection_lost", status=200),
    "a reset": _row(_reset, "connection_lost", None),
    "a response before the request, and a reset": _row(_deaf, SUCCESS, 200),
    # Time.
    "no response": _row(b"", "timeout", None, hang=True),
    "headers byte by byte": _row(_forever(b"HTTP/1.1 200 OK\r\nX: ", b"a", pause_seconds=0.05), "timeout", None),
    "a body byte by byte": _row(_forever(b"HTTP/1.1 200 OK\r\n\r\n", b"a", pause_seconds=0.05), "timeout", 200),
}
# Receivers return hostile responses to the real worker: they are recorded and shown, and the next delivery arrives.
pytestmark = pytest.mark.usefixtures("unharmed")
ENDED = {"delivered", "failed", "cancelled"}
# How much of a response the service stores.
STORED_BYTES = 4096
# More of them would keep this process too busy to respond before the timeout of those that are to time out later.
AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the service shows of a delivery with a hostile response, of the next one, and the head of its request."""

    hostile: dict[str, Any]
    following: dict[str, Any]
    head: bytes


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def told(api: Api) -> dict[str, Told]:
    """The results of all receivers, some of which get their deliveries concurrently."""
    places = asyncio.Semaphore(AT_ONCE)

    async def deliver(row: Hostile) -> Told:
        async with places:
            return await _deliver(api, row)

    return dict(zip(HOSTILE, await asyncio.gather(*(deliver(row) for row in HOSTILE.values())), strict=True))


async def _deliver(api: Api, row: Hostile) -> Told:
    # Only where a timeout is expected is it short: on a busy machine any of the others may take seconds.
    timeout_seconds = 4 if row.kind == "timeout" else 20

    async def answer(connection: sending.Connection) -> None:
        await (row.answer if server.connections[0] is connection else sending.answering(OK))(connection)

    async with sending.serving(answer) as server:
        subscription = await api.subscribe(server.url(), timeout_seconds=timeout_seconds)
        hostile = await _ended(api, await api.sent(subscription))
        following = await _ended(api, await api.sent(subscription))
        await api.http.delete(f"/api/v1/subscriptions/{subscription}")
        return Told(hostile=hostile, following=following, head=server.connections[-1].heads[-1])


async def _ended(api: Api, delivery_id: str) -> dict[str, Any]:
    async def ended() -> dict[str, Any] | None:
        found = await api.delivery(delivery_id)
        return found if found["status"] in ENDED else None

    return await wait_until(ended, what=f"{delivery_id} to end") or {}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_is_recorded_and_shown_and_harms_nothing(
    told: dict[str, Told], tally: Tally, name: str
) -> None:
    tally.add("receivers' answers")
    row, found = HOSTILE[name], told[name]
    (attempt,) = found.hostile["attempts"]
    error = attempt["error"] or {"kind": None, "message": "none"}
    assert (error["kind"], attempt["status_code"]) == (row.kind, row.status), attempt
    assert found.hostile["status"] == ("failed" if row.kind else "delivered")
    assert error["message"]
    for text in (error["message"], attempt["response_body"] or ""):
        assert "\x00" not in text
        assert len(text.encode()) <= STORED_BYTES
    assert found.following["status"] == "delivered"
    assert b"cookie" not in found.head.lower()


async def test_lists_and_statistics_of_all_that_are_json(told: dict[str, Told], api: Api) -> None:
    stats = (await api.http.get("/api/v1/stats?window=1h")).json()
    assert stats["attempts_by_outcome"]
    for found in told.values():
        answer = await api.http.get(f"/api/v1/events/{found.hostile['event_id']}/deliveries")
        assert answer.json()["items"][0]["id"] == found.hostile["id"]
