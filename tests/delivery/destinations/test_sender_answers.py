"""Oddly spelled responses: what Python's http.client or httpx accepts as a success is one for the sender, too.

Each entry of the table is tested with all three over real sockets, so that none is in it by mistake.
"""

import asyncio
import http.client
import itertools
import random
from urllib.parse import urlsplit

import httpx
import pytest

from services.delivery.destinations.http.sender import HttpSender
from services.domain.states import AttemptOutcome
from tests.delivery import sending
from tests.delivery.destinations.odd_answers import ANSWERS, CHUNKED, HEAD, LENGTH
from tests.delivery.sending import OK, failure, post

# Not a success for either client.
FAILURES: dict[str, tuple[bytes, AttemptOutcome, int | None]] = {
    "half a status line": (b"HTTP/1.1 2", AttemptOutcome.CONNECTION_LOST, None),
    "a body shorter than its length": (HEAD + b"Content-Length: 3\r\n\r\nok", AttemptOutcome.CONNECTION_LOST, 200),
    "no last chunk": (CHUNKED + b"2\r\nok\r\n", AttemptOutcome.CONNECTION_LOST, 200),
    "half a chunk": (CHUNKED + b"6\r\nok", AttemptOutcome.CONNECTION_LOST, 200),
    "a body without a head": (b"ok", AttemptOutcome.INVALID_RESPONSE, None),
    "lower case": (b"http/1.1 200 OK\r\n" + LENGTH, AttemptOutcome.INVALID_RESPONSE, None),
    "no space": (b"HTTP/1.1 200OK\r\n" + LENGTH, AttemptOutcome.INVALID_RESPONSE, None),
    "a status of two digits": (b"HTTP/1.1 20 OK\r\n" + LENGTH, AttemptOutcome.INVALID_RESPONSE, None),
    "a status of four digits": (b"HTTP/1.1 2000 OK\r\n" + LENGTH, AttemptOutcome.INVALID_RESPONSE, None),
    "a status below 100": (b"HTTP/1.1 099 OK\r\n" + LENGTH, AttemptOutcome.INVALID_RESPONSE, None),
    "another protocol": (b"SSH-2.0-OpenSSH_9.6\r\n", AttemptOutcome.INVALID_RESPONSE, None),
    "a request": (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", AttemptOutcome.INVALID_RESPONSE, None),
}


def _by_http_client(url: str) -> int | None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    try:
        connection.request("POST", parts.path, b"{}")
        response = connection.getresponse()
        response.read()
    except (http.client.HTTPException, OSError, ValueError):
        return None
    finally:
        connection.close()
    return response.status


async def _by_httpx(url: str) -> int | None:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        try:
            return (await client.post(url, content=b"{}")).status_code
        except httpx.TransportError:
            return None


async def taken_by_others(url: str) -> set[int]:
    """Return the statuses that the two common clients read."""
    found = {await asyncio.to_thread(_by_http_client, url), await _by_httpx(url)}
    return {status for status in found if status is not None}


@pytest.mark.parametrize("what", ANSWERS)
async def test_an_answer_that_common_clients_take_is_taken(sender: HttpSender, what: str) -> None:
    answer, body = ANSWERS[what]
    async with sending.serving(sending.answering(answer)) as server:
        statuses = await taken_by_others(server.url())
        assert statuses, "neither client takes it"
        taken = await sender.send(post(server.url()), timeout_seconds=30)
    assert (taken.status_code, taken.body) == (statuses.pop(), body)
    assert 200 <= taken.status_code < 300


@pytest.mark.parametrize("what", FAILURES)
async def test_an_answer_that_no_common_client_takes_is_a_failure(sender: HttpSender, what: str) -> None:
    answer, kind, status = FAILURES[what]
    async with sending.serving(sending.answering(answer)) as server:
        assert not any(200 <= status < 300 for status in await taken_by_others(server.url()))
        found = await failure(sender, server.url())
    assert (found.kind, found.status_code) == (kind, status)


LINES = [b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.1  201 X", b"HTTP/1.0 202 \xff", b" HTTP/1.1 200 OK"]
HEADERS = [b"", b"X: a|", b"X: a| b|", b"X: \x01|", b"X Y: a|", b"nonsense|", b": a|", b"Set-Cookie: a=\x7f|"]
BODIES = [
    b"Content-Length: 2||ok", b"Content-Length: 2|Content-Length: 2||ok", b"Content-Length: 2, 2||ok",
    b"Content-Length:| 2||ok", b"Content-Length: x||ok", b"|ok", b"Transfer-Encoding: identity|Content-Length: 2||ok",
    b"Transfer-Encoding: chunked||2\r\nok\r\n0\r\n\r\n", b"Transfer-Encoding: chunked||2 \r\nok\r\n0\r\n\r\n",
    b"Content-Length: 12|Transfer-Encoding: chunked||2\r\nok\r\n0\r\n\r\n",
]  # fmt: skip


def _combined() -> list[bytes]:
    parts = itertools.product(LINES, HEADERS, BODIES, [b"\r\n", b"\n"])
    whole = [line + end + (header + body).replace(b"|", end) for line, header, body, end in parts]
    return random.Random(1).sample(whole, 50)


async def test_answers_that_are_odd_in_several_ways_are_taken_in_pieces_too(sender: HttpSender) -> None:
    """Combinations of the above, cut anywhere: what either client accepts is accepted."""
    cuts = random.Random(2)
    taken = 0
    for answer in _combined():
        cut = cuts.randrange(1, len(answer))
        whole = sending.answering(answer)
        pieces = sending.answering(answer[:cut], answer[cut:], pause_seconds=0.002)
        async with sending.serving(whole) as server, sending.serving(pieces) as slow:
            statuses = await taken_by_others(server.url())
            if not statuses:
                continue
            taken += 1
            for url in (server.url(), slow.url()):
                assert (await sender.send(post(url), timeout_seconds=30)).status_code in statuses, answer
    assert taken > 30


@pytest.mark.parametrize(
    "what",
    [
        "lines end in LF", "the length twice", "a folded header line", "spaces after a chunk's size",
        "204 with a length", "204 with chunks", "a length in letters", "a second response",
        "a longer body than its length", "a length and chunks",
    ],
)  # fmt: skip
async def test_an_odd_answer_ends_at_once_and_with_its_connection(sender: HttpSender, what: str) -> None:
    """The receiver keeps the connection open, and the next request uses a new one."""
    answer = ANSWERS[what][0]

    async def keep(connection: sending.Connection) -> None:
        while True:
            await connection.request()
            await connection.send(answer)

    async with sending.serving(keep) as server:
        for _ in range(2):
            assert (await sender.send(post(server.url()), timeout_seconds=30)).status_code in {200, 204}
        assert [len(connection.heads) for connection in server.connections] == [1, 1]


@pytest.mark.parametrize(("status", "line"), [(200, b"200 OK"), (503, b"503 Busy")])
async def test_a_body_whose_chunks_cannot_be_read_does_not_change_what_the_receiver_said(
    sender: HttpSender, status: int, line: bytes
) -> None:
    """Neither client reads the body; both read the status before it."""
    response = b"HTTP/1.1 %b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nnonsense\r\n" % line
    async with sending.serving(sending.answering(response, then_hang=True)) as server:
        taken = await sender.send(post(server.url()), timeout_seconds=30)
    assert (taken.status_code, taken.body) == (status, b"ok")


async def test_the_body_of_an_odd_failure_is_kept(sender: HttpSender) -> None:
    answer = b"HTTP/1.1 503 Busy\nRetry-After: 7\nLocation: /a\x01b\nContent-Length: 5\n\n"
    async with sending.serving(sending.answering(answer, b"later", pause_seconds=0.05, then_hang=True)) as server:
        taken = await sender.send(post(server.url()), timeout_seconds=30)
    assert (taken.status_code, taken.body, taken.retry_after) == (503, b"later", b"7")


@pytest.mark.parametrize("space", [b"", b" "])
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
async def test_the_chunks_of_an_odd_failure_are_kept(sender: HttpSender, end: bytes, space: bytes) -> None:
    head = end.join((b"HTTP/1.1 503 Busy", b"Transfer-Encoding: chunked", b"", b""))
    body = b"".join(
        b"%b%b\r\n%b\r\n" % (size, space, text) for size, text in ((b"3", b"lat"), (b"2", b"er"), (b"0", b""))
    )
    async with sending.serving(sending.answering(head, body, pause_seconds=0.05, then_hang=True)) as server:
        taken = await sender.send(post(server.url()), timeout_seconds=30)
    assert (taken.status_code, taken.body) == (503, b"later")


def late(first: bytes, rest: bytes, then: bytes) -> sending.Answer:
    """Respond to the first request of each connection, and send more when the second request has arrived."""

    async def answer(connection: sending.Connection) -> None:
        await connection.request()
        await connection.send(first)
        await connection.request()
        await connection.send(rest)
        await asyncio.sleep(0.02)
        await connection.send(then)

    return answer


@pytest.mark.parametrize(
    "rest", [b"more", b"more\r\n\r\nand more", b"\r\n", b'{"a": 1}\n', b"HTTP/1.1 yes\r\n\r\n"]
)  # fmt: skip
async def test_late_bytes_of_one_response_do_not_fail_the_next(sender: HttpSender, rest: bytes) -> None:
    async with sending.serving(late(OK, rest, OK.replace(b"200", b"201"))) as server:
        await sender.send(post(server.url()), timeout_seconds=30)
        assert (await sender.send(post(server.url()), timeout_seconds=30)).status_code == 201
        assert len(server.connections) == 1


async def test_a_kept_connection_that_brings_a_rest_and_closes_is_worth_a_fresh_one(sender: HttpSender) -> None:
    async with sending.serving(late(OK, b"more", b"")) as server:
        await sender.send(post(server.url()), timeout_seconds=30)
        found = await failure(sender, server.url())
    assert (found.kind, found.reused) == (AttemptOutcome.CONNECTION_LOST, True)


async def test_a_kept_connection_that_timed_out_is_worth_a_fresh_one(sender: HttpSender) -> None:
    """Servers send 408 on a connection that was idle for long; it crosses our next request."""
    timed_out = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    async with sending.serving(late(OK, timed_out, b"")) as server:
        await sender.send(post(server.url()), timeout_seconds=30)
        found = await failure(sender, server.url())
        assert (found.kind, found.status_code, found.reused) == (AttemptOutcome.CONNECTION_LOST, 408, True)
    async with sending.serving(sending.answering(timed_out)) as server:
        assert (await sender.send(post(server.url()), timeout_seconds=30)).status_code == 408


async def test_a_connection_that_timed_out_is_closed_though_the_receiver_keeps_its_end_open(sender: HttpSender) -> None:
    timed_out = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    closed = asyncio.Event()

    async def answer(connection: sending.Connection) -> None:
        await connection.request()
        await connection.send(OK)
        await connection.request()
        await connection.send(timed_out)
        await connection.closed()
        closed.set()

    async with sending.serving(answer) as server:
        await sender.send(post(server.url()), timeout_seconds=30)
        assert (await failure(sender, server.url())).status_code == 408
        await asyncio.wait_for(closed.wait(), 60)
