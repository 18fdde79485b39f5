"""The sender with receivers that fail in every way, over real sockets."""

import asyncio
import socket
import ssl
import time

import pytest

from dev.harness.receiver import Receiver, Reply
from dev.harness.waiting import wait_until
from services.delivery.destinations.http.sender import HttpSender
from services.domain.states import AttemptOutcome
from tests.delivery import sending
from tests.delivery.sending import OK, failure, post


async def test_closed_port_is_a_connect_error(sender: HttpSender, free_port: int) -> None:
    found = await failure(sender, f"http://127.0.0.1:{free_port}/")
    assert (found.kind, found.status_code, found.reused) == (AttemptOutcome.CONNECT, None, False)


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
async def test_an_end_before_any_byte_is_a_lost_connection(sender: HttpSender, *, reset: bool) -> None:
    async def end(connection: sending.Connection) -> None:
        await connection.request()
        if reset:
            connection.reset()

    async with sending.serving(end) as server:
        found = await failure(sender, server.url())
    assert (found.kind, found.status_code, found.reused) == (AttemptOutcome.CONNECTION_LOST, None, False)


@pytest.mark.parametrize("body", [b"x", b"x" * (8 << 20)], ids=["small", "large"])
async def test_a_close_before_the_request_was_read_is_a_lost_connection(sender: HttpSender, body: bytes) -> None:
    async def rude(connection: sending.Connection) -> None:
        await connection.reader.read(1)
        connection.reset()

    async with sending.serving(rude) as server:
        found = await failure(sender, server.url(), body=body)
    assert (found.kind, found.status_code) == (AttemptOutcome.CONNECTION_LOST, None)


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
    sender: HttpSender, response: bytes, *, reset: bool
) -> None:
    async def answer(connection: sending.Connection) -> None:
        await connection.request()
        await connection.send(response)
        await asyncio.sleep(0.1)
        if reset:
            connection.reset()

    async with sending.serving(answer) as server:
        found = await failure(sender, server.url())
    assert (found.kind, found.status_code, found.reused) == (AttemptOutcome.CONNECTION_LOST, 200, False)


@pytest.mark.parametrize(
    "response",
    [
        b"garbage\r\n\r\n",
        b"\x00\xff\xfe\x01" * 100,
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 000 No\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/x.y 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\nX-Long: " + b"x" * 100_000 + b"\n\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(10_000)) + b"\r\n",
    ],
    ids=[
        "garbage", "binary", "letters", "zeros", "version", "long-odd-header", "long-header", "long-reason",
        "many-headers",
    ],
)  # fmt: skip
async def test_response_that_is_not_http_is_invalid(sender: HttpSender, response: bytes) -> None:
    async with sending.serving(sending.answering(response, then_hang=True)) as server:
        found = await failure(sender, server.url())
    assert (found.kind, found.status_code) == (AttemptOutcome.INVALID_RESPONSE, None)


async def test_switching_protocols_is_not_a_success_and_its_connection_is_not_reused(sender: HttpSender) -> None:
    response = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with sending.serving(sending.answering(response, then_hang=True)) as server:
        for _ in range(2):
            answer = await sender.send(post(server.url()), timeout_seconds=30)
            assert answer.status_code == 101
        assert len(server.connections) == 2


async def test_missing_response_is_a_timeout_at_the_deadline(sender: HttpSender, receiver: Receiver) -> None:
    receiver.script(then=Reply(hang=True))
    started = time.monotonic()
    found = await failure(sender, receiver.url(), timeout_seconds=0.5)
    assert (found.kind, found.status_code) == (AttemptOutcome.TIMEOUT, None)
    assert 0.49 <= time.monotonic() - started < 20
    await wait_until(lambda: receiver.in_flight == 0, what="the request to be given up")


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\n"], None),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", *[b"x"] * 100], 200),
    ],
    ids=["head", "body"],
)
async def test_a_drip_is_a_timeout_with_the_status_once_it_is_known(
    sender: HttpSender, parts: list[bytes], status: int | None
) -> None:
    async with sending.serving(sending.answering(*parts, pause_seconds=0.2)) as server:
        found = await failure(sender, server.url(), timeout_seconds=3.0)
    assert (found.kind, found.status_code) == (AttemptOutcome.TIMEOUT, status)


async def test_interim_answers_without_end_are_a_timeout(sender: HttpSender) -> None:
    async def answer(connection: sending.Connection) -> None:
        await connection.request()
        while True:
            await connection.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            await asyncio.sleep(0.05)

    async with sending.serving(answer) as server:
        found = await failure(sender, server.url(), timeout_seconds=0.5)
    assert found.kind is AttemptOutcome.TIMEOUT


async def test_a_receiver_that_does_not_read_is_a_timeout(sender: HttpSender) -> None:
    async def deaf(_: sending.Connection) -> None:
        await asyncio.sleep(60)

    async with sending.serving(deaf) as server:
        found = await failure(sender, server.url(), timeout_seconds=0.5, body=b"x" * (32 << 20))
    assert found.kind is AttemptOutcome.TIMEOUT


async def test_a_backlog_that_is_full_is_a_timeout(sender: HttpSender) -> None:
    """Nobody accepts, so the connection is never established."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(8)]
        for filler in fillers:
            filler.settimeout(0)
            filler.connect_ex(address)
        found = await failure(sender, f"http://127.0.0.1:{address[1]}/", timeout_seconds=0.5)
        for filler in fillers:
            filler.close()
    assert found.kind is AttemptOutcome.TIMEOUT


async def test_tls_to_a_port_that_answers_nothing_is_a_timeout(sender: HttpSender) -> None:
    async def mute(connection: sending.Connection) -> None:
        await connection.closed()

    async with sending.serving(mute) as server:
        assert (await failure(sender, server.url("https"), timeout_seconds=0.5)).kind is AttemptOutcome.TIMEOUT


async def test_plain_http_to_a_tls_port_is_not_a_success(sender: HttpSender, self_signed: ssl.SSLContext) -> None:
    async with sending.serving(sending.answering(OK), tls=self_signed) as server:
        found = await failure(sender, server.url("http"))
    assert found.kind in {AttemptOutcome.CONNECTION_LOST, AttemptOutcome.INVALID_RESPONSE}


@pytest.mark.parametrize(
    "url",
    ["http://", "http:///path", "http://[::1/", "http://host:99999/", "ftp://127.0.0.1/", "x", f"http://{'a' * 64}.b/"],
)
async def test_a_url_that_is_none_is_an_invalid_request(sender: HttpSender, url: str) -> None:
    assert (await failure(sender, url)).kind is AttemptOutcome.INVALID_REQUEST


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: ", b"y"),
        (b"Transfer-Encoding: chunked\r\n\r\n1;", b"y"),
        (b"X: ", b"y"),
        (b"", b"X-Header: " + b"x" * 8_000 + b"\r\n"),
    ],
    ids=["trailer", "extension of a chunk", "header", "headers"],
)
async def test_a_response_with_endless_headers_or_trailers_is_abandoned_before_its_deadline(
    sender: HttpSender, begin: bytes, more: bytes
) -> None:
    sent, piece = 0, more * (65536 // len(more))

    async def flood(connection: sending.Connection) -> None:
        nonlocal sent
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\n" + begin)
        while True:
            await connection.send(piece)
            sent += len(piece)

    async with sending.serving(flood) as server:
        found = await failure(sender, server.url(), timeout_seconds=30)
    assert found.kind is AttemptOutcome.INVALID_RESPONSE
    assert sent < 20 << 20
