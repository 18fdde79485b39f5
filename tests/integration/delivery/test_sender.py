"""The sender against receivers of every kind, over real sockets."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from itertools import count

import pytest

from services.delivery.worker import aiohttp_sender
from services.delivery.worker.aiohttp_sender import AiohttpSender
from services.delivery.worker.egress import Policy
from services.delivery.worker.request import OutgoingRequest
from services.delivery.worker.sender import Answer, Failure, SendError
from tests.integration.delivery import raw
from tests.support.receiver import Receiver, Reply
from tests.support.waiting import wait_until

MAX_RESPONSE_BYTES = 64 << 10
LOOPBACK = Policy.parse(["127.0.0.0/8", "::1/128"])
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def sender() -> AsyncIterator[AiohttpSender]:
    async with aiohttp_sender.sender(LOOPBACK, max_response_bytes=MAX_RESPONSE_BYTES) as opened:
        yield opened


@pytest.fixture
async def strict_sender() -> AsyncIterator[AiohttpSender]:
    """One without an allow-list."""
    async with aiohttp_sender.sender(Policy.parse([]), max_response_bytes=MAX_RESPONSE_BYTES) as opened:
        yield opened


def post(url: str, body: bytes = b"{}") -> OutgoingRequest:
    headers = {"Content-Type": "application/json", "User-Agent": "test", "webhook-id": "1"}
    return OutgoingRequest(url=url, headers=headers, body=body)


async def failure(sender: AiohttpSender, url: str, *, timeout_seconds: float = 5.0, body: bytes = b"{}") -> SendError:
    with pytest.raises(SendError) as raised:
        await sender.send(post(url, body), timeout_seconds=timeout_seconds)
    return raised.value


# -- what comes through --


async def test_the_receiver_gets_our_headers_and_no_others(sender: AiohttpSender) -> None:
    async with raw.serving(raw.answering(OK)) as server:
        await sender.send(post(server.url()), timeout_seconds=5)
    lines = server.connections[0].heads[0].decode().split("\r\n")
    assert lines[0] == "POST /hook HTTP/1.1"
    assert sorted(lines[1:-2]) == sorted(
        [
            f"Host: 127.0.0.1:{server.port}",
            "Content-Type: application/json",
            "User-Agent: test",
            "webhook-id: 1",
            "Content-Length: 2",
        ]
    )


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 1 << 20])
async def test_a_body_of_any_size_arrives_as_it_is(sender: AiohttpSender, receiver: Receiver, size: int) -> None:
    body = bytes(number % 251 for number in range(size))
    answer = await sender.send(post(receiver.url(), body), timeout_seconds=5)
    assert answer == Answer(status_code=200, body=b"ok")
    assert receiver.requests[0].body == body


@pytest.mark.parametrize(
    "path",
    [
        "/a%2Fb/%7Euser/%20/..%2f/./x/../y",
        "/hook?sig=a%2Bb%2F%3D&empty=&x",
        "/%E4%B8%AD?q=%C3%A9+%2b",
        "/hook?a=1&a=2#fragment",
        "/;p=1/{id}|'",
        "//double//",
        "?only=query",
        "",
    ],
)
async def test_the_target_is_asked_for_exactly_as_it_was_given(sender: AiohttpSender, path: str) -> None:
    async with raw.serving(raw.answering(OK)) as server:
        await sender.send(post(server.url(path=path)), timeout_seconds=5)
    expected = path.partition("#")[0]
    expected = expected if expected.startswith("/") else f"/{expected}"
    assert server.connections[0].heads[0].split(b" ")[1].decode() == expected


@pytest.mark.parametrize(
    ("path", "sent"),
    [("/\u4e2d", "/%E4%B8%AD"), ("/a b", "/a%20b"), ("/?q=\u00e9", "/?q=%C3%A9"), ("/a\r\nX: y", "/aX:%20y")],
)
async def test_a_target_that_cannot_be_sent_as_it_is_is_encoded(sender: AiohttpSender, path: str, sent: str) -> None:
    async with raw.serving(raw.answering(OK)) as server:
        await sender.send(post(server.url(path=path)), timeout_seconds=5)
    assert server.connections[0].heads[0].split(b"\r\n")[0].decode() == f"POST {sent} HTTP/1.1"


async def test_a_connection_is_kept_for_the_next_request(sender: AiohttpSender) -> None:
    async def answer(connection: raw.Connection) -> None:
        while True:
            await connection.request()
            await connection.send(OK)

    async with raw.serving(answer) as server:
        for _ in range(3):
            await sender.send(post(server.url()), timeout_seconds=5)
        assert [len(connection.heads) for connection in server.connections] == [3]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299, 300, 304, 400, 404, 410, 429, 500, 503, 599])
async def test_a_status_is_answered_with_its_body(sender: AiohttpSender, status: int) -> None:
    head = f"HTTP/1.1 {status} Reason\r\n".encode()
    body = b"" if status in {204, 304} else b"because"
    length = b"" if status in {204, 304} else b"Content-Length: 7\r\n"
    async with raw.serving(raw.answering(head + length + b"\r\n" + body)) as server:
        assert await sender.send(post(server.url()), timeout_seconds=5) == Answer(status_code=status, body=body)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(sender: AiohttpSender, receiver: Receiver, status: int) -> None:
    receiver.script(Reply(status=status, headers={"Location": receiver.url("/elsewhere")}), path="/hook")
    answer = await sender.send(post(receiver.url("/hook")), timeout_seconds=5)
    assert answer.status_code == status
    assert receiver.on("/elsewhere") == []


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6;name=value\r\nabcdef\r\n0\r\nTrailer: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcdef",
        b"HTTP/1.0 200 OK\r\n\r\nabcdef",
        b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nX-Latin: \xe9\r\nContent-Length: 6\r\n\r\nabcdef",
    ],
    ids=["chunked", "extension", "close", "http-1.0", "1.0-length", "100", "103", "no-reason", "gzip", "latin-1"],
)
async def test_a_response_of_this_form_is_read(sender: AiohttpSender, response: bytes) -> None:
    async with raw.serving(raw.answering(response)) as server:
        assert await sender.send(post(server.url()), timeout_seconds=5) == Answer(status_code=200, body=b"abcdef")


async def test_cookies_are_not_sent_back(sender: AiohttpSender, receiver: Receiver) -> None:
    receiver.script(Reply(headers={"Set-Cookie": "a=b"}))
    for _ in range(2):
        await sender.send(post(receiver.url()), timeout_seconds=5)
    assert [request.headers.get("Cookie") for request in receiver.requests] == [None, None]


@pytest.mark.parametrize("extra", [0, 1, 10_000])
async def test_a_body_is_cut_at_the_bound(sender: AiohttpSender, receiver: Receiver, extra: int) -> None:
    receiver.script(then=Reply(body=b"x" * (MAX_RESPONSE_BYTES + extra)))
    answer = await sender.send(post(receiver.url()), timeout_seconds=5)
    assert answer == Answer(status_code=200, body=b"x" * MAX_RESPONSE_BYTES)


@pytest.mark.parametrize("head", [b"Content-Length: 99999999999", b"Transfer-Encoding: chunked", b"X-Endless: 1"])
async def test_an_endless_body_is_cut_at_the_bound_and_its_2xx_counts(sender: AiohttpSender, head: bytes) -> None:
    chunk = b"1000\r\n" + b"x" * 0x1000 + b"\r\n" if b"chunked" in head else b"x" * 0x1000
    sent = count()

    async def flood(connection: raw.Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
        while True:
            await connection.send(chunk)
            next(sent)

    async with raw.serving(flood) as server:
        answer = await sender.send(post(server.url()), timeout_seconds=5)
        assert answer == Answer(status_code=200, body=b"x" * MAX_RESPONSE_BYTES)
        await wait_until(lambda: server.connections[0].writer.is_closing(), what="the connection to be closed")
    # Not much more than the bound was taken in: what was asked for, and what the sockets hold.
    assert next(sent) * 0x1000 < 16 << 20


# Larger than what the sockets hold; aiohttp warns of so much in one piece.
LARGE = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")


@LARGE
async def test_an_answer_before_the_body_was_read_is_an_answer(sender: AiohttpSender) -> None:
    async def hasty(connection: raw.Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await asyncio.sleep(60)

    async with raw.serving(hasty) as server:
        started = time.monotonic()
        answer = await sender.send(post(server.url(), b"x" * (16 << 20)), timeout_seconds=5)
        assert answer == Answer(status_code=413, body=b"big")
        assert time.monotonic() - started < 4
        # The rest of the first request must not be taken for the second one.
        await sender.send(post(server.url()), timeout_seconds=5)
        assert len(server.connections) == 2


# -- what fails --


async def test_nobody_listens(sender: AiohttpSender, free_port: int) -> None:
    found = await failure(sender, f"http://127.0.0.1:{free_port}/")
    assert (found.kind, found.status_code, found.reused) == (Failure.CONNECT, None, False)


async def test_a_reset_before_any_byte_is_a_lost_connection(sender: AiohttpSender) -> None:
    async def reset(connection: raw.Connection) -> None:
        await connection.request()
        connection.reset()

    async with raw.serving(reset) as server:
        found = await failure(sender, server.url())
    assert (found.kind, found.status_code, found.reused) == (Failure.CONNECTION_LOST, None, False)


async def test_a_close_before_any_byte_is_a_lost_connection(sender: AiohttpSender) -> None:
    async with raw.serving(raw.answering()) as server:
        found = await failure(sender, server.url())
    assert (found.kind, found.status_code) == (Failure.CONNECTION_LOST, None)


@LARGE
@pytest.mark.parametrize("body", [b"x", b"x" * (8 << 20)], ids=["small", "large"])
async def test_a_close_before_the_request_was_read_is_a_lost_connection(sender: AiohttpSender, body: bytes) -> None:
    async def rude(connection: raw.Connection) -> None:
        await connection.reader.read(1)
        connection.reset()

    async with raw.serving(rude) as server:
        found = await failure(sender, server.url(), body=body)
    assert (found.kind, found.status_code) == (Failure.CONNECTION_LOST, None)


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
    ],
    ids=["length", "chunked"],
)
@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
async def test_an_end_in_the_middle_of_the_body_is_a_lost_connection_with_the_status(
    sender: AiohttpSender, response: bytes, *, reset: bool
) -> None:
    async def answer(connection: raw.Connection) -> None:
        await connection.request()
        await connection.send(response)
        await asyncio.sleep(0.1)
        if reset:
            connection.reset()

    async with raw.serving(answer) as server:
        found = await failure(sender, server.url())
    assert (found.kind, found.status_code, found.reused) == (Failure.CONNECTION_LOST, 200, False)


@pytest.mark.parametrize(
    "response",
    [
        b"garbage\r\n\r\n",
        b"\x00\xff\xfe\x01" * 100,
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nbad header\x00: \x00\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(10_000)) + b"\r\n",
    ],
    ids=[
        "garbage", "binary", "ssh", "letters", "two-digits", "version", "negative", "length", "lengths", "nul-name",
        "nul-value", "long-header", "long-reason", "many-headers",
    ],
)  # fmt: skip
async def test_what_is_not_http_is_an_invalid_response(sender: AiohttpSender, response: bytes) -> None:
    async with raw.serving(raw.answering(response, then_hang=True)) as server:
        found = await failure(sender, server.url())
    assert (found.kind, found.status_code) == (Failure.INVALID_RESPONSE, None)


async def test_a_bad_chunk_is_an_invalid_response(sender: AiohttpSender) -> None:
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"
    async with raw.serving(raw.answering(response, then_hang=True)) as server:
        found = await failure(sender, server.url())
    assert found.kind is Failure.INVALID_RESPONSE


async def test_headers_without_end_are_not_taken_in_without_end(sender: AiohttpSender) -> None:
    sent = count()

    async def flood(connection: raw.Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await connection.send(b"X-Header: %s\r\n" % (b"x" * 8_000))
            next(sent)

    async with raw.serving(flood) as server:
        found = await failure(sender, server.url(), timeout_seconds=2)
    assert found.kind is Failure.INVALID_RESPONSE
    assert next(sent) * 8_000 < 16 << 20


async def test_switching_protocols_is_no_success_and_its_connection_is_not_used_again(sender: AiohttpSender) -> None:
    response = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with raw.serving(raw.answering(response, then_hang=True)) as server:
        for _ in range(2):
            answer = await sender.send(post(server.url()), timeout_seconds=2)
            assert answer.status_code == 101
        assert len(server.connections) == 2


async def test_no_answer_is_a_timeout_at_the_deadline(sender: AiohttpSender, receiver: Receiver) -> None:
    receiver.script(then=Reply(hang=True))
    started = time.monotonic()
    found = await failure(sender, receiver.url(), timeout_seconds=0.5)
    assert (found.kind, found.status_code) == (Failure.TIMEOUT, None)
    assert 0.49 <= time.monotonic() - started < 1
    await wait_until(lambda: receiver.in_flight == 0, what="the request to be given up")


async def test_a_drip_of_headers_is_a_timeout(sender: AiohttpSender) -> None:
    drip = [bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\n"]
    async with raw.serving(raw.answering(*drip, pause_seconds=0.15)) as server:
        found = await failure(sender, server.url(), timeout_seconds=0.5)
    assert (found.kind, found.status_code) == (Failure.TIMEOUT, None)


async def test_a_drip_of_the_body_is_a_timeout_with_the_status(sender: AiohttpSender) -> None:
    parts = [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", *[b"x"] * 100]
    async with raw.serving(raw.answering(*parts, pause_seconds=0.15)) as server:
        found = await failure(sender, server.url(), timeout_seconds=0.5)
    assert (found.kind, found.status_code) == (Failure.TIMEOUT, 200)


async def test_interim_answers_without_end_are_a_timeout(sender: AiohttpSender) -> None:
    async def answer(connection: raw.Connection) -> None:
        await connection.request()
        while True:
            await connection.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            await asyncio.sleep(0.05)

    async with raw.serving(answer) as server:
        found = await failure(sender, server.url(), timeout_seconds=0.5)
    assert found.kind is Failure.TIMEOUT


@LARGE
async def test_a_receiver_that_does_not_read_is_a_timeout(sender: AiohttpSender) -> None:
    async def deaf(_: raw.Connection) -> None:
        await asyncio.sleep(60)

    async with raw.serving(deaf) as server:
        found = await failure(sender, server.url(), timeout_seconds=0.5, body=b"x" * (32 << 20))
    assert found.kind is Failure.TIMEOUT


async def test_a_backlog_that_is_full_is_a_timeout(sender: AiohttpSender) -> None:
    """Nobody accepts, so the connection is never made."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(8)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        found = await failure(sender, f"http://127.0.0.1:{address[1]}/", timeout_seconds=0.5)
        for filler in fillers:
            filler.close()
    assert found.kind is Failure.TIMEOUT


