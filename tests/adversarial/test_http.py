"""Raw HTTP requests to the gateway, framed and spelled in every wrong way."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dev.harness.api import Api
from dev.harness.stack import Stack
from tests.adversarial.calls import CLOSED_SECONDS, Exchange, changed, changes, exchange, request
from tests.adversarial.conftest import Examples, Tally

# Requests that no honest client sends, as bytes: the tables of test_http.py.


UNKNOWN = b"/api/v1/webhooks/ingest/019ced6f-8a27-7c3e-9b1a-5d0f4e2c7b61"
POST = b"POST " + UNKNOWN + b" HTTP/1.1"
GET = b"GET /api/v1/stats HTTP/1.1"
LENGTH = b"Content-Length: 5"
CHUNKED = b"Transfer-Encoding: chunked"
# Stands for a complete request for a live subscription, which must not be treated as one.
HIDDEN = b"<hidden>"


def framed(*headers: bytes, body: bytes = b"0\r\n\r\n") -> bytes:
    """Return a POST with doubtful framing; where it might be read as ended, a hidden request follows."""
    return request(POST, *headers, body=body + HIDDEN)


# Requests that two servers could read differently are refused, and the connection is closed (RFC 9112, 6.3 and 11.2).
FRAMING = {
    "length, then chunked": framed(LENGTH, CHUNKED),
    "chunked, then length": framed(CHUNKED, LENGTH),
    "chunked and a length of 0": framed(b"Content-Length: 0", CHUNKED),
    "two lengths": framed(LENGTH, b"Content-Length: 6"),
    "two lengths, the same": framed(LENGTH, LENGTH),
    "a list of lengths": framed(b"Content-Length: 5, 6"),
    "a list of one length twice": framed(b"Content-Length: 5, 5"),
    "a length with a sign": framed(b"Content-Length: +5"),
    "a negative length": framed(b"Content-Length: -5"),
    "a hexadecimal length": framed(b"Content-Length: 0x5"),
    "a length with an exponent": framed(b"Content-Length: 5e0"),
    "a length with a fraction": framed(b"Content-Length: 5.0"),
    "a length with a space in it": framed(b"Content-Length: 5 5"),
    "a length in non-ASCII digits": framed("Content-Length: \uff15".encode()),
    "a length with an underscore": framed(b"Content-Length: 1_0"),
    "a length beyond 64 bits": framed(b"Content-Length: 18446744073709551621"),
    "a length of 5,000 digits": framed(b"Content-Length: " + b"9" * 5000),
    "no length after its name": framed(b"Content-Length:"),
    "another coding last": framed(b"Transfer-Encoding: chunked, identity"),
    "only another coding": framed(b"Transfer-Encoding: gzip"),
    "identity": framed(b"Transfer-Encoding: identity"),
    "nearly chunked": framed(b"Transfer-Encoding: xchunked"),
    "chunked preceded by a tab": framed(b"Transfer-Encoding:\x0bchunked"),
    "chunked followed by a control character": framed(b"Transfer-Encoding: chunked\x0b"),
    "chunked followed by NUL": framed(b"Transfer-Encoding: chunked\x00"),
    "chunked in quotes": framed(b'Transfer-Encoding: "chunked"'),
    "an empty coding": framed(b"Transfer-Encoding:"),
    "a space before the colon": framed(b"Transfer-Encoding : chunked"),
    "a space before the name": framed(LENGTH, b" Transfer-Encoding: chunked"),
    "a folded header": framed(b"X: a\r\n b", LENGTH),
    "a folded coding": framed(b"Transfer-Encoding:\r\n chunked"),
    "a folded length": framed(b"Content-Length:\r\n 5"),
    "a bare LF after a header": framed(b"X: a\nContent-Length: 5"),
    "a bare CR in a header": framed(b"X: a\rContent-Length: 5"),
    "NUL in a header": framed(LENGTH, b"X: a\x00b"),
    "NUL in a name": framed(LENGTH, b"X\x00: a"),
    "a space in a name": framed(LENGTH, b"X Y: a"),
    "an empty header name": framed(LENGTH, b": a"),
    "a line without a colon": framed(LENGTH, b"X"),
    "a name in non-ASCII letters": framed(LENGTH, "Ä: a".encode()),
    "a negative chunk": framed(CHUNKED, body=b"-5\r\nhello\r\n0\r\n\r\n"),
    "a chunk with a sign": framed(CHUNKED, body=b"+5\r\nhello\r\n0\r\n\r\n"),
    "a chunk with 0x": framed(CHUNKED, body=b"0x5\r\nhello\r\n0\r\n\r\n"),
    "a chunk beyond 64 bits": framed(CHUNKED, body=b"1" + b"0" * 16 + b"\r\nhello\r\n0\r\n\r\n"),
    "a chunk without a size": framed(CHUNKED, body=b"\r\nhello\r\n0\r\n\r\n"),
    "a chunk size that is not hexadecimal": framed(CHUNKED, body=b"5g\r\nhello\r\n0\r\n\r\n"),
    "a chunk with a space before its size": framed(CHUNKED, body=b" 5\r\nhello\r\n0\r\n\r\n"),
    "a chunk longer than its size": framed(CHUNKED, body=b"5\r\nhello!\r\n0\r\n\r\n"),
    "a chunk that ends in LF": framed(CHUNKED, body=b"5\r\nhello\n0\r\n\r\n"),
    "a chunk whose size ends in LF": framed(CHUNKED, body=b"5\nhello\r\n0\r\n\r\n"),
    "a chunk whose size ends in CR": framed(CHUNKED, body=b"5\rhello\r\n0\r\n\r\n"),
    "a chunk's extension with a bare LF": framed(CHUNKED, body=b"5;a\nhello\r\n0\r\n\r\n"),
    "a chunk's extension with NUL": framed(CHUNKED, body=b"5;\x00\r\nhello\r\n0\r\n\r\n"),
    "a trailer that is not a header": framed(CHUNKED, body=b"5\r\nhello\r\n0\r\nX Y\r\n\r\n"),
}

# Bytes to send, and the allowed statuses. None: no response, because the request is incomplete.
ODD: dict[str, tuple[bytes, Sequence[int | None]]] = {
    # Versions, and other protocols.
    "HTTP/0.9": (b"GET /api/v1/stats\r\n\r\n", [400, 401]),
    "HTTP/1.0": (request(b"GET /api/v1/stats HTTP/1.0"), [200]),
    "HTTP/1.9": (request(b"GET /api/v1/stats HTTP/1.9"), [400]),
    "HTTP/2.0 in words": (request(b"GET /api/v1/stats HTTP/2.0"), [200, 400]),
    "HTTP/9.9": (request(b"GET /api/v1/stats HTTP/9.9"), [400]),
    "HTTP/1": (request(b"GET /api/v1/stats HTTP/1"), [400]),
    "HTTP/1.11": (request(b"GET /api/v1/stats HTTP/1.11"), [400]),
    "http in lower case": (request(b"GET /api/v1/stats http/1.1"), [400]),
    "another protocol's name": (request(b"GET /api/v1/stats ICE/1.0"), [400]),
    "RTSP": (b"DESCRIBE rtsp://gateway/x RTSP/1.0\r\n\r\n", [400, 401]),
    "HTTP/2's preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", [400]),
    "a TLS client": (bytes.fromhex("16030100c8010000c40303") + bytes(range(200)), [400]),
    "SOCKS": (b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50", [400]),
    "SSH": (b"SSH-2.0-OpenSSH_9.6\r\n", [400]),
    "only NUL bytes": (b"\x00" * 64, [400]),
    "a response": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", [400]),
    "a PROXY header": (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + request(GET), [400]),
    "blank lines first": (b"\r\n" * 10 + request(GET), [200]),
    "a megabyte of blank lines": (b"\r\n" * (1 << 19), [431]),
    # Methods.
    "TRACE": (request(b"TRACE / HTTP/1.1"), [404, 405]),
    "TRACE with secrets": (request(b"TRACE /api/v1/stats HTTP/1.1", b"Cookie: secret"), [405]),
    "CONNECT": (request(b"CONNECT 127.0.0.1:22 HTTP/1.1"), [400, 405]),
    "CONNECT to a path": (request(b"CONNECT /api/v1/stats HTTP/1.1"), [400, 405]),
    "an unknown method": (request(b"BREW /api/v1/stats HTTP/1.1"), [400]),
    "a method in lower case": (request(b"get /api/v1/stats HTTP/1.1"), [400]),
    "a method of 10,000 letters": (request(b"A" * 10_000 + b" / HTTP/1.1"), [400]),
    "a method with NUL": (request(b"G\x00T / HTTP/1.1"), [400]),
    "no method": (request(b" / HTTP/1.1"), [400]),
    # Targets.
    "an absolute target": (request(b"GET http://elsewhere/api/v1/stats HTTP/1.1"), [200]),
    "an absolute target with userinfo": (request(b"GET http://a:b@elsewhere/api/v1/stats HTTP/1.1"), [200]),
    "an absolute target without a path": (request(b"GET http://elsewhere HTTP/1.1"), [400, 404]),
    "an absolute target without a host": (request(b"GET http:///api/v1/stats HTTP/1.1"), [400]),
    "an absolute target of another scheme": (request(b"GET file:///etc/passwd HTTP/1.1"), [400]),
    "an asterisk": (request(b"OPTIONS * HTTP/1.1"), [404]),
    "an asterisk for GET": (request(b"GET * HTTP/1.1"), [404]),
    "no target": (request(b"GET  HTTP/1.1"), [400]),
    "a target without a slash": (request(b"GET api/v1/stats HTTP/1.1"), [400]),
    "a target that is a query": (request(b"GET ?window=1h HTTP/1.1"), [400]),
    "two slashes": (request(b"GET //api/v1/stats HTTP/1.1"), [404]),
    "two slashes and a host": (request(b"GET //elsewhere/api/v1/stats HTTP/1.1"), [404]),
    "only slashes": (request(b"GET ///// HTTP/1.1"), [404]),
    "dots": (request(b"GET /../../../../etc/passwd HTTP/1.1"), [404]),
    "dots within": (request(b"GET /api/v1/subscriptions/../stats HTTP/1.1"), [422]),
    "encoded dots": (request(b"GET /api/v1/%2e%2e/v1/stats HTTP/1.1"), [404]),
    "encoded slashes": (request(b"GET /api%2fv1%2fstats HTTP/1.1"), [200, 404]),
    "twice encoded slashes": (request(b"GET /api%252fv1%252fstats HTTP/1.1"), [404]),
    "a backslash": (request(b"GET /api\\v1\\stats HTTP/1.1"), [400, 404]),
    "a semicolon": (request(b"GET /api/v1/stats;a=b HTTP/1.1"), [404]),
    "a fragment": (request(b"GET /api/v1/stats#x HTTP/1.1"), [200, 400]),
    "a space in the target": (request(b"GET /api/v1/stats x HTTP/1.1"), [400]),
    "NUL in the target": (request(b"GET /api/v1/\x00stats HTTP/1.1"), [400]),
    "encoded NUL": (request(b"GET /api/v1/stats%00 HTTP/1.1"), [404]),
    "encoded NUL in an id": (request(b"GET /api/v1/subscriptions/%00 HTTP/1.1"), [422]),
    "encoded line ends": (request(b"GET /api/v1/subscriptions/%0d%0aX:%20y HTTP/1.1"), [422]),
    "only a percent sign": (request(b"GET /api/v1/subscriptions/% HTTP/1.1"), [422]),
    "a percent sign and no digits": (request(b"GET /api/v1/subscriptions/%zz%u0000 HTTP/1.1"), [422]),
    "invalid UTF-8 in the path": (request(b"GET /api/v1/subscriptions/\xff\xfe HTTP/1.1"), [400]),
    "invalid UTF-8 in the path, encoded": (request(b"GET /api/v1/subscriptions/%ff%fe%c0%80 HTTP/1.1"), [422]),
    "invalid UTF-8 in the query": (request(b"GET /api/v1/stats?window=\xff HTTP/1.1"), [400, 422]),
    "invalid UTF-8 in the query, encoded": (request(b"GET /api/v1/stats?window=%ff%c0%80%ed%a0%80 HTTP/1.1"), [422]),
    "invalid UTF-8 in a parameter's name": (request(b"GET /api/v1/stats?%ff=1 HTTP/1.1"), [422]),
    "a query of punctuation": (request(b"GET /api/v1/stats?&&==&=;?#&% HTTP/1.1"), [200, 400, 422]),
    "a parameter twice": (request(b"GET /api/v1/stats?window=1h&window=2h HTTP/1.1"), [200, 422]),
    "a thousand parameters": (request(b"GET /api/v1/stats?" + b"a=1&" * 1000 + b" HTTP/1.1"), [422]),
    "a parameter with a number out of range": (
        *(request(b"GET /api/v1/subscriptions?limit=" + b"9" * 5000 + b" HTTP/1.1"), [422]),
    ),
    "a cursor of another alphabet": (request(b"GET /api/v1/subscriptions?cursor=%E2%98%83 HTTP/1.1"), [422]),
    "a target of 9,000 bytes": (request(b"GET /" + b"a" * 9000 + b" HTTP/1.1"), [414]),
    "a target of a megabyte": (request(b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1"), [400, 414, 431]),
    # Files of the documentation pages.
    "a file outside of the folder": (request(b"GET /docs/assets/../../../../../etc/passwd HTTP/1.1"), [404]),
    "a file outside of the folder, encoded": (
        request(b"GET /docs/assets/..%2f..%2f..%2f..%2fetc%2fpasswd HTTP/1.1"),
        [404],
    ),
    "a file outside of the folder, by backslashes": (
        request(b"GET /docs/assets/..%5c..%5cetc%5cpasswd HTTP/1.1"),
        [404],
    ),
    "an absolute file": (request(b"GET /docs/assets//etc/passwd HTTP/1.1"), [404]),
    "an absolute file, encoded": (request(b"GET /docs/assets/%2fetc%2fpasswd HTTP/1.1"), [404]),
    "a file with NUL": (request(b"GET /docs/assets/a%00.js HTTP/1.1"), [404]),
    "a file with a surrogate": (request(b"GET /docs/assets/%ed%a0%80 HTTP/1.1"), [404]),
    "a file whose name is too long": (request(b"GET /docs/assets/" + b"a" * 5000 + b" HTTP/1.1"), [404]),
    "the folder of files": (request(b"GET /docs/assets/ HTTP/1.1"), [404]),
    "a range beyond the end": (request(b"GET /docs/assets/favicon.png HTTP/1.1", b"Range: bytes=99999999-"), [200]),
    "malformed ranges": (request(b"GET /docs/assets/favicon.png HTTP/1.1", b"Range: bytes=a-b,-,"), [200, 400, 416]),
    "a thousand ranges": (
        *(request(b"GET /docs/assets/favicon.png HTTP/1.1", b"Range: bytes=" + b"0-," * 1000), [200, 206, 400, 416]),
    ),
    "a malformed date": (request(b"GET /docs/assets/favicon.png HTTP/1.1", b"If-Modified-Since: \xff"), [200]),
    # Headers.
    "no host": (request(GET, host=b""), [400]),
    "two hosts": (request(GET, b"Host: other"), [400]),
    "an invalid host": (request(GET, host=b"Host: a b/c?d\r\n"), [400]),
    "a host with NUL": (request(GET, host=b"Host: \x00\r\n"), [400]),
    "a header of a megabyte": (request(GET, b"X: " + b"a" * (1 << 20)), [200, 400, 431]),
    "a name of a megabyte": (request(GET, b"a" * (1 << 20) + b": x"), [200, 400, 431]),
    "10,000 headers": (request(GET, *[b"X-%d: %d" % (n, n) for n in range(10_000)]), [200, 400, 431]),
    "a header 10,000 times": (request(GET, *[b"X: 1"] * 10_000), [200, 400, 431]),
    "an empty header": (request(GET, b"X:"), [200]),
    "invalid UTF-8 in a header": (request(GET, b"X: \xff\xfe\x80"), [200, 400]),
    "an invalid content type": (request(POST, b"Content-Type: \xff", LENGTH, body=b"hello"), [422]),
    "types by the thousand": (request(POST, b"Content-Type: " + b"a/b, " * 1000, LENGTH, body=b"hello"), [422]),
    "an event type that is not ASCII": (request(POST, b"X-Event-Type: \xff", LENGTH, body=b"hello"), [422]),
    "an event type twice": (request(POST, b"X-Event-Type: a", b"X-Event-Type: b c", LENGTH, body=b"hello"), [400]),
    "a signature that is not ASCII": (request(POST, b"X-Hub-Signature-256: \xff", LENGTH, body=b"hello"), [404]),
    "a signature of a megabyte": (
        *(request(POST, b"X-Hub-Signature-256: " + b"a" * (1 << 20), LENGTH, body=b"hello"), [400, 404, 413, 431]),
    ),
    "a provider's signature that is not ASCII": (
        *(request(POST, b"Stripe-Signature: \xff", b"webhook-id: \x80", LENGTH, body=b"hello"), [404]),
    ),
    "a provider's signature 90 times": (
        *(request(POST, *[b"X-Slack-Signature: v0=" + b"a" * 500] * 90, LENGTH, body=b"hello"), [400]),
    ),
    "a key that is not ASCII": (request(POST, b"Idempotency-Key: \xff", LENGTH, body=b"hello"), [422]),
    "a key that is too long": (request(POST, b"Idempotency-Key: " + b"a" * 256, LENGTH, body=b"hello"), [422]),
    "an encoding that is not decoded": (request(POST, b"Content-Encoding: gzip", LENGTH, body=b"hello"), [404]),
    "an expectation": (request(POST, b"Expect: 100-continue", LENGTH, body=b"hello"), [404]),
    "another expectation": (request(POST, b"Expect: miracles", LENGTH, body=b"hello"), [404, 417]),
    "a method to override": (request(b"GET /api/v1/stats HTTP/1.1", b"X-HTTP-Method-Override: DELETE"), [200]),
    "a path to override": (request(GET, b"X-Original-URL: /admin", b"X-Rewrite-URL: /admin"), [200]),
    "a forwarded address": (request(GET, b"X-Forwarded-For: ' OR 1=1 --", b"Forwarded: for=\x22_\x22"), [200]),
    "only a Transfer-Encoding": (request(POST, b"TE: trailers", CHUNKED, body=b"0\r\n\r\n"), [404]),
    "a chunk with an extension": (request(POST, CHUNKED, body=b'5;a="b;c"\r\nhello\r\n0\r\n\r\n'), [404]),
    "a chunk with zeros": (request(POST, CHUNKED, body=b"00000005\r\nhello\r\n000\r\n\r\n"), [404]),
    "a trailer that would be a length": (
        *(request(POST, CHUNKED, body=b"5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n"), [400, 404]),
    ),
    "chunked in HTTP/1.0": (
        *(request(b"POST " + UNKNOWN + b" HTTP/1.0", CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"), [400, 404]),
    ),
    "100,000 chunks": (request(POST, CHUNKED, body=b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n"), [404]),
    "an extension of a megabyte": (
        *(request(POST, CHUNKED, body=b"5;" + b"a" * (1 << 20) + b"\r\nhello\r\n0\r\n\r\n"), [400, 404]),
    ),
    # Upgrades.
    "a websocket": (
        request(
            GET,
            *(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"),
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ),
        [200, 400, 426],
    ),
    "HTTP/2 by upgrade": (
        *(request(GET, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMA"), [200, 400]),
    ),
    "an upgrade with a body": (
        *(request(POST, b"Connection: Upgrade", b"Upgrade: x", LENGTH, body=b"hello"), [400, 404]),
    ),
    # Incomplete requests.
    "half a method": (b"GE", [None]),
    "half a header": (b"GET /api/v1/stats HTTP/1.1\r\nX", [None]),
    "a short body": (request(POST, LENGTH, body=b"hell"), [None]),
    "a chunk of 2^63 bytes": (request(POST, CHUNKED, body=b"7fffffffffffffff\r\nhello"), [None, 400, 413]),
    "a last chunk without its end": (request(POST, CHUNKED, body=b"5\r\nhello\r\n0\r\n"), [None]),
    "a length of 2^63": (request(POST, b"Content-Length: 9223372036854775807", body=b"hello"), [413]),
}
# Raw bytes to the gateway's port: at most one response to each request, no 5xx, and no smuggled request.
pytestmark = pytest.mark.usefixtures("unharmed")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hidden(api: Api) -> AsyncIterator[bytes]:
    """Return a request for a live subscription; a request that contains it must not be read as two requests."""
    subscription = await api.subscribe("http://victim.invalid/")
    yield request(b"POST /api/v1/webhooks/ingest/%b HTTP/1.1" % subscription.encode(), b"Content-Length: 2", body=b"{}")
    page = await api.http.get(f"/api/v1/subscriptions/{subscription}/deliveries")
    assert page.json()["items"] == []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def found(stack: Stack, hidden: bytes) -> dict[str, Exchange]:
    """The result of each request in the tables; they are sent concurrently."""
    sent = [
        exchange(stack.port, request.replace(HIDDEN, hidden), quiet_seconds=CLOSED_SECONDS)
        for request in FRAMING.values()
    ]
    sent += [exchange(stack.port, data, expected=0 if None in allowed else 1) for data, allowed in ODD.values()]
    return dict(zip([*FRAMING, *ODD], await asyncio.gather(*sent), strict=True))


def test_the_tables_name_nothing_twice() -> None:
    assert not FRAMING.keys() & ODD.keys()


@pytest.mark.parametrize("name", FRAMING)
def test_a_request_with_an_ambiguous_end_is_rejected_completely(
    found: dict[str, Exchange], tally: Tally, name: str
) -> None:
    tally.add("HTTP framing")
    assert (found[name].statuses, found[name].rest, found[name].closed) == ((400,), b"", True)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_request_gets_one_response_that_is_not_a_5xx(
    found: dict[str, Exchange], tally: Tally, name: str
) -> None:
    tally.add("HTTP requests, odd")
    assert found[name].statuses in [() if status is None else (status,) for status in ODD[name][1]], found[name]
    assert found[name].rest == b""


@pytest.mark.parametrize(("path", "status"), [(b"/healthz", b"200"), (b"/api/v1/stats", b"200"), (b"/nope", b"404")])
async def test_head_is_answered_without_a_body(stack: Stack, tally: Tally, path: bytes, status: bytes) -> None:
    tally.add("HTTP requests, odd")
    found = await exchange(stack.port, request(b"HEAD %b HTTP/1.1" % path, b"Connection: close"))
    assert found.closed
    assert found.rest.startswith(b"HTTP/1.1 %b " % status)
    assert found.rest.endswith(b"\r\n\r\n")
    assert found.rest.count(b"\r\n\r\n") == 1


async def test_pipelined_requests_are_answered_each_once_and_in_order(stack: Stack, tally: Tally) -> None:
    tally.add("HTTP pipelines")
    lines = [b"GET /api/v1/stats HTTP/1.1", b"GET /nope HTTP/1.1", b"GET /api/v1/subscriptions/1 HTTP/1.1"]
    found = await exchange(stack.port, b"".join(map(request, lines)) * 50, expected=150)
    assert found.statuses == (200, 404, 422) * 50
    assert found.rest == b""


@pytest.mark.parametrize(
    "garbage", [b"\x00\r\n\r\n", b"GET / HTTP/1.1\r\nX Y: 1\r\n\r\n", b"X" * 100_000 + b"\r\n\r\n"]
)
async def test_garbage_behind_a_request_does_not_take_its_answer(stack: Stack, tally: Tally, garbage: bytes) -> None:
    """The first response belongs to the request, because the client counts responses."""
    tally.add("HTTP pipelines")
    found = await exchange(stack.port, request(POST, LENGTH, body=b"hello") + garbage, expected=2)
    assert found.statuses in [(404,), (404, 400)]
    assert found.closed


async def test_a_request_refused_before_its_body_has_one_answer(stack: Stack, tally: Tally) -> None:
    """However the body continues."""
    tally.add("HTTP pipelines")
    head = request(b"POST /nope HTTP/1.1", CHUNKED)
    found = await exchange(
        stack.port, head, b"5\r\nhello\r\n", b"nonsense\r\n\r\n", pause_seconds=0.1, quiet_seconds=CLOSED_SECONDS
    )
    assert found.statuses in [(404,), (400,)]
    assert found.closed


async def test_a_request_that_comes_byte_by_byte_is_answered(stack: Stack, tally: Tally) -> None:
    tally.add("HTTP, slow")
    whole = request(POST, LENGTH, body=b"hello")
    found = await exchange(stack.port, *(whole[n : n + 1] for n in range(len(whole))), pause_seconds=0.002)
    assert found.statuses == (404,)


async def test_connections_that_never_finish_their_requests_do_not_keep_others_out(
    stack: Stack, api: Api, tally: Tally
) -> None:
    tally.add("HTTP, slow", 300)
    halves = [b"P", request(POST)[:-2], request(POST, b"Content-Length: 1000000", body=b"x" * 1000)]
    opened = [await asyncio.open_connection("127.0.0.1", stack.port) for _ in range(300)]
    for number, (_, writer) in enumerate(opened):
        writer.write(halves[number % len(halves)])
    try:
        for _ in range(20):
            assert (await api.http.get("/api/v1/stats")).status_code == 200
    finally:
        for _, writer in opened:
            writer.transport.abort()


WHOLE = [
    request(GET),
    request(POST, b"Content-Type: application/json", b"Content-Length: 14", body=b'{"payload": 1}'),
    request(POST, b"X-Event-Type: a.b", CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"),
    request(b"PUT /api/v1/subscriptions/019ced6f-8a27-7c3e-9b1a-5d0f4e2c7b61 HTTP/1.1", LENGTH, body=b"hello"),
]
PIECES = (
    *(b"\r\n", b"\n", b"\r", b"\x00", b" ", b":", b"\t", b"0\r\n\r\n", b"\xff", b"%00", b"../", b"\r\n\r\n"),
    *(CHUNKED + b"\r\n", LENGTH + b"\r\n", b"HTTP/1.1", b"GET ", b"-1", b"9" * 30),
)
MUTATED = st.builds(changed, st.sampled_from(WHOLE), changes(*PIECES))


def test_a_mutated_request_is_never_a_5xx(stack: Stack, tally: Tally, examples: Examples) -> None:
    @settings(
        max_examples=examples(15, 400),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(MUTATED, min_size=10, max_size=10))
    def attack(requests: list[bytes]) -> None:
        tally.add("HTTP requests, mutated", len(requests))

        async def all_at_once() -> list[Exchange]:
            return await asyncio.gather(*(exchange(stack.port, sent, expected=0) for sent in requests))

        for sent, found in zip(requests, asyncio.run(all_at_once()), strict=True):
            assert all(status < 500 for status in found.statuses), (sent, found)

    attack()
