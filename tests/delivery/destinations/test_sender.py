"""The sender: requests as they are sent, and responses of every form, over real sockets."""

import asyncio
import time
from itertools import count

import pytest

from dev.harness.receiver import Receiver, Reply
from dev.harness.waiting import wait_until
from services.delivery.destinations.destination import Answer
from services.delivery.destinations.http.sender import HttpSender
from tests.delivery import sending
from tests.delivery.sending import MAX_RESPONSE_BYTES, OK, WANTED_BYTES, post


async def test_the_receiver_gets_our_headers_and_no_others(sender: HttpSender) -> None:
    async with sending.serving(sending.answering(OK)) as server:
        await sender.send(post(server.url()), timeout_seconds=30)
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
async def test_a_body_of_any_size_arrives_as_it_is(sender: HttpSender, receiver: Receiver, size: int) -> None:
    body = bytes(number % 251 for number in range(size))
    answer = await sender.send(post(receiver.url(), body), timeout_seconds=30)
    assert answer == Answer(status_code=200, body=b"ok")
    assert receiver.requests[0].body == body


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/a%2Fb/%7Euser/%20/..%2f/./x/../y", "/a%2Fb/%7Euser/%20/..%2f/./x/../y"),
        ("/hook?a=1&a=2#fragment", "/hook?a=1&a=2"),
        ("?only=query", "/?only=query"),
        ("", "/"),
        ("/%41\u00e9", "/%41%C3%A9"),
    ],
)
async def test_the_target_is_asked_for_as_its_url_is_read(sender: HttpSender, path: str, sent: str) -> None:
    async with sending.serving(sending.answering(OK)) as server:
        await sender.send(post(server.url(path=path)), timeout_seconds=30)
    assert server.connections[0].heads[0].split(b"\r\n")[0].decode() == f"POST {sent} HTTP/1.1"


async def test_the_addresses_of_a_name_are_tried_one_after_the_other(sender: HttpSender, receiver: Receiver) -> None:
    """If localhost is ::1 first, nothing listens there."""
    answer = await sender.send(post(f"http://localhost:{receiver.port}/hook"), timeout_seconds=30)
    assert answer.status_code == 200
    assert receiver.requests[0].headers["Host"] == f"localhost:{receiver.port}"


async def test_a_connection_is_kept_for_the_next_request(sender: HttpSender) -> None:
    async def answer(connection: sending.Connection) -> None:
        while True:
            await connection.request()
            await connection.send(OK)

    async with sending.serving(answer) as server:
        for _ in range(3):
            await sender.send(post(server.url()), timeout_seconds=30)
        assert [len(connection.heads) for connection in server.connections] == [3]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299, 300, 304, 400, 404, 410, 429, 500, 503, 599])
async def test_a_status_is_answered_with_its_body(sender: HttpSender, status: int) -> None:
    head = f"HTTP/1.1 {status} Reason\r\n".encode()
    body = b"" if status in {204, 304} else b"because"
    length = b"" if status in {204, 304} else b"Content-Length: 7\r\n"
    async with sending.serving(sending.answering(head + length + b"\r\n" + body)) as server:
        assert await sender.send(post(server.url()), timeout_seconds=30) == Answer(status_code=status, body=body)


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6;name=value\r\nabcdef\r\n0\r\nTrailer: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcdef",
        b"HTTP/1.0 200 OK\r\n\r\nabcdef",
        b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nX-Latin: \xe9\r\nContent-Length: 6\r\n\r\nabcdef",
    ],
    ids=["chunked", "extension", "close", "http-1.0", "1.0-length", "100", "103", "no-reason", "gzip", "latin-1"],
)
async def test_a_response_of_this_form_is_read(sender: HttpSender, response: bytes) -> None:
    async with sending.serving(sending.answering(response)) as server:
        assert await sender.send(post(server.url()), timeout_seconds=30) == Answer(status_code=200, body=b"abcdef")


async def test_cookies_are_not_sent_back(sender: HttpSender, receiver: Receiver) -> None:
    receiver.script(Reply(headers={"Set-Cookie": "a=b"}))
    for _ in range(2):
        await sender.send(post(receiver.url()), timeout_seconds=30)
    assert [request.headers.get("Cookie") for request in receiver.requests] == [None, None]


@pytest.mark.parametrize(("extra", "read"), [(0, MAX_RESPONSE_BYTES), (1, WANTED_BYTES), (10_000, WANTED_BYTES)])
async def test_body_with_an_excessive_content_length_is_read_only_up_to_the_limit(
    sender: HttpSender, receiver: Receiver, extra: int, read: int
) -> None:
    receiver.script(then=Reply(body=b"x" * (MAX_RESPONSE_BYTES + extra)))
    answer = await sender.send(post(receiver.url()), timeout_seconds=30)
    assert answer == Answer(status_code=200, body=b"x" * read)


@pytest.mark.parametrize(
    ("head", "read"),
    [
        (b"Content-Length: 99999999999", WANTED_BYTES),
        (b"Transfer-Encoding: chunked", MAX_RESPONSE_BYTES),
        (b"X-Endless: 1", MAX_RESPONSE_BYTES),
    ],
)
async def test_an_endless_body_is_cut_at_the_bound_and_its_2xx_counts(
    sender: HttpSender, head: bytes, read: int
) -> None:
    chunk = b"1000\r\n" + b"x" * 0x1000 + b"\r\n" if b"chunked" in head else b"x" * 0x1000
    sent = count()

    async def flood(connection: sending.Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
        while True:
            await connection.send(chunk)
            next(sent)

    async with sending.serving(flood) as server:
        answer = await sender.send(post(server.url()), timeout_seconds=30)
        assert answer == Answer(status_code=200, body=b"x" * read)
        await wait_until(server.connections[0].writer.is_closing, what="the connection to be closed")
    # It read little more than the limit: what it requested, and what the sockets buffer.
    assert next(sent) * 0x1000 < 16 << 20


async def test_an_answer_before_the_body_was_read_is_an_answer(sender: HttpSender) -> None:
    async def hasty(connection: sending.Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await asyncio.sleep(60)

    async with sending.serving(hasty) as server:
        started = time.monotonic()
        answer = await sender.send(post(server.url(), b"x" * (16 << 20)), timeout_seconds=30)
        assert answer == Answer(status_code=413, body=b"big")
        assert time.monotonic() - started < 15
        # The rest of the first request must not be read as the second one.
        await sender.send(post(server.url()), timeout_seconds=30)
        assert len(server.connections) == 2