@pytest.mark.parametrize("host", ["nothing.invalid", "a" * 64 + ".invalid"])
async def test_a_name_without_addresses_is_a_dns_failure(sender: AiohttpSender, host: str) -> None:
    assert (await failure(sender, f"http://{host}/")).kind is Failure.DNS


async def test_tls_to_a_plain_port_is_a_tls_failure(sender: AiohttpSender, receiver: Receiver) -> None:
    assert (await failure(sender, receiver.url().replace("http:", "https:"))).kind is Failure.TLS


async def test_tls_to_a_port_that_answers_nothing_is_a_timeout(sender: AiohttpSender) -> None:
    async def mute(connection: raw.Connection) -> None:
        await connection.closed()

    async with raw.serving(mute) as server:
        assert (await failure(sender, server.url("https"), timeout_seconds=0.5)).kind is Failure.TIMEOUT


async def test_plain_http_to_a_tls_port_is_no_success(sender: AiohttpSender, self_signed: ssl.SSLContext) -> None:
    async with raw.serving(raw.answering(OK), tls=self_signed) as server:
        found = await failure(sender, server.url("http"))
    assert found.kind in {Failure.CONNECTION_LOST, Failure.INVALID_RESPONSE}


async def test_a_certificate_that_nobody_vouches_for_is_a_tls_failure(
    sender: AiohttpSender, self_signed: ssl.SSLContext
) -> None:
    async with raw.serving(raw.answering(OK), tls=self_signed) as server:
        found = await failure(sender, server.url("https"))
    assert found.kind is Failure.TLS
    assert "certificate" in found.message.lower()
    assert all(not connection.heads for connection in server.connections)


@pytest.mark.parametrize(
    "url", ["http://", "http:///path", "http://[::1/", "http://host:99999/", "ftp://127.0.0.1/", "x"]
)
async def test_a_url_that_is_none_is_an_invalid_request(sender: AiohttpSender, url: str) -> None:
    assert (await failure(sender, url)).kind is Failure.INVALID_REQUEST


# -- the egress guard --


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "[::1]", "localhost", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "127.1",
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "0.0.0.0", "[::]",
        "\uff11\uff12\uff17.0.0.1", "\u2460\u2461\u2466.0.0.1", "127\u30020\u30020\u30021", "127.0.0.1.", "LOCALHOST",
    ],
)  # fmt: skip
async def test_nothing_connects_to_a_denied_target(strict_sender: AiohttpSender, receiver: Receiver, host: str) -> None:
    found = await failure(strict_sender, f"http://{host}:{receiver.port}/hook")
    assert found.kind in {Failure.EGRESS_DENIED, Failure.INVALID_REQUEST, Failure.DNS}
    assert receiver.requests == []


async def test_nothing_connects_to_a_denied_target_however_many_ask_at_once(
    strict_sender: AiohttpSender, receiver: Receiver
) -> None:
    url = f"http://localhost:{receiver.port}/hook"
    found = await asyncio.gather(*(failure(strict_sender, url) for _ in range(20)))
    assert {error.kind for error in found} == {Failure.EGRESS_DENIED}
    assert receiver.requests == []


async def test_an_environment_that_names_a_proxy_does_not_send_requests_there(
    sender: AiohttpSender, receiver: Receiver, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port}")
    assert (await sender.send(post(receiver.url()), timeout_seconds=5)).status_code == 200


# -- kept connections --


def closing_after(first: bytes, *, reset: bool = False) -> raw.Answer:
    """Answers the first request of each connection, reads the second one, and closes without an answer."""

    async def answer(connection: raw.Connection) -> None:
        await connection.request()
        await connection.send(first)
        await connection.request()
        if reset:
            connection.reset()

    return answer


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
async def test_a_kept_connection_that_dies_before_any_byte_is_worth_a_fresh_one(
    sender: AiohttpSender, *, reset: bool
) -> None:
    async with raw.serving(closing_after(OK, reset=reset)) as server:
        await sender.send(post(server.url()), timeout_seconds=5)
        found = await failure(sender, server.url())
        assert (found.kind, found.status_code, found.reused) == (Failure.CONNECTION_LOST, None, True)
        again = await sender.send(post(server.url()), timeout_seconds=5, fresh=True)
        assert again.status_code == 200
        assert len(server.connections) == 2


async def test_a_kept_connection_that_dies_after_the_status_is_not_worth_a_fresh_one(sender: AiohttpSender) -> None:
    async def answer(connection: raw.Connection) -> None:
        await connection.request()
        await connection.send(OK)
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")

    async with raw.serving(answer) as server:
        await sender.send(post(server.url()), timeout_seconds=5)
        found = await failure(sender, server.url())
    assert (found.kind, found.status_code, found.reused) == (Failure.CONNECTION_LOST, 200, False)


async def test_a_request_is_never_repeated_by_the_client_itself(sender: AiohttpSender) -> None:
    async with raw.serving(closing_after(OK)) as server:
        await sender.send(post(server.url()), timeout_seconds=5)
        await failure(sender, server.url())
        assert [len(connection.heads) for connection in server.connections] == [2]


async def test_a_connection_that_the_receiver_closed_while_idle_is_not_used(sender: AiohttpSender) -> None:
    async with raw.serving(raw.answering(OK)) as server:
        for _ in range(3):
            assert (await sender.send(post(server.url()), timeout_seconds=5)).status_code == 200
            await asyncio.sleep(0.05)  # for the FIN to come
        assert len(server.connections) == 3


async def test_a_connection_is_not_kept_after_a_timeout(sender: AiohttpSender) -> None:
    async def late(connection: raw.Connection) -> None:
        while True:
            await connection.request()
            if len(server.connections) == 1:
                await asyncio.sleep(0.6)
            await connection.send(OK)

    async with raw.serving(late) as server:
        assert (await failure(sender, server.url(), timeout_seconds=0.5)).kind is Failure.TIMEOUT
        assert (await sender.send(post(server.url()), timeout_seconds=5)).body == b"ok"
        assert len(server.connections) == 2
